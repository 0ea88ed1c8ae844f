"""How far an evaluator agrees with people: Cohen's kappa over answers of production that people have scored.

A judge that agrees no better than chance decides by chance, so it is measured before it decides. The judge scores the
answer that people saw, as the run recorded it; the chain is not called.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from langchain_promptopt._imports import importing_from
from langchain_promptopt._runtime.concurrency import run_sync, together
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.evaluators import Evaluator, EvaluatorFailed, is_built_in, resolve_evaluators
from langchain_promptopt.optimizer.judges import judge_models, unseen
from langchain_promptopt.optimizer.plan import load_rows, with_stored
from langchain_promptopt.pipeline.prepare import code_folder, settings_from
from langchain_promptopt.types import RowUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.config import Config
    from langchain_promptopt.types import Example

FEWEST = 30
"""Answers with a person's score below which no agreement is told: the interval would be wider than half the scale."""
MOST = 300
"""Answers that are scored at most; each is a paid call of a judge."""
_RIGHT = 0.5
"""The score from which a judge calls an answer right."""
_Z = 1.96


@dataclass(frozen=True)
class Kappa:
    """Agreement beyond chance of two that sorted the same things: 1 is full, 0 is chance.

    Attributes:
        value: Cohen's kappa; None where one side gave all the same verdict, which leaves nothing to agree on.
        low: The lower end of its 95 % interval.
        high: The upper end.
        n: How many things both sorted.
        agreed: The share sorted alike.
    """

    value: float | None
    low: float
    high: float
    n: int
    agreed: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[Any, Any]]) -> Kappa:
        """Kappa of pairs of verdicts, with the large-sample interval of Fleiss, Cohen and Everitt (1969).

        >>> found = Kappa.of([(1, 1)] * 40 + [(1, 0)] * 10 + [(0, 1)] * 20 + [(0, 0)] * 30)
        >>> round(found.value, 3), round(found.agreed, 2)
        (0.4, 0.7)
        """
        n = len(pairs)
        cells = Counter((str(a), str(b)) for a, b in pairs)
        of_first = Counter(str(a) for a, _ in pairs)
        of_second = Counter(str(b) for _, b in pairs)
        names = sorted({*of_first, *of_second})
        agreed = sum(cells[c, c] for c in names) / n if n else 0.0
        if len(of_first) < 2 or len(of_second) < 2:
            return cls(None, -1.0, 1.0, n, agreed)
        mine = {c: of_first[c] / n for c in names}
        theirs = {c: of_second[c] / n for c in names}
        chance = sum(mine[c] * theirs[c] for c in names)
        value = (agreed - chance) / (1 - chance)
        diagonal = sum(cells[c, c] / n * ((1 - chance) - (mine[c] + theirs[c]) * (1 - agreed)) ** 2 for c in names)
        beside = sum(cells[c, d] / n * (theirs[c] + mine[d]) ** 2 for c, d in permutations(names, 2))
        spread = diagonal + (1 - agreed) ** 2 * beside - (agreed * chance - 2 * chance + agreed) ** 2
        error = math.sqrt(max(0.0, spread) / n) / (1 - chance) ** 2
        return cls(value, max(-1.0, value - _Z * error), min(1.0, value + _Z * error), n, agreed)


@dataclass(frozen=True)
class Agreement:
    """One evaluator beside people.

    Attributes:
        metric: The evaluator's metric.
        people: The feedback key that people scored under.
        kappa: How far they agree.
        failed: Answers on which the evaluator gave no score.
    """

    metric: str
    people: str
    kappa: Kappa
    failed: int = 0

    def reaches(self, least: float) -> bool:
        """Whether the evaluator may decide."""
        value = self.kappa.value
        return value is not None and self.kappa.n >= FEWEST and value >= least

    def as_json(self) -> dict[str, Any]:
        """The agreement for programs."""
        k = self.kappa
        told = {"metric": self.metric, "people": self.people, "kappa": k.value, "interval": [k.low, k.high]}
        return {**told, "n": k.n, "agreed": k.agreed, "failed": self.failed}

    def __str__(self) -> str:
        k = self.kappa
        if k.value is None:
            return f"{self.metric}: no kappa over {k.n} answers, because one side gave them all the same verdict"
        short = f"; at least {FEWEST} answers are needed" if k.n < FEWEST else ""
        return (
            f"{self.metric} agrees with people's {self.people!r} on {k.agreed:.0%} of {k.n} answers:"
            f" kappa {k.value:.2f} ({k.low:.2f} to {k.high:.2f}){short}"
        )


@dataclass(frozen=True)
class People:
    """Whose verdict counts: a feedback key, and the score from which people called an answer right."""

    key: str
    least: float = 1.0

    @classmethod
    def of(cls, text: str) -> People:
        """What "correct" or "stars>=4" means. Raises ConfigError for anything else.

        >>> People.of("stars>=4")
        People(key='stars', least=4.0)
        """
        found = re.fullmatch(r"([^<>=]+?)(?:\s*>=\s*(-?\d+(?:\.\d+)?))?", text.strip())
        if found is None:
            msg = f"{text!r} names no feedback of people"
            raise ConfigError(msg, where="loop.people", mend='Write the feedback\'s key, as "correct" or "stars>=4".')
        return cls(found.group(1).strip(), float(found.group(2) or 1.0))

    def verdict(self, example: Example) -> bool | None:
        """Whether people called this run's answer right; None where nobody said."""
        said = (example.metadata.get("people") or {}).get(self.key)
        return None if not isinstance(said, int | float) else float(said) >= self.least


def is_judge(evaluator: Evaluator) -> bool:
    """Whether an evaluator asks a model, as far as its code shows."""
    return not is_built_in(evaluator.origin) and bool(judge_models([evaluator]) or unseen([evaluator]))


def agreement(config: Config, people: str, *, only: Sequence[str] = ()) -> list[Agreement]:
    """Score the recorded answers that people have scored, and compare.

    Args:
        config: Its data are runs of a project, or examples harvested from one; its evaluators are measured.
        people: The feedback key of people, as "correct" or "stars>=4".
        only: Keys of the evaluators to measure; () is all.

    Returns:
        One entry for each metric that the evaluators give.

    Raises:
        ConfigError: `people` cannot be read.
        DataError: No answer was scored by people under that key.
    """
    config.require("data.source", "evaluate.evaluators")
    whose, settings = People.of(people), settings_from(config)
    found = resolve_evaluators(with_stored(settings.evaluators, settings), import_from=settings.import_from)
    evaluators = [e for e in found if not only or e.key in only]
    every = load_rows(replace(settings, splits=None), RowUse(references=False), write=False).examples
    rows = [e for e in every if whose.verdict(e) is not None and e.metadata.get("answer") is not None][:MOST]
    if not rows:
        msg = f"none of {len(every)} examples has an answer that people scored as {whose.key!r}"
        mend = "Name the key of their feedback, and harvest runs with it (data.reference may be left out)."
        raise DataError(msg, where=str(config.data.source), mend=mend)
    verdicts = {e.id: bool(whose.verdict(e)) for e in rows}
    with importing_from(code_folder(config)):
        scores, failed = run_sync(lambda: _scored(evaluators, rows, settings.max_concurrency))
    out = []
    for metric, by_row in scores.items():
        pairs = [(score >= _RIGHT, verdicts[row]) for row, score in by_row.items()]
        out.append(Agreement(metric, people, Kappa.of(pairs), failed))
    return out


async def _scored(
    evaluators: Sequence[Evaluator], rows: Sequence[Example], at_once: int
) -> tuple[dict[str, dict[str, float]], int]:
    """Scores by metric and example, and how many could not be had."""
    gate = asyncio.Semaphore(at_once)
    scores: dict[str, dict[str, float]] = {}
    failed = 0

    async def one(evaluator: Evaluator, row: Example) -> None:
        nonlocal failed
        async with gate:
            try:
                found: Mapping[str, float] = (await evaluator.score(row, row.metadata["answer"])).scores
            except EvaluatorFailed:
                failed += 1
                return
        for metric, score in found.items():
            scores.setdefault(metric, {})[row.id] = score

    await together(one(e, row) for row, e in product(rows, evaluators))
    return dict(sorted(scores.items())), failed


def refuse_unmeasured(config: Config, people: str | None, least: float, *, trust: bool = False) -> list[Agreement]:
    """Measure the judges whose metric decides; those that agree too little with people are refused.

    Args:
        config: Says which evaluators there are, which metric decides, and where answers scored by people are.
        people: The feedback key of people; None where nobody is named.
        least: The kappa that a judge must reach.
        trust: Let a judge decide whatever is found.

    Returns:
        What was measured; () where no judge decides.

    Raises:
        ConfigError: A judge would decide that was not measured, or that agrees too little.
    """
    settings = settings_from(config)
    found = resolve_evaluators(with_stored(settings.evaluators, settings), import_from=settings.import_from)
    deciding = {config.gate.primary} if config.gate.primary else set(config.evaluate.weights)
    deciding = deciding or {found[0].key}
    judges = [e for e in found if is_judge(e) and _gives_any(e, deciding)]
    if not judges:
        return []
    named = ", ".join(e.key for e in judges)
    if people is None:
        if trust:
            return []
        msg = f"the judge {named} would decide, and its agreement with people was not measured"
        mend = 'Set loop.people to the key of people\'s feedback, as "correct", or add --trust-judge.'
        raise ConfigError(msg, where="loop.people", mend=mend)
    measured = agreement(config, people, only=[e.key for e in judges])
    decisive = [a for a in measured if a.metric in deciding or len(measured) == 1]
    short = [str(a) for a in decisive if not a.reaches(least)]
    if (short or not measured) and not trust:
        msg = f"the judge would decide, and agrees too little with people (at least kappa {least:.2f}): "
        msg += "; ".join(short) or f"{named} gave no score"
        mend = "Improve the judge, let a check without a model decide (gate.primary), or add --trust-judge."
        raise ConfigError(msg, where="loop.min_agreement", mend=mend)
    return measured


def _gives_any(evaluator: Evaluator, metrics: set[str]) -> bool:
    """Whether one of these metrics is the evaluator's, as far as its metrics are known before it has scored."""
    return evaluator.open or not metrics.isdisjoint((evaluator.key, *evaluator.own_keys))
