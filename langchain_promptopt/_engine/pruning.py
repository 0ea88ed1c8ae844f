"""`max_edits`: the winner keeps the edits that carry it, before it is tested.

Each edit is taken out by turns and the rest run on the search rows the winner was run on; an edit without which
no score is lost goes. What is left is cut to the limit, the most useful first. All of it is paid from the
budget's search part; where that does not reach, the edits made for the most rows stay, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_promptopt.events import Incident, Proposed
from langchain_promptopt.types import Attempt, Candidate
from langchain_promptopt.types.edits import final_edits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._engine.budget import Spending
    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.search import Found
    from langchain_promptopt.types.edits import FinalEdit

_CLAIM = "max_edits"
"""Under this name calls for pruning are set aside on the ledger."""


@dataclass
class Pruning:
    """Cuts the winner of one search to at most `most` edits."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    most: int

    async def pruned(self, found: Found) -> Found:
        """What the search found, its best with fewer edits where fewer carry it."""
        known = {a.candidate.id: a.candidate for a in found.trajectory}
        edits = final_edits(self.run.baseline, found.best.candidate, known)
        if len(edits) < 2:
            return found
        try:
            best = await self._cut(found, edits)
        finally:
            self.spending.release(_CLAIM)
        return replace(found, best=best, trajectory=(*found.trajectory, best)) if best is not found.best else found

    async def _cut(self, found: Found, edits: tuple[FinalEdit, ...]) -> Attempt:
        best, rows = found.best, list(found.best.by_example)
        worth = [await self._lost(found, edits, i, rows) for i in range(len(edits))]
        judged = [w for w in worth if w is not None]
        if len(judged) < len(edits):  # to rank some edits by score and others not would favour the unscored
            self._report("the budget did not cover a run without each edit; the edits made for the most rows are kept")
            ranked = sorted(range(len(edits)), key=lambda i: -len(edits[i].example_ids))
        else:
            ranked = sorted((i for i, lost in enumerate(judged) if lost > 0), key=lambda i: -judged[i])
        kept = tuple(edits[i] for i in sorted(ranked[: self.most]))
        if len(kept) == len(edits):
            return best
        lean = await self._attempt(found, kept, rows)
        # within the limit all edits stay; past it, edits that gain nothing together are no improvement
        if lean is not None and lean.n and lean.score <= self._baseline(rows):
            return best if len(edits) <= self.most else found.baseline
        if len(edits) > self.most:
            return lean or self._unscored(found, kept)
        # each edit alone could go, but perhaps not all of them together
        return lean if lean is not None and lean.score >= best.score else best

    async def _lost(self, found: Found, edits: Sequence[FinalEdit], i: int, rows: Sequence[str]) -> float | None:
        """How much score goes with this edit; None where the budget does not reach or the rest is no prompt."""
        rest = await self._attempt(found, (*edits[:i], *edits[i + 1 :]), rows)
        return None if rest is None else found.best.score - rest.score

    def _unscored(self, found: Found, edits: Sequence[FinalEdit]) -> Attempt:
        """The child of these edits where no budget is left to run it on search rows: the test decides about it."""
        child = self._child(found, edits)
        if self.run.renders(child.prompts) is not None:
            return found.baseline
        self._report_child(child)
        return Attempt(child, found.best.score)

    async def _attempt(self, found: Found, edits: Sequence[FinalEdit], rows: Sequence[str]) -> Attempt | None:
        """The child these edits make, scored on the rows; None where it does not render or the budget is used up."""
        child = self._child(found, edits)
        missing = len(set(rows) - set(self.evaluations.ids(child, "dev")))
        if self.run.renders(child.prompts) is not None:
            return None
        if missing and not self.spending.claim(_CLAIM, cells=missing):
            return None
        if child.id != self.run.baseline.id and not self.evaluations.ids(child, "dev"):
            self._report_child(child)
        await self.evaluations.settle(child, "dev", rows)
        scores = self.evaluations.primary(child, "dev")
        seen = {i: scores[i] for i in rows if i in scores}
        return Attempt(child, fmean(seen.values()) if seen else 0.0, seen)

    def _child(self, found: Found, edits: Sequence[FinalEdit]) -> Candidate:
        made = tuple(e.as_edit() for e in edits)
        base = self.run.baseline
        return Candidate(
            base.prompts.apply(made),
            step=self.run.state.step,
            origin="max_edits",
            scope="spans",
            parents=(base.id,),
            edits=made,
            enforced=found.enforced,
        )

    def _baseline(self, rows: Sequence[str]) -> float:
        scores = self.evaluations.primary(self.run.baseline, "dev")
        seen = [scores[i] for i in rows if i in scores]
        return fmean(seen) if seen else 0.0

    def _report_child(self, child: Candidate) -> None:
        self.run.emit(
            Proposed(
                parent_id=child.parents[0],
                candidate_id=child.id,
                step=child.step,
                scope="spans",
                edits=child.edits,
                prompts=child.prompts.as_json(),
            )
        )

    def _report(self, detail: str) -> None:
        self.run.emit(Incident(role="method", kind="max_edits", retryable=False, action="kept fewer", detail=detail))
