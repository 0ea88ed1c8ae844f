"""A run's candidates as experiments of their dataset, made from the journal: no model is called again.

All ids are derived from the run's id, so that publishing again, also after a failure, adds nothing twice.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from langsmith.utils import LangSmithConflictError

from langchain_promptopt._langsmith.datasets import find_dataset
from langchain_promptopt.events import Dated, EventTable, ScoredRow, Selected, dated, shown_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt._langsmith.service import Service
    from langchain_promptopt.report.candidates import Tried
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.types import Example

_OURS = uuid5(NAMESPACE_URL, "langchain-promptopt/experiments")
_AT_ONCE = 50
"""Runs sent by one request."""
_SIDE_BY_SIDE = 8
"""Feedback requests in flight; there is one for each score."""


@dataclass(frozen=True)
class Published:
    """What was published: experiment id by candidate id, and the page that compares them."""

    experiments: Mapping[str, str]
    url: str


def experiment_id(run_id: str, candidate_id: str) -> str:
    """The id that the experiment of a candidate always has."""
    return str(uuid5(_OURS, f"{run_id}/{candidate_id}"))


def publish(
    service: Service,
    source: str,
    record: RunRecord,
    events: Iterable[Mapping[str, Any]],
    examples: Mapping[str, Example],
    summaries: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Published:
    """Publish baseline, step winners and final as experiments, with each example's scores as feedback.

    Args:
        service: The API.
        source: Name, id or URL of the dataset.
        record: The run.
        events: Its journal; results on the test split are left out where the test was not finished.
        examples: The dataset's examples by id; results on other examples cannot be linked and are left out.
        summaries: Results of summary evaluators by candidate id: {metric, split, value, comment}.

    Returns:
        The experiments' ids, and the page that compares them.

    Raises:
        CredentialsError: The dataset does not exist, or the key may not write to it.
        UsageError: LangSmith refused a request.
        UnavailableError: LangSmith could not be reached. What was sent is kept there; publishing again completes it.
    """
    dataset = find_dataset(service, source)
    known = shown_events(events)
    found: dict[str, str] = {}
    told = summaries or {}
    for label, tried in winners(record, known).items():
        rows = [row for row in _rows(known, tried.id) if row.event.example_id in examples]
        if rows:
            experiment = _Experiment(service, record, label, tried, str(dataset.id), tuple(told.get(tried.id, ())))
            found[tried.id] = experiment.publish(rows, examples)
    url = f"{dataset.url}/compare?selectedSessions={'%2C'.join(found.values())}" if found else str(dataset.url)
    return Published(found, url)


def winners(record: RunRecord, events: Sequence[Mapping[str, Any]]) -> dict[str, Tried]:
    """The candidates to publish, by label: "baseline", "step N" (the best of each step), "final"."""
    best, tried = [record.seed_id], record.candidates
    for selected in EventTable(events).all(Selected):
        if selected.kept and selected.kept[0] in tried:
            best.append(selected.kept[0])
    labels = {record.seed_id: "baseline"}
    for candidate in best:
        labels.setdefault(candidate, f"step {tried[candidate].step}")
    if record.best_id != record.seed_id:
        labels[record.best_id] = "final"
    return {label: tried[candidate] for candidate, label in labels.items()}


def _rows(events: Sequence[Mapping[str, Any]], candidate: str) -> list[Dated[ScoredRow]]:
    """The newest result of each cell of a candidate, by split, example and repeat."""
    cells = {}
    for row in dated(events, ScoredRow):
        if row.event.candidate_id == candidate:
            cells[row.event.cell] = row
    return [cells[cell] for cell in sorted(cells)]


@dataclass(frozen=True)
class _Experiment:
    """One candidate on its way to LangSmith."""

    service: Service
    record: RunRecord
    label: str
    tried: Tried
    dataset_id: str
    summaries: tuple[Mapping[str, Any], ...] = ()

    @property
    def id(self) -> str:
        return experiment_id(self.record.run_id, self.tried.id)

    @property
    def metadata(self) -> dict[str, Any]:
        """The candidate's origin, under the keys that traces use. Nothing about the machine or its repository."""
        started = self.record.started
        return {
            "promptopt_run_id": self.record.run_id,
            "promptopt_method": started.method,
            "promptopt_candidate_id": self.tried.id,
            "promptopt_parent_id": self.tried.parent_id or "",
            "promptopt_step": self.tried.step,
            "promptopt_role": self.label,
            "dataset_version": started.data.get("as_of"),
            "models": dict(started.models),
        }

    def publish(self, rows: Sequence[Dated[ScoredRow]], examples: Mapping[str, Example]) -> str:
        """Send project, runs and feedback, then close the project. A closed project is complete and is not sent."""
        what = f"publishing experiment {self.label!r}"
        existing = self.service.find(what, f"/sessions/{self.id}")
        if existing is not None and existing.get("end_time"):
            return self.id
        if existing is None:
            self._create(what, rows)
        # Runs and feedback have ids of ours, so after a failure everything is sent again and nothing is stored twice.
        runs = [self._run(row, examples) for row in rows]
        for at in range(0, len(runs), _AT_ONCE):
            self._send(what, "/runs/batch", {"post": runs[at : at + _AT_ONCE], "patch": []})
        feedback = []
        for row, run in zip(rows, runs, strict=True):
            feedback.extend(self._feedback(row.event, run))
        feedback += self._summed(rows)
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            for _ in pool.map(lambda body: self._send(what, "/feedback", body), feedback):
                pass
        self.service.ask(what, "PATCH", f"/sessions/{self.id}", json={"end_time": rows[-1].time})
        return self.id

    def _create(self, what: str, rows: Sequence[Dated[ScoredRow]]) -> None:
        splits = sorted({row.event.split for row in rows})
        body = {
            "id": self.id,
            "name": f"promptopt {self.record.run_id[:8]} {self.label} {self.tried.id[:8]}",
            "start_time": min(row.time for row in rows),
            "reference_dataset_id": self.dataset_id,
            "description": f"{self.label} of promptopt run {self.record.run_id}; from its journal, no model was called",
            "extra": {"metadata": {**self.metadata, "dataset_splits": splits}},
        }
        self._send(what, "/sessions", body)

    def _send(self, what: str, path: str, body: Mapping[str, Any]) -> None:
        """POST an object with an id of ours. A conflict means that an earlier request created it: that is success."""
        try:
            self.service.call(what, lambda: self.service.client.request_with_retries("POST", path, json=body))
        except LangSmithConflictError:
            return

    def _run(self, dated_row: Dated[ScoredRow], examples: Mapping[str, Example]) -> dict[str, Any]:
        row, end = dated_row.event, datetime.fromisoformat(dated_row.time)
        start = end - timedelta(seconds=row.usage.seconds)
        run_id = str(uuid5(UUID(self.id), f"{row.split}/{row.example_id}/{row.repeat}"))
        tokens = {"input_tokens": row.usage.input_tokens, "output_tokens": row.usage.output_tokens}
        return {
            "id": run_id,
            "trace_id": run_id,
            "dotted_order": f"{start:%Y%m%dT%H%M%S%f}Z{run_id}",
            "name": "promptopt.evaluate",
            "run_type": "chain",
            "start_time": start.isoformat(),
            "end_time": end.isoformat(),
            "inputs": dict(examples[row.example_id].inputs),
            "outputs": row.output if isinstance(row.output, dict) else {"output": row.output},
            "error": None if row.failure is None else f"{row.failure.kind}: {row.failure.message}",
            "session_id": self.id,
            "reference_example_id": row.example_id,
            "extra": {
                "metadata": {
                    **self.metadata,
                    "promptopt_split": row.split,
                    "promptopt_repeat": row.repeat,
                    "ls_model_name": row.model_served,
                    "usage_metadata": {**tokens, "total_tokens": sum(tokens.values())},
                }
            },
        }

    def _feedback(self, row: ScoredRow, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for key, score in row.scores.items():
            found.append(
                {
                    "id": str(uuid5(UUID(run["id"]), key)),
                    "run_id": run["id"],
                    "trace_id": run["trace_id"],
                    "session_id": self.id,
                    "key": key,
                    "score": score,
                    "comment": row.comments.get(key),
                    "feedback_source": {"type": "model", "metadata": {"promptopt_run_id": self.record.run_id}},
                }
            )
        return found

    def _summed(self, rows: Sequence[Dated[ScoredRow]]) -> list[dict[str, Any]]:
        """Feedback on the whole experiment: each metric's mean over each split, and the summary evaluators' results.

        Candidates are run on different splits, so only results of one split can be compared between experiments.
        """
        parts: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            for key, score in row.event.scores.items():
                parts.setdefault((key, row.event.split), []).append(score)
        means: list[Mapping[str, Any]] = []
        for (key, split), scores in sorted(parts.items()):
            mean, told = sum(scores) / len(scores), f"mean of {len(scores)} examples"
            means.append({"metric": key, "split": split, "value": mean, "comment": told})
        return list(map(self._on_all, (*means, *self.summaries)))

    def _on_all(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        key, value = f"{entry['metric']} ({entry['split']})", entry["value"]
        return {
            "id": str(uuid5(UUID(self.id), key)),
            "run_id": None,
            "session_id": self.id,
            "key": key,
            ("value" if isinstance(value, str) else "score"): value,
            "comment": entry.get("comment") or None,
            "feedback_source": {"type": "model", "metadata": {"promptopt_run_id": self.record.run_id}},
        }
