"""DSPy optimizes; this package proposes and decides.

`local_edits` makes the instruction proposer of `dspy.GEPA` from this package's steps; `informed` lets the metric tell
it what it needs to know. `through_gate` compares what an optimizer compiled with the program that it began with.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import dspy
from langchain_promptopt_gepa import LocalEdits, row_of

from langchain_promptopt import compare
from langchain_promptopt.errors import DataError
from langchain_promptopt_dspy.chain import ProgramChain, contents_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langchain_core.language_models import BaseChatModel

    from langchain_promptopt import Result

Metric: TypeAlias = "Callable[..., Any]"
"""A metric of DSPy: takes example, prediction, and what an optimizer gives beside; returns a score or a Prediction."""

_EXPECTED = "Expected: "


def local_edits(
    model: BaseChatModel, program: dspy.Module, *, frozen: Sequence[str] = (), **arguments: Any
) -> LocalEdits:
    """The `instruction_proposer` of `dspy.GEPA` that changes a few words of an instruction.

    Args:
        model: The optimizer model.
        program: The program to compile; the names of its fields in backticks stay as they are.
        frozen: Further texts inside the instructions that stay.
        **arguments: As for `LocalEdits`.
    """
    names = []
    for _, predictor in program.named_predictors():
        names += [f"`{name}`" for name in predictor.signature.fields]
    return LocalEdits(model, **{"row": informed_row, **arguments, "frozen": (*names, *frozen)})


def informed(metric: Metric) -> Metric:
    """The metric for `dspy.GEPA`, whose feedback also tells the score and the expected outputs.

    GEPA passes only the feedback on to a proposer. Without this, an example counts as wrong unless the metric returns a
    number, and the optimizer model does not see what was expected.

    Args:
        metric: A metric of yours; it may take two arguments or up to the five of GEPA.
    """
    ask = _asking(metric)

    def told(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score, feedback = ask(gold, pred, trace, pred_name, pred_trace)
        lines = [f"This trajectory got a score of {score}.", _EXPECTED + json.dumps(_labels(gold), default=str)]
        return dspy.Prediction(score=score, feedback="\n".join([*lines, feedback] if feedback else lines))

    return told


def informed_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of GEPA's reflective dataset as the steps read it, with what `informed` wrote into its feedback."""
    row = row_of(record)
    _, _, told = row["comment"].partition("\n")
    if told.startswith(_EXPECTED):
        expected, _, row["comment"] = told.removeprefix(_EXPECTED).partition("\n")
        row["expected"] = json.loads(expected)
    return row


def evaluator_of(metric: Metric) -> Callable[..., dict[str, Any]]:
    """A metric of DSPy as an evaluator."""
    ask = _asking(metric)
    key = getattr(metric, "__name__", "metric")

    def evaluator(inputs: dict[str, Any], outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> dict[str, Any]:
        gold = dspy.Example(**inputs, **reference_outputs).with_inputs(*inputs)
        score, feedback = ask(gold, dspy.Prediction(**outputs))
        return {"key": key, "score": score, "comment": feedback}

    return evaluator


def rows_of(examples: Iterable[dspy.Example]) -> list[dict[str, Any]]:
    """Examples of DSPy as rows; each must have been given its `with_inputs`."""
    rows = []
    for example in examples:
        rows.append({"inputs": example.inputs().toDict(), "outputs": example.labels().toDict()})
    return rows


def through_gate(
    before: dspy.Module,
    after: dspy.Module,
    examples: Iterable[dspy.Example],
    *,
    metric: Metric,
    model: BaseChatModel,
    **arguments: Any,
) -> Result:
    """Decide on held-out examples whether a compiled program beats the one that it was compiled from.

    Args:
        before: The program before an optimizer of DSPy.
        after: The program that `compile` returned; instructions and demonstrations may differ.
        examples: Examples that the optimizer has not seen.
        metric: The metric of DSPy that decides.
        model: The LangChain model that both programs ask, in place of `dspy.LM`.
        **arguments: As for `compare`: gate, budget, runs_dir ...

    Returns:
        The Result of `compare`: outcome, test table, and the instructions' differences as edits.

    Raises:
        UsageError: Bad input, or the programs do not differ; nothing was paid for.
    """
    if contents_of(before) == contents_of(after):
        msg = "the compiled program has the instructions and demonstrations that it began with"
        raise DataError(msg, mend="There is nothing to decide. Give the optimizer a larger budget, or harder examples.")
    settings = {"data": {"test": rows_of(examples)}, "evaluators": [evaluator_of(metric)], **arguments}
    return compare(ProgramChain(before, model), ProgramChain(after, model), **settings)


def _asking(metric: Metric) -> Callable[..., tuple[float, str]]:
    """Asks a metric, with as many arguments as it takes, for score and feedback."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(metric).parameters.values()
    any_number = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    most = 5 if any_number else sum(p.kind in kinds for p in parameters)

    def ask(*given: Any) -> tuple[float, str]:
        padded = (*given, None, None, None)[: min(most, 5)]
        said = metric(*padded)
        if isinstance(said, Mapping | dspy.Prediction):
            return float(said["score"]), str(said.get("feedback") or "")
        return float(said), ""

    return ask


def _labels(gold: dspy.Example) -> dict[str, Any]:
    labels: dict[str, Any] = gold.labels().toDict()
    return labels
