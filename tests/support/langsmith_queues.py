"""Annotation queues, and the evaluators kept in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.http_messages import HttpError, Request
from tests.support.langsmith_state import TENANT, Row, State, found, named, page
from tests.support.router import route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.langsmith_runs import Runs


class Queues:
    """The endpoints below /annotation-queues; `self.all[id]["items"]` holds what was put in."""

    def __init__(self, state: State, runs: Runs) -> None:
        self.state, self.runs = state, runs
        self.all: dict[str, Row] = {}
        self.items: dict[str, list[Row]] = {}

    @route("POST /annotation-queues")
    def create(self, request: Request) -> Row:
        body, now = request.json(), self.state.now().isoformat()
        uid = str(body.get("id") or uuid4())
        self.items[uid] = []
        common = {"tenant_id": TENANT, "created_at": now, "updated_at": now, "queue_type": "single"}
        self.all[uid] = {**body, **common, "id": uid}
        return self.all[uid]

    @route("GET /annotation-queues")
    def listed(self, request: Request) -> list[Row]:
        return page(request, named(request, self.all.values()))

    @route("GET /annotation-queues/{queue}")
    def read(self, request: Request, queue: str) -> Row:
        return found(self.all, queue, "Queue")

    @route("PATCH /annotation-queues/{queue}")
    def update(self, request: Request, queue: str) -> Row:
        found(self.all, queue, "Queue").update(request.json(), updated_at=self.state.now().isoformat())
        return self.all[queue]

    @route("DELETE /annotation-queues/{queue}")
    def delete(self, request: Request, queue: str) -> Row:
        found(self.all, queue, "Queue")
        del self.items[queue]
        return self.all.pop(queue)

    @route("POST /annotation-queues/{queue}/runs/by-key", "POST /annotation-queues/{queue}/runs")
    def add(self, request: Request, queue: str) -> list[Row]:
        body = request.json()
        return self._added(queue, body if isinstance(body, list) else body["runs"])

    @route("POST /platform/annotation-queues/{queue}/items")
    def add_items(self, request: Request, queue: str) -> Row:
        return {"items": self._added(queue, request.json()["items"])}

    def _added(self, queue: str, given: Sequence[Any]) -> list[Row]:
        found(self.all, queue, "Queue")
        ids = [str(key["run_id"] if isinstance(key, dict) else key) for key in given]
        for uid in ids:
            found(self.state.runs, uid, "Run")
        held = {item["run_id"] for item in self.items[queue]}
        now = self.state.now().isoformat()
        new = [
            {"id": str(uuid4()), "queue_id": queue, "run_id": uid, "added_at": now, "status": "needs_my_review"}
            for uid in ids
            if uid not in held
        ]
        self.items[queue] += new
        return new

    def _shown(self, item: Row) -> Row:
        run = self.runs.shown(self.state.runs[item["run_id"]])
        more = {"queue_run_id": item["id"], "added_at": item["added_at"], "last_reviewed_time": item.get("reviewed")}
        return {**run, **more}

    @route("GET /annotation-queues/{queue}/runs")
    def queued(self, request: Request, queue: str) -> list[Row]:
        found(self.all, queue, "Queue")
        status = request.one("status")
        kept = [item for item in self.items[queue] if status is None or item["status"] == status]
        return [self._shown(item) for item in page(request, kept)]

    @route("GET /annotation-queues/{queue}/run/{index}")
    def at(self, request: Request, queue: str, index: str) -> Row:
        found(self.all, queue, "Queue")
        waiting = [item for item in self.items[queue] if item["status"] != "completed"]
        if int(index) >= len(waiting):
            raise HttpError(404, f"no run at {index}")
        return self._shown(waiting[int(index)])

    @route("GET /annotation-queues/{queue}/size", "GET /annotation-queues/{queue}/total_size")
    def size(self, request: Request, queue: str) -> Row:
        found(self.all, queue, "Queue")
        every = request.path.endswith("total_size")
        return {"size": sum(every or item["status"] != "completed" for item in self.items[queue])}

    @route("GET /platform/annotation-queues/{queue}/items")
    def items_listed(self, request: Request, queue: str) -> Row:
        found(self.all, queue, "Queue")
        status = (request.one("status") or "").replace("archived", "completed")
        kept = [item for item in self.items[queue] if item["status"] == status]
        at, size = int(request.one("cursor") or 0), int(request.one("page_size") or 20)
        runs = {item["run_id"]: self.state.runs[item["run_id"]] for item in kept}
        shown = [
            {
                **item,
                "item_type": "RUN",
                "last_reviewed_time": item.get("reviewed"),
                "project_id": runs[item["run_id"]]["session_id"],
                "start_time": runs[item["run_id"]].get("start_time"),
            }
            for item in kept[at : at + size]
        ]
        return {"items": shown, "next_cursor": str(at + size) if at + size < len(kept) else None}

    @route("POST /annotation-queues/status/{item}", "POST /platform/annotation-queues/items/{item}/status")
    def review(self, request: Request, item: str) -> Row:
        reviewed = found({row["id"]: row for rows in self.items.values() for row in rows}, item, "Item")
        reviewed.update(status=request.json()["status"], reviewed=self.state.now().isoformat())
        return {"queue_item_id": item, "status": reviewed["status"], "is_archived": reviewed["status"] == "completed"}

    @route("DELETE /annotation-queues/{queue}/runs/{run}")
    def remove(self, request: Request, queue: str, run: str) -> Row:
        found(self.all, queue, "Queue")
        self.items[queue] = [item for item in self.items[queue] if run not in (item["run_id"], item["id"])]
        return {}

    @route("POST /platform/annotation-queues/{queue}/items/delete")
    def remove_items(self, request: Request, queue: str) -> Row:
        found(self.all, queue, "Queue")
        gone = set(request.json()["item_ids"])
        self.items[queue] = [item for item in self.items[queue] if item["id"] not in gone]
        return {}


class Evaluators:
    """Evaluators kept in the workspace, and the rules that run them: read and listed as the SDK can."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.all: dict[str, Row] = {}
        self.rules: list[Row] = []

    def add(self, name: str, **fields: Any) -> Row:
        """For tests: `add("helpful", type="code", code_evaluator={"code": "def perform_eval(...)"})`."""
        now = self.state.now().isoformat()
        row = {"id": str(uuid4()), "name": name, "tenant_id": TENANT, "created_at": now, "updated_at": now, **fields}
        self.all[row["id"]] = row
        return row

    @route("POST /platform/evaluators")
    def create(self, request: Request) -> Row:
        return {"evaluator": self.add(**request.json())}

    @route("GET /platform/evaluators")
    def listed(self, request: Request) -> Row:
        rows = [row for row in named(request, self.all.values()) if request.one("type") in (None, row.get("type"))]
        return {"evaluators": page(request, rows), "total": len(rows)}

    @route("GET /platform/evaluators/{uid}")
    def read(self, request: Request, uid: str) -> Row:
        return found(self.all, uid, "Evaluator")

    @route("GET /runs/rules")
    def rules_listed(self, request: Request) -> list[Row]:
        part, keys = request.one("name_contains") or "", ("dataset_id", "session_id", "evaluator_id")
        return [
            rule
            for rule in self.rules
            if part in rule["display_name"] and all(request.one(key) in (None, rule.get(key)) for key in keys)
        ]
