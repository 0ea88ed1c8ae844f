"""The tutorial and the README, word by word: their commands one after the other, in one folder, without a network."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run
from langchain_promptopt.offline import demo_prompt, demo_rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"


@pytest.mark.timeout(240)
def test_the_commands_of_the_tutorial_do_what_it_says(tmp_path, monkeypatch, capfd):
    text = PAGE.read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"^```python\n(.*?)^```", text, re.M | re.S).group(1), {})
    blocks = re.findall(r"^```([^\n`]*)\n(.*?)^```$", text, re.M | re.S)
    lines = [line for name, block in blocks if not name for line in block.splitlines()]
    assert [line.split()[1] for line in lines] == ["init", "check", "optimize", "show", "report", "diff", "apply"]
    before, said = Path("prompt.txt").read_text("utf-8"), {}
    for line in lines:
        words = line.split()[1:]
        assert run(words) == 0, line
        said[words[0]] = capfd.readouterr().out
    assert "data.inputs: ticket = Body" in said["init"]
    assert "What the test can show" in said["check"]
    assert "Improved" in said["optimize"]
    assert Path(said["report"].strip()).name == "report.html"
    assert said["diff"].startswith("diff --git a/prompt.txt b/prompt.txt")
    assert Path("prompt.txt").read_text("utf-8") != before


CHAIN = """from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt.offline import offline_model

PROMPT = \"\"\"\\
{prompt}\"\"\"
chain = ChatPromptTemplate.from_template(PROMPT) | offline_model("task") | StrOutputParser()
"""


IDENTITY = "git config user.name Ada && git config user.email ada@example.org"


def git(*words, **given):
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, **given).stdout.decode()


def write_tickets(path: Path) -> None:
    """A table as people have them: a number, the text, the answer and the split."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["nr", "ticket", "label", "split"])
        for number, row in enumerate(demo_rows()):
            table.writerow([number, row["inputs"]["ticket"], row["outputs"]["label"], row["metadata"]["split"]])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a chain in Python, its prompt once more in a file, and examples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_app").mkdir()
    Path("prompts").mkdir()
    Path("my_app/chain.py").write_text(CHAIN.replace("{prompt}", demo_prompt()), "utf-8")
    Path("prompts/triage.yaml").write_text("human: |\n" + re.sub("^(?=.)", "  ", demo_prompt(), flags=re.M), "utf-8")
    write_tickets(Path("tickets.csv"))
    git("init", "--quiet", "--initial-branch", "main", ".")
    git("add", "-A")
    git("commit", "--quiet", "-m", "The app")
    yield tmp_path
    for name in ("my_app", "my_app.chain"):
        sys.modules.pop(name, None)


def blocks(page: Path) -> list[list[str]]:
    """The lines of each block of commands, without their comments."""
    found = re.findall(r"^```\n(promptopt .*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [[re.split(r"\s+#", line)[0].strip() for line in block.splitlines()] for block in found]


def test_the_readme_shows_what_the_demo_prints(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    assert run(["demo"]) == 0
    said = re.sub(r"[│\s]+", " ", capfd.readouterr().out)
    shown = re.search(r"each edit:\n```\n\n```\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S).group(
        1
    )
    for line in shown.splitlines():
        assert re.sub(r"\s+", " ", line.removesuffix("[...]")).strip() in said


@pytest.mark.timeout(400)
def test_the_commands_of_the_readme_lead_from_a_chain_to_a_pull_request(project, capfd):
    """A branch with the new prompt in the code, and the text that a reviewer reads; the page has more commands."""
    lines, (applied, compared) = blocks(ROOT / "docs" / "howto" / "pull-request.md")
    [short] = [block for block in blocks(ROOT / "README.md") if len(block) > 1]
    assert short == [line for line in lines if line in short]
    git("switch", "--quiet", "--create", "better-prompt")
    old, said = Path("my_app/chain.py").read_text("utf-8"), {}
    for line in [*lines, applied]:
        if line.startswith("git add"):
            assert subprocess.run(f"{IDENTITY} && {line}", shell=True, check=False, capture_output=True).returncode == 0
            continue
        words, piped = shlex.split(line.partition("|")[0])[1:], line.partition("|")[2].split()
        assert run(words) == 0, line
        said[words[0]] = capfd.readouterr().out
        if piped:
            assert piped == ["git", "apply"]
            git("apply", input=said[words[0]].encode())
    new = Path("my_app/chain.py").read_text("utf-8")
    assert new != old
    assert compile(new, "chain.py", "exec")
    assert "## ✅ Prompt optimization: improved" in said["report"]
    assert git("diff", "--name-only").split() == ["prompts/triage.yaml"]  # `apply`, after the commit
    committed = git("show", "--stat", "--format=%B")
    assert "my_app/chain.py" in committed
    assert ".promptopt/" not in committed  # records of runs stay out, the record of looks at the test goes along
    assert "promptopt.openings.jsonl" in committed
    for name, source in (("old.txt", old), ("new.txt", new)):
        Path(name).write_text(source.split('"""')[1].removeprefix("\\\n"), "utf-8")
    assert run(shlex.split(compared)[1:]) in {0, 3}
    assert "exact_match" in capfd.readouterr().out
