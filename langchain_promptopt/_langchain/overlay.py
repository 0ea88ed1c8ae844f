"""Prompts that live in plain code: `TRIAGE = tunable("Sort this: {text}", name="triage")`.

Many candidates at once on one live chain.

While a search runs, each live template has a *slot class*: a subclass of its own concrete type,
built once, that looks into a ContextVar before it renders. Contexts are copied by asyncio tasks,
by LangChain's executors, `asyncio.to_thread` and `copy_context().run`, so candidates under
evaluation never mix. Every look is counted: a chain that renders copies made at run time, or in
a bare thread pool, would tie all candidates silently.
"""

from __future__ import annotations

import copy
import inspect
import threading
import types
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_promptopt._text.templates import FORMATS, TemplateFormat
from langchain_promptopt.errors import ConfigError, ConflictError, PromptError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.prompts.prompt import PromptTemplate

Thing = TypeVar("Thing")

_REGISTRY: dict[str, Tunable] = {}
_REGISTERING = threading.Lock()


class Tunable:
    """A named prompt in plain code. `format` and `text` follow the candidate under evaluation."""

    def __init__(self, text: str, *, name: str, template_format: TemplateFormat = "f-string") -> None:
        from langchain_core.prompts.prompt import PromptTemplate

        self.name = name
        self.template: PromptTemplate = PromptTemplate.from_template(text, template_format=template_format)  # type: ignore[arg-type]  # `tunable` refuses "literal"

    def _now(self, variables: dict[str, Any]) -> PromptTemplate:
        found: PromptTemplate | None = current(self, variables)
        return self.template if found is None else found

    @property
    def text(self) -> str:
        """The template source."""
        return note_made(self, self._now({}).template)

    def format(self, **variables: Any) -> str:
        """The text with its variables filled in."""
        return note_made(self, self._now(variables).format(**variables))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"tunable({self.template.template!r}, name={self.name!r})"


def tunable(text: str, *, name: str, template_format: TemplateFormat = "f-string") -> Tunable:
    """Register a prompt that lives in plain code, so that it can be optimized.

    The same text under the same name is the same object, so importing a module twice is fine.

    Args:
        text: The template source.
        name: How events, files and reports call it; unique in the program.
        template_format: f-string, mustache or jinja2.

    Raises:
        ConfigError: The name is taken by another text, or the format is unknown.
    """
    require("tunable's text", text, str, 'TRIAGE = tunable("Sort {ticket}.", name="triage")')
    require("tunable's name", name, str, 'TRIAGE = tunable("Sort {ticket}.", name="triage")')
    if template_format not in FORMATS or template_format == "literal":
        msg = f"{template_format!r} is not a template format"
        raise ConfigError(msg, where=f"tunable {name!r}", mend="Use f-string, mustache or jinja2.")
    with _REGISTERING:
        known = _REGISTRY.get(name)
        if known is None:
            known = _REGISTRY[name] = Tunable(text, name=name, template_format=template_format)
        elif (known.template.template, known.template.template_format) != (text, template_format):
            msg = f"two tunable prompts are named {name!r}"
            raise ConfigError(msg, mend="Give each its own name.")
        return known


def registered() -> tuple[Tunable, ...]:
    """All tunable prompts of this program, in order of registration."""
    return tuple(_REGISTRY.values())


# ------------------------------------------------------------ Many candidates at once on one live chain

_RENDERING = ("format", "aformat", "format_prompt", "aformat_prompt", "format_messages", "aformat_messages")


@dataclass
class Overlay:
    """What one evaluation renders instead, and what it really rendered.

    Args:
        templates: Live object (by id) -> the template to render in its place.
    """

    templates: Mapping[int, Any] = field(default_factory=dict)
    calls: dict[int, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Live object (by id) -> the variables of its renderings; empty where the base was read otherwise."""
    copies: list[str] = field(default_factory=list)
    """Classes of templates that rendered under a slot class without being installed."""
    made: list[tuple[Any, Any]] | None = None
    """Where a list, it gets each live object with what it rendered: text, messages or a prompt value."""
    watch: Callable[[Any], None] | None = None
    """Called with each live object as it renders; may raise to stop the chain."""
    sent: set[str] = field(default_factory=set)
    """Texts that `wire` has seen to already: calls of models lie inside one another."""


_ACTIVE: ContextVar[Overlay | None] = ContextVar("promptopt_overlay", default=None)


@dataclass
class _Slot:
    thing: Any
    base: type | None
    place: str
    outside: int = 0


_SLOTS: dict[int, _Slot] = {}
_CHANGING = threading.Lock()


class overlaid:  # noqa: N801 - a block; as a class, because every evaluation passes one and a generator costs more
    """Render by `overlay` in this context and in all contexts copied from it."""

    __slots__ = ("_overlay", "_token")

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def __enter__(self) -> Overlay:
        self._token = _ACTIVE.set(self._overlay)
        return self._overlay

    def __exit__(self, *_: object) -> None:
        _ACTIVE.reset(self._token)


def current(thing: Any, variables: Mapping[str, Any]) -> Any | None:
    """The template to render instead of `thing`, or None for its own text; counts the rendering."""
    overlay = _ACTIVE.get()
    slot = _SLOTS.get(id(thing))
    if overlay is None:
        if slot is not None:
            slot.outside += 1
        return None
    if slot is None or slot.thing is not thing:
        overlay.copies.append(type(thing).__name__)
        return None
    overlay.calls.setdefault(id(thing), []).append(variables)
    if overlay.watch is not None:
        overlay.watch(thing)
    return overlay.templates.get(id(thing))


def note_made(thing: Any, made: Thing) -> Thing:
    """What a live object rendered, which is noted where somebody wants to know."""
    overlay = _ACTIVE.get()
    if overlay is not None and overlay.made is not None:
        overlay.made.append((thing, made))
    return made


def active() -> Overlay | None:
    """The overlay of this context."""
    return _ACTIVE.get()


def installed(kind: type[Thing]) -> list[Thing]:
    """The live objects of a kind that have a slot now."""
    return [slot.thing for slot in list(_SLOTS.values()) if isinstance(slot.thing, kind)]


def peek(thing: Any) -> Any | None:
    """As `current`, without counting."""
    overlay = _ACTIVE.get()
    return None if overlay is None else overlay.templates.get(id(thing))


def rendered_outside(thing: Any) -> int:
    """How often an installed object rendered where no overlay reached it."""
    slot = _SLOTS.get(id(thing))
    return 0 if slot is None else slot.outside


def install(things: Sequence[tuple[str, Any]]) -> Callable[[], None]:
    """Give every (place, live object) a slot; the result takes them off again.

    Raises:
        ConflictError: Another run has one of the objects already.
        PromptError: A template's class cannot be extended.
    """
    done: list[_Slot] = []
    with _CHANGING:
        for place, thing in things:
            if id(thing) in _SLOTS:
                _remove(done)
                msg = "another optimization is running on this prompt object"
                raise ConflictError(msg, where=place, mend="Wait for it, or give each run a chain of its own.")
            try:
                done.append(_put(place, thing))
            except TypeError as error:
                _remove(done)
                msg = f"{type(thing).__name__} cannot be extended for a search: {error}"
                raise PromptError(msg, where=place) from error

    def uninstall() -> None:
        with _CHANGING:
            _remove(done)
            done.clear()

    return uninstall


def _put(place: str, thing: Any) -> _Slot:
    base: type | None = type(thing) if hasattr(type(thing), "format_prompt") else None
    if base is not None:
        thing.__class__ = slot_class(base)
    slot = _SLOTS[id(thing)] = _Slot(thing, base, place)
    return slot


def _remove(slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if slot.base is not None:
            slot.thing.__class__ = slot.base
        _SLOTS.pop(id(slot.thing), None)


@cache
def slot_class(base: type) -> type[Any]:
    """The subclass of one concrete template type that consults the overlay.

    It keeps the name and module of its base, so traces and messages read as always.
    """
    methods: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_serialized": property(_serialized(base)),
        "_validate_input": _validating(base),
    }
    for name in _RENDERING:
        if hasattr(base, name):
            methods[name] = _rendering(base, name)
    for name in ("partial", "__add__"):
        if hasattr(base, name):
            methods[name] = _copying(base, name)
    methods["__promptopt_base__"] = base
    methods |= {"__new__": _making(base), "__reduce_ex__": _reducing, "__eq__": _equal, "__hash__": base.__hash__}
    return types.new_class(base.__name__, (base,), exec_body=lambda space: space.update(methods))


def _making(base: type[Any]) -> Callable[..., Any]:
    """Only `_put` gives an object a slot class. What is made through it, copies too, is of the class the user wrote."""

    def make(_: type[Any], *args: Any, **kwargs: Any) -> Any:
        if (overlay := _ACTIVE.get()) is not None:
            overlay.copies.append(base.__name__)
        made: Any = object.__new__(base)
        if args or kwargs:  # Python calls no __init__ for us: what comes back is of another class than was called
            made.__init__(*args, **kwargs)
        return made

    return make


def _reducing(self: Any, protocol: Any) -> Any:
    """What pickle keeps: an ordinary object, which a process without this package can load."""
    _, made_from, *state = copy.copy(self).__reduce_ex__(protocol)
    # pickle refuses copyreg.__newobj__ where the class is not the object's own; object.__new__ does the same
    return (object.__new__, made_from, *state)


def _equal(self: Any, other: object) -> bool:
    """Equal as ordinary objects are: slot classes are told apart by nobody."""
    return bool(_ordinary(self) == _ordinary(other))


def _ordinary(thing: Any) -> Any:
    return copy.copy(thing) if hasattr(type(thing), "__promptopt_base__") else thing


def _rendering(base: type[Any], name: str) -> Callable[..., Any]:
    plain = getattr(base, name)
    if inspect.iscoroutinefunction(plain):

        async def arender(self: Any, *args: Any, **kwargs: Any) -> Any:
            other = current(self, kwargs)
            made = await (plain(self, *args, **kwargs) if other is None else getattr(other, name)(*args, **kwargs))
            return note_made(self, made)

        return arender

    def render(self: Any, *args: Any, **kwargs: Any) -> Any:
        other = current(self, kwargs)
        made = plain(self, *args, **kwargs) if other is None else getattr(other, name)(*args, **kwargs)
        return note_made(self, made)

    return render


def _copying(base: type[Any], name: str) -> Callable[..., Any]:
    """`prompt.partial(...)` and `prompt + x` at run time: the copy is made of the candidate."""
    plain = getattr(base, name)

    def derive(self: Any, *args: Any, **kwargs: Any) -> Any:
        other = current(self, {})
        if other is not None:
            return getattr(other, name)(*args, **kwargs)
        return plain(self, *args, **kwargs)

    return derive


def _validating(base: type[Any]) -> Callable[..., Any]:

    def validate(self: Any, inner_input: Any) -> Any:
        other = peek(self)
        return (
            base._validate_input(self, inner_input) if other is None else other._validate_input(inner_input)
        )  # the method this class overrides

    return validate


def _serialized(base: type[Any]) -> Callable[[Any], Any]:
    """What tracers record: the candidate's text, and the base's own where there is none."""
    cached = next(c.__dict__["_serialized"] for c in base.__mro__ if "_serialized" in c.__dict__)

    def serialized(self: Any) -> Any:
        other = peek(self)
        if other is not None:
            return other._serialized
        kept = self.__dict__.get("_serialized")
        return cached.func(self) if kept is None else kept

    return serialized
