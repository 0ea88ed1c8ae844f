"""Examples of a LangSmith dataset at one fixed version, with people's feedback on them as notes.

Feedback comes from the runs that examples were made of, and from runs in annotation queues. It is read as it is
now: runs that are still to be reviewed give no notes.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langsmith.utils import LangSmithNotFoundError

from langchain_promptopt._collections import ids_of
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt.errors import CredentialsError, DataError, EvaluatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langsmith.schemas import Dataset, Example

    from langchain_promptopt.ports import DataSet

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_BY_PEOPLE = frozenset({"app", "api"})
"""Sources of feedback that is written in LangSmith's pages, or sent in by an application for its users."""
_RUNS_AT_ONCE = 50
"""Runs whose feedback one request reads; their ids are in its URL, which must not grow too long."""
_EXAMPLES_AT_ONCE = 500
"""Examples moved to a split by one request."""
_PAGE = 100


def notes_on(service: Service, examples: Sequence[Example], queues: Sequence[str] = ()) -> dict[UUID, str]:
    """People's feedback on an example's source run, and on its runs in annotation queues.

    Args:
        service: The API.
        examples: The dataset's examples.
        queues: Names or ids of annotation queues.

    Returns:
        One note for each example that has feedback in words, by the example's id.

    Raises:
        CredentialsError: There is no such queue, or the key may not read it.
        UnavailableError: LangSmith could not be reached.
    """
    by_run: dict[str, UUID] = {}
    for e in examples:
        if e.source_run_id is not None:
            by_run[str(e.source_run_id)] = e.id
    by_id = {str(e.id): e.id for e in examples}
    for queue in queues:
        for run in queued_runs(service, queue):
            example = by_id.get(str(run.get("reference_example_id")))
            if example is not None:
                by_run[str(run["id"])] = example
    notes: dict[UUID, list[str]] = defaultdict(list)
    for feedback in feedback_on(service, list(by_run)):
        if text := words_of(feedback):
            notes[by_run[str(feedback["run_id"])]].append(text)
    return {example: "; ".join(dict.fromkeys(texts)) for example, texts in notes.items()}


def queued_runs(service: Service, queue: str) -> list[Mapping[str, Any]]:
    """The runs put into an annotation queue, reviewed or not. Raises CredentialsError where there is no such queue."""
    what = f"reading annotation queue {queue!r}"
    if not _UUID.fullmatch(queue):
        found = service.ask(what, "GET", "/annotation-queues", params={"name": queue, "limit": 2})
        if not found:
            msg = f"there is no annotation queue {queue!r}"
            raise CredentialsError(msg, where=service.client.api_url, mend="Check the name.", role="langsmith")
        queue = found[0]["id"]
    return _pages(service, what, f"/annotation-queues/{queue}/runs", {})


def feedback_on(service: Service, runs: Sequence[str], *, people: bool = True) -> Iterable[Mapping[str, Any]]:
    """Feedback on runs, a run's own oldest first.

    Args:
        service: The API.
        runs: Ids of the runs.
        people: Whether feedback of evaluators is left out.
    """
    for at in range(0, len(runs), _RUNS_AT_ONCE):
        rows = _pages(service, "reading feedback", "/feedback", {"run": list(runs[at : at + _RUNS_AT_ONCE])})
        ours = [row for row in rows if not people or is_of_people(row)]
        yield from sorted(ours, key=lambda row: (str(row["created_at"]), str(row["id"])))


def _pages(service: Service, what: str, path: str, params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    while True:
        page = service.ask(what, "GET", path, params={**params, "offset": len(rows), "limit": _PAGE})
        rows += page
        if len(page) < _PAGE:
            return rows


def is_of_people(feedback: Mapping[str, Any]) -> bool:
    """Whether a person gave it, in LangSmith's pages or through an application."""
    return (feedback.get("feedback_source") or {}).get("type", "app") in _BY_PEOPLE


def words_of(feedback: Mapping[str, Any]) -> str:
    """A feedback's comment and correction. A score alone is no help to a proposer."""
    parts = [str(feedback.get("comment") or "").strip()]
    correction = feedback.get("correction")
    if correction:
        wanted = correction.get("output", correction) if isinstance(correction, dict) else correction
        parts.append(f"should have been: {wanted}")
    return "; ".join(filter(None, parts))


@dataclass
class LangSmithRows:
    """Reads datasets by name, id or URL: a resolver for `Settings.remote`.

    Args:
        as_of: Version: a tag, or a time in ISO form; None is the latest, fixed when it is read.
        metadata: Only examples whose metadata holds all of this.
        queues: Annotation queues (name or id); feedback on their runs becomes notes of the runs' examples.
        service: The API; None connects on the first read.
    """

    as_of: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queues: Sequence[str] = ()
    service: Service | None = None
    attachments: bool = False
    """Whether the examples' attachments are downloaded: only for evaluators that ask for them."""
    dataset: Dataset | None = None
    """What was read last."""
    version: str | None = None
    """Its version, concrete even where "latest" was asked for."""

    def __call__(self, name: str) -> list[dict[str, Any]]:
        """All examples, oldest first, in the shape {id, inputs, outputs, metadata, note}.

        Raises:
            CredentialsError: No such dataset or version, or no key for it.
            DataError: The dataset has no examples with this metadata.
            UnavailableError: LangSmith could not be reached.
        """
        self.service = self.service or Service()
        self.dataset = find_dataset(self.service, name)
        when = self._version(self.dataset)
        self.version = when.isoformat()
        examples = self._examples(self.dataset, when, name)
        notes = notes_on(self.service, examples, self.queues)
        return [_row(e, notes.get(e.id)) for e in examples]

    def _version(self, dataset: Dataset) -> datetime:
        assert self.service is not None  # noqa: S101 - set by the caller, for the type checker
        client, wanted = self.service.client, self.as_of or "latest"
        time = _moment(wanted)
        which = {"tag": wanted} if time is None else {"as_of": time}
        found = self.service.call(
            f"reading version {wanted!r} of dataset {dataset.name!r}",
            lambda: client.read_dataset_version(dataset_id=dataset.id, **which),
        )
        return found.as_of

    def _examples(self, dataset: Dataset, when: datetime, name: str) -> list[Example]:
        assert self.service is not None  # noqa: S101 - set by the caller, for the type checker
        client = self.service.client
        more: dict[str, Any] = {"include_attachments": True} if self.attachments else {}
        if more and "include_attachments" not in inspect.signature(client.list_examples).parameters:
            msg = "an evaluator asks for attachments, and the installed langsmith cannot read those of a dataset"
            mend = "Install a newer langsmith (pip install -U langsmith), or leave the evaluator out."
            raise EvaluatorError(msg, where=f"dataset {name!r}", mend=mend)
        more |= {"as_of": when, "metadata": dict(self.metadata) or None}
        found = self.service.call(
            f"reading dataset {name!r}", lambda: list(client.list_examples(dataset_id=dataset.id, **more))
        )
        # The list comes in pages: an example added or deleted meanwhile moves others to another page.
        if len({e.id for e in found}) != len(found):
            msg = f"LangSmith returned some examples of {name!r} twice and may have left others out"
            raise UnavailableError(msg, mend="Try again: the dataset was changed while it was read.", role="langsmith")
        if not found:
            chosen = f" with metadata {dict(self.metadata)}" if self.metadata else ""
            msg = f"dataset {name!r} has no examples{chosen} as of {when.isoformat()}"
            raise DataError(msg, where=self.service.client.api_url, mend="Check the name, the version and the filter.")
        return sorted(found, key=lambda e: (e.created_at, str(e.id)))

    def write_splits(self, splits: Mapping[str, Iterable[str]]) -> str:
        """Put examples into LangSmith splits of these names; returns the version that has them.

        Examples that are in the split already are left alone, so repeating it changes nothing.
        """
        assert self.service is not None  # noqa: S101 - rows were read before they were split
        assert self.dataset is not None  # noqa: S101 - the same
        client, dataset = self.service.client, self.dataset
        for split, ids in splits.items():
            there = self.service.call(
                f"reading split {split!r}",
                lambda split=split: {str(e.id) for e in client.list_examples(dataset_id=dataset.id, splits=[split])},  # type: ignore[misc]  # bound early
            )
            missing = [i for i in ids if i not in there]
            for at in range(0, len(missing), _EXAMPLES_AT_ONCE):
                part = list(map(UUID, missing[at : at + _EXAMPLES_AT_ONCE]))
                self.service.call(
                    f"writing split {split!r} of dataset {dataset.name!r}",
                    lambda split=split, part=part: client.update_dataset_splits(  # type: ignore[misc]  # bound early
                        dataset_id=dataset.id, split_name=split, example_ids=part
                    ),
                )
        self.version = self._version(dataset).isoformat()
        return self.version

    def split_back(self, data: DataSet) -> str:
        """Write the splits of `data` to the dataset; returns the version that has them."""
        ids = {}
        for name, rows in data.splits.items():
            ids[name] = ids_of(rows)
        return self.write_splits(ids)


def find_dataset(service: Service, name: str) -> Dataset:
    """The dataset of a name, an id, or a URL that holds its id. Raises CredentialsError where there is none."""
    is_url = name.startswith(("http://", "https://"))
    found = _UUID.findall(name) if is_url or _UUID.fullmatch(name) else []
    which: dict[str, Any] = {"dataset_id": UUID(found[-1])} if found else {"dataset_name": name}
    if is_url and not found:
        msg = f"the URL {name!r} holds no dataset id"
        raise DataError(msg, mend="Copy it from the dataset's own page in LangSmith.")

    def act() -> Dataset:
        try:
            return _dataset(service, which)
        except LangSmithNotFoundError:
            msg = f"there is no LangSmith dataset {name!r}, nor a file or folder of that name here"
            mend = "Check the name, and that the key belongs to its workspace."
            raise CredentialsError(msg, where=service.client.api_url, mend=mend, role="langsmith", status=404) from None

    return service.call(f"looking for dataset {name!r}", act)


def _dataset(service: Service, which: Mapping[str, Any]) -> Dataset:
    found: Dataset = service.client.read_dataset(**which)
    return found


def _row(example: Example, note: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(example.id),
        "inputs": dict(example.inputs or {}),
        "outputs": dict(example.outputs) if example.outputs is not None else None,
        "metadata": dict(example.metadata or {}),
    }
    files = {"attachments": dict(example.attachments)} if example.attachments else {}
    return row | files | ({"note": note} if note else {})


def _moment(text: str) -> datetime | None:
    """A time in ISO form, or None for a tag."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
