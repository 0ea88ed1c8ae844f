"""How an evaluator wants to be called: every signature LangSmith takes, and openevals' keyword-only ones.

What an evaluator may return, read by shape: no class of LangSmith is imported here.

What an evaluator is handed, unwrapped: the reply in `outputs`, the alternatives in `reference_outputs`.

One face for all evaluators: `await evaluator.score(example, output)` gives scores on the 0-1 scale.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import numbers
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from langchain_promptopt.errors import EvaluatorError, PromptOptError, UsageError
from langchain_promptopt.evaluators._read import as_text

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_promptopt.types import Example

SUPPORTED = ("run", "example", "inputs", "outputs", "reference_outputs", "attachments")
OF_ALL_ROWS = ("runs", "examples", "inputs", "outputs", "reference_outputs")
"""What a summary evaluator may ask for: lists, one item a row."""


def _as_uuid(name: str) -> uuid.UUID:
    try:
        return uuid.UUID(name)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, name)


@dataclass
class ExampleView:
    """What evaluators see as `example`: the attributes of a LangSmith example that exist here."""

    id: uuid.UUID
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    metadata: dict[str, Any]
    attachments: dict[str, Any] = field(default_factory=dict)
    dataset_id: uuid.UUID | None = None


@dataclass
class RunView:
    """What evaluators see as `run`: the target call that was scored."""

    id: uuid.UUID
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    reference_outputs: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    name: str = "target"
    run_type: str = "chain"
    child_runs: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    session_id: uuid.UUID | None = None
    reference_example_id: uuid.UUID | None = None

    @property
    def trace_id(self) -> uuid.UUID:
        """The run is its own trace."""
        return self.id


@dataclass(frozen=True)
class Call:
    """Everything an evaluator may ask for, for one row."""

    run: Any
    example: ExampleView
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    reference_outputs: dict[str, Any]
    attachments: dict[str, Any]

    @classmethod
    def of(cls, example: Any, output: Any, *, run: Any = None, inputs: Mapping[str, Any] | None = None) -> Call:
        """The call for a row of ours and what the chain answered; a bare answer becomes {"output": answer}."""
        outputs = dict(output) if isinstance(output, Mapping) else {"output": output}
        given = dict(example.inputs if inputs is None else inputs)
        reference, metadata = dict(example.outputs), dict(example.metadata)
        row = _as_uuid(example.id)
        view = ExampleView(row, given, reference, metadata, dict(metadata.get("attachments") or {}))
        made = RunView(uuid.uuid5(row, "run"), given, outputs, reference, reference_example_id=row)
        return cls(made if run is None else run, view, given, outputs, reference, view.attachments)


@dataclass(frozen=True)
class Calls:
    """Everything a summary evaluator may ask for, over all rows."""

    runs: list[Any]
    examples: list[ExampleView]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    reference_outputs: list[dict[str, Any]]

    @classmethod
    def of(cls, calls: Sequence[Call]) -> Calls:
        """The rows' calls, name by name."""
        return cls(
            [c.run for c in calls],
            [c.example for c in calls],
            [c.inputs for c in calls],
            [c.outputs for c in calls],
            [c.reference_outputs for c in calls],
        )


Plan: TypeAlias = Callable[[Any], tuple[list[Any], dict[str, Any]]]
"""From a `Call` or `Calls` to arguments."""


def _refuse(name: str, parameters: Mapping[str, inspect.Parameter], names: Sequence[str]) -> EvaluatorError:
    kind = "an evaluator's" if names is SUPPORTED else "a summary evaluator's"
    msg = f"`{name}({', '.join(parameters)})` is not {kind} signature"
    mend = f"Name its arguments from {', '.join(names)}, or take exactly two, which get ({', '.join(names[:2])})."
    if set(OF_ALL_ROWS[:2]) & parameters.keys() and names is SUPPORTED:
        mend = "It looks at all rows at once: give it as summary_evaluators=[...]."
    return EvaluatorError(msg, mend=mend, key=name)


def plan_of(function: Callable[..., Any], name: str, names: Sequence[str] = SUPPORTED) -> Plan:
    """How to turn a `Call` into arguments for `function`. Raises EvaluatorError for other signatures.

    Args:
        function: The evaluator.
        name: Its key, for errors.
        names: What it may ask for; the first two are what it gets by position.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        msg = f"`{name}` shows no signature"
        raise EvaluatorError(msg, mend="Wrap it in a function of (outputs, reference_outputs).", key=name) from error
    named = [p for p in parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    wanted = [p for p in named if p.name in names]
    required = [p for p in named if p.default is p.empty]
    if wanted and all(p.name in names for p in required):
        return _by_name(wanted)
    plural = names is SUPPORTED and {p.name for p in required} & set(OF_ALL_ROWS[:2])
    if len(required) == 2 and not plural and all(p.kind is not p.KEYWORD_ONLY for p in required):  # (run, example)
        return lambda call: ([getattr(call, n) for n in names[:2]], {})
    if not named and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return lambda call: ([], {name: getattr(call, name) for name in ("inputs", "outputs", "reference_outputs")})
    raise _refuse(name, parameters, names)


def _by_name(wanted: list[inspect.Parameter]) -> Plan:
    by_position = [p.name for p in wanted if p.kind is p.POSITIONAL_ONLY]
    by_name = [p.name for p in wanted if p.kind is not p.POSITIONAL_ONLY]
    return lambda call: ([getattr(call, n) for n in by_position], {n: getattr(call, n) for n in by_name})


# ------------------------------------------------------------ What an evaluator may return, read by shape: no clas

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


# ------------------------------------------------------------ What an evaluator is handed, unwrapped: the reply in

ANSWER_NAMES = ("answer", "output", "label", "expected", "expected_output", "reference", "target")
"""Names under which people keep the reference; the first wins, otherwise exactly one must be there."""
_REPLY_NAMES = ("answer", "text", "content", "result", "response")
_FENCE = re.compile(r"\A\s*```[A-Za-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


def _only(mapping: Mapping[str, Any], names: Sequence[str]) -> str | None:
    found = [name for name in names if name in mapping]
    return found[0] if len(found) == 1 else None


def references_of(reference_outputs: Any) -> tuple[Any, ...]:
    """The alternatives of a reference, each a text, number, truth value or object.

    >>> references_of({"answer": ["Paris", "City of Paris"]})
    ('Paris', 'City of Paris')
    """
    value = reference_outputs
    if isinstance(value, Mapping):
        if "answer" in value:
            value = value["answer"]
        elif len(value) == 1:
            value = next(iter(value.values()))
        elif (name := _only(value, ANSWER_NAMES)) is not None:
            value = value[name]
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not found or any(v is None or (isinstance(v, str) and not v.strip()) for v in found) or value == {}:
        msg = f"the reference {reference_outputs!r} holds no answer"
        raise EvaluatorError(msg, mend="Leave rows without a reference out.")
    return found


def text_references(reference_outputs: Any, key: str) -> tuple[str, ...]:
    """The alternatives as text, for a metric that compares text; objects are refused."""
    found = references_of(reference_outputs)
    for value in found:
        if isinstance(value, Mapping | list | tuple):
            msg = f"`{key}` compares text, and the reference is an object: {as_text(value)[:200]}"
            raise EvaluatorError(
                msg, mend="Use `exact_match`, which compares objects as JSON, or name one column in `outputs`."
            )
    return tuple(as_text(value) for value in found)


def reply_of(outputs: Any, reference_outputs: Any = None) -> Any:
    """What the chain answered: a text, or the value itself where it is structured.

    >>> reply_of({"output": "4"}), reply_of({"answer": "4", "steps": []}, {"answer": "5"})
    ('4', '4')
    """
    if isinstance(outputs, Mapping) and outputs:
        return _reply_in(outputs, reference_outputs)
    if hasattr(outputs, "content"):  # a chat message
        return _content(outputs.content)
    if hasattr(outputs, "model_dump"):  # a structured reply
        return outputs.model_dump(mode="json")
    return "" if outputs is None or outputs == {} else outputs


def _reply_in(outputs: Mapping[str, Any], reference: Any) -> Any:
    if "output" in outputs:
        return reply_of(outputs["output"], reference)
    if outputs.get("messages"):
        return reply_of(outputs["messages"][-1], reference)
    if len(outputs) == 1:
        return reply_of(next(iter(outputs.values())), reference)
    wanted = [name for name in reference if name in outputs] if isinstance(reference, Mapping) else []
    name = wanted[0] if len(wanted) == 1 else _only(outputs, _REPLY_NAMES)
    return reply_of(outputs[name]) if name is not None else outputs


def _content(content: Any) -> Any:
    """The text of a message whose content may be a list of blocks."""
    if not isinstance(content, list):
        return content
    blocks = [b if isinstance(b, str) else b.get("text", "") for b in content if isinstance(b, str | Mapping)]
    return "".join(blocks)


def reply_text(outputs: Any, reference_outputs: Any, key: str) -> str:
    """The reply as text. Raises EvaluatorError when several outputs could be meant."""
    reply = reply_of(outputs, reference_outputs)
    if isinstance(reply, Mapping):
        msg = f"`{key}` needs one text, and the output has the keys {', '.join(map(str, reply))}"
        raise EvaluatorError(
            msg, mend=f"Return one of them, or call `{key}(outputs[...], reference_outputs)` yourself."
        )
    return as_text(reply)


def json_of(reply: Any) -> tuple[Any, bool]:
    """The JSON value a reply stands for, and whether it is JSON at all. A code fence around it is ignored."""
    if not isinstance(reply, str):
        return reply, True
    fenced = _FENCE.match(reply)
    try:
        return json.loads(fenced.group(1) if fenced else reply), True
    except (ValueError, RecursionError):
        return None, False


def same_json(left: Any, right: Any) -> bool:
    """JSON equality: key order free, 1 equals 1.0, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_json(v, right[k]) for k, v in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


# ------------------------------------------------------------ One face for all evaluators: `await evaluator.score(


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
