"""Both actions with their files, on this machine, in a git repository with a pull request."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import junitparser
import pytest
import yaml

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "tests"), str(HERE)]

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
    assert '"refund", answer billing.\n+ - If the message mentions "refund", answer delivery.' in comment
    assert "Prompt comparison: improved" in comment
    assert "How to roll back" in comment
    assert "No reason was given" not in comment
    assert "optimizer model" not in comment
    assert "improved" in ran.summary


def test_compare_stops_a_worse_prompt(repo, tmp_path):
    git(repo, "checkout", "-q", "main")
    (repo / "prompt.txt").write_text(GOOD)
    git(repo, "commit", "-qam", "good")
    propose(repo, prompt_txt=PROMPT)
    ran = act(repo, tmp_path, "compare", prompts="*.txt")
    assert ran.code == 3, ran.log
    assert ran.outputs["outcome"] == "worse"
    assert "prompt.txt: worse" in annotations(ran.log)
    assert "Examples that got worse: 12 of 24" in (repo / "promptopt-comment.md").read_text()
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
    assert comment.count("Examples that got worse") == 2
    assert [comment.count(f"**Prompt `{name}`**") for name in ("prompt.txt", "second prompt.txt")] == [1, 1]
    assert {p.name for p in repo.glob("promptopt-junit*")} == {"promptopt-junit.xml", "promptopt-junit-2.xml"}


def test_a_comparison_that_cannot_start_fails(repo, tmp_path):
    propose(repo, prompt_txt="Choose. {nothing}")
    ran = act(repo, tmp_path, "compare", prompts="prompt.txt")
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed"), ran.log
    assert "nothing" in (repo / "promptopt-comment.md").read_text()


# ------------------------------------------------------------ a gate that cannot be opened by mistake


@pytest.mark.parametrize(
    ("which", "given", "said"),
    [
        ("compare", {"prompts": "prompt.txt", "base": "1" * 40}, "fetch-depth: 0"),
        ("compare", {"prompts": "prompt.txt", "base": ""}, "no base commit"),
        ("compare", {"prompts": "prompt.txt", "fail_on": "Wurse"}, "expected one of worse, not-improved, never"),
        ("compare", {"prompts": " "}, "`prompts` is empty"),
        ("optimize", {"args": "--usd 5 --freeze '## Rules"}, "`args` cannot be read"),
        ("optimize", {"fail_on_no_gain": "yes"}, "expected one of true, false"),
        ("optimize", {"config": ""}, "`config` is empty"),
    ],
)
def test_a_step_that_cannot_do_what_it_was_told_fails_and_says_why(repo, tmp_path, which, given, said):
    """Each of these used to be, or could be, a silent pass: no base commit, a lost budget flag, a typo in a word."""
    propose(repo, prompt_txt=GOOD)
    ran = act(repo, tmp_path, which, **given)
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed"), ran.log
    assert said in annotations(ran.log)
    assert ran.summary == (repo / "promptopt-comment.md").read_text()
    assert not (repo / ".promptopt").exists()


@pytest.mark.parametrize("which", ["compare", "optimize"])
def test_a_broken_configuration_is_told_and_no_older_verdict_is_left(repo, tmp_path, which):
    (repo / "promptopt.toml").write_text((repo / "promptopt.toml").read_text() + "[optimise]\nseed = 1\n")
    (repo / "promptopt-comment.md").write_text(f"{MARKER} improved, from yesterday")
    propose(repo, prompt_txt=GOOD)
    ran = act(repo, tmp_path, which, **({"prompts": "prompt.txt"} if which == "compare" else {}))
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed"), ran.log
    comment = (repo / "promptopt-comment.md").read_text()
    assert comment.startswith(MARKER)
    assert "optimise" in comment
    assert "yesterday" not in comment
    assert ran.log.count("::error title=promptopt::") == 1


def test_a_pull_request_without_secrets_fails_and_names_the_key(repo, tmp_path):
    """What a fork's pull request is: no key, so no verdict, and no passed gate."""
    path = repo / "promptopt.toml"
    path.write_text(path.read_text().replace('model = "offline"', 'model = "openai:gpt-4o-mini"', 1))
    propose(repo, prompt_txt=GOOD)
    ran = act(repo, tmp_path, "compare", prompts="prompt.txt")
    assert (ran.code, ran.outputs["outcome"]) == (2, "failed")
    assert "OPENAI_API_KEY is not set" in annotations(ran.log)
    assert "OPENAI" in (repo / "promptopt-comment.md").read_text()


def test_without_promptopt_the_step_says_what_to_install(repo, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "git"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(folder))
    ran = act(repo, tmp_path, "optimize")
    assert ran.code == 2
    assert "input `install`" in annotations(ran.log)


def test_a_renamed_prompt_is_compared_and_a_new_one_is_named(repo, tmp_path):
    git(repo, "checkout", "-qb", "proposal")
    git(repo, "mv", "prompt.txt", "triage ü.txt")
    (repo / "triage ü.txt").write_text(GOOD)
    (repo / "other.txt").write_text("New: {ticket}")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "moved")
    ran = act(repo, tmp_path, "compare", prompts="*.txt")
    assert ran.outputs == {"outcome": "improved", "compared": "1"}, ran.log
    assert "**Prompt `triage ü.txt`**" in (repo / "promptopt-comment.md").read_text()
    assert "left alone: 'other.txt'" in ran.log


def test_names_with_spaces_stand_on_lines_of_their_own(repo, tmp_path):
    folder = repo / "my prompts"
    folder.mkdir()
    (folder / "a b.txt").write_text(PROMPT)
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "second")
    git(repo, "checkout", "-qb", "proposal")
    (folder / "a b.txt").write_text(GOOD)
    git(repo, "commit", "-qam", "better")
    files = {"comment": "out dir/the comment.md", "junit": "out dir/j unit.xml", "config": "promptopt.toml"}
    ran = act(repo, tmp_path, "compare", prompts="my prompts/a b.txt\nnone at all.txt\n", **files)
    assert ran.outputs == {"outcome": "improved", "compared": "1"}, ran.log
    assert (repo / "out dir" / "the comment.md").is_file()
    assert (repo / "out dir" / "j unit.xml").is_file()


# ------------------------------------------------------------ text from outside


HOSTILE = "::error::pwned\n::set-output name=outcome::improved\n##[add-mask]refund\nEND\noutcome=improved"


def test_what_a_model_writes_is_no_command_and_no_output(repo, tmp_path):
    """Prompt, rows and replies carry lines that look like the runner's commands; all of them are off meanwhile."""
    hostile = PROMPT.replace("Choose the label", f"{HOSTILE}\nChoose the label")
    propose(repo, prompt_txt=hostile)
    for which, given, outcomes in (
        ("compare", {"prompts": "prompt.txt", "fail_on": "never"}, {"no_gain", "inconclusive"}),
        ("optimize", {}, {"improved"}),
        ("optimize", {"args": f"--freeze '{HOSTILE}'"}, {"failed"}),  # quoted in an error
    ):
        ran = act(repo, tmp_path, which, **given)
        obeyed = [line for line in commands(ran.log) if not line.startswith("::error title=promptopt::")]
        assert not obeyed, ran.log
        assert ran.outputs["outcome"] in outcomes
        assert ran.outputs.keys() <= {"outcome", "compared", "exit-code", "run-id", "difference"}
        assert (repo / "promptopt-comment.md").read_text().startswith(MARKER)


def commands(log):
    """The lines that the runner would obey: not those between stop-commands and its token."""
    token, out = "", []
    for line in log.splitlines():
        if token:
            token = "" if line == f"::{token}::" else token
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
            assert len(token) == 32  # nobody who wrote the prompt can know it
        elif line.lstrip().startswith("::") or "##[" in line:
            out.append(line)
    assert not token
    return out


def annotations(log):
    return "\n".join(line for line in commands(log) if line.startswith("::error title=promptopt::"))


def test_many_prompts_fit_into_one_comment():
    import verdict

    block = "x" * 998
    parts = ["\n\n" + "\n\n".join([f"prompt {n}", *[block] * size]) for n, size in enumerate([2, 60, 90, 1])]
    fit = verdict.fitted(parts, verdict.LIMIT)
    assert sum(map(len, fit)) <= verdict.LIMIT
    assert (fit[0], fit[3]) == (parts[0], parts[3])
    assert all(f"prompt {n}" in part for n, part in enumerate(fit))
    assert all("the whole report is in the job summary" in fit[n] for n in (1, 2))
    assert sum(map(len, fit)) > verdict.LIMIT * 0.95
    assert verdict.fitted(parts[:1], verdict.LIMIT) == parts[:1]


def test_a_broken_guard_is_worse():
    import verdict

    table = [{"role": "primary", "interval": [0.1, 0.3]}, {"role": "guard", "verdict": "broken"}]
    one = verdict.Decided("a.txt", 3, {"outcome": "no_gain", "test": table}, "")
    assert one.outcome == "worse"
    assert verdict.exit_code([one], "worse") == 3


def test_a_cancelled_job_ends_the_run_in_order(repo, tmp_path):
    """The runner signals the step's own process only; the run hears of it, and the next job goes on."""
    step = yaml.safe_load((HERE / "optimize" / "action.yml").read_text())["runs"]["steps"][-1]
    assert step["run"].startswith("exec ")
    from langchain_promptopt.offline import offline_model
    from tests.support.openai_server import OpenAIServer, brain_of

    with OpenAIServer(brain_of(offline_model("task")), delay=0.2) as server:
        text = (repo / "promptopt.toml").read_text()
        served = f'model = "openai:m"\nbase_url = "{server.base_url}"'
        (repo / "promptopt.toml").write_text(text.replace('model = "offline"', served, 1))
        names = {"CONFIG": "promptopt.toml", "COMMENT": "c.md", "JUNIT": "j.xml", "FAIL_ON_NO_GAIN": "false"}
        env = {**os.environ, **names, "ARGS": "--max-concurrency 2", "GITHUB_OUTPUT": str(tmp_path / "out"),
               "GITHUB_ACTION_PATH": str(HERE / "optimize"), "OPENAI_API_KEY": "k"}  # fmt: skip
        with subprocess.Popen(["bash", "-e", "-c", step["run"]], cwd=repo, env=env, stdout=subprocess.DEVNULL) as job:
            while server.count < 5 and job.poll() is None:
                time.sleep(0.02)
            job.send_signal(signal.SIGINT)
            assert job.wait(timeout=60) == 130
    assert "outcome=interrupted" in (tmp_path / "out").read_text()
    assert "goes on where it stopped" in (repo / "c.md").read_text()


def test_the_junit_files_are_read_by_a_reader_of_such_files(repo, tmp_path):
    propose(repo, prompt_txt=GOOD.replace("Choose", HOSTILE))
    act(repo, tmp_path, "compare", prompts="prompt.txt", fail_on="never")
    suites = junitparser.JUnitXml.fromfile(str(repo / "promptopt-junit.xml"))
    assert [(s.tests, s.failures, s.errors) for s in suites] == [(3, 0, 0)]
    act(repo, tmp_path, "optimize", args="--method lpo-pe")
    suites = junitparser.JUnitXml.fromfile(str(repo / "promptopt-junit.xml"))
    [case] = [case for suite in suites for case in suite]
    assert [type(r).__name__ for r in case.result] == ["Error"]
    assert "lpo-pe2" in case.result[0].message


# ------------------------------------------------------------ the examples


@pytest.mark.parametrize("name", ["nightly.yml", "pull-request.yml"])
def test_the_examples_keep_what_was_paid_for_whatever_becomes_of_the_job(name):
    """`actions/cache` saves after a success only, and a job that was stopped is the one that must go on."""
    workflow = yaml.safe_load((HERE / "example" / name).read_text())
    [job] = workflow["jobs"].values()
    uses = {s["uses"].partition("@")[0]: s for s in job["steps"] if "uses" in s}
    assert "actions/cache" not in uses
    save, restore = uses["actions/cache/save"], uses["actions/cache/restore"]
    assert save["if"] == "always()"
    assert save["with"]["path"] == restore["with"]["path"]
    assert save["with"]["path"].split() == [".promptopt/runs", "promptopt.openings.jsonl"]


def test_the_example_workflow_uses_inputs_that_exist():
    for path in (HERE / "example").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        steps = [s for job in workflow["jobs"].values() for s in job["steps"] if "github-action" in s.get("uses", "")]
        assert steps, path
        for one in steps:
            folder = one["uses"].partition("@")[0].rpartition("/")[2]
            known = yaml.safe_load((HERE / folder / "action.yml").read_text())["inputs"]
            assert one.get("with", {}).keys() <= known.keys(), path
