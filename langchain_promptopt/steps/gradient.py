"""Feedback in words: why rows went wrong (APO, PE2), and what earlier attempts have shown (GPO)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from langchain_promptopt.steps.base import Step, fill
from langchain_promptopt.types import Feedback, Workpiece

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def reasons_of(reply: str) -> tuple[str, ...]:
    r"""One reason per list item; a reply without a list is one reason.

    >>> reasons_of("- too vague\n- wrong rule")
    ('too vague', 'wrong rule')
    """
    lines = [line.strip() for line in reply.split("\n")]
    items = [line.lstrip("-*• ").strip() for line in lines if line[:1] in {"-", "*", "•"}]
    found = tuple(item for item in items if item)
    return found or ((reply.strip(),) if reply.strip() else ())


class TextualGradient(Step):
    """Ask why the rows went wrong; adds `feedback`.

    Args:
        model: The optimizer model.
        variant: "apo" asks for `reasons` reasons (APO); "pe2" asks PE2's questions for each row first.
        reasons: How many reasons "apo" asks for.
        temperature: 0.0 as in PE2; sent only where the model takes it.
    """

    run_name: ClassVar[str] = "textual_gradient"
    variant: Literal["apo", "pe2"] = "apo"
    reasons: int = 1
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        reply, out = await self._say(piece, self._request(piece), config)
        return replace(out, feedback=Feedback(reply.strip(), tuple(s.example_id for s in piece.batch.errors)))

    def _request(self, piece: Workpiece) -> str:
        if self.variant == "apo":
            return fill("gradient.apo", n=self.reasons)
        rows = piece.batch.errors or piece.batch.formats
        return fill("gradient.pe2", questions="\n".join(fill("gradient.pe2-row", id=s.example_id) for s in rows))

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        feedback = out.feedback or Feedback("")
        return {"feedback": feedback.text, "example_ids": list(feedback.example_ids)}


class SummariseTrajectory(Step):
    """Adds the summary of `memory` as `feedback`."""

    run_name: ClassVar[str] = "summarise_trajectory"
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        reply, out = await self._say(piece, fill("summarise"), config)
        return replace(out, feedback=Feedback(reply.strip()))

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        return {"summary": out.feedback.text if out.feedback else ""}
