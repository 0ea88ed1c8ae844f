"""A10. How dev rows are spent on fresh candidates: in full, by a bandit, or in a paired race.

The functions at the top are bounds and schedules, pure arithmetic.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from langchain_promptopt.recipe import at_least
from langchain_promptopt.types import Attempt, Candidate, attempts_by_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from langchain_promptopt.protocols import Bench, Scoring

    Scores = Mapping[str, float]


def bernstein_upper(differences: Sequence[float], delta: float) -> float:
    """Upper bound on the mean of differences in [-1, 1], by the empirical Bernstein inequality."""
    n = len(differences)
    if n < 2:
        return 1.0
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    log = math.log(3 / delta)
    return mean + math.sqrt(2 * variance * log / n) + 3 * 2.0 * log / n


def normal_upper(differences: Sequence[float], z: float = 1.2816) -> float:
    """Upper 90 % bound on the mean difference, with one pseudo-count on each side so that ties decide nothing."""
    n = len(differences)
    total, squares = sum(differences), sum(d * d for d in differences) + 1.0
    mean = total / n if n else 0.0
    variance = max(squares / (n + 1) - mean * mean, 0.0)
    return mean + z * math.sqrt(variance / max(n, 1))


def normal_lower(differences: Sequence[float], z: float = 1.2816) -> float:
    """Lower 90 % bound on the mean difference, with the same pseudo-counts."""
    return -normal_upper([-d for d in differences], z)


def ucb(mean: float, n: int, total: int, c: float) -> float:
    """UCB1 with all pulls counted (the released code counted rounds, which starves arms; spec 3.2).

    Args:
        mean: Mean score of the arm.
        n: Pulls of the arm.
        total: Pulls of all arms.
        c: Weight of the bonus; 1.0 in the released code.
    """
    return math.inf if not n else mean + c * math.sqrt(math.log(max(total, 2)) / n)


def ucb_e(mean: float, n: int, c: float) -> float:
    """UCB-E's bonus c * sqrt(c / n).

    Args:
        mean: Mean score of the arm.
        n: Pulls of the arm.
        c: Weight of the bonus.
    """
    return math.inf if not n else mean + c * math.sqrt(c / n)


def rejects_schedule(arms: int, budget: int, keep: int) -> list[int]:
    """Cumulative samples an arm has after each phase of successive rejects; phases drop one arm down to `keep`.

    Args:
        arms: Candidates at the start.
        budget: Rows over all arms and phases.
        keep: Arms that are left at the end.

    Returns:
        One number a phase; empty where no arm has to go.
    """
    log_bar = 0.5 + sum(1 / i for i in range(2, arms + 1))
    phases = max(0, arms - keep)
    found: list[int] = []
    for k in range(1, phases + 1):
        found.append(max(4 * k, math.ceil((budget - arms) / ((arms + 1 - k) * log_bar)) if budget > arms else 1))
    return found


def halving_samples(alive: int, arms: int, budget: int) -> int:
    """Samples per arm in one round of successive halving.

    Args:
        alive: Arms still in the race.
        arms: Arms at the start.
        budget: Rows over all arms and rounds.
    """
    return max(1, budget // (alive * max(1, math.ceil(math.log2(max(arms, 2))))))


def shared_differences(a: Mapping[str, float], b: Mapping[str, float]) -> list[float]:
    """What `a` scores more than `b`, on each of the rows both have seen."""
    return [a[i] - b[i] for i in a if i in b]


def attempt_of(candidate: Candidate, scores: Mapping[str, float]) -> Attempt:
    """A candidate with the mean of its row scores; 0 rows score 0."""
    return Attempt(candidate, sum(scores.values()) / len(scores) if scores else 0.0, dict(scores))


class AsMeasured:
    """Base: scores are means of the rows an attempt has seen, as in the papers."""

    @property
    def eager(self) -> bool:
        """Rows are dealt out while scores come in, unless an option says otherwise."""
        return False

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:  # noqa: ARG002
        """As they are."""
        return tuple(attempts)


@dataclass(frozen=True)
class FullDev(AsMeasured):
    """Every candidate is run on every dev row."""

    @property
    def eager(self) -> bool:
        """All rows are used, so evaluation may start at once."""
        return True

    def least(self, rows: int) -> int:
        """All of them."""
        return rows

    async def score(
        self,
        fresh: Sequence[Candidate],
        incumbents: Sequence[Attempt],  # noqa: ARG002
        bench: Bench,
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh` on all rows, in their order; those the budget did not reach are out.

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Not used.
            bench: Runs candidates on dev rows, within the budget.
        """
        await _all_of([(c, bench.examples) for c in fresh], bench)
        found: list[Attempt] = []
        for a in attempts_of(fresh, (), bench):
            if bench.withheld(a.candidate):
                found.append(replace(a, out=True))
            else:
                found.append(a)
        return tuple(found)


@dataclass(frozen=True)
class Bandit(AsMeasured):
    """APO's best-arm selection: `rounds` x `samples` x `arms` pulls shared among new candidates and incumbents.

    "ucb" and "ucb-e" pull the arms with the highest bonus, "uniform" all alike; counts are total
    pulls, each arm first pulled once (P3). Where the budget covers every row everything is scored
    in full (a bandit needs dev >= 50, spec 5.3 note 8).
    """

    rule: Literal["ucb", "ucb-e", "uniform"] = "ucb"
    c: float = 1.0
    rounds: int = 8
    samples: int = 32
    arms: int = 8

    def least(self, rows: int) -> int:
        """One pull."""
        return min(self.samples, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh` and of incumbents pulled again; at most the budget and one pull an arm more (A3).

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        candidates = [*_candidates(incumbents), *fresh]
        left = self.rounds * self.samples * min(self.arms, len(candidates))
        if len(bench.examples) < 50 or left >= len(candidates) * len(bench.examples):
            return await FullDev().score(candidates, incumbents, bench)
        round_ = 0
        while left > 0 and (pulls := await self._pull(self._choose(candidates, bench, round_), bench, left)):
            left -= pulls
            round_ += 1
        return attempts_of(candidates, (), bench)

    def _choose(self, candidates: Sequence[Candidate], bench: Bench, round_: int) -> list[Candidate]:
        open_arms = [c for c in candidates if len(bench.known(c)) < len(bench.examples)]
        unseen = [c for c in open_arms if not bench.known(c)]
        if unseen or self.rule == "uniform":
            return unseen or open_arms
        total = sum(len(bench.known(c)) for c in candidates)
        shuffled = bench.rng("bandit", round_).sample(open_arms, len(open_arms))  # equal arms win equally often (N9)
        return sorted(shuffled, key=lambda c: -self._bonus(bench.known(c), total))[: self.arms]

    def _bonus(self, known: Mapping[str, float], total: int) -> float:
        mean = sum(known.values()) / len(known) if known else 0.0
        return ucb_e(mean, len(known), self.c) if self.rule == "ucb-e" else ucb(mean, len(known), total, self.c)

    async def _pull(self, chosen: Sequence[Candidate], bench: Bench, left: int) -> int:
        wanted: list[tuple[Candidate, Sequence[str]]] = []
        for candidate in chosen:
            missing = _missing(candidate, bench.examples, bench)
            rows = missing[: min(self.samples, left)]
            left -= len(rows)
            wanted.append((candidate, rows))
        await _all_of(wanted, bench)
        return sum(len(rows) for _, rows in wanted)


@dataclass(frozen=True)
class SuccessiveRejects(AsMeasured):
    """SR: phases that each drop the worst arm, down to `keep`."""

    budget: int = 2048
    keep: int = 4

    def least(self, rows: int) -> int:
        """The first phase."""
        return min(4, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of all arms; the rejected ones are out. At most the budget and one row an arm more (A3).

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        alive = [*_candidates(incumbents), *fresh]
        purse, dropped = _Purse(self.budget + len(alive)), list[Candidate]()
        for n in rejects_schedule(len(alive), self.budget, self.keep):
            await purse.up_to(alive, n, bench)
            worst = min(alive, key=lambda c: (attempt_of(c, bench.known(c)).score, -alive.index(c)))
            alive.remove(worst)
            dropped.append(worst)
        await purse.up_to(alive, len(bench.examples), bench)
        return attempts_of(alive, dropped, bench)


@dataclass(frozen=True)
class SuccessiveHalving(AsMeasured):
    """SH: rounds that drop every arm below the mean, as the released code does; `keep` always stay."""

    budget: int = 2048
    keep: int = 4

    def least(self, rows: int) -> int:
        """The first round at its smallest."""
        return min(4, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of all arms; those halved away are out. At most the budget and one row an arm more (A3).

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        alive = [*_candidates(incumbents), *fresh]
        arms, dropped, seen = len(alive), list[Candidate](), 0
        purse = _Purse(self.budget + arms)
        while len(alive) > self.keep:
            seen += halving_samples(len(alive), arms, self.budget)
            await purse.up_to(alive, seen, bench)
            stay = self._stay(alive, bench)
            dropped += [c for c in alive if c.id not in stay]
            alive = [c for c in alive if c.id in stay]
        await purse.up_to(alive, len(bench.examples), bench)
        return attempts_of(alive, dropped, bench)

    def _stay(self, alive: Sequence[Candidate], bench: Bench) -> set[str]:
        """Arms at or above the mean, at least `keep`; where that drops none, the better half."""
        scores = {c.id: attempt_of(c, bench.known(c)).score for c in alive}
        mean = sum(scores.values()) / len(scores)
        order = sorted(scores, key=lambda i: -scores[i])
        stay = {i for place, i in enumerate(order) if scores[i] >= mean or place < self.keep}
        return stay if len(stay) < len(alive) else set(order[: max(self.keep, len(order) // 2)])


@dataclass
class _Purse:
    """Rows that may still be run."""

    left: int

    async def up_to(self, alive: Sequence[Candidate], n: int, bench: Bench) -> None:
        """Every arm sees the first n rows of the shared order, as far as the budget of rows allows: all arms alike.

        Args:
            alive: Candidates still in the race.
            n: How many rows of the shared order each has seen afterwards.
            bench: Runs candidates on dev rows, within the budget.
        """
        missing = {c.id: (c, _missing(c, bench.examples[:n], bench)) for c in alive}
        share = self.left // max(1, len(missing))
        wanted = [(c, rows[:share]) for c, rows in missing.values()]
        self.left -= sum(len(rows) for _, rows in wanted)
        await _all_of(wanted, bench)


async def up_to(alive: Sequence[Candidate], n: int, bench: Bench) -> None:
    """Every arm sees the first n rows of the shared order.

    Args:
        alive: Candidates still in the race.
        n: How many rows of the shared order each has seen afterwards.
        bench: Runs candidates on dev rows, within the budget.
    """
    await _all_of({c.id: (c, bench.examples[:n]) for c in alive}.values(), bench)


def _candidates(attempts: Iterable[Attempt]) -> list[Candidate]:
    return [a.candidate for a in attempts]


def _missing(candidate: Candidate, example_ids: Sequence[str], bench: Bench) -> list[str]:
    """Those of the rows that the candidate has no score on."""
    known = bench.known(candidate)
    return [i for i in example_ids if i not in known]


async def _all_of(wanted: Iterable[tuple[Candidate, Sequence[str]]], bench: Bench) -> None:
    """These rows of these candidates, all at once; decisions wait until every score is there."""
    missing = [(c, _missing(c, rows, bench)) for c, rows in wanted]
    await asyncio.gather(*(bench.evaluate(c, rows) for c, rows in missing if rows))


def attempts_of(alive: Sequence[Candidate], dropped: Sequence[Candidate], bench: Bench) -> tuple[Attempt, ...]:
    """Attempts of the candidates that are left, then of those that were dropped, marked as out.

    Args:
        alive: Candidates still in the race.
        dropped: Candidates that left it.
        bench: Holds the scores.
    """
    stay = [attempt_of(c, bench.known(c)) for c in alive]
    return (*stay, *(replace(attempt_of(c, bench.known(c)), out=True) for c in dropped))


CAUTION = 0.5
"""Standard errors taken off a gain that only a part of the rows shows."""


@dataclass(frozen=True)
class Race:
    """Paired race on shared rows: those clearly behind the `beam`-th best are dropped early.

    All fresh candidates see the first `first` rows of the shared order, then `grow` times as many
    and so on; a candidate whose paired difference to the beam's last has an upper bound (`z`
    standard errors) below `slack` is out. With `z_ahead` a race ends as soon as the only candidate left is that many
    standard errors above every incumbent. With `narrow` both bounds close in proportion to the rows
    seen, as in a triangular test, so that a race between equals does not go on to the last row.

    Where a race ends before every row was seen, early or by the budget, a score is the best
    incumbent's plus the paired difference on shared rows less `CAUTION` standard errors, so that
    few lucky rows do not win.
    """

    first: int = 16
    beam: int = 4
    slack: float = 0.0
    grow: float = 2
    z: float = 1.2816
    z_ahead: float | None = None
    narrow: bool = False

    @property
    def eager(self) -> bool:
        """Rows are dealt out rung by rung."""
        return False

    def least(self, rows: int) -> int:
        """The first rung."""
        return min(self.first, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh`, those dropped early marked as out, then incumbents that saw further rows.

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        alive, rung = list(fresh), float(self.first)
        dropped: list[Candidate] = []
        total, early = len(bench.examples), False
        while alive:
            seen = min(round(rung), total)
            await up_to(alive, seen, bench)
            if seen >= total or any(map(bench.withheld, alive)):
                break
            bar = self._bar(alive, incumbents, bench)
            ahead: list[Candidate] = []
            for c in alive:
                behind = bar is not None and self._behind(c, bar, bench)
                (dropped if behind else ahead).append(c)
            alive = ahead
            if early := self._won(alive, incumbents, bench):
                break
            rung *= self.grow
        now = [_further(a, bench) for a in incumbents]
        found = attempts_by_id(attempts_of((), dropped, bench))
        found |= {c.id: self._measured(c, now, bench, early=early) for c in alive}
        further = (a for a, old in zip(now, incumbents, strict=True) if a.n > old.n)
        return (*(found[c.id] for c in fresh), *further)

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:
        """Attempts that saw fewer rows than the leader: its score plus the cautious difference to it."""
        found: list[Attempt] = []
        for a in attempts:
            if a.n < leader.n and not a.out:
                found.append(self._beside(a, leader))
            else:
                found.append(a)
        return tuple(found)

    def _beside(self, attempt: Attempt, leader: Attempt) -> Attempt:
        differences = shared_differences(attempt.by_example, leader.by_example)
        return replace(attempt, score=leader.score + normal_lower(differences, CAUTION)) if differences else attempt

    def _bar(self, alive: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench) -> Scores | None:
        """Row scores of the beam's last by the rows seen so far, incumbents included."""
        shown = set(bench.known(alive[0]))
        entrants = list(map(bench.known, alive))
        for a in incumbents:
            entrants.append({i: s for i, s in _rows(a, bench).items() if i in shown})
        order = sorted(filter(None, entrants), key=lambda e: -sum(e.values()) / len(e))
        if len(order) >= self.beam:
            return order[self.beam - 1]
        return order[-1] if incumbents else None

    def _behind(self, candidate: Candidate, bar: Scores, bench: Bench) -> bool:
        differences = shared_differences(bench.known(candidate), bar)
        return bool(differences) and normal_upper(differences, self.z * self._open(differences, bench)) < self.slack

    def _open(self, differences: Sequence[float], bench: Bench) -> float:
        """Width of the bounds as a share: 1 at the start, 0 when every row was seen."""
        return 1.0 - len(differences) / len(bench.examples) if self.narrow else 1.0

    def _won(self, alive: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench) -> bool:
        """Whether one candidate is left and clearly ahead of all incumbents."""
        if self.z_ahead is None or len(alive) != 1 or not incumbents:
            return False
        rows = bench.known(alive[0])
        differences = [shared_differences(rows, _rows(a, bench)) for a in incumbents]
        return all(normal_lower(d, self.z_ahead * self._open(d, bench)) > self.slack for d in differences)

    def _measured(self, candidate: Candidate, incumbents: Sequence[Attempt], bench: Bench, *, early: bool) -> Attempt:
        known = bench.known(candidate)
        attempt = attempt_of(candidate, known)
        if not incumbents or not (early or bench.withheld(candidate)):
            return attempt
        if len(known) < self.least(len(bench.examples)):
            return replace(attempt, out=True)
        best = max(incumbents, key=lambda a: a.score)
        return replace(attempt, score=best.score + normal_lower(shared_differences(known, best.by_example), CAUTION))


def _rows(attempt: Attempt, bench: Bench) -> Scores:
    return bench.known(attempt.candidate) or attempt.by_example


def _further(attempt: Attempt, bench: Bench) -> Attempt:
    """The attempt with the rows that are known by now."""
    rows = _rows(attempt, bench)
    if len(rows) <= attempt.n:
        return attempt
    return replace(attempt, score=sum(rows.values()) / len(rows), by_example=dict(rows))


@dataclass(frozen=True)
class Lazy:
    """Incumbents, the baseline among them, are run only on the rows that the races need.

    A leader may have been chosen on a part of the rows: after `still` steps without gain the
    search measures it and the one before it on every row (docs/design/004-robust.md).
    """

    inner: Scoring = field(default_factory=Race)
    still: int = 3

    @property
    def eager(self) -> bool:
        """Rows are dealt out."""
        return False

    def least(self, rows: int) -> int:
        """As the inner scoring."""
        return self.inner.least(rows)

    def first(self, rows: int) -> int:
        """As many as a fresh candidate sees."""
        return self.inner.least(rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """As the inner scoring, with the incumbents run on every row that a fresh candidate is run on.

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        return await self.inner.score(fresh, incumbents, _Beside(bench, _candidates(incumbents)))

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:
        """As the inner scoring."""
        return self.inner.comparable(attempts, leader)

    async def catch_up(self, attempts: Sequence[Attempt], bench: Bench) -> tuple[Attempt, ...]:
        """All on every row, as far as the budget reaches."""
        await up_to(_candidates(attempts), len(bench.examples), bench)
        return tuple(_further(a, bench) for a in attempts)


class _Beside:
    """A bench that runs some candidates along with every other one."""

    def __init__(self, bench: Bench, along: Sequence[Candidate]) -> None:
        self._bench = bench
        self._along = along
        self._asked: set[str] = set()

    def known(self, candidate: Candidate) -> Scores:
        """As the bench."""
        return self._bench.known(candidate)

    def withheld(self, candidate: Candidate) -> bool:
        """As the bench."""
        return self._bench.withheld(candidate)

    def rng(self, *place: str | int) -> Random:
        """As the bench."""
        return self._bench.rng(*place)

    @property
    def examples(self) -> Sequence[str]:
        """The rows of the bench itself."""
        return self._bench.examples

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Scores:
        """These rows of the others first, so that the budget reaches for them first."""
        rows = [i for i in example_ids if i not in self._asked]
        self._asked.update(rows)
        wanted = [(c, _missing(c, rows, self._bench)) for c in self._along]
        along = [self._bench.evaluate(c, missing) for c, missing in wanted if missing]
        *_, scores = await asyncio.gather(*along, self._bench.evaluate(candidate, example_ids))
        return scores


def first_of(attempts: Iterable[Attempt]) -> Attempt | None:
    """The user's own prompt among attempts; None where it is not there."""
    return next((a for a in attempts if a.candidate.origin == "seed" and not a.candidate.parents), None)


def fall(attempt: Attempt, first: Attempt) -> float | None:
    """How much an attempt scores less than the user's own prompt on the rows both have seen; None without such rows."""
    differences = shared_differences(first.by_example, attempt.by_example)
    return sum(differences) / len(differences) if differences else None


@dataclass(frozen=True)
class NotWorse:
    """`shorten`: a score is the share of the tokens saved; a candidate that loses more than `margin` is out.

    All fresh candidates see the first `first` rows of the shared order, then twice as many and so on; one whose paired
    difference to the user's own prompt is clearly below `-margin` (`z` standard errors) sees no further rows.
    """

    margin: float = 0.0
    first: int = 16
    z: float = 1.2816
    shortens: ClassVar[bool] = True
    """The test then asks whether the winner is not worse, in place of whether it is better."""

    def __post_init__(self) -> None:
        at_least("scoring.margin", self.margin, 0.0)
        at_least("scoring.first", self.first, 1)

    @property
    def eager(self) -> bool:
        """Rows are dealt out in rungs."""
        return False

    def least(self, rows: int) -> int:
        """The first rung."""
        return min(self.first, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh`, those that are worse marked as out.

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before, the user's own prompt among them.
            bench: Runs candidates on dev rows, within the budget.
        """
        alive, first, total = list(fresh), first_of(incumbents), len(bench.examples)
        rung, dropped = self.first, list[Candidate]()
        while alive:
            await up_to(alive, min(rung, total), bench)
            if rung >= total or any(map(bench.withheld, alive)):
                break
            ahead: list[Candidate] = []
            for c in alive:
                behind = first is not None and self._behind(c, first, bench)
                (dropped if behind else ahead).append(c)
            alive = ahead
            rung *= 2
        found = attempts_by_id(attempts_of(alive, dropped, bench))
        for c in fresh:
            if bench.withheld(c):
                found[c.id] = replace(found[c.id], out=True)
        return tuple(found[c.id] if first is None else self._saving(found[c.id], first) for c in fresh)

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:  # noqa: ARG002
        """Each with the share of tokens that it saves; the user's own prompt saves 0.

        Args:
            attempts: All attempts, the user's own prompt among them.
            leader: Not used.
        """
        first = first_of(attempts)
        return tuple(attempts) if first is None else tuple(self._saving(a, first) for a in attempts)

    def _behind(self, candidate: Candidate, first: Attempt, bench: Bench) -> bool:
        differences = shared_differences(bench.known(candidate), first.by_example)
        return bool(differences) and normal_upper(differences, self.z) < -self.margin

    def _saving(self, attempt: Attempt, first: Attempt) -> Attempt:
        lost = fall(attempt, first)
        worse = lost is None or lost > self.margin + 1e-9
        saved = 1.0 - attempt.candidate.prompts.tokens / max(1, first.candidate.prompts.tokens)
        return replace(attempt, score=saved, out=attempt.out or worse)
