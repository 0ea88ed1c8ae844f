"""What 100,000 evaluations in one run cost the engine: time, memory, the journal, and going on with it.

    python benchmarks/load.py                  # 100 candidates on 1,000 rows
    python benchmarks/load.py --candidates 20

The answers are instant and free, so all that is measured is ours: bookkeeping, events, journal. The
cost of ten candidates is printed as the run grows; it must not. Costs are processor time, which a busy
machine does not change; wall time stands beside them at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["LANGSMITH_TRACING"] = "false"

from langchain_promptopt._engine.evaluations import DevScores, Evaluations
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.types import Candidate, Outcome, PromptSet, Usage
from tests.support.tasks import chain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.ports import Job

ANSWER = "an answer of ordinary length, as a model would give it to a question of this kind " * 4


class Instant:
    """An executor whose answers are there at once."""

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Half right, half wrong."""
        for n, job in enumerate(jobs):
            usage = Usage(1, 120, 60, 0, 0.0001, 0.2)
            await done(Outcome(job.cell, {"exact_match": float(n % 2)}, ANSWER, {"exact_match": "why"}, None, usage))


def rows(n: int) -> list[dict[str, Any]]:
    sizes = {"dev": n, "val": 8, "train": 8, "test": 8}
    return [
        {
            "inputs": {"word": f"{split}-{i}"},
            "outputs": {"answer": "x"},
            "metadata": {"id": f"{split}-{i}", "split": split},
        }
        for split, size in sizes.items()
        for i in range(size)
    ]


def candidate(plan: Plan, n: int) -> Candidate:
    (prompt,) = plan.baseline.prompts
    first = prompt.messages[0]
    text = first.template.replace("You sort words.", f"You sort words, variant {n}.")
    return Candidate(PromptSet((replace(prompt, messages=(replace(first, template=text),)),)), step=n)


async def play(folder: Path, n_rows: int, candidates: int, *, told: bool) -> tuple[float, int]:
    """Evaluate all candidates as a racing search does, in growing shares of rows; processor seconds, journal bytes."""
    given = {"data": rows(n_rows), "evaluators": ["exact_match"], "runs_dir": folder, "executor": Instant()}
    plan = await make_plan(chain(), settings_of(given), searches=False)
    started = time.process_time()
    ready = assemble(plan)
    try:
        evaluations = Evaluations(ready.run)
        since = time.process_time()
        for n in range(candidates):
            ready.run.state.step = n
            bench, one = DevScores(ready.run, evaluations, n), candidate(plan, n)
            for share in (n_rows // 16, n_rows // 4, n_rows):
                await bench.evaluate(one, bench.examples[:share])
            if told and (n + 1) % max(1, candidates // 10) == 0:
                now = time.process_time()
                each = (now - since) * 1e6 / (max(1, candidates // 10) * n_rows)
                print(f"| {(n + 1) * n_rows:,} | {each:.0f} | {rss():.0f} |", flush=True)
                since = now
        return time.process_time() - started, ready.journal._end if hasattr(ready.journal, "_end") else 0
    finally:
        ready.close()
        await plan.aclose()


def rss() -> float:
    """Most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("\n| evaluations so far | engine us an evaluation | peak MB |\n|---|---|---|")
        begun = time.perf_counter()
        seconds, _ = asyncio.run(play(Path(folder), given.rows, given.candidates, told=True))
        ran = time.perf_counter() - begun
        journal = next(Path(folder).glob("*/journal.jsonl"))
        size, begun = journal.stat().st_size, time.perf_counter()
        again, _ = asyncio.run(play(Path(folder), given.rows, given.candidates, told=False))
        grown, resumed = journal.stat().st_size - size, time.perf_counter() - begun
    print(f"\nrun {seconds:.1f} s of processor, {ran:.1f} s in all; journal {size / 1e6:.0f} MB; peak {rss():.0f} MB")
    print(f"resumed in {again:.1f} s of processor, {resumed:.1f} s in all; {grown} bytes added")
    return 0 if grown == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
