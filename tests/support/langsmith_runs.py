"""Runs: ingest in every form the SDK posts them, queries old and v2, and the trees read back by tests."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.http_messages import HttpError, Request, Response
from tests.support.langsmith_multipart import parts
from tests.support.langsmith_state import Row, State, filtered, found, moment
from tests.support.router import route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PAGE = 100
_PATCHED = ("outputs", "error", "end_time", "events")
_BLANK: Row = {"name": "", "run_type": "chain", "inputs": {}, "outputs": None, "error": None, "extra": {}}


class Tree(NamedTuple):
    """One run with those below it, in the order in which they were started."""

    id: str
    name: str
    run_type: str
    metadata: Row
    inputs: Row
    outputs: Row | None
    error: str | None
    children: tuple[Tree, ...]

    def walk(self) -> Iterator[Tree]:
        """This run and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def outline(self, depth: int = 0) -> list[str]:
        """The names alone, two spaces a level."""
        lines = ["  " * depth + self.name]
        for child in self.children:
            lines += child.outline(depth + 1)
        return lines


class Runs:
    """The run endpoints; `posts` counts how often each run was created."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.v1_only = False
        """Whether this is a LangSmith before 0.16, which has no v2 query."""
        self.posts: Counter[str] = Counter()
        self.feedback_posts: Counter[str] = Counter()

    # -- ingest

    @route("POST /runs")
    def create(self, request: Request) -> Response:
        self._post(request.json())
        return Response.of({}, 202)

    @route("PATCH /runs/{run}")
    def update(self, request: Request, run: str) -> Response:
        self._merge(run, request.json())
        return Response.of({}, 202)

    @route("POST /runs/batch")
    def batch(self, request: Request) -> Response:
        body = request.json()
        for row in body.get("post") or ():
            self._post(row)
        for row in body.get("patch") or ():
            self._merge(str(row["id"]), row)
        return Response.of({}, 202)

    @route("POST /runs/multipart")
    def multipart(self, request: Request) -> Response:
        rows: dict[tuple[str, str], Row] = {}
        for part in parts(request):  # read to the end before anything is stored: a cut body stores nothing
            kind, uid, *what = part.keys
            row = rows.setdefault((kind, uid), {"id": uid})
            if kind == "attachment":
                continue
            row.update({what[0]: part.json()} if what else part.json())
        for (kind, uid), row in rows.items():
            if kind == "post":
                self._post(row)
            elif kind == "patch":
                self._merge(uid, row)
            elif kind == "feedback":
                self.add_feedback(row)
        return Response.of({}, 202)

    def _post(self, row: Row) -> None:
        uid = str(row["id"])
        self.posts[uid] += 1
        early = {k: v for k, v in self.state.runs.get(uid, {}).items() if v and k in _PATCHED}
        self._merge(uid, {**row, **early})  # batches are sent side by side, so the end of a run may come first

    def _merge(self, uid: str, row: Row) -> None:
        run = self.state.runs.setdefault(uid, {"id": uid, **_BLANK})
        run.update({key: value for key, value in row.items() if value is not None})
        if (name := run.pop("session_name", None)) or "session_id" not in run:
            run["session_id"] = self.state.session(name or "default")["id"]
        run.setdefault("trace_id", uid)

    def add_feedback(self, row: Row) -> Row:
        """Keep one feedback; the same id again replaces it and is counted."""
        uid, now = str(row["id"]), self.state.now().isoformat()
        run = self.state.runs.get(str(row.get("run_id")), {})
        self.feedback_posts[uid] += 1
        defaults = {"created_at": now, "run_id": None, "trace_id": None, "session_id": None, "score": None}
        given = {key: value for key, value in row.items() if value is not None}
        where: Row = {key: run[key] for key in ("trace_id", "session_id") if key in run}
        self.state.feedback[uid] = {**defaults, **where, **given, "modified_at": now}
        return self.state.feedback[uid]

    # -- read back

    def root(self, run: Row) -> bool:
        return run.get("parent_run_id") is None

    def tree(self, trace_id: str) -> Tree:
        """The tree of one trace; a run whose parent never came is an assertion error."""
        return self._whole([run for run in self.state.runs.values() if run["trace_id"] == str(trace_id)])

    def _whole(self, rows: list[Row]) -> Tree:
        lost = [run["name"] for run in rows if not self.root(run) and run["parent_run_id"] not in self.state.runs]
        assert not lost, f"runs without their parent: {lost}"
        (root,) = (run for run in rows if self.root(run))
        return _tree(root, sorted(rows, key=_order))

    def traces(self, project: str | None = None) -> list[Tree]:
        """All trees, oldest first; of one project when named."""
        wanted = self.state.session(project)["id"] if project else None
        roots = [run for run in self.state.runs.values() if self.root(run) and wanted in (None, run["session_id"])]
        by_trace: dict[str, list[Row]] = {}
        for run in self.state.runs.values():
            by_trace.setdefault(run["trace_id"], []).append(run)
        return [self._whole(by_trace[run["trace_id"]]) for run in sorted(roots, key=_order)]

    # -- queries

    @route("GET /runs/{run}")
    def read(self, request: Request, run: str) -> Row:
        return self.shown(found(self.state.runs, run, "Run"))

    @route("POST /runs/query")
    def query(self, request: Request) -> Row:
        body = request.json()
        since = moment(body.get("start_time"))
        wanted = {
            "session_id": body.get("session"),
            "id": body.get("id"),
            "reference_example_id": body.get("reference_example"),
            "trace_id": body.get("trace") and [body["trace"]],
            "parent_run_id": body.get("parent_run") and [body["parent_run"]],
        }
        until = moment(body.get("end_time"))
        rows = [run for run in self._filtered(wanted, body) if since is None or _start(run) >= since]
        rows = [run for run in rows if until is None or _start(run) <= until]
        at = int(body.get("cursor") or 0)
        size = min(_PAGE, body.get("limit") or _PAGE)
        after = str(at + size) if at + size < len(rows) else None
        return {"runs": [self.shown(run) for run in rows[at : at + size]], "cursors": {"next": after}}

    @route("POST /v2/runs/query")
    def query_v2(self, request: Request) -> Row:
        body = request.json()
        if self.v1_only:
            raise HttpError(404, "Not Found")
        projects, dataset = body.get("project_ids"), body.get("reference_dataset_id")
        if (projects is None) == (dataset is None):
            raise HttpError(400, "exactly one of project_ids and reference_dataset_id must be set")
        if dataset is not None:
            projects = [uid for uid, row in self.state.sessions.items() if row["reference_dataset_id"] == dataset]
        since = moment(body.get("min_start_time")) or datetime.now(UTC) - timedelta(days=1)
        until = moment(body.get("max_start_time")) or datetime.now(UTC) + timedelta(seconds=1)
        wanted = {
            "session_id": projects,
            "id": body.get("ids"),
            "trace_id": body.get("trace_id") and [body["trace_id"]],
            "reference_example_id": body.get("reference_examples"),
        }
        body = {**body, "run_type": body.get("run_type", "").lower(), "error": body.get("has_error")}
        rows = [run for run in self._filtered(wanted, body) if since <= _start(run) <= until]
        at, size = int(body.get("cursor") or 0), int(body.get("page_size") or _PAGE)
        after = str(at + size) if at + size < len(rows) else None
        items = [self.shown_v2(run, body.get("selects") or ["ID"]) for run in rows[at : at + size]]
        return {"items": items, "next_cursor": after}

    @route("GET /v2/runs/{run}")
    def read_v2(self, request: Request, run: str) -> Row:
        row = found(self.state.runs, run, "Run")
        if request.one("project_id") != row["session_id"]:
            raise HttpError(404, f"Run {run} is not in that project")
        selects = request.query.get("selects") or request.query.get("selects[]") or ["ID"]
        return self.shown_v2(row, [name for given in selects for name in given.split(",")])

    def _filtered(self, wanted: dict[str, Any], body: Row) -> list[Row]:
        """Runs, newest first, whose fields are among those wanted and that pass the body's other conditions."""
        allowed = {key: set(map(str, values)) for key, values in wanted.items() if values is not None}
        own, of_root, of_any = (filtered(body.get(key)) for key in ("filter", "trace_filter", "tree_filter"))
        runs = self.state.runs

        def passes(run: Row) -> bool:
            return (
                all(str(run.get(key)) in values for key, values in allowed.items())
                and body.get("is_root") in (None, self.root(run))
                and (not body.get("run_type") or body["run_type"] == run["run_type"])
                and body.get("error") in (None, run["error"] is not None)
                and (not body.get("filter") or own(self.shown(run)))
                and (not body.get("trace_filter") or of_root(self.shown(runs.get(run["trace_id"], run))))
                and (not body.get("tree_filter") or any(of_any(self.shown(r)) for r in self._same_trace(run)))
            )

        return sorted(filter(passes, runs.values()), key=_order, reverse=True)

    def _same_trace(self, run: Row) -> Iterable[Row]:
        return (other for other in self.state.runs.values() if other["trace_id"] == run["trace_id"])

    def shown(self, run: Row) -> Row:
        """A run as the old endpoints give it."""
        status = "error" if run["error"] else "success" if run.get("end_time") else "pending"
        end = moment(run.get("end_time"))
        stats = self.state.feedback_stats(lambda row: row["run_id"] == run["id"])
        above = [part[-36:] for part in run.get("dotted_order", "").split(".")[:-1]]
        latency = (end - _start(run)).total_seconds() if end else None
        derived = {"feedback_stats": stats, "parent_run_ids": above, "latency": latency, "app_path": f"/r/{run['id']}"}
        return {"start_time": self.state.now().isoformat(), **run, "status": status, **derived}

    def shown_v2(self, run: Row, selects: Iterable[str]) -> Row:
        """A run as /v2 gives it: only what was selected, types and states in capitals."""
        old = self.shown(run)
        reference = self.state.sessions.get(run["session_id"], {}).get("reference_dataset_id")
        renamed = {
            **old,
            "run_type": old["run_type"].upper(),
            "status": old["status"].upper(),
            "project_id": old["session_id"],
            "metadata": (old["extra"] or {}).get("metadata") or {},
            "manifest": old.get("serialized"),
            "latency_seconds": old["latency"],
            "is_root": self.root(run),
            "reference_dataset_id": reference,
        }
        return {name.lower(): renamed.get(name.lower()) for name in selects}


def _order(run: Row) -> str:
    return str(run.get("dotted_order") or run.get("start_time") or "")


def _start(run: Row) -> datetime:
    return moment(run.get("start_time")) or datetime.now(UTC)


def _tree(run: Row, rows: list[Row]) -> Tree:
    children = tuple(_tree(child, rows) for child in rows if child.get("parent_run_id") == run["id"])
    metadata = (run["extra"] or {}).get("metadata") or {}
    return Tree(
        run["id"], run["name"], run["run_type"], metadata, run["inputs"], run["outputs"], run["error"], children
    )
