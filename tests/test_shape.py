"""Size is a budget (style H20): measured over the whole package, so that it cannot grow by degrees."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "langchain_promptopt"
FILES = sorted(PACKAGE.rglob("*.py"))
FACADES = {"optimize"}
"""Functions whose parameters are the words users type."""


@dataclass(frozen=True)
class Function:
    """One function: where it stands and what it measures."""

    place: str
    name: str
    lines: int
    parameters: int


def code_lines(node: ast.AST, text: list[str]) -> int:
    """Lines of code from `def` to the end: no docstring, no blank lines, no comments."""
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    skipped = range(first.lineno, first.end_lineno + 1) if said else ()
    numbers = (i for i in range(node.lineno, node.end_lineno + 1) if i not in skipped)
    return sum(bool(line) and not line.startswith("#") for i in numbers if (line := text[i - 1].strip()) is not None)


def functions() -> list[Function]:
    out = []
    for path in FILES:
        text = path.read_text("utf-8").split("\n")
        for node in ast.walk(ast.parse("\n".join(text))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                own = [a for a in given if a.arg not in {"self", "cls"}]
                place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                out.append(Function(place, node.name, code_lines(node, text), len(own)))
    return out


ALL = functions()


def test_there_is_something_to_measure():
    assert len(FILES) > 100
    assert len(ALL) > 500


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= 400


def test_most_files_are_usual():
    long = [p for p in FILES if len(p.read_text("utf-8").splitlines()) > 300]
    assert len(long) <= len(FILES) // 20, [str(p.relative_to(PACKAGE)) for p in long]


def test_no_function_is_long():
    assert [f for f in ALL if f.lines > 50 and f.name not in FACADES] == []


def test_most_functions_are_small():
    sizes = [f.lines for f in ALL]
    assert median(sizes) <= 6
    assert quantiles(sizes, n=10)[-1] <= 25


def test_functions_take_few_parameters():
    wide = [f for f in ALL if f.parameters > 6 and f.name not in FACADES | {"__init__"}]
    assert len(wide) <= len(ALL) // 100, wide
    assert max(f.parameters for f in ALL if f.name not in FACADES) <= 10


def test_no_import_of_the_package_root_from_inside():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert "langchain_promptopt" not in {a.name for a in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert node.module != "langchain_promptopt", path
                assert node.level == 0, path


def test_exceptions_are_caught_by_name():
    """Style H8: `except Exception` stands only where code of the user is called, and says so."""
    broad = []
    for path in FILES:
        text = path.read_text("utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(text))):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"BaseException"}
                )
                raised = any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(node))
                if names & {"Exception", "BaseException"} and not raised and "BLE001" not in text[node.lineno - 1]:
                    broad.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert broad == []


def test_nothing_is_left_for_later():
    for path in FILES:
        text = path.read_text("utf-8")
        to_override = path.parent.name == "testing"  # fixtures of conformance classes
        for mark in ("TO" + "DO", "FIX" + "ME", *(() if to_override else ("raise NotImplemented",))):
            assert mark not in text, f"{mark} in {path.relative_to(PACKAGE)}"


def test_the_library_never_prints():
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] in {"cli", "__main__.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), f"{path}:{node.lineno}"


def test_inheritance_is_flat():
    """Our classes inherit at most once from ours, errors excepted (style H20)."""
    bases: dict[str, set[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and path.name not in {"errors.py"}:
                named = {b.value if isinstance(b, ast.Subscript) else b for b in node.bases}
                bases[node.name] = {b.id for b in named if isinstance(b, ast.Name)}
    deep = {
        name: sorted(grand)
        for name, parents in bases.items()
        if (grand := {g for p in parents & bases.keys() for g in bases[p] & bases.keys()})
        and not name.endswith(("Error", "Tests"))
        and not grand & {"Protocol", "Event"}  # kinds of journal events share their fields
    }
    assert len(deep) <= 3, deep
