"""No keys, no network: the models are the offline programs, or scripted."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "examples")]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "GITHUB_", "DSPY_")):
        del os.environ[name]
os.environ |= {
    "LANGSMITH_TRACING": "false",
    "DSPY_CACHEDIR": tempfile.mkdtemp(prefix="dspy-"),
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """The record of openings is written to the working directory."""
    monkeypatch.chdir(tmp_path)
