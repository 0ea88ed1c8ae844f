"""The one machine answer: what `--json` of optimize, resume, show and compare prints, and what failures print.

Every answer has the same keys (product section 4), whether it is about a live run, a record or a failure.
What is not known is empty or None.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, cast

from langchain_promptopt._collections import all_as_json, map_values, members
from langchain_promptopt._runtime.redact import message_of, redact
from langchain_promptopt.errors import Interrupted, PromptOptError, exit_code_of
from langchain_promptopt.report.wording import void_sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.report.record import RunRecord

_OUTCOMES = {4: "budget", 130: "interrupted", 143: "interrupted"}
"""What an error with this exit code makes of a run; all others are "failed"."""


class Metric(TypedDict, total=False):
    """One entry of the gate's table: `result.test[0]` is the primary metric.

    `select` fills the first eight keys and `verdict`; the gate fills all. Scores are 0 to 1.
    """

    metric: str
    role: str
    baseline: float
    best: float
    difference: float
    n: int
    wins: int
    losses: int
    verdict: str
    interval: list[float]
    """Two-sided interval of the difference at the opening's level."""
    p_value: float
    clusters: int
    minimum_detectable_effect: float | None
    opening: int
    """How many times these examples have been opened, this time included."""
    alpha: float
    margin: float
    rows_needed: int | None
    method: str
    by_example: Mapping[str, float] | None
    """baseline, best, wins and losses over single examples; they differ where examples come in groups."""
    undone_by: float | None
    """The share of examples that would undo the result by failing outright, where only that keeps it from passing."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The machine answer as a value."""

    outcome: str | None
    exit_code: int | None
    run_id: str | None
    replayed: bool = False
    prompts: Sequence[Mapping[str, Any]] = ()
    test: Sequence[Metric] = ()
    summary: Sequence[Mapping[str, Any]] = ()
    edits: Sequence[Mapping[str, Any]] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    pareto: Sequence[Mapping[str, Any]] = ()
    """Score against length and cost, on the dev examples."""
    by_model: Sequence[Mapping[str, Any]] = ()
    """One prompt over several task models."""
    by_prompt: Sequence[Mapping[str, Any]] = ()
    """What the edits of each prompt add, on the dev examples."""
    warnings: Sequence[str] = ()
    applied: bool = False
    stopped: Mapping[str, Any] | None = None
    reason: Mapping[str, Any] | None = None
    """Why the gate decided as it did; None where the test examples were not opened."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Examples by split."""
    splits_made: Mapping[str, str] = field(default_factory=dict)
    """How splits were made that the data does not name, as {"dev": "from train"}."""
    links: Mapping[str, str] = field(default_factory=dict)
    written: Sequence[str] = ()
    """Files that the winner was written to; those of a recorded run that were not reverted since."""
    error: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, in the order of the fields."""
        return map_values(_plain, members(self))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def of_record(record: RunRecord) -> Answer:
    """The answer about a recorded run; `outcome` is None while it has not ended."""
    finished, tested = record.finished, record.tested
    pareto = all_as_json(record.pareto)
    applied = any(place.target == "chain" and not place.undone for place in record.destinations)
    files = [place.target for place in record.destinations if place.is_file and not place.undone]
    # What was seen of a void test is not shown, only that it was void and why.
    void = [void_sentence(record.reason, record.run_id)] if record.void and record.reason else []
    return Answer(
        outcome=record.outcome,
        exit_code=None if finished is None else finished.exit_code,
        run_id=record.run_id,
        replayed=record.replayed,
        prompts=record.candidates[record.best_id].prompts.as_json(),
        test=table(() if tested is None else tested.metrics),
        edits=all_as_json(record.edits),
        usage={} if finished is None else finished.usage,
        health=record.health.as_json(),
        pareto=pareto,
        by_model=record.by_model,
        by_prompt=record.by_prompt,
        warnings=[*void, *(() if tested is None else tested.warnings)],
        applied=applied,
        stopped=record.stopped.as_json() if record.stopped else None,
        reason=asdict(record.reason) if record.reason else None,
        splits=record.started.data.get("splits") or {},
        splits_made=record.started.data.get("made") or {},
        written=record.written or files,
        error=None if finished is None else finished.error,
    )


def table(metrics: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """Entries of the gate's table as events carry them."""
    return [cast("Metric", dict(m)) for m in metrics]


def of_error(error: BaseException) -> Answer:
    """The answer about a failure. No key and no header gets into it."""
    known = _known(error)
    code = exit_code_of(known)
    return Answer(
        outcome=_OUTCOMES.get(code, "failed"),
        exit_code=code,
        run_id=known.facts.get("run_id"),
        usage=known.facts.get("usage") or {},
        error=error_json(known),
    )


def error_json(error: PromptOptError) -> dict[str, Any]:
    """The `error` object: role, kind, retryable, retry_after_s, message, public."""
    told = error.as_json()
    return told | {name: redact(told[name]) for name in ("message", "public")}


def _known(error: BaseException) -> PromptOptError:
    if isinstance(error, PromptOptError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped", mend="Run it again: it goes on where it stopped.")
    return PromptOptError(message_of(error))
