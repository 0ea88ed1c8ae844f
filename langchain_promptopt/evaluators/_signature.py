"""How an evaluator wants to be called: every signature LangSmith takes, and openevals' keyword-only ones."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_promptopt.errors import EvaluatorError

SUPPORTED = ("run", "example", "inputs", "outputs", "reference_outputs", "attachments")


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


Plan: TypeAlias = Callable[[Call], tuple[list[Any], dict[str, Any]]]


def _refuse(name: str, parameters: Mapping[str, inspect.Parameter]) -> EvaluatorError:
    msg = f"`{name}({', '.join(parameters)})` is no evaluator's signature"
    mend = f"Name its arguments from {', '.join(SUPPORTED)}, or take exactly two, which get (run, example)."
    return EvaluatorError(msg, mend=mend, key=name)


def plan_of(function: Callable[..., Any], name: str) -> Plan:
    """How to turn a `Call` into arguments for `function`. Raises EvaluatorError for other signatures."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        msg = f"`{name}` shows no signature"
        raise EvaluatorError(msg, mend="Wrap it in a function of (outputs, reference_outputs).", key=name) from error
    named = [p for p in parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    wanted = [p for p in named if p.name in SUPPORTED]
    required = [p for p in named if p.default is p.empty]
    if wanted and all(p.name in SUPPORTED for p in required):
        return _by_name(wanted)
    if len(required) == 2 and all(p.kind is not p.KEYWORD_ONLY for p in required):  # (run, example)
        return lambda call: ([call.run, call.example], {})
    if not named and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        names = ("inputs", "outputs", "reference_outputs")
        return lambda call: ([], {name: getattr(call, name) for name in names})
    raise _refuse(name, parameters)


def _by_name(wanted: list[inspect.Parameter]) -> Plan:
    by_position = [p.name for p in wanted if p.kind is p.POSITIONAL_ONLY]
    by_name = [p.name for p in wanted if p.kind is not p.POSITIONAL_ONLY]
    return lambda call: ([getattr(call, n) for n in by_position], {n: getattr(call, n) for n in by_name})
