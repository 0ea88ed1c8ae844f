"""A1. Where the first candidates come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.steps.propose import InduceInstruction
from langchain_promptopt.types import Batch, Candidate, Edit, Example, Shown, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.protocols import Ask, Seeding


@dataclass(frozen=True)
class Manual:
    """The search starts from the user's own prompt alone."""

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:  # noqa: ARG002
        """No further candidates.

        Args:
            seed: Not used.
            train: Not used.
            ask: Not used.
        """
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
        """At most subsets x each candidates, duplicates left out.

        Args:
            seed: The user's own prompt.
            train: All rows of the train split.
            ask: Calls the optimizer model, and draws randomness.
        """
        found: dict[str, Candidate] = {}
        for i in range(self.subsets):
            rows = ask.rng("demos", i).sample(list(train), min(self.demos, len(train)))
            formats = tuple(Shown(e.id, e.inputs, e.outputs, None, 0.0) for e in rows)
            step = InduceInstruction(model=ask.at(i).runnable(), temperature=self.temperature)
            piece = Workpiece(seed.prompts, batch=Batch(formats=formats), children=self.each)
            out = await step.ainvoke(piece, ask.config)
            ask.refused(out.rejections)
            for draft in out.drafts:
                made = Candidate(
                    draft.prompts, origin="induction", scope="global", parents=(seed.id,), edits=draft.edits
                )
                found.setdefault(made.id, made)
        return tuple(found.values())


@dataclass(frozen=True)
class Earlier:
    """Edits found by an earlier run, before what `inner` gives: each alone, then all together.

    `edits` are edits of the seed as JSON texts, so that a recipe with them is still plain data.
    """

    inner: Seeding = Manual()
    edits: tuple[str, ...] = ()

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:
        """Candidates made of the edits, duplicates left out, and the inner seeds after them.

        Args:
            seed: The user's own prompt.
            train: All rows of the train split.
            ask: Calls the optimizer model, and draws randomness.
        """
        known = [Edit.from_json(json.loads(text)) for text in self.edits]
        groups = [(edit,) for edit in known] + ([tuple(known)] if len(known) > 1 else [])
        made = [
            Candidate(seed.prompts.apply(group), origin="earlier", scope="spans", parents=(seed.id,), edits=group)
            for group in groups
        ]
        rest = await self.inner.seeds(seed, train, ask)
        return tuple({c.id: c for c in (*made, *rest)}.values())
