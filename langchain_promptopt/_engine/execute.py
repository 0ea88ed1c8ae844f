"""The local executor: one cell at a time through chain and evaluators, many at once."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from langchain_promptopt._engine.tasks import together
from langchain_promptopt._runtime.spans import span
from langchain_promptopt.types import Example, Failure, Outcome, PromptSet, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from langchain_promptopt.protocols import Job


class Target(Protocol):
    """What is optimized: something that answers a row with given prompts."""

    async def invoke(self, prompts: PromptSet, inputs: Mapping[str, Any], config: RunnableConfig) -> Any:
        """The answer. Candidates given concurrently never mix."""


@dataclass(frozen=True)
class Scores:
    """What the evaluators said about one answer."""

    scores: Mapping[str, float]
    comments: Mapping[str, str] = field(default_factory=dict)


@dataclass
class LocalExecutor:
    """Runs cells in this process.

    Args:
        target: What is optimized.
        score: All evaluators on one answer.
        meter: Makes a fresh usage handler for a cell.
        guarded: Runs an attempt with limits and retries; returns its value or the Failure it ended as.
        charge: Books a cell's usage before its outcome is reported.
        keys: Metric keys, all 0 when the prompt itself is to blame for a failure.
        max_concurrency: Cells in flight over all calls of `evaluate`.
        isolate: Context in which a cell is a trace of its own.
        metadata: On every evaluation trace.
    """

    target: Target
    score: Callable[[Example, Any], Awaitable[Scores]]
    meter: Callable[[], Any]
    guarded: Callable[[Callable[[], Awaitable[Any]], Job], Awaitable[Any]]
    charge: Callable[[Job, Any], Usage]
    keys: Sequence[str] = ()
    max_concurrency: int = 32
    isolate: Callable[[], AbstractContextManager[Any]] = nullcontext
    metadata: Mapping[str, Any] = field(default_factory=dict)

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run every job; `done` gets each outcome as soon as it is known. The first error of `done` stops the rest."""
        todo: Iterator[Job] = iter(jobs)
        await together(self._work(todo, done) for _ in range(min(self.max_concurrency, len(jobs))))

    async def _work(self, todo: Iterator[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        var_child_runnable_config.set(None)  # an evaluation is a trace of its own, not a child of the step
        with self.isolate():
            for job in todo:
                await done(await self._one(job))

    async def _one(self, job: Job) -> Outcome:
        started = time.perf_counter()
        meters: list[Any] = []

        async def attempt() -> tuple[Any, Scores]:
            meters.append(self.meter())
            return await self._answer(job, meters[-1])

        value = await self.guarded(attempt, job)
        usage = sum((self.charge(job, m) for m in meters), Usage())
        usage = usage + Usage(seconds=time.perf_counter() - started)
        served = meters[-1].collected.model_served if meters else None
        if isinstance(value, Failure):
            zeros = dict.fromkeys(self.keys, 0.0) if value.scored_zero else {}
            return Outcome(job.cell, zeros, failure=value, usage=usage, model_served=served)
        output, scores = value
        return Outcome(job.cell, scores.scores, output, scores.comments, None, usage, served)

    async def _answer(self, job: Job, meter: Any) -> tuple[Any, Scores]:
        metadata = {
            **self.metadata,
            "promptopt_candidate_id": job.cell.candidate_id,
            "promptopt_split": job.cell.split,
            "promptopt_example_id": job.cell.example_id,
        }
        config: RunnableConfig = {"callbacks": [meter], "metadata": metadata}
        async with span(config, "promptopt.evaluate", {"inputs": dict(job.example.inputs)}) as (inner, end):
            output = await self.target.invoke(job.candidate.prompts, job.example.inputs, inner)
            scores = await self.score(job.example, output)
            end({"output": output, "scores": dict(scores.scores)})
        return output, scores
