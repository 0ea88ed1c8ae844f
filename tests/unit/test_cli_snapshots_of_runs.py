"""What the verbs that run print, character for character, at four widths.

After a wanted change: WRITE_SNAPSHOTS=1 python -m pytest tests/unit/test_cli_snapshots_of_runs.py, then read the diff.
"""

from __future__ import annotations

import json
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


def test_a_split_that_was_made_here_is_named_in_every_output(project, capfd):
    """Data without a dev split lends part of train to dev. Nobody reads a result without being told."""
    rows = Path("rows.jsonl").read_text("utf-8").replace('"split": "dev"', '"split": "train"')
    Path("rows.jsonl").write_text(rows, "utf-8")
    task = (*TASK, *SEARCH)

    def said(*words):
        assert run(words) == 0
        return capfd.readouterr()

    assert "dev   " in (first := said(*FACES["init"]).out)
    assert "from train" in first
    Path("promptopt.toml").unlink()
    sizes = re.search(r"train (\d+), dev (\d+) from train, test 24", said("check", "prompt.txt", *task).out)
    shown = sizes.group()
    answers = [json.loads(said("check", "prompt.txt", *task, "--json").out)]
    ran = said("optimize", "prompt.txt", *task)
    assert ran.err.startswith("run ")
    assert shown in ran.err.splitlines()[0]
    assert shown in " ".join(ran.out.replace("│", " ").split())
    answers += [json.loads(said("optimize", "prompt.txt", *task, "--json").out)]
    answers += [json.loads(said("show", "latest", "--json").out)]
    for answer in answers:
        assert answer["splits_made"] == {"dev": "from train"}
        assert answer["splits"] == {"train": int(sizes[1]), "dev": int(sizes[2]), "test": 24}
    assert shown in " ".join(said("show", "latest").out.replace("│", " ").split())
    assert shown in said("report", "latest", "--format", "markdown").out
    page = Path(said("report", "latest").out.strip()).read_text("utf-8")
    assert page.count(shown) == 2
    ran = said("compare", "prompt.txt", "new.txt", *TASK, "--json")
    assert json.loads(ran.out)["splits_made"] == {"dev": "from train"}
    assert shown in ran.err.splitlines()[0]
