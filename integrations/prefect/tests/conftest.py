"""A real Prefect server on 127.0.0.1 for all tests of this folder, started and stopped here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "examples")]

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "PREFECT_", "GITHUB_")):
        del os.environ[name]
with socket.create_server(("127.0.0.1", 0)) as _free:
    PORT = _free.getsockname()[1]
URL = f"http://127.0.0.1:{PORT}/api"
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_API_URL": URL,
    "LANGSMITH_TRACING": "false",
}


@pytest.fixture(scope="session", autouse=True)
def server(tmp_path_factory):
    """The server's API URL."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    program = str(Path(sys.executable).with_name("prefect"))
    command = [program, "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            for _ in range(240):
                assert process.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"{URL}/health", timeout=2)
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.5)
            yield URL
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
