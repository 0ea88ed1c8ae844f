"""What an evaluation costs on workers, and how far that carries: `python -m benchmarks.scaling local ray dask`.

Every row is one evaluation of the baseline: a prompt, a model that is a program, an evaluator, one line in the
journal. The evaluator computes for `--busy` milliseconds, as a local model or a slow evaluator does, or for none. Told
are the median of the repeats, the lowest and the highest, in wall time and in CPU time of the run's process and of the
workers. CPU time is what decides at scale, and it is steadier than wall time on a machine that does other work.

`ray` and `dask` need the distributions in `integrations/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.events import ScoredRow
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.pipeline import prepare
from langchain_promptopt.ports import Job
from langchain_promptopt.types import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMPT = (
    "Choose the label of the message.\n\n## Labels\n- billing: invoice, sum\n- account: password\n\nMessage: {ticket}"
)
EVALUATOR = """
import time

def right(outputs, reference_outputs):
    end = time.thread_time() + BUSY
    while time.thread_time() < end:
        pass
    return float(outputs == reference_outputs["label"])
"""
MILLION = 1_000_000


def task(folder: Path, rows: int, busy_ms: float) -> dict[str, Any]:
    """Files of a run with `rows` dev rows; returns its configuration."""
    (folder / "prompt.txt").write_text(PROMPT)
    module = f"scaling_{busy_ms:g}".replace(".", "_")  # a module is imported once
    (folder / f"{module}.py").write_text(EVALUATOR.replace("BUSY", str(busy_ms / 1000)))
    lines = []
    for split, n in (("train", 8), ("dev", rows), ("test", 8)):
        for i in range(n):
            text, label = (("The invoice is wrong", "billing"), ("My password is lost", "account"))[i % 2]
            row = {"inputs": {"ticket": f"{text}, case {split}-{i}"}, "outputs": {"label": label}}
            lines.append(json.dumps({**row, "metadata": {"id": f"{split}-{i}", "split": split}}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return {
        "task": {"prompt": "prompt.txt", "model": "offline"},
        "data": {"source": "rows.jsonl"},
        "evaluate": {"evaluators": [f"{module}:right"]},
        "optimize": {"model": "offline"},
    }


@dataclass(frozen=True)
class Measured:
    """One repeat: seconds of the wall clock, and CPU seconds of the run's process and of its workers."""

    wall: float
    here: float
    workers: float


async def once(ready: Any, jobs: list[Job], workers: Any) -> Measured:
    """Evaluate all jobs and journal them."""

    async def done(outcome: Any) -> None:
        ready.run.emitter.emit(ScoredRow.of(outcome))

    async def used() -> float:
        return 0.0 if workers is None else sum(told["cpu_seconds"] for told in await workers.hello())

    before, cpu, wall = await used(), time.process_time(), time.perf_counter()
    await ready.run.executor.evaluate(jobs, done)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measured(wall, cpu, await used() - before)


def measured(folder: Path, config: dict[str, Any], workers: Any, repeats: int) -> list[Measured]:
    """All repeats after a first that is not counted."""
    prepared = prepare(config_from_dict(config, root=folder))
    settings = replace(prepared.settings, runs_dir=folder / "runs", executor=workers)
    plan = asyncio.run(make_plan(prepared.task, settings))
    ready = assemble(plan)
    base = plan.baseline
    try:
        found = []
        for repeat in range(repeats + 1):
            jobs = [Job(Cell(base.id, "dev", e.id, repeat), base, e) for e in plan.data["dev"]]
            found.append(asyncio.run(once(ready, jobs, workers)))
        return found[1:]
    finally:
        ready.close()
        plan.close()


@contextmanager
def ray_engine() -> Iterator[Callable[..., Any]]:
    """A Ray of this machine; gives what makes its workers."""
    import ray
    from langchain_promptopt_ray import ray_workers

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
    )
    try:
        yield lambda config, folder, count: ray_workers(config, root=folder, count=count, num_cpus=0.25)
    finally:
        ray.shutdown()


@contextmanager
def dask_engine(processes: int) -> Iterator[Callable[..., Any]]:
    """A Dask cluster of this machine; gives what makes its workers."""
    from distributed import Client, LocalCluster
    from langchain_promptopt_dask import dask_workers

    with (
        LocalCluster(n_workers=processes, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield lambda config, folder, count: dask_workers(client, config, root=folder, count=count)


def told(name: str, count: int, rows: int, found: list[Measured]) -> None:
    """One line of the table."""

    def spread(values: list[float]) -> str:
        low, middle, high = (1000 * v / rows for v in (min(values), median(values), max(values)))
        return f"{middle:7.2f} ({low:.2f} to {high:.2f})"

    here = median(m.here for m in found) / rows
    line = [f"{name:5} {count or '-':>2}", spread([m.wall for m in found]), spread([m.here for m in found])]
    line += [spread([m.workers for m in found]), f"{1 / here:8.0f}/s", f"{here * MILLION / 3600:6.2f} h"]
    print(" | ".join(line), flush=True)


def main() -> None:
    """Measure the engines that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="+", choices=["local", "ray", "dask"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--busy", type=float, nargs="+", default=[0.0, 20.0], help="milliseconds of an evaluation")
    given = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start; milliseconds an evaluation")
    print("engine, workers | wall | CPU of the run | CPU of workers | the run's process bears | its CPU for a million")
    for engine in given.engines:
        counts = [0] if engine == "local" else given.workers
        made = ray_engine() if engine == "ray" else dask_engine(max(counts)) if engine == "dask" else None
        for busy in given.busy if made is None else ():
            print(f"busy {busy:g} ms, load {os.getloadavg()[0]:.1f}")
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                told(engine, 0, given.rows, measured(folder, task(folder, given.rows, busy), None, given.repeats))
        if made is not None:
            with made as workers_of:
                for busy in given.busy:
                    print(f"busy {busy:g} ms, load {os.getloadavg()[0]:.1f}")
                    for count in counts:
                        with tempfile.TemporaryDirectory() as name:
                            folder = Path(name)
                            config = task(folder, given.rows, busy)
                            with workers_of(config, folder, count) as workers:
                                told(engine, count, given.rows, measured(folder, config, workers, given.repeats))


if __name__ == "__main__":
    main()
