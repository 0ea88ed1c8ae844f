"""First candidates beside the user's own prompt: checked, journaled and paid for like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.events import Proposed, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.spending import Spending
    from langchain_promptopt.types import Candidate


def admitted(run: Run, spending: Spending, seeds: Iterable[Candidate]) -> list[Candidate]:
    """The seeds that render on every row and fit the budget, in their order; each is journaled at step 0."""
    cells = len(run.data["dev"]) if run.recipe.scoring.eager else 0
    out: list[Candidate] = []
    for seed in seeds:
        if not spending.claim(0, cells=cells):
            break
        refusal = run.renders(seed.prompts)
        if refusal is not None:
            run.emit(Rejected(parent_id=run.baseline.id, step=0, rule=refusal.rule, detail=refusal.detail))
            continue
        run.emit(_proposed(run, seed))
        out.append(seed)
    return out


def _proposed(run: Run, seed: Candidate) -> Proposed:
    return Proposed(
        parent_id=seed.parents[0] if seed.parents else run.baseline.id,
        candidate_id=seed.id,
        step=0,
        scope=seed.scope or "global",
        edits=seed.edits,
        prompts=seed.prompts.as_json(),
    )
