"""How an evaluator wants to be called: every signature LangSmith takes, and openevals' keyword-only ones."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_promptopt.errors import EvaluatorError

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
