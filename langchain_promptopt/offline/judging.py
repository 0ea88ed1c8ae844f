"""Applies a `Manual` to one input: rules first, then the overlap of words with each label's line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.offline.words import is_dull, stems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_promptopt.offline.manual import Manual, Rule, Trigger

DOUBT = 0.45
"""Overlap below this is too weak to stand against a stated fallback."""
_MORE_TRIGGERS = 0.25
_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """The chosen label, the rules that fired (with the triggers met), and the overlap by label."""

    label: int
    fired: tuple[tuple[int, tuple[int, ...]], ...]
    overlap: dict[int, float]
    rule_points: dict[int, float]


def judge(manual: Manual, data: str) -> Judgement | None:
    """What the manual's reader answers for `data`; None where the manual names no labels."""
    if not manual.labels:
        return None
    sequence = stems(data)
    fired = _fired(manual, sequence)
    points = _points(manual, fired)
    barred = {manual.rules[r].label for r, _ in fired if manual.rules[r].never}
    overlap = _overlap(manual, sequence)
    return Judgement(_choose(manual, points, overlap, barred), fired, overlap, points)


def _choose(manual: Manual, points: dict[int, float], overlap: dict[int, float], barred: set[int]) -> int:
    def strength(i: int) -> tuple[float, float, int]:
        return points.get(i, 0.0), round(overlap.get(i, 0.0), 9), -i

    open_labels = [i for i in {*points, *overlap} if i not in barred]
    best = max(open_labels, key=strength, default=None)
    fallback = None if manual.fallback is None else manual.fallback.label
    if best is None or (points.get(best, 0.0) <= 0 and overlap.get(best, 0.0) <= 0):
        if fallback is not None:
            return fallback
        return next((i for i in range(len(manual.labels)) if i not in barred), 0)
    weak = points.get(best, 0.0) <= 0 and overlap.get(best, 0.0) < DOUBT
    return fallback if weak and fallback is not None else best


def _fired(manual: Manual, sequence: list[str]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    met: dict[int, set[int]] = {}
    present = set(sequence)
    for at, s in enumerate(sequence):
        for r, t in manual.triggers.get(s, ()):
            if _meets(manual.rules[r].triggers[t], sequence, at, present):
                met.setdefault(r, set()).add(t)
    return tuple(
        (r, tuple(sorted(ts))) for r, ts in sorted(met.items()) if _holds(manual.rules[r], ts, sequence, present)
    )


def _meets(trigger: Trigger, sequence: list[str], at: int, present: set[str]) -> bool:
    if trigger.exact:
        return tuple(sequence[at : at + len(trigger.stems)]) == trigger.stems
    return present.issuperset(trigger.stems)


def _holds(rule: Rule, met: set[int], sequence: list[str], present: set[str]) -> bool:
    if rule.needs_all and len(met) < len(rule.triggers):
        return False
    return not any(
        _meets(e, sequence, at, present) for e in rule.exceptions for at, s in enumerate(sequence) if s == e.stems[0]
    )


def _points(manual: Manual, fired: tuple[tuple[int, tuple[int, ...]], ...]) -> dict[int, float]:
    points: dict[int, float] = {}
    positive = [(r, ts) for r, ts in fired if not manual.rules[r].never]
    if manual.order and positive:
        positive = positive[:1] if manual.order == "first" else positive[-1:]
    for r, ts in positive:
        label = manual.rules[r].label
        points[label] = points.get(label, 0.0) + 1 + _MORE_TRIGGERS * (len(ts) - 1)
    return points


def _overlap(manual: Manual, sequence: list[str]) -> dict[int, float]:
    totals: dict[int, float] = {}
    words, phrases = manual.words, manual.phrases
    lively = [s for s in sequence if not is_dull(s)]
    present = set(lively)
    for s in dict.fromkeys(lively):
        for i, weight in words.get(s, ()):
            totals[i] = totals.get(i, 0.0) + weight
    met = {(i, phrase): w for source in (sequence, lively) for i, phrase, w in _phrases_in(source, phrases)}
    for (i, _), weight in met.items():
        totals[i] = totals.get(i, 0.0) + weight
    for i in totals:
        name = manual.names[i]
        totals[i] += _COVERAGE * len(name & present) / len(name)
    return totals


def _phrases_in(
    source: list[str], phrases: Mapping[str, tuple[tuple[int, tuple[str, ...], float], ...]]
) -> Iterator[tuple[int, tuple[str, ...], float]]:
    """Phrases whose words stand together, with the function words between them or without."""
    for at, s in enumerate(source):
        for i, phrase, weight in phrases.get(s, ()):
            if tuple(source[at : at + len(phrase)]) == phrase:
                yield i, phrase, weight
