"""How often the gate is wrong, and how often it finds what is there, on worlds whose truth is known.

    python benchmarks/gate_simulation.py            # 2,000 gate runs a line, some minutes
    python benchmarks/gate_simulation.py --quick    # 200 gate runs a line

Prints one Markdown table: the observed rate with its 95 % Wilson interval, what is promised, and whether the
observed rate is compatible with the promise. No model and no file is involved. Exit code 1 when a line fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from math import sqrt
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from langchain_promptopt.gate import PairedRow, Pairs, decide, pair_outcomes, power
from langchain_promptopt.recipe import Gate
from langchain_promptopt.types import Cell, Failure, Outcome

ALPHA = 0.05
FIRST = ALPHA / 2
"""The level of the first opening, alpha / (1 * 2)."""


@dataclass(frozen=True)
class World:
    """A kind of test whose truth is known.

    `promise` is what the rate of "improved" must be: at most it, or equal to it where `exact`. At a
    first opening it is that opening's own level, over many nights the whole alpha. Fewer
    `resamples` than the gate's own save time where the bootstrap does not decide.
    """

    name: str
    make: Callable[[Random], Pairs]
    gate: Gate
    promise: float = FIRST
    exact: bool = False
    nights: int = 1
    resamples: int | None = None


def wilson(passed: int, runs: int) -> tuple[float, float]:
    """95 % Wilson interval of a rate."""
    z, n, p = 1.96, runs, passed / runs
    centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


@dataclass(frozen=True)
class Line:
    """What came out of one world."""

    world: World
    runs: int
    passed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Share of runs that said improved."""
        return self.passed / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the rate."""
        return wilson(self.passed, self.runs)

    @property
    def kept(self) -> bool:
        """Whether the promise is compatible with what was seen."""
        low, high = self.interval
        if self.world.exact:
            slack = 0.02  # many lines are looked at, so each may miss its 95 % interval by a little
            return low - slack <= self.world.promise <= high + slack
        return low <= self.world.promise

    def markdown(self) -> str:
        """The table row."""
        low, high = self.interval
        sign = "=" if self.world.exact else "<="
        promise = f"{sign} {self.world.promise * 100:.1f} %"
        seen = f"{self.rate * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f})"
        return f"| {self.world.name} | {self.runs} | {seen} | {promise} | {'yes' if self.kept else 'NO'} |"


Side = Callable[[Random], tuple[tuple[float, ...], tuple[float, ...]]]


def pairs_of(rng: Random, n: int, row: Side, *, group: int = 1) -> Pairs:
    """`n` rows, in groups of `group`."""
    rows = []
    for i in range(n):
        a, b = row(rng)
        rows.append(
            PairedRow(example_id=str(i), cluster=str(i // group), baseline={"score": a}, candidate={"score": b})
        )
    return Pairs(rows=tuple(rows), metrics=("score",))


def coin(rng: Random, p: float) -> float:
    """1 with chance p."""
    return float(rng.random() < p)


def table(gain: float, discordance: float, right: float = 0.5) -> Side:
    """Binary scores with this gain and share of rows on which the sides differ."""
    better, worse = (discordance + gain) / 2, (discordance - gain) / 2

    def row(rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
        u = rng.random()
        if u < better:
            return (0.0,), (1.0,)
        if u < better + worse:
            return (1.0,), (0.0,)
        same = coin(rng, right)
        return (same,), (same,)

    return row


def inert(repeats: int = 1) -> Side:
    """A byte the model ignores: both sides draw from the same, row-specific chance."""

    def row(rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
        p = rng.betavariate(0.6, 0.3)
        return tuple(coin(rng, p) for _ in range(repeats)), tuple(coin(rng, p) for _ in range(repeats))

    return row


def shuffled(labels: int = 4) -> Side:
    """A candidate that answers differently, and labels that mean nothing."""

    def row(rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
        old, new, label = rng.randrange(labels), rng.randrange(labels), rng.randrange(labels)
        return (float(old == label),), (float(new == label),)

    return row


def judged(noise: float, step: float, gain: float = 0.0) -> Side:
    """A judge's 0-1 score of the same quality, with noise, in steps of `step` (0 for none)."""

    def score(rng: Random, quality: float) -> float:
        raw = quality + rng.gauss(0, noise)
        return min(1.0, max(0.0, round(raw / step) * step if step else raw))

    def row(rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
        quality = rng.uniform(0.3, 0.7)
        return (score(rng, quality),), (score(rng, quality + gain),)

    return row


def shifted(draw: Callable[[Random], float], baseline: float = 0.5) -> Side:
    """Continuous scores whose difference is drawn directly."""

    def row(rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (baseline,), (baseline + draw(rng),)

    return row


def skewed_up(mean: float) -> Callable[[Random], float]:
    """Few large gains, many small losses around `mean`."""
    return lambda rng: mean - 0.06 + min(0.45, rng.expovariate(1 / 0.06))


def tied(mean: float) -> Callable[[Random], float]:
    """Nothing on four rows of five, a quarter point or a loss on the others; `mean` in all."""
    return lambda rng: rng.choice((0.25, 0.25, 0.5, -0.25)) * mean / 0.0375 if rng.random() < 0.2 else 0.0


def rare_losses(mean: float) -> Callable[[Random], float]:
    """Many small gains and few large losses around `mean`."""
    return lambda rng: mean + (0.04 if rng.random() < 0.9 else -0.36)


def outright(gain: Callable[[Random], float], loss: float, share: float) -> Callable[[Random], float]:
    """A gain on most rows, an outright failure on a share of them."""
    return lambda rng: -loss if rng.random() < share else gain(rng)


def grouped(rng: Random, groups: int, size: int, gain: float = 0.0) -> Pairs:
    """Rows in groups that share the candidate's effect: symmetric over groups around `gain`."""
    rows = []
    for g in range(groups):
        right, effect = rng.uniform(0.35, 0.65), rng.choice((-0.25, 0.25)) + gain
        rows += [
            PairedRow(
                example_id=f"{g}.{i}",
                cluster=str(g),
                baseline={"score": (coin(rng, right),)},
                candidate={"score": (coin(rng, right + effect),)},
            )
            for i in range(size)
        ]
    return Pairs(rows=tuple(rows), metrics=("score",))


def with_guard(rng: Random, n: int, side: Side, *, group: int = 1) -> Pairs:
    """A candidate that clearly gains, with a second metric for a guard."""
    main, other = pairs_of(rng, n, table(0.3, 0.4), group=group), pairs_of(rng, n, side, group=group)
    rows = tuple(
        PairedRow(
            example_id=a.example_id,
            cluster=a.cluster,
            baseline={"score": a.baseline["score"], "policy": b.baseline["score"]},
            candidate={"score": a.candidate["score"], "policy": b.candidate["score"]},
        )
        for a, b in zip(main.rows, other.rows, strict=True)
    )
    return Pairs(rows=rows, metrics=("score", "policy"))


def crashing(rng: Random, *, crashes: float, zero: bool, gain: float = 0.0) -> Pairs:
    """A candidate that fails on a share of the rows the baseline gets right, as outage or as a zero."""
    baseline, candidate = [], []
    row = table(gain, max(0.1, gain))
    for i in range(150):
        (a,), (b,) = row(rng)
        broken = a == 1.0 and rng.random() < crashes
        failure = Failure("truncated" if zero else "timeout", "", scored_zero=zero) if broken else None
        baseline.append(Outcome(Cell("base", "test", str(i)), {"score": a}))
        scores = {"score": b} if failure is None else {}
        candidate.append(Outcome(Cell("new", "test", str(i)), scores, failure=failure))
    return pair_outcomes(baseline, candidate, {str(i): str(i) for i in range(150)})


def null_worlds() -> Iterator[World]:
    """Candidates that are no better; margin 0."""
    gate = Gate()
    yield World("inert change, binary, n=100", lambda r: pairs_of(r, 100, inert()), gate, resamples=399)
    yield World("inert change, binary, n=30", lambda r: pairs_of(r, 30, inert()), gate, resamples=399)
    yield World("inert change, 3 repeats", lambda r: pairs_of(r, 100, inert(3)), gate, resamples=399)
    yield World("inert change, groups of 4", lambda r: pairs_of(r, 100, inert(), group=4), gate, resamples=399)
    yield World("shuffled labels, binary", lambda r: pairs_of(r, 100, shuffled()), gate, resamples=399)
    yield World("noisy judge, continuous", lambda r: pairs_of(r, 100, judged(0.2, 0.0)), gate, resamples=399)
    yield World("noisy judge, steps of 0.25", lambda r: pairs_of(r, 60, judged(0.2, 0.25)), gate, resamples=399)
    yield World("group effects, 25 groups of 4", lambda r: grouped(r, 25, 4), gate, resamples=399)
    yield World("mean 0 but skewed up, n=60", lambda r: pairs_of(r, 60, shifted(skewed_up(0.0))), gate, resamples=399)
    yield World(
        "mean 0, rare large losses, n=100", lambda r: pairs_of(r, 100, shifted(rare_losses(0.0))), gate, resamples=399
    )
    yield World(
        "mean 0, rare large losses, n=40", lambda r: pairs_of(r, 40, shifted(rare_losses(0.0))), gate, resamples=399
    )


def margin_worlds() -> Iterator[World]:
    """True gain exactly at the margin."""
    gate = Gate(min_improvement=0.05)
    yield World("at margin: binary, 20 % differ", lambda r: pairs_of(r, 200, table(0.05, 0.2)), gate)
    yield World("at margin: binary, only gains", lambda r: pairs_of(r, 200, table(0.05, 0.05)), gate)
    yield World("at margin: binary, n=40", lambda r: pairs_of(r, 40, table(0.05, 0.15)), gate)
    normal = shifted(lambda r: 0.05 + r.gauss(0, 0.15))
    yield World("at margin: continuous", lambda r: pairs_of(r, 100, normal), gate)
    yield World("at margin: skewed up", lambda r: pairs_of(r, 100, shifted(skewed_up(0.05))), gate)
    yield World("at margin: tied and skewed", lambda r: pairs_of(r, 100, shifted(tied(0.05))), gate)
    yield World("at margin: rare large losses", lambda r: pairs_of(r, 100, shifted(rare_losses(0.05))), gate)
    yield World("at margin: 25 groups of 4", lambda r: grouped(r, 25, 4, gain=0.05), gate)
    guard = Gate(primary="score", guards={"policy": 0.05})
    yield World("guard falls by its margin, binary", lambda r: with_guard(r, 200, table(-0.05, 0.1)), guard)
    yield World("guard falls by its margin, only losses", lambda r: with_guard(r, 200, table(-0.05, 0.05)), guard)
    falls = shifted(lambda r: -0.5 if r.random() < 0.1 else 0.0)
    yield World("guard falls by its margin, rare losses", lambda r: with_guard(r, 200, falls), guard)


SIZES = (12, 20, 40, 100, 200)


def uneven_worlds() -> Iterator[World]:
    """Small gains on most rows and rare outright failures: the mean is 0, or a guard's is its margin, exactly."""
    draws = {
        "gains of .005 to .015, -.5 on 1 in 51": outright(lambda r: r.uniform(0.005, 0.015), 0.5, 1 / 51),
        "gains of .01 or .02, -.5 on 1 in 34": outright(lambda r: r.choice((0.01, 0.02)), 0.5, 0.015 / 0.515),
        "half ties, half gains of .02, -.5 on 1 in 51": outright(lambda r: r.choice((0.0, 0.02)), 0.5, 1 / 51),
        "gains of .08 to .12, -.5 on 1 in 6": outright(lambda r: r.uniform(0.08, 0.12), 0.5, 1 / 6),
        "gains of .02 with noise, -.2 on 1 in 11": outright(lambda r: 0.02 + r.gauss(0, 0.005), 0.2, 1 / 11),
    }
    for name, draw in draws.items():
        for n in SIZES:
            side = shifted(draw)
            yield World(f"{name}, n={n}", lambda r, n=n, side=side: pairs_of(r, n, side), Gate(), resamples=399)
    guard = Gate(primary="score", guards={"policy": 0.05})
    falls = shifted(outright(lambda r: r.uniform(-0.001, 0.001), 0.6, 1 / 12), baseline=0.7)
    for n in SIZES:
        name = f"guard at its margin, -.6 on 1 in 12, n={n}"
        yield World(name, lambda r, n=n: with_guard(r, n, falls), guard, resamples=399)


def judge_worlds() -> Iterator[World]:
    """Symmetric scores of a judge: no gain, and gains that must be found; nothing is promised of their power."""
    for n in SIZES:
        null = shifted(lambda r: r.gauss(0, 0.15))
        yield World(
            f"judge without a gain, spread .15, n={n}", lambda r, n=n, s=null: pairs_of(r, n, s), Gate(), resamples=399
        )
    for gain, spread in ((0.05, 0.15), (0.1, 0.2)):
        for n in SIZES:
            side = shifted(lambda r, gain=gain, spread=spread: r.gauss(gain, spread))
            name = f"judge gains {gain}, spread {spread}, n={n}"
            yield World(name, lambda r, n=n, s=side: pairs_of(r, n, s), Gate(), promise=1.0, resamples=399)


def other_worlds() -> Iterator[World]:
    """Many openings, crashes, and planted gains."""
    yield World(
        "30 nightly openings, inert binary", lambda r: pairs_of(r, 100, inert()), Gate(), nights=30, promise=ALPHA
    )
    yield World(
        "30 nightly openings, shuffled labels",
        lambda r: pairs_of(r, 100, shuffled(2)),
        Gate(),
        nights=30,
        promise=ALPHA,
    )
    crash = Gate()
    yield World("crashes 6 % of right rows, as outage", lambda r: crashing(r, crashes=0.06, zero=False), crash)
    yield World("crashes 25 % of right rows, as outage", lambda r: crashing(r, crashes=0.25, zero=False), crash)
    yield World("gains 10, crashes 25 % as zeros", lambda r: crashing(r, crashes=0.25, zero=True, gain=0.1), crash)
    for gain in (0.05, 0.10, 0.20):
        for n in (100, 400):
            chance = power(n, gain, 0.2 if gain < 0.2 else 0.3, FIRST)
            side = table(gain, 0.2 if gain < 0.2 else 0.3)
            name = f"planted gain of {gain * 100:.0f} points, n={n}"
            yield World(name, lambda r, n=n, side=side: pairs_of(r, n, side), Gate(), promise=chance, exact=True)


def worlds() -> Iterator[World]:
    """All of them."""
    yield from null_worlds()
    yield from margin_worlds()
    yield from uneven_worlds()
    yield from judge_worlds()
    yield from other_worlds()


def run(world: World, runs: int, seed: int = 0) -> Line:
    """Repeat a world; over several nights a run passes when any night does."""
    start, passed = time.perf_counter(), 0
    for i in range(runs):
        rng = Random(f"{seed}/{world.name}/{i}")
        passed += any(
            decide(world.make(rng), world.gate, opening=night, seed=i, resamples=world.resamples).improved
            for night in range(1, world.nights + 1)
        )
    return Line(world, runs, passed, time.perf_counter() - start)


def count_at(index: int, runs: int, seed: int) -> tuple[int, float]:
    """Run the world with that index; plain numbers, because worlds hold functions and cannot travel."""
    line = run(list(worlds())[index], runs, seed)
    return line.passed, line.seconds


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 runs a line instead of 2,000")
    parser.add_argument("--runs", type=int, default=0, help="runs a line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", default="", help="only worlds whose name contains this")
    args = parser.parse_args()
    runs = args.runs if args.runs else 200 if args.quick else 2_000
    print(f"alpha {ALPHA}, so p < {FIRST} at the first opening; `improved` with its 95 % Wilson interval.\n")
    print("| world | runs | improved | promised | kept |\n|---|---|---|---|---|")
    chosen = [i for i, world in enumerate(worlds()) if args.only in world.name]
    lines = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for i, (passed, seconds) in zip(
            chosen, pool.map(count_at, chosen, repeat(runs), repeat(args.seed)), strict=True
        ):
            lines.append(Line(list(worlds())[i], runs, passed, seconds))
            print(lines[-1].markdown(), flush=True)
    seconds = sum(line.seconds for line in lines)
    broken = sum(not line.kept for line in lines)
    decisions = sum(line.runs * line.world.nights for line in lines)
    print(f"\n{decisions:,} decisions in {seconds:.0f} s of computing; promises broken: {broken}.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
