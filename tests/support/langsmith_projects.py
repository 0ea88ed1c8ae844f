"""Projects and experiments, comparisons of them, and feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.http_messages import HttpError, Request, Response
from tests.support.langsmith_state import TENANT, Row, State, found, holds, named, page
from tests.support.router import route

if TYPE_CHECKING:
    from tests.support.langsmith_datasets import Datasets
    from tests.support.langsmith_runs import Runs


class Projects:
    """The endpoints below /sessions, and what compares experiments."""

    def __init__(self, state: State, datasets: Datasets, runs: Runs) -> None:
        self.state, self.datasets, self.runs = state, datasets, runs
        self.comparisons: dict[str, Row] = {}
        self.insights: dict[str, Row] = {}
        self.issues: list[Row] = []
        state.session("default")  # the SDK learns its tenant from the first project of the list

    def shown(self, row: Row) -> Row:
        mine = [run for run in self.state.runs.values() if run["session_id"] == row["id"]]
        roots = [run for run in mine if self.runs.root(run)]
        ids = {run["id"] for run in mine}
        return {
            **row,
            "run_count": len(roots),
            "error_rate": sum(run["error"] is not None for run in roots) / len(roots) if roots else None,
            "feedback_stats": self.state.feedback_stats(lambda f: f["run_id"] in ids),
            "session_feedback_stats": self.state.feedback_stats(
                lambda f: f["run_id"] is None and f["session_id"] == row["id"]
            ),
        }

    @route("POST /sessions")
    def create(self, request: Request) -> Response:
        body = request.json()
        old = next((row for row in self.state.sessions.values() if row["name"] == body["name"]), None)
        if old is not None and not request.one("upsert"):
            raise HttpError(409, f"Session {body['name']} already exists")
        if old is None:
            return Response.of(self.state.session(**body))
        old.update({key: value for key, value in body.items() if value is not None and key != "id"})
        return Response.of(old)

    @route("GET /sessions")
    def listed(self, request: Request) -> list[Row]:
        dataset, free = request.query.get("reference_dataset"), request.one("reference_free")
        version = request.one("dataset_version")
        kept = [
            row
            for row in named(request, self.state.sessions.values())
            if (dataset is None or row["reference_dataset_id"] in dataset)
            and (free is None or (row["reference_dataset_id"] is None) == (free.lower() == "true"))
            and (version is None or _metadata(row).get("dataset_version") == version)
            and holds(_metadata(row), request.one("metadata"))
        ]
        newest = sorted(kept, key=lambda row: str(row["start_time"]), reverse=True)
        return [self.shown(row) for row in page(request, newest)]

    @route("GET /sessions/{session}")
    def read(self, request: Request, session: str) -> Row:
        return self.shown(found(self.state.sessions, session, "Session"))

    @route("PATCH /sessions/{session}")
    def update(self, request: Request, session: str) -> Row:
        row = found(self.state.sessions, session, "Session")
        row.update({key: value for key, value in request.json().items() if value is not None})
        return self.shown(row)

    def report(self, project: str, clusters: dict[str, list[str]]) -> str:
        """For tests: an insights report whose clusters hold these runs; returns its id."""
        uid = str(uuid4())
        rows = [
            {"id": str(uuid4()), "name": name, "description": f"about {name}", "level": 0, "num_runs": len(runs)}
            for name, runs in clusters.items()
        ]
        members = {row["id"]: clusters[row["name"]] for row in rows}
        self.insights[uid] = {"id": uid, "name": project, "status": "success", "clusters": rows, "members": members}
        return uid

    @route("GET /sessions/{session}/insights/{report}")
    def insight(self, request: Request, session: str, report: str) -> Row:
        return {key: value for key, value in found(self.insights, report, "Report").items() if key != "members"}

    @route("GET /sessions/{session}/insights/{report}/runs")
    def insight_runs(self, request: Request, session: str, report: str) -> Row:
        members = found(self.insights, report, "Report")["members"]
        return {"runs": [{"id": uid} for uid in members[request.one("cluster_id")]], "offset": None}

    @route("GET /platform/issues")
    def issues_listed(self, request: Request) -> list[Row]:
        return [row for row in self.issues if row["project"] == request.one("session_name")]

    @route("DELETE /sessions/{session}")
    def delete(self, request: Request, session: str) -> Row:
        row = found(self.state.sessions, session, "Session")
        for uid in [uid for uid, run in self.state.runs.items() if run["session_id"] == session]:
            del self.state.runs[uid]
        return self.state.sessions.pop(row["id"])

    @route("POST /datasets/comparative")
    def compare(self, request: Request) -> Row:
        body, now = request.json(), self.state.now().isoformat()
        experiments = [{"id": uid} for uid in body.get("experiment_ids", ())]
        row = {**body, "tenant_id": TENANT, "modified_at": now, "experiments_info": experiments}
        self.comparisons[str(row["id"])] = row
        return row

    @route("GET /datasets/{dataset}/comparative")
    def comparative(self, request: Request, dataset: str) -> list[Row]:
        return page(request, [row for row in self.comparisons.values() if row["reference_dataset_id"] == dataset])

    @route("POST /datasets/{dataset}/runs")
    def with_runs(self, request: Request, dataset: str) -> list[Row]:
        body = request.json()
        rows = list(self.datasets.get(dataset).rows().values())[body["offset"] :][: body["limit"]]
        return [{**row, "runs": [self.runs.shown(run) for run in self._of(row, body["session_ids"])]} for row in rows]

    @route("POST /v2/datasets/{dataset}/experiment-runs")
    def experiment_runs(self, request: Request, dataset: str) -> Row:
        body = request.json()
        at, size = int(body.get("cursor") or 0), int(body.get("page_size") or 20)
        ids, selects = body.get("example_ids"), body.get("selects") or ["ID"]
        rows = [row for uid, row in self.datasets.get(dataset).rows().items() if ids is None or uid in ids]
        items = [
            {**row, "runs": [self.runs.shown_v2(run, selects) for run in self._of(row, body["experiment_ids"])]}
            for row in rows[at : at + size]
        ]
        return {"items": items, "next_cursor": str(at + size) if at + size < len(rows) else None}

    def _of(self, example: Row, sessions: list[str]) -> list[Row]:
        return [
            run
            for run in self.state.runs.values()
            if run["session_id"] in sessions and str(run.get("reference_example_id")) == example["id"]
        ]


class Feedback:
    """The endpoints below /feedback."""

    def __init__(self, state: State, runs: Runs) -> None:
        self.state, self.runs = state, runs

    @route("POST /feedback")
    def create(self, request: Request) -> Row:
        body = request.json()
        return self.runs.add_feedback({**body, "id": body.get("id") or str(uuid4())})

    @route("GET /feedback")
    def listed(self, request: Request) -> list[Row]:
        def among(name: str, value: Any) -> bool:
            return name not in request.query or str(value) in request.query[name]

        rows = self.state.feedback.values()
        return page(request, [row for row in rows if all(among(name, value) for name, value in _asked(row).items())])

    @route("GET /feedback/{uid}")
    def read(self, request: Request, uid: str) -> Row:
        return found(self.state.feedback, uid, "Feedback")

    @route("PATCH /feedback/{uid}")
    def update(self, request: Request, uid: str) -> Row:
        row = found(self.state.feedback, uid, "Feedback")
        row.update(request.json(), modified_at=self.state.now().isoformat())
        return row

    @route("DELETE /feedback/{uid}")
    def delete(self, request: Request, uid: str) -> Row:
        return self.state.feedback.pop(found(self.state.feedback, uid, "Feedback")["id"])


def _asked(feedback: Row) -> Row:
    """What a list call may filter by, under the names of its parameters."""
    source = (feedback.get("feedback_source") or {}).get("type")
    return {"run": feedback["run_id"], "key": feedback["key"], "session": feedback["session_id"], "source": source}


def _metadata(session: Row) -> Row:
    return (session["extra"] or {}).get("metadata") or {}
