"""No keys of yours, no network: Langfuse's real SDK speaks HTTP to a small server on 127.0.0.1."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "examples")]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "LANGFUSE_", "OTEL_")):
        del os.environ[name]
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture
def server():
    """An empty project."""
    from server import LangfuseServer

    with LangfuseServer() as running:
        yield running


@pytest.fixture
def client(server):
    """A client of it."""
    from langfuse import Langfuse
    from langfuse._client.resource_manager import LangfuseResourceManager
    from server import PUBLIC, SECRET

    LangfuseResourceManager.reset()  # the SDK keeps one client for each public key
    return Langfuse(public_key=PUBLIC, secret_key=SECRET, base_url=server.url, tracing_enabled=False)
