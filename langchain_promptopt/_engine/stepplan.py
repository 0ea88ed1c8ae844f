"""What a step sets out to do: evidence of its parents and the proposals that fit the budget, in canonical order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_core.runnables.config import merge_configs

from langchain_promptopt._engine.line import Line, ask_for
from langchain_promptopt._engine.regression import rows_to_keep
from langchain_promptopt._engine.signs import marks_astray, tell_astray
from langchain_promptopt._engine.tasks import together
from langchain_promptopt._runtime.tracing import marks
from langchain_promptopt.events import Incident
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Attempt, Candidate, Example, Outcome, Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.spending import Spending
    from langchain_promptopt._engine.standing import Standing


@dataclass(frozen=True)
class Where:
    """The place of a step in the search: step `t` of `total`, after all that is in `standing`."""

    t: int
    total: int
    standing: Standing


@dataclass
class StepPlanner:
    """Plans the steps of one run. `errors` counts the failed train rows of the best prompt that was run on them."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    errors: int | None = None

    @property
    def early(self) -> bool:
        """Whether children are scored on all rows as soon as they are there."""
        return self.run.recipe.scoring.eager and self.run.recipe.proposals.keeps_all

    async def plan(
        self, parents: Sequence[Attempt], where: Where, config: RunnableConfig
    ) -> list[tuple[Attempt, list[Line]]] | None:
        """Lines that fit the budget, in canonical order, with the evidence they start from."""
        affordable = [p for p in parents if self._claim_evidence(p, where)]
        if parents and not affordable:
            return None
        rows = await together(self._evidence(p, where) for p in affordable)
        self.spending.release(where.t)
        plan, cut = [], 0
        for parent, shown in zip(affordable, rows, strict=True):
            lines: list[Line] = []
            for line in self._lines(parent, shown, where, config):
                children = self._claim_line(line, raced=not (lines and self.run.recipe.proposals.screening))
                cut += children < self.run.recipe.proposals.per_call
                if children:
                    lines.append(replace(line, children=children))
            if lines:
                plan.append((parent, lines))
        if cut and plan:
            detail = f"step {where.t}: {cut} proposals do not fit the budget"
            self.run.emit(Incident(role="engine", kind="budget", retryable=True, action="leave out", detail=detail))
        return None if cut and not plan else plan

    def _claim_evidence(self, parent: Attempt, where: Where) -> bool:
        wanted = self._wanted(parent, where)
        missing = len(wanted) - len(set(wanted) & set(self.evaluations.known(parent.candidate, "train")))
        return self.spending.claim(where.t, cells=missing)

    def _claim_line(self, line: Line, *, raced: bool) -> int:
        """How many children of a line the budget bears, each with the rows it must see and all its model calls.

        Where every row is used that is an upper bound; a race claims its later rows as it goes. Where children
        are tried first, one of a parent goes on to dev, so only its first line is `raced`.
        """
        recipe, dev = self.run.recipe, len(self.run.data["dev"])
        rows = (dev if self.early else recipe.scoring.least(dev)) if raced else 0
        tried = min(recipe.proposals.screening, len(line.batch.errors) + len(line.batch.correct))
        rows += max(tried, len(rows_to_keep(self.run, line)))
        most = recipe.proposals.per_call
        for n in range(most, 0, -1):
            if self.spending.claim(line.step, cells=n * rows, optimizer_calls=4 + 2 * n):
                return n
        return 0

    def _wanted(self, parent: Attempt, where: Where) -> tuple[str, ...]:
        ids = tuple(e.id for e in self.run.data["train"])
        rng = rng_at(self.run.seed, "evidence", where.t, parent.candidate.id, "rows")
        return self.run.recipe.evidence.wanted(
            ids, rng, self._known_before(parent.candidate, where.standing.trajectory)
        )

    def _known_before(self, candidate: Candidate, trajectory: Sequence[Attempt]) -> dict[str, tuple[float, ...]]:
        """Train scores of a candidate and its ancestors, nearest first."""
        by_id = {a.candidate.id: a.candidate for a in trajectory}
        out: dict[str, tuple[float, ...]] = {}
        at: Candidate | None = candidate
        while at is not None:
            for i, score in self.evaluations.primary(at, "train").items():
                out[i] = (*out.get(i, ()), score)
            at = by_id.get(at.parents[0]) if at.parents else None
        return out

    async def _evidence(self, parent: Attempt, where: Where) -> list[Shown]:
        wanted = self._wanted(parent, where)
        outcomes = await self.evaluations.ensure(parent.candidate, "train", wanted) if wanted else []
        examples = self.run.examples("train")
        shown = [self._shown(examples[o.cell.example_id], o) for o in outcomes if not o.dropped]
        if outcomes and parent.candidate.id == where.standing.leader.candidate.id:
            self.errors = sum(s.score < 1.0 for s in shown)
        return shown

    def _shown(self, example: Example, outcome: Outcome | None) -> Shown:
        if outcome is None:
            return Shown(example.id, example.inputs, example.outputs, None, 0.0, example.note or "")
        comment = "; ".join(c for c in (*outcome.comments.values(), example.note or "", _why(outcome)) if c)
        return Shown(
            example.id,
            example.inputs,
            example.outputs,
            outcome.output,
            self.run.objective.value(outcome.scores),
            comment,
        )

    def _lines(self, parent: Attempt, rows: list[Shown], where: Where, config: RunnableConfig) -> list[Line]:
        recipe, t, trajectory = self.run.recipe, where.t, tuple(where.standing.trajectory)
        allowance = recipe.control.allowance(t, where.total)
        bare = [self._shown(e, None) for e in self.run.data["train"]]
        rng = rng_at(self.run.seed, "evidence", t, parent.candidate.id)
        batches = recipe.evidence.batches(rows, bare, recipe.proposals.per_parent, rng)
        astray = tell_astray(self.run, marks_astray(trajectory))
        marked = merge_configs(config, {"metadata": marks(parent.candidate, step=t, split="train")})
        return [
            Line(
                t,
                parent,
                batch,
                i,
                trajectory,
                allowance,
                ask_for(self.run, marked, t, parent.candidate.id, i),
                where.standing.stalled,
                astray=astray,
            )
            for i, batch in enumerate(batches)
        ]


def _why(outcome: Outcome) -> str:
    return f"{outcome.failure.kind}: {outcome.failure.message}" if outcome.failure is not None else ""
