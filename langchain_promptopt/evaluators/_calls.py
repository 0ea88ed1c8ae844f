"""How an evaluator wants to be called: every signature LangSmith takes, and openevals' keyword-only ones."""

from __future__ import annotations

import inspect
import io
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_promptopt._collections import map_values
from langchain_promptopt.errors import EvaluatorError, nearest
from langchain_promptopt.types import copied

if TYPE_CHECKING:
    from langchain_promptopt.types import Example

SUPPORTED = ("run", "example", "inputs", "outputs", "reference_outputs", "attachments")
OF_ALL_ROWS = ("runs", "examples", "inputs", "outputs", "reference_outputs")
"""What a summary evaluator may ask for: lists, one item a row."""
_BY_KEYWORD = ("inputs", "outputs", "reference_outputs")
"""What a function of **kwargs gets, as openevals writes them."""
_NAMED = 8
"""Names in a message."""
_READING = threading.Lock()


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
    """What evaluators see as `run`: the target call that was scored; `child_runs` are the steps of that call."""

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
    parent_run_id: uuid.UUID | None = None
    start_time: datetime | None = None
    """When the first of its steps began, UTC."""
    end_time: datetime | None = None
    """When the last of its steps ended, UTC."""

    @property
    def trace_id(self) -> uuid.UUID:
        """The run is its own trace."""
        return self.id

    @property
    def latency(self) -> float | None:
        """Seconds from start to end."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()


class _Fields(dict[str, Any]):
    """The fields of a returned object, as LangSmith has them; `outputs["output"]` is still the object itself."""

    def __init__(self, fields: Mapping[str, Any], whole: Any) -> None:
        super().__init__(fields)
        self._whole = whole

    def __missing__(self, key: str) -> Any:
        if key == "output":
            return self._whole
        raise KeyError(key)


def outputs_of(value: Any) -> dict[str, Any]:
    """What a chain returned as LangSmith hands it over: a dict as it is, an object's fields, else {"output": value}."""
    if isinstance(value, str):
        return {"output": value}
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
        try:
            return _Fields(dump(exclude_none=True, mode="json"), value)
        except Exception:  # noqa: BLE001 - a foreign object's own code; LangSmith falls back alike
            return {"output": value}
    return {"output": value}


@dataclass(frozen=True)
class Call:
    """Everything an evaluator may ask for, for one row. What few ask for is made when it is asked for."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    reference_outputs: dict[str, Any]
    attachments: dict[str, Any]
    row: Example
    steps: Sequence[Any] = ()
    given_run: Any = None
    """In place of the light run."""

    @cached_property
    def example(self) -> ExampleView:
        """The row as evaluators see it."""
        row = self.row
        return ExampleView(_as_uuid(row.id), self.inputs, self.reference_outputs, dict(row.metadata), self.attachments)

    @cached_property
    def run(self) -> Any:
        """The call that is scored."""
        if self.given_run is not None:
            return self.given_run
        row = self.example.id
        now = datetime.now(UTC)
        starts = [step.start_time or now for step in self.steps]
        ends = [step.end_time or now for step in self.steps]
        return RunView(
            uuid.uuid5(row, "run"),
            self.inputs,
            self.outputs,
            self.reference_outputs,
            child_runs=list(self.steps),
            reference_example_id=row,
            start_time=min(starts, default=now),
            end_time=max(ends, default=now),
        )

    @classmethod
    def of(
        cls,
        example: Example,
        output: Any,
        *,
        run: Any = None,
        inputs: Mapping[str, Any] | None = None,
        steps: Sequence[Any] = (),
    ) -> Call:
        """The call for a row of ours and what the chain answered; an evaluator may change what it gets.

        Args:
            example: The row.
            output: What the chain returned.
            run: In place of the light run that is made here.
            inputs: In place of the row's inputs.
            steps: Runs of the chain's parts, for `run.child_runs`.
        """
        outputs = outputs_of(copied(output))
        given = copied(dict(example.inputs if inputs is None else inputs))
        reference = copied(dict(example.outputs))
        attached = example.attachments or example.metadata.get("attachments") or {}
        opened = map_values(_opened, attached) if attached else {}
        return cls(given, outputs, reference, opened, example, steps, run)

    def names(self) -> GivenNames:
        """The names in outputs and reference before an evaluator changes them."""
        return (("outputs", tuple(self.outputs)), ("reference_outputs", tuple(self.reference_outputs)))


GivenNames: TypeAlias = "tuple[tuple[str, tuple[Any, ...]], ...]"
"""What an evaluator is given by name, and the names in each."""


def shown_names(given: GivenNames, asked: Collection[str]) -> str:
    """The names in what an evaluator asks for, for messages."""
    told = []
    for what, values in given:
        if what in asked:
            names = list(map(repr, values[:_NAMED])) + ["..."] * (len(values) > _NAMED)
            told.append(f"{what} with {', '.join(names) or 'nothing'}")
    return " and ".join(told)


def _opened(attachment: Any) -> Any:
    """An attachment with a reader of its own, at the beginning: evaluators of many rows read at the same time."""
    reader = attachment.get("reader") if isinstance(attachment, Mapping) else None
    if reader is None or not hasattr(reader, "seek"):
        return attachment
    with _READING:
        reader.seek(0)
        content = reader.read()
        reader.seek(0)
    return {**attachment, "reader": io.BytesIO(content) if isinstance(content, bytes) else io.StringIO(content)}


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
        found = cls([], [], [], [], [])
        for call in calls:
            found.runs.append(call.run)
            found.examples.append(call.example)
            found.inputs.append(call.inputs)
            found.outputs.append(call.outputs)
            found.reference_outputs.append(call.reference_outputs)
        return found


@dataclass(frozen=True)
class EvaluatorArguments:
    """What an evaluator is given of a `Call` (or `Calls`): by position, then by name."""

    by_position: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()
    may_lack_reference: bool = False
    """Whether `reference_outputs` is None by default, so that an example without outputs gives none."""

    def __call__(self, call: Any) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments."""
        given = [getattr(call, name) for name in self.by_position]
        named = {name: getattr(call, name) for name in self.by_name}
        if self.may_lack_reference and not named.get("reference_outputs", True):
            del named["reference_outputs"]
        return given, named

    @property
    def asks(self) -> frozenset[str]:
        """Names of what it is given."""
        return frozenset((*self.by_position, *self.by_name))


def plan_of(function: Callable[..., Any], name: str, names: Sequence[str] = SUPPORTED) -> EvaluatorArguments:
    """How to turn a `Call` into arguments for `function`.

    Args:
        function: The evaluator.
        name: Its key, for errors.
        names: What it may ask for; the first two are what it gets by position.

    Raises:
        EvaluatorError: LangSmith would not take this signature either.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        msg = f"`{name}` shows no signature"
        raise EvaluatorError(msg, mend="Wrap it in a function of (outputs, reference_outputs).", key=name) from error
    named = []
    for p in parameters.values():
        if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}:
            named.append(p)
    wanted = [p for p in named if p.name in names]
    required = [p for p in named if p.default is p.empty]
    _refuse_strays(name, parameters, required, names)
    if wanted and all(p.name in names for p in required):
        alone = tuple(p.name for p in wanted if p.kind is p.POSITIONAL_ONLY)
        lacks = any(p.name == "reference_outputs" and p.default is None for p in wanted)
        return EvaluatorArguments(alone, tuple(p.name for p in wanted if p.kind is not p.POSITIONAL_ONLY), lacks)
    plural = names is SUPPORTED and {p.name for p in required} & set(OF_ALL_ROWS[:2])
    by_position = all(p.kind is not p.KEYWORD_ONLY for p in required)
    if len(required) == 2 and not plural and by_position:  # (run, example)
        return EvaluatorArguments(tuple(names[:2]))
    if not named and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return EvaluatorArguments((), _BY_KEYWORD)
    raise _refuse(name, parameters, names)


def _refuse_strays(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    required: Sequence[inspect.Parameter],
    names: Sequence[str],
) -> None:
    """Raise EvaluatorError where an argument would stay at its default, or get another thing than its name says."""
    for p in parameters.values():
        near = nearest(p.name, names, cutoff=0.8)
        if p.default is not p.empty and p.name not in names and near is not None and near not in parameters:
            msg = f"`{name}` is never given its argument {p.name!r}"
            raise EvaluatorError(msg, mend=f"Did you mean {near!r}?", key=name)
    found = [p.name for p in required]
    if len(found) != 2 or set(found) <= set(names):
        return
    for given, told in zip(names, found, strict=False):  # by position: (run, example)
        if told in names and told != given:
            stray = next(other for other in found if other not in names)
            msg = f"`{name}({', '.join(found)})` would be given the {given} as its {told!r}, because of {stray!r}"
            raise EvaluatorError(msg, mend=f"Name its arguments from {', '.join(names)}.", key=name)


def _refuse(name: str, parameters: Mapping[str, inspect.Parameter], names: Sequence[str]) -> EvaluatorError:
    kind = "an evaluator's" if names is SUPPORTED else "a summary evaluator's"
    msg = f"`{name}({', '.join(parameters)})` is not {kind} signature"
    mend = f"Name its arguments from {', '.join(names)}, or take exactly two, which get ({', '.join(names[:2])})."
    if set(OF_ALL_ROWS[:2]) & parameters.keys() and names is SUPPORTED:
        mend = "It looks at all examples at once: give it as summary_evaluators=[...]."
    return EvaluatorError(msg, mend=mend, key=name)
