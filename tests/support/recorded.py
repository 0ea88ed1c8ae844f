"""Run folders written as a finished run leaves them, without running one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt.events import Proposed, RunFinished, RunStarted, Selected
from langchain_promptopt.store import Journal
from langchain_promptopt.types import Edit, PromptSet, Span

if TYPE_CHECKING:
    from pathlib import Path


def recorded_run(folder: Path, baseline: PromptSet, change: tuple[str, str], *, outcome: str = "improved") -> Path:
    """A run in which one edit, `change[0]` to `change[1]` in the first message, won."""
    old, new = change
    name = next(iter(baseline)).name
    start = baseline[name].messages[0].template.index(old)
    edit = Edit(Span(name, 0, start, start + len(old)), old, new, "it helps", ("e1",))
    best = baseline.apply([edit])
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(_started(folder.name, baseline))
        journal.append(
            Proposed(
                parent_id=baseline.id,
                candidate_id=best.id,
                step=1,
                scope="spans",
                edits=(edit,),
                prompts=best,
            )
        )
        journal.append(Selected(step=1, kept=(best.id,), dropped=()))
        code = 0 if outcome == "improved" else 3
        journal.append(RunFinished(outcome=outcome, exit_code=code, best_candidate_id=best.id, usage={}))
    return folder


def _started(run_id: str, baseline: PromptSet) -> RunStarted:
    given: dict[str, Any] = {
        "run_id": run_id, "version": "0", "method": "lpo-pe2", "recipe": {}, "seed": 0, "gate": {}, "models": {},
        "evaluators": [{"name": "exact_match", "hash": "h"}], "data": {"source": "x", "as_of": None, "splits": {}},
        "seed_candidate_id": baseline.id, "prompts": baseline,
    }  # fmt: skip
    return RunStarted(**given)
