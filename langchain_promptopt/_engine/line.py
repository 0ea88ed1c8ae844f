"""One parent and one batch of evidence: reflect, remember, mark, propose, guard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._engine.signs import tell_global_step, tell_remarks
from langchain_promptopt._runtime.tracing import span
from langchain_promptopt.events import FeedbackGiven, Identified, Proposed, Rejected, Retrieved
from langchain_promptopt.protocols import Ask, GuardContext
from langchain_promptopt.steps.retriever import TrajectoryRetriever
from langchain_promptopt.types import (
    Allowance,
    Attempt,
    Batch,
    Candidate,
    Draft,
    Edit,
    Rejection,
    Remembered,
    Trajectory,
    Workpiece,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run


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
        )
        run.emit(_proposed(line, child, draft, recipe.refine))
        out.append(child)
    return out


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
        enforce=str(getattr(refine, "enforce", "strict")),
        leak=draft.leak,
    )


def ask_for(run: Run, config: RunnableConfig, *place: str | int) -> Ask:
    """Leave to call the optimizer model at one address of this run."""

    def model(at: tuple[str | int, ...]) -> Any:
        return run.optimizer.at(at)

    return Ask(model, config, run.seed, place)
