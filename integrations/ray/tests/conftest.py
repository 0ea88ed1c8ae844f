"""One small Ray on 127.0.0.1 for all tests: two CPUs, an object store of 100 MB, no dashboard, nothing sent out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(REPOSITORY / "integrations" / "ray" / "examples"))
for _name in list(os.environ):
    if _name.startswith(("PROMPTOPT_", "LANGSMITH_", "LANGCHAIN_", "RAY_")):
        del os.environ[_name]
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "LANGSMITH_TRACING": "false"}


@pytest.fixture(scope="session", autouse=True)
def cluster():
    """A cluster of one node."""
    import ray

    ray.init(
        num_cpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()
