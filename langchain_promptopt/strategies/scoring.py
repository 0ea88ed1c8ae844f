"""A10. How dev rows are spent on fresh candidates."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from langchain_promptopt.strategies.racing import halving_samples, rejects_schedule, ucb, ucb_e
from langchain_promptopt.types import Attempt, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.protocols import Bench


def attempt_of(candidate: Candidate, scores: Mapping[str, float]) -> Attempt:
    """A candidate with the mean of its row scores; 0 rows score 0."""
    return Attempt(candidate, sum(scores.values()) / len(scores) if scores else 0.0, dict(scores))


class _AsMeasured:
    """Scores are means of the rows an attempt has seen, as in the papers."""

    def baseline_rows(self, rows: int) -> int:
        """All of them."""
        return rows

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:  # noqa: ARG002
        """As they are."""
        return tuple(attempts)

    def owes(self, leader: Attempt, rows: int) -> bool:  # noqa: ARG002
        """Never: an attempt is what it is."""
        return False

    async def rematch(self, leader: Attempt, rival: Attempt, bench: Bench) -> tuple[Attempt, ...]:  # noqa: ARG002
        """Nothing further."""
        return ()


@dataclass(frozen=True)
class FullDev(_AsMeasured):
    """Every candidate on every dev row."""

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
        """Attempts of `fresh` on all rows, in their order; those the budget did not reach are out."""
        await _all_of([(c, bench.examples) for c in fresh], bench)
        measured = [attempt_of(c, bench.known(c)) for c in fresh]
        return tuple(replace(a, out=True) if bench.withheld(a.candidate) else a for a in measured)


@dataclass(frozen=True)
class Bandit(_AsMeasured):
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

    @property
    def eager(self) -> bool:
        """Rows are dealt out round by round."""
        return False

    def least(self, rows: int) -> int:
        """One pull."""
        return min(self.samples, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh` and of incumbents pulled again; at most the budget and one pull an arm more (A3)."""
        candidates = [a.candidate for a in incumbents] + list(fresh)
        left = self.rounds * self.samples * min(self.arms, len(candidates))
        if len(bench.examples) < 50 or left >= len(candidates) * len(bench.examples):
            return await FullDev().score(candidates, incumbents, bench)
        round_ = 0
        while left > 0 and (pulls := await self._pull(self._choose(candidates, bench, round_), bench, left)):
            left -= pulls
            round_ += 1
        return tuple(attempt_of(c, bench.known(c)) for c in candidates)

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
            missing = [i for i in bench.examples if i not in bench.known(candidate)]
            rows = missing[: min(self.samples, left)]
            left -= len(rows)
            wanted.append((candidate, rows))
        await _all_of(wanted, bench)
        return sum(len(rows) for _, rows in wanted)


@dataclass(frozen=True)
class SuccessiveRejects(_AsMeasured):
    """SR: phases that each drop the worst arm, down to `keep` (spec 3.2)."""

    budget: int = 2048
    keep: int = 4

    @property
    def eager(self) -> bool:
        """Rows are dealt out phase by phase."""
        return False

    def least(self, rows: int) -> int:
        """The first phase."""
        return min(4, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of all arms; the rejected ones are out. At most the budget and one row an arm more (A3)."""
        alive = [a.candidate for a in incumbents] + list(fresh)
        purse, dropped = _Purse(self.budget + len(alive)), list[Candidate]()
        for n in rejects_schedule(len(alive), self.budget, self.keep):
            await purse.up_to(alive, n, bench)
            worst = min(alive, key=lambda c: (attempt_of(c, bench.known(c)).score, -alive.index(c)))
            alive.remove(worst)
            dropped.append(worst)
        await purse.up_to(alive, len(bench.examples), bench)
        return told(alive, dropped, bench)


@dataclass(frozen=True)
class SuccessiveHalving(_AsMeasured):
    """SH: rounds that drop every arm below the mean, as the released code does (spec 3.2); `keep` always stay."""

    budget: int = 2048
    keep: int = 4

    @property
    def eager(self) -> bool:
        """Rows are dealt out round by round."""
        return False

    def least(self, rows: int) -> int:
        """The first round at its smallest."""
        return min(4, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of all arms; those halved away are out. At most the budget and one row an arm more (A3)."""
        alive = [a.candidate for a in incumbents] + list(fresh)
        arms, dropped, seen = len(alive), list[Candidate](), 0
        purse = _Purse(self.budget + arms)
        while len(alive) > self.keep:
            seen += halving_samples(len(alive), arms, self.budget)
            await purse.up_to(alive, seen, bench)
            stay = self._stay(alive, bench)
            dropped += [c for c in alive if c.id not in stay]
            alive = [c for c in alive if c.id in stay]
        await purse.up_to(alive, len(bench.examples), bench)
        return told(alive, dropped, bench)

    def _stay(self, alive: Sequence[Candidate], bench: Bench) -> set[str]:
        """Arms at or above the mean, at least `keep`; where that drops nobody, the better half."""
        scores = {c.id: attempt_of(c, bench.known(c)).score for c in alive}
        mean = sum(scores.values()) / len(scores)
        order = sorted(scores, key=lambda i: -scores[i])
        stay = {i for place, i in enumerate(order) if scores[i] >= mean or place < self.keep}
        return stay if len(stay) < len(alive) else set(order[: max(self.keep, len(order) // 2)])


@dataclass
class _Purse:
    """Rows that may still be bought."""

    left: int

    async def up_to(self, alive: Sequence[Candidate], n: int, bench: Bench) -> None:
        """Every arm sees the first n rows of the shared order, as far as the purse reaches: all arms alike."""
        missing = {c.id: (c, [i for i in bench.examples[:n] if i not in bench.known(c)]) for c in alive}
        share = self.left // max(1, len(missing))
        wanted = [(c, rows[:share]) for c, rows in missing.values()]
        self.left -= sum(len(rows) for _, rows in wanted)
        await _all_of(wanted, bench)


async def up_to(alive: Sequence[Candidate], n: int, bench: Bench) -> None:
    """Every arm sees the first n rows of the shared order."""
    await _all_of({c.id: (c, bench.examples[:n]) for c in alive}.values(), bench)


async def _all_of(wanted: Iterable[tuple[Candidate, Sequence[str]]], bench: Bench) -> None:
    """These rows of these candidates, all at once; decisions wait until every score is there."""
    missing = [(c, [i for i in rows if i not in bench.known(c)]) for c, rows in wanted]
    await asyncio.gather(*(bench.evaluate(c, rows) for c, rows in missing if rows))


def told(alive: Sequence[Candidate], dropped: Sequence[Candidate], bench: Bench) -> tuple[Attempt, ...]:
    """Attempts of those left, then of those dropped, marked as out."""
    stay = [attempt_of(c, bench.known(c)) for c in alive]
    return (*stay, *(replace(attempt_of(c, bench.known(c)), out=True) for c in dropped))
