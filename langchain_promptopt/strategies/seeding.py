"""A1. Where the first candidates come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.steps.induce import InduceInstruction
from langchain_promptopt.types import Batch, Candidate, Example, Shown, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.protocols import Ask


@dataclass(frozen=True)
class Manual:
    """The user's own prompt and nothing else."""

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:  # noqa: ARG002
        """No further candidates."""
        return ()


@dataclass(frozen=True)
class Induction:
    """APE: infer the instruction from examples (spec 3.1). Induced text replaces the editable text of one message.

    `subsets` draws of `demos` train rows, `each` instructions from every draw.
    """

    subsets: int = 5
    demos: int = 5
    each: int = 10
    temperature: float = 0.9

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:
        """At most subsets x each candidates, duplicates left out."""
        found: dict[str, Candidate] = {}
        for i in range(self.subsets):
            rows = ask.rng("demos", i).sample(list(train), min(self.demos, len(train)))
            formats = tuple(Shown(e.id, e.inputs, e.outputs, None, 0.0) for e in rows)
            step = InduceInstruction(model=ask.at(i).runnable(), temperature=self.temperature)
            piece = Workpiece(seed.prompts, batch=Batch(formats=formats), children=self.each)
            out = await step.ainvoke(piece, ask.config)
            for draft in out.drafts:
                made = Candidate(
                    draft.prompts, origin="induction", scope="global", parents=(seed.id,), edits=draft.edits
                )
                found.setdefault(made.id, made)
        return tuple(found.values())
