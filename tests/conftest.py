"""No test reaches beyond this machine, uploads, or reads the developer's own settings."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # benchmarks measure, tests decide
settings.load_profile("untimed")

if threading.current_thread() is threading.main_thread():
    # a shell's job in the background ignores Ctrl-C, and so would all it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = {
    "docs/test_examples_run.py",
    "docs/test_tutorial.py",
    "spec/test_ape_apo_pe2_opro.py",
    "spec/test_budget_is_spent.py",
    "spec/test_engine_rules.py",
    "spec/test_gate_campaign.py",
    "spec/test_gpo.py",
    "spec/test_guarantees.py",
    "spec/test_languages.py",
    "spec/test_main_job.py",
    "spec/test_offline_gain.py",
    "spec/test_planted_world.py",
    "spec/test_reading_answers.py",
    "spec/test_signatures.py",
    "spec/test_traces.py",
    "types/test_what_must_not_type_check.py",
    "unit/test_agents_and_graphs.py",
    "unit/test_cli_snapshots_of_runs.py",
    "unit/test_comparing.py",
    "unit/test_demonstrations.py",
    "unit/test_engine_failures.py",
    "unit/test_engine_ledger.py",
    "unit/test_engine_resume.py",
    "unit/test_everywhere.py",
    "unit/test_gate_score.py",
    "unit/test_langchain_descriptions.py",
    "unit/test_langsmith_offline.py",
    "unit/test_loop.py",
    "unit/test_notebook.py",
    "unit/test_pareto.py",
    "unit/test_pipeline_outside.py",
    "unit/test_pipeline_step.py",
    "unit/test_runtime_bridge.py",
    "unit/test_select.py",
    "unit/test_shorten.py",
    "unit/test_task_models.py",
    "unit/test_trajectories.py",
    "unit/test_workers.py",
    "unit/test_world.py",
    "wire/test_batches.py",
    "wire/test_langsmith_under_faults.py",
    "wire/test_over_http.py",
    "wire/test_real_model_runs.py",
    "wire/test_slow_endpoints.py",
    "wire/test_stopping.py",
}
"""Files of whole runs, examples and killed processes. They run with the campaigns, or where they are named."""
_TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    named = {Path(arg.partition("::")[0]).resolve() for arg in config.args}
    long = {_TESTS / name for name in LONG} - named
    for item in items:
        if item.path in long:
            item.add_marker("campaign")


_LOOPBACK = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}

for _name in list(os.environ):
    if _name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_")) and _name != "PROMPTOPT_SHARED_DATA":
        del os.environ[_name]
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGSMITH_TEST_TRACKING"] = "false"
os.environ["LANGSMITH_CONFIG_FILE"] = os.path.join(os.sep, "nonexistent", "langsmith.json")
os.environ["HF_HUB_OFFLINE"] = "1"

_real_connect = socket.socket.connect
_real_getaddrinfo = socket.getaddrinfo


def _guarded_connect(self, address):
    host = address[0] if isinstance(address, tuple) else "unix"
    if self.family != socket.AF_UNIX and host not in _LOOPBACK:
        msg = f"a test tried to reach {host!r}"
        raise AssertionError(msg)
    return _real_connect(self, address)


def _guarded_getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name not in _LOOPBACK:
        msg = f"a test tried to look up {name!r}"
        raise AssertionError(msg)
    return _real_getaddrinfo(host, *args, **kwargs)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", _guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", _guarded_getaddrinfo)
    yield
    if "langsmith.utils" in sys.modules:  # it remembers the settings it has read
        sys.modules["langsmith.utils"].get_env_var.cache_clear()
        sys.modules["langsmith.utils"].get_tracer_project.cache_clear()
