"""Where this package runs: without the modules that only POSIX has, and without what only some need.

No test machine here runs Windows, so what is missing there is taken away in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AWAY = """
import importlib, json, os, pkgutil, signal, sys
for name in {modules}:
    sys.modules[name] = None  # importing it raises ImportError
for name in {of_os}:
    if hasattr(os, name): delattr(os, name)
for name in {of_signal}:
    if hasattr(signal, name): delattr(signal, name)
"""
POSIX = AWAY.format(
    modules=("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "readline", "crypt", "spwd"),
    of_os=("O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "getuid", "geteuid", "getgid", "fork", "killpg", "getpgid",
           "setsid", "pread", "pwrite", "fdatasync", "chown", "uname", "sysconf", "sched_getaffinity"),
    of_signal=("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT",
               "pthread_sigmask", "setitimer", "alarm"),
)  # fmt: skip
SELDOM = AWAY.format(
    modules=("datasets", "pandas", "numpy", "pyarrow", "langchain", "opentelemetry", "IPython", "scipy"),
    of_os=(),
    of_signal=(),
)
EVERY_MODULE = """
import langchain_promptopt
for module in pkgutil.walk_packages(langchain_promptopt.__path__, "langchain_promptopt."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
DEMO = """
from langchain_promptopt.cli.app import run
sys.exit(run(["demo", "--json", "--runs-dir", "runs", "--method", "lpo-pe2"]))
"""


def run(source: str, folder: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PROMPTOPT", "LANGSMITH"))}
    env |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize("away", [POSIX, SELDOM], ids=["posix", "seldom needed"])
def test_everything_loads_and_the_demo_runs_without_it(away, tmp_path):
    answer = json.loads(run(away + EVERY_MODULE + DEMO, tmp_path))
    assert answer["outcome"] == "improved"
    assert (tmp_path / "runs" / answer["run_id"] / "report.html").is_file()
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"runs", "promptopt.openings.jsonl"}, "no lock file is left in the user's folder"
