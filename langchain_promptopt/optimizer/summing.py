"""What summary evaluators say about candidates, from the journal's outputs: no model of ours is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt.evaluators import Call, EvaluatorFailed
from langchain_promptopt.report.record import RunRecord, latest_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.evaluators import SummaryEvaluator
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.result import Result
    from langchain_promptopt.types import Example


async def summarise(plan: Plan, result: Result) -> None:
    """Put on the result what the summary evaluators say of baseline and winner, for each split both were run on.

    One that fails is a warning: it decides nothing.
    """
    if not plan.summaries:
        return
    try:
        told = await summaries_of(
            plan.summaries, list(result.events()), examples_of(plan), (result.baseline.id, result.best.id)
        )
    except EvaluatorFailed as error:
        result.warnings += (str(error),)
        return
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for candidate, entries in told.items():
        for e in entries:
            entry = found.setdefault((e["metric"], e["split"]), {"metric": e["metric"], "split": e["split"]})
            for side, which in (("baseline", result.baseline.id), ("best", result.best.id)):
                if candidate == which:
                    entry |= {side: e["value"], "n": e["n"]}
    result.summary = [entry for entry in found.values() if entry.keys() >= {"baseline", "best"}]


async def summaries_of(
    evaluators: Iterable[SummaryEvaluator],
    events: Sequence[Mapping[str, Any]],
    examples: Mapping[str, Example],
    candidates: Iterable[str],
) -> dict[str, list[dict[str, Any]]]:
    """{metric, split, value, comment, n} by candidate; test rows only where the test came to its end.

    Raises EvaluatorFailed where a summary evaluator does.
    """
    tested = RunRecord.from_events(events).tested is not None
    wanted = set(candidates)
    rows: dict[tuple[str, str], list[Call]] = {}
    for data in latest_cells(events):
        known = data["candidate_id"] in wanted and data["example_id"] in examples
        if known and (tested or data["split"] != "test"):
            rows.setdefault((data["candidate_id"], data["split"]), []).append(_call(data, examples))
    told: dict[str, list[dict[str, Any]]] = {}
    for (candidate, split), calls in sorted(rows.items()):
        for evaluator in evaluators:
            for found in await evaluator.score(calls):
                value = found.score if found.score is not None else found.value
                entry = {"metric": found.key, "split": split, "value": value, "comment": found.comment, "n": len(calls)}
                told.setdefault(candidate, []).append(entry)
    return told


def examples_of(plan: Plan) -> dict[str, Example]:
    """All rows of a plan by id."""
    return {e.id: e for rows in plan.data.splits.values() for e in rows}


def _call(data: Mapping[str, Any], examples: Mapping[str, Example]) -> Call:
    call = Call.of(examples[data["example_id"]], data.get("output"))
    if failure := data.get("failure"):
        call.run.error = f"{failure['kind']}: {failure['message']}"
    return call
