r"""Prompts that are scalars in a YAML file: only the scalar's own text changes.

The place comes from the parser's marks, so comments, indentation and order elsewhere stay as they are
byte for byte. A literal of any language is a row of *spellings*, one per decoded character (`\n`,
`\u00e9`, `""`): new text keeps the spellings of the characters it shares with the old and spells only
the new ones. What cannot be spelled in the scalar's style is written in double quotes.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


def changes(old: str, new: str) -> Iterator[tuple[int, int, str]]:
    """Replacements (start, end, text) that turn `old` into `new`, in order and apart.

    >>> list(changes("a b c", "a x c"))
    [(2, 3, 'x')]
    """
    lead = _common(old, new)
    tail = _common_end(old[lead:], new[lead:])
    a, b = _WORDS.findall(old[lead : len(old) - tail]), _WORDS.findall(new[lead : len(new) - tail])
    at_a, at_b = _starts(a, lead), _starts(b, lead)
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = old[at_a[i] : at_a[j]], new[at_b[k] : at_b[m]]
        same = _common(was, now)
        end = _common_end(was[same:], now[same:])
        yield at_a[i] + same, at_a[j] - end, now[same : len(now) - end]


def respell(spellings: Sequence[str], old: str, new: str, spell: Callable[[str, int], str]) -> list[str]:
    """The spellings of `old`'s characters, changed so that together they spell `new`.

    The result is as long as `spellings`: removed characters are empty, new text stands with the
    character it replaces or follows, so that a caller can tell which token it landed in.

    Args:
        spellings: One per character of `old`, which is not empty.
        old: The decoded text.
        new: What it shall decode to.
        spell: Spells new text that lands at a character of `old`.
    """
    out = list(spellings)
    for start, end, text in changes(old, new):
        if end > start:
            out[start:end] = [spell(text, start), *[""] * (end - start - 1)]
        elif start:
            out[start - 1] += spell(text, start - 1)
        else:
            out[0] = spell(text, 0) + out[0]
    return out


def _common(a: str, b: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _common_end(a: str, b: str) -> int:
    return _common(a[::-1], b[::-1])


def _starts(words: Sequence[str], at: int) -> list[int]:
    starts = [at]
    for word in words:
        starts.append(starts[-1] + len(word))
    return starts


_BREAKS = " \n\r\x85\u2028\u2029"
"""A blank, and what YAML takes for the end of a line."""
_HEADER = re.compile(r"([|>])([+\-0-9]*)([ \t]*(?:#[^\r\n]*)?)(\r?\n)")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[\w .,;!?()/+=*-]*[\w.,;!?()/+=*-])?")


def rewrite_yaml(source: str, old: str, new: str, where: str, part: str = "") -> str:
    """The file with the one scalar that is `old` being `new`.

    Args:
        source: The file's text.
        old: The template as it stands there.
        new: The template it shall become.
        where: The file, for errors.
        part: Name of the prompt in the file, where it holds several.

    Raises:
        PromptError: It is no YAML, or no scalar or several are the prompt.
    """
    root = _compose(source, where)
    within = _node_at(root, part, where) if part else root
    found = [node for node in _scalars(within) if node.value == old]
    if len(found) != 1:
        msg = f"{len(found) or 'no'} values in the file are the prompt"
        raise PromptError(msg, where=where, mend="It must be there exactly once.")
    node = found[0]
    start, end = node.start_mark.index, node.end_mark.index
    start += len(_PROPERTIES.match(source, start, end)[0])  # type: ignore[index]  # matches the empty text too
    before = [one.value for one in _scalars(root)]
    nodes = list(_scalars(root))
    wanted = []
    for one, value in zip(nodes, before, strict=True):
        if one is node:
            wanted.append(new)
        else:
            wanted.append(value)
    for made in _variants(source[start:end], node, old, new, source):
        candidate = source[:start] + made + source[end:]
        if _values(candidate, None) == wanted:
            return candidate
    msg = "the new text cannot be written in the file's style"
    raise PromptError(msg, where=where, mend="Change it by hand.")


def part_range(source: str, part: str, where: str) -> tuple[int, int]:
    """Where a prompt is in the text of a YAML or JSON file.

    Args:
        source: The file's text.
        part: Name of the prompt; dots lead to deeper names, "" is the whole file.
        where: The file, for errors.

    Returns:
        Start and end, in characters.

    Raises:
        PromptError: The file has no prompt of that name, or is no YAML.
    """
    if not part:
        return 0, len(source)
    node = _node_at(_compose(source, where), part, where)
    return node.start_mark.index, node.end_mark.index


def _node_at(node: Any, part: str, where: str) -> Any:
    """The node that `part` names, as `layouts` finds the data there."""
    left = part
    while left:
        choices = _choices(node)
        key = left if left in choices else left.partition(".")[0]
        if key not in choices:
            msg = f"the file has no prompt {part!r}"
            raise PromptError(msg, where=where, mend=f"It has: {', '.join(choices) or 'none'}.")
        node, left = choices[key], left[len(key) + 1 :]
    return node


def _choices(node: Any) -> dict[str, Any]:
    if node.id == "mapping":
        pairs = {key.value: value for key, value in node.value if key.id == "scalar"}
        wrapped = next(
            (pairs[key] for key in ("prompts", "templates") if key in pairs and pairs[key].id != "scalar"), None
        )
        return ({} if wrapped is None else _choices(wrapped)) | pairs
    if node.id == "sequence":
        found: dict[str, Any] = {}
        for n, item in enumerate(node.value, start=1):
            found[_item_name(item, n)] = item
        return found
    return {}


def _item_name(item: Any, number: int) -> str:
    if item.id != "mapping":
        return str(number)
    pairs = {key.value: value.value for key, value in item.value if key.id == "scalar"}
    return next((str(pairs[key]) for key in ("name", "id", "label") if pairs.get(key)), str(number))


def _compose(source: str, where: str | None) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(source)
    except YAMLError as error:
        msg = f"the file is no YAML: {error}"
        raise PromptError(msg, where=where or "") from error


def _values(source: str, where: str | None) -> list[Any] | None:
    """All scalars in order, keys included; None where the text is no YAML."""
    try:
        return [node.value for node in _scalars(_compose(source, where))]
    except PromptError:
        if where is None:
            return None
        raise


def _scalars(node: Any, seen: set[int] | None = None) -> Iterator[Any]:
    seen = set() if seen is None else seen
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node.value, str):
        yield node
        return
    for child in node.value:
        for one in child if isinstance(child, tuple) else (child,):
            yield from _scalars(one, seen)


def _variants(text: str, node: Any, old: str, new: str, source: str) -> Iterator[str]:
    newline = "\r\n" if "\r\n" in source else "\n"
    if node.style == "|":
        yield from _block(text, old, new, newline)
    elif node.style == ">" and "\n" not in old.rstrip("\n"):
        yield from _folded(text, old, new)
    elif node.style == "'":
        pieces = re.findall(r"''|.", text[1:-1], re.DOTALL)
        if [p[0] for p in pieces] == list(old):
            yield f"'{''.join(respell(pieces, old, new, lambda added, _: added.replace(chr(39), chr(39) * 2)))}'"
    elif node.style is None and "\n" not in new and _PLAIN.fullmatch(new):
        yield new
    if node.style in {"|", ">"}:
        yield from _fresh_block(text, old, new, newline)
    yield _quoted(new) + _tail(text, node)


def _quoted(text: str) -> str:
    """Double quotes hold everything; what YAML takes for a line break or refuses is escaped."""
    short = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    body = "".join(short.get(c) or _printable(c) for c in text)
    return f'"{body}"'


def _printable(character: str) -> str:
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _tail(text: str, node: Any) -> str:
    """The line break that belongs to a block scalar's text."""
    return text[len(text.rstrip("\r\n")) :] if node.style in {"|", ">"} else ""


def _block(text: str, old: str, new: str, newline: str) -> Iterator[str]:
    """A literal block in its own indent; `|`, `|-` or `|+` as the final line breaks want."""
    header = _HEADER.match(text)
    if header is None:
        return
    body = text[header.end() :]
    first = next((line for line in body.splitlines() if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" "))] or "  "
    digits = re.sub(r"[^0-9]", "", header[2])
    if new.lstrip(_BREAKS).startswith("\t") and not digits:
        return  # libyaml, and with it PyYAML, takes a tab that opens a block for broken indentation
    breaks = len(new) - len(new.rstrip("\n"))
    for chomp in dict.fromkeys((header[2].replace(digits, "", 1) if digits else header[2], _chomp(breaks))):
        lines = (new if chomp == "+" else new.rstrip("\n")).split("\n")
        if chomp == "+" and new.endswith("\n"):
            lines.pop()
        made = newline.join(_spelled_lines(body, indent, old, lines))
        gap = "" if chomp == "+" else _blank_tail(body)
        yield f"|{digits}{chomp}{header[3]}{newline}{made}{newline if body.endswith(chr(10)) or gap else ''}{gap}"


def _spelled_lines(body: str, indent: str, old: str, new: Sequence[str]) -> Iterator[str]:
    """The new lines as the file spells them; a line that stays keeps the blanks that stand in it."""
    there = re.split(r"\r?\n", body)
    before = old.split("\n")
    matcher = difflib.SequenceMatcher(None, before, new, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        for number, line in enumerate(new[k:m]):
            plain = f"{indent}{line}" if line else ""
            was = there[i + number] if tag == "equal" and i + number < min(j, len(there)) else plain
            # Blank lines may hold any blanks up to the indent; they mean the same line break.
            yield was if was == plain or (not line and not was.strip(" ")) else plain


def _fresh_block(text: str, old: str, new: str, newline: str) -> Iterator[str]:
    header = _HEADER.match(text)
    if header is not None:
        yield from _block(f"|{text[1:]}", old, new, newline)


def _is_break(piece: str) -> bool:
    return "\n" in piece and not piece.strip()


def _folded(text: str, old: str, new: str) -> Iterator[str]:
    """A folded block of one paragraph, changed inside its lines."""
    header = _HEADER.match(text)
    if header is None:
        return
    body = text[header.end() :]
    pieces = re.findall(r"\r?\n[ \t]*(?=[^\s])|.", body.rstrip(), re.DOTALL)
    lead = len(body) - len(body.lstrip(" "))
    pieces = pieces[lead:]
    meant = "".join(" " if _is_break(piece) else piece for piece in pieces)
    if meant != old.rstrip("\n") or "\n" in new.rstrip("\n") or len(pieces) != len(meant):
        return
    made = "".join(respell(pieces, meant, new.rstrip("\n"), lambda added, _: added))
    yield header[0] + body[:lead] + made + body[len(body.rstrip()) :]


def _chomp(breaks: int) -> str:
    return {0: "-", 1: ""}.get(breaks, "+")


def _blank_tail(body: str) -> str:
    """Blank lines after the last text line: they belong to the file, not to the text."""
    text = body.rstrip()
    rest = body[len(text) :]
    return rest.partition("\n")[2] if "\n" in rest else ""
