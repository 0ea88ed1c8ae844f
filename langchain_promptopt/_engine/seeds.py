"""First candidates beside the user's own prompt: checked, journaled and paid for like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.events import Proposed, Rejected
from langchain_promptopt.protocols import GuardContext
from langchain_promptopt.types import Batch, Draft, Shown, Workpiece

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.spending import Spending
    from langchain_promptopt.types import Candidate, Rejection


def say_refused(run: Run, refused: Iterable[Rejection]) -> None:
    """Replies that made no seed, journaled so that they count in the rates."""
    for r in refused:
        run.emit(Rejected(parent_id=run.baseline.id, step=0, rule=r.rule, detail=r.detail))


def admitted(run: Run, spending: Spending, seeds: Iterable[Candidate]) -> list[Candidate]:
    """The seeds that pass the guards, render on every row and fit the budget, in their order; each is journaled."""
    cells = len(run.data["dev"]) if run.recipe.scoring.eager else 0
    out: list[Candidate] = []
    for seed in seeds:
        refusal = _refused(run, seed, {run.baseline.id, *(c.id for c in out)}) or run.renders(seed.prompts)
        if refusal is not None:
            say_refused(run, [refusal])
            continue
        if not spending.claim(0, cells=cells):
            break
        run.emit(_proposed(run, seed))
        out.append(seed)
    return out


def _refused(run: Run, seed: Candidate, known: set[str]) -> Rejection | None:
    """What the guards say of a seed that is told as edits of the user's prompt, as of any other child (spec 5.4)."""
    if not seed.edits:
        return None
    rows = (*run.data["train"], *run.data["dev"])
    ids = {i for e in seed.edits for i in e.example_ids}
    shown = tuple(Shown(e.id, e.inputs, e.outputs, None, 0.0) for e in rows if e.id in ids)
    piece = Workpiece(run.baseline.prompts, batch=Batch(formats=shown))
    context = GuardContext(piece, seed.scope or "global", frozenset(known), rows)
    return run.recipe.guards.check(run.baseline.prompts, Draft(seed.prompts, seed.edits), context)


def _proposed(run: Run, seed: Candidate) -> Proposed:
    return Proposed(
        parent_id=seed.parents[0] if seed.parents else run.baseline.id,
        candidate_id=seed.id,
        step=0,
        scope=seed.scope or "global",
        edits=seed.edits,
        prompts=seed.prompts.as_json(),
    )
