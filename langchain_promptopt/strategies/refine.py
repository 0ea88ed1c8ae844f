"""A7. How children are written; adapts to the scope of the piece (product 10.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_promptopt.steps.propose import GlobalProposal, LocalProposal

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Ask
    from langchain_promptopt.types import Workpiece


@dataclass(frozen=True)
class Refine:
    """Edit, generate or paraphrase: slots where spans are marked, the whole prompt otherwise.

    `cap` is the most words a child may have; it is told to global proposals and checked by the guards.
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
            whole = GlobalProposal(model=ask.runnable(), goal=self.goal, cap=self.cap, temperature=temperature)
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
