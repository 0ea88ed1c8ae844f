"""What several unit tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def server(monkeypatch):
    """A LangSmith-compatible server on this machine, to which the settings of the SDK point."""
    from tests.support.langsmith_env import point_at
    from tests.support.langsmith_server import LangSmithServer

    with LangSmithServer() as running:
        point_at(monkeypatch, running.url)
        yield running
