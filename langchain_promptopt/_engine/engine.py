"""A whole run: record, search, the held-out decision, result. Interruptions leave a journal that can be resumed.

The winner is pruned before it is tested. Each edit is taken out by turns and the rest run on the search rows that the
edits decided: those that the winner scores otherwise than one of the prompts on the way to it. An edit without which no
score is lost goes. With `max_edits`, what is left is cut to the limit, the most useful first. The search leaves the
calls for it; where they do not reach, no edit goes that is within the limit, past it the edits made for the most rows
stay, and that is said.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt._collections import all_as_json, parted, pick
from langchain_promptopt._engine.demonstrations import Demonstrating
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._engine.search import SearchEnd, SearchLoop
from langchain_promptopt._runtime.ledger import Spending
from langchain_promptopt._runtime.tracing import span, trace_metadata
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.events import Incident, Opened, Proposed, RunFinished, RunStarted, Tested, opening_key
from langchain_promptopt.gate import Decision, alpha_at
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import (
    Attempt,
    Candidate,
    Cell,
    Example,
    Outcome,
    Reason,
    attempts_by_id,
    candidates_by_id,
)
from langchain_promptopt.types.edits import final_edits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Demands
    from langchain_promptopt._engine.search import SearchEnd
    from langchain_promptopt.types import Outcomes, Trajectory
    from langchain_promptopt.types.edits import FinalEdit


class Keeper(Protocol):
    """Counts openings of the test rows and decides; pure given rows apart from the record of openings."""

    def open(self, rows: Sequence[Example], candidate_id: str, nonce: str) -> int:
        """Record that these rows are opened now for a candidate, before the first paid call.

        Args:
            rows: All rows of the test split.
            candidate_id: The candidate that is tested.
            nonce: Mark of this opening in the run's journal; the same mark is the same opening.

        Returns:
            The number of this opening, from 1 (alpha falls with it, product section 8).
        """
        ...

    def decide(self, baseline: Sequence[Outcome], candidate: Sequence[Outcome], opening: int) -> Decision:
        """The decision on complete rows.

        Args:
            baseline: Outcomes of the baseline on every test row and repeat.
            candidate: Outcomes of the candidate on the same rows and repeats.
            opening: Number of the opening, from `open`.
        """
        ...


UNENFORCED = (
    'children were made with enforce="audit" or "off", so their edits may lie outside the marked places: nothing is'
    " applied by itself"
)


async def run_gate(
    run: Run, evaluations: Evaluations, keeper: Keeper, best: Attempt, config: RunnableConfig, *, enforced: bool = True
) -> Decision:
    """Open the test split and decide between the baseline and `best`. Nothing of an unfinished test is shown.

    Every void test of this run before was a look of its own: its rows are in the journal, decide nothing, and are
    asked for anew. Only one that the budget ended goes on where it stopped.

    Without `enforced`, a child on the way to `best` was made without keeping it to the marked places; a gain
    then counts, but nothing is applied by itself (product 10.15).

    Args:
        run: The run.
        evaluations: All scores of the run.
        keeper: Counts the openings and decides.
        best: The attempt that the search chose.
        config: The LangChain config of the surrounding span: callbacks and metadata.
        enforced: Whether every child on the way to `best` was kept to its marked places.
    """
    found = best.candidate
    where = trace_metadata(found, step=found.step, split="test")
    async with span(config, "test", {"candidate_id": found.id}, where) as (_, end):
        run.state.test_open = True
        attempt = run.journal.voided
        # rows of earlier, void tests were paid for: reading them from the journal books them
        await evaluations.ensure_cells([c for c in _earlier(run, found, attempt) if c[1] in run.journal.cells])
        run.emit(Opened(candidate_id=found.id, rows=len(run.data["test"]), attempt=attempt))
        run.journal.flush()  # the mark stands on disk before anything is paid for the test
        opening = keeper.open(run.data["test"], found.id, run.journal.opened[opening_key(found.id, attempt)])
        verdict = await _decided(run, evaluations, keeper, interleaved(run, found, attempt), opening)
        if not enforced:
            verdict = replace(
                verdict,
                held_back=True,
                warnings=(*verdict.warnings, UNENFORCED),
                detail={**verdict.detail, "unenforced": True},
            )
        run.emit(Tested(metrics=verdict.metrics, verdict=verdict.verdict, opening=opening, detail=verdict.told))
        traces = {}
        for c in (run.baseline, found):
            traces[c.id] = run.tracers.traces.get((c.id, "test"), [])
        end({"verdict": verdict.verdict, "metrics": verdict.metrics, "traces": traces})
    return verdict


async def _decided(
    run: Run, evaluations: Evaluations, keeper: Keeper, cells: Sequence[tuple[Candidate, Cell]], opening: int
) -> Decision:
    """The decision on these cells; a void one where the budget ends before all are there."""
    try:
        outcomes = await evaluations.ensure_cells(cells)
    except BudgetSpent as spent:  # a decision on a part of the rows would not keep the error level
        run.emit(Incident(role="task", kind="budget", retryable=True, action="stop test", detail=str(spent)))
        told = f"the budget ended during the test ({spent})"
        if again := _retried(evaluations, cells):
            told += f"; {again} of its calls were retries, which no reserve knows beforehand"
        why = Reason("budget", told)
        return Decision(verdict="void", reason=why, opening=opening, alpha=alpha_at(run.gate.alpha, opening))
    baseline, candidate = parted(outcomes, lambda o: o.cell.candidate_id == run.baseline.id)
    verdict = keeper.decide(baseline, candidate, opening)
    unanswered = (*_unanswered(baseline, "old"), *_unanswered(candidate, "new"))
    verdict = replace(verdict, warnings=(*verdict.warnings, *unanswered))
    best = next(c for c, _ in cells if c.id != run.baseline.id)
    return _of_what_was_sent(verdict, (run.baseline, best), run.state.rendered_in_test)


def _of_what_was_sent(verdict: Decision, sides: tuple[Candidate, Candidate], rendered: Collection[str]) -> Decision:
    """The decision, without a verdict where no test example rendered a prompt in which the sides differ.

    What the two sides then scored are two runs of one thing. A rival with a salt differs in code or model too.
    """
    old, new = sides
    differ = dict.fromkeys([*old.prompts.changed_in(new.prompts), *new.prompts.changed_in(old.prompts)])
    unsent = [name for name in differ if name not in rendered]
    if not unsent:
        return verdict
    told = f"no test example renders prompt {', '.join(map(repr, unsent))}"
    if len(unsent) < len(differ) or new.salt:
        return replace(verdict, warnings=(*verdict.warnings, f"{told}, so it was not compared"))
    if verdict.verdict == "void":
        return verdict
    why = f"the sides differ in nothing that was sent: {told}; test examples that need it would show a difference"
    entries = tuple(replace(e, verdict="inconclusive") if e.role == "primary" else e for e in verdict.entries)
    return replace(verdict, verdict="inconclusive", reason=Reason("not_rendered", why), entries=entries)


_UNANSWERED = ("bad_request", "context_overflow", "content_filter", "target_error")
"""Failures by which the request or the program failed, not what the model wrote."""


def _unanswered(outcomes: Sequence[Outcome], side: str) -> Iterator[str]:
    """What to say of test examples that count 0 because no answer came, one sentence a kind of failure.

    Args:
        outcomes: The test's, of one side.
        side: "old" or "new".
    """
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.failure is not None and outcome.failure.kind in _UNANSWERED:
            failed.setdefault(outcome.failure.kind, []).append(outcome.failure.message)
    for kind, messages in sorted(failed.items()):
        share = f"{len(messages)} of {len(outcomes)}"
        yield f"{share} test evaluations of the {side} prompt got no answer and count 0: {kind}: {messages[0]:.200}"


def _retried(evaluations: Evaluations, cells: Sequence[tuple[Candidate, Cell]]) -> int:
    """Calls of the test that tried again what had failed, as far as its rows came in."""
    extra = 0
    for candidate in {c.id: c for c, _ in cells}.values():
        for outcomes in evaluations.known(candidate, "test").values():
            extra += sum(outcome.tries - 1 for outcome in outcomes)
    return extra


def interleaved(run: Run, best: Candidate, attempt: int = 0) -> list[tuple[Candidate, Cell]]:
    """Baseline and candidate by turns on each row and repeat, so that drift meets both alike.

    The repeats of an attempt are numbered on from those of the attempts before, so that no cell is another's.

    Args:
        run: The run.
        best: The candidate that is tested.
        attempt: How many tests of this run were void before.

    Returns:
        Pairs of candidate and cell, in the order in which they are evaluated.
    """
    ids = list(run.examples("test"))
    rng_at(run.seed, "test-order").shuffle(ids)
    first = attempt * run.gate.repeats
    out = []
    for i, example_id in enumerate(ids):
        for repeat in range(first, first + run.gate.repeats):
            pair = []
            for c in (run.baseline, best):
                pair.append((c, Cell(c.id, "test", example_id, repeat)))
            out += pair if (i + repeat) % 2 == 0 else pair[::-1]
    return out


def _earlier(run: Run, best: Candidate, attempt: int) -> list[tuple[Candidate, Cell]]:
    """Cells of the void attempts: paid for, so the ledger has to know of them."""
    found: list[tuple[Candidate, Cell]] = []
    for before in range(attempt):
        found.extend(interleaved(run, best, before))
    return found


EXIT: Mapping[Outcomes, int] = {"improved": 0, "no_gain": 3, "inconclusive": 3, "budget": 4}


@dataclass(frozen=True)
class Ended:
    """How a run ended. `verdict` is None when the gate was not opened."""

    outcome: Outcomes
    exit_code: int
    found: SearchEnd
    verdict: Decision | None


@dataclass
class Engine:
    """Runs one `Run` to its end."""

    run: Run
    keeper: Keeper
    gate_possible: bool = True
    evaluations: Evaluations | None = None
    """What the run has evaluated, once it began."""
    streamed: Callable[[RunnableConfig], AbstractAsyncContextManager[None]] = lambda _: nullcontext()
    """What goes on beside the run, given the config inside its span."""

    async def finish(self, started: RunStarted, config: RunnableConfig) -> Ended:
        """Search, gate, and the final event. Raises what makes a verdict impossible; the journal is then whole."""
        run = self.run
        names = {"promptopt_run_id": run.run_id, "promptopt_method": run.recipe.name}
        metadata = {**names, **trace_metadata(run.baseline, step=0)}
        inputs = {"prompts": run.baseline.prompts.as_json(), "method": run.recipe.name}
        async with span(config, "promptopt", inputs, metadata) as (inner, end), self.streamed(inner):
            run.emit(started)
            evaluations = self.evaluations = Evaluations(run)
            spending = Spending(run.ledger, run.foreseen)
            if self.gate_possible:  # before the first call, so that the search cannot spend what the test needs
                spending.reserve_test(2 * run.gate.repeats * len(run.data["test"]))
            pruning = Pruning(run, evaluations, spending)
            search = SearchLoop(run, evaluations, spending, pruning.reserve)
            demonstrating = Demonstrating(run, evaluations, spending)
            demonstrating.reserve()
            found = await demonstrating.shown(await search.found(inner), search.demands)
            found = await pruning.pruned(found, search.demands)
            verdict = await self._verdict(evaluations, found, inner)
            outcome = self._outcome(found, verdict)
            run.emit(
                RunFinished(
                    outcome=outcome,
                    exit_code=EXIT[outcome],
                    best_candidate_id=found.best.candidate.id,
                    usage=run.ledger.as_json(),
                    stopped=found.stopped,
                )
            )
            end(_outputs(outcome, run.baseline, found, verdict))
        return Ended(outcome, EXIT[outcome], found, verdict)

    async def _verdict(self, evaluations: Evaluations, found: SearchEnd, config: RunnableConfig) -> Decision | None:
        """None when there is nothing to test, or no test to run it on."""
        if found.best.candidate.id == self.run.baseline.id or not self.gate_possible:
            return None
        return await run_gate(self.run, evaluations, self.keeper, found.best, config, enforced=found.enforced)

    def _outcome(self, found: SearchEnd, verdict: Decision | None) -> Outcomes:
        if verdict is not None:
            return verdict.outcome
        if found.best.candidate.id != self.run.baseline.id:
            return "inconclusive"
        return "budget" if found.stopped.kind == "budget" else "no_gain"


def _outputs(outcome: str, baseline: Candidate, found: SearchEnd, verdict: Decision | None) -> dict[str, Any]:
    known = candidates_by_id(found.trajectory)
    return {
        "outcome": outcome,
        "edits": all_as_json(final_edits(baseline, found.best.candidate, known)),
        "test": verdict.metrics if verdict is not None else [],
    }


# ---------------------------------------------------------------- pruning: the winner keeps the edits that carry it

_CLAIM = "pruning"
"""Under this name calls for pruning are set aside on the ledger."""


def _local(best: Candidate, known: Mapping[str, Candidate]) -> bool:
    """Whether local edits alone made it: pieces of a text that was written anew mean nothing one by one."""
    at: Candidate | None = best
    while at is not None and at.parents:
        if at.scope == "global":
            return False
        at = known.get(at.parents[0])
    return True


@dataclass
class Pruning:
    """Takes edits that add nothing out of the winner of one search, and cuts it to the run's `max_edits`."""

    run: Run
    evaluations: Evaluations
    spending: Spending

    def reserve(self, best: Attempt, trajectory: Trajectory) -> None:
        """Keep the calls from the search that pruning this attempt would take, at most two for each dev row."""
        edits, cells = self._edits(best, trajectory), 0
        if edits:
            cells = len(edits) * len(self._decided(best, trajectory)) + len(best.by_example)
        self.spending.set_aside(_CLAIM, min(cells, 2 * len(self.run.data["dev"])))

    async def pruned(self, found: SearchEnd, demands: Demands) -> SearchEnd:
        """What the search found, its best with fewer edits where fewer carry it and break no example of `must_pass`."""
        self.spending.set_aside(_CLAIM, 0)
        edits = self._edits(found.best, found.trajectory)
        if not edits:
            return found
        try:
            best = await self._cut(found, edits)
        finally:
            self.spending.release(_CLAIM)
        if best is not found.best and best is not found.baseline:
            _, out = await demands.kept([best.candidate])
            if out:
                most = self.run.max_edits or len(edits)
                limit = f"at most {most} {'edit' if most == 1 else 'edits'}"
                self._report_fewer(f"with {limit} the new prompt {next(iter(out.values()))}")
                best = found.best if len(edits) <= most else found.baseline
        return replace(found, best=best, trajectory=(*found.trajectory, best)) if best is not found.best else found

    def _edits(self, best: Attempt, trajectory: Trajectory) -> tuple[FinalEdit, ...]:
        """The edits that may go one by one; none where there is nothing to choose."""
        if self.run.recipe.shortens:  # each of its edits makes the prompt shorter, and none has to gain anything
            return ()
        known = candidates_by_id(trajectory)
        edits = final_edits(self.run.baseline, best.candidate, known)
        alone = len(edits) < 2 or (self.run.max_edits is None and not _local(best.candidate, known))
        return () if alone else edits

    def _decided(self, best: Attempt, trajectory: Trajectory) -> list[str]:
        """The rows of the best that its edits decided: a prompt on the way to it scored otherwise, or none was run."""
        rows: list[str] = []
        before = self._before(best, trajectory)
        for example_id, score in best.by_example.items():
            known = {a.by_example.get(example_id) for a in before} - {None}
            if known != {score}:
                rows.append(example_id)
        return rows or list(best.by_example)

    def _before(self, best: Attempt, trajectory: Trajectory) -> list[Attempt]:
        """The attempts on the way from the baseline to this one."""
        attempts = attempts_by_id(trajectory)
        wanted, out = [self.run.baseline.id, *best.candidate.parents[:1]], []
        while wanted:
            found = attempts.pop(wanted.pop(), None)
            if found is not None and found.candidate.id != best.candidate.id:
                out.append(found)
                wanted.extend(found.candidate.parents[:1])
        return out

    async def _cut(self, found: SearchEnd, edits: tuple[FinalEdit, ...]) -> Attempt:
        best, rows, most = found.best, list(found.best.by_example), self.run.max_edits or len(edits)
        worth = await self._worth(found, edits)
        if worth is None:  # to rank some edits by score and others not would favour the unscored
            if len(edits) <= most:
                detail = "the budget did not cover a run without each edit, so some of them may add nothing"
                self._report(_CLAIM, "kept all", detail)
                return best
            self._report_fewer(
                "the budget did not cover a run without each edit; the edits made for the most examples are kept"
            )
            ranked = sorted(range(len(edits)), key=lambda i: -len(edits[i].example_ids))
        else:
            ranked = sorted((i for i, lost in enumerate(worth) if lost > 0), key=lambda i: -worth[i])
        kept = tuple(edits[i] for i in sorted(ranked[:most]))
        if len(kept) == len(edits):
            return best
        lean = await self._attempt(found, kept, rows)
        # within the limit all edits stay; past it, edits that gain nothing together are no improvement
        if lean is not None and lean.n and lean.score <= self._baseline(rows):
            return best if len(edits) <= most else found.baseline
        if len(edits) > most:
            return lean or self._unscored(found, kept)
        # each edit alone could go, but perhaps not all of them together
        return lean if lean is not None and lean.score >= best.score else best

    async def _worth(self, found: SearchEnd, edits: Sequence[FinalEdit]) -> list[float] | None:
        """How much score goes with each edit; None where the budget does not reach or one's rest is no prompt."""
        rests = [self._child(found, (*edits[:i], *edits[i + 1 :])) for i in range(len(edits))]
        if any(self.run.renders(rest.prompts) is not None for rest in rests):
            return None
        rows = self._decided(found.best, found.trajectory)
        missing = sum(self._missing(rest, rows) for rest in rests)
        if missing and not self.spending.claim(_CLAIM, cells=missing):
            return None
        whole = fmean(found.best.by_example[i] for i in rows) if rows else 0.0
        return [whole - (await self._scored(found, rest, rows)).score for rest in rests]

    def _unscored(self, found: SearchEnd, edits: Sequence[FinalEdit]) -> Attempt:
        """The child of these edits where no budget is left to run it on search rows: the test decides about it."""
        child = self._child(found, edits)
        if self.run.renders(child.prompts) is not None:
            return found.baseline
        self._report_child(child, found.best.candidate)
        return Attempt(child, found.best.score)

    async def _attempt(self, found: SearchEnd, edits: Sequence[FinalEdit], rows: Sequence[str]) -> Attempt | None:
        """The child these edits make, scored on the rows; None where it does not render or the budget is used up."""
        child = self._child(found, edits)
        missing = self._missing(child, rows)
        if self.run.renders(child.prompts) is not None:
            return None
        if missing and not self.spending.claim(_CLAIM, cells=missing):
            return None
        return await self._scored(found, child, rows)

    def _missing(self, child: Candidate, rows: Sequence[str]) -> int:
        return len(set(rows) - set(self.evaluations.ids(child, "dev")))

    async def _scored(self, found: SearchEnd, child: Candidate, rows: Sequence[str]) -> Attempt:
        if child.id != self.run.baseline.id and not self.evaluations.ids(child, "dev"):
            self._report_child(child, found.best.candidate)
        await self.evaluations.settle(child, "dev", rows)
        scores = self.evaluations.scores(child, "dev")
        seen = pick(scores, rows)
        return Attempt(child, fmean(seen.values()) if seen else 0.0, seen)

    def _child(self, found: SearchEnd, edits: Sequence[FinalEdit]) -> Candidate:
        made = tuple(e.as_edit() for e in edits)
        base = self.run.baseline
        return Candidate(
            base.prompts.apply(made),
            step=self.run.state.step,
            origin="pruning",
            scope="spans",
            parents=(base.id,),
            edits=made,
            enforced=found.enforced,
        )

    def _baseline(self, rows: Sequence[str]) -> float:
        scores = self.evaluations.scores(self.run.baseline, "dev")
        seen = [scores[i] for i in rows if i in scores]
        return fmean(seen) if seen else 0.0

    def _report_child(self, child: Candidate, whole: Candidate) -> None:
        made = Proposed.of(child, parent_id=child.parents[0], enforce="strict" if child.enforced else "audit")
        self.run.emit(replace(made, part_of=whole.id))

    def _report_fewer(self, detail: str) -> None:
        self._report("max_edits", "kept fewer", detail)

    def _report(self, kind: str, action: str, detail: str) -> None:
        self.run.emit(Incident(role="method", kind=kind, retryable=False, action=action, detail=detail))
