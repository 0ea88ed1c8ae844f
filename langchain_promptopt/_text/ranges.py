"""How text work says no: a rule id and a sentence. `types` re-exports it for everybody above."""

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
