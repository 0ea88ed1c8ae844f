"""One face for all evaluators: `await evaluator.score(example, output)` gives scores on the 0-1 scale."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_promptopt.errors import EvaluatorError, PromptOptError, UsageError
from langchain_promptopt.evaluators._returns import Returned, Scale, number_of, results_of
from langchain_promptopt.evaluators._signature import Call

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_promptopt.types import Example


class EvaluatorFailed(EvaluatorError):  # noqa: N818 - a fact, like TooManyFailures
    """An evaluator gave no score for a row. That is not a zero; `error` is what it raised.

    Whoever runs cells looks at `error` first: a model out of reach is retried like any other call.
    """

    def __init__(
        self, what: str, *, key: str, example_id: str, error: BaseException | None = None, mend: str = ""
    ) -> None:
        where = f"row {example_id}" if example_id else "all rows"
        super().__init__(what, where=where, mend=mend, role="judge", evaluator=key, example_id=example_id)
        self.key = key
        self.example_id = example_id
        self.error = error


class Blame:
    """Names evaluator and row in whatever leaves the block; our own stops (budget, outage) pass untouched."""

    def __init__(self, key: str, example_id: str = "") -> None:
        self.key, self.example_id = key, example_id

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
        msg = f"evaluator `{self.key}` raised {type(error).__name__}: {error}"
        mend = "Call it once by hand on that row; a row it cannot judge should be left out of the data."
        raise EvaluatorFailed(msg, key=self.key, example_id=self.example_id, error=error, mend=mend) from error


@dataclass(frozen=True)
class EvalResult:
    """The verdict on one reply, by score key. `metadata` holds `parse_ok`, raw scores and what evaluators added."""

    scores: Mapping[str, float] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def parse_ok(self) -> bool:
        """False when any evaluator could not read an answer from the reply."""
        return all(m.get("parse_ok", True) for m in self.metadata.values())


@dataclass(frozen=True)
class Evaluator:
    """An evaluator ready to run. `named` means that the user chose the key."""

    key: str
    hash: str
    invoke: Callable[[Call], Any] = field(repr=False, compare=False)
    scale: Scale = field(default_factory=Scale)
    inline: bool = False
    is_async: bool = False
    named: bool = False
    origin: Any = field(default=None, repr=False, compare=False)
    """What the user gave."""

    @property
    def range(self) -> tuple[float, float]:
        """The declared range of raw scores; scores given out are always 0-1."""
        return self.scale.low, self.scale.high

    @property
    def direction(self) -> Literal["max", "min"]:
        """Whether more or less raw score is better; scores given out are always better when higher."""
        return self.scale.direction

    async def score(
        self, example: Example, output: Any, *, run: object | None = None, inputs: Mapping[str, Any] | None = None
    ) -> EvalResult:
        """Judge one reply.

        Raises EvaluatorFailed, with key and row, when there is no usable score.
        """
        call = Call.of(example, output, run=run, inputs=inputs)
        with Blame(self.key, example.id):
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
        for result in results:
            key = self._key(result, alone=len(results) == 1)
            if key in scores or key in comments:
                msg = f"`{self.key}` gave two results with the key `{key}`"
                raise EvaluatorError(msg, mend="Give each result its own key.", key=key)
            raw = number_of(result, key, self.scale)
            if raw is None:
                comments[key] = "; ".join(filter(None, [str(result.value or result.score), result.comment]))
                continue
            scores[key] = self.scale.share(raw, key)
            if result.comment:
                comments[key] = result.comment
            metadata[key] = {**result.metadata, **({"raw": raw} if self.scale.declared else {})}
        if not scores:
            msg = f"`{self.key}` gave categories and no score: {'; '.join(comments.values())}"
            raise EvaluatorError(
                msg, mend="Declare what they are worth: declare(..., values={'good': 1.0, 'bad': 0.0})."
            )
        return EvalResult(scores, comments, {k: m for k, m in metadata.items() if m})

    def _key(self, result: Returned, *, alone: bool) -> str:
        """A name the user gave wins; several results keep their own keys behind it."""
        if result.key is None:
            return self.key
        if not self.named:
            return result.key
        return self.key if alone else f"{self.key}.{result.key}"


async def score_all(
    evaluators: Iterable[Evaluator],
    example: Example,
    output: Any,
    *,
    run: object | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> EvalResult:
    """The verdicts of all evaluators on one reply, merged. Raises EvaluatorFailed like `Evaluator.score`."""
    scores: dict[str, float] = {}
    comments: dict[str, str] = {}
    metadata: dict[str, Mapping[str, Any]] = {}
    for evaluator in evaluators:
        found = await evaluator.score(example, output, run=run, inputs=inputs)
        if twice := scores.keys() & found.scores.keys():
            msg = f"two evaluators gave the key `{min(twice)}`, the second is `{evaluator.key}`"
            mend = "Name them: evaluators={'first': ..., 'second': ...}."
            raise EvaluatorFailed(msg, key=evaluator.key, example_id=example.id, mend=mend)
        scores |= found.scores
        comments |= found.comments
        metadata |= found.metadata
    return EvalResult(scores, comments, metadata)


def is_async_callable(function: Any) -> bool:
    """Whether calling `function` gives a coroutine, callable objects included."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is asked
