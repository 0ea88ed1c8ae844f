"""What the documents show runs: every example, every Python block, every verb and flag that is typed out."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run as promptopt

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md", ROOT / "skills/langchain-promptopt/SKILL.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
OFFLINE = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
        raise AssertionError(f"an example tried to reach {address!r}")
    return _connect(self, address)
socket.socket.connect = connect
"""


def fenced(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block. `python excerpt` is part of a program: it must parse, and is not run."""
    return re.findall(r"^```([^\n`]*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


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


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        texts = [text for name, text in fenced(page) if name == language]
        found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}") for i, text in enumerate(texts)]
    return found


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
    assert len(blocks("python")) >= 2


@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_runs_offline(path, tmp_path):
    source = f"import runpy\nrunpy.run_path({str(path)!r}, run_name='__main__')\n"
    assert python(source, tmp_path).strip(), "an example shows something"
    text = path.read_text("utf-8")
    assert "test server of this repository" in text or "tests" not in re.findall(r"^(?:from|import) (\w+)", text, re.M)
    assert path.read_text("utf-8").startswith('"""'), "an example says what it shows"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("block", blocks("python"))
def test_every_python_block_runs_offline(block, tmp_path):
    said = python(block, tmp_path)
    for promised in re.findall(r"^print\(result\)  # (<.*) \.\.\.>$", block, re.M):
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


@pytest.mark.parametrize("block", blocks("python excerpt"))
def test_every_excerpt_is_python(block):
    ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands() -> list[str]:
    """Lines of the documents that start with `promptopt`, without comment, pipe and redirection."""
    out = []
    for page in PAGES:
        for line in (
            line for name, text in fenced(page) if not name.startswith("python") for line in text.splitlines()
        ):
            command = re.split(r"\s#|\s[|>]", line.strip().removeprefix("$ "))[0].strip()
            if command.startswith("promptopt "):
                out.append(command)
    return sorted(set(out))


@pytest.mark.parametrize("command", commands())
def test_every_command_that_is_shown_exists(command, capfd):
    """The verb is there, and its help knows every flag of the line."""
    verb, *words = command.split()[1:]
    assert promptopt([verb, "--help"]) == 0
    text = capfd.readouterr().out
    for flag in (w.partition("=")[0] for w in words if w.startswith("--")):
        assert re.search(rf"{flag}\b", text), f"{verb} has no {flag}"


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
