"""Text from rows, models and prompts, made harmless to look at: what is invisible or reorders is spelled out.

A right-to-left override can make a prompt read as something it is not, zero-width characters
can hide instructions, and an escape sequence can rewrite a terminal. Letters of any script,
emoji joiners and line breaks stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = re.compile(
    "\r(?!\n)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters, escape among them
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi
    "\ud800-\udfff"  # halves of characters: no UTF-8
    "\U000e0000-\U000e007f]"  # tags, which spell hidden ASCII
)


def parts(text: str) -> Iterator[tuple[str, bool]]:
    r"""`text` in stretches: (shown, True where it stands for a hidden character). CRLF becomes a newline.

    >>> list(parts("a\u202eb"))
    [('a', False), ('⟦U+202E⟧', True), ('b', False)]
    """
    plain = text.replace("\r\n", "\n")
    at = 0
    for found in _HIDDEN.finditer(plain):
        if found.start() > at:
            yield plain[at : found.start()], False
        yield f"⟦U+{ord(found[0]):04X}⟧", True
        at = found.end()
    if at < len(plain):
        yield plain[at:], False


def visible(text: str) -> str:
    r"""`text` with every hidden character spelled out.

    >>> visible("red\x1b[31m")
    'red⟦U+001B⟧[31m'
    """
    return "".join(shown for shown, _ in parts(text))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked.

    >>> shortened("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"
