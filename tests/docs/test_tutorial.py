"""The tutorial, word by word: its first block and then its commands, in one folder, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


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
