"""What orchestrators call: a run as one step, and its evaluations in other processes.

`run_step` and `compare_step` take a configuration as a dict and give the machine output as a dict. They never raise
(product 10.8).

A `CellWorker` makes single tries for a run in another process, which keeps limits, retries, budget and journal to
itself; `Workers` of a distributed engine hold one in each of their processes.

With `Shards` a run hands out shards of cells as JSON, and workers bring JSON back. What a worker has an answer for is
written to `cells.jsonl` in the run's folder before the shard is done. A shard that was killed in the middle is paid
for from there on only, wherever it runs again, as long as run and workers share `PROMPTOPT_RUNS_DIR`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._imports import importing_from
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.usage import followed_threads
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, PromptOptError
from langchain_promptopt.events import RunStarted
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.remote import (
    Attempts,
    failure_told,
    jobs_from_json,
    jobs_json,
    outcomes_from_json,
    outcomes_json,
)
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.pipeline.delivering import failure_json, failures_told, unusable_told
from langchain_promptopt.pipeline.prepare import code_folder, names_code, prepare, start
from langchain_promptopt.store.folder import private_dir
from langchain_promptopt.store.lines import cell_of
from langchain_promptopt.types import Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.events import Event
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.optimizer.remote import Workers
    from langchain_promptopt.pipeline.prepare import Elsewhere, Prepared
    from langchain_promptopt.ports import Job, Observer

_log = logging.getLogger("langchain_promptopt")


def run_step(
    config: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    shards: Elsewhere | Workers | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Run, resume or replay the run that `config` describes; the same as `promptopt optimize --json`.

    `PROMPTOPT_*` variables are stronger than `config`. A finished run is returned with `replayed`
    true; a run that was stopped goes on, and pays for nothing that was answered.

    Args:
        config: Shaped like `promptopt.toml`; JSON values only.
        root: Where relative paths and imports start; None is the working directory.
        shards: Evaluates cells elsewhere: `Shards`, or `Workers` of a distributed engine; None is this process.
        observers: Watchers of the run's events.

    Returns:
        The keys that `--json` prints. Failures are in `outcome`, `exit_code` and `error`.
    """
    return _answered(config, root, lambda settings: start(settings).optimize(observers, shards=shards))


def compare_step(
    config: Mapping[str, Any],
    old: str,
    new: str,
    *,
    root: str | Path | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Decide between two prompts or chains; the same as `promptopt compare OLD NEW --json`. Never raises.

    Args:
        config: As for `run_step`; no optimizer model is needed.
        old: What runs now: a prompt file, "owner/prompt:tag", or "module:chain".
        new: What might replace it.
        root: Where relative paths and imports start; None is the working directory.
        observers: Watchers of the events.
    """

    def compared(settings: Config) -> Result:
        settings.require("data.source", "evaluate.evaluators")
        return prepare(settings).compare(old, new, observers=observers)

    task = {"chain" if names_code(old) else "prompt": old}
    named = {}
    for name, value in config.get("task", {}).items():
        if name not in {"chain", "prompt"}:
            named[name] = value
    return _answered({**config, "task": named | task}, root, compared)


def _answered(config: Mapping[str, Any], root: str | Path | None, work: Callable[[Config], Result]) -> dict[str, Any]:
    """The answer about some work on a configuration, whatever becomes of it."""
    try:
        with unusable_told(config, root=root):
            settings = config_from_dict(config, root=root, env=os.environ)
        with failures_told(settings):
            answer: dict[str, Any] = json.loads(json.dumps(work(settings).as_json(), default=str))
            return answer
    except PromptOptError as error:
        return failure_json(error)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the contract: it never raises
        _log.exception("a step failed with an unexpected error")
        return failure_json(error)


# ---------------------------------------------------------------- shards of cells

_IN_A_ROW = 10  # product contract, guarantee 7: the run will stop, so the worker need not ask the other rows


@dataclass
class Shards:
    """An Executor that sends cells away in shards. Give it to `run_step(config, shards=...)`.

    Args:
        submit: Takes jobs as JSON and gives the answer of `evaluate_cells` for them, wherever that ran.
        size: Cells in a shard; a candidate with more rows becomes several shards.
    """

    submit: Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]]
    size: int = 64
    _run_id: str = field(default="", init=False)

    def on_event(self, event: Event) -> None:
        """Learn which run the cells belong to."""
        if isinstance(event, RunStarted):
            self._run_id = event.run_id

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Submit all shards at once and report their outcomes in order."""
        parts = [jobs[i : i + self.size] for i in range(0, len(jobs), self.size)]
        sent = []
        for part in parts:
            sent.append(asyncio.ensure_future(self.submit(jobs_json(part, self._run_id))))
        try:
            for future in sent:
                for outcome in outcomes_from_json(await future):
                    await done(outcome)
        finally:
            for future in sent:
                future.cancel()


def evaluate_cells(
    config: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], *, root: str | Path | None = None
) -> list[dict[str, Any]]:
    """Evaluate a shard in this process; JSON in, JSON out.

    Args:
        config: The configuration of the run.
        jobs: What a run handed out: a part of `session.propose_json()`, or what `Shards` submits.
        root: Where relative paths and imports start; None is the working directory.

    Returns:
        One outcome for each job, in their order, for `session.tell_json(...)`.

    Raises:
        UsageError: Configuration, data or code here are not those of the run.
    """
    if not jobs:
        return []
    settings = config_from_dict(config, root=root, env=os.environ)
    spool = Spool(settings.runs_dir / str(jobs[0]["run_id"]) / "cells.jsonl")
    cells = [cell_of(job["cell"]) for job in jobs]
    known = spool.read()
    left = []
    for job, cell in zip(jobs, cells, strict=True):
        if cell not in known:
            left.append(job)
    if left:
        prepared = prepare(settings)
        with importing_from(code_folder(settings)):
            known |= run_sync(lambda: _evaluated(prepared, left, spool))
    return outcomes_json(known[cell] for cell in cells)


async def _evaluated(prepared: Prepared, data: Sequence[Mapping[str, Any]], spool: Spool) -> dict[Cell, Outcome]:
    plan = await make_plan(prepared.task, replace(prepared.settings, runs_dir=None, executor=None))
    ready = None
    try:
        if plan.run_id != data[0]["run_id"]:
            msg = f"this worker would be on run {plan.run_id}, and the cells are of run {data[0]['run_id']}"
            mend = "Give it the run's configuration, data, code and models."
            raise ConfigError(msg, where="evaluate_cells", mend=mend)
        jobs = jobs_from_json(data, plan.baseline.prompts)
        ready = assemble(plan)
        return await ShardWorker(spool).evaluate(ready.local, jobs)
    finally:
        if ready is not None:
            ready.close()
        await plan.aclose()


class _Down(Exception):  # noqa: N818 - no error: the way out of a shard whose models are out of reach
    """Ten rows in a row were lost."""


@dataclass
class ShardWorker:
    """Evaluates one shard, noting every answer at once."""

    spool: Spool
    found: dict[Cell, Outcome] = field(default_factory=dict)
    streak: int = 0

    async def evaluate(self, executor: Any, jobs: Sequence[Job]) -> dict[Cell, Outcome]:
        """Outcomes by cell. When models stay out of reach, the rest of the shard is reported as lost too."""
        try:
            await executor.evaluate(jobs, self._done)
        except _Down:
            last = next(o for o in reversed(self.found.values()) if o.dropped)
            for job in jobs:
                self.found.setdefault(job.cell, Outcome(job.cell, {}, failure=last.failure))
        return self.found

    async def _done(self, outcome: Outcome) -> None:
        self.found[outcome.cell] = outcome
        self.streak = self.streak + 1 if outcome.dropped else 0
        if not outcome.dropped:
            self.spool.add(outcome)
        if self.streak >= _IN_A_ROW:
            raise _Down


@dataclass(frozen=True)
class Spool:
    """Answers of shards in an append-only file that several processes may write."""

    path: Path

    def read(self) -> dict[Cell, Outcome]:
        """All whole lines; one that a kill cut off is passed over."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_bytes().split(b"\n"):
            try:
                outcome = outcomes_from_json([json.loads(line)])[0]
            except ValueError:
                continue
            found[outcome.cell] = outcome
        return found

    def add(self, outcome: Outcome) -> None:
        """Write one answer with one system call; on return it survives the death of this process.

        The newline in front ends a line that another process was killed in.
        """
        private_dir(self.path.parent)
        line = json.dumps(outcomes_json([outcome])[0], default=str).encode()
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"\n" + line + b"\n")
        finally:
            os.close(fd)


# ---------------------------------------------------------------- single tries


class CellWorker:
    """Answers the requests of a run's `Workers` in this process, with asyncio on a thread of its own.

    The run is prepared once, at the first request. What is wrong with the configuration, the data or the code here is
    told in the answer, and ends the run.

    Args:
        config: The configuration of the run.
        root: Where relative paths and imports start; None is the working directory.
    """

    def __init__(self, config: Mapping[str, Any], root: str | Path | None = None) -> None:
        self._config = config
        self._root = root
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._attempts: Attempts | None = None
        self._wrong: dict[str, Any] | None = None
        self._closed = False
        self._prepared = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="promptopt-cells", daemon=True)
        self._thread.start()

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request, from any event loop.

        Args:
            request: "do" is "hello", or what `Attempts.made` takes.
        """
        if not self._prepared.is_set():
            await asyncio.to_thread(self._prepared.wait)
        if self._attempts is None or self._loop is None:
            return {"failure": self._wrong}
        made = asyncio.run_coroutine_threadsafe(self._answer(self._attempts, request), self._loop)
        return await asyncio.wrap_future(made)

    def close(self, *, wait: bool = True) -> None:
        """End the thread; what it was asked is cancelled. Without `wait`, it ends by itself soon."""
        self._closed = True
        if self._loop is not None and self._closing is not None:
            with suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._closing.set)
        if wait:
            self._thread.join()

    async def _answer(self, attempts: Attempts, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            if request["do"] != "hello":
                return await attempts.made(request)
            attempts.require(request["run_id"])
        except ConfigError as error:
            return {"failure": failure_told(error)}
        there = {"pid": os.getpid(), "host": socket.gethostname(), "cpu_seconds": time.process_time()}
        return {"failure": None, **there}

    def _serve(self) -> None:
        try:
            settings = config_from_dict(self._config, root=self._root, env=os.environ)
            with importing_from(code_folder(settings)), followed_threads:
                run_sync(lambda: self._open(settings))
        except Exception as error:  # noqa: BLE001 - told to the run, which ends with it
            self._wrong, self._attempts = failure_told(error), None
        finally:
            self._prepared.set()

    async def _open(self, settings: Config) -> None:
        prepared = prepare(settings)
        plan = await make_plan(prepared.task, replace(prepared.settings, runs_dir=None, executor=None))
        ready = None
        try:
            ready = assemble(plan)
            self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
            self._attempts = Attempts(ready.local, plan.run_id, plan.baseline.prompts)
            self._prepared.set()
            if not self._closed:
                await self._closing.wait()
        finally:
            if ready is not None:
                ready.close()
            await plan.aclose()
