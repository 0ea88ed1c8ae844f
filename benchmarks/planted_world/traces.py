"""Runs of the planted world kept in a file, so that a bench that was stopped goes on where it was."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.bench.planted import Trace, run_in_world
from langchain_promptopt.bench.world import World
from langchain_promptopt.strategies.registry import dump
from langchain_promptopt.strategies.scope import FixedSpans
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.planted_world.experiments import Arm

Job = tuple["Arm", int, int]
"""An arm at a seed with so many search calls."""


def key_of(arm: Arm, seed: int, budget: int) -> str:
    """Hash of what decides a run but the code: recipe, world, seed, calls. Names play no part."""
    recipe = {k: v for k, v in dump(arm.recipe).items() if k not in {"name", "source"}}
    return content_hash([recipe, asdict(arm.world), seed, budget, arm.oracle])


def run_arm(job: Job) -> Trace:
    """The trace of one run, without its prompt."""
    arm, seed, budget = job
    recipe = arm.recipe
    if arm.oracle:
        recipe = replace(recipe, scope=FixedSpans(_quotes(World(arm.world, seed))))
    return replace(run_in_world(recipe, arm.world, seed, budget), best=None)


def _quotes(world: World) -> tuple[str, ...]:
    """The planted spans from the start of their sentence, so that each quote stands only once."""
    from langchain_promptopt.bench.planted import faulty_ranges
    from langchain_promptopt.bench.world import units_of

    text = world.start
    starts = [u.start for u in units_of(text)]
    return tuple(text[max(s for s in starts if s <= a) : b] for a, b in faulty_ranges(world, text))


@dataclass
class Traces:
    """Traces by key, in memory and in an optional JSONL file. The file knows nothing of code: delete it after a change.

    Args:
        file: Where traces are kept; None keeps them in memory.
        workers: Processes that run worlds; 1 runs them here.
    """

    file: Path | None = None
    workers: int = 1
    _known: dict[str, Trace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            for line in self.file.read_text("utf-8").splitlines():
                told = json.loads(line)
                self._known[told["key"]] = _trace(told["trace"])

    def of(self, arm: Arm, budget: int, seeds: Sequence[int]) -> tuple[Trace, ...]:
        """The traces of an arm, one a seed; missing ones are run now."""
        self.ensure((arm, seed, budget) for seed in seeds)
        return tuple(self._known[key_of(arm, seed, budget)] for seed in seeds)

    def ensure(self, jobs: Iterable[Job]) -> None:
        """Run what is not known yet, each run once."""
        missing = {key: job for job in jobs if (key := key_of(*job)) not in self._known}
        if not missing:
            return
        if self.workers == 1:
            for key, job in missing.items():
                self._keep(key, run_arm(job))
            return
        with ProcessPoolExecutor(self.workers) as pool:
            for key, trace in zip(missing, pool.map(run_arm, missing.values()), strict=True):
                self._keep(key, trace)

    def _keep(self, key: str, trace: Trace) -> None:
        self._known[key] = trace
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"key": key, "trace": trace.as_json()}) + "\n")


def _trace(told: dict[str, Any]) -> Trace:
    lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return Trace(**lists, best=None)
