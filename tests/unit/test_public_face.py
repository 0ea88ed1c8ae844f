"""The public face: what users type, all of it importable, none of it paid for by `import langchain_promptopt`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.resources import files

import pytest

import langchain_promptopt
from langchain_promptopt import evaluators

HEAVY = ("openai", "datasets", "langsmith", "pydantic", "langchain_core", "langchain_openai", "jinja2", "rich", "numpy")
CONTRACT = (
    "optimize", "aoptimize", "compare", "PromptOptimizer", "Budget", "Gate", "Recipe", "presets", "load_prompts",
    "tunable", "TextualGradient", "IdentifyTokens", "LocalProposal", "GlobalProposal", "TrajectoryRetriever",
    "run_step", "evaluators",
)  # fmt: skip
"""The names of product.md section 3, and the one that pipelines call (10.8)."""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_can_be_seen_is_what_is_promised():
    assert {n for n in dir(langchain_promptopt) if not n.startswith("_")} == set(langchain_promptopt.__all__)
    assert len(langchain_promptopt.__all__) == len(set(langchain_promptopt.__all__))


@pytest.mark.parametrize("name", langchain_promptopt.__all__)
def test_every_promised_name_is_there(name):
    assert getattr(langchain_promptopt, name) is not None


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_is_promised(name):
    assert name in langchain_promptopt.__all__


def test_a_star_import_gives_the_same_names():
    names = python(
        "before = set(dir())\nfrom langchain_promptopt import *\n"
        "print(*sorted(set(dir()) - before - {'before', '__annotations__'}))"
    )
    assert names.split() == sorted(langchain_promptopt.__all__)


def test_no_module_hides_behind_a_name():
    """A submodule becomes an attribute of its package when it is imported, and would win over a function's name."""
    said = python(
        "import pkgutil, importlib, langchain_promptopt as p\n"
        "from langchain_promptopt import *\n"
        "for m in list(pkgutil.iter_modules(p.__path__)):\n"
        "    if m.name != '__main__': importlib.import_module(f'langchain_promptopt.{m.name}')\n"
        "import types\n"
        "print([n for n in p.__all__ if isinstance(getattr(p, n), types.ModuleType)])"
    )
    assert said == "['evaluators', 'presets']"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="optimise"):
        langchain_promptopt.optimise  # noqa: B018
    with pytest.raises(ImportError):
        exec("from langchain_promptopt import optimise")


@pytest.mark.parametrize("name", ["exact_match", "number_match", "choice_match", "label_match", "rouge_l"])
def test_the_built_in_evaluators_are_there(name):
    assert callable(getattr(evaluators, name))
    assert name in evaluators.__all__


def test_importing_the_package_loads_nothing_heavy():
    loaded = python(f"import sys, langchain_promptopt\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert loaded == "[]"


def test_only_what_is_used_is_loaded():
    loaded = python(
        "import sys\nfrom langchain_promptopt import Budget, Gate, Recipe\nBudget(usd=1), Gate(alpha=0.1)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert loaded == "[]"
    loaded = python(
        "import sys\nfrom langchain_promptopt import TextualGradient, optimize, presets\n"
        "print(sorted({'openai', 'datasets', 'langchain_openai', 'rich'} & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_the_package_says_that_it_is_typed():
    assert files("langchain_promptopt").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", ["optimizer", "steps", "recipe", "store", "gate", "offline", "testing", "pipeline"])
def test_the_rooms_promise_only_what_they_have(name):
    room = importlib.import_module(f"langchain_promptopt.{name}")
    assert all(hasattr(room, n) for n in getattr(room, "__all__", ()))
