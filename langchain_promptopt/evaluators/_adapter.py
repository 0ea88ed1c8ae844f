"""One face for all evaluators: `await evaluator.score(example, output)` gives scores on the 0-1 scale.

What an evaluator returned is read by its shape; no class of LangSmith is imported here.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import numbers
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_promptopt.errors import EvaluatorError, PromptOptError, UsageError
from langchain_promptopt.evaluators._calls import Call, shown_names

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_promptopt.evaluators._calls import GivenNames
    from langchain_promptopt.types import Example

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
        """`raw` on the 0-1 scale. Raises EvaluatorError outside the range."""
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
    listed: bool = False
    """Whether it came in a list of results."""


def results_of(value: Any, name: str) -> list[Returned]:
    """The results in whatever an evaluator returned. None and an empty list are one result without a score.

    >>> [r.score for r in results_of({"results": [{"key": "a", "score": 1}, {"key": "b", "score": 0}]}, "f")]
    [1, 0]
    """
    if type(value) is dict and "results" not in value:
        return [_of_fields(value, name, listed=False)]
    return list(_walk(value, name)) or [Returned(None, None, None, "", {})]


def _walk(value: Any, name: str, *, listed: bool = False) -> Iterator[Returned]:
    if isinstance(value, str):
        yield Returned(None, None, value, "", {}, listed)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item, name, listed=True)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, name, listed=listed)
    elif hasattr(value, "results"):
        yield from _walk(list(value.results), name)
    elif hasattr(value, "score") and hasattr(value, "key"):
        yield from _of_mapping({f: getattr(value, f, None) for f in _FIELDS}, name, listed=listed)
    elif value is not None:
        yield Returned(None, value, None, "", {}, listed)


def _of_mapping(value: Mapping[str, Any], name: str, *, listed: bool) -> Iterator[Returned]:
    if "results" in value:
        yield from _walk(list(value["results"]), name)
    else:
        yield _of_fields(value, name, listed=listed)


def _of_fields(value: Mapping[str, Any], name: str, *, listed: bool) -> Returned:
    if "score" not in value and "value" not in value and "comment" not in value:
        msg = f"`{name}` returned a mapping without `score`: its keys are {', '.join(map(str, value)) or 'none'}"
        raise EvaluatorError(msg, mend="Return {'key': ..., 'score': ...}, or a list of such results.")
    key = value.get("key")
    return Returned(
        None if key is None else str(key),
        value.get("score"),
        value.get("value"),
        str(value.get("comment") or ""),
        dict(value.get("metadata") or {}),
        listed,
    )


def number_of(result: Returned, key: str, scale: Scale) -> float | None:
    """The raw score of a result; None where it has none, or is a category that is worth no declared score.

    Args:
        result: One result of an evaluator.
        key: Its score key, for messages.
        scale: The declared range and the scores of categories.

    Raises:
        EvaluatorError: What came is no number, or is none of the declared categories.
        ValueError: NaN, which is neither a score nor the statement that there is none.
    """
    given = result.score if result.score is not None else result.value
    if given is None:
        return None
    if isinstance(given, str):
        if given in scale.values:
            return float(scale.values[given])
        if scale.values:
            msg = f"`{key}` gave {given!r}, and its values are {', '.join(map(repr, scale.values))}"
            raise EvaluatorError(msg, mend="Add it to `values`.", key=key, value=given)
        return None
    raw = given if type(given) is float else _as_float(given, key)
    if math.isnan(raw):
        msg = f"`{key}` gave NaN; where it does not apply, return the score None"
        raise ValueError(msg)
    return raw


def _as_float(given: Any, key: str) -> float:
    if hasattr(given, "item") and not isinstance(given, numbers.Real):  # a numpy scalar
        given = given.item()
    if not isinstance(given, numbers.Real) and not hasattr(given, "__float__"):
        msg = f"`{key}` gave {given!r}, which is not a number"
        raise EvaluatorError(msg, mend="Return a number, a truth value, or {'key': ..., 'score': ...}.", key=key)
    return float(given)


class EvaluatorFailed(EvaluatorError):  # noqa: N818 - a fact, like TooManyFailures
    """An evaluator gave nothing usable for a row. That is not a zero; `error` is what it raised.

    The engine looks at `error` first: a model out of reach is retried like any other call.
    """

    def __init__(
        self,
        what: str,
        *,
        key: str,
        example_id: str,
        error: BaseException | None = None,
        mend: str = "",
        given: str = "",
    ) -> None:
        where = f"example {example_id}" if example_id else "all examples"
        super().__init__(what, where=where, mend=mend, role="judge", evaluator=key, example_id=example_id)
        self.key = key
        self.example_id = example_id
        self.error = error
        self.given = given
        """The names in what it was given."""

    @property
    def line(self) -> str:
        """File and line of the user's code that raised, or nothing."""
        return "" if self.error is None else raised_at(self.error)


_OURS = str(Path(__file__).parent.parent)


def raised_at(error: BaseException) -> str:
    """`evals.py:12`: the innermost line of an error outside installed libraries."""
    found, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        library = "site-packages" in name or name.startswith((_OURS, "<frozen")) or name == inspect.__file__
        if not library and "/lib/python" not in name.replace("\\", "/"):
            found = f"{_shown_path(name)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _shown_path(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


class Blame:
    """Names evaluator and row in whatever leaves the block; our own stops (budget, outage) pass untouched."""

    def __init__(self, key: str, example_id: str = "", asks: frozenset[str] = frozenset()) -> None:
        self.key, self.example_id, self.asks = key, example_id, asks
        self.names: GivenNames = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        ours = isinstance(error, PromptOptError) and not isinstance(error, UsageError)
        if not isinstance(error, Exception) or ours or isinstance(error, EvaluatorFailed):
            return False
        if isinstance(error, UsageError):
            raise EvaluatorFailed(
                error.what, key=self.key, example_id=self.example_id, error=error, mend=error.mend
            ) from error
        place = raised_at(error)
        msg = f"evaluator `{self.key}` raised {type(error).__name__}: {error}{f' ({place})' if place else ''}"
        mend = (
            "Call it once by hand on that example; where an example has nothing to judge, let it return the score None."
        )
        given = shown_names(self.names, self.asks)
        if given:
            mend = f"It was given {given}. {mend}"
        raise EvaluatorFailed(
            msg, key=self.key, example_id=self.example_id, error=error, mend=mend, given=given
        ) from error


@dataclass(frozen=True)
class EvalResult:
    """The verdict on one reply, by score key. `metadata` holds `parse_ok`, raw scores and what evaluators added."""

    scores: Mapping[str, float] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys that each evaluator gave, those without a score on this row too."""
    categories: Mapping[str, str] = field(default_factory=dict)
    """Values in words that no scale says the worth of."""

    @property
    def parse_ok(self) -> bool:
        """False when any evaluator could not read an answer from the reply."""
        return all(m.get("parse_ok", True) for m in self.metadata.values())

    def joined(self, other: EvalResult) -> EvalResult:
        """Both verdicts as one."""
        return EvalResult(
            {**self.scores, **other.scores},
            {**self.comments, **other.comments},
            {**self.metadata, **other.metadata},
            {**self.keys, **other.keys},
            {**self.categories, **other.categories},
        )


@dataclass(frozen=True)
class Evaluator:
    """An evaluator ready to run.

    Attributes:
        key: Its name, and the key of its score unless it gives results with keys of their own.
        hash: Changes when its code or configuration does.
        named: Whether the user chose the key.
        own_keys: Keys its results carry, as far as its code shows them.
        open: Whether it may give keys that its code does not show.
        asks: What it is given: of run, example, inputs, outputs, reference_outputs, attachments.
        origin: What the user gave.
    """

    key: str
    hash: str
    invoke: Callable[[Call], Any] = field(repr=False, compare=False)
    scale: Scale = field(default_factory=Scale)
    inline: bool = False
    is_async: bool = False
    named: bool = False
    origin: Any = field(default=None, repr=False, compare=False)
    own_keys: tuple[str, ...] = ()
    open: bool = False
    asks: frozenset[str] = frozenset()

    @property
    def range(self) -> tuple[float, float]:
        """The declared range of raw scores; scores given out are always 0-1."""
        return self.scale.low, self.scale.high

    @property
    def direction(self) -> Literal["max", "min"]:
        """Whether more or less raw score is better; scores given out are always better when higher."""
        return self.scale.direction

    async def score(
        self,
        example: Example,
        output: Any,
        *,
        run: object | None = None,
        inputs: Mapping[str, Any] | None = None,
        steps: Sequence[Any] = (),
    ) -> EvalResult:
        """Judge one reply.

        Args:
            example: The row.
            output: What the chain returned.
            run: In place of the light run object that is made of these.
            inputs: In place of the row's inputs.
            steps: Runs of the chain's parts, for `run.child_runs`.

        Raises:
            EvaluatorFailed: With key and row, when it raises or what it returns cannot be read.
        """
        with Blame(self.key, example.id, self.asks) as blame:
            call = Call.of(example, output, run=run, inputs=inputs, steps=steps)
            blame.names = call.names()
            value = await self._value(call)
            return self._read(results_of(value, self.key))

    async def _value(self, call: Call) -> Any:
        """What the evaluator returned. Foreign sync code runs in a thread, so that it cannot hold up the loop."""
        value = self.invoke(call) if self.inline or self.is_async else await asyncio.to_thread(self.invoke, call)
        return await value if isinstance(value, Awaitable) else value

    def _read(self, results: list[Returned]) -> EvalResult:
        scores: dict[str, float] = {}
        comments: dict[str, str] = {}
        metadata: dict[str, Mapping[str, Any]] = {}
        categories: dict[str, str] = {}
        keys: list[str] = []
        for result in results:
            key = self._key(result)
            if key in keys:
                msg = f"`{self.key}` gave two results with the key `{key}`"
                raise EvaluatorError(msg, mend="Give each result its own key.", key=key)
            keys.append(key)
            raw = number_of(result, key, self.scale)
            if raw is None:
                category = str(result.score or result.value or "")
                if category:
                    categories[key] = category
                if said := "; ".join(filter(None, [category, result.comment])):
                    comments[key] = said
                continue
            scores[key] = self.scale.share(raw, key)
            if result.comment:
                comments[key] = result.comment
            metadata[key] = {**result.metadata, **({"raw": raw} if self.scale.declared else {})}
        known = {k: m for k, m in metadata.items() if m}
        return EvalResult(scores, comments, known, {self.key: tuple(keys)}, categories)

    def _key(self, result: Returned) -> str:
        """A name the user gave wins; results that came in a list keep their own keys behind it."""
        if result.key is None:
            return self.key
        if not self.named:
            return result.key
        return f"{self.key}.{result.key}" if result.listed else self.key


async def score_all(
    evaluators: Iterable[Evaluator],
    example: Example,
    output: Any,
    *,
    run: object | None = None,
    inputs: Mapping[str, Any] | None = None,
    steps: Sequence[Any] = (),
) -> EvalResult:
    """The verdicts of all evaluators on one reply, merged.

    Args:
        evaluators: Evaluators in the order in which the user gave them.
        example: The example.
        output: What the chain returned.
        run: In place of the light run object that is made of these.
        inputs: In place of the inputs of the example.
        steps: Runs of the chain's parts, for `run.child_runs`.

    Raises:
        EvaluatorFailed: One of them failed, or two gave the same score key.
    """
    merged: EvalResult | None = None
    for evaluator in evaluators:
        found = await evaluator.score(example, output, run=run, inputs=inputs, steps=steps)
        if merged is None:
            merged = found
            continue
        given = set(chain.from_iterable(merged.keys.values()))
        twice = given.intersection(chain.from_iterable(found.keys.values()))
        if twice:
            msg = f"two evaluators gave the key `{min(twice)}`, the second is `{evaluator.key}`"
            mend = "Name them: evaluators={'first': ..., 'second': ...}."
            raise EvaluatorFailed(msg, key=evaluator.key, example_id=example.id, mend=mend)
        merged = merged.joined(found)
    return merged or EvalResult()


def is_async_callable(function: Any) -> bool:
    """Whether calling `function` gives a coroutine, callable objects included."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is asked
