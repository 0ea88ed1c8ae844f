"""What is loaded, and what is not, at the three moments people wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "openai",
    "langchain_openai",
    "datasets",
    "langchain",
    "scipy",
    "pandas",
    "numpy",
    "pyarrow",
    "jinja2",
    "requests",
}
HEAVY |= {"httpx", "httpx2", "ruamel.yaml", "sqlite3"}


def _loaded(code):
    """Modules in `sys.modules` after `code` ran in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("code", ["import langchain_promptopt", "import langchain_promptopt as p; dir(p); p.__all__"])
def test_the_package_itself_loads_nothing(code):
    loaded = _loaded(code)
    assert not loaded & (HEAVY | {"langchain_core", "langsmith", "pydantic", "typer", "rich"})
    assert {m for m in loaded if m.startswith("langchain_promptopt")} == {"langchain_promptopt"}


def test_optimize_loads_what_it_runs_with_when_it_is_called():
    loaded = _loaded("from langchain_promptopt import optimize")
    assert not loaded & (HEAVY | {"langchain_core", "langsmith", "pydantic"})


def test_help_loads_typer_and_nothing_of_ours_that_is_heavy():
    loaded = _loaded("from langchain_promptopt.cli.app import run\nassert run(['--help']) == 0")
    assert not loaded & (HEAVY | {"langchain_core", "langsmith", "pydantic"})


def test_settings_of_the_core_load_no_model_client():
    loaded = _loaded("from langchain_promptopt import Budget, Gate, Recipe, presets\npresets")
    assert not loaded & {"openai", "langchain_openai", "datasets", "langchain", "pandas", "scipy"}
