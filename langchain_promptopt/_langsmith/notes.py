"""What people wrote about rows: feedback on the runs that rows came from, or that were reviewed in a queue.

It is read and never waited for: a queue nobody has worked through gives no notes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from langsmith.schemas import Example

    from langchain_promptopt._langsmith.service import Service

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BY_PEOPLE = frozenset({"app", "api"})
"""Sources of feedback that is written in LangSmith's pages, or sent in by an application for its users."""
_AT_ONCE = 50
"""Runs asked about by one request; their ids stand in its URL."""
_PAGE = 100


def notes_on(service: Service, examples: Sequence[Example], queues: Sequence[str] = ()) -> dict[UUID, str]:
    """Notes by example: people's feedback on its source run, and on runs of it in these queues."""
    by_run: dict[str, UUID] = {str(e.source_run_id): e.id for e in examples if e.source_run_id is not None}
    by_id = {str(e.id): e.id for e in examples}
    for queue in queues:
        for run in _queued(service, queue):
            example = by_id.get(str(run.get("reference_example_id")))
            if example is not None:
                by_run[str(run["id"])] = example
    notes: dict[UUID, list[str]] = defaultdict(list)
    for feedback in _feedback(service, list(by_run)):
        if text := _text(feedback):
            notes[by_run[str(feedback["run_id"])]].append(text)
    return {example: "; ".join(dict.fromkeys(texts)) for example, texts in notes.items()}


def _queued(service: Service, queue: str) -> list[Mapping[str, Any]]:
    """The runs put into an annotation queue, reviewed or not."""
    what = f"reading annotation queue {queue!r}"
    if not _UUID.fullmatch(queue):
        found = service.ask(what, "GET", "/annotation-queues", params={"name": queue, "limit": 2})
        if not found:
            msg = f"there is no annotation queue {queue!r}"
            raise CredentialsError(msg, where=service.client.api_url, mend="Check the name.", role="langsmith")
        queue = found[0]["id"]
    return _pages(service, what, f"/annotation-queues/{queue}/runs", {})


def _feedback(service: Service, runs: Sequence[str]) -> Iterable[Mapping[str, Any]]:
    for at in range(0, len(runs), _AT_ONCE):
        rows = _pages(service, "reading feedback", "/feedback", {"run": list(runs[at : at + _AT_ONCE])})
        ours = [row for row in rows if (row.get("feedback_source") or {}).get("type", "app") in _BY_PEOPLE]
        yield from sorted(ours, key=lambda row: (str(row["created_at"]), str(row["id"])))


def _pages(service: Service, what: str, path: str, params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    while True:
        page = service.ask(what, "GET", path, params={**params, "offset": len(rows), "limit": _PAGE})
        rows += page
        if len(page) < _PAGE:
            return rows


def _text(feedback: Mapping[str, Any]) -> str:
    """The words in a feedback; a bare score says nothing a proposer could use."""
    parts = [str(feedback.get("comment") or "").strip()]
    correction = feedback.get("correction")
    if correction:
        wanted = correction.get("output", correction) if isinstance(correction, dict) else correction
        parts.append(f"should have been: {wanted}")
    return "; ".join(p for p in parts if p)
