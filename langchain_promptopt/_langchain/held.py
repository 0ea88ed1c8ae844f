"""Prompt texts that no template object holds: constants, attributes, dictionary entries, defaults, message objects.

A held text is a prompt only by proof: it, or its pattern with the holes filled in, stands in what was really sent to
a model. It is replaced there for one evaluation, and written back to every place that holds it.
"""

from __future__ import annotations

import inspect
import re
import string
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.prompts.prompt import PromptTemplate

from langchain_promptopt.errors import PromptError

_LEAST = 12
"""Characters of the shortest text that is looked for: shorter ones stand in any message by chance."""
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Holder:
    """One place that holds a text: how to say where it is, how to read it and how to set it."""

    where: str
    name: str
    read: Callable[[], object]
    write: Callable[[str], None]


@dataclass(frozen=True)
class Sent:
    """A held text found in a message: which stretch of it, and what stood in the holes."""

    start: int
    end: int
    holes: Mapping[str, str]


@dataclass
class HeldText:
    """A text that a program holds and sends to a model: a live prompt like a template.

    Args:
        holders: Every place that holds it.
        holes: Whether `{name}` in it is filled in before it is sent; known once it was seen.
    """

    holders: tuple[Holder, ...]
    holes: bool = False
    name: str = ""
    seen: list[Mapping[str, str]] = field(default_factory=list)
    """What stood in the holes, one entry for each time that the text was sent."""

    @property
    def text(self) -> str:
        """The text as it is held now."""
        return str(self.holders[0].read())

    @property
    def where(self) -> str:
        """The first place that holds it, for messages to people."""
        return self.holders[0].where

    @property
    def template(self) -> PromptTemplate:
        """The text as a template; literal braces are doubled where the program does not double them itself."""
        return PromptTemplate.from_template(self.text if self._formatted else self._escaped)

    @property
    def _formatted(self) -> bool:
        """Whether the program fills the text with `.format`, so that its braces are doubled already."""
        return self.holes and bool(_fields(self.text))

    @property
    def _escaped(self) -> str:
        text = _doubled(self.text)
        return re.sub(r"\{\{(\w+)\}\}", r"{\1}", text) if self.holes else text

    def find(self, message: str) -> Sent | None:
        """Where this text stands in a message that was sent; None where it does not.

        Raises:
            PromptError: It stands there more than once, so that nothing tells which of them to replace.
        """
        at = message.find(self.text)
        if at >= 0:
            if message.find(self.text, at + 1) >= 0:
                msg = f"the text {shortened(self.text)!r} stands twice in one message"
                raise PromptError(msg, where=self.where, mend="Hold it in tunable(...), which knows its place.")
            return Sent(at, at + len(self.text), {})
        pattern = _pattern_of(self.text)
        found = pattern.search(message) if pattern is not None else None
        if found is None:
            return None
        return Sent(found.start(), found.end(), {name[2:]: value for name, value in found.groupdict().items()})

    def prove(self, message: str) -> bool:
        """Note that a message was sent; whether this text stands in it."""
        found = self.find(message)
        if found is None:
            return False
        if found.holes and not self.holes:
            self.holes = True
        self.seen.append(found.holes)
        return True

    def replaced(self, message: str, template: str) -> str:
        """A message with this text replaced.

        Args:
            message: What is about to be sent.
            template: The candidate's text, in the format of `template`.
        """
        found = self.find(message)
        if found is None:
            return message
        new = _HOLE.sub(lambda hole: found.holes.get(hole[1], hole[0]), template) if self.holes else template
        return message[: found.start] + _single(new) + message[found.end :]

    def write(self, template: str) -> Callable[[], None]:
        """Put a text into every holder; the result puts the old objects back.

        Args:
            template: The text, in the format of `template`.
        """
        text = template if self._formatted else _single(template)
        before = [(holder, holder.read()) for holder in self.holders]
        for holder in self.holders:
            holder.write(text)

        def restore() -> None:
            for holder, value in before:
                holder.write(value)  # type: ignore[arg-type]  # what was read is put back as it was

        return restore


def held_texts(things: Iterable[tuple[str, Any]], sent: Sequence[str]) -> list[HeldText]:
    """The texts that the visited objects hold and that stand in what was sent, the longest first.

    Args:
        things: (path, object) of every object that a walk over the program visits.
        sent: The texts of all messages that went out to models.

    Returns:
        Texts that do not lie inside one another, each with all its holders.
    """
    holders: dict[str, dict[str, Holder]] = {}
    for path, thing in things:
        for text, holder in _held_by(path, thing):
            if len(text.strip()) >= _LEAST and any(char.isspace() for char in text.strip()):
                holders.setdefault(text, {}).setdefault(holder.where, holder)
    found: list[HeldText] = []
    for text in sorted(holders, key=len, reverse=True):
        held = HeldText((*holders[text].values(), *_same_in_modules(text, holders[text])))
        proven = [message for message in sent if _stands_alone(held, message, found)]
        if proven and all(held.prove(message) for message in proven):
            found.append(held)
    _name(found)
    return found


def _name(found: Sequence[HeldText]) -> None:
    """Readable, unique names: of the constant, attribute or key that holds the text; one alone is `main`."""
    taken: set[str] = set()
    for held in found:
        wanted = next((holder.name for holder in held.holders if holder.name), "text")
        wanted = "main" if len(found) == 1 and wanted == "text" else wanted
        name, n = wanted, 1
        while name in taken:
            n += 1
            name = f"{wanted}-{n}"
        taken.add(name)
        held.name = name


def shortened(text: str, most: int = 80) -> str:
    """The beginning of a text on one line, for messages to people."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _stands_alone(held: HeldText, message: str, longer: Sequence[HeldText]) -> bool:
    """Whether the text stands in the message outside every longer text that stands there too."""
    place = held.find(message)
    if place is None:
        return False
    for other in longer:
        found = other.find(message)
        if found is not None and found.start <= place.start and place.end <= found.end:
            return False
    return True


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _single(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


def _either_braces(text: str) -> str:
    """A literal piece as a pattern: braces may have been doubled in the source or not."""
    return re.escape(text).replace(r"\{", r"\{{1,2}").replace(r"\}", r"\}{1,2}")


Piece: TypeAlias = tuple[str, str | None, str | None, str | None]
"""As `string.Formatter.parse` gives it: literal text, then the name of a hole, its format and its conversion."""


def _fields(text: str) -> list[Piece]:
    """The pieces of a text that `str.format` can fill; none where it cannot, as with single braces of JSON."""
    try:
        pieces: list[Piece] = list(string.Formatter().parse(text))
    except ValueError:
        return []
    return pieces if all(name is None or name.isidentifier() for _, name, _, _ in pieces) else []


@lru_cache(maxsize=512)
def _pattern_of(text: str) -> re.Pattern[str] | None:
    """A text with a group for each `{name}`; None where it has none, or too little text between them."""
    pieces = _fields(text) or _split_at_holes(text)
    names = [name for _, name, _, _ in pieces if name is not None]
    literal = "".join(piece for piece, _, _, _ in pieces)
    if not names or len(literal.strip()) < _LEAST:
        return None
    out, known = [], set[str]()
    for piece, name, _, _ in pieces:
        out.append(_either_braces(piece))
        if name is not None:
            out.append(f"(?P=h_{name})" if name in known else f"(?P<h_{name}>.*?)")
            known.add(name)
    if pieces[-1][1] is not None:
        out.append(r"\Z")
    return re.compile("".join(out), re.DOTALL)


def _split_at_holes(text: str) -> list[Piece]:
    """The pieces of a text that only `.replace("{name}", ...)` can fill."""
    out: list[Piece] = []
    at = 0
    for hole in _HOLE.finditer(text):
        out.append((text[at : hole.start()], hole[1], "", None))
        at = hole.end()
    out.append((text[at:], None, None, None))
    return out


# ---------------------------------------------------------------- where texts are held


def _held_by(path: str, thing: Any) -> Iterator[tuple[str, Holder]]:
    """The texts that one object holds itself, with how to set them."""
    if isinstance(thing, MutableMapping):
        for key, value in list(thing.items()):
            yield from _if_text(value, _item(f"{path}[{key!r}]", str(key), thing, key))
    elif isinstance(thing, list):
        for i, value in enumerate(thing):
            yield from _if_text(value, _item(f"{path}[{i}]", "", thing, i))
    elif inspect.isfunction(thing):
        yield from _in_function(path, thing)
    elif not isinstance(thing, Mapping | tuple | set | frozenset | types.ModuleType | type):
        # frozen dataclasses and pydantic models are written past their guard, in the instance's own dictionary
        stored = getattr(thing, "__dict__", {})
        for name, value in list(stored.items()):
            if not name.startswith("__"):
                yield from _if_text(value, _item(f"{path}.{name}", name, stored, name))
        if _is_own_class(type(thing)):
            yield from _in_class(type(thing))


def _if_text(value: object, holder: Holder) -> Iterator[tuple[str, Holder]]:
    if isinstance(value, str):
        yield value, holder


def _item(where: str, name: str, container: Any, key: Any) -> Holder:
    """A holder in a list, a dictionary, a module's names or an instance's attributes."""

    def read() -> object:
        return container[key]

    def write(text: str) -> None:
        container[key] = text

    return Holder(where, name, read, write)


def _attribute(where: str, name: str, owner: Any, attribute: str, after: Callable[[], object] | None = None) -> Holder:
    """A holder that is set like an attribute; `after` makes the change take effect where that needs more."""

    def read() -> object:
        return getattr(owner, attribute)

    def write(text: str) -> None:
        setattr(owner, attribute, text)
        if after is not None:
            after()

    return Holder(where, name, read, write)


def _in_class(kind: Any) -> Iterator[tuple[str, Holder]]:
    """Class attributes, and the defaults that dataclasses and pydantic models keep of them."""
    where = f"{kind.__module__}.{kind.__qualname__}"
    for name, value in list(vars(kind).items()):
        if not name.startswith("__"):
            yield from _if_text(value, _attribute(f"{where}.{name}", name, kind, name))
    if is_dataclass(kind) and inspect.isfunction(vars(kind).get("__init__")):
        yield from _in_defaults(f"{where}.__init__", vars(kind)["__init__"])
    for name, info in getattr(kind, "__pydantic_fields__", {}).items():

        def rebuild() -> object:
            return kind.model_rebuild(force=True)

        yield from _if_text(info.default, _attribute(f"{where}.{name} (default)", name, info, "default", rebuild))


def _in_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
        yield from _if_text(value, _attribute(f"{path}<{name}>", name, cell, "cell_contents"))
    yield from _in_defaults(path, function)
    yield from _in_globals(function)
    yield from _in_code(function)


def _in_defaults(path: str, function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    for i, value in enumerate(function.__defaults__ or ()):

        def read(i: int = i) -> object:
            return (function.__defaults__ or ())[i]

        def write(text: str, i: int = i) -> None:
            defaults = list(function.__defaults__ or ())
            defaults[i] = text
            function.__defaults__ = tuple(defaults)

        yield from _if_text(value, Holder(f"{path} default {i}", "", read, write))
    for name, value in dict(function.__kwdefaults__ or ()).items():
        yield from _if_text(value, _item(f"{path} default {name}", name, function.__kwdefaults__, name))


def _in_globals(function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    """Constants of the function's module that it names, and those of modules it reaches through a name."""
    names = _names(function.__code__)
    space = function.__globals__
    for name in names:
        value = space.get(name)
        if isinstance(value, types.ModuleType) and _is_own_module(value):
            for other in names:
                yield from _if_text(vars(value).get(other), _global(value.__name__, vars(value), other))
        elif isinstance(value, type) and _is_own_class(value):
            yield from _in_class(value)
        else:
            yield from _if_text(value, _global(str(space.get("__name__", "")), space, name))


def _global(module: str, space: dict[str, Any], name: str) -> Holder:
    return _item(f"{module}.{name}", name, space, name)


def _in_code(function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    """Literals in a function's code, those of its f-strings among them. Docstrings are no prompts."""
    where = f"{function.__module__}.{function.__qualname__}"
    for i, value in enumerate(function.__code__.co_consts):

        def read(i: int = i) -> object:
            return function.__code__.co_consts[i]

        def write(text: str, i: int = i) -> None:
            constants = list(function.__code__.co_consts)
            constants[i] = text
            function.__code__ = function.__code__.replace(co_consts=tuple(constants))

        if value != function.__doc__:
            yield from _if_text(value, Holder(f"{where} literal {i}", "", read, write))


def _same_in_modules(text: str, known: Mapping[str, Holder]) -> Iterator[Holder]:
    """Other names of the very same string in the program's own modules: `from prompts import X` makes one."""
    values = [holder.read() for holder in known.values()]
    for module in list(sys.modules.values()):
        if not _is_own_module(module):
            continue
        for name, value in list(vars(module).items()):
            same = isinstance(value, str) and value == text and any(value is v for v in values)
            if same and f"{module.__name__}.{name}" not in known:
                yield _global(module.__name__, vars(module), name)


_LIBRARIES = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")})
_OURSELVES = Path(__file__).resolve().parents[1]


def _is_own_module(module: object) -> bool:
    """Whether a module is the user's: it has a file, and it is not one of an installed library."""
    if not isinstance(module, types.ModuleType):  # anything may stand in sys.modules
        return False
    if module.__name__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file)
    return not any(path.is_relative_to(library) for library in (*_LIBRARIES, _OURSELVES))


def _is_own_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return module is not None and _is_own_module(module)


def _names(code: types.CodeType) -> list[str]:
    """Names a function looks up, those of its inner functions included."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return list(dict.fromkeys(names))
