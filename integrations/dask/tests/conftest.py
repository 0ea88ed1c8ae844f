"""One Dask cluster of two processes on 127.0.0.1 for all tests, without a dashboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(REPOSITORY / "integrations" / "dask" / "examples"))
for _name in list(os.environ):
    if _name.startswith(("PROMPTOPT_", "LANGSMITH_", "LANGCHAIN_", "DASK_")):
        del os.environ[_name]
os.environ |= {"LANGSMITH_TRACING": "false"}


@pytest.fixture(scope="session")
def cluster():
    """A client of the cluster."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as there,
        Client(there) as client,
    ):
        yield client
