"""What the documents show runs: every example, every Python block, every link and list."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run as promptopt
from tests.docs.before_pages import BEFORE
from tests.docs.pages import PAGES, ROOT, code_of, fenced

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
OFFLINE = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
        raise AssertionError(f"an example tried to reach {address!r}")
    return _connect(self, address)
socket.socket.connect = connect
"""


SHAPES = {
    "retrieval": "shapes/rag.py",
    "router": "shapes/router.py",
    "map-reduce": "shapes/map_reduce.py",
    "critique": "shapes/critique.py",
    "structured extraction": "shapes/extraction.py",
    "tool chain": "shapes/tool_chain.py",
    "trajectory": "shapes/trajectory.py",
    "`create_agent`": "agents_and_graphs.py",
    "graph with a subgraph": "agents_and_graphs.py",
    "chat with a checkpointer": "shapes/chat.py",
    "configuration class": "shapes/configuration.py",
    "plain `openai` code": "shapes/plain_openai.py",
}


def test_the_page_of_agents_names_an_example_for_each_shape():
    page = (ROOT / "docs" / "howto" / "agents.md").read_text("utf-8")
    for shape, name in SHAPES.items():
        assert f"| {shape} | `examples/{name}` |" in page
        text = (ROOT / "examples" / name).read_text("utf-8")
        assert all(word in text for word in ('"improved"', "result.revert()", "byte for byte"))


def python(source: str, folder: Path) -> str:
    """Run it as a program of its own, in an empty folder, without a network or a key."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"PYTHONPATH": str(ROOT), "LANGSMITH_TRACING": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE + source], capture_output=True, text=True, check=False, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_there_are_examples_and_blocks():
    assert len(EXAMPLES) >= 5
    assert len(PROGRAMS) >= 10


@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_runs_offline(path, tmp_path):
    source = f"import runpy\nrunpy.run_path({str(path)!r}, run_name='__main__')\n"
    assert python(source, tmp_path).strip(), "an example shows something"
    text = path.read_text("utf-8")
    assert "test server of this repository" in text or "tests" not in re.findall(r"^(?:from|import) (\w+)", text, re.M)
    assert path.read_text("utf-8").startswith('"""'), "an example says what it shows"


PROGRAMS = {page.relative_to(ROOT).as_posix(): "\n".join(code_of(page)) for page in PAGES if code_of(page)}
"""The Python blocks of each page, one after the other: a page is one program, begun by `before_pages`."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", list(PROGRAMS))
def test_every_python_block_runs_offline(page, tmp_path):
    before = f"from tests.docs import before_pages\nglobals().update(before_pages.BEFORE[{page!r}]())\n"
    after = "\nassert globals().get('result') is None or result.outcome == 'improved', result\n"
    said = python((before if page in BEFORE else "") + PROGRAMS[page] + after, tmp_path)
    for promised in re.findall(r"^print\(result\)  # (<.*) \.\.\.>$", PROGRAMS[page], re.M):
        assert promised in said


@pytest.mark.timeout(240)
def test_the_tutorial_notebook_runs_offline(tmp_path):
    """The code cells one after the other, as a kernel runs them; results of cells are shown as a kernel shows them."""
    cells = json.loads((ROOT / "examples" / "tutorial.ipynb").read_text("utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(codes) >= 5
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), "saved without outputs"
    source = f"""
import ast
scope = {{"__name__": "__main__"}}
for cell in {codes!r}:
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), scope)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), scope)
        print(getattr(value, "_repr_html_", lambda: repr(value))())
"""
    shown = python(source, tmp_path)
    assert ">Improved</strong>" in shown
    assert "These scores say nothing about real models." in shown
    assert "improved 0." in shown
    assert {path.name for path in tmp_path.iterdir()} >= {"tickets.csv", "prompts", "report.html"}


def test_no_block_is_of_a_kind_that_nothing_tries():
    kinds = {name for page in PAGES for name, _ in fenced(page)}
    assert kinds <= {"", "sh", "text", "python", "toml", "json", "yaml"}
    assert set(BEFORE) <= set(PROGRAMS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_fits_on_one_screen():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 52
    assert max(map(len, lines)) <= 126


def test_the_list_of_verbs_on_the_page_is_whole(capfd):
    assert promptopt(["--help"]) == 0
    known = set(re.findall(r"^  ([a-z]+)  ", capfd.readouterr().out, re.M))
    text = (ROOT / "docs" / "howto" / "pull-request.md").read_text("utf-8")
    listed = re.search(r"`promptopt ([a-z]+ \|[a-z |\n]+)`", text).group(1)
    assert {word.strip() for word in listed.split("|")} == known


def test_the_architecture_page_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for path in (ROOT / "langchain_promptopt").iterdir():
        if path.name.startswith("__") or path.name in {"py.typed", "metaprompts"}:
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"`{name}`" in text, f"docs/architecture.md does not say what {name} is"


def test_the_layers_on_the_page_are_those_that_are_checked():
    """The table of rooms and the import contract tell the same order."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = re.search(r"^\| layer.*?\n\n", page, re.M | re.S).group().strip()
    shown = [sorted(re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1])) for line in table.splitlines()[2:]]
    contract = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.M | re.S).group(1)
    checked = [sorted(re.findall(r"\w+", line)) for line in contract.splitlines()]
    assert shown == checked
