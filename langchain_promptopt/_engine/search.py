"""The search: baseline, seeds, steps, choice. One loop for every recipe (algorithms 5.1).

`SearchLoop.found` is the order of events; `step` has the parts of one step, `archive` what is known after it.
The baseline's scores are checked before anything else is paid for (product 7.7, 10.3).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_promptopt._collections import ids_of
from langchain_promptopt._engine.archive import Archive, report_stop
from langchain_promptopt._engine.evaluations import UNJUDGED, Demands, DevScores
from langchain_promptopt._engine.step import (
    Proposal,
    SearchStep,
    StepPlan,
    ask_for,
    plan_step,
    sift_families,
    write_children,
)
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.tracing import span, trace_metadata
from langchain_promptopt.errors import DataError, EvaluatorError, PromptError
from langchain_promptopt.events import Proposed, Rejected
from langchain_promptopt.protocols import GuardContext, PartialScoring, Progress, rng_at
from langchain_promptopt.types import (
    Attempt,
    Batch,
    Candidate,
    Draft,
    Outcome,
    Shown,
    Stop,
    Trajectory,
    Workpiece,
    attempts_by_id,
    candidates_by_id,
    told,
    told_fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._runtime.ledger import Spending
    from langchain_promptopt.types import Rejection

StepEnd: TypeAlias = Literal["done", "idle", "no_budget"]
"""What became of a step: it tried or measured something, found nothing to do, or did not fit the budget."""

_DOES_NOT_FIT = Stop("budget", "the next step does not fit the budget")
_NOTHING_LEFT = Stop("nothing_left", "no example shows an error that a proposal could start from")


@dataclass(frozen=True)
class SearchEnd:
    """What the search ends with."""

    best: Attempt
    baseline: Attempt
    trajectory: Trajectory
    steps: int
    stopped: Stop

    @property
    def enforced(self) -> bool:
        """Whether every child on the way to the best was kept to its marked places."""
        known = candidates_by_id(self.trajectory)
        at: Candidate | None = self.best.candidate
        for _ in range(len(known) + 1):
            if at is None:
                return True
            if not at.enforced:
                return False
            at = known.get(at.parents[0]) if at.parents else None
        return True


@dataclass
class SearchLoop:
    """State of one search; `found` is its result. Decisions are made at step ends, in canonical order."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    reserve: Callable[[Attempt, Trajectory], None] = lambda *_: None
    """Called before each step with the leader and all attempts: keeps calls for what comes after the search."""
    dev_val: list[tuple[float, float]] = field(default_factory=list)
    errors: int | None = None
    """Failed train rows of the best prompt that was run on them."""
    shown: int = 0
    """Errors shown since the best last rose, each time counted."""

    def __post_init__(self) -> None:
        self.archive = Archive(self.run)
        self.demands = Demands(self.run, self.evaluations, self.spending)

    async def found(self, config: RunnableConfig) -> SearchEnd:
        """Run to the end. A spent budget ends the search early with the best so far (N7)."""
        await self._baseline(config)
        total = self.run.recipe.stop.total(len(self.run.data["train"]))
        t, stop = 0, self._over(0, total)
        while stop is None:
            t += 1
            self.run.state.step = t
            stop = await self._stop_after(t, total, config) or self._over(t, total)
        report_stop(self.run, stop)
        return SearchEnd(await self._pick(), self.archive.trajectory[0], tuple(self.archive.trajectory), t, stop)

    def _over(self, t: int, total: int) -> Stop | None:
        """Why no step may follow step `t`: the budget, or the step limit.

        A budget takes the place of the step limit: while gains come, each grants `total` further steps.
        """
        if t < total or (self.spending.limited and self.archive.stalled < total):
            spent = self.spending.reason
            return Stop("budget", spent) if spent is not None else None
        steps = f"{total} {'step' if total == 1 else 'steps'}"
        return Stop("steps", f"no gain for {steps}" if t > total else f"the limit of {steps} was reached")

    async def _stop_after(self, t: int, total: int, config: RunnableConfig) -> Stop | None:
        """Make step `t`; why the search ends with it, or None."""
        known = self._train_rows()
        ended = await self._step(t, total, config)
        if ended == "no_budget":
            return _DOES_NOT_FIT
        if ended == "idle":  # the rows that were drawn show no error; where they were new, others may
            return None if self._train_rows() > known else _NOTHING_LEFT
        why = self.run.recipe.stop.reason(await self._progress(t))
        return None if why is None else _as_stop(why)

    def _train_rows(self) -> int:
        """Train rows that the attempts left were run on."""
        return sum(len(self.evaluations.ids(a.candidate, "train")) for a in self.archive.kept)

    async def _baseline(self, config: RunnableConfig) -> None:
        base = self.run.baseline
        where = trace_metadata(base, step=0, split="dev")
        async with span(config, "baseline", {"candidate_id": base.id}, where) as (inner, end):
            outcomes = await self._measure_baseline()
            self.spending.learn(outcomes)
            self.spending.release(0)
            check_baseline(self.run, outcomes)
            self._settle()
            await self.demands.learn()
            first = self._attempt(self.run.baseline)
            self.archive.begin(first, await self._seeds(first, inner))
            first = self.archive.trajectory[0]
            end({"score": first.score, "n": first.n, "traces": self._traces([base])})

    async def _measure_baseline(self) -> list[Outcome]:
        """Its first rows; all of them where those look as if the set-up were broken."""
        ids, scoring = DevScores(self.run, self.evaluations, 0).examples, self.run.recipe.scoring
        # a few rows may all score 0 or all 1 by chance: then the others are run, too, before this counts as broken
        rows = scoring.first(len(ids)) if isinstance(scoring, PartialScoring) else len(ids)
        self.spending.claim(0, cells=rows)
        outcomes = await self.evaluations.ensure(self.run.baseline, "dev", ids[:rows])
        if rows < len(ids) and baseline_problem(self.run, outcomes) is not None:
            self.spending.claim(0, cells=len(ids) - rows)
            outcomes = await self.evaluations.ensure(self.run.baseline, "dev", ids)
        return outcomes

    async def _seeds(self, first: Attempt, config: RunnableConfig) -> list[Attempt]:
        """Attempts of the seeds; where the baseline has seen a part of the rows only, they race with it."""
        recipe = self.run.recipe
        ask = replace(ask_for(self.run, config, 0, "seeding"), refused=partial(_report_refused, self.run))
        with self.run.working():
            extra = await recipe.seeding.seeds(self.run.baseline, self.run.shown_rows("train"), ask)
        fresh = _admit_seeds(self.run, self.spending, _distinct(extra, {self.run.baseline.id}))
        fresh, _ = await self.demands.kept(fresh)
        if not recipe.scoring.eager:
            self.spending.release(0)
        bench = DevScores(self.run, self.evaluations, 0, None if recipe.scoring.eager else self.spending)
        behind = isinstance(recipe.scoring, PartialScoring) and first.n < len(bench.examples)
        beside = [first] if behind or recipe.shortens else []
        scored = list(await recipe.scoring.score(fresh, beside, bench)) if fresh else []
        self.spending.release(0)
        return scored

    async def _step(self, t: int, total: int, config: RunnableConfig) -> StepEnd:
        recipe, archive = self.run.recipe, self.archive
        async with span(config, f"step {t}", {"step": t}, {"promptopt_step": t}) as (inner, end):
            rng = rng_at(self.run.seed, "parents", t)
            parents = recipe.search.parents(tuple(archive.trajectory), archive.kept, t, rng)
            step = SearchStep(self.run, self.evaluations, self.spending, archive, t, total, inner)
            self.reserve(archive.leader, tuple(archive.trajectory))
            plan = await plan_step(step, parents)
            self.errors = self.errors if plan.errors is None else plan.errors
            self.shown = plan.shown + (self.shown if archive.stalled else 0)
            if plan.cut and not plan.families:
                return "no_budget"
            rival = archive.rival(idle=not plan.families)
            if not plan.families and rival is None:
                return "idle"
            fresh, archive.refused = await self.demands.kept(await self._children(step, plan))
            tried = {"candidates": ids_of(fresh)}
            async with span(inner, "evaluate", tried, {"promptopt_split": "dev"}) as (_, done):
                bench = DevScores(self.run, self.evaluations, t, None if plan.early else self.spending)
                scored = await recipe.scoring.score(fresh, archive.kept, bench)
                if rival is not None and isinstance(recipe.scoring, PartialScoring):
                    scored = (*scored, *await recipe.scoring.catch_up((archive.leader, rival), bench))
                done({"scores": {a.candidate.id: a.score for a in scored}, "traces": self._traces(fresh)})
            self.spending.release(t)
            async with span(inner, "select", {"scored": list(attempts_by_id(scored))}) as (_, chosen):
                archive.admit(scored, t, rival)
                chosen({"kept": [a.candidate.id for a in archive.kept], "dropped": archive.dropped})
            end({"best": archive.leader.candidate.id, "score": archive.leader.score})
        return "done"

    async def _children(self, step: SearchStep, plan: StepPlan) -> list[Candidate]:
        """The children of all proposals that go on to dev: written, pruned, and tried where the recipe wants it."""
        proposals: list[Proposal] = []
        for _, made in plan.families:
            proposals.extend(made)
        written = await together(self._written(p, early=plan.early) for p in proposals)
        if not plan.early:
            self.spending.release(step.t)  # from here on each row is claimed when it is asked for
        kept = self._pruned(plan, written, step.t)
        tried = await sift_families(step, plan, kept)
        self.spending.release(step.t)
        known = attempts_by_id(self.archive.trajectory)
        return _distinct(tried, known)

    async def _written(self, proposal: Proposal, *, early: bool) -> tuple[Candidate, ...]:
        """A proposal's children; where all of them will be scored in full, their rows start at once."""
        made = await write_children(self.run, proposal)
        if early:
            ids = DevScores(self.run, self.evaluations, proposal.step).examples
            await together(self.evaluations.ensure(c, "dev", ids) for c in _distinct(made))
        return made

    def _pruned(self, plan: StepPlan, written: Sequence[Sequence[Candidate]], t: int) -> Mapping[int, list[Candidate]]:
        """New children that are kept before scoring, by the number of their proposal."""
        known = set(attempts_by_id(self.archive.trajectory))
        kept: dict[int, list[Candidate]] = {}
        at = 0
        for parent, proposals in plan.families:
            numbers = range(at, at + len(proposals))
            at = numbers.stop
            maker: dict[str, int] = {}
            made: list[Candidate] = []
            for number in numbers:
                made += written[number]
                for child in written[number]:
                    maker.setdefault(child.id, number)  # of several proposals with the same child the first counts
            new = _distinct(made, known)
            rng = rng_at(self.run.seed, "prune", t, parent.candidate.id)
            for child in self.run.recipe.proposals.prune(new, parent, rng):
                kept.setdefault(maker[child.id], []).append(child)
                known.add(child.id)
        return kept

    def _settle(self) -> None:
        """Freeze the prompts that no row of the baseline renders: nothing can be learned about them."""
        if self.run.settle is None:
            return
        prompts, self.run.state.remarks = self.run.settle(self.run.state.rendered)
        if prompts is not self.run.baseline.prompts:
            self.run = replace(self.run, baseline=replace(self.run.baseline, prompts=prompts))

    def _traces(self, candidates: Sequence[Candidate]) -> dict[str, list[str]]:
        """Ids of the evaluation traces on dev rows, by candidate."""
        found: dict[str, list[str]] = {}
        for c in candidates:
            found[c.id] = self.run.tracers.traces.get((c.id, "dev"), [])
        return found

    def _attempt(self, candidate: Candidate) -> Attempt:
        scores = self.evaluations.scores(candidate, "dev")
        return Attempt(candidate, sum(scores.values()) / len(scores) if scores else 0.0, scores)

    async def _progress(self, t: int) -> Progress:
        if self.run.data["val"] and self._claim_val(self.archive.leader):
            val = await self._val(self.archive.leader)
            self.dev_val.append((self.archive.leader.score, _mean(val.values())))
        self.spending.release(t)
        return Progress(
            t=t,
            best=tuple(self.archive.best),
            dev_val=tuple(self.dev_val),
            train_errors=self.errors,
            dev_size=len(self.run.data["dev"]),
            limited=self.spending.limited,
            open_errors=self._open_errors(),
            shown=self.shown if self.archive.stalled else 0,
        )

    def _open_errors(self) -> int:
        """Train rows that the leader fails, estimated from those it was run on."""
        scores = self.evaluations.scores(self.archive.leader.candidate, "train")
        failed = sum(s < 1.0 for s in scores.values())
        return round(failed / len(scores) * len(self.run.data["train"])) if scores else 0

    def _claim_val(self, attempt: Attempt) -> bool:
        known = self.evaluations.known(attempt.candidate, "val")
        return self.spending.claim(self.run.state.step, cells=len(self.run.data["val"]) - len(known))

    async def _val(self, attempt: Attempt) -> Mapping[str, float]:
        ids = list(self.run.examples("val"))
        await self.evaluations.ensure(attempt.candidate, "val", ids)
        return self.evaluations.scores(attempt.candidate, "val")

    async def _pick(self) -> Attempt:
        final, val, out = self.run.recipe.final, {}, set()
        if self.run.data["val"] and final.top:
            measured = [a for a in self.archive.trajectory[1:] if not a.out]
            ranked = sorted(measured, key=lambda a: -a.score)[: final.top]
            # the user's own prompt is measured, too: the winner must beat it on the same rows
            for attempt in (self.archive.trajectory[0], *ranked):
                if self._claim_val(attempt):
                    val[attempt.candidate.id] = await self._val(attempt)
                    if not self.demands.passes(attempt.candidate, "val"):
                        out.add(attempt.candidate.id)
                        del val[attempt.candidate.id]
                self.spending.release(self.run.state.step)
        if self.run.fits is not None:  # a method that shortens passes through prompts that are still too long
            out |= {a.candidate.id for a in self.archive.trajectory[1:] if not self.run.fits(a.candidate.prompts)}
        left = [replace(a, out=True) if a.candidate.id in out else a for a in self.archive.trajectory]
        return final.pick(tuple(left), val, self.run.baseline.id)


def _as_stop(said: object) -> Stop:
    """The reason that a Stopping gave; a plain sentence, as before version 0.2, becomes a "custom" one."""
    return said if isinstance(said, Stop) else Stop("custom", str(said))


def _mean(values: object) -> float:
    found = list(values)  # type: ignore[call-overload]  # any iterable of floats
    return sum(found) / len(found) if found else 0.0


def _distinct(candidates: Sequence[Candidate], known: Collection[str] = ()) -> list[Candidate]:
    """Each candidate that is not known, once; of several that are the same text the first counts, as in the record."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.id not in known:
            found.setdefault(candidate.id, candidate)
    return list(found.values())


NOTHING_TO_IMPROVE = "nothing to improve"
"""The reason of the error where the baseline is right on all rows."""


def check_baseline(run: Run, outcomes: Sequence[Outcome]) -> None:
    """Raise where the set-up is broken: evaluators that fail, or scores that are all 0 or all 1.

    Raises:
        EvaluatorError: Evaluators gave no score for too many rows.
        DataError: With one row, its answer and what went wrong on it.
    """
    problem = baseline_problem(run, outcomes)
    if problem is not None:
        raise problem


def baseline_problem(run: Run, outcomes: Sequence[Outcome]) -> EvaluatorError | DataError | None:
    """What looks broken about these outcomes; None where nothing does."""
    broken = []
    for o in outcomes:
        if o.failure is not None and o.failure.kind == UNJUDGED:
            broken.append(o)
    if len(broken) > run.max_failure_rate * len(outcomes):
        msg = f"evaluators raised on {len(broken)} of {len(outcomes)} baseline examples"
        mend = "Run the evaluator on this example by hand. If an example has nothing to judge, return a score of None."
        return EvaluatorError(msg, **_shown(run, broken[0]), mend=mend)
    judged = [o for o in outcomes if not o.dropped]
    values = map(run.objective.value, (o.scores for o in judged))
    scores = {v for v in values if v is not None}
    if (unknown := _unscored(run, judged, scores)) is not None:
        return unknown
    if len(outcomes) < 2 or len(scores) != 1 or next(iter(scores)) not in {0.0, 1.0}:
        return None
    value = next(iter(scores))
    if value and run.recipe.shortens:  # a prompt that gets everything right can still be too long
        return None
    msg = f"the baseline scores {value:g} on all {len(outcomes)} dev examples"
    mend = (
        f"{_told(run)}Look at this example: is the evaluator reading the right field, and does the chain answer at all?"
        if not value
        else "There is nothing to improve on these examples; use harder ones."
    )
    why = {"reason": NOTHING_TO_IMPROVE} if value else {}
    return DataError(msg, **_shown(run, outcomes[0]), mend=mend, **why)


def _told(run: Run) -> str:
    """What the evaluations so far have shown of the target, as sentences."""
    told: tuple[str, ...] = ()
    if run.settle is not None:
        with suppress(PromptError):
            _, told = run.settle(run.state.rendered)
    return "".join(f"{text[:1].upper()}{text[1:]}. " for text in told)


def _unscored(run: Run, judged: Sequence[Outcome], scores: set[float]) -> EvaluatorError | None:
    """A metric that the gate names and no row has: it cannot decide anything."""
    objective = run.objective
    if objective.metrics is None or not judged:
        return None
    given = ", ".join(objective.metrics.names)
    for name in (run.gate.primary, *run.gate.weights, *run.gate.guards):
        if name is not None and objective.metrics.find(name) is None:
            msg = f"the gate names the metric {name!r}, and the evaluators gave {given}"
            return EvaluatorError(msg, mend="Name one of those in the gate, or correct the evaluator's key.")
    if scores:
        return None
    msg = f"`{', '.join(objective.deciding)}` decides, and gave no score on any of {len(judged)} baseline examples"
    mend = "Return a number, give its words values with declare(..., values={'good': 1.0}), or name"
    return EvaluatorError(msg, **_shown(run, judged[0]), mend=f"{mend} another metric in the gate ({given}).")


def _shown(run: Run, outcome: Outcome) -> dict[str, str]:
    """One row with its answer, which only the journal still has, and its failure."""
    example = run.shown(run.examples(outcome.cell.split)[outcome.cell.example_id])
    answer = run.journal.cells.get(outcome.cell, outcome).output
    inputs, expected = told_fields(example.inputs), told_fields(example.outputs)
    said = f"inputs {inputs!r:.300}, expected {expected!r:.300}, answer {told(answer)!r:.300}"
    failed = f", {outcome.failure.kind}: {outcome.failure.message:.300}" if outcome.failure is not None else ""
    return {"where": f"example {example.id!r}", "row_text": f": {said}{failed}"}


def _report_refused(run: Run, refused: Iterable[Rejection]) -> None:
    """Replies that made no seed, journaled so that they count in the rates."""
    for rejection in refused:
        run.emit(Rejected.of(rejection, parent_id=run.baseline.id, step=0))


def _admit_seeds(run: Run, spending: Spending, seeds: Iterable[Candidate]) -> list[Candidate]:
    """The seeds that pass the guards, render on every row and fit the budget, in their order; each is journaled."""
    cells = len(run.data["dev"]) if run.recipe.scoring.eager else 0
    out: list[Candidate] = []
    for seed in seeds:
        refusal = _refusal_of_seed(run, seed, {run.baseline.id, *ids_of(out)}) or run.renders(seed.prompts)
        if refusal is not None:
            _report_refused(run, [refusal])
            continue
        if not spending.claim(0, cells=cells):  # all seeds cost the same, so the next would not fit either
            break
        parent_id = seed.parents[0] if seed.parents else run.baseline.id
        run.emit(Proposed.of(seed, parent_id=parent_id))
        out.append(seed)
    return out


def _refusal_of_seed(run: Run, seed: Candidate, known: set[str]) -> Rejection | None:
    """The guards' refusal of a seed that is made of edits of the user's prompt, as of any other child (spec 5.4)."""
    if not seed.edits:
        return None
    rows = run.shown_rows("train", "dev")
    ids: set[str] = set()
    for e in seed.edits:
        ids.update(e.example_ids)
    shown = tuple(Shown(e.id, e.inputs, e.outputs, None, 0.0) for e in rows if e.id in ids)
    piece = Workpiece(run.baseline.prompts, batch=Batch(formats=shown))
    context = GuardContext(piece, seed.scope or "global", frozenset(known), rows)
    return run.recipe.guards.check(run.baseline.prompts, Draft(seed.prompts, seed.edits), context)
