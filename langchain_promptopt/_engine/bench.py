"""What a scoring strategy may do: evaluate candidates on dev rows, cached and metered."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt.protocols import rng_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.spending import Spending
    from langchain_promptopt.types import Candidate


class DevBench:
    """Implements protocols.Bench on the dev split of one run at one step."""

    def __init__(self, run: Run, evaluations: Evaluations, step: int, spending: Spending | None = None) -> None:
        self._run = run
        self._evaluations = evaluations
        self._step = step
        self._spending = spending
        self._withheld: set[str] = set()

    @cached_property
    def examples(self) -> Sequence[str]:
        """Ids of the dev rows in one shared order, drawn once per run."""
        ids = sorted(self._run.examples("dev"))
        rng_at(self._run.seed, "dev-order").shuffle(ids)
        return tuple(ids)

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Primary scores already there, read-only."""
        return self._evaluations.primary_view(candidate, "dev")

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Primary scores of these rows, in their order as far as the budget reaches."""
        ids = self._affordable(candidate, example_ids)
        await self._evaluations.settle(candidate, "dev", ids)
        scores = self.known(candidate)
        return {i: scores[i] for i in ids if i in scores}

    def withheld(self, candidate: Candidate) -> bool:
        """Whether the budget did not reach for all rows asked of this candidate."""
        return candidate.id in self._withheld

    def _affordable(self, candidate: Candidate, example_ids: Sequence[str]) -> Sequence[str]:
        """Claims are made before anything is awaited, so in the order in which a strategy asks."""
        if self._spending is None:
            return example_ids
        there = set(self._evaluations.ids(candidate, "dev"))
        missing = [i for i in example_ids if i not in there]
        paid = set(missing[: self._spending.claim_part(self._step, cells=len(missing))])
        if len(paid) == len(missing):
            return example_ids
        self._withheld.add(candidate.id)
        return [i for i in example_ids if i in there or i in paid]

    def rng(self, *place: str | int) -> Random:
        """Randomness of this step."""
        return rng_at(self._run.seed, "scoring", self._step, *place)
