"""R6: with expected answers drawn at random nothing can be learned, so the gate must not pass beyond its level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.bench.planted import run_in_world
from langchain_promptopt.bench.world import World, WorldSettings, instructions_of
from langchain_promptopt.gate.pairs import pair_outcomes
from langchain_promptopt.gate.verdict import decide
from langchain_promptopt.recipe import Gate, Recipe
from langchain_promptopt.types import Candidate, Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_promptopt.types import PromptSet

SHUFFLED = WorldSettings(words=50, shuffled=True)


@dataclass(frozen=True)
class FalsePositives:
    """How many runs changed the prompt, how many of those passed the gate, and how many there were."""

    runs: int
    changed: int
    passed: int
    level: float

    @property
    def tail(self) -> float:
        """Chance of so many passes or more if each run passed at exactly the level."""
        from math import comb

        n, p = self.runs, self.level
        return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(self.passed, n + 1))


def false_positives(
    recipe: Recipe, seeds: Iterable[int], search_calls: int, gate: Gate | None = None
) -> FalsePositives:
    """Search and gate on shuffled labels, once a seed. The level is that of a first opening (product 8)."""
    rules = gate or Gate(primary="right")
    runs = changed = passed = 0
    for seed in seeds:
        best = run_in_world(recipe, SHUFFLED, seed, search_calls).best
        world = World(SHUFFLED, seed)
        runs += 1
        if best is None or best.id == world.prompts.id:
            continue
        changed += 1
        passed += verdict_on_test(world, best, rules) == "improved"
    return FalsePositives(runs, changed, passed, rules.alpha / 2)


def verdict_on_test(world: World, best: PromptSet, gate: Gate) -> str:
    """The gate's verdict on sampled answers to the test rows."""
    old, new = (_outcomes(world, prompts) for prompts in (world.prompts, best))
    clusters = {e.id: e.id for e in world.rows["test"]}
    return str(decide(pair_outcomes(old, new, clusters), gate, metrics=["right"]).verdict)


def _outcomes(world: World, prompts: PromptSet) -> list[Outcome]:
    name, text = Candidate(prompts).id, instructions_of(prompts)
    out = []
    for row in world.rows["test"]:
        said, score = world.answer(name, text, row)
        out.append(Outcome(Cell(name, "test", row.id), {"right": score}, said))
    return out


def as_markdown(found: Mapping[str, FalsePositives]) -> str:
    """The table by method."""
    rows = [
        "| method | runs | prompt changed | passed the gate | level | P(so many or more) |",
        "|---|---|---|---|---|---|",
    ]
    rows += [f"| {m} | {f.runs} | {f.changed} | {f.passed} | {f.level:g} | {f.tail:.3f} |" for m, f in found.items()]
    return "\n".join(rows)
