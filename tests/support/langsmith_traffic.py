"""A project with runs and feedback on a test server, as an application in production leaves them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.langsmith_env import client

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
"""When runs begin that name no time."""


@dataclass
class Traffic:
    """Runs of one project; each method sends what it is given at once."""

    url: str
    project: str = "live"
    sent: int = 0
    _client: Any = field(default=None, repr=False)

    @property
    def there(self) -> Any:
        self._client = self._client or client(self.url)
        return self._client

    def runs(self, rows: list[Mapping[str, Any]], at: datetime = NOON) -> list[str]:
        """Finished root runs, a second apart; each row has inputs and outputs, and may have error, id, extra and at."""
        posts = []
        for row in rows:
            self.sent += 1
            began = row.get("at", at + timedelta(seconds=self.sent))
            uid = str(row.get("id") or uuid.uuid4())
            stamp = f"{began:%Y%m%dT%H%M%S%fZ}{uid}"
            posts.append(
                {
                    "id": uid,
                    "trace_id": uid,
                    "dotted_order": stamp,
                    "name": "chain",
                    "run_type": "chain",
                    "session_name": self.project,
                    "inputs": row["inputs"],
                    "outputs": row.get("outputs"),
                    "error": row.get("error"),
                    "extra": {"metadata": row.get("metadata", {})},
                    "start_time": began.isoformat(),
                    "end_time": (began + timedelta(milliseconds=500)).isoformat(),
                }
            )
        for start in range(0, len(posts), 200):
            self.there.request_with_retries("POST", "/runs/batch", json={"post": posts[start : start + 200]})
        return [post["id"] for post in posts]

    def feedback(self, run: str, key: str, *, by: str = "app", **said: Any) -> None:
        """One feedback: score, value, comment, correction or feedback_group_id; `by` is its source's type."""
        body = {"id": str(uuid.uuid4()), "run_id": run, "key": key, "feedback_source": {"type": by}, **said}
        self.there.request_with_retries("POST", "/feedback", json=body)
