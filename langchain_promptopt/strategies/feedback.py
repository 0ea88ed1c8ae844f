"""A3. What is said about the evidence before proposing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt.recipe import at_least
from langchain_promptopt.steps.gradient import TextualGradient, reasons_of
from langchain_promptopt.types import Feedback, Workpiece

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Ask


@dataclass(frozen=True)
class NoFeedback:
    """No feedback: the proposal sees the evidence alone."""

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:  # noqa: ARG002
        """The piece as it is."""
        return (piece,)


@dataclass(frozen=True)
class Gradient:
    """A textual gradient: why the rows went wrong (APO). Each of several reasons leads to a proposal of its own."""

    reasons: int = 1
    temperature: float = 0.0

    def __post_init__(self) -> None:
        at_least("feedback.reasons", self.reasons, 1)

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:
        """One piece per reason, all after the same turn; none when there are no errors to explain (A5)."""
        if not piece.batch.errors:
            return ()
        step = TextualGradient(model=ask.runnable(), variant="apo", reasons=self.reasons, temperature=self.temperature)
        out = await step.ainvoke(piece, ask.config)
        if self.reasons == 1 or out.feedback is None:
            return (out,)
        ids = out.feedback.example_ids
        return tuple(replace(out, feedback=Feedback(r, ids)) for r in reasons_of(out.feedback.text)[: self.reasons])


@dataclass(frozen=True)
class Reasoning:
    """PE2's first step: a question list for each row, then what should change."""

    temperature: float = 0.0

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:
        """The piece with feedback and the turn that gave it."""
        step = TextualGradient(model=ask.runnable(), variant="pe2", temperature=self.temperature)
        return (await step.ainvoke(piece, ask.config),)
