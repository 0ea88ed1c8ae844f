"""Function calls of an evaluation and of a resumed one, modules of an import: counts, the same on a busy machine.

    python -m benchmarks.counts

Counted are calls in Python and in C, as cProfile sees them; what is below LangChain's and pydantic's doors in compiled
code is not seen. Two commits are compared on the same machine with the same packages.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble
from tests.support.tasks import chain

if TYPE_CHECKING:
    from collections.abc import Coroutine

ROWS, CANDIDATES = 1000, 10
MODULES = "import sys, langchain_core.prompts; n = len(sys.modules); {code}; print(len(sys.modules) - n)"


def calls(work: Coroutine[object, object, object]) -> int:
    """Function calls of some work."""
    profile = cProfile.Profile()
    with profile:
        asyncio.run(work)
    found: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  # not in the stubs
    return found


async def evaluate(folder: Path, count: int) -> None:
    """Evaluate the baseline on `count` of the dev rows, with a model that answers at once."""
    given = {"data": load.rows(ROWS), "evaluators": ["exact_match"], "runs_dir": folder}
    plan = await make_plan(chain(lambda _: "x"), settings_of(given), searches=False)
    ready = assemble(plan)
    try:
        await Evaluations(ready.run).ensure(plan.baseline, "dev", [e.id for e in plan.data["dev"]][:count])
    finally:
        ready.close()
        await plan.aclose()


def resumed(folder: Path, share: float) -> int:
    """Function calls of going on with a run of 10,000 evaluations of which a share is in the journal."""
    there = folder / f"share-{share}"
    shutil.copytree(folder / "whole", there)
    journal = next(there.glob("*/journal.jsonl"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: int(len(lines) * share)]))
    return calls(load.play(there, ROWS, CANDIDATES, told=False))


def loaded(code: str) -> int:
    """Modules that some code loads beside those of `langchain_core.prompts`."""
    command = [sys.executable, "-c", MODULES.format(code=code)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the counts."""
    os.environ["LANGSMITH_TRACING"] = "false"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(evaluate(folder / "warm", 10))
        few, many = calls(evaluate(folder / "few", 100)), calls(evaluate(folder / "many", 900))
        print(f"an evaluation: {(many - few) / 800:.0f} calls")
        asyncio.run(load.play(folder / "whole", ROWS, CANDIDATES, told=False))
        for share in (1.0, 0.5):
            print(
                f"resumed with {share:.0%} there: {resumed(folder, share) / ROWS / CANDIDATES:.0f} calls an evaluation"
            )
    for code in ("import langchain_promptopt", "from langchain_promptopt import optimize"):
        print(f"{code}: {loaded(code)} modules")


if __name__ == "__main__":
    main()
