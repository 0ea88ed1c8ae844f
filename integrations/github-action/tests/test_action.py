"""Both actions with their files, on this machine, in a git repository with a pull request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "tests")]

from runner import run_action

from tests.support.pipeline_task import GOOD, PROMPT, write_task

for name in list(os.environ):
    if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "PROMPTOPT_", "GITHUB_")):
        del os.environ[name]
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
os.environ["LANGSMITH_TRACING"] = "false"
MARKER = "<!-- promptopt-gate -->"


def git(repo, *args):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    done = subprocess.run(["git", *identity, *args], cwd=repo, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path):
    """A repository with prompt, rows and configuration, one commit old."""
    from langchain_promptopt.config import toml_text

    folder = tmp_path / "repo with space"
    config = write_task(folder)
    (folder / "promptopt.toml").write_text(toml_text(config))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "prompt.txt", "rows.jsonl", "promptopt.toml")
    git(folder, "commit", "-qm", "first")
    return folder


def act(repo, tmp_path, which, **given):
    temp = tmp_path / f"runner-{len(list(tmp_path.iterdir()))}"
    temp.mkdir()
    inputs = {name.replace("_", "-"): value for name, value in given.items()}
    github = {"event.pull_request.base.sha": git(repo, "rev-parse", "main")}
    return run_action(HERE / which, repo, inputs, github, temp)


def propose(repo, **files):
    git(repo, "checkout", "-qb", "proposal")
    for name, text in files.items():
        (repo / name.replace("_", ".")).write_text(text)
        git(repo, "add", name.replace("_", "."))
    git(repo, "commit", "-qm", "a better prompt?")


def test_optimize_reports_a_gain(repo, tmp_path):
    ran = act(repo, tmp_path, "optimize", args='--prompts "out dir" --seed 3')
    assert ran.code == 0, ran.log
    assert (ran.outputs["outcome"], ran.outputs["exit-code"]) == ("improved", "0")
    assert float(ran.outputs["difference"]) == 0.5
    comment = (repo / "promptopt-comment.md").read_text()
    assert comment.startswith(MARKER)
    assert ran.summary == comment
    assert (repo / "promptopt-junit.xml").is_file()
    assert (repo / "out dir").is_dir()
    assert (repo / ".promptopt" / "runs" / ran.outputs["run-id"]).is_dir()


def test_no_gain_fails_only_when_asked(repo, tmp_path):
    quiet = act(repo, tmp_path, "optimize", args='--freeze "## Rules"')
    assert (quiet.code, quiet.outputs["outcome"], quiet.outputs["exit-code"]) == (0, "no_gain", "3")
    strict = act(repo, tmp_path, "optimize", args='--freeze "## Rules"', fail_on_no_gain="true")
    assert strict.code == 3


def test_a_wrong_configuration_fails_and_says_so_in_the_job(repo, tmp_path):
    ran = act(repo, tmp_path, "optimize", args="--method lpo-pe")
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed")
    assert "::error title=promptopt::" in ran.log
    assert "lpo-pe2" in ran.summary


def test_inputs_cannot_become_commands(repo, tmp_path):
    ran = act(repo, tmp_path, "optimize", comment="x$(touch pwned).md", args="--seed 1; touch pwned")
    assert not (repo / "pwned").exists()
    assert ran.code == 2
    hurt = act(repo, tmp_path, "compare", prompts="$(touch pwned) `touch pwned`")
    assert not (repo / "pwned").exists()
    assert hurt.outputs["outcome"] == "unchanged"


def test_compare_approves_a_better_prompt(repo, tmp_path):
    propose(repo, prompt_txt=GOOD)
    ran = act(repo, tmp_path, "compare", prompts="prompt.txt")
    assert ran.code == 0, ran.log
    assert ran.outputs == {"outcome": "improved", "compared": "1"}
    comment = (repo / "promptopt-comment.md").read_text()
    assert comment.startswith(MARKER)
    assert "- billing\n+ delivery" in comment
    assert "improved" in ran.summary


def test_compare_stops_a_worse_prompt(repo, tmp_path):
    git(repo, "checkout", "-q", "main")
    (repo / "prompt.txt").write_text(GOOD)
    git(repo, "commit", "-qam", "good")
    propose(repo, prompt_txt=PROMPT)
    ran = act(repo, tmp_path, "compare", prompts="*.txt")
    assert ran.code == 3, ran.log
    assert ran.outputs["outcome"] == "worse"
    assert "::error title=promptopt::worse" in ran.log
    assert "Rows that got worse: 12 of 24" in (repo / "promptopt-comment.md").read_text()
    assert act(repo, tmp_path, "compare", prompts="*.txt", fail_on="never").code == 0


def test_compare_leaves_untouched_prompts_alone(repo, tmp_path):
    propose(repo, README_md="hello")
    ran = act(repo, tmp_path, "compare", prompts="prompt.txt")
    assert (ran.code, ran.outputs) == (0, {"outcome": "unchanged", "compared": "0"})
    assert "No prompt was touched" in (repo / "promptopt-comment.md").read_text()
    assert not (repo / ".promptopt").exists()


def test_several_prompts_are_judged_together(repo, tmp_path):
    (repo / "second prompt.txt").write_text(GOOD)
    git(repo, "add", "second prompt.txt")
    git(repo, "commit", "-qm", "second")
    git(repo, "checkout", "-qb", "proposal")
    (repo / "prompt.txt").write_text(GOOD)
    (repo / "second prompt.txt").write_text(PROMPT)
    git(repo, "commit", "-qam", "one better, one worse")
    ran = act(repo, tmp_path, "compare", prompts="*.txt")
    assert (ran.code, ran.outputs) == (3, {"outcome": "worse", "compared": "2"})
    comment = (repo / "promptopt-comment.md").read_text()
    assert comment.count(MARKER) == 1
    assert comment.count("Rows that got worse") == 2
    assert {p.name for p in repo.glob("promptopt-junit*")} == {"promptopt-junit.xml", "promptopt-junit-2.xml"}


def test_a_comparison_that_cannot_start_fails(repo, tmp_path):
    propose(repo, prompt_txt="Choose. {nothing}")
    ran = act(repo, tmp_path, "compare", prompts="prompt.txt")
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed"), ran.log
    assert "nothing" in (repo / "promptopt-comment.md").read_text()


def test_the_example_workflow_uses_inputs_that_exist():
    import yaml

    for path in (HERE / "example").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        steps = [s for job in workflow["jobs"].values() for s in job["steps"] if "github-action" in s.get("uses", "")]
        assert steps, path
        for one in steps:
            folder = one["uses"].partition("@")[0].rpartition("/")[2]
            known = yaml.safe_load((HERE / folder / "action.yml").read_text())["inputs"]
            assert one.get("with", {}).keys() <= known.keys(), path
