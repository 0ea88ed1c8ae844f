"""A LangSmith-compatible server on 127.0.0.1, for the unmodified SDK.

`with LangSmithServer() as server: client = Client(api_url=server.url, api_key="k")`.
By hand: `python -m tests.support.langsmith_server --port 1984`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tests.support.http_kit import LoopbackServer
from tests.support.http_process import run_until_signal
from tests.support.langsmith_datasets import Datasets
from tests.support.langsmith_projects import Feedback, Projects
from tests.support.langsmith_prompts import Prompts
from tests.support.langsmith_queues import Evaluators, Queues
from tests.support.langsmith_runs import Runs, Tree
from tests.support.langsmith_state import Row, State
from tests.support.router import Router, route

if TYPE_CHECKING:
    from tests.support.http_messages import Request

VERSION = "0.16.20"  # the SDK opens its v2 resources from 0.16.0 on, queues from 0.16.14


class LangSmithServer(LoopbackServer):
    """The server and what it stores; kit options (port, delay, faults, record) pass through.

    `zstd` and `multipart` switch the ingest forms the SDK may use, `v2_only` hides the old run query.
    """

    def __init__(
        self,
        *,
        zstd: bool = True,
        multipart: bool = True,
        v2_only: bool = False,
        strict_tags: bool = False,
        **kit: Any,
    ) -> None:
        self.state = State()
        self.zstd, self.multipart, self.v2_only = zstd, multipart, v2_only
        self.datasets, self._runs = Datasets(self.state), Runs(self.state)
        self.projects = Projects(self.state, self.datasets, self._runs)
        self.prompts = Prompts(self.state, strict_tags=strict_tags)
        self.queues, self.evaluators = Queues(self.state, self._runs), Evaluators(self.state)
        rooms = (self._runs, self.datasets, self.projects, self.prompts, self.queues, self.evaluators)
        self.router = Router(self, *rooms, Feedback(self.state, self._runs))
        super().__init__(self.router, **kit)

    @route("GET /info")
    def info(self, request: Request) -> Row:
        return {
            "version": VERSION,
            "instance_flags": {
                "dataset_examples_multipart_enabled": self.multipart,
                "zstd_compression_enabled": self.zstd,
                "ch_query_enabled": not self.v2_only,
                "sdb_query_enabled": True,
            },
            "batch_ingest_config": {  # all six or none: a partial one kills the SDK's sending thread
                "use_multipart_endpoint": self.multipart,
                "scale_up_qsize_trigger": 1000,
                "scale_up_nthreads_limit": 4,
                "scale_down_nempty_trigger": 4,
                "size_limit": 100,
                "size_limit_bytes": 20_971_520,
            },
        }

    @property
    def runs(self) -> dict[str, Row]:
        """Every run by id, as merged from its posts and patches."""
        return dict(self.state.runs)

    @property
    def feedback(self) -> list[Row]:
        return list(self.state.feedback.values())

    @property
    def doubled(self) -> dict[str, int]:
        """The runs and feedbacks that were created more than once, with the count."""
        counts = self._runs.posts + self._runs.feedback_posts
        return {uid: count for uid, count in counts.items() if count > 1}

    @property
    def unserved(self) -> list[str]:
        """What was asked and answered with 501."""
        return self.router.unserved

    def tree(self, trace_id: object) -> Tree:
        return self._runs.tree(str(trace_id))

    def traces(self, project: str | None = None) -> list[Tree]:
        """All trace trees, oldest first; of one project when named."""
        return self._runs.traces(project)

    def experiments(self, dataset_id: object) -> list[Row]:
        """The projects that were run over a dataset, with their statistics, oldest first."""
        rows = [row for row in self.state.sessions.values() if row["reference_dataset_id"] == str(dataset_id)]
        return [self.projects.shown(row) for row in rows]


def main() -> None:
    """Run the server until it is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    run_until_signal(LangSmithServer(port=given.port, delay=given.delay))


if __name__ == "__main__":
    main()
