"""What may stand where a chain or prompt is named, and errors of the user's own code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from langchain_promptopt.cli.app import run
from tests.support.pipeline_task import PROMPT, rows

CHAIN = (
    "from langchain_core.prompts import ChatPromptTemplate\n"
    "from langchain_promptopt.offline import offline_model\n"
    f"chain = ChatPromptTemplate.from_template({PROMPT!r}) | offline_model('task')\n"
)
GIVEN = ("--model", "offline", "--data", "rows.jsonl", "--evaluator", "exact_match")
OFFLINE = ("--task-model", "offline", *GIVEN)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return tmp_path


def check(capfd, *args):
    code = run(["check", *args])
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\n\nURL = os.environ['SHOP_DB_URL']\n", "KeyError: 'SHOP_DB_URL' (NAME.py:3;"),
        ("chain = None\n", "'NAME:chain' is of type NoneType, which is no chain (task.chain). Name a Runnable"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('no config')\n", "SystemExit: no config (NAME.py:2;"),
        ("class Skipped(BaseException): ...\n\nraise Skipped('no shop here')\n", "Skipped: no shop here (NAME.py:3;"),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name' (NAME.py:1;"),
        ("import json\nchain = json.loads('{')\n", "JSONDecodeError: Expecting property name"),
        ("from pydantic import BaseModel\nclass A(BaseModel):\n    x: int\nA(x='a')\n", "(NAME.py:4;"),
    ],
)
def test_errors_of_the_users_module_are_one_line_with_their_own_place(project, capfd, source, said):
    name = f"app_{abs(hash(source))}"
    (project / f"{name}.py").write_text(source)
    code, out, err = check(capfd, f"{name}:chain", *GIVEN)
    assert (code, out) == (2, "")
    assert said.replace("NAME", name) in err
    assert len(err.splitlines()) == 1
    sys.modules.pop(name, None)
    code, _, err = check(capfd, f"{name}:chain", *GIVEN, "--traceback")
    assert code == 2
    assert err.startswith("Traceback")


def test_errors_of_an_evaluators_module_are_the_users_too(project, capfd):
    (project / "evals_4712.py").write_text("1 / 0\n")
    (project / "p.txt").write_text(PROMPT)
    code, _, err = check(capfd, "p.txt", *OFFLINE, "--evaluator", "evals_4712:good")
    assert code == 2
    assert "ZeroDivisionError" in err
    assert "evals_4712.py:1" in err


def test_a_check_before_there_is_a_key_says_all_it_can(project, capfd, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    source = CHAIN.replace("offline_model('task')", "ChatOpenAI(model='gpt-4o-mini')")
    (project / "keyless_4713.py").write_text("from langchain_openai import ChatOpenAI\n" + source)
    code, out, err = check(capfd, "keyless_4713:chain", *GIVEN)
    assert code == 2
    assert "ticket" in out
    assert "What the test can show" in out
    assert "keyless_4713.py:4" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("target", ["shop/flow_4714.py:chain", "./shop/flow_4714.py:chain", "shop.flow_4714:chain"])
def test_a_chain_may_be_named_by_its_file(project, capfd, target):
    (project / "shop").mkdir()
    (project / "shop" / "flow_4714.py").write_text(CHAIN)
    code, out, err = check(capfd, target, *GIVEN, "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"][0]["variables"] == ["ticket"]
    code, _, err = check(capfd, target.replace("chain", "chian"), *GIVEN)
    assert code == 2
    assert "Did you mean 'chain'?" in err


def test_a_text_constant_is_a_prompt_and_is_named_where_the_file_is_given(project, capfd):
    (project / "texts_4715.py").write_text(f"RULES = {PROMPT!r}\n")
    code, _, err = check(capfd, "texts_4715.py", *OFFLINE)
    assert code == 2
    assert "texts_4715:RULES" in err
    code, out, err = check(capfd, "texts_4715:RULES", *OFFLINE, "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"][0]["variables"] == ["ticket"]


def test_a_toml_target_is_settings(project, capfd):
    (project / "p.txt").write_text(PROMPT)
    (project / "mine.toml").write_text(
        '[task]\nprompt = "p.txt"\nmodel = "offline"\n[data]\nsource = "rows.jsonl"\n'
        '[evaluate]\nevaluators = ["exact_match"]\n[optimize]\nmodel = "offline"\n'
    )
    code, _, err = check(capfd, "mine.toml")
    assert code == 0, err
    code, _, err = check(capfd, "mine.toml", "--config", "other.toml")
    assert code == 2
    assert "named twice" in err
    (project / "prompts.toml").write_text('system = "Sort."\nuser = "{ticket}"\n')
    code, _, err = check(capfd, "prompts.toml", *OFFLINE)
    assert code == 2
    assert "it has system, user" in err
    assert "Prompts are read from text, YAML or JSON files" in err


def test_a_folder_is_no_prompt_and_no_name_in_langsmith(project, capfd):
    (project / "triage").mkdir()
    (project / "triage" / "main.txt").write_text(PROMPT)
    code, _, err = check(capfd, "triage", *OFFLINE)
    assert code == 2
    assert "is a folder" in err
    assert "Name one file: main.txt." in err


def test_a_variable_of_another_language_is_named(project, capfd):
    (project / "p.txt").write_text("Sort the mail by its team.\nMail: $ticket\n")
    code, _, err = check(capfd, "p.txt", *OFFLINE)
    assert code == 2
    assert "'$ticket' in the text is no variable: write {ticket} there" in err.replace("\n", " ")


@pytest.mark.parametrize("target", ["prompts.yaml#triage", "prompts.yaml:triage"])
def test_one_of_several_prompts_in_a_file(project, capfd, target):
    body = PROMPT.replace("\n", "\n    ")
    (project / "prompts.yaml").write_text(f"triage:\n  user: |\n    {body}\nreply:\n  user: 'Be kind: {{ticket}}'\n")
    code, _, err = check(capfd, "prompts.yaml", *OFFLINE)
    assert code == 2
    assert "triage, reply" in err
    code, out, err = check(capfd, target, *OFFLINE, "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"][0]["messages"] == 1


def test_partials_of_a_file_are_bound_and_what_is_not_used_is_told(project, capfd):
    body = (PROMPT + "\nTone: {tone}").replace("\n", "\n  ")
    (project / "p.yaml").write_text(
        f"_type: prompt\npartial_variables: {{tone: calm}}\nowner: me\ntemplate: |\n  {body}\n"
    )
    code, out, err = check(capfd, "p.yaml", *OFFLINE, "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"][0]["variables"] == ["ticket"]
    assert "p.yaml: not used: owner" in json.loads(out)["notes"]


def test_the_json_answer_stands_alone_on_stdout(project, capfd):
    (project / "loud_4716.py").write_text("print('loading the catalogue')\n" + CHAIN)
    code, out, err = check(capfd, "loud_4716:chain", *GIVEN, "--json")
    assert code == 0
    assert json.loads(out)["ok"]
    assert "loading the catalogue" in err


def test_not_even_a_program_that_the_users_module_starts_prints_into_the_answer(project):
    (project / "louder_4718.py").write_text(
        "import os\nos.system('echo from the shell')\nos.write(1, b'raw')\n" + CHAIN
    )
    for target, code in (("louder_4718:chain", 0), ("louder_4718:gone", 2)):
        args = [sys.executable, "-m", "langchain_promptopt", "check", target, *GIVEN, "--json"]
        done = subprocess.run(args, capture_output=True, text=True, check=False, cwd=project)
        assert json.loads(done.stdout)["exit_code"] == done.returncode == code
        assert "from the shell" in done.stderr
        assert "raw" in done.stderr


def test_nothing_of_the_working_folder_takes_the_place_of_an_installed_package(project):
    for name in ("openai", "aiohttp", "tiktoken", "langchain_openai"):
        (project / f"{name}.py").write_text(f"raise SystemExit('{name} of the folder')\n")
    (project / "p.txt").write_text(PROMPT)
    (project / "evals_4717.py").write_text("def right(outputs, reference_outputs):\n    return True\n")
    for more in ((), ("--evaluator", "evals_4717:right")):
        args = [
            sys.executable,
            "-m",
            "langchain_promptopt",
            "check",
            "p.txt",
            *OFFLINE,
            "--task-model",
            "openai:o",
            *more,
        ]
        done = subprocess.run(args, capture_output=True, text=True, check=False, cwd=project)
        assert "of the folder" not in done.stdout + done.stderr
        assert "OPENAI_API_KEY is not set" in done.stderr


def test_the_version_is_printed(capfd):
    from langchain_promptopt import __version__

    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"promptopt {__version__}\n"
