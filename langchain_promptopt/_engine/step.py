"""Keep what works: a child must still get right what its batch showed as right (algorithms 6.4).

One parent and one batch of evidence: reflect, remember, mark, propose, guard.

Children tried on the rows they were made from, and their edits joined: cheap, before any dev row is spent.

What a step sets out to do: evidence of its parents and the proposals that fit the budget, in canonical order.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import merge_configs

from langchain_promptopt._engine.archive import marks_astray, tell_astray, tell_global_step, tell_remarks
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.tracing import marks, span
from langchain_promptopt.events import FeedbackGiven, Identified, Incident, Proposed, Rejected, Retrieved
from langchain_promptopt.protocols import Ask, GuardContext, Trial, rng_at
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
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.run import Run

    pass
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.archive import Standing
    from langchain_promptopt._engine.budget import Spending


def rows_to_keep(run: Run, line: Line) -> list[str]:
    """Train rows of the batch that each child of the line is run on; none unless the guards ask for it."""
    return [s.example_id for s in line.batch.correct] if run.recipe.guards.keep_right else []


async def unbroken(run: Run, evaluations: Evaluations, line: Line, made: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The children that broke none of these rows; the others are journaled as refused, before any dev row is spent."""
    rows = rows_to_keep(run, line)
    if not rows or not made:
        return tuple(made)
    distinct = {c.id: c for c in made}.values()
    await together(evaluations.ensure(c, "train", rows, alone=True) for c in distinct)
    before = {s.example_id: s.score for s in line.batch.correct}
    kept = []
    for child in made:
        after = evaluations.primary(child, "train")
        broken = [i for i in rows if i in after and after[i] < before[i]]
        if broken:
            detail = f"{len(broken)} of {len(rows)} rows that were right no longer are, the first is {broken[0]!r}"
            run.emit(Rejected(parent_id=line.parent.candidate.id, step=line.step, rule="regression", detail=detail))
        else:
            kept.append(child)
    return tuple(kept)


# ------------------------------------------------------------ One parent and one batch of evidence: reflect, remem


@dataclass(frozen=True)
class Line:
    """What one proposal starts from."""

    step: int
    parent: Attempt
    batch: Batch
    index: int
    trajectory: Trajectory
    allowance: Allowance
    ask: Ask
    stalled: int = 0
    children: int = 1
    astray: bool = False


async def run_line(run: Run, line: Line) -> tuple[Candidate, ...]:
    """The children of one parent and batch that passed the guards; everything else is journaled as refused."""
    run.busy += 1
    try:
        return await _run_line(run, line)
    finally:
        run.busy -= 1


async def _run_line(run: Run, line: Line) -> tuple[Candidate, ...]:
    recipe, parent = run.recipe, line.parent.candidate
    start = Workpiece(
        prompts=parent.prompts,
        batch=line.batch,
        allowance=line.allowance,
        children=line.children,
        stalled=line.stalled,
        astray=line.astray,
    )
    pieces = await recipe.feedback.reflect(start, line.ask.at("reflect"))
    memory = await _remember(run, line)
    children: list[Candidate] = []
    for i, piece in enumerate(pieces):
        _say_feedback(run, line, piece)
        children += await _refined(run, line, replace(piece, memory=memory), i)
    return tuple(children)


async def _remember(run: Run, line: Line) -> tuple[Remembered, ...]:
    ask = line.ask.at("remember")
    retriever = TrajectoryRetriever(
        memory=run.recipe.memory, trajectory=line.trajectory, around=line.parent, ask=ask, name="retrieve_trajectory"
    )
    items = await retriever.remembered(line.parent.candidate.prompts.document.text, config=ask.config)
    if items:
        shown = [
            {"candidate_id": r.attempt.candidate.id, "score": r.attempt.score, "similarity": r.similarity}
            for r in items
        ]
        strategy = type(run.recipe.memory).__name__
        run.emit(Retrieved(candidate_id=line.parent.candidate.id, strategy=strategy, items=shown, step=line.step))
    return items


def _say_feedback(run: Run, line: Line, piece: Workpiece) -> None:
    if piece.feedback is not None and piece.feedback.text:
        run.emit(
            FeedbackGiven(
                candidate_id=line.parent.candidate.id,
                text=piece.feedback.text,
                example_ids=piece.feedback.example_ids,
                step=line.step,
            )
        )


async def _refined(run: Run, line: Line, piece: Workpiece, reason: int) -> list[Candidate]:
    recipe, ask = run.recipe, line.ask.at(reason)
    marked = await recipe.scope.resolve(piece, ask.at("identify"))
    if marked.spans is not None:
        _say_identified(run, line, marked)
    elif recipe.scope.name == "spans":
        tell_global_step(run, line.step, line.stalled)
    if marked.spans == ():
        tell_remarks(run, marked.remarks)
        _say_refused(run, line, marked.rejections)
        return []
    written = await recipe.refine.propose(marked, ask.at("propose"))
    written = await recipe.proposals.augment(written, recipe.refine, ask.at("augment"))
    tell_remarks(run, written.remarks)
    _say_refused(run, line, written.rejections)
    async with span(ask.config, "splice", _drafted(written)) as (_, end):
        refused: list[Rejection] = list(written.rejections)
        made = made_from(run, line, written, refused)
        end(_spliced(made, refused))
    return made


def _drafted(piece: Workpiece) -> dict[str, Any]:
    return {"drafts": [{"edits": [e.as_json() for e in d.edits], "leak": d.leak} for d in piece.drafts]}


def _spliced(made: Sequence[Candidate], refused: Sequence[Rejection]) -> dict[str, Any]:
    """Children with their prompts and edits, and the rule that refused each of the others."""
    return {
        "children": [
            {"candidate_id": c.id, "prompts": c.prompts.as_json(), "edits": [e.as_json() for e in c.edits]}
            for c in made
        ],
        "refused": [{"rule": r.rule, "detail": r.detail} for r in refused],
    }


def _say_identified(run: Run, line: Line, piece: Workpiece) -> None:
    spans = [
        {"prompt": s.prompt, "message": s.message, "start": s.start, "end": s.end, "text": piece.prompts.text_at(s)}
        for s in piece.spans or ()
    ]
    protocol = str(getattr(run.recipe.scope, "protocol", run.recipe.scope.name))
    run.emit(
        Identified(
            candidate_id=line.parent.candidate.id, protocol=protocol, spans=spans, tagged=piece.tagged, step=line.step
        )
    )


def _say_refused(run: Run, line: Line, refused: Sequence[Rejection]) -> None:
    for r in refused:
        run.emit(Rejected(parent_id=line.parent.candidate.id, step=line.step, rule=r.rule, detail=r.detail))


def made_from(run: Run, line: Line, piece: Workpiece, refused: list[Rejection] | None = None) -> list[Candidate]:
    """The drafts that pass the guards, as candidates; the others are journaled as refused."""
    recipe = run.recipe
    out: list[Candidate] = []
    known = frozenset(a.candidate.id for a in line.trajectory) | {line.parent.candidate.id}
    scope = "global" if piece.spans is None else recipe.scope.name
    rows = (*run.data["train"], *run.data["dev"])
    for draft in piece.drafts:
        context = GuardContext(piece, scope, known | {c.id for c in out}, rows)
        refusal = recipe.guards.check(piece.prompts, draft, context) or run.renders(draft.prompts)
        if refusal is not None:
            _say_refused(run, line, [refusal])
            if refused is not None:
                refused.append(refusal)
            continue
        child = Candidate(
            prompts=draft.prompts,
            step=line.step,
            origin=recipe.name,
            scope=scope,
            parents=(line.parent.candidate.id,),
            edits=tuple(_signed(e, line) for e in draft.edits),
            enforced=scope == "global" or _enforce(recipe.refine) == "strict",
        )
        run.emit(_proposed(line, child, draft, recipe.refine))
        out.append(child)
    return out


def _enforce(refine: object) -> str:
    """How a refinement keeps to the marked places; one that does not say so makes its children by splicing."""
    return str(getattr(refine, "enforce", "strict"))


def _signed(edit: Edit, line: Line) -> Edit:
    return edit if edit.example_ids else replace(edit, example_ids=line.batch.example_ids)


def _proposed(line: Line, child: Candidate, draft: Draft, refine: object) -> Proposed:
    return Proposed(
        parent_id=line.parent.candidate.id,
        candidate_id=child.id,
        step=line.step,
        scope=child.scope or "global",
        edits=child.edits,
        prompts=child.prompts.as_json(),
        enforce=_enforce(refine),
        leak=draft.leak,
    )


def ask_for(run: Run, config: RunnableConfig, *place: str | int) -> Ask:
    """Leave to call the optimizer model at one address of this run."""

    def model(at: tuple[str | int, ...]) -> Any:
        return run.optimizer.at(at)

    return Ask(model, config, run.seed, place)


# ------------------------------------------------------------ Children tried on the rows they were made from, and


@dataclass
class Screen:
    """The trials of one step."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    step: int

    async def passed(self, fresh: Sequence[Candidate], plan: Sequence[tuple[Attempt, list[Line]]]) -> list[Candidate]:
        """What goes on to dev: children that helped on their own evidence, and joined ones."""
        by_parent: defaultdict[str, list[Candidate]] = defaultdict(list)
        for child in fresh:
            by_parent[child.parents[0]].append(child)
        out: list[Candidate] = []
        for parent, lines in plan:
            children = by_parent[parent.candidate.id]
            rows = {c.id: self._rows(c, lines) for c in children}
            paid = [c for c in children if self.spending.claim(self.step, cells=len(rows[c.id]))]
            tried = await together(self._trial(parent, c, rows[c.id]) for c in paid)
            if self.run.recipe.proposals.earns:
                tried = [await self._earned(lines[0], t) for t in tried]
            screening = self.run.recipe.proposals.screened(tried)
            for edits in screening.joined:
                self._say_joined(parent, edits)
                out += self._joined(lines[0], edits)
            out += screening.kept
        return out

    def _rows(self, child: Candidate, lines: Sequence[Line]) -> list[str]:
        """The errors a child was made from, then the rows shown beside them that must stay right."""
        errors = list(dict.fromkeys(i for e in child.edits for i in e.example_ids))
        beside = (
            s.example_id
            for b in (line.batch for line in lines)
            for s in b.correct
            if {*errors} & {e.example_id for e in b.errors}
        )
        train = self.run.examples("train")
        return [i for i in dict.fromkeys((*errors, *beside)) if i in train][: self.run.recipe.proposals.screening]

    async def _trial(self, parent: Attempt, child: Candidate, rows: Sequence[str]) -> Trial:
        await self.evaluations.ensure(child, "train", rows)
        before, after = (self.evaluations.primary(c, "train") for c in (parent.candidate, child))
        return Trial(child, _of(before, rows), _of(after, rows))

    def _say_joined(self, parent: Attempt, edits: tuple[Edit, ...]) -> None:
        """The places of several identifications together: the record then shows where the joined child may differ."""
        spans = [
            {
                "prompt": e.span.prompt,
                "message": e.span.message,
                "start": e.span.start,
                "end": e.span.end,
                "text": e.old,
            }
            for e in edits
        ]
        shown, _tag = tagged(parent.candidate.prompts, tuple(e.span for e in edits))
        self.run.emit(
            Identified(candidate_id=parent.candidate.id, protocol="joined", spans=spans, tagged=shown, step=self.step)
        )

    async def _earned(self, line: Line, trial: Trial) -> Trial:
        """The trial of the child without the edits that no won row needs."""
        child = trial.candidate
        won = [i for i, s in trial.after.items() if s > trial.before.get(i, s)]
        if child.scope == "global" or len(child.edits) < 2 or not won or trial.gain <= 0:
            return trial
        needed = [e for e in child.edits if await self._needs(line, trial, e, won)]
        if not needed or len(needed) == len(child.edits):
            return trial
        lean = self._joined(line, tuple(needed))
        return replace(trial, candidate=lean[0]) if lean else trial

    async def _needs(self, line: Line, trial: Trial, edit: Edit, won: Sequence[str]) -> bool:
        """Whether a won row is lost again without this edit; yes where the budget cannot tell."""
        without = self._joined(line, tuple(e for e in trial.candidate.edits if e is not edit))
        if not without or not self.spending.claim(self.step, cells=len(won)):
            return True
        await self.evaluations.ensure(without[0], "train", won)
        scores = self.evaluations.primary(without[0], "train")
        return sum(trial.after[i] - scores[i] for i in won if i in scores) > 0

    def _joined(self, line: Line, edits: tuple[Edit, ...]) -> list[Candidate]:
        """The child that all these edits make together, under the same guards as any other."""
        prompts = line.parent.candidate.prompts
        spans = tuple(e.span for e in edits)
        draft = Draft(prompts.apply(edits), edits, 0.0)
        piece = Workpiece(prompts, batch=line.batch, allowance=line.allowance, spans=spans, drafts=(draft,))
        return made_from(self.run, line, piece)


def _of(scores: Mapping[str, float], rows: Sequence[str]) -> dict[str, float]:
    return {i: scores[i] for i in rows if i in scores}


# ------------------------------------------------------------ What a step sets out to do: evidence of its parents


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
