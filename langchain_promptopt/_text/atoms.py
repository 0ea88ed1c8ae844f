"""Finds the parts of a template source that are code: variables, marks, blocks, doubled braces.

One scanner a format, all in one pass over the source with exact positions. What a scanner
does not yield is literal text. Each refuses what LangChain would refuse, and what it would
quietly turn into something else.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2 import Environment

AtomKind: TypeAlias = Literal[
    "variable", "escape", "section", "inverted", "end", "comment", "expression", "block", "raw"
]


@dataclass(frozen=True, slots=True)
class Atom:
    """One stretch of template code. `names` are the variables it reads, as far as the format shows."""

    start: int
    end: int
    kind: AtomKind
    names: tuple[str, ...] = ()


def prompt_error(source: str, position: int, what: str, mend: str) -> PromptError:
    """A PromptError that names the character, counted from 0, and the line, counted from 1."""
    line = source.count("\n", 0, position) + 1
    return PromptError(f"{what} at character {position}", where=f"line {line}", mend=mend, position=position)


# ------------------------------------------------------------------ f-string

_BRACE = re.compile(r"[{}]")
_DOUBLE = "Double the braces ('{{' and '}}') if they are plain text."


def fstring_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a template that `str.format` reads, held to what LangChain accepts."""
    at = 0
    while found := _BRACE.search(source, at):
        start, brace = found.start(), found.group()
        if source.startswith(brace * 2, start):
            at = start + 2
            yield Atom(start, at, "escape")
            continue
        if brace == "}":
            raise prompt_error(source, start, "single '}'", _DOUBLE)
        closing = _BRACE.search(source, start + 1)
        if closing is None:
            raise prompt_error(source, start, "'{' is not closed", f"Write '{{name}}'. {_DOUBLE}")
        if closing.group() == "{":
            raise prompt_error(source, closing.start(), "a brace inside braces", _DOUBLE)
        at = closing.end()
        name = _field_name(source, start, source[start + 1 : closing.start()])
        yield Atom(start, at, "variable", (name,))


def _field_name(source: str, start: int, field: str) -> str:
    """The variable of `{field}`. Raises PromptError where LangChain would break or invent one."""
    name, _, _ = field.partition(":")
    name, bang, conversion = name.partition("!")
    shown = f"'{{{field if len(field) <= 40 else field[:39] + '…'}}}'"
    if not name:
        raise prompt_error(source, start, "empty braces", f"Give the variable a name. {_DOUBLE}")
    if name.isdigit():
        raise prompt_error(source, start, f"{shown} is a position, not a name,", f"Name the variable. {_DOUBLE}")
    if not name.isidentifier():
        if re.fullmatch(r"\w+[.\[].*", name, re.DOTALL):
            raise prompt_error(
                source, start, f"{shown} reaches into a value", f"Pass that part as a variable of its own. {_DOUBLE}"
            )
        raise prompt_error(source, start, f"{shown} would become a variable", _DOUBLE)
    if bang and conversion not in {"r", "s", "a"}:
        raise prompt_error(source, start, f"{shown} has an unknown conversion", "Use !r, !s or !a.")
    return _checked(source, start, name)


def _checked(source: str, start: int, name: str) -> str:
    if name == "stop":
        raise prompt_error(
            source, start, "a variable called 'stop'", "Rename it: LangChain keeps that name for stop sequences."
        )
    return name


# ------------------------------------------------------------------ mustache

_MUSTACHE_SIGNS: dict[str, AtomKind] = {"#": "section", "^": "inverted", "/": "end", "!": "comment", "&": "variable"}


def mustache_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a mustache template: each tag by itself, so the text inside sections stays text."""
    at, opened = 0, list[tuple[str, int]]()
    while (start := source.find("{{", at)) >= 0:
        triple = source.startswith("{{{", start)
        close = "}}}" if triple else "}}"
        inner = start + len(close)
        stop = source.find("}}", inner)
        if stop < 0 or not source.startswith(close, stop):
            raise prompt_error(source, start, "tag is not closed", f"Close it with '{close}'.")
        at = stop + len(close)
        sign = "" if triple else source[inner : inner + 1]
        kind = _MUSTACHE_SIGNS.get(sign, "variable")
        _refuse_mustache(source, start, sign)
        key = source[inner + (sign in _MUSTACHE_SIGNS) : stop].strip()
        if not key and kind != "comment":
            raise prompt_error(source, start, "empty tag", "Name a variable or remove the tag.")
        _match_sections(source, start, kind, key, opened)
        name = key.partition(".")[0]
        names = (_checked(source, start, name),) if name and kind in {"variable", "section", "inverted"} else ()
        yield Atom(start, at, kind, names)
    if opened:
        key, start = opened[-1]
        raise prompt_error(source, start, f"section '{key}' is never closed: opened", f"Add '{{{{/{key}}}}}'.")


def _refuse_mustache(source: str, start: int, sign: str) -> None:
    if sign == ">":
        raise prompt_error(source, start, "a partial", "Write its text here: only one template is optimized at a time.")
    if sign == "=":
        raise prompt_error(source, start, "a change of delimiters", "Keep '{{' and '}}'.")


def _match_sections(source: str, start: int, kind: AtomKind, key: str, opened: list[tuple[str, int]]) -> None:
    if kind in {"section", "inverted"}:
        opened.append((key, start))
    elif kind == "end":
        last = opened.pop()[0] if opened else None
        if last != key:
            wanted = "no section is open" if last is None else f"the open section is '{last}'"
            raise prompt_error(source, start, f"'{key}' is closed, but {wanted}:", "Pair the section tags.")


# ------------------------------------------------------------------ jinja2

_JINJA_BEGIN: dict[str, AtomKind] = {
    "variable_begin": "expression",
    "block_begin": "block",
    "comment_begin": "comment",
    "raw_begin": "raw",
}
_JINJA_END = frozenset({"variable_end", "block_end", "comment_end", "raw_end"})


@cache
def _jinja() -> Environment:
    """Only for reading; nothing is rendered with it."""
    from jinja2 import Environment

    return Environment(keep_trailing_newline=True, autoescape=True)


def jinja_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a jinja2 template by jinja's own lexer; a raw block is one atom."""
    from jinja2 import TemplateSyntaxError

    lexer = _jinja().lexer
    flat, back = _unix_lines(source)
    at, begun, kind = 0, 0, None
    try:
        for _, token, value in lexer.tokeniter(flat, None):
            if token in _JINJA_BEGIN:
                # a '-' mark made the lexer swallow blanks before this token
                begun, kind = flat.index(value, at), _JINJA_BEGIN[token]
                at = begun
            at += len(value)
            if token in _JINJA_END and kind is not None:
                # '-%}' swallows the blanks after it; they are text and may change
                end = at - (len(value) - len(value.rstrip()))
                yield Atom(back(begun), back(end), kind)
                kind = None
    except TemplateSyntaxError as e:
        raise jinja_error(source, e.lineno, e.message) from e


def jinja_names(source: str) -> frozenset[str]:
    """Variables a caller must supply; loop variables and `set` names are none."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        names = meta.find_undeclared_variables(_jinja().parse(source))
    except TemplateSyntaxError as e:
        raise jinja_error(source, e.lineno, e.message) from e
    except RecursionError as e:
        raise jinja_error(source, 1, "too deeply nested") from e
    return frozenset(_checked(source, max(0, source.find(name)), name) for name in names)


def jinja_error(source: str, line: int, message: str | None) -> PromptError:
    """The error at the start of `line`, as jinja2 knows no column."""
    position = 0
    for _ in range(line - 1):
        position = source.find("\n", position) + 1
    what = f"jinja2 cannot read the template: {message or 'syntax error'},"
    return prompt_error(source, position, what, "Mend the block or expression on that line.")


def _unix_lines(source: str) -> tuple[str, Callable[[int], int]]:
    """The source with the line ends jinja2 sees, and the way back to offsets of `source`."""
    joints = [found.start() - shift for shift, found in enumerate(re.finditer("\r\n", source))]
    return source.replace("\r\n", "\n").replace("\r", "\n"), lambda at: at + bisect_left(joints, at)
