"""Making text from a reply fit its place: talk around it, line ends, blanks at the seams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_promptopt._text.words import is_unspaced

if TYPE_CHECKING:
    from langchain_promptopt._text.rejection import Range

_TALK_BEFORE = re.compile(
    r"\s*(?:sure|certainly|of course|okay|ok|here(?:['’]s| is| are)|absolutely|great|got it"
    r"|the (?:improved|revised|new|updated|rewritten|edited) (?:prompt|version)"
    r"|(?:improved|revised|new|updated) prompt)\b"
    r"[^\n]{0,200}:[*_]{0,2}[ \t]*\r?\n",
    re.IGNORECASE,
)
_TALK_AFTER = re.compile(
    r"\n[ \t]*\r?\n[*_(]{0,3}(?:i (?:made|changed|have|kept|replaced|added|removed|hope)|let me know|note\b|notes\b"
    r"|changes\b|explanation\b|rationale\b|this (?:version|prompt|revision|change)|the (?:changes?|edits?) )",
    re.IGNORECASE,
)
_FENCED = re.compile(r"(?:\A|\n)```[^\n`]{0,40}\r?\n")


def strip_talk(said: str, text: str, open_begin: bool, open_end: bool) -> str:  # noqa: FBT001
    r"""A reply without preamble and closing remark, where no fixed text tells them from new text.

    >>> strip_talk("Sure! Here is the prompt:\n\nBe kind.", "Be brief.", True, True)
    'Be kind.'
    """
    if open_begin and open_end and "```" not in text:
        said = _only_fence(said)
    if open_begin and not _TALK_BEFORE.match(text) and (found := _TALK_BEFORE.match(said)):
        said = said[found.end() :].lstrip("\r\n")
    if open_end and not _TALK_AFTER.search(text) and (found := _TALK_AFTER.search(said)):
        said = said[: found.start()]
    return said


def _only_fence(said: str) -> str:
    """The inside of the one fenced block of a reply, if it has exactly one."""
    opening = _FENCED.search(said)
    if opening is None or said.count("```") != 2:
        return said
    return said[opening.end() : said.rindex("```")].rstrip("\r\n")


def fit(raw: str, text: str, span: Range) -> str:
    """`raw`, read from between fixed text, as the replacement of `text[span]`.

    White space at a seam belongs to the side that has it in `text`; an insertion brings its own.
    """
    start, end = span
    old, new = text[start:end], _line_ends(raw, text)
    if not old.strip():
        return old if not new.strip() else pad_insertion(text, start, new.strip()) if start == end else new
    body = new.strip()
    head, tail = old[: len(old) - len(old.lstrip())], old[len(old.rstrip()) :]
    if head and new[:1].isspace():
        head = new[: len(new) - len(new.lstrip())]
    if tail and new[-1:].isspace():
        tail = new[len(new.rstrip()) :]
    return head + body + tail if body else ""


def _line_ends(new: str, text: str) -> str:
    """Line ends as the text has them; models answer with their own."""
    plain = new.replace("\r\n", "\n")
    return plain.replace("\n", "\r\n") if "\r\n" in text and "\n" not in text.replace("\r\n", "") else plain


def pad_insertion(text: str, at: int, new: str) -> str:
    """`new` with the blanks it needs so that words do not grow together at `at` (spec 1.4 step 6).

    >>> pad_insertion("Be brief.", 8, "and kind"), pad_insertion("请回答。", 3, "简短")
    (' and kind', '简短')
    """
    if not new.strip():
        return ""
    before, after = text[at - 1 : at] if at else "", text[at : at + 1]
    if before and not before.isspace() and not _joins(before, new[0]) and before not in "([{\"'“‘«「『<":
        new = " " + new
    if after and (after.isalnum() or after in "{<([") and not new[-1].isspace() and not _joins(new[-1], after):
        new += " "
    return new


def _joins(left: str, right: str) -> bool:
    """Whether the two characters may stand side by side."""
    if right.isspace() or right in ",.;:!?)]}»”’」』。，、；：！？）":
        return True
    return is_unspaced(left) or is_unspaced(right) or left in "。，、；：！？）「『"
