"""From what users write (functions, names, "module:function", mappings) to evaluators ready to run.

Summary evaluators, LangSmith's functions over all rows of an experiment at once such as an F1 or a kappa, cannot
steer a search that scores single rows, and decide nothing: their values are shown beside the verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from langchain_promptopt._imports import import_object
from langchain_promptopt._objects import fingerprint
from langchain_promptopt.errors import ConfigError, EvaluatorError
from langchain_promptopt.evaluators._adapter import Blame, Evaluator, Returned, Scale, is_async_callable, results_of
from langchain_promptopt.evaluators._calls import OF_ALL_ROWS, SUPPORTED, Call, Calls, EvaluatorArguments, plan_of
from langchain_promptopt.evaluators._matchers import BUILT_INS, REVISION, LabelMatch, label_match
from langchain_promptopt.evaluators._metrics import key_of, own_keys
from langchain_promptopt.evaluators._read import as_text, folded
from langchain_promptopt.evaluators._reply import references_of
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_promptopt.types import Example


def is_built_in(evaluator: Any) -> bool:
    """Whether it is one of ours: pure, fast, safe to call on the event loop."""
    return isinstance(evaluator, LabelMatch) or any(evaluator is known for known in BUILT_INS.values())


def hash_of(evaluator: Any, settings: Mapping[str, Any]) -> str:
    """A hash that changes when the evaluator's configuration does, or code that it reaches."""
    if is_built_in(evaluator):
        detail: Any = asdict(evaluator) if isinstance(evaluator, LabelMatch) else evaluator.__name__
        return content_hash(["built-in", REVISION, detail, dict(settings)])
    return content_hash([fingerprint(evaluator), dict(settings)])


# From what users write to evaluators

_SETTINGS = ("evaluator", "key", "range", "direction", "values")


@dataclass(frozen=True)
class Declared:
    """An evaluator with its scale; made by `declare`."""

    evaluator: Any
    scale: Scale
    key: str | None = None


def declare(
    evaluator: Any,
    *,
    key: str | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word users look for
    direction: Literal["max", "min"] = "max",
    values: Mapping[str, float] | None = None,
) -> Declared:
    """Say how an evaluator's scores are to be read; they become 0-1 with higher better.

    Args:
        evaluator: Whatever `evaluators=` takes.
        key: The key its scores carry.
        range: Lowest and highest score, needed when it is not 0 to 1.
        direction: "min" when less is better.
        values: What a categorical result is worth, e.g. {"good": 1.0, "bad": 0.0}.

    >>> declare("exact_match", range=(1, 5), direction="min").scale.share(5, "x")
    0.0
    """
    worth = {str(k): float(v) for k, v in (values or {}).items()}
    low, high = range if range is not None else (min([0.0, *worth.values()]), max([1.0, *worth.values()]))
    if not low < high or direction not in {"max", "min"}:
        msg = f"a scale needs low < high and direction 'max' or 'min', got {low!r}, {high!r}, {direction!r}"
        raise EvaluatorError(msg)
    declared = range is not None or direction == "min" or bool(worth)
    return Declared(evaluator, Scale(float(low), float(high), direction, worth, declared), key)


def resolve_evaluators(specs: Any, *, import_from: Path | None = None) -> tuple[Evaluator, ...]:
    """Evaluators ready to run, in the order given.

    Args:
        specs: One or several of: a function (sync or async), a built-in's name, "module:function",
            an object with `evaluate_run`, `declare(...)`, a mapping with the key "evaluator" and
            settings; or a mapping from name to any of these.
        import_from: A folder that imports of "module:function" look into last.

    Raises:
        EvaluatorError: Nothing given, unknown names, impossible signatures, two with the same key.
    """
    if isinstance(specs, Mapping) and "evaluator" not in specs:
        pairs: Iterable[tuple[str | None, Any]] = specs.items()
    else:
        several = isinstance(specs, Iterable) and not isinstance(specs, str | Mapping)
        pairs = [(None, spec) for spec in specs] if several else [(None, specs)]
    found: list[Evaluator] = []
    places: dict[str, Any] = {}
    for name, spec in pairs:
        evaluator = _resolve(spec, name, import_from)
        if evaluator.key in places:
            msg = f"two evaluators have the key `{evaluator.key}`: {_label(places[evaluator.key])} and {_label(spec)}"
            raise EvaluatorError(msg, mend="Name them: evaluators={'first': ..., 'second': ...}.", key=evaluator.key)
        places[evaluator.key] = spec
        found.append(evaluator)
    if not found:
        msg = "no evaluators were given"
        raise EvaluatorError(msg, mend=f"Built in are {', '.join(BUILT_INS)}.")
    return tuple(found)


def know_labels(evaluators: Iterable[Evaluator], examples: Iterable[Example]) -> tuple[Evaluator, ...]:
    """The evaluators; `label_match` gets the labels that occur in the data, so that naming two is no answer.

    Left as it is where references are not a small set of texts.
    """
    evaluators, labels = tuple(evaluators), dict[str, str]()
    if not any(e.origin is label_match for e in evaluators):
        return evaluators  # not needed, and the rows may have no references
    rows = list(examples)
    for example in rows:
        for value in references_of(example.outputs) if example.outputs else ():
            if isinstance(value, str | bool):
                labels.setdefault(folded(as_text(value)), as_text(value))
    few = 1 < len(labels) <= max(2, len(rows) // 2)
    found: list[Evaluator] = []
    for e in evaluators:
        if few and e.origin is label_match:
            found.append(_made(LabelMatch(tuple(sorted(labels.values())), e.key), e.key if e.named else None, e.scale))
        else:
            found.append(e)
    return tuple(found)


def _label(spec: Any) -> str:
    if isinstance(spec, str):
        return repr(spec)
    place = getattr(spec, "__qualname__", None)
    return f"{spec.__module__}.{place}" if place else repr(spec)


def _resolve(spec: Any, name: str | None, import_from: Path | None) -> Evaluator:
    if isinstance(spec, Evaluator):
        return spec if name is None else _renamed(spec, name)
    if isinstance(spec, Mapping):
        spec = _configured(spec)
    scale, given = Scale(), spec
    if isinstance(spec, Declared):
        scale, given, name = spec.scale, spec.evaluator, name or spec.key
    return _made(loaded(given, import_from) if isinstance(given, str) else given, name, scale)


def _renamed(evaluator: Evaluator, name: str) -> Evaluator:
    return replace(evaluator, key=name, named=True)


def _configured(spec: Mapping[str, Any]) -> Declared:
    for unknown in spec.keys() - set(_SETTINGS):
        close = get_close_matches(str(unknown), _SETTINGS, n=1, cutoff=0)
        msg = f"an evaluator has no setting `{unknown}`"
        raise EvaluatorError(msg, mend=f"The nearest is `{close[0]}`." if close else "")
    limits = spec.get("range")
    if limits is not None and (not isinstance(limits, Sequence) or len(limits) != 2):  # low, high
        msg = f"`range` is [low, high], got {limits!r}"
        raise EvaluatorError(msg)
    return declare(
        spec.get("evaluator"),
        key=spec.get("key"),
        range=None if limits is None else (limits[0], limits[1]),
        direction=spec.get("direction", "max"),
        values=spec.get("values"),
    )


def _made(evaluator: Any, name: str | None, scale: Scale) -> Evaluator:
    settings: dict[str, Any] = {"range": [scale.low, scale.high], "direction": scale.direction}
    settings["values"] = dict(scale.values)
    if not callable(evaluator) and not hasattr(evaluator, "evaluate_run"):
        msg = f"{evaluator!r} is not an evaluator"
        raise EvaluatorError(msg, mend=f"Give a function, 'module:function', or one of {', '.join(BUILT_INS)}.")
    if isinstance(evaluator, type) and (hasattr(evaluator, "evaluate_run") or "__call__" in vars(evaluator)):
        msg = f"{evaluator.__name__} is a class, and an evaluator is one of its objects"
        raise EvaluatorError(msg, mend=f"Make one: {evaluator.__name__}(...).")
    key = name or key_of(evaluator)
    invoke, is_async, asks = _caller(evaluator, key)
    told, is_open = ((), False) if is_built_in(evaluator) else own_keys(evaluator)
    return Evaluator(
        key=key,
        hash=hash_of(evaluator, settings),
        invoke=invoke,
        scale=scale,
        inline=is_built_in(evaluator),
        is_async=is_async,
        named=name is not None,
        origin=evaluator,
        own_keys=told,
        open=is_open or (name is not None and len(told) > 1),  # the source does not show which come in a list
        asks=asks,
    )


def _caller(evaluator: Any, key: str) -> tuple[Callable[[Call], Any], bool, frozenset[str]]:
    """How to call it, whether the call gives a coroutine at once, and what it is given."""
    if hasattr(evaluator, "evaluate_run"):
        asynchronous = getattr(evaluator, "is_async", not hasattr(evaluator, "func")) and hasattr(
            evaluator, "aevaluate_run"
        )
        method = evaluator.aevaluate_run if asynchronous else evaluator.evaluate_run
        inner = getattr(evaluator, "__wrapped__", None)  # a decorated function names what it asks for
        asks = frozenset(SUPPORTED) if inner is None else plan_of(inner, key).asks
        return lambda call: method(call.run, call.example), is_async_callable(method), asks
    plan = plan_of(evaluator, key)

    def invoke(call: Call) -> Any:
        args, kwargs = plan(call)
        return evaluator(*args, **kwargs)

    return invoke, is_async_callable(evaluator), plan.asks


def loaded(spec: str, import_from: Path | None) -> Any:
    """A built-in by name, or the object at "module:attribute"."""
    if spec in BUILT_INS:
        return BUILT_INS[spec]
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        close = get_close_matches(spec, BUILT_INS, n=1)
        msg = f"there is no built-in evaluator `{spec}`"
        mend = f"Did you mean `{close[0]}`? " if close else ""
        raise EvaluatorError(msg, mend=f"{mend}Built in are {', '.join(BUILT_INS)}; others are 'module:function'.")
    try:
        return import_object(spec, import_from, "evaluators")
    except ConfigError as error:
        raise EvaluatorError(error.what, where=error.where, mend=error.mend) from error.__cause__


# Summary evaluators


@dataclass(frozen=True)
class SummaryEvaluator:
    """A summary evaluator ready to run."""

    key: str
    function: Callable[..., Any] = field(repr=False)
    plan: EvaluatorArguments = field(repr=False)
    named: bool = False

    async def score(self, rows: Sequence[Call]) -> list[Returned]:
        """Its results over these rows, each with a key. Raises EvaluatorFailed where it fails."""
        args, kwargs = self.plan(Calls.of(rows))
        with Blame(self.key):
            if is_async_callable(self.function):
                value = await self.function(*args, **kwargs)
            else:
                value = await asyncio.to_thread(self.function, *args, **kwargs)
            found = results_of(await value if isinstance(value, Awaitable) else value, self.key)
        alone = len(found) == 1 and self.named
        out: list[Returned] = []
        for r in found:
            out.append(replace(r, key=self.key if alone or r.key is None else r.key))
        return out


def resolve_summaries(specs: Any, *, import_from: Path | None = None) -> tuple[SummaryEvaluator, ...]:
    """Summary evaluators ready to run.

    Args:
        specs: One or several functions over any of runs, examples, inputs, outputs, reference_outputs, or
            "module:function"; or a mapping from name to any of these.
        import_from: A folder that imports look into last.

    Raises:
        EvaluatorError: An impossible signature, or two with the same key.
    """
    if isinstance(specs, Mapping):
        pairs: Iterable[tuple[str | None, Any]] = specs.items()
    else:
        several = isinstance(specs, Iterable) and not isinstance(specs, str)
        pairs = [(None, spec) for spec in specs] if several else [(None, specs)]
    found: dict[str, SummaryEvaluator] = {}
    for name, spec in pairs:
        function = loaded(spec, import_from) if isinstance(spec, str) else spec
        if not callable(function):
            msg = f"{spec!r} is not a summary evaluator"
            raise EvaluatorError(msg, mend="Give a function of (outputs, reference_outputs), or 'module:function'.")
        key = name or key_of(function)
        if key in found:
            msg = f"two summary evaluators have the key `{key}`"
            raise EvaluatorError(msg, mend="Name them: summary_evaluators={'first': ..., 'second': ...}.", key=key)
        found[key] = SummaryEvaluator(key, function, plan_of(function, key, OF_ALL_ROWS), name is not None)
    return tuple(found.values())
