"""Types cannot be waved through (style H16): each snippet below is wrong, and mypy says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RIGHT = """
from langchain_core.prompts import PromptTemplate
from langchain_promptopt import Budget, Gate, PromptOptimizer, Recipe, compare, optimize
from langchain_promptopt.presets import lpo, recipe_of
from langchain_promptopt.protocols import Memory
from langchain_promptopt.strategies.memory import NoMemory
from langchain_promptopt.types import Edit, Span

def chain(row: dict[str, str]) -> str: return ""
def score(outputs: dict[str, str]) -> bool: return True
budget = Budget(usd=5, calls=100)
gate = Gate(primary="exact_match", guards={"policy": 0.05}, alpha=0.05, repeats=2)
recipe: Recipe = lpo(recipe_of("pe2"))
memory: Memory = NoMemory()
edit = Edit(Span("main", 0, 3, 8), "brief", "exact", "why", ("row-1",))
outcome: str = optimize(chain, data=[], evaluators=[], optimizer_model="offline").outcome
rows = [{"inputs": {"q": "a"}, "outputs": {"answer": "b"}}]
optimize(chain, data={"train": rows, "test": rows}, evaluators={"m": score}, optimizer_model=("client", "m"), gate={})
optimize(PromptTemplate.from_template("{q}"), data="name", evaluators="exact_match", optimizer_model="x", freeze="## A")
compare("old {q}", "new {q}", data=rows, evaluators=score, task_model="offline", budget=Budget(usd=1))
PromptOptimizer(data=rows, evaluators=[score], optimizer_model="offline", apply="never")
"""
WRONG = {
    "a budget is a number": "Budget(usd='five')",
    "a budget has no other limits": "Budget(euros=5)",
    "a gate is not positional": "Gate('exact_match')",
    "guards are margins": "Gate(guards=['policy'])",
    "a way to apply is one of three": "optimize(chain, data=[], evaluators=[], optimizer_model='x', apply='maybe')",
    "data is not left out": "optimize(chain, evaluators=[], optimizer_model='x')",
    "all but the chain is named": "optimize(chain, [], [], 'x')",
    "a seed is a number": "optimize(chain, data=[], evaluators=[], optimizer_model='x', seed='a')",
    "values are frozen": "budget.usd = 3",
    "edits are frozen": "edit.new = 'other'",
    "a span is in one message": "Span('main', 'first', 3, 8)",
    "an edit has a span": "Edit((3, 8), 'brief', 'exact', 'why', ('row-1',))",
    "a recipe has every axis": "Recipe(name='half', source='mine')",
    "lpo takes a recipe": "lpo('pe2')",
    "a memory retrieves": "broken: Memory = object()",
    "there is no argument of that name": "optimize(chain, data=[], evaluators=[], optimizer_model='x', bugdet=budget)",
    "a chain is a chain": "optimize(object(), data=[], evaluators=[], optimizer_model='x')",
    "data is no number": "optimize(chain, data=3, evaluators=[], optimizer_model='x')",
    "rows are mappings": "optimize(chain, data=[1, 2], evaluators=[], optimizer_model='x')",
    "an evaluator is no number": "optimize(chain, data=[], evaluators=[1], optimizer_model='x')",
    "a model is no number": "optimize(chain, data=[], evaluators=[], optimizer_model=3)",
    "a budget is no number": "optimize(chain, data=[], evaluators=[], optimizer_model='x', budget=5)",
    "a gate is no number": "optimize(chain, data=[], evaluators=[], optimizer_model='x', gate=0.05)",
    "freeze takes texts": "optimize(chain, data=[], evaluators=[], optimizer_model='x', freeze=[3])",
    "a comparison has no method": "compare('a', 'b', data=[], evaluators=[], method='robust')",
    "an optimizer has no other setting": "PromptOptimizer(data=[], evaluators=[], bugdet=budget)",
    "apply is no truth value": "PromptOptimizer(apply=False)",
    "a result's outcome is text": "n: int = optimize(chain, data=[], evaluators=[], optimizer_model='x').outcome",
}  # fmt: skip


def mypy(folder: Path, files: list[Path]) -> str:
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")
    command = [
        sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini", "--no-error-summary", "--cache-dir",
        ROOT / ".mypy_cache" / "types", *files,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> str:
    """What mypy says about all snippets in one go: starting it is what takes time."""
    folder = tmp_path_factory.mktemp("types")
    files = [folder / "right.py"]
    files[0].write_text(RIGHT)
    for i, line in enumerate(WRONG.values()):
        files.append(folder / f"wrong_{i}.py")
        files[-1].write_text(RIGHT + line + "\n")
    return mypy(folder, files)


@pytest.mark.timeout(400)
def test_what_is_right_type_checks(said):
    assert "right.py" not in said, said


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", range(len(WRONG)), ids=list(WRONG))
def test_what_is_wrong_does_not(said, number):
    last = RIGHT.count("\n") + 1
    assert f"wrong_{number}.py:{last}: error:" in said
