"""Operations on mappings and sequences that many files need and the standard library lacks."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from types import UnionType

    Kinds: TypeAlias = type[Any] | tuple[type[Any], ...] | UnionType

K = TypeVar("K")
V = TypeVar("V")
W = TypeVar("W")
Made = TypeVar("Made", covariant=True)


def pick(mapping: Mapping[K, V], names: Iterable[K]) -> dict[K, V]:
    """The members of these names that are there, in the order of the names.

    >>> pick({"a": 1, "b": 2}, ["b", "c"])
    {'b': 2}
    """
    found = {}
    for name in names:
        if name in mapping:
            found[name] = mapping[name]
    return found


def without(mapping: Mapping[K, V], *names: Container[K]) -> dict[K, V]:
    """The members with other names than those in any of these collections.

    >>> without({"a": 1, "b": 2}, {"b", "c"})
    {'a': 1}
    """
    found = {}
    for name, value in mapping.items():
        if not any(name in group for group in names):
            found[name] = value
    return found


def map_values(function: Callable[[V], W], mapping: Mapping[K, V]) -> dict[K, W]:
    """The same names, each with what the function makes of its value.

    >>> map_values(len, {"a": "red", "b": ""})
    {'a': 3, 'b': 0}
    """
    return dict(zip(mapping, map(function, mapping.values()), strict=True))


def present(items: Iterable[V | None]) -> list[V]:
    """All items that are not None.

    >>> present([1, None, 0])
    [1, 0]
    """
    return [item for item in items if item is not None]


def parted(items: Iterable[V], test: Callable[[V], object]) -> tuple[list[V], list[V]]:
    """The items that pass the test, and the others, both in their order.

    >>> parted([1, 2, 3, 4], lambda n: n > 2)
    ([3, 4], [1, 2])
    """
    passed: list[V] = []
    others: list[V] = []
    for item in items:
        (passed if test(item) else others).append(item)
    return passed, others


class HasId(Protocol):
    """What has an id of its own: an example, a candidate."""

    @property
    def id(self) -> str:
        """The id."""


Item = TypeVar("Item", bound=HasId)


def by_id(items: Iterable[Item]) -> dict[str, Item]:
    """Examples or candidates by their ids; of several with one id the last counts."""
    return {item.id: item for item in items}


def ids_of(items: Iterable[HasId]) -> list[str]:
    """The ids of examples or candidates, in their order."""
    return [item.id for item in items]


class AsJson(Protocol[Made]):
    """What says itself in plain values."""

    def as_json(self) -> Made:
        """Plain values."""


def all_as_json(items: Iterable[AsJson[Made]]) -> list[Made]:
    """Each item in plain values."""
    return [item.as_json() for item in items]


def all_are(items: Iterable[object], kind: Kinds) -> bool:
    """Whether every item is of this type, or of one of these.

    >>> all_are(["a", "b"], str), all_are(["a", 1], str)
    (True, False)
    """
    return all(isinstance(item, kind) for item in items)


def any_is(items: Iterable[object], kind: Kinds) -> bool:
    """Whether an item is of this type, or of one of these."""
    return any(isinstance(item, kind) for item in items)


def members(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, each as it is: `dataclasses.asdict` copies what they hold."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
