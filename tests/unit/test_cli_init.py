"""`promptopt init` on data as people have it: what is guessed, told and written is accepted by `check`."""

from __future__ import annotations

import json
import os
import sys
import tomllib

import pytest

from langchain_promptopt.cli.app import run
from langchain_promptopt.pipeline.initial import guess_columns
from tests.support.pipeline_task import PROMPT, rows

CHAIN = (
    "from langchain_core.prompts import ChatPromptTemplate\n"
    "from langchain_promptopt.offline import offline_model\n"
    f"chain = ChatPromptTemplate.from_template({PROMPT.replace('{ticket}', '{email}')!r}) | offline_model('task')\n"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "shop_4801.py").write_text(CHAIN)
    (tmp_path / "evals_4801.py").write_text("def right_team(outputs, reference_outputs):\n    return True\n")
    lines = ["Mail ID,Body,Team,Lang,Thread"]
    for i, row in enumerate(rows(40, 40, 40)):
        lines.append(
            f'M-{i:03},"{row["inputs"]["ticket"]}",{row["outputs"]["label"]},{"de" if i % 3 else "en"},T{i // 2}'
        )
    (tmp_path / "mails.csv").write_text("\n".join(lines) + "\n")
    yield tmp_path
    for name in ("shop_4801", "evals_4801"):
        sys.modules.pop(name, None)


def cli(capfd, *args):
    code = run(args)
    out, err = capfd.readouterr()
    return code, out, err


def written(project, name="promptopt.toml"):
    return tomllib.loads((project / name).read_text())


def test_columns_are_guessed_and_told_and_the_file_is_accepted(project, capfd):
    code, out, err = cli(
        capfd, "init", "shop_4801:chain", "--data", "mails.csv", "--evaluator", "evals_4801:right_team"
    )
    assert code == 0, err
    found = written(project)
    assert found["data"] == {
        "inputs": {"email": "Body"}, "outputs": ["Team"], "id": "Mail ID", "group": "Thread", "source": "mails.csv"
    }  # fmt: skip
    assert found["evaluate"]["evaluators"] == ["evals_4801:right_team"]
    assert "primary" not in found["gate"]  # with one metric; another --evaluator may be named for a run
    assert "budget" not in found  # programs cost nothing
    assert "data.inputs: email = Body (guessed by name or as the longest text)" in out
    assert "columns that nothing reads: Lang" in out
    assert "# prompt variable = column; guessed" in (project / "promptopt.toml").read_text()
    code, _, err = cli(capfd, "check")
    assert code == 0, err


def test_every_answer_has_a_flag_and_flags_stand_above_guesses(project, capfd):
    code, _, err = cli(
        capfd, "init", "shop_4801:chain", "--data", "mails.csv", "--input", "email=Body", "--output", "Lang",
        "--set", "data.id=Mail ID", "--group", "Thread", "--out", "other.toml",
    )  # fmt: skip
    assert code == 0, err
    data = written(project, "other.toml")["data"]
    assert (data["outputs"], data["id"], data["group"]) == (["Lang"], "Mail ID", "Thread")
    assert cli(capfd, "check", "other.toml")[0] == 0
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "mails.csv", "--set", "data.id='Mail ID'", "--force")
    assert code == 0, err
    assert written(project)["data"]["id"] == "Mail ID"
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "mails.csv", "--input", "email", "--force")
    assert code == 2
    assert "VAR=COLUMN" in err


def test_nested_fields_and_tables_with_numbered_rows_are_guessed(project, capfd):
    topics, lines, table = ("refund", "login", "parcel"), [], [",Body,Team"]
    for i in range(60):
        lines.append(json.dumps({"request": {"body": f"mail {i} {topics[i % 3]}"}, "truth": {"team": topics[i % 3]}}))
        table.append(f"{i},mail {i} {topics[i % 3]},{topics[i % 3]}")
    (project / "nested.jsonl").write_text("\n".join(lines))
    (project / "pandas.csv").write_text("\n".join(table))
    for source, wanted in (
        ("nested.jsonl", {"inputs": {"email": "request.body"}, "outputs": ["truth.team"]}),
        ("pandas.csv", {"inputs": {"email": "Body"}, "outputs": ["Team"]}),
    ):
        code, out, err = cli(capfd, "init", "shop_4801:chain", "--data", source, "--force")
        assert code == 0, err
        assert written(project)["data"] == wanted | {"source": source}
        assert "data.id" not in out


def test_inputs_that_come_again_are_no_program_that_sends_the_same(project, capfd):
    """All dev examples may be one text: the split is by a hash of it."""
    rows = [f"{('money back', 'app crashes', 'how to', 'cancel it')[i % 4]},{'abcd'[i % 4]}" for i in range(80)]
    (project / "again.csv").write_text("\n".join(["Body,Team", *rows]))
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "again.csv", "--force")
    assert "depends on the example" not in err
    assert code == 0, err


def test_force_leaves_the_old_file_unread(project, capfd):
    (project / "promptopt.toml").write_text('[gate]\nprimary = "gone"\n[nonsense]\nx = 1\n')
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "mails.csv")
    assert code == 2
    assert "--force" in err
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "mails.csv", "--force")
    assert code == 0, err
    assert written(project)["evaluate"]["evaluators"] == ["exact_match"]


def test_what_cannot_be_told_names_flag_and_columns(project, capfd):
    (project / "two_4802.py").write_text(CHAIN.replace("{email}", "{subject_line} {history}"))
    code, _, err = cli(capfd, "init", "two_4802:chain", "--data", "mails.csv")
    assert code == 2
    assert "--input history=COLUMN. Columns: Mail ID, Body, Team, Lang, Thread" in err
    assert not (project / "promptopt.toml").exists()


def test_no_limit_in_money_where_no_price_is_known(project, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    local = CHAIN.replace("offline_model('task')", "ChatOpenAI(model='gpt-4o', base_url='http://127.0.0.1:9/v1')")
    (project / "local_4803.py").write_text("from langchain_openai import ChatOpenAI\n" + local)
    code, out, err = cli(capfd, "init", "local_4803:chain", "--data", "mails.csv")
    assert code == 0, err
    found = written(project)
    assert "budget" not in found
    assert found["optimize"]["base_url"] == "http://127.0.0.1:9/v1"
    assert "no limit in money: the price of gpt-4o" in " ".join(out.split())
    at_home = local.replace("gpt-4o", "qwen")
    (project / "home_4805.py").write_text("from langchain_openai import ChatOpenAI\n" + at_home)
    code, out, err = cli(capfd, "init", "home_4805:chain", "--data", "mails.csv", "--force")
    assert code == 0, err
    assert "budget" not in written(project)
    assert written(project)["optimize"]["model"] == "openai:qwen"
    free = {"input": 0.0, "output": 0.0}
    assert written(project)["prices"] == {"qwen": free, "openai:qwen": free}
    assert "no limit in money" not in out
    (project / "far_4804.py").write_text(
        "from langchain_openai import ChatOpenAI\n" + local.replace(", base_url='http://127.0.0.1:9/v1'", "")
    )
    assert cli(capfd, "init", "far_4804:chain", "--data", "mails.csv", "--force")[0] == 0
    assert written(project)["budget"] == {"usd": 5.0}


@pytest.mark.parametrize(
    ("name", "key"),
    [("OPENAI_API_KEY", ""), ("SHOP_KEY", ", api_key=os.environ['SHOP_KEY']"), ("SHOP_TOKEN", ", api_key=token()")],
)
def test_a_chain_that_wants_its_key_at_import_is_planned_without_it(project, capfd, monkeypatch, name, key):
    monkeypatch.delenv(name, raising=False)
    code = CHAIN.replace("offline_model('task')", f"ChatOpenAI(model='gpt-4o-mini'{key})")
    head = (
        "import os\nfrom langchain_openai import ChatOpenAI\n"
        "def token():\n    if 'SHOP_TOKEN' not in os.environ:\n        raise OSError('no api_key: set SHOP_TOKEN')\n"
        "    return os.environ['SHOP_TOKEN']\n"
    )
    (project / "keyed_4806.py").write_text(head + code)
    for words, wanted in ((("init", "keyed_4806:chain", "--data", "mails.csv"), 0), (("check",), 2)):
        exit_code, out, err = cli(capfd, *words)
        assert exit_code == wanted, out + err
        assert name not in os.environ
        assert "keyed_4806" not in sys.modules
    assert "What the test can show" in out, "all of the plan is shown, then what is missing"
    assert name in " ".join((out + err).split())
    exit_code, _, err = cli(capfd, "optimize")
    assert exit_code == 2
    assert name in err


def test_no_reference_is_asked_for_where_no_evaluator_reads_one(project, capfd):
    (project / "evals_4801.py").write_text("def short(outputs):\n    return len(outputs['output']) < 7\n")
    bare = "\n".join(
        line.split('",')[0].split(",", 1)[1] + '"' for line in (project / "mails.csv").read_text().split("\n")[1:-1]
    )
    (project / "bare.csv").write_text("Body\n" + bare + "\n")
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "bare.csv")
    assert code == 2
    assert "--evaluator module:function" in err
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "bare.csv", "--evaluator", "evals_4801:short")
    assert code == 0, err
    assert written(project)["data"] == {"inputs": {"email": "Body"}, "source": "bare.csv"}
    assert cli(capfd, "check")[0] == 0


def test_a_group_is_guessed_where_the_other_columns_are_read_by_name(project, capfd):
    text = (project / "mails.csv").read_text()
    (project / "named.csv").write_text(text.replace("Mail ID,Body,Team,Lang,Thread", "id,email,label,lang,Thread", 1))
    code, out, err = cli(capfd, "init", "shop_4801:chain", "--data", "named.csv")
    assert code == 0, err
    assert written(project)["data"] == {"group": "Thread", "source": "named.csv"}
    assert "data.group: Thread (guessed by name" in out
    assert "inputs are email" in " ".join(out.split())
    assert cli(capfd, "check")[0] == 0


def test_rows_that_are_read_as_they_are_need_no_guess(project, capfd):
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (project / "p.txt").write_text(PROMPT)
    args = ("init", "p.txt", "--data", "rows.jsonl", "--task-model", "offline", "--model", "offline")
    code, _, err = cli(capfd, *args)
    assert code == 0, err
    assert written(project)["data"] == {"source": "rows.jsonl"}
    assert cli(capfd, "check")[0] == 0
    (project / "sub").mkdir()
    assert cli(capfd, *args, "--out", "sub/mine.toml")[0] == 0
    assert cli(capfd, "check", "sub/mine.toml")[0] == 0


def test_chats_and_longer_column_names_are_found(project, capfd):
    prompt = PROMPT.replace("{ticket}", "{question}")
    (project / "p.txt").write_text(prompt)
    talks = []
    for row in rows(40, 40, 40):
        talk = [("system", "Sort."), ("user", row["inputs"]["ticket"]), ("assistant", row["outputs"]["label"])]
        talks.append(json.dumps({"messages": [{"role": role, "content": said} for role, said in talk]}) + "\n")
    (project / "chat.jsonl").write_text("".join(talks))
    args = ("init", "p.txt", "--data", "chat.jsonl", "--task-model", "offline", "--model", "offline")
    code, out, err = cli(capfd, *args)
    assert code == 0, err
    assert "the examples are chats" in out
    assert cli(capfd, "check")[0] == 0
    table = [{"Mail subject": "a", "Mail body": f"text {i}", "Team": "ab"[i % 2]} for i in range(8)]
    found = guess_columns(table, ["subject", "body"])
    assert found.values["data.inputs"] == {"subject": "Mail subject", "body": "Mail body"}


def test_a_guess_takes_names_before_shapes():
    found = guess_columns([{"text": "a b", "kind": "x", "expected": f"e{i}"} for i in range(6)], ["ticket"])
    assert found.values == {"data.inputs": {"ticket": "text"}, "data.outputs": ["expected"]}


def test_an_id_that_has_the_variable_in_its_name_is_no_input():
    """A table as a ticket system exports it."""
    table = []
    for i in range(9):
        row = {"Ticket ID": f"T{i}", "Subject": f"Help {i}", "Body": f"A long text {i} of a customer", "Lang": "de"}
        table.append({**row, "Expected Team": "ab"[i % 2]})
    found = guess_columns(table, ["ticket"]).values
    assert found == {"data.inputs": {"ticket": "Body"}, "data.outputs": ["Expected Team"], "data.id": "Ticket ID"}
    bare = [{"Ticket ID": row["Ticket ID"], "label": row["Expected Team"]} for row in table]
    assert "data.inputs" not in guess_columns(bare, ["ticket"]).values
    assert guess_columns(bare, ["ticket_id"]).values["data.inputs"] == {"ticket_id": "Ticket ID"}


SPLIT_NAMES = {
    "a column of another name": ("Fold", ("train", "dev", "test"), {"train", "dev", "test"}),
    "others' names of splits": ("split", ("Training", "validation", "TEST"), {"train", "dev", "test"}),
    "val for want of dev": ("Set", ("train", "val", "test"), {"train", "dev", "test"}),
    "no dev": ("split", ("train", "train", "test"), {"train", "dev", "test"}),
}


@pytest.mark.parametrize("case", SPLIT_NAMES)
def test_splits_as_people_name_them_make_a_file_that_check_accepts(project, capfd, case):
    column, names, ours = SPLIT_NAMES[case]
    lines = (project / "mails.csv").read_text().splitlines()
    named = [f"{line},{names[i // 40]}" for i, line in enumerate(lines[1:])]
    (project / "split.csv").write_text("\n".join([f"{lines[0]},{column}", *named]) + "\n")
    code, said, err = cli(capfd, "init", "shop_4801:chain", "--data", "split.csv")
    assert code == 0, err
    assert written(project)["data"].get("split") == (None if column == "split" else column)
    assert (f"data.split: {column} (guessed: its values are names of splits)" in said) is (column != "split")
    code, out, err = cli(capfd, "check", "--json")
    assert code == 0, err
    found = json.loads(out)["splits"]
    assert set(found) == ours
    assert found["test"] == 40
    guessed = "data.splits: train = Training, dev = validation, test = TEST (guessed: what these names usually mean)"
    assert (guessed in said) is (case == "others' names of splits")


def test_a_folder_with_a_file_named_validation_makes_a_file_that_check_accepts(project, capfd):
    lines = (project / "mails.csv").read_text().splitlines()
    (project / "mails").mkdir()
    for i, name in enumerate(("test", "train", "validation")):
        (project / "mails" / f"{name}.csv").write_text("\n".join([lines[0], *lines[1 + 40 * i : 41 + 40 * i]]) + "\n")
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "mails")
    assert code == 0, err
    assert written(project)["data"]["splits"] == {"train": "train", "dev": "validation", "test": "test"}
    assert cli(capfd, "check")[0] == 0


def test_a_guessed_group_gives_way_to_the_splits_of_the_data(project, capfd):
    lines = (project / "mails.csv").read_text().splitlines()
    crossing = [
        f"{line.rpartition(',')[0]},C{i % 40},{('train', 'dev', 'test')[i // 40]}" for i, line in enumerate(lines[1:])
    ]
    (project / "split.csv").write_text("\n".join(["Mail ID,Body,Team,Lang,Customer,split", *crossing]) + "\n")
    code, out, err = cli(capfd, "init", "shop_4801:chain", "--data", "split.csv")
    assert code == 0, err
    assert "Customer is no group: its values are in several splits of the data" in out
    assert "group" not in written(project)["data"]
    assert cli(capfd, "init", "shop_4801:chain", "--data", "split.csv", "--group", "Customer", "--force")[0] == 2


def test_no_file_is_written_where_check_would_refuse_the_splits(project, capfd):
    lines = (project / "mails.csv").read_text().splitlines()
    only = [f"{lines[0]},split", *(f"{line},test" for line in lines[1:])]
    (project / "split.csv").write_text("\n".join(only) + "\n")
    code, _, err = cli(capfd, "init", "shop_4801:chain", "--data", "split.csv")
    assert (code, (project / "promptopt.toml").exists()) == (2, False)
    assert "at least one dev example is needed" in err


def test_prompts_are_listed_before_anything_is_set_up(project, capfd):
    code, out, err = cli(capfd, "prompts", "shop_4801:chain", "--data", "mails.csv", "--input", "email=Body")
    assert code == 0, err
    assert [line.split() for line in out.strip().splitlines()][1] == [
        "main",
        "template",
        "shop_4801:chain.first",
        "yes",
        "yes",
    ]
    listed = cli(capfd, "prompts", "shop_4801:chain", "--data", "mails.csv", "--input", "email=Body", "--json")
    assert [p["name"] for p in json.loads(listed[1])["prompts"]] == ["main"]
    code, _, err = cli(
        capfd, "prompts", "shop_4801:chain", "--data", "mails.csv", "--input", "email=Body", "--tune", "man"
    )
    assert code == 2
    assert "Did you mean 'main'?" in err


@pytest.mark.parametrize("model", [("--task-model", "offline"), ("--set", "optimize.task_models={ a = 'offline' }")])
def test_a_prompt_file_is_listed_with_the_models_a_run_may_have(project, capfd, model):
    (project / "prompt.txt").write_text(PROMPT.replace("{ticket}", "{email}"))
    code, out, err = cli(
        capfd, "prompts", "prompt.txt", "--data", "mails.csv", "--input", "email=Body", *model, "--json"
    )
    assert code == 0, err
    assert [p["name"] for p in json.loads(out)["prompts"]] == ["main"]
