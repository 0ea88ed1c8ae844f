"""The command line: verbs, exit codes, streams; on recorded runs, and end to end on the offline models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.app import run
from langchain_promptopt.errors import (
    BudgetSpent,
    ConfigError,
    Interrupted,
    PromptOptError,
    UnavailableError,
    exit_code_of,
)
from langchain_promptopt.store import read_events
from tests.support.journals import HUMAN, SYSTEM, improved_run

VERBS = (
    "demo", "init", "check", "optimize", "compare", "resume", "runs", "show", "diff", "report", "export", "apply",
    "push", "rollback", "methods", "bench",
)  # fmt: skip
RUN = "c0ffee12ab34cd56"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with one recorded run and the prompt file it came from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    record(tmp_path, improved_run())
    (tmp_path / "prompt.json").write_text(
        json.dumps({"messages": [{"role": "system", "content": SYSTEM}, {"role": "human", "content": HUMAN}]}, indent=2)
    )
    return tmp_path


def record(folder: Path, lines: list[dict], name: str = RUN) -> Path:
    """Write a journal as a run would have."""
    home = folder / ".promptopt" / "runs" / name
    home.mkdir(parents=True)
    numbered = [{**line, "seq": i} for i, line in enumerate(lines, start=1)]
    (home / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in numbered))
    assert list(read_events(home / "journal.jsonl")) == numbered
    return home


def answer(capfd, *args: str) -> tuple[int, str, str]:
    code = run(args)
    out, err = capfd.readouterr()
    return code, out, err


def test_help_lists_every_verb_and_each_shows_an_example(capfd):
    code, out, _ = answer(capfd, "--help")
    assert code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in out
        code, text, _ = answer(capfd, verb, "--help")
        assert code == 0
        assert f"Example: promptopt {verb}" in text
        assert "--json" in text


def test_the_three_names_are_one_program():
    for args in (["-m", "langchain_promptopt"], ["-c", "from langchain_promptopt.cli import main; main()"]):
        done = subprocess.run([sys.executable, *args, "methods", "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "lpo-pe2" in {m["name"] for m in json.loads(done.stdout)}


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom langchain_promptopt.cli.app import run\nrun(['optimize', '--help'])\n"
        "heavy = {'langchain_core', 'langchain_openai', 'openai', 'datasets', 'langsmith', 'jinja2', 'rich.table'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (BudgetSpent("x"), 4),
        (UnavailableError("x", role="optimizer", retry_after_s=3.0), 5),
        (Interrupted("x"), 130),
        (Interrupted("x", signal=15), 143),
        (PromptOptError("x"), 1),
    ],
)
def test_every_error_becomes_its_exit_code_and_an_object(project, capfd, monkeypatch, error, code):
    def fail(*_args):
        raise error

    monkeypatch.setattr("langchain_promptopt.cli.runs.find_run", fail)
    assert exit_code_of(error) == code
    found, out, err = answer(capfd, "show", RUN, "--json")
    data = json.loads(out)
    assert found == data["exit_code"] == code
    outcomes = {4: "budget", 130: "interrupted", 143: "interrupted"}
    assert data["outcome"] == outcomes.get(code, "failed")
    assert set(data["error"]) == {"role", "kind", "retryable", "retry_after_s", "message", "public"}
    assert err.startswith("promptopt: x")
    assert answer(capfd, "show", RUN)[:2] == (code, "")


def test_a_bug_is_exit_code_1_with_a_traceback(project):
    source = (
        "import sys\nimport langchain_promptopt.cli.runs as j\n"
        "def fail(*a): raise ZeroDivisionError('ours')\nj.find_run = fail\n"
        "from langchain_promptopt.cli import main\nsys.argv = ['promptopt', 'show', 'x', '--json']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "bug"


@pytest.mark.parametrize("args", [["nosuch"], ["show", "--nosuch"], ["report", "x", "--format", "pdf"], ["push"]])
def test_a_wrong_command_line_is_exit_code_2(capfd, args):
    code, out, err = answer(capfd, *args)
    assert (code, out) == (2, "")
    assert "Error" in err
    code, out, _ = answer(capfd, *args, "--json")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "usage"


def test_no_arguments_show_the_help(capfd):
    code, out, err = answer(capfd)
    assert code in {0, 2}
    assert "optimize" in out + err


def test_a_wrong_setting_names_file_line_and_key(project, capfd):
    (project / "promptopt.toml").write_text("[optimize]\nsed = 1\n")
    code, out, err = answer(capfd, "runs")
    assert (code, out) == (2, "")
    assert "promptopt.toml:2" in err
    assert "Did you mean 'optimize.seed'?" in err


def test_an_error_in_a_workflow_is_annotated(project, capfd, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, _, err = answer(capfd, "show", "nosuch")
    assert "::error title=promptopt::there is no run" in err


def test_what_is_missing_is_told_before_anything_is_loaded(project, capfd):
    code, _, err = answer(capfd, "optimize")
    assert code == 2
    assert "task.chain (or task.prompt), data.source, evaluate.evaluators, optimize.model are not set" in err


def test_runs_lists_the_latest_first_and_survives_a_broken_one(project, capfd):
    broken = project / ".promptopt" / "runs" / "broken"
    broken.mkdir()
    (broken / "journal.jsonl").write_text("not json\n")
    os.utime(broken / "journal.jsonl", (1, 1))
    code, out, _ = answer(capfd, "runs", "--json")
    first, second = json.loads(out)
    assert code == 0
    assert (first["run_id"], first["outcome"], first["edits"]) == (RUN, "improved", 2)
    assert (second["run_id"], second["outcome"]) == ("broken", "unreadable")
    assert RUN in answer(capfd, "runs")[1]


@pytest.mark.parametrize("name", [RUN, "c0ff", "latest", f".promptopt/runs/{RUN}"])
def test_a_run_is_found_by_id_beginning_latest_or_path(project, capfd, name):
    code, out, _ = answer(capfd, "show", name)
    assert code == 0
    assert "is billing only when money was taken or is missing" in out


def test_an_ambiguous_or_unknown_run_is_refused(project, capfd):
    record(project, improved_run(run_id="c0ffee99"), "c0ffee99")
    assert "several runs begin with 'c0ffee'" in answer(capfd, "show", "c0ffee")[2]
    code, _, err = answer(capfd, "show", "zzz")
    assert code == 2
    assert "`promptopt runs` lists them" in err


def test_show_answers_with_the_keys_of_the_contract(project, capfd):
    data = json.loads(answer(capfd, "show", "--json")[1])
    assert {"outcome", "exit_code", "run_id", "replayed", "prompts", "test", "edits", "usage", "error"} <= set(data)
    assert data["edits"][0]["lineage"]
    assert data["prompts"][0]["messages"][0]["template"].startswith("You sort messages")


def test_export_prints_events_and_hides_unopened_held_out_rows(project, capfd):
    code, out, _ = answer(capfd, "export", RUN)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert all(set(e) == {"seq", "time", "type", "data"} for e in events)
    assert any(e["data"].get("split") == "test" for e in events)
    unopened = [e for e in improved_run() if e["type"] not in {"tested", "run.finished"}]
    record(project, unopened, "unopened")
    assert '"test-' not in answer(capfd, "export", "unopened")[1]
    assert "test-" not in answer(capfd, "show", "unopened")[1]


def test_diff_shows_edits_in_place(project, capfd):
    _, out, _ = answer(capfd, "diff")
    assert "A message about a refund [-is always billing-]{+is billing only when" in " ".join(out.split()).replace(
        "is [-always billing-]{+billing only when", "[-is always billing-]{+is billing only when"
    )
    data = json.loads(answer(capfd, "diff", "--json")[1])
    assert data["prompts"]["old"] != data["prompts"]["new"]


@pytest.mark.parametrize(("fmt", "start"), [("markdown", "<!-- promptopt-gate -->"), ("junit", "<?xml"), ("html", "")])
def test_report_writes_each_format(project, capfd, fmt, start):
    code, out, _ = answer(capfd, "report", RUN, "--format", fmt)
    assert code == 0
    if fmt == "html":
        page = project / ".promptopt" / "runs" / RUN / "report.html"
        assert out.strip() == str(page)
        assert "Content-Security-Policy" in page.read_text("utf-8")
    else:
        assert out.startswith(start)
    (project / "deep").mkdir()
    code, out, _ = answer(capfd, "report", RUN, "--format", fmt, "--out", "deep/r.txt", "--json")
    assert code == 0
    assert json.loads(out)["file"] == "deep/r.txt"
    assert Path("deep/r.txt").is_file()


def test_apply_writes_some_edits_and_takes_them_back(project, capfd):
    file = project / "prompt.json"
    before = file.read_bytes()
    code, _, err = answer(capfd, "apply", RUN, "--edits", "2", "--to", "prompt.json", "--json")
    assert (code, file.read_bytes()) == (2, before)
    assert "untested: the gate decided on all 2 edits together" in err
    code, out, err = answer(capfd, "apply", RUN, "--edits", "2", "--to", "prompt.json", "--force", "--json")
    assert code == 0, err
    assert json.loads(out)["edits"] == [2]
    text = json.loads(file.read_text())["messages"][0]["content"]
    assert text == SYSTEM.replace("the first one in the list", "the one the customer asks to be solved")
    assert answer(capfd, "apply", RUN, "--revert")[0] == 0
    assert file.read_bytes() == before
    code, _, err = answer(capfd, "apply", RUN, "--revert")
    assert code == 2
    assert "wrote no file" in err


def test_apply_refuses_what_cannot_be_meant(project, capfd):
    for edits in ("3", "0", "x", "1,,9"):
        code, _, err = answer(capfd, "apply", RUN, "--edits", edits, "--to", "prompt.json")
        assert code == 2
        assert "there is no edit" in err
    before = (project / "prompt.json").read_bytes()
    code, _, err = answer(capfd, "apply", RUN)
    assert code == 2
    assert "--to prompt.json" in err
    assert (project / "prompt.json").read_bytes() == before
    (project / "prompt.json").unlink()
    code, _, err = answer(capfd, "apply", RUN)
    assert code == 2
    assert "--to FILE" in err


def test_revert_overwrites_nothing_that_was_changed_since(project, capfd):
    assert answer(capfd, "apply", RUN, "--to", "prompt.json")[0] == 0
    file = project / "prompt.json"
    file.write_text(file.read_text() + "\n")
    after = file.read_bytes()
    code, _, err = answer(capfd, "apply", RUN, "--revert")
    assert code == 2
    assert "changed after the run wrote it" in err
    assert file.read_bytes() == after


def test_apply_follows_no_link_in_the_run_folder(project, capfd, tmp_path):
    victim = tmp_path / "victim.json"
    victim.write_text("{}")
    (note,) = [path.parent / "applied.json" for path in project.rglob("journal.jsonl") if path.parent.name == RUN]
    note.symlink_to(victim)
    before = (project / "prompt.json").read_bytes()
    code, _, err = answer(capfd, "apply", RUN, "--to", "prompt.json")
    assert (code, "symbolic link" in err) == (5, True)
    assert ((project / "prompt.json").read_bytes(), victim.read_text()) == (before, "{}")


def test_apply_without_a_passed_gate_needs_force(project, capfd):
    lines = improved_run(run_id="unproven")
    lines[-1]["data"] |= {"outcome": "inconclusive", "exit_code": 3}
    record(project, lines, "unproven")
    code, _, err = answer(capfd, "apply", "unproven", "--to", "prompt.json")
    assert code == 2
    assert "--force" in err
    assert answer(capfd, "apply", "unproven", "--to", "prompt.json", "--force")[0] == 0


def test_the_patch_applies_with_git(project, capfd):
    subprocess.run(["git", "init", "-q"], check=True, cwd=project)
    (project / "p.txt").write_text(SYSTEM)
    file = project / "prompt.json"
    code, patch, err = answer(capfd, "diff", RUN, "--patch", "--file", "prompt.json")
    assert code == 0, err
    (project / "x.patch").write_text(patch)
    subprocess.run(["git", "apply", "x.patch"], check=True, cwd=project)
    assert "is billing only when money was taken or is missing" in file.read_text()


def test_the_patch_finds_the_literal_of_the_chain_by_itself(project, capfd):
    subprocess.run(["git", "init", "-q"], check=True, cwd=project)
    (project / "prompt.json").unlink()
    code, _, err = answer(capfd, "diff", RUN, "--patch")
    assert (code, "--file FILE" in err) == (2, True)
    module = project / "my_app" / "chain.py"
    module.parent.mkdir()
    module.write_text(f"SYSTEM = {SYSTEM!r}\n")
    (project / "promptopt.toml").write_text('[task]\nchain = "my_app.chain:chain"\n')
    code, patch, err = answer(capfd, "diff", RUN, "--patch")
    assert code == 0, err
    (project / "x.patch").write_text(patch)
    subprocess.run(["git", "apply", "x.patch"], check=True, cwd=project)
    assert "is billing only when money was taken or is missing" in module.read_text()


def test_no_patch_is_made_of_a_run_s_own_record_nor_for_edits_that_are_in_the_file(project, capfd):
    (project / ".promptopt").rename(project / "nightly")
    (project / "promptopt.toml").write_text('[output]\nruns_dir = "nightly/runs"\n')
    assert answer(capfd, "apply", RUN, "--to", "prompt.json")[0] == 0
    code, out, err = answer(capfd, "diff", RUN, "--patch", "--file", "prompt.json")
    assert (code, out) == (2, "")
    assert f"the edits of run {RUN} are in prompt.json already" in err
    assert answer(capfd, "apply", RUN, "--revert")[0] == 0
    (project / "nightly" / "runs" / RUN / "kept.json").write_bytes((project / "prompt.json").read_bytes())
    (project / "prompt.json").unlink()
    code, out, err = answer(capfd, "diff", RUN, "--patch")
    assert (code, out) == (2, "")
    assert "no file under" in err


def test_methods_lists_the_presets(capfd):
    out = answer(capfd, "methods")[1]
    for name in ("lpo-pe2", "lpo-apo", "apo-pe2", "pe2"):
        assert name in out


def test_a_reader_that_leaves_is_no_error(project):
    line = f"{sys.executable} -m langchain_promptopt export {RUN} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_without_unicode_is_no_error(project):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "langchain_promptopt", "show"], capture_output=True, check=False, cwd=project, env=env
    )
    assert done.returncode == 0, done.stderr
    assert b"Improved" in done.stdout


# ------------------------------------------------------- end to end, offline models


TICKETS = [
    {"ticket": f"My {thing} {what} number {i}", "label": label}
    for i in range(12)
    for thing, what, label in (
        ("invoice", "shows a wrong sum", "billing"),
        ("parcel", "never came, refund it", "delivery"),
        ("password", "is not accepted", "account"),
        ("parcel", "is late", "delivery"),
    )
]
PROMPT = """Choose the label of the message.

## Labels
- billing: invoice, charge, sum
- delivery: parcel, late
- account: password, log in

## Rules
- If the message mentions "refund", answer billing.

## Output
Answer with the label only.

Message: {ticket}"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.txt").write_text(PROMPT)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TICKETS))
    (tmp_path / "promptopt.toml").write_text(
        '[task]\nprompt = "prompt.txt"\nmodel = "offline"\n[data]\nsource = "rows.jsonl"\noutputs = ["label"]\n'
        '[evaluate]\nevaluators = ["exact_match"]\n[optimize]\nmodel = "offline"\n'
    )
    return tmp_path


def test_the_main_job_from_the_command_line(task, capfd, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(task / "out.txt"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(task / "summary.md"))
    code, out, err = answer(capfd, "optimize", "--json", "--junit", "j.xml", "--summary", "comment.md")
    data = json.loads(out)
    assert data["exit_code"] == code, err
    assert code in {0, 3}, err
    assert {"outcome", "exit_code", "run_id", "replayed", "prompts", "test", "edits", "usage", "error"} <= set(data)
    assert "baseline" in err
    assert f"outcome={data['outcome']}" in (task / "out.txt").read_text()
    assert (task / "comment.md").read_text() == (task / "summary.md").read_text()
    assert (task / "j.xml").read_text().startswith("<?xml")
    recorded = f"This is the recorded run {data['run_id']}; nothing was called."
    said = [(task / "comment.md").read_text(), next(task.rglob("report.html")).read_text(), err]
    assert not any(recorded in text for text in said)
    code_again, out, _ = answer(capfd, "optimize", "--json", "--ok", "no_gain")
    again = json.loads(out)
    assert (again["replayed"], again["run_id"]) == (True, data["run_id"])
    assert code_again == 0
    _, out, err = answer(capfd, "optimize", "--junit", "j.xml", "--summary", "comment.md")
    report = next(task.rglob("report.html")).read_text()
    assert all(recorded in " ".join(text.split()) for text in (out, (task / "comment.md").read_text(), report))
    assert 'name="replayed" value="true"' in (task / "j.xml").read_text()
    assert "baseline" not in err  # no step of a search is told again
    assert recorded in " ".join(answer(capfd, "show", "latest")[1].split())
    assert json.loads(answer(capfd, "show", "latest", "--json")[1])["replayed"]


def test_dry_run_and_check_spend_nothing(task, capfd):
    code, out, err = answer(capfd, "optimize", "--dry-run", "--json")
    data = json.loads(out)
    assert code in {0, 2}, err
    assert sum(data["splits"].values()) == len(TICKETS)
    assert not list((task / ".promptopt").glob("runs/*/journal.jsonl"))
    assert json.loads(answer(capfd, "check", "--json")[1])["run_id"] == data["run_id"]
    assert "What the test can show" in answer(capfd, "check")[1]


def test_a_flag_is_as_strong_as_promised(task, capfd, monkeypatch):
    first = json.loads(answer(capfd, "check", "--json")[1])["run_id"]
    monkeypatch.setenv("PROMPTOPT_OPTIMIZE__SEED", "5")
    second = json.loads(answer(capfd, "check", "--json")[1])["run_id"]
    third = json.loads(answer(capfd, "check", "--json", "--seed", "0")[1])["run_id"]
    assert first == third != second
    code, _, err = answer(capfd, "check", "--seed", "soon")
    assert code == 2
    assert "the flag for optimize.seed" in err


def test_a_run_started_with_flags_is_resumed_by_its_id_alone(task, capfd):
    """The budget that was given holds until another one is; every other flag is taken as it was."""
    flags = ("--seed", "5", "--method", "pe2", "--search-calls", "16")  # the baseline and no step
    code, out, err = answer(capfd, "optimize", *flags, "--json")
    first = json.loads(out)
    assert (code, first["outcome"]) == (4, "budget"), err
    code, out, _ = answer(capfd, "resume", first["run_id"], "--json")
    again = json.loads(out)
    assert (code, again["run_id"], again["usage"]["calls"]) == (4, first["run_id"], first["usage"]["calls"])
    code, out, err = answer(capfd, "resume", first["run_id"], "--search-calls", "5000", "--json")
    last = json.loads(out)
    assert code in {0, 3}, err
    assert last["run_id"] == first["run_id"]
    events = list(read_events(task / ".promptopt" / "runs" / first["run_id"] / "journal.jsonl"))
    assert [e["data"]["run_id"] for e in events if e["type"] == "run.started"] == [first["run_id"]]


def test_a_run_is_not_resumed_under_another_configuration(task, capfd):
    run_id = json.loads(answer(capfd, "optimize", "--search-calls", "40", "--json")[1])["run_id"]
    text = (task / "promptopt.toml").read_text()
    (task / "promptopt.toml").write_text(text + 'method = "ape"\nseed = 9\n')
    code, _, err = answer(capfd, "resume", run_id)
    assert code == 2
    assert "optimize.method: 'robust' became 'ape'" in err
    assert "optimize.seed: 0 became 9" in err
    (task / "promptopt.toml").write_text(text)
    rows = (task / "rows.jsonl").read_text()
    (task / "rows.jsonl").write_text(rows.replace("late number 3", "very late number 3"))
    code, _, err = answer(capfd, "resume", run_id)
    assert code == 2
    assert "data was" in err
    assert "as_of" in err


def test_init_lists_and_writes_a_file_that_check_takes(task, capfd):
    (task / "promptopt.toml").unlink()
    code, out, err = answer(
        capfd, "init", "prompt.txt", "--data", "rows.jsonl", "--task-model", "offline", "--model", "offline", "--json",
        "--set", "data.outputs=label",
    )  # fmt: skip
    assert code == 0, err
    data = json.loads(out)
    assert data["prompts"][0]["variables"] == ["ticket"]
    assert sum(data["splits"].values()) == len(TICKETS)
    text = (task / "promptopt.toml").read_text()
    assert 'prompt = "prompt.txt"' in text
    assert 'outputs = ["label"]' in text
    assert 'model = "offline"' in text
    code, out, err = answer(capfd, "check", "--json")
    assert json.loads(out)["splits"] == data["splits"], err
    code, _, err = answer(capfd, "init", "prompt.txt", "--data", "rows.jsonl")
    assert code == 2
    assert "--force" in err


def test_compare_decides_between_two_files(task, capfd):
    (task / "new.txt").write_text(
        PROMPT.replace('mentions "refund", answer billing', 'mentions "refund", answer delivery')
    )
    code, out, err = answer(capfd, "compare", "prompt.txt", "new.txt", "--json")
    data = json.loads(out)
    assert code == data["exit_code"], err
    assert data["test"][0]["difference"] > 0
    assert {side: used["calls"] > 0 for side, used in data["usage"]["by_side"].items()} == {"old": True, "new": True}
    _, out, err = answer(capfd, "compare", "prompt.txt", "new.txt")
    assert "better / worse" in out
    assert "What it cost" in out
    assert "chosen on dev" not in err
    code, _, err = answer(capfd, "compare", "prompt.txt", "prompt.txt")
    assert code == 2, err


def test_resume_without_a_run_takes_the_latest_unfinished_one(task, capfd):
    code, out, err = answer(capfd, "resume")
    assert (code, out) == (2, "")
    assert "there is no unfinished run" in err
    assert answer(capfd, "optimize")[0] in {0, 3}  # a verdict: nothing to go on with
    (task / "new.txt").write_text(PROMPT + "!")
    answer(capfd, "compare", "prompt.txt", "new.txt")
    told = answer(capfd, "resume")[2]
    assert "no unfinished run among 2 (1 a comparison: run `compare` again; 1 ended with a verdict)" in " ".join(
        told.split()
    )

    def stopped(seed):
        flags = ("--method", "pe2", "--search-calls", "16", "--seed", seed)
        found = json.loads(answer(capfd, "optimize", *flags, "--json")[1])
        assert found["outcome"] == "budget"
        return found["run_id"]

    one = stopped("1")
    code, out, err = answer(capfd, "resume", "--search-calls", "5000", "--json")
    assert f"resuming run {one}, the only unfinished one" in err
    assert (json.loads(out)["run_id"], code in {0, 3}) == (one, True)
    several = [stopped("2"), stopped("3")]
    code, out, err = answer(capfd, "resume", "--search-calls", "5000", "--json")
    assert f"resuming run {several[1]}, the latest of 2 unfinished ones" in err
    assert f"also unfinished: {several[0]}" in err
    assert json.loads(out)["run_id"] == several[1]


def test_check_without_a_key_shows_what_is_free_and_then_the_key(task, capfd, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked = ("--task-model", "openai:gpt-4o-mini", "--set", "optimize.model=openai:gpt-4o")
    for verb in (["check"], ["check", "--pilot", "2"], ["optimize", "--dry-run"]):
        code, out, err = answer(capfd, *verb, *asked)
        assert code == 2, err
        assert "What the test can show" in out
        assert "all calls" in out
        assert "no key" in out
        assert err.count("OPENAI_API_KEY is not set") == 2
    data = json.loads(answer(capfd, "check", *asked, "--json")[1])
    assert (data["ok"], data["exit_code"], data["splits"]["test"] > 0) == (False, 2, True)
    assert [(p["role"], p["state"]) for p in data["probes"]] == [("task", "no key"), ("optimizer", "no key")]
    code, out, err = answer(capfd, "optimize", *asked)  # a run still ends before it begins
    assert (code, out) == (2, "")
    assert "OPENAI_API_KEY is not set (optimizer model)" in err


def test_a_stopped_run_says_how_to_go_on(task):
    """SIGTERM while the run is going: 143, machine output, a journal that can be resumed."""
    slow = (
        "import os, signal, threading, sys\n"
        "from langchain_promptopt.cli import main\n"
        "import langchain_promptopt.optimizer.progress as p\n"
        "taken = p.Watcher.on_event\n"
        "def on_event(self, event):\n"
        "    taken(self, event)\n"
        "    if event.type == 'scored' and not getattr(p, 'sent', False):\n"
        f"        p.sent = True; os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "p.Watcher.on_event = on_event\n"
        "sys.argv = ['promptopt', 'optimize', '--json']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", slow], capture_output=True, text=True, check=False, cwd=task)
    assert done.returncode == 143, done.stderr
    assert json.loads(done.stdout)["outcome"] == "interrupted"
    assert "resume" in done.stderr
    on = subprocess.run(
        [sys.executable, "-m", "langchain_promptopt", "resume", "latest", "--json"],
        capture_output=True, text=True, check=False, cwd=task,
    )  # fmt: skip
    assert json.loads(on.stdout)["exit_code"] == on.returncode
    assert on.returncode in {0, 3}, on.stderr
