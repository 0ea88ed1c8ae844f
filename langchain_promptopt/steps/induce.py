"""APE's induction: infer the instruction from examples of inputs and expected answers (spec 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from langchain_promptopt.steps.metaprompts import fill, load, section
from langchain_promptopt.steps.propose import Proposal, editable_ranges, edits_from_texts
from langchain_promptopt.steps.replies import between_markers
from langchain_promptopt.steps.views import rows, spans_of
from langchain_promptopt.types import Draft, PromptSet, Rejection, Workpiece

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


class InduceInstruction(Proposal):
    """Write a new instruction from `batch.formats` alone; it takes the place of the longest editable stretch."""

    run_name: ClassVar[str] = "induce_instruction"
    temperature: float | None = 0.9

    async def _child(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        ranges = editable_ranges(piece.prompts)
        target = _instruction(piece.prompts, max(ranges, key=lambda r: r[1] - r[0]))
        start = Workpiece(piece.prompts, turns=(("system", load("system")),))
        request = fill("induce", examples=section("examples", rows(piece.batch.formats, answered=False)))
        reply, out = await self._say(start, request, config)
        text = between_markers(reply)
        if isinstance(text, Rejection):
            return self._draft(piece, (), (text,), None, reply)
        old = piece.prompts.document.text[target[0] : target[1]]
        new = old[: len(old) - len(old.lstrip())] + text.strip() + old[len(old.rstrip()) :]
        spans = spans_of(piece.prompts, [target])
        ids = piece.batch.example_ids
        edits, refused = edits_from_texts(piece.prompts, spans, {0: (new, "induced from examples")}, ids, bounded=False)
        return self._draft(out, edits, refused, None, reply)


def _instruction(prompts: PromptSet, stretch: tuple[int, int]) -> tuple[int, int]:
    """The stretch without its last line where a variable follows: "Question: " belongs to the variable."""
    start, end = stretch
    text = prompts.document.text
    cut = text.rfind("\n", start, end)
    return (start, cut) if end < len(text) and text[start:cut].strip() and cut > start else stretch
