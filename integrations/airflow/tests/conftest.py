"""A real Airflow on sqlite, in a folder that is gone after the tests; nothing reaches beyond 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1])]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "AIRFLOW", "GITHUB_")):
        del os.environ[name]
HOME = Path(tempfile.mkdtemp(prefix="airflow-"))
(HOME / "dags").mkdir()
for dag_file in (*(HERE / "examples").glob("*.py"), *(HERE / "tests" / "dags").glob("*.py")):
    shutil.copy(dag_file, HOME / "dags")
sys.path[:0] = [str(HOME / "dags")]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    "LANGSMITH_TRACING": "false",
}


@pytest.fixture(scope="session", autouse=True)
def airflow():
    """AIRFLOW_HOME with a migrated database."""
    program = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([program, "db", "migrate"], check=True, capture_output=True)
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)
