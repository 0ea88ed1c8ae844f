"""A7. How children are written; adapts to the scope of the piece (product 10.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_promptopt._text.words import count_words, word_limit
from langchain_promptopt.steps.propose import GlobalProposal, LocalProposal

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Ask
    from langchain_promptopt.types import Workpiece


_GROWTH = 1.25
"""A prompt already over the cap may grow to this multiple of its own length."""


def effective_cap(text: str, cap: int) -> int:
    """Words a child of `text` may have: the cap, or for a prompt already over it a quarter more than it has.

    The caps of the papers were made for prompts of a sentence; a long production prompt is edited, not condensed.
    """
    limit, words = word_limit(text, cap), count_words(text)
    return limit if words <= limit else int(words * _GROWTH)


@dataclass(frozen=True)
class Refine:
    """The optimizer model writes new text for the marked spans, or for the whole prompt where none are marked.

    `cap` is the most words a child may have; it is stated to global proposals and checked by the guards.
    """

    goal: Literal["edit", "generate", "paraphrase"] = "edit"
    protocol: Literal["slots", "reply"] = "slots"
    enforce: Literal["strict", "audit", "off"] = "strict"
    temperature: float = 0.7
    cap: int | None = None
    leak_max: float = 0.3

    async def propose(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with drafts."""
        temperature = piece.allowance.temperature if piece.allowance.temperature is not None else self.temperature
        if piece.spans is None:
            cap = None if self.cap is None else effective_cap(piece.prompts.document.text, self.cap)
            whole = GlobalProposal(model=ask.runnable(), goal=self.goal, cap=cap, temperature=temperature)
            return await whole.ainvoke(piece, ask.config)
        local = LocalProposal(
            model=ask.runnable(),
            goal=self.goal,
            protocol=self.protocol,
            enforce=self.enforce,
            temperature=temperature,
            leak_max=self.leak_max,
        )
        return await local.ainvoke(piece, ask.config)
