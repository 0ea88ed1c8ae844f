"""What is refused before anything is paid, and what is said about where things went."""

from __future__ import annotations

import json

import pytest

from langchain_promptopt.cli.app import run
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline_task import GOOD, PROMPT, rows, write_task

TOML = (
    '[task]\nprompt = "prompt.txt"\nmodel = "offline"\n[data]\nsource = "rows.jsonl"\n'
    '[evaluate]\nevaluators = ["exact_match"]\n[optimize]\nmodel = "offline"\nmethod = "lpo-pe2"\n'
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_task(tmp_path)
    (tmp_path / "promptopt.toml").write_text(TOML)
    return tmp_path


def cli(capfd, *args):
    code = run(args)
    out, err = capfd.readouterr()
    return code, out, err


def test_a_misspelt_optimizer_model_costs_nothing(project, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with OpenAIServer({"task": lambda *_: "billing", "optimizer": lambda *_: "{}"}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        code, _, err = cli(capfd, "optimize", "--task-model", "openai:task", "--model", "openai:optimizr")
        assert {r.method for r in server.requests} == {"GET"}
    assert code == 2
    assert "does not know the optimizer model 'optimizr'" in err
    assert "Did you mean 'optimizer'?" in err


@pytest.mark.parametrize("verb", ["check", "optimize"])
def test_check_refuses_a_budget_that_cannot_pay_for_the_test(project, capfd, verb):
    code, _, err = cli(capfd, verb, "--calls", "20")
    assert code == 2
    assert "the budget of 20 calls cannot pay for the 48 calls of the held-out test" in err


@pytest.mark.parametrize("verb", ["check", "optimize"])
def test_check_refuses_a_price_that_is_not_known(project, capfd, verb, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    code, _, err = cli(capfd, verb, "--usd", "5", "--task-model", "openai:my-own-model")
    assert code == 2
    assert "the price of my-own-model is unknown" in err


def test_both_sides_the_same_is_said_so(project, capfd):
    (project / "shop_4901.py").write_text(
        "from langchain_core.prompts import ChatPromptTemplate\n"
        "from langchain_promptopt.offline import offline_model\n"
        f"chain = ChatPromptTemplate.from_template({PROMPT!r}) | offline_model('task')\n"
    )
    code, _, err = cli(capfd, "compare", "shop_4901:chain", "shop_4901:chain")
    assert code == 2
    assert "the same object" in err
    code, _, err = cli(capfd, "compare", "prompt.txt", "prompt.txt")
    assert code == 2
    assert "the same prompts" in err


def test_a_missing_flag_of_a_comparison_is_named(project, capfd):
    (project / "promptopt.toml").unlink()
    (project / "new.txt").write_text(GOOD)
    code, _, err = cli(capfd, "compare", "prompt.txt", "new.txt", "--data", "rows.jsonl", "--evaluator", "exact_match")
    assert code == 2
    assert "--task-model" in err


def test_a_run_says_where_the_winner_went_and_a_second_start_that_it_was_there(project, capfd):
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(24, 24, 60)))
    (project / "promptopt.toml").write_text(TOML + '[output]\nprompts = "prompts/"\n')
    code, out, err = cli(capfd, "optimize")
    assert code == 0, err
    assert 'wrote prompts/main.json; load it at start with load_prompts(chain, "prompts")' in err
    assert "promptopt apply" in out
    assert "--to FILE" not in out
    assert "was finished before" not in err
    assert (project / ".promptopt" / ".gitignore").read_text() == "*\n"
    code, out, again = cli(capfd, "optimize")
    assert code == 0, again
    assert "was finished before" in again
    assert "step 1 done" not in again
    (project / "copy.txt").write_text((project / "prompt.txt").read_text())
    code, patch, err = cli(capfd, "diff", "--patch")
    assert code == 0, err
    assert "a/prompt.txt" in patch
    assert "The new prompt was written to prompts/main.json." in cli(capfd, "show")[1]
    assert cli(capfd, "apply")[0] == 0
    assert (project / "copy.txt").read_text() == PROMPT != (project / "prompt.txt").read_text()
    assert json.loads(cli(capfd, "show", "--json")[1])["written"] == ["prompts/main.json", "prompt.txt"]
    code, _, err = cli(capfd, "apply")
    assert code == 2
    assert "are in" in err
    assert "already" in err
    _several_files_are_reverted_one_by_one(project, capfd)
    assert cli(capfd, "apply", "--revert")[0] == 0
    assert (project / "prompt.txt").read_text() == PROMPT
    shown = " ".join(cli(capfd, "show")[1].replace("│", " ").split())
    assert "written to prompts/main.json; written to prompt.txt, copy.txt, and reverted since." in shown
    for form in ("markdown", "html"):
        assert "and reverted since" in cli(capfd, "report", "--format", form, "-o", "-")[1]
    assert json.loads(cli(capfd, "show", "--json")[1])["written"] == ["prompts/main.json"]


def _several_files_are_reverted_one_by_one(project, capfd):
    assert cli(capfd, "apply", "--to", "copy.txt")[0] == 0
    changed = (project / "copy.txt").read_text() + "One more rule.\n"
    (project / "copy.txt").write_text(changed)
    for flags, said in (
        ([], "changed after the run wrote it"),
        (["--to", "copy.txt"], "changed after the run wrote it"),
        (["--to", "other.txt"], "did not write other.txt"),
        (["--edits", "1"], "--edits changes nothing"),
    ):
        code, _, err = cli(capfd, "apply", "--revert", *flags)
        assert (code, said in err) == (2, True), err
    assert (project / "copy.txt").read_text() == changed
    assert (project / "prompt.txt").read_text() != PROMPT, "nothing is reverted where one file cannot be"
    assert cli(capfd, "apply", "--revert", "--to", "copy.txt", "--force")[0] == 0
    assert (project / "copy.txt").read_text() == PROMPT != (project / "prompt.txt").read_text()
    assert cli(capfd, "apply", "--to", "copy.txt")[0] == 0
    (project / "copy.txt").write_text("# A note of somebody else\n" + PROMPT)
    assert cli(capfd, "apply", "--to", "copy.txt")[0] == 0
    assert cli(capfd, "apply", "--revert", "--to", "copy.txt")[0] == 0
    assert (project / "copy.txt").read_text() == "# A note of somebody else\n" + PROMPT, "only our writing is undone"


def test_a_report_does_not_make_folders(project, capfd):
    code, _, err = cli(capfd, "report", "-o", "missing/dir/x.html")
    assert code == 2
    assert "there is no folder" in err
    assert not (project / "missing").exists()


@pytest.mark.parametrize(
    ("args", "near"), [(("optimise",), "optimize"), (("check", "--evaluators", "x"), "--evaluator")]
)
def test_unknown_verbs_and_flags_name_the_nearest(project, capfd, args, near):
    code, _, err = cli(capfd, *args)
    assert code == 2
    assert near in err.replace(args[-1] if len(args) == 1 else args[1], "")
