"""One step of a search, from its parents to the children that go on to dev.

The order is the order of this file: `plan_step` runs the parents on the rows their evidence needs and
makes one `Proposal` for each batch that fits the budget; `write_children` lets the optimizer model
reflect, mark and rewrite; `splice_drafts` lets only those drafts become candidates that pass the guards;
`sift_families` tries the children on train rows where the recipe wants that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import merge_configs

from langchain_promptopt._collections import all_as_json, ids_of, pick
from langchain_promptopt._engine.archive import marks_astray, report_astray, report_global_step, report_remarks
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.tracing import span, trace_metadata
from langchain_promptopt.events import FeedbackGiven, Identified, Incident, Proposed, Rejected, Retrieved
from langchain_promptopt.protocols import Ask, GuardContext, Turn, rng_at
from langchain_promptopt.steps.base import tagged
from langchain_promptopt.steps.retriever import TrajectoryRetriever
from langchain_promptopt.types import (
    Allowance,
    Attempt,
    Batch,
    Candidate,
    Draft,
    Edit,
    Example,
    Outcome,
    Rejection,
    Remembered,
    Shown,
    Trajectory,
    Workpiece,
    attempts_by_id,
    candidates_by_id,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.archive import Archive
    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._runtime.ledger import Spending

_CALLS_OF_A_PROPOSAL = 4
"""Optimizer calls before the first child, at the most: a reflection, marks with a second try, a summary of the past."""
_CALLS_OF_A_CHILD = 2
"""A reply, and a second try where it could not be read or changed nothing."""


@dataclass(frozen=True)
class SearchStep:
    """Step `t` of `total`, after all that is in `archive`, and what its parts work with."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    archive: Archive
    t: int
    total: int
    config: RunnableConfig


@dataclass(frozen=True)
class Proposal:
    """What one request for children starts from."""

    step: int
    parent: Attempt
    batch: Batch
    trajectory: Trajectory
    allowance: Allowance
    ask: Ask
    children: int = 1


@dataclass(frozen=True)
class StepPlan:
    """What a step sets out to do.

    Args:
        families: Proposals by parent, in canonical order.
        early: Whether children are scored on all dev rows as soon as they are there.
        cut: Whether the budget left out a proposal.
        errors: Failed train rows of the leader, where it was among the parents that were run.
    """

    families: tuple[tuple[Attempt, tuple[Proposal, ...]], ...] = ()
    early: bool = False
    cut: bool = False
    errors: int | None = None

    @property
    def shown(self) -> int:
        """Errors that its proposals show, each time counted; a proposal that shows none counts once."""
        total = 0
        for _, proposals in self.families:
            total += sum(max(1, len(p.batch.errors)) for p in proposals)
        return total


async def plan_step(step: SearchStep, parents: Sequence[Attempt]) -> StepPlan:
    """Proposals that fit the budget, with the evidence they start from."""
    affordable = [p for p in parents if _claim_evidence(step, p)]
    if parents and not affordable:
        return StepPlan(cut=True)
    shown = await together(_evidence(step, p) for p in affordable)
    step.spending.release(step.t)  # the evidence is paid for and on the ledger
    families, cut, early = [], 0, True
    for parent, rows in zip(affordable, shown, strict=True):
        paid: list[Proposal] = []
        for proposal in _proposals(step, parent, rows):
            scored = _is_scored_at_once(step.run, proposal)
            children = _claim_children(step, proposal, sum(p.children for p in paid), early=scored)
            cut += children < step.run.recipe.proposals.per_call
            if children:
                early = early and scored
                paid.append(replace(proposal, children=children))
        if paid:
            families.append((parent, tuple(paid)))
    if cut and families:
        detail = f"step {step.t}: {cut} proposals do not fit the budget"
        step.run.emit(Incident(role="engine", kind="budget", retryable=True, action="leave out", detail=detail))
    return StepPlan(tuple(families), early and bool(families), bool(cut), _errors_of_leader(step, affordable, shown))


def _errors_of_leader(step: SearchStep, parents: Sequence[Attempt], shown: Sequence[Sequence[Shown]]) -> int | None:
    leader = step.archive.leader.candidate.id
    for parent, rows in zip(parents, shown, strict=True):
        if rows and parent.candidate.id == leader:
            return sum(s.score < 1.0 for s in rows)
    return None


def _is_scored_at_once(run: Run, proposal: Proposal) -> bool:
    """Whether nothing stands between a child and all dev rows."""
    recipe = run.recipe
    return recipe.scoring.eager and recipe.proposals.keeps_all and not recipe.trials.rows(proposal.batch)


def _claim_evidence(step: SearchStep, parent: Attempt) -> bool:
    known = step.evaluations.ids(parent.candidate, "train")
    missing = set(_wanted(step, parent)) - set(known)
    return step.spending.claim(step.t, cells=len(missing))


def _claim_children(step: SearchStep, proposal: Proposal, before: int, *, early: bool) -> int:
    """How many children of a proposal the budget bears, each with the rows it must see and all its model calls.

    Where every row is used that is an upper bound; a race claims its later rows as it goes.

    Args:
        step: The step.
        proposal: What the children start from.
        before: Children of the same parent that are claimed already: of all, the trials let some pass.
        early: Whether the children are scored in full at once.
    """
    recipe, dev = step.run.recipe, len(step.run.data["dev"])
    on_dev = dev if early else recipe.scoring.least(dev)
    tried = recipe.trials.rows(proposal.batch)
    for n in range(recipe.proposals.per_call, 0, -1):
        passing = recipe.trials.passing(before + n) - recipe.trials.passing(before)
        calls = _CALLS_OF_A_PROPOSAL + _CALLS_OF_A_CHILD * n
        if step.spending.claim(step.t, cells=passing * on_dev + n * tried, optimizer_calls=calls):
            return n
    return 0


def _wanted(step: SearchStep, parent: Attempt) -> tuple[str, ...]:
    ids = tuple(ids_of(step.run.data["train"]))
    rng = rng_at(step.run.seed, "evidence", step.t, parent.candidate.id, "rows")
    return step.run.recipe.evidence.wanted(ids, rng, _known_before(step, parent.candidate))


def _known_before(step: SearchStep, candidate: Candidate) -> dict[str, tuple[float, ...]]:
    """Train scores of a candidate and its ancestors, nearest first."""
    by_id = candidates_by_id(step.archive.trajectory)
    out: dict[str, tuple[float, ...]] = {}
    at: Candidate | None = candidate
    while at is not None:
        for i, score in step.evaluations.scores(at, "train").items():
            out[i] = (*out.get(i, ()), score)
        at = by_id.get(at.parents[0]) if at.parents else None
    return out


async def _evidence(step: SearchStep, parent: Attempt) -> list[Shown]:
    wanted = _wanted(step, parent)
    outcomes = await step.evaluations.ensure(parent.candidate, "train", wanted) if wanted else []
    examples = step.run.examples("train")
    value = step.run.objective.value
    judged = [o for o in outcomes if not o.dropped and value(o.scores) is not None]
    return [_shown(step.run, examples[o.cell.example_id], o) for o in judged]


def _shown(run: Run, row: Example, outcome: Outcome | None) -> Shown:
    example = run.shown(row)
    if outcome is None:
        return Shown(example.id, example.inputs, example.outputs, None, 0.0, example.note or "")
    failed = f"{outcome.failure.kind}: {outcome.failure.message}" if outcome.failure is not None else ""
    comment = "; ".join(filter(None, (*outcome.comments.values(), example.note or "", failed)))
    score = run.objective.value(outcome.scores) or 0.0
    return Shown(example.id, example.inputs, example.outputs, outcome.output, score, comment, outcome.steps)


def _proposals(step: SearchStep, parent: Attempt, rows: list[Shown]) -> list[Proposal]:
    run, t, recipe = step.run, step.t, step.run.recipe
    trajectory, stalled = tuple(step.archive.trajectory), step.archive.stalled
    bare = [_shown(run, e, None) for e in run.data["train"]]
    rng = rng_at(run.seed, "evidence", t, parent.candidate.id)
    batches = recipe.evidence.batches(rows, bare, recipe.proposals.per_parent, rng)
    astray = report_astray(run, marks_astray(trajectory))
    config = merge_configs(step.config, {"metadata": trace_metadata(parent.candidate, step=t, split="train")})
    proposals = []
    for i, batch in enumerate(batches):
        # under a budget a search may pass its step limit; the schedule then stays at its end
        allowance = recipe.control.allowance(min(t, step.total), step.total)
        unusable = 0 if run.state.rewrites["used"] else run.state.rewrites["unusable"]
        turn = Turn(batch=i, stalled=stalled, astray=astray, unusable=unusable)
        ask = ask_for(run, config, t, parent.candidate.id, i, turn=turn)
        proposals.append(Proposal(t, parent, batch, trajectory, allowance, ask))
    return proposals


def ask_for(run: Run, config: RunnableConfig, *place: str | int, turn: Turn | None = None) -> Ask:
    """The right to call the optimizer model at one address of this run.

    Args:
        run: The run.
        config: The LangChain config of the surrounding span: callbacks and metadata.
        *place: The address: the step first, then parent, batch and so on.
        turn: Batch, reason and stalled steps; None is the first of all.
    """

    def model(at: tuple[str | int, ...]) -> Any:
        return run.optimizer.at(at)

    paid_by = place[0] if place and isinstance(place[0], int) else 0

    def embed(embeddings: Embeddings, texts: Sequence[str]) -> Awaitable[list[list[float]]]:
        return run.optimizer.vectors(embeddings, texts, step=paid_by)

    return Ask(model, config, run.seed, place, turn=turn or Turn(), embed=embed, metaprompts=run.metaprompts)


async def write_children(run: Run, proposal: Proposal) -> tuple[Candidate, ...]:
    """The children of one proposal that passed the guards; everything else is journaled as refused."""
    with run.working():
        start = Workpiece(
            prompts=proposal.parent.candidate.prompts,
            batch=proposal.batch,
            allowance=proposal.allowance,
            children=proposal.children,
            memory=await _remember(run, proposal),  # before the first turn, which shows it
        )
        pieces = await run.recipe.feedback.reflect(start, proposal.ask.at("reflect"))
        children: list[Candidate] = []
        for i, piece in enumerate(pieces):
            _report_feedback(run, proposal, piece)
            children += await _refine(run, proposal, piece, proposal.ask.at_reason(i))
    return tuple(children)


async def _remember(run: Run, proposal: Proposal) -> tuple[Remembered, ...]:
    ask, parent = proposal.ask.at("remember"), proposal.parent
    retriever = TrajectoryRetriever(
        memory=run.recipe.memory, trajectory=proposal.trajectory, around=parent, ask=ask, name="retrieve_trajectory"
    )
    items = await retriever.remembered(parent.candidate.prompts.document.text, config=ask.config)
    if items:
        strategy = type(run.recipe.memory).__name__
        run.emit(Retrieved.of(items, candidate_id=parent.candidate.id, strategy=strategy, step=proposal.step))
    return items


def _report_feedback(run: Run, proposal: Proposal, piece: Workpiece) -> None:
    if piece.feedback is not None and piece.feedback.text:
        parent = proposal.parent.candidate.id
        said = piece.feedback
        run.emit(FeedbackGiven(candidate_id=parent, text=said.text, example_ids=said.example_ids, step=proposal.step))


async def _refine(run: Run, proposal: Proposal, piece: Workpiece, ask: Ask) -> list[Candidate]:
    """The children that follow from one reason: places, new texts, and the splice."""
    recipe, parent = run.recipe, proposal.parent.candidate
    marked = await recipe.scope.resolve(piece, ask.at("identify"))
    if marked.spans is not None:
        protocol = str(getattr(recipe.scope, "protocol", recipe.scope.name))
        run.emit(Identified.of(marked, marked.spans, candidate_id=parent.id, protocol=protocol, step=proposal.step))
    elif recipe.scope.name == "spans":
        report_global_step(run, proposal.step, ask.turn.stalled)
    if marked.spans == ():
        report_remarks(run, marked.remarks)
        _report_refused(run, proposal, marked.rejections)
        return []
    written = await recipe.refine.propose(marked, ask.at("propose"))
    written = await recipe.proposals.augment(written, recipe.refine, ask.at("augment"))
    report_remarks(run, written.remarks)
    _report_refused(run, proposal, written.rejections)
    async with span(ask.config, "splice", _draft_inputs(written)) as (_, end):
        spliced = splice_drafts(run, proposal, written)
        end(_splice_outputs(spliced.children, (*written.rejections, *spliced.refused)))
    if marked.spans is None:
        run.state.rewrites["used" if spliced.children else "unusable"] += 1
    return list(spliced.children)


def _draft_inputs(piece: Workpiece) -> dict[str, Any]:
    drafts = []
    for draft in piece.drafts:
        drafts.append({"edits": all_as_json(draft.edits), "leak": draft.leak})
    return {"drafts": drafts}


def _splice_outputs(children: Sequence[Candidate], refused: Sequence[Rejection]) -> dict[str, Any]:
    """Children with their prompts and edits, and the rule that refused each of the others."""
    made = []
    for c in children:
        made.append({"candidate_id": c.id, "prompts": c.prompts.as_json(), "edits": all_as_json(c.edits)})
    return {"children": made, "refused": [{"rule": r.rule, "detail": r.detail} for r in refused]}


def _report_refused(run: Run, proposal: Proposal, refused: Iterable[Rejection]) -> None:
    for rejection in refused:
        run.emit(Rejected.of(rejection, parent_id=proposal.parent.candidate.id, step=proposal.step))


@dataclass(frozen=True)
class Spliced:
    """What became of drafts."""

    children: tuple[Candidate, ...]
    refused: tuple[Rejection, ...]


def splice_drafts(run: Run, proposal: Proposal, piece: Workpiece) -> Spliced:
    """The drafts that pass the guards and render on every row, as candidates; each end is journaled.

    Args:
        run: The run.
        proposal: What the drafts answer to.
        piece: The workpiece that holds the drafts.
    """
    recipe, parent = run.recipe, proposal.parent.candidate
    known = {parent.id, *attempts_by_id(proposal.trajectory)}
    scope = "global" if piece.spans is None else recipe.scope.name
    rows = run.shown_rows("train", "dev")
    enforce = str(getattr(recipe.refine, "enforce", "strict"))  # one that does not say so splices
    made: list[Candidate] = []
    refused: list[Rejection] = []
    for draft in piece.drafts:
        context = GuardContext(piece, scope, frozenset(known), rows)
        refusal = recipe.guards.check(piece.prompts, draft, context) or run.renders(draft.prompts)
        if refusal is not None:
            _report_refused(run, proposal, [refusal])
            refused.append(refusal)
            continue
        child = Candidate(
            prompts=draft.prompts,
            step=proposal.step,
            origin=recipe.name,
            scope=scope,
            parents=(parent.id,),
            edits=tuple(_with_evidence(e, proposal.batch) for e in draft.edits),
            enforced=scope == "global" or enforce == "strict",
        )
        run.emit(Proposed.of(child, parent_id=parent.id, enforce=enforce, leak=draft.leak))
        made.append(child)
        known.add(child.id)  # the next draft of this proposal may be the same text
    return Spliced(tuple(made), tuple(refused))


def _with_evidence(edit: Edit, batch: Batch) -> Edit:
    return edit if edit.example_ids else replace(edit, example_ids=batch.example_ids)


async def sift_families(
    step: SearchStep, plan: StepPlan, written: Mapping[int, Sequence[Candidate]]
) -> list[Candidate]:
    """The children that the recipe's trials let go on to dev, parents in their order.

    Args:
        step: The step.
        plan: Its proposals.
        written: Children by the number of their proposal, counted over all parents.
    """
    out: list[Candidate] = []
    number = 0
    for parent, proposals in plan.families:
        family = []
        for proposal in proposals:
            family.append((proposal.batch, written.get(number, ())))
            number += 1
        remembered = step.archive.remembered.setdefault(parent.candidate.id, {})
        bench = TrainScores(step, parent.candidate, proposals[0], remembered)
        out += await step.run.recipe.trials.sift(family, bench)
    return out


@dataclass
class TrainScores:
    """Implements protocols.TrainBench for the children of one parent."""

    step: SearchStep
    parent: Candidate
    first: Proposal
    """The parent's first proposal: children of joined edits are recorded as made there."""
    remembered: dict[Candidate, float]
    """Children that trials of earlier steps from this parent kept in mind."""

    @property
    def stalled(self) -> int:
        """Steps since the best score last rose."""
        return self.step.archive.stalled

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Primary train scores already there."""
        return self.step.evaluations.scores(candidate, "train")

    def claim(self, rows: int) -> bool:
        """Calls for so many rows, within the budget."""
        return self.step.spending.claim(self.step.t, cells=rows)

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Primary train scores of these rows."""
        await self.step.evaluations.ensure(candidate, "train", example_ids, alone=True)
        scores = self.known(candidate)
        return pick(scores, example_ids)

    def join(self, edits: tuple[Edit, ...], *, proposals: int = 1) -> Candidate | None:
        """The child that all these edits make together, under the same guards as any other."""
        spans = tuple(e.span for e in edits)
        draft = Draft(self.parent.prompts.apply(edits), edits, 0.0)
        piece = Workpiece(
            self.parent.prompts,
            batch=self.first.batch,
            allowance=_for_several(self.first.allowance, proposals),
            spans=spans,
            drafts=(draft,),
            tagged=tagged(self.parent.prompts, spans)[0],
        )
        if proposals > 1:  # the record then shows where the joined child may differ
            marked = Identified.of(piece, spans, candidate_id=self.parent.id, protocol="joined", step=self.step.t)
            self.step.run.emit(marked)
        return next(iter(splice_drafts(self.step.run, self.first, piece).children), None)

    def refuse(self, rule: str, detail: str) -> None:
        """Journal that a child does not go on."""
        _report_refused(self.step.run, self.first, [Rejection(rule, detail)])

    def remember(self, child: Candidate, gain: float) -> None:
        """Keep a child in mind for later steps from the same parent."""
        self.remembered[child] = gain


def _for_several(allowance: Allowance, proposals: int) -> Allowance:
    """What several proposals may change together."""
    return allowance if allowance.words is None else replace(allowance, words=allowance.words * proposals)
