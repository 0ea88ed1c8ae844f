"""Datasets: examples, splits, versions and tags. A read `as_of` sees the rows of then.

Ours to guess, as no real service was asked: rows come newest first and by id
among equals, the order in which they were written is lost; an example put in a split leaves
the default split `base`; an id that exists is refused with 409.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.http_messages import HttpError, Request, Response
from tests.support.langsmith_multipart import parts
from tests.support.langsmith_state import TENANT, Row, State, filtered, holds, moment, named, page
from tests.support.router import route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


@dataclass
class Dataset:
    """A dataset and all it ever was: for each example the states it had, oldest first."""

    info: Row
    versions: dict[datetime, set[str]] = field(default_factory=dict)
    history: dict[str, list[tuple[datetime, Row | None]]] = field(default_factory=dict)

    def write(self, when: datetime, changes: Mapping[str, Row | None]) -> None:
        """One new version in which these examples are new, changed or (None) gone."""
        for uid, row in changes.items():
            stamped = None if row is None else {**row, "modified_at": when.isoformat()}
            self.history.setdefault(uid, []).append((when, stamped))
        self.versions[when] = set()
        self.info["modified_at"] = when.isoformat()

    def version(self, wanted: str | None) -> datetime:
        """The version meant by a tag, a time (the newest not after it) or `latest`."""
        if not self.versions:
            raise HttpError(404, "the dataset has no version yet")
        if wanted is None or wanted == "latest":
            return max(self.versions)
        time = moment(wanted)
        for when in sorted(self.versions, reverse=True):
            if wanted in self.versions[when] or (time is not None and when <= time):
                return when
        raise HttpError(404, f"no version {wanted}")

    def rows(self, wanted: str | None = None) -> dict[str, Row]:
        """The examples as of a version, by id."""
        time = moment(wanted) if wanted else None
        if not self.versions or (time is not None and time < min(self.versions)):
            return {}
        limit = self.version(wanted)
        states = {uid: [row for when, row in past if when <= limit] for uid, past in self.history.items()}
        return {uid: past[-1] for uid, past in states.items() if past and past[-1] is not None}

    def shown(self, when: datetime) -> Row:
        latest = {"latest"} if when == max(self.versions) else set()
        return {"as_of": when.isoformat(), "tags": sorted(self.versions[when] | latest)}


class Datasets:
    """The endpoints below /datasets and /examples."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.all: dict[str, Dataset] = {}

    def get(self, uid: str) -> Dataset:
        if uid not in self.all:
            raise HttpError(404, f"Dataset {uid} not found")
        return self.all[uid]

    def owner(self, example: str) -> Dataset:
        for dataset in self.all.values():
            if example in dataset.rows():
                return dataset
        raise HttpError(404, f"Example {example} not found")

    def shown(self, dataset: Dataset) -> Row:
        experiments = [s for s in self.state.sessions.values() if s["reference_dataset_id"] == dataset.info["id"]]
        return {**dataset.info, "example_count": len(dataset.rows()), "session_count": len(experiments)}

    @route("POST /datasets")
    def create(self, request: Request) -> Response:
        body = request.json()
        if any(dataset.info["name"] == body["name"] for dataset in self.all.values()):
            raise HttpError(409, f"Dataset with name {body['name']} already exists")
        uid, metadata = str(body.get("id") or uuid4()), (body.get("extra") or {}).get("metadata")
        self.all[uid] = Dataset({"data_type": "kv", **body, "id": uid, "tenant_id": TENANT, "metadata": metadata})
        self.all[uid].info.setdefault("created_at", self.state.now().isoformat())
        return Response.of(self.shown(self.all[uid]))

    @route("GET /datasets")
    def listed(self, request: Request) -> list[Row]:
        rows = named(request, [self.shown(dataset) for dataset in self.all.values()])
        return page(request, [row for row in rows if holds(row["metadata"], request.one("metadata"))])

    @route("GET /datasets/{dataset}")
    def read(self, request: Request, dataset: str) -> Row:
        return self.shown(self.get(dataset))

    @route("PATCH /datasets/{dataset}")
    def update(self, request: Request, dataset: str) -> Row:
        self.get(dataset).info.update({k: v for k, v in request.json().items() if v is not None})
        return self.shown(self.get(dataset))

    @route("DELETE /datasets/{dataset}")
    def delete(self, request: Request, dataset: str) -> Row:
        return self.all.pop(self.get(dataset).info["id"]).info

    @route("GET /datasets/{dataset}/versions")
    def versions(self, request: Request, dataset: str) -> list[Row]:
        owner = self.get(dataset)
        return page(request, [owner.shown(when) for when in sorted(owner.versions, reverse=True)])

    @route("GET /datasets/{dataset}/version")
    def version(self, request: Request, dataset: str) -> Row:
        owner = self.get(dataset)
        return owner.shown(owner.version(request.one("as_of") or request.one("tag")))

    @route("GET /datasets/{dataset}/versions/diff")
    def diff(self, request: Request, dataset: str) -> Row:
        old, new = (self.get(dataset).rows(request.one(name)) for name in ("from_version", "to_version"))
        return {
            "examples_added": sorted(new.keys() - old.keys()),
            "examples_removed": sorted(old.keys() - new.keys()),
            "examples_modified": sorted(uid for uid in old.keys() & new.keys() if old[uid] != new[uid]),
        }

    @route("PUT /datasets/{dataset}/tags")
    def tag(self, request: Request, dataset: str) -> Row:
        owner, body = self.get(dataset), request.json()
        when = moment(body["as_of"])
        if when not in owner.versions:
            raise HttpError(404, f"{body['as_of']} is not exactly a version")
        for tags in owner.versions.values():
            tags.discard(body["tag"])
        owner.versions[when].add(body["tag"])
        return owner.shown(when)

    @route("GET /datasets/{dataset}/splits")
    def splits(self, request: Request, dataset: str) -> list[str]:
        rows = self.get(dataset).rows(request.one("as_of"))
        return sorted({name for row in rows.values() for name in row["metadata"]["dataset_split"]})

    @route("PUT /datasets/{dataset}/splits")
    def move(self, request: Request, dataset: str) -> list[str]:
        body = request.json()
        return self._move(self.get(dataset), body["examples"], body["split_name"], remove=bool(body.get("remove")))

    @route("PATCH /platform/datasets/{dataset}/examples/metadata")
    def change_metadata(self, request: Request, dataset: str) -> Row:
        """What `update_dataset_splits` asks since langsmith 0.15; other keys of the metadata are not served."""
        owner, body, changed = self.get(dataset), request.json(), set()
        for one in body["operations"]:
            if one["key"] != "dataset_split" or one["operation"] not in ("array_add", "array_remove"):
                raise HttpError(501, f"not served here: {one}")
            for name in one["values"]:
                remove = one["operation"] == "array_remove"
                changed.update(self._move(owner, body["example_ids"], name, remove=remove))
        return {"updated_count": len(changed)}

    def _move(self, owner: Dataset, examples: Iterable[str], name: str, *, remove: bool) -> list[str]:
        rows, changes = owner.rows(), {}
        for uid in examples:
            if uid not in rows:
                raise HttpError(404, f"Example {uid} not found")
            left = [split for split in rows[uid]["metadata"]["dataset_split"] if split not in ("base", name)]
            after = left if remove else [*left, name]
            changes[uid] = {**rows[uid], "metadata": {**rows[uid]["metadata"], "dataset_split": after or ["base"]}}
        owner.write(self.state.now(), changes)
        return list(changes)

    @route("POST /platform/datasets/{dataset}/examples", "PATCH /platform/datasets/{dataset}/examples")
    def ingest(self, request: Request, dataset: str) -> Row:
        given: dict[str, Row] = {}
        for part in parts(request):
            uid, *what = part.keys
            if what and what[0].startswith("attachment"):
                raise HttpError(501, "attachments are not served here")
            row = given.setdefault(uid, {})
            row.update(part.json() if not what else {what[0]: part.json()})
        return self._save(self.get(dataset), given, new=request.method == "POST")

    @route("POST /examples", "POST /examples/bulk")
    def create_examples(self, request: Request) -> Response:
        body = request.json()
        rows = body if isinstance(body, list) else [body]
        given = {str(row.get("id") or uuid4()): row for row in rows}
        dataset = self.get(str(rows[0]["dataset_id"]))
        self._save(dataset, given, new=True)
        saved = [dataset.rows()[uid] for uid in given]
        return Response.of(saved if isinstance(body, list) else saved[0])

    @route("PATCH /examples/bulk", "PATCH /examples/{example}")
    def update_examples(self, request: Request, example: str | None = None) -> Row:
        body = request.json()
        given = {example: body} if example else {str(row["id"]): row for row in body}
        return self._save(self.owner(next(iter(given))), given, new=False)

    def _save(self, dataset: Dataset, given: Mapping[str, Row], *, new: bool) -> Row:
        rows, when = dataset.rows(), self.state.now()
        wrong = [uid for uid in given if (uid in dataset.history if new else uid not in rows)]
        if wrong:
            raise HttpError(409 if new else 404, f"Examples {wrong[:3]} {'exist already' if new else 'not found'}")
        blank: Row = {
            "inputs": {},
            "outputs": None,
            "metadata": {},
            "created_at": when.isoformat(),
            "source_run_id": None,
        }
        changes = {uid: self._example(rows.get(uid, blank), change) for uid, change in given.items()}
        for uid, row in changes.items():
            row.update(id=uid, dataset_id=dataset.info["id"], name=f"#{uid[:4]}")
        dataset.write(when, changes)
        return {"count": len(changes), "example_ids": list(changes), "as_of": when.isoformat()}

    def _example(self, old: Row, given: Row) -> Row:
        change: Row = {key: value for key, value in given.items() if value is not None}
        if change.pop("use_source_run_io", False):
            run = self.state.runs.get(change["source_run_id"], {})
            change = {"inputs": run.get("inputs"), "outputs": run.get("outputs"), **change}
        metadata = dict(change["metadata"] if "metadata" in change else old["metadata"])
        split = change.pop("split", None) or metadata.get("dataset_split") or old["metadata"].get("dataset_split")
        metadata["dataset_split"] = [split] if isinstance(split, str) else list(split or ["base"])
        return {**old, **change, "metadata": metadata}

    @route("GET /examples", "GET /examples/count")
    def examples(self, request: Request) -> Any:
        owners: Iterable[Dataset] = self.all.values()
        if (dataset := request.one("dataset")) is not None:
            owners = [self.get(dataset)]
        rows = [row for owner in owners for row in owner.rows(request.one("as_of")).values()]
        ids, splits, fits = request.query.get("id"), request.query.get("splits"), filtered(request.one("filter"))
        kept = [
            row
            for row in rows
            if (ids is None or row["id"] in ids)
            and (splits is None or set(splits) & set(row["metadata"]["dataset_split"]))
            and holds(row["metadata"], request.one("metadata"))
            and fits(row)
        ]
        if request.path.endswith("/count"):
            return len(kept)
        kept.sort(key=lambda row: row["id"])
        return page(request, sorted(kept, key=lambda row: str(row["modified_at"]), reverse=True))

    @route("GET /examples/{example}")
    def example(self, request: Request, example: str) -> Row:
        for dataset in self.all.values():
            rows = dataset.rows(request.one("as_of")) if example in dataset.history else {}
            if example in rows:
                return rows[example]
        raise HttpError(404, f"Example {example} not found")

    @route("DELETE /examples/{example}", "DELETE /examples", "POST /platform/datasets/examples/delete")
    def delete_examples(self, request: Request, example: str | None = None) -> Row:
        ids = [example] if example else request.query.get("example_ids") or request.json()["example_ids"]
        self.owner(ids[0]).write(self.state.now(), dict.fromkeys(ids))
        return {"count": len(ids), "example_ids": ids}
