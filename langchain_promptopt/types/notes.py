"""What a user should know about a run although it goes on: a kind for programs, a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

NoteKind: TypeAlias = Literal["unused", "split_by_hash", "data", "prompt", "method", "judge", "replayed"]
"""`unused`: something of the user's input has no effect. `split_by_hash`: the splits were made here."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know. Programs look at `kind`; `text` is for reading only and may change."""

    kind: NoteKind
    text: str

    def __str__(self) -> str:
        return self.text
