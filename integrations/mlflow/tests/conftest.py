"""No keys, no network: the registry is a database in a file."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "examples")]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "MLFLOW_")):
        del os.environ[name]
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A database with MLflow's tables; making them takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    uri = f"sqlite:///{path}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_prompts()
    return path


@pytest.fixture
def client(empty, tmp_path, monkeypatch):
    """A client of an empty registry."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{shutil.copy(empty, tmp_path / 'mlflow.db')}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
