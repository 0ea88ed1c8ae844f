"""Pure text surgery: templates, words, tags, spans, alignment. No clock, no model, no LangChain.

Here stand the two values that all of it shares: a range, and how text work says no. `types` re-exports `Rejection`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""Start and end (exclusive) in code points."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A reply, edit or child that was refused, with the rule that refused it."""

    rule: str
    detail: str = ""
