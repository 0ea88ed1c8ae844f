"""Prompt texts that no template object holds: constants, attributes, dictionary entries, defaults, message objects.

A held text is a prompt only by proof: it, or its pattern with the holes filled in, stands in what was really sent to
a model. It is replaced there for one evaluation, and written back to every place that holds it.
"""

from __future__ import annotations

import inspect
import re
import string
import textwrap
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.prompts.prompt import PromptTemplate

from langchain_promptopt._langchain.holders import (
    Holder,
    caches_of,
    held_by,
    line_of,
    own_modules,
    same_in_modules,
    shown_path,
)
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_LEAST = 12
"""Characters of the shortest text that is looked for: shorter ones stand in any message by chance."""
_PROMPT_CHARS = 30
_PROMPT_WORDS = 4
"""What a text must have to be taken for a prompt before it was seen in a message."""
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Sent:
    """A held text found in a message: which stretch of it, and what stood in the holes."""

    start: int
    end: int
    holes: Mapping[str, str]
    form: Callable[[str], str] = str
    """What the program does with the text before it fills it and sends it, as `textwrap.dedent`."""


@dataclass(eq=False)
class HeldText:
    """A text that a program holds and sends to a model: a live prompt like a template.

    Args:
        holders: Every place that holds it.
        holes: Whether `{name}` in it is filled in before it is sent; known once it was seen.
    """

    holders: tuple[Holder, ...]
    holes: bool = False
    name: str = ""
    caches: Sequence[Any] = ()
    """Functions that have kept the text, and are made to forget it when another one is written."""
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
    def place(self) -> str:
        """File and line of the text where they are known, else `where`."""
        for holder in self.holders:
            if (line := line_of(holder.file, self.text, holder.name)) is not None:
                return f"{shown_path(holder.file)}:{line}"
        return self.where

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

    @property
    def is_prompt(self) -> bool:
        """Whether it is long enough for a prompt."""
        return len(self.text) >= _PROMPT_CHARS and len(self.text.split()) >= _PROMPT_WORDS

    @property
    def proven(self) -> bool:
        """Whether it was seen in what is sent to a model."""
        return bool(self.seen)

    def find(self, message: str) -> Sent | None:
        """Where this text stands in a message that was sent; None where it does not.

        Raises:
            PromptError: It stands there more than once, so that nothing tells which of them to replace.
        """
        for form in _forms_of(self.text):
            text = form(self.text)
            at = message.find(text)
            if at >= 0 and message.find(text, at + 1) < 0:
                return Sent(at, at + len(text), {}, form)
            if at >= 0 and not self.proven:
                return None
            if at >= 0:
                msg = f"the text {on_a_line(self.text)!r} stands twice in one message"
                raise PromptError(msg, where=self.where, mend="Hold it in tunable(...), which knows its place.")
            pattern = _pattern_of(text)
            found = pattern.search(message) if pattern is not None else None
            if found is not None:
                holes = {name[2:]: value for name, value in found.groupdict().items()}
                return Sent(found.start(), found.end(), holes, form)
        return None

    def prove(self, message: str) -> None:
        """Note that a message was sent, if this text stands in it."""
        found = self.find(message)
        if found is not None:
            self.holes = self.holes or bool(found.holes)
            self.seen.append(found.holes)

    def filled(self, found: Sent, template: str) -> str:
        """What is sent in place of a stretch where this text was found.

        Args:
            found: The stretch.
            template: The candidate's text, in the format of `template`.
        """
        text = found.form(template)
        new = _HOLE.sub(lambda hole: found.holes.get(hole[1], hole[0]), text) if self.holes else text
        return _single(new)

    def write(self, template: str) -> Callable[[], None]:
        """Put a text into every holder; the result puts the old objects back.

        Args:
            template: The text, in the format of `template`.
        """
        text = template if self._formatted else _single(template)
        before = [(holder, holder.read()) for holder in self.holders]
        for holder in self.holders:
            holder.write(text)
        self._forget()

        def restore() -> None:
            for holder, value in before:
                holder.write(value)  # type: ignore[arg-type]  # what was read is put back as it was
            self._forget()

        return restore

    def _forget(self) -> None:
        for cache in self.caches:
            cache.cache_clear()


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    textwrap.dedent,
    lambda text: textwrap.dedent(text).strip(),
    inspect.cleandoc,
)
"""What programs do with a text of several lines before they send it."""


@lru_cache(maxsize=512)
def _forms_of(text: str) -> tuple[Callable[[str], str], ...]:
    """The forms that differ for this text, the text as it is first."""
    made: dict[str, Callable[[str], str]] = {}
    for form in _FORMS:
        made.setdefault(form(text), form)
    return tuple(made.values())


def held_texts(
    things: Iterable[tuple[str, Any]], sent: Sequence[str], beside: Sequence[str] = (), taken: Iterable[str] = ()
) -> list[HeldText]:
    """The texts that the visited objects hold and that stand in what was sent, and others that may be sent later.

    Args:
        things: (path, object) of every object that a walk over the program visits.
        sent: The texts of all messages that went out to models.
        beside: Texts that belong to others, such as templates: what stands in them, or holds them, is left out.
        taken: Names that are used already.

    Returns:
        Texts that do not lie inside one another, each with all its holders, the proven ones first. Those that are
        not proven look like prompts of the program's own code; the baseline shows whether they are sent.

    Raises:
        PromptError: A proven text stands twice in one message.
    """
    visited = list(things)
    holders: dict[str, dict[str, Holder]] = {}
    for path, thing in visited:
        for text, holder in held_by(path, thing):
            if _is_long_enough(text) and not _overlaps(text, beside):
                holders.setdefault(text, {}).setdefault(holder.where, holder)
    known = {text: HeldText(tuple(holders[text].values())) for text in sorted(holders, key=len, reverse=True)}
    found = [*_proven(known, sent, exact=True), *_proven(known, sent, exact=False)]
    others = [text for text in known if known[text] not in found and _may_be_prompt(known[text])]
    shown = [held.text for held in found]
    for text in others:
        if not _overlaps(text, shown):
            held = known[text]
            held.holes = _pattern_of(text) is not None
            shown.append(text)
            found.append(held)
    modules = own_modules() if found else []
    for held in found:
        held.holders = (*held.holders, *same_in_modules(held.text, held.holders, modules))
        held.caches = caches_of([thing for _, thing in visited], held.text)
    _name(found, taken)
    return found


def _proven(known: Mapping[str, HeldText], sent: Sequence[str], *, exact: bool) -> Iterator[HeldText]:
    """Texts that stand in what was sent: as they are, or in a form that the program makes of them."""
    longer = [held for held in known.values() if held.seen]
    for held in known.values():
        if held.seen:
            continue
        for message in sent:
            place = held.find(message)
            if place is not None and (place.form is str) is exact and _stands_alone(place, message, longer):
                held.prove(message)
        if held.seen:
            for message in sent:
                held.find(message)  # raises where it stands twice
            longer.append(held)
            yield held


def _is_long_enough(text: str) -> bool:
    return len(text.strip()) >= _LEAST and any(map(str.isspace, text.strip()))


def _may_be_prompt(held: HeldText) -> bool:
    """A text that was not seen yet; what is called a description is of a tool or a schema, unless a message has it."""
    return held.is_prompt and any(holder.own and holder.name != "description" for holder in held.holders)


def _overlaps(text: str, others: Iterable[str]) -> bool:
    """Whether a text stands in one of the others, or holds one that is long enough to be a prompt itself."""
    return any(text.strip() in other or (len(other) >= _PROMPT_CHARS and other in text) for other in others)


_WEAK = frozenset({"content", "text", "template", "value", "default", "prompt", "system_prompt"})
"""Names that say nothing about a text; another holder's name is taken where there is one."""


def _name(found: Sequence[HeldText], used: Iterable[str]) -> None:
    """Readable, unique names: of the constant, attribute or key that holds the text; one alone is `main`."""
    taken = set(used)
    alone = len(found) == 1 and not taken
    for held in found:
        names = [holder.name for holder in held.holders if holder.name]
        wanted = next((name for name in names if name not in _WEAK), names[0] if names else "")
        if not wanted:
            wanted = "main" if alone else next((h.within for h in held.holders if h.within), "text")
        name, n = wanted, 1
        while name in taken:
            n += 1
            name = f"{wanted}-{n}"
        taken.add(name)
        held.name = name


def as_tunable(name: str, text: str) -> str:
    """How to write a text that the program fills itself as a tunable one, for messages to people."""
    hole = _OTHER_HOLE.search(text)
    named = "" if hole is None else f" with {{{hole[1] or hole[2]}}} in place of {hole[0]},"
    return f'Hold it as {name} = tunable("""{on_a_line(text, 30)}""", name={name!r}){named}'


_OTHER_HOLE = re.compile(r"%\((\w+)\)s|\$\{?(\w+)\}?")
"""Holes that `%` and `string.Template` fill."""


def on_a_line(text: str, most: int = 80) -> str:
    """The beginning of a text on one line, for messages to people."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _stands_alone(place: Sent, message: str, longer: Iterable[HeldText]) -> bool:
    """Whether a stretch of the message lies outside every longer text that stands there too."""
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


FormatPiece: TypeAlias = tuple[str, str | None, str | None, str | None]
"""As `string.Formatter.parse` gives it: literal text, then the name of a hole, its format and its conversion."""


def _fields(text: str) -> list[FormatPiece]:
    """The pieces of a text that `str.format` can fill; none where it cannot, as with single braces of JSON."""
    try:
        pieces: list[FormatPiece] = list(string.Formatter().parse(text))
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


def _split_at_holes(text: str) -> list[FormatPiece]:
    """The pieces of a text that only `.replace("{name}", ...)` can fill."""
    out: list[FormatPiece] = []
    at = 0
    for hole in _HOLE.finditer(text):
        out.append((text[at : hole.start()], hole[1], "", None))
        at = hole.end()
    out.append((text[at:], None, None, None))
    return out
