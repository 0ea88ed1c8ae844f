"""Condense what was tried and how it scored into a few sentences (GPO's summarised trajectory)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_promptopt.steps.base import Step
from langchain_promptopt.steps.metaprompts import fill
from langchain_promptopt.types import Feedback, Workpiece

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


class SummariseTrajectory(Step):
    """Adds the summary of `memory` as `feedback`."""

    run_name: ClassVar[str] = "summarise_trajectory"
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        reply, out = await self._say(piece, fill("summarise"), config)
        return replace(out, feedback=Feedback(reply.strip()))

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        return {"summary": out.feedback.text if out.feedback else ""}
