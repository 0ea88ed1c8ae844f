"""What an evaluator may return, read by shape: no class of LangSmith is imported here."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_promptopt.errors import EvaluatorError

_FIELDS = ("key", "score", "value", "comment", "metadata")


@dataclass(frozen=True)
class Scale:
    """How raw scores become 0-1 with higher better: the declared range, its direction, names for scores."""

    low: float = 0.0
    high: float = 1.0
    direction: Literal["max", "min"] = "max"
    values: Mapping[str, float] = field(default_factory=dict)
    declared: bool = False

    def share(self, raw: float, key: str) -> float:
        """`raw` on the 0-1 scale. Raises EvaluatorError outside the range, NaN included."""
        if not self.low <= raw <= self.high:
            msg = f"`{key}` gave {raw!r}, which is outside {self.low:g} to {self.high:g}"
            mend = (
                "Correct its declared range."
                if self.declared
                else f"Declare its scale: declare({key}, range=(low, high), direction='max' or 'min')."
            )
            raise EvaluatorError(msg, mend=mend, key=key, value=raw)
        part = (raw - self.low) / (self.high - self.low)
        return 1.0 - part if self.direction == "min" else part


@dataclass(frozen=True)
class Returned:
    """One result as it came; `key` is None where the evaluator named none."""

    key: str | None
    score: Any
    value: Any
    comment: str
    metadata: Mapping[str, Any]


def results_of(value: Any, name: str) -> list[Returned]:
    """The results in whatever an evaluator returned.

    >>> [r.score for r in results_of({"results": [{"key": "a", "score": 1}, {"key": "b", "score": 0}]}, "f")]
    [1, 0]
    """
    found = list(_walk(value, name))
    if not found:
        msg = f"`{name}` returned no result: {value!r}"
        raise EvaluatorError(msg, mend="Return a number, a truth value, or {'key': ..., 'score': ...}.")
    return found


def _walk(value: Any, name: str) -> Iterator[Returned]:
    if isinstance(value, str):
        yield Returned(None, None, value, "", {})
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item, name)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, name)
    elif hasattr(value, "results"):
        yield from _walk(list(value.results), name)
    elif hasattr(value, "score") and hasattr(value, "key"):
        yield from _of_mapping({f: getattr(value, f, None) for f in _FIELDS}, name)
    elif value is not None:
        yield Returned(None, value, None, "", {})


def _of_mapping(value: Mapping[str, Any], name: str) -> Iterator[Returned]:
    if "results" in value:
        yield from _walk(list(value["results"]), name)
        return
    if not {"score", "value", "comment"} & value.keys():
        msg = f"`{name}` returned a mapping without `score`: its keys are {', '.join(map(str, value)) or 'none'}"
        raise EvaluatorError(msg, mend="Return {'key': ..., 'score': ...}, or a list of such results.")
    key = value.get("key")
    yield Returned(
        None if key is None else str(key),
        value.get("score"),
        value.get("value"),
        str(value.get("comment") or ""),
        dict(value.get("metadata") or {}),
    )


def number_of(result: Returned, key: str, scale: Scale) -> float | None:
    """The raw score of a result, None for a category without a score.

    Raises EvaluatorError for a missing score, NaN, or what is no number: none of these is a zero.
    """
    given = result.score if result.score is not None else result.value
    if isinstance(given, str):
        if given in scale.values:
            return float(scale.values[given])
        if scale.values:
            msg = f"`{key}` gave {given!r}, and its values are {', '.join(map(repr, scale.values))}"
            raise EvaluatorError(msg, mend="Add it to `values`.", key=key, value=given)
        return None
    if hasattr(given, "item") and not isinstance(given, numbers.Real):  # a numpy scalar
        given = given.item()
    if not isinstance(given, numbers.Real) and not hasattr(given, "__float__"):
        msg = f"`{key}` gave no score" if given is None else f"`{key}` gave {given!r}, which is no number"
        raise EvaluatorError(msg, mend="A missing score is not a zero: return a number, or raise.", key=key)
    raw = float(given)
    if math.isnan(raw):
        msg = f"`{key}` gave NaN"
        raise EvaluatorError(msg, mend="A missing score is not a zero: return a number, or raise.", key=key)
    return raw
