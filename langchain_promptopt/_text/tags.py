"""Edit tags: which name to use, putting them in, reading them back from a reply that may be anything."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_promptopt._text import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN, _CLOSE = r"(?:<|&lt;|&#60;)", r"(?:>|&gt;|&#62;)"


@lru_cache(maxsize=64)
def tag_pattern(tag: str) -> re.Pattern[str]:
    """Matches opening and closing `tag` marks; group 1 is "/" when closing.

    Case, inner blanks and entity-escaped brackets are tolerated (spec 1.3, L5). Possessive, so
    that no reply can make it backtrack.
    """
    return re.compile(rf"{_OPEN}\s*+(/?)\s*+{re.escape(tag)}\s*+{_CLOSE}", re.IGNORECASE)


TAG = tag_pattern("edit")


def pick_tag(text: str) -> str:
    """Name the tag: "edit", or a nonce derived from the text when the text holds that tag itself.

    >>> pick_tag("Be brief."), pick_tag("Write <edit>x</edit>.")
    ('edit', 'edit-7266')
    """
    if not TAG.search(text):
        return "edit"
    digest, low = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text.lower()
    for length in range(4, len(digest)):
        tag = f"edit-{digest[:length]}"
        if tag not in low:
            return tag
    return f"edit-{digest}"


def insert_tags(text: str, ranges: Sequence[Range], tag: str = "edit") -> str:
    """`text` with each range between marks; ranges are disjoint and sorted.

    Args:
        text: The text to mark.
        ranges: Sorted, disjoint ranges of it.
        tag: Name of the tag; see `pick_tag`.

    >>> insert_tags("Be brief.", [(3, 8)])
    'Be <edit>brief</edit>.'
    """
    out, at = [], 0
    for start, end in ranges:
        out += [text[at:start], f"<{tag}>", text[start:end], f"</{tag}>"]
        at = end
    return "".join((*out, text[at:]))


@dataclass(frozen=True, slots=True)
class TaggedReply:
    """A reply without its marks; `ranges` are offsets in `text`. Marks without a partner are only counted."""

    text: str
    ranges: tuple[Range, ...] = ()
    unclosed: int = 0
    stray: int = 0


def parse_tags(reply: str, tag: str = "edit") -> TaggedReply:
    """Read tags with a stack: outermost wins, stray closers and unclosed openers are dropped. Never raises.

    >>> parse_tags("Be <EDIT>very <edit>brief</edit> </Edit >now</edit>.")
    TaggedReply(text='Be very brief now.', ranges=((3, 14),), unclosed=0, stray=1)
    """
    if not tag:
        return TaggedReply(reply)
    parts, at, length, stray = list[str](), 0, 0, 0
    opened, pairs = list[tuple[int, int]](), list[tuple[int, Range]]()  # place in the reply, offset in the text
    for found in tag_pattern(tag).finditer(reply):
        parts.append(reply[at : found.start()])
        length += found.start() - at
        at = found.end()
        if not found.group(1):
            opened.append((at, length))
        elif opened:
            place, start = opened.pop()
            while pairs and pairs[-1][0] > place:
                pairs.pop()  # inside the pair that closes now
            pairs.append((place, (start, length)))
        else:
            stray += 1
    parts.append(reply[at:])
    return TaggedReply("".join(parts), tuple(r for _, r in pairs), len(opened), stray)


_THINK = re.compile(r"\s*+<(think(?:ing)?|reasoning|analysis|scratchpad)>", re.IGNORECASE)
_FENCE = re.compile(r"(`{3,}|~{3,})[^\n`]{0,40}\r?\n")


def strip_wrapping(reply: str, keep: str = "") -> str:
    r"""A reply without thinking blocks in front and without a fence around all of it.

    Args:
        reply: What a model sent.
        keep: Text whose own thinking tags and fences are not wrapping: the prompt asked for.

    >>> strip_wrapping("<think>hm</think>```text\nBe brief.\n```")
    'Be brief.'
    """
    text = _strip_thinking(reply, keep)
    bare = text.strip()
    opening = _FENCE.match(bare)
    if opening is None or keep.lstrip().startswith(opening.group(1)):
        return text
    fence = opening.group(1)
    body = bare[opening.end() :]
    if not body.endswith(fence) or body.count("\n" + fence) > 1:
        return text
    return body[: -len(fence)].removesuffix("\n").removesuffix("\r")


def _strip_thinking(reply: str, keep: str) -> str:
    low_keep = keep.lower()
    text = reply
    while found := _THINK.match(text):
        name = found.group(1).lower()
        if f"<{name}>" in low_keep:
            return text
        closing = text.lower().find(f"</{name}>", found.end())
        if closing < 0:
            return ""  # thinking that never ended holds no answer
        text = text[closing + len(name) + 3 :]
    head, mark, tail = text.partition("</think>")
    # some servers send the thinking without its opening tag
    return tail if mark and "<think>" not in head and "</think>" not in low_keep else text
