"""Cells that are evaluated elsewhere: jobs and outcomes as JSON, and their cost on this run's ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.events import ScoredRow
from langchain_promptopt.ports import Job
from langchain_promptopt.store.lines import cell_of, outcome_of
from langchain_promptopt.types import Candidate, Example, PromptSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain_promptopt._runtime.stopping import Stopping
    from langchain_promptopt.ports import Executor
    from langchain_promptopt.types import Cell, Outcome


@dataclass
class Booked:
    """A foreign Executor whose outcomes are booked when they arrive, as the local one does by itself."""

    inner: Executor
    book: Callable[[Outcome], None]
    stopping: Stopping

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run every job elsewhere."""
        if not self.stopping.lets(None):
            await self.stopping.bar()

        async def booked(outcome: Outcome) -> None:
            self.book(outcome)
            await done(outcome)
            self.stopping.end(outcome.cell)

        for job in jobs:
            self.stopping.begin(job.cell)
        try:
            await self.inner.evaluate(jobs, booked)
        finally:
            for job in jobs:
                self.stopping.end(job.cell)


def jobs_json(jobs: Iterable[Job], run_id: str) -> list[dict[str, Any]]:
    """Jobs as plain JSON values: the cell, all prompts of the candidate, and the row.

    Templates travel as text; roles, formats and partials are those of the worker's own task, which
    must be the same (its run id is compared).
    """
    return [
        {
            "run_id": run_id,
            "cell": {
                "candidate_id": job.cell.candidate_id,
                "split": job.cell.split,
                "example_id": job.cell.example_id,
                "repeat": job.cell.repeat,
            },
            "prompts": job.candidate.prompts.as_json(),
            "inputs": dict(job.example.inputs),
            "outputs": dict(job.example.outputs),
            "metadata": dict(job.example.metadata),
        }
        for job in jobs
    ]


def jobs_from_json(data: Iterable[Mapping[str, Any]], baseline: PromptSet) -> list[Job]:
    """The inverse of `jobs_json` beside the worker's own task.

    Raises ConfigError where the prompts do not belong to this task.
    """
    out = []
    for item in data:
        cell = cell_of(item["cell"])
        prompts = _with_texts(baseline, item["prompts"])
        example = Example(cell.example_id, item["inputs"], item["outputs"], item["metadata"])
        out.append(Job(cell, _candidate(prompts, cell), example))
    return out


def _with_texts(baseline: PromptSet, given: Sequence[Mapping[str, Any]]) -> PromptSet:
    texts = {p["name"]: [m["template"] for m in p["messages"]] for p in given}
    if {p.name: len(p.messages) for p in baseline} != {name: len(found) for name, found in texts.items()}:
        msg = "a job's prompts are not those of this task"
        raise ConfigError(msg, where=", ".join(texts), mend="Give the worker the configuration and code of the run.")
    return PromptSet(
        tuple(
            replace(
                p,
                messages=tuple(
                    m if m.template == text else replace(m, template=text, frozen=())
                    for m, text in zip(p.messages, texts[p.name], strict=True)
                ),
            )
            for p in baseline
        )
    )


def _candidate(prompts: PromptSet, cell: Cell) -> Candidate:
    made = Candidate(prompts, origin="elsewhere")
    if made.id != cell.candidate_id:
        msg = f"the prompts of candidate {cell.candidate_id} arrive as candidate {made.id}"
        raise ConfigError(msg, mend="Worker and run must use the same version of this package and of the task.")
    return made


def outcomes_json(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as plain JSON values, shaped like the journal's `scored`."""
    return [ScoredRow.of(outcome).as_json() for outcome in outcomes]


def outcomes_from_json(data: Iterable[Mapping[str, Any]]) -> list[Outcome]:
    """The inverse of `outcomes_json`."""
    return [outcome_of(item) for item in data]
