"""What the verbs that run print, character for character, at four widths.

After a wanted change: WRITE_SNAPSHOTS=1 python -m pytest tests/unit/test_cli_snapshots_of_runs.py, then read the diff.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run
from tests.support.pipeline_task import write_task
from tests.unit.test_cli_snapshots import assert_as_kept

TASK = ("--data", "rows.jsonl", "--task-model", "offline", "--evaluator", "exact_match")
SEARCH = ("--model", "offline", "--method", "lpo-pe2")
QUIET = ("--set", "optimize.progress=false")
FACES = {
    "init": ("init", "prompt.txt", "--data", "rows.jsonl", "--task-model", "offline", "--model", "offline", "--force"),
    "prompts": ("prompts", "prompt.txt", "--data", "rows.jsonl", "--task-model", "offline"),
    "check": ("check", "prompt.txt", *TASK, *SEARCH),
    "optimize": ("optimize", "prompt.txt", *TASK, *SEARCH, *QUIET),
    "compare": ("compare", "prompt.txt", "new.txt", *TASK, *QUIET),
    "budget": ("optimize", "prompt.txt", *TASK, *SEARCH, *QUIET, "--calls", "20"),
    "wrong": ("check", "prompt.txt", *TASK, *SEARCH, "--evaluator", "exact_mach"),
}
RUN = "c0ffee12ab34cd56"
"""Stands for ids of runs, which differ from version to version."""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path)
    old = Path("prompt.txt").read_text("utf-8")
    Path("new.txt").write_text(old.replace('"refund", answer billing', '"refund", answer delivery'), "utf-8")
    return tmp_path


@pytest.mark.parametrize("face", FACES)
def test_what_a_verb_prints_is_as_it_was_and_no_wider_than_the_terminal(project, capfd, monkeypatch, face):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def drawn():
        """Remarks, then the answer, without the line that names the folder of the run."""
        shutil.rmtree(".promptopt", ignore_errors=True)
        for name in ("promptopt.openings.jsonl", "promptopt.toml"):
            Path(name).unlink(missing_ok=True)
        run(FACES[face])
        out, err = capfd.readouterr()
        said = re.sub(r"^record and report:.*", "", err.replace(str(project) + "/", ""), flags=re.M | re.S)
        return re.sub(r"\b[0-9a-f]{16}\b", RUN, f"{said}{'-' * 5} answer\n{out}")

    assert_as_kept(face, monkeypatch, drawn)
