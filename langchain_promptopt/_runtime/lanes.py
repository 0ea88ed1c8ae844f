"""Which limiters a role's calls pass: those of its models, and the ceiling over all roles."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import spellings
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt._runtime.limiter import Limiter, Slot, Used


class Limits:
    """The user's limits by model name, spelled as in the price table: "openai:gpt-4o" or "gpt-4o"."""

    def __init__(self, given: Mapping[str, RateLimit | Mapping[str, Any]]) -> None:
        self._by_name: dict[str, RateLimit] = {}
        for name, limit in given.items():
            self._by_name |= dict.fromkeys(spellings(name), _checked(name, limit))

    def of(self, model: str) -> RateLimit:
        """The limits of this model; none where nothing was said."""
        return next((self._by_name[name] for name in spellings(model) if name in self._by_name), RateLimit())


def _checked(name: str, given: RateLimit | Mapping[str, Any]) -> RateLimit:
    if isinstance(given, RateLimit):
        return given
    try:
        return RateLimit(**given)
    except TypeError as error:
        msg = f"the limits of {name} are not understood: {dict(given)!r}"
        raise ConfigError(msg, mend="Give requests_per_minute, tokens_per_minute or concurrency.") from error


class Limiters:
    """One limiter for each model and endpoint, made on first use and shared by all roles."""

    def __init__(self, make: Callable[[str, str], Limiter]) -> None:
        self._make = make
        self._made: dict[tuple[str, str], Limiter] = {}

    def of(self, model: str, endpoint: str = "") -> Limiter:
        """The limiter of this model at this endpoint."""
        key = (model, endpoint)
        if key not in self._made:
            self._made[key] = self._make(model, endpoint)
        return self._made[key]

    def lane(self, models: Sequence[tuple[str, str]], ceiling: Limiter | None = None) -> Lane:
        """The way to these models, (name, endpoint) each; every lane enters them in the same order."""
        return Lane([(name, self.of(name, endpoint)) for name, endpoint in sorted(set(models))], ceiling)


class Lane:
    """A role's way to its models.

    All limiters are entered in one order everywhere, the ceiling last, so no two lanes wait for each other.
    """

    def __init__(self, models: Sequence[tuple[str, Limiter]], ceiling: Limiter | None = None) -> None:
        self.models = tuple(models)
        self.ceiling = ceiling
        self._only = models[0][1] if len(models) == 1 and ceiling is None else None

    def slot(self) -> Slot | Slots:
        """A slot of each limiter, to enter; `told` corrects what it was taken to use."""
        return Slots(self) if self._only is None else self._only.slot()


class Slots:
    """Leave of several limiters for one attempt."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._stack = AsyncExitStack()
        self._slots: list[tuple[str, Slot]] = []
        self._top: Slot | None = None

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            for name, limiter in self._lane.models:
                self._slots.append((name, await stack.enter_async_context(limiter.slot())))
            if self._lane.ceiling is not None:
                self._top = await stack.enter_async_context(self._lane.ceiling.slot())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(*error)  # type: ignore[arg-type]  # the three of every exit

    def told(self, used: Used) -> None:
        """What the attempt used, of each model."""
        several = len(self._slots) > 1
        for name, slot in self._slots:
            slot.told(lambda _, name=name: used(name if several else None))  # type: ignore[misc]  # bound now
        if self._top is not None:
            self._top.told(used)
