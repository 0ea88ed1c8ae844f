"""What the gate watches and warns about but never decides by: length, refusals, parse failures, cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt.types import Outcome

REFUSALS = frozenset({"refusal", "content_filter"})
PARSE_FAILURES = frozenset({"unparsable", "truncated"})


@dataclass(frozen=True, slots=True)
class Watch:
    """One watched number: when its rise is worth a warning, and how to say it."""

    metric: str
    label: str
    rises: Callable[[float, float], bool]
    relative: bool


def _by_a_quarter(baseline: float, best: float) -> bool:
    return best > 1.25 * baseline and best > 0  # spec section 8: +25 %


def _by_two_points(baseline: float, best: float) -> bool:
    return best - baseline > 0.02


WATCHED = (
    Watch("output_length", "output length", _by_a_quarter, relative=True),
    Watch("refusals", "refusals", _by_two_points, relative=False),
    Watch("parse_failures", "parse failures", _by_two_points, relative=False),
    Watch("cost", "cost per call", _by_a_quarter, relative=True),
)


def side_metrics(outcomes: Sequence[Outcome]) -> Mapping[str, tuple[float, ...]]:
    """The watched numbers of one row on one side; a number nobody knows is left out."""
    lengths = tuple(float(_length(o.output)) for o in outcomes if o.failure is None and o.output is not None)
    costs = tuple(o.usage.usd / o.usage.calls for o in outcomes if o.usage.usd and o.usage.calls)
    found = {
        "output_length": lengths,
        "refusals": tuple(float(_failed(o, REFUSALS)) for o in outcomes),
        "parse_failures": tuple(float(_failed(o, PARSE_FAILURES)) for o in outcomes),
        "cost": costs,
    }
    return {name: values for name, values in found.items() if values}


def _failed(outcome: Outcome, kinds: frozenset[str]) -> bool:
    return outcome.failure is not None and outcome.failure.kind in kinds


def _length(output: object) -> int:
    """Characters of a text, or of the JSON of anything else."""
    return len(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, default=str))


def warning_text(watch: Watch, baseline: float, best: float) -> str:
    """One sentence about a watched number that rose.

    >>> warning_text(WATCHED[0], 100.0, 150.0)
    'output length rose by 50 % (100 to 150)'
    """
    if watch.relative:
        rise = f"by {(best / baseline - 1) * 100:.0f} %" if baseline else "from nothing"
        return f"{watch.label} rose {rise} ({baseline:.4g} to {best:.4g})"
    return f"{watch.label} rose from {baseline * 100:.1f} % to {best * 100:.1f} % of the calls"
