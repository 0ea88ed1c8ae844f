"""A Dagster home that is gone after the tests; nothing reaches beyond 127.0.0.1."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "examples")]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "DAGSTER_", "GITHUB_")):
        del os.environ[name]
_home = tempfile.TemporaryDirectory(prefix="dagster-")
(Path(_home.name) / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
os.environ |= {
    "DAGSTER_HOME": _home.name,
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "TRIAGE_FOLDER": str(Path(_home.name) / "triage"),
    "LANGSMITH_TRACING": "false",
}
