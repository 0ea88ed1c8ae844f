"""Prompts that are string literals in Python source.

The literal is found by its value, wherever it is; its tokens are taken apart so that prefix,
quotes, line breaks and the spelling of untouched characters stay. The result is checked by
evaluating it. Literals inside `dedent(...)` and `cleandoc(...)` keep their margin. Descriptions of tools and schemas
are also found as parts of docstrings, and by what they stand at: the function or class, the argument or field.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt._files.yaml import respell
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types.prompts import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

UNINDENT: Mapping[str, Callable[[str], str]] = {"dedent": textwrap.dedent, "cleandoc": inspect.cleandoc}
"""Functions that take a margin off, by the name they are called by."""


def unindented(tree: ast.AST) -> dict[int, str]:
    """Literals (by id of their node) that are taken a margin off -> the function's name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 1:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in UNINDENT and isinstance(node.args[0], ast.Constant):
                found[id(node.args[0])] = name
    return found


def indented(value: str, old: str, new: str, how: str) -> str | None:
    r"""The value that a literal with a margin must have so that the prompt becomes `new`.

    Args:
        value: The literal's value of now, margin included.
        old: The prompt of now, which `value` gives without its margin.
        new: The prompt it shall become.
        how: The function that takes the margin off, a key of `UNINDENT`.

    Returns:
        The value; None where no margin can give `new`.

    >>> indented("  Be {x}.\n  So.\n", "Be {x}.\nSo.", "Go {x}.\nSo.", "dedent")
    '  Go {x}.\n  So.\n'
    """
    lines, wanted = value.split("\n"), new.strip("\n").split("\n")
    full = [i for i, line in enumerate(lines) if line.strip()]
    if not full or not wanted[0].strip():
        return None
    first, last = full[0], full[-1]
    bare_start = how == "cleandoc" and first == 0
    with_margin = [lines[i] for i in full if i or not bare_start]
    margin = min(map(_indent, with_margin), key=len, default="")
    body = []
    for i, line in enumerate(wanted):
        body.append((margin if line.strip() and (i or not bare_start) else "") + line)
    made = "\n".join([*lines[:first], *body, *lines[last + 1 :]])
    before, _, after = UNINDENT[how](value).partition(old)
    return made if UNINDENT[how](made) == f"{before}{new}{after}" else None


_GAP = re.compile(r"(?:\s|\\\r?\n|#[^\r\n]*)*")
_TOKEN = re.compile(
    r'(?P<prefix>[A-Za-z]*)(?P<quote>"""|\'\'\'|"|\')(?P<body>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)', re.DOTALL
)
_PIECE = re.compile(
    r"\\(?:\r\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)|\r\n|.", re.DOTALL
)
_RAW_PIECE = re.compile(r"\r\n|.", re.DOTALL)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")
_KNOWN_ESCAPES = "\\'\"abfnrtvxuUN01234567"


@dataclass(frozen=True)
class _Literal:
    """A string literal, all its joined tokens, in the source."""

    start: int
    end: int
    value: str
    line: int
    margin: str = ""
    """The function that takes a margin off it: dedent or cleandoc."""
    part: tuple[int, int] | None = None
    """Where in a docstring the text stands."""

    def wanted(self, old: str, new: str) -> str | None:
        """What the literal must mean so that the prompt becomes `new`."""
        if self.part is not None:
            start, end = self.part
            made = _relaid(self.value, start, end, old=old, new=new)
            return None if made is None else self.value[:start] + made + self.value[end:]
        if self.margin:
            return indented(self.value, old, new, self.margin)
        at = self.value.index(old)
        return self.value[:at] + new + self.value[at + len(old) :]


@dataclass(frozen=True)
class _Token:
    """One of the joined literals; `gap` is before it, `lead` is a joined line at its start."""

    gap: str
    prefix: str
    quote: str
    lead: str
    spellings: list[str]
    value: str

    @property
    def raw(self) -> bool:
        return "r" in self.prefix.lower()


def rewrite_python(source: str, old: str, new: str, where: str, name: str = "") -> str:
    """The source with the one literal that means `old` meaning `new`.

    White space around the prompt in the literal is allowed, as in `\"\"\"...\"\"\".strip()`, and so is
    a margin that `dedent` or `cleandoc` takes off.

    Args:
        source: Python source text.
        old: The template as it is live.
        new: The template it shall become.
        where: The file, for errors.
        name: The prompt's name, which says of a description what it stands at.

    Raises:
        PromptError: No literal or several have the value, or it is an f-string.
    """
    literal = _the_literal(source, old, where, name)
    wanted = literal.wanted(old, new)
    text = source[literal.start : literal.end]
    newline = "\r\n" if "\r\n" in source else "\n"
    for made in _spelled(text, literal.value, wanted, newline=newline) if wanted is not None else ():
        if _value(made) == wanted:
            return source[: literal.start] + made + source[literal.end :]
    msg = "the new text cannot be written in the literal's style"
    raise PromptError(msg, where=f"{where}, line {literal.line}", mend="Change it by hand.")


def _spelled(text: str, old: str, new: str, *, newline: str) -> Iterator[str]:
    """Ways to write it, the one nearest to the source first."""
    yield _respelled(text, old, new, newline=newline, careful=False)
    yield _respelled(text, old, new, newline=newline, careful=True)
    yield _afresh(text, new, newline=newline)


def _literals_outside(tree: ast.AST, formatted: Iterable[ast.JoinedStr]) -> list[ast.Constant]:
    """The string literals that are no part of an f-string."""
    parts: set[int] = set()
    for one in formatted:
        parts.update(map(id, ast.walk(one)))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            found.append(node)
    return found


def _the_literal(source: str, old: str, where: str, name: str) -> _Literal:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        msg = f"the file is no Python: {error}"
        raise PromptError(msg, where=where) from error
    if name.startswith(DESCRIPTIONS):
        return _the_description(source, tree, old, where, name)
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    strings = _literals_outside(tree, formatted)
    found = [n for n in strings if n.value == old]
    if old and not found:
        found = [n for n in strings if str(n.value).strip() == old]
    margins = {} if found else unindented(tree)
    found = found or [n for n in strings if _without_margin(n, margins) == old.strip() != ""]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    if len(found) == 1:
        return replace(_place(source, found[0]), margin=margins.get(id(found[0]), ""))
    if found:
        lines = ", ".join(str(n.lineno) for n in found)
        msg = f"{len(found)} string literals in the file are the prompt (lines {lines})"
        raise PromptError(msg, where=where, mend="Keep one, and refer to it by name.", seen=True)
    for node in formatted:
        if _could_be(node, old):
            msg = "the prompt is an f-string, whose text depends on values at run time"
            mend = "Make it a plain literal with {variables}."
            raise PromptError(msg, where=f"{where}, line {node.lineno}", mend=mend, seen=True)
    msg = "no string literal in the file is the prompt"
    mend = "It is built at run time, or has changed since. Save the new prompt beside it, as optimize does with"
    mend += " --prompts FOLDER, and load it at start: load_prompts(chain, FOLDER)."
    raise PromptError(msg, where=where, mend=mend)


def _without_margin(node: ast.Constant, margins: Mapping[int, str]) -> str | None:
    how = margins.get(id(node))
    return UNINDENT[how](str(node.value)).strip() if how else None


def _place(source: str, node: ast.Constant) -> _Literal:
    lines = _LINE.findall(source)  # as Python counts them: form feeds and Unicode separators end none
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(line: int | None, column: int | None) -> int:
        index = (line or 1) - 1
        return starts[index] + len(lines[index].encode()[: column or 0].decode())

    start, end = offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)
    return _Literal(start, end, str(node.value), node.lineno)


def _could_be(node: ast.JoinedStr, text: str) -> bool:
    """Whether the fixed parts of an f-string stand in `text`, in order."""
    at = 0
    fixed = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            fixed.append(str(part.value))
    for piece in fixed:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return any(map(str.strip, fixed))


def _tokens(text: str) -> list[_Token]:
    """The joined literals of `text`; none where it is anything else."""
    tokens, at = [], 0
    while at < len(text):
        gap = _GAP.match(text, at)
        start = gap.end() if gap else at
        token = _TOKEN.match(text, start)
        if token is None:
            return []
        decoded = _decode(token["body"], raw="r" in token["prefix"].lower())
        tokens.append(_Token(text[at:start], token["prefix"], token["quote"], *decoded))
        at = token.end()
    return tokens


def _decode(body: str, *, raw: bool) -> tuple[str, list[str], str]:
    """What precedes the first character, the spelling of each character, and the text."""
    lead = ""
    spellings: list[str] = []
    value: list[str] = []
    for piece in (_RAW_PIECE if raw else _PIECE).findall(body):
        meant = _meaning(piece, raw=raw)
        if meant:
            # An unknown escape means a backslash and a character.
            spellings += [piece] if len(meant) == 1 else [piece[0], piece[1:]]
            value += meant
        elif spellings:
            spellings[-1] += piece
        else:
            lead += piece
    return lead, spellings, "".join(value)


def _meaning(piece: str, *, raw: bool) -> str:
    if piece in {"\r\n", "\r"}:
        return "\n"
    if raw or len(piece) == 1:
        return piece
    if piece[1] in "\r\n":
        return ""
    return str(ast.literal_eval(f'"{piece}"')) if piece[1] in _KNOWN_ESCAPES else piece


def _value(text: str) -> str | None:
    try:
        value = ast.literal_eval(f"({text})")
    except (SyntaxError, ValueError):
        return None
    return value if isinstance(value, str) else None


def _respelled(text: str, old: str, new: str, *, newline: str, careful: bool) -> str:
    tokens = _tokens(text)
    spellings: list[str] = []
    owners: list[_Token] = []
    for token in tokens:
        spellings += token.spellings
        owners += [token] * len(token.spellings)
    if not owners or "".join(token.value for token in tokens) != old:
        return ""
    spelled = respell(
        spellings, old, new, lambda added, at: _spell(added, owners[at], newline=newline, careful=careful)
    )
    out, at = "", 0
    for token in tokens:
        body = "".join(spelled[at : at + len(token.spellings)])
        out += f"{token.gap}{token.prefix}{token.quote}{token.lead}{body}{token.quote}"
        at += len(token.spellings)
    return out


def _afresh(text: str, new: str, *, newline: str) -> str:
    """One ordinary literal in the first token's quotes, for text that its style cannot hold."""
    tokens = _tokens(text)
    quote = tokens[0].quote if tokens else '"'
    plain = _Token("", "", quote, "", [], "")
    return f"{quote}{_spell(new, plain, newline=newline, careful=True)}{quote}"


def _spell(text: str, token: _Token, *, newline: str, careful: bool) -> str:
    if token.raw:
        return text.replace("\n", newline)
    triple = len(token.quote) > 1
    special = {"\\": "\\\\", "\n": newline if triple else "\\n"}
    if careful or not triple:
        special[token.quote[0]] = f"\\{token.quote[0]}"
    if triple:
        special["\t"] = "\t"
    return "".join(special.get(c) or _printable(c) for c in text)


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


# Descriptions of tools and schemas: literals and parts of docstrings at a function, class, argument, field or key.


def _the_description(source: str, tree: ast.AST, old: str, where: str, name: str) -> _Literal:
    """The literal that holds a description, or the docstring that holds it as a part. Raises PromptError.

    Args:
        source: Python source text.
        tree: The source, parsed.
        old: The description as it is live.
        where: The file, for errors.
        name: The prompt's name.
    """
    owner, _, path = name.partition(":")[2].partition(".")
    field = path.rpartition(".")[2]
    found: list[tuple[int, _Literal]] = []
    for node, words, is_docstring in _at_names(tree, ()):
        value = str(node.value)
        part = _told_in(value, old, field) if is_docstring else None
        if part is None and (is_docstring or old.strip() not in {value.strip(), inspect.cleandoc(value).strip()}):
            continue
        whole = "" if old in value else "cleandoc"
        literal = replace(_place(source, node), margin="" if part else whole, part=part)
        near = 2 * (owner in words) + (bool(field) and (field in words or part is not None))
        found.append((near, literal))
    nearest = max((near for near, _ in found), default=0)
    best = [literal for near, literal in found if near == nearest]
    if len(best) == 1:
        return best[0]
    if best:
        lines = ", ".join(str(literal.line) for literal in best)
        msg = f"{len(best)} string literals in the file are the description (lines {lines})"
        raise PromptError(msg, where=where, mend="Keep one, and refer to it by name.", seen=True)
    msg = f"no string literal and no docstring in the file holds the description {name!r}"
    mend = "Where it is made at run time, save the prompts and load them at start: load_prompts(chain, folder)."
    raise PromptError(msg, where=where, mend=mend)


_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _at_names(node: ast.AST, words: tuple[str, ...]) -> Iterator[tuple[ast.Constant, tuple[str, ...], bool]]:
    """Every string literal, the names that it stands at, and whether it is a docstring; parts of f-strings are none.

    Args:
        node: Where to look.
        words: Names of what is around it.
    """
    docstring = None
    if isinstance(node, _DEFINITION):
        words = (*words, node.name, *_strings(call for call in node.decorator_list if isinstance(call, ast.Call)))
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            docstring = first
            yield first.value, words, True
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node, words, False
    else:
        words = (*words, *_own_words(node))
    for child in ast.iter_child_nodes(node):
        if child is not docstring and not isinstance(child, ast.JoinedStr):
            key = _key_of(node, child)
            yield from _at_names(child, (*words, key) if key else words)


def _strings(calls: Iterable[ast.Call]) -> Iterator[str]:
    """Strings that calls are given: `@tool("price")`."""
    for call in calls:
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def _own_words(node: ast.AST) -> Iterator[str]:
    """The names that a node gives to what is inside it."""
    if isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.Call):
        named = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        yield from (value.value for value in named if isinstance(value, ast.Constant) and isinstance(value.value, str))
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in {"name", "title"} and isinstance(value, ast.Constant):
                yield str(value.value)


def _key_of(node: ast.AST, child: ast.AST) -> str:
    """The key under which a value stands in a dictionary."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if value is child and isinstance(key, ast.Constant):
                return str(key.value)
    return ""


def _told_in(docstring: str, old: str, field: str) -> tuple[int, int] | None:
    r"""Where a docstring holds a description: at its beginning, or behind the name of an argument or field.

    >>> _told_in("Look it up.\n\nArgs:\n    item: What\n        to find.\n", "What to find.", "item")
    (29, 50)
    """
    words = r"\s+".join(map(re.escape, old.split()))
    start = rf"^[ \t]*\*{{0,2}}{re.escape(field)}[ \t]*(?:\([^)\n]*\))?:\s*" if field else r"\A\s*"
    found = re.search(rf"{start}({words})(?!\S)", docstring, re.MULTILINE) if words else None
    return None if found is None else found.span(1)


def _relaid(value: str, start: int, end: int, *, old: str, new: str) -> str | None:
    """A stretch of a docstring in which `old` stands, with `new` in its place; lines that stay keep their breaks.

    Args:
        value: The docstring.
        start: Where the stretch begins.
        end: Where it ends.
        old: Its text, without the docstring's margin.
        new: The text it shall become.
    """
    raw, old, new = value[start:end], old.strip(), new.strip()
    line = value[value.rfind("\n", 0, start) + 1 : start]
    below = [text for text in value.split("\n")[1:] if text.strip()]
    margin = min(map(_indent, below), key=len, default="")
    if line.strip():  # behind an argument's name: one step to the right of it
        margin = f"{_indent(line)}    "
    pieces: list[str] = []
    for mine, there in zip(re.findall(r"\s+|\S+", old), re.findall(r"\s+|\S+", raw), strict=False):
        each = [f"\n{margin}" if char == "\n" else char for char in mine]
        pieces += each if "".join(each) == there else [there, *[""] * (len(mine) - 1)]
    if len(pieces) != len(old):
        return None
    made = "".join(respell(pieces, old, new, lambda added, _: added.replace("\n", f"\n{margin}")))
    return made if made.split() == new.split() else None
