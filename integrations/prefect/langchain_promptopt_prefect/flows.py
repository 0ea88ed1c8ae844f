"""The flow: one step that resumes itself, its evaluations as tasks where asked, its report as artifacts."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from prefect.task_runners import ProcessPoolTaskRunner

from langchain_promptopt import run_step
from langchain_promptopt.pipeline import Shards, evaluate_cells
from langchain_promptopt_prefect.artifacts import publish
from langchain_promptopt_prefect.states import checked, worth_retrying

# The journal of the run is the one memory: nothing is cached or persisted by Prefect, so no prompt and no row
# is stored a second time, and a step that runs again asks the journal what is already known.


@task(name="promptopt-cells", task_run_name="cells-{number}", cache_policy=NO_CACHE, persist_result=False)
def evaluate_shard(
    config: dict[str, Any], jobs: list[dict[str, Any]], root: str | None = None, number: int = 0
) -> list[dict[str, Any]]:
    """One shard: the rows of a candidate, or a part of them."""
    del number  # it names the task run
    end_with_parent()
    return evaluate_cells(config, jobs, root=root)


@cache
def end_with_parent() -> None:
    """In a worker of a process pool: end at once when the flow's process is gone, however it went.

    Otherwise the worker of a flow that was killed would go on paying for its shard while the next
    flow run pays for the same rows, and then wait for work for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), name="promptopt-parent", daemon=True).start()


def shards_as_tasks(config: dict[str, Any], root: str | None, size: int) -> Shards:
    """An executor whose shards are task runs of the flow's task runner."""
    count = 0

    async def submit(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal count
        count += 1
        future = evaluate_shard.submit(config, jobs, root, count)
        return await asyncio.to_thread(future.result)

    return Shards(submit, size=size)


@task(
    name="promptopt-step",
    retries=3,
    retry_delay_seconds=[60, 300, 900],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def step(config: dict[str, Any], root: str | None = None, shard_size: int = 0) -> dict[str, Any]:
    """`run_step` with its report as artifacts.

    Args:
        config: Shaped like `promptopt.toml`. Prefect shows it to everybody who may see the flow run, so keys
            belong into the environment.
        root: Where relative paths and imports start; None is the working directory.
        shard_size: Evaluations become tasks of at most so many cells; 0 keeps them in this process.

    Returns:
        The machine output. Raises StepUnavailable (retried), StepFailed (not retried).
    """
    shards = shards_as_tasks(config, root, shard_size) if shard_size else None
    with tempfile.TemporaryDirectory() as folder:
        output = dict(config.get("output", {}))
        summary = Path(root or ".") / output.setdefault("summary", str(Path(folder) / "report.md"))
        answer = run_step({**config, "output": output}, root=root, shards=shards)
        told = summary.read_text(encoding="utf-8") if summary.is_file() else str((answer["error"] or {}).get("public"))
    publish(answer, told)
    return checked(answer)


_RUNNER = ProcessPoolTaskRunner(max_workers=2, initializer=end_with_parent)  # a worker without work must end, too


@flow(name="promptopt", task_runner=_RUNNER, persist_result=False)
def optimize_flow(config: dict[str, Any], root: str | None = None, shard_size: int = 0) -> Any:
    """Run, resume or replay the run that `config` describes; see `step`."""
    answer = step(config, root, shard_size)
    name = "Improved" if answer["exit_code"] == 0 else "NoGain"
    return Completed(name=name, message=f"{answer['outcome']}, run {answer['run_id']}", data=answer)


def serve(
    config: dict[str, Any],
    *,
    cron: str,
    name: str = "nightly",
    root: str | None = None,
    shard_size: int = 0,
) -> None:
    """Serve the flow on a schedule until this process is stopped; one run at a time."""
    parameters = {"config": config, "root": str(Path(root or ".").resolve()), "shard_size": shard_size}
    optimize_flow.serve(name=name, cron=cron, parameters=parameters, tags=["promptopt"], limit=1)
