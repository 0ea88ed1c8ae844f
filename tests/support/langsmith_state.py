"""What a LangSmith workspace holds, and the small rules every room shares."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.http_messages import HttpError, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Row = dict[str, Any]
TENANT = "aaaaaaaa-0000-4000-8000-000000000001"


@dataclass
class State:
    """One workspace. Rows are kept in the form in which the API shows them."""

    handle: str = "acme"
    sessions: dict[str, Row] = field(default_factory=dict)
    runs: dict[str, Row] = field(default_factory=dict)
    feedback: dict[str, Row] = field(default_factory=dict)
    _last: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """A time later than any given before, so each change is a version of its own."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last

    def session(self, name: str, **more: Any) -> Row:
        """The project of this name; a new one when there is none, as run ingest makes them."""
        for row in self.sessions.values():
            if row["name"] == name:
                return row
        row = {
            "id": str(uuid4()),
            "name": name,
            "tenant_id": TENANT,
            "start_time": self.now().isoformat(),
            "end_time": None,
            "description": None,
            "extra": None,
            "reference_dataset_id": None,
            **more,
        }
        self.sessions[row["id"]] = row
        return row

    def feedback_stats(self, wanted: Callable[[Row], bool]) -> dict[str, Row]:
        """Count and mean for each key of the feedback wanted."""
        by_key: dict[str, list[Row]] = {}
        for row in self.feedback.values():
            if wanted(row):
                by_key.setdefault(row["key"], []).append(row)
        return {key: _stats(rows) for key, rows in by_key.items()}


def _stats(rows: list[Row]) -> Row:
    scores = [row["score"] for row in rows if row.get("score") is not None]
    values = [row["value"] for row in rows if isinstance(row.get("value"), str)]
    mean = sum(scores) / len(scores) if scores else None
    return {"n": len(rows), "avg": mean, "values": {value: values.count(value) for value in values}}


def moment(text: str | None) -> datetime | None:
    """An ISO time, taken as UTC where it names no zone; None when the text is no time."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def page(request: Request, rows: Sequence[Row]) -> list[Row]:
    """The part of `rows` that `offset` and `limit` (at most 100) ask for."""
    offset, limit = int(request.one("offset") or 0), min(100, int(request.one("limit") or 100))
    return list(rows[offset : offset + limit])


def found(rows: dict[str, Row], uid: str, what: str) -> Row:
    """The row of this id, or a 404."""
    if uid not in rows:
        raise HttpError(404, f"{what} {uid} not found")
    return rows[uid]


def holds(row: Row | None, wanted: str | None) -> bool:
    """Whether a metadata mapping contains the JSON object `wanted`, at every level."""

    def within(small: Any, big: Any) -> bool:
        if isinstance(small, dict) and isinstance(big, dict):
            return all(key in big and within(value, big[key]) for key, value in small.items())
        if isinstance(big, list) and not isinstance(small, list):
            return small in big
        return bool(small == big)

    return wanted is None or within(json.loads(wanted), row or {})


def named(request: Request, rows: Iterable[Row]) -> list[Row]:
    """The rows that the `id`, `ids`, `name` and `name_contains` of a list call leave over."""
    ids, name, part = (
        request.query.get("id", request.query.get("ids")),
        request.one("name"),
        request.one("name_contains"),
    )
    return [
        row
        for row in rows
        if (ids is None or row["id"] in ids)
        and (name is None or row["name"] == name)
        and (part is None or part.casefold() in row["name"].casefold())
    ]


def filtered(text: str | None) -> Callable[[Row], bool]:
    """A LangSmith filter, `and(eq(run_type, "llm"), has(tags, "x"))`, as a test of one run.

    `eq(metadata_key, k)` and `eq(metadata_value, v)` hold when any entry has that key or value, `eq(feedback_key, k)`
    when the run has feedback of that key.
    """
    if not text:
        return lambda _: True
    try:
        tree = ast.parse(re.sub(r"\b(and|or|not|in)\(", r"\1_(", text), mode="eval").body
    except SyntaxError as error:
        raise HttpError(400, f"filter not understood: {text}") from error
    return lambda row: bool(_value(tree, row))


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: b in a if isinstance(a, list) else a == b,
    "neq": lambda a, b: b not in a if isinstance(a, list) else a != b,
    "gt": lambda a, b: a is not None and a > b,
    "gte": lambda a, b: a is not None and a >= b,
    "lt": lambda a, b: a is not None and a < b,
    "lte": lambda a, b: a is not None and a <= b,
    "in_": lambda a, b: any(x in b for x in a) if isinstance(a, list) else a in b,
    "exists": lambda a, b: b in (a or {}),
    "search": lambda a, b: str(b).casefold() in str(a).casefold(),
}


def _value(node: ast.expr, row: Row) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value(item, row) for item in items]
        case ast.Name(id=name):
            return _attribute(row, name)
        case ast.Call(func=ast.Name(id="and_"), args=args):
            return all(_value(arg, row) for arg in args)
        case ast.Call(func=ast.Name(id="or_"), args=args):
            return any(_value(arg, row) for arg in args)
        case ast.Call(func=ast.Name(id="not_"), args=[arg]):
            return not _value(arg, row)
        case ast.Call(func=ast.Name(id="has"), args=[left, right]):
            mine, wanted = _value(left, row), _value(right, row)
            return holds(mine, wanted) if isinstance(mine, dict) else wanted in (mine or ())
        case ast.Call(func=ast.Name(id=name), args=[left, right]) if name in _COMPARE:
            return _COMPARE[name](_value(left, row), _value(right, row))
    raise HttpError(400, f"filter not understood: {ast.unparse(node)}")


def _attribute(row: Row, name: str) -> Any:
    metadata = row.get("metadata") or (row.get("extra") or {}).get("metadata") or {}
    if name == "feedback_key":
        return list(row.get("feedback_stats") or {})
    if name in ("metadata_key", "metadata_value"):
        return list(metadata if name == "metadata_key" else metadata.values())
    return metadata if name == "metadata" else row.get(name)
