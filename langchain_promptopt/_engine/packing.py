"""An outcome in about a hundred bytes, for the many rows of which decisions need figures only."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple, TypeAlias

from langchain_promptopt.types import Cell, Failure, Outcome, Usage

_USAGE = struct.Struct("<IQQQdd")
_KIND = struct.Struct("<I")
_SCORES_AT = _KIND.size + _USAGE.size
_NO_USAGE = Usage()
Figures: TypeAlias = tuple[int, int, int, int, float, float]
"""Fields of a Usage in their order; not-a-number stands for an unknown price."""

_COMMON = {0.0: 0.0, 1.0: 1.0}
"""Scores of most rows of most evaluators, each one object instead of one a row."""


class _Kind(NamedTuple):
    """What an outcome shares with many others; there are few of these in a run."""

    names: tuple[str, ...]
    failure: Failure | None
    model_served: str | None
    cached: bool
    tries: int
    judged: bool
    layout: struct.Struct

    @property
    def dropped(self) -> bool:
        return self.failure is not None and not self.failure.scored_zero


class Packer:
    """Packs outcomes without their answers and comments, and gives back all the rest.

    Numbers of scores and money are kept to the last bit; an unknown price stays unknown.
    """

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._layouts: dict[int, struct.Struct] = {}

    def pack(self, outcome: Outcome) -> bytes:
        """The figures of an outcome."""
        scores = outcome.scores
        judge = outcome.judge if outcome.judge.calls else None
        number = self._number(outcome, tuple(scores), judged=judge is not None)
        tail = b"" if judge is None else _USAGE.pack(*figures_of(judge))
        return (
            _KIND.pack(number)
            + _USAGE.pack(*figures_of(outcome.usage))
            + self._kinds[number].layout.pack(*scores.values())
            + tail
        )

    def unpack(self, cell: Cell, packed: bytes) -> Outcome:
        """The outcome of `cell` again: no answer, no comments."""
        kind = self._kinds[_KIND.unpack_from(packed)[0]]
        judge = usage_of(_USAGE.unpack_from(packed, len(packed) - _USAGE.size)) if kind.judged else _NO_USAGE
        return Outcome(
            cell=cell,
            scores=self._scores(kind, packed),
            failure=kind.failure,
            usage=usage_of(_USAGE.unpack_from(packed, _KIND.size)),
            model_served=kind.model_served,
            cached=kind.cached,
            judge=judge,
            tries=kind.tries,
        )

    def scores(self, packed: bytes) -> dict[str, float]:
        """The scores that count: none of a dropped row."""
        kind = self._kinds[_KIND.unpack_from(packed)[0]]
        return {} if kind.dropped else self._scores(kind, packed)

    def spent(self, packed: bytes) -> tuple[bool, bool, Figures]:
        """Whether it failed, whether it was kept from an earlier run, and the figures of its usage."""
        kind = self._kinds[_KIND.unpack_from(packed)[0]]
        return kind.failure is not None, kind.cached, _USAGE.unpack_from(packed, _KIND.size)

    def _scores(self, kind: _Kind, packed: bytes) -> dict[str, float]:
        values = kind.layout.unpack_from(packed, _SCORES_AT)
        return {name: _COMMON.get(value, value) for name, value in zip(kind.names, values, strict=True)}

    def _number(self, outcome: Outcome, names: tuple[str, ...], *, judged: bool) -> int:
        key = (names, outcome.failure, outcome.model_served, outcome.cached, outcome.tries, judged)
        number = self._numbers.get(key)
        if number is None:
            layout = self._layouts.setdefault(len(names), struct.Struct(f"<{len(names)}d"))
            number = self._numbers[key] = len(self._kinds)
            self._kinds.append(
                _Kind(
                    names,
                    outcome.failure,
                    outcome.model_served,
                    outcome.cached,
                    outcome.tries,
                    judged=judged,
                    layout=layout,
                )
            )
        return number


def figures_of(usage: Usage) -> Figures:
    """A usage as plain numbers."""
    usd = math.nan if usage.usd is None else usage.usd
    return usage.calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usd, usage.seconds


def usage_of(figures: Figures) -> Usage:
    """The inverse of `figures_of`."""
    calls, tokens_in, tokens_out, read, usd, seconds = figures
    return Usage(calls, tokens_in, tokens_out, read, None if math.isnan(usd) else usd, seconds)
