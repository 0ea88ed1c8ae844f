"""Presets in the worlds of this folder: `python -m benchmarks.worlds.run --methods robust --seeds 1 2 3`."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.worlds.optimizer import WorldOptimizer
from benchmarks.worlds.pairs import Pairs
from benchmarks.worlds.rules import Rules
from langchain_promptopt.bench.planted import play
from langchain_promptopt.bench.world import prompts_of
from langchain_promptopt.presets import PRESETS, recipe_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.worlds.world import World

WORLDS: dict[str, type[World]] = {"rules": Rules, "pairs": Pairs}


class Row(NamedTuple):
    """One run: expected scores on the test rows, and what the search took."""

    world: str
    method: str
    budget: int
    seed: int
    start: float
    best: float
    ceiling: float
    calls: int
    optimizer_calls: int
    steps: int
    stopped: str


def run(world_name: str, method: str, budget: int, seed: int) -> Row:
    """One preset in one world with at most `budget` search calls.

    Args:
        world_name: A key of `WORLDS`.
        method: A preset's name.
        budget: Most target calls of the search.
        seed: Decides the world and every draw of the search.
    """
    world = WORLDS[world_name](seed)
    played = asyncio.run(play(recipe_of(method), world, WorldOptimizer(world), budget))
    ledger = played.search.run.ledger
    optimizer = ledger.by_role.get("optimizer")
    return Row(
        world=world_name,
        method=method,
        budget=budget,
        seed=seed,
        start=world.held_out(world.prompts),
        best=world.held_out(played.best.candidate.prompts),
        ceiling=world.held_out(prompts_of(world.good)),
        calls=ledger.search_calls,
        optimizer_calls=optimizer.calls if optimizer else 0,
        steps=len(played.search.archive.best) - 1,
        stopped=f"{played.stopped.kind}: {played.stopped.detail}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", choices=sorted(WORLDS), default=sorted(WORLDS))
    parser.add_argument("--methods", nargs="+", choices=sorted(PRESETS), default=["robust"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[500, 1000, 2000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    chosen = parser.parse_args(arguments)
    print("world  method      budget seed start  best   ceiling calls optimizer steps stopped")
    for world in chosen.worlds:
        for method in chosen.methods:
            for budget in chosen.budgets:
                for seed in chosen.seeds:
                    r = run(world, method, budget, seed)
                    print(_line(r), flush=True)


def _line(r: Row) -> str:
    scores = f"{r.start:.3f}  {r.best:.3f}  {r.ceiling:.3f}"
    return (
        f"{r.world:6} {r.method:11} {r.budget:6} {r.seed:4} {scores}"
        f"   {r.calls:5} {r.optimizer_calls:9} {r.steps:5} {r.stopped}"
    )


if __name__ == "__main__":
    main()
