"""`run_step` and `promptopt optimize`: one job, two doors; what they leave behind, and what failures look like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

import langchain_promptopt
from langchain_promptopt import run_step
from langchain_promptopt.cli.app import run
from langchain_promptopt.config import config_from_dict, toml_text
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.pipeline.prepare import settings_from
from langchain_promptopt.report.markdown import MARKER
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import GOOD, PROMPT, rows, write_task

KEYS = {"outcome", "exit_code", "run_id", "replayed", "prompts", "test", "edits", "usage", "error"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_task(tmp_path)


def with_(config, **sections):
    return {name: config.get(name, {}) | sections.get(name, {}) for name in {*config, *sections}}


def journal_of(folder, answer):
    return folder / ".promptopt" / "runs" / answer["run_id"] / "journal.jsonl"


def comparable(answer):
    """An answer without what a clock or a replay changes."""

    def timeless(value):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"} if isinstance(value, dict) else value

    return timeless({k: v for k, v in answer.items() if k != "replayed"})


def test_the_step_is_a_name_of_the_package():
    assert "run_step" in langchain_promptopt.__all__
    assert langchain_promptopt.run_step is run_step


def test_step_and_command_line_are_the_same_run(config, tmp_path, capfd):
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    answer = run_step(config, root=tmp_path)
    assert answer.keys() >= KEYS
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["outcome"], answer["exit_code"], answer["replayed"]) == ("improved", 0, False)
    assert run(["optimize", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["replayed"]
    assert comparable(said) == comparable(answer)


def test_a_replay_calls_no_model_and_writes_no_line(config, tmp_path):
    with OpenAIServer(brain_of(_offline("task"))) as server:
        served = with_(config, task={"model": "openai:task", "base_url": server.base_url})
        first = run_step(served, root=tmp_path)
        assert first["outcome"] == "improved", first["error"]
        calls, asked, lines = server.count, server.arrived, journal_of(tmp_path, first).read_bytes()
        assert calls == first["usage"]["by_role"]["task"]["calls"]
        again = run_step(served, root=tmp_path)
        assert (again["replayed"], server.arrived) == (True, asked)  # not even what is free
        assert journal_of(tmp_path, first).read_bytes() == lines


def _offline(role):
    from langchain_promptopt.offline import offline_model

    return offline_model(role)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"budget": {"calls": 5000}}, True),
        ({"optimize": {"max_concurrency": 2}}, True),
        ({"output": {"summary": "x.md", "prompts": "out"}}, True),
        ({"optimize": {"seed": 1}}, False),
        ({"gate": {"min_improvement": 0.1}}, False),
        ({"evaluate": {"evaluators": ["label_match"]}}, False),
        ({"task": {"freeze": ["## Labels"]}}, False),
    ],
)
def test_the_run_id_is_a_hash_of_what_decides_the_result(config, tmp_path, change, same):
    ids = [run_step(with_(config, **c), root=tmp_path)["run_id"] for c in ({}, change)]
    assert (ids[0] == ids[1]) is same


def test_other_data_or_prompt_is_another_run_and_another_place_is_not(config, tmp_path):
    here = run_step(config, root=tmp_path)["run_id"]
    moved = write_task(tmp_path / "elsewhere")
    assert run_step(moved, root=tmp_path / "elsewhere")["run_id"] == here
    changed = write_task(tmp_path / "rows", data=rows(test=26))
    assert run_step(changed, root=tmp_path / "rows")["run_id"] != here
    reworded = write_task(tmp_path / "words", prompt=PROMPT.replace("Choose", "Pick"))
    assert run_step(reworded, root=tmp_path / "words")["run_id"] != here


def test_an_unfinished_run_goes_on(config, tmp_path):
    whole = run_step(config, root=tmp_path)
    journal = journal_of(tmp_path, whole)
    lines = journal.read_bytes().splitlines(keepends=True)
    for cut in (1, len(lines) // 2, len(lines) - 1):
        journal.write_bytes(b"".join(lines[:cut]) + lines[cut][:9])
        (tmp_path / "promptopt.openings.jsonl").unlink(missing_ok=True)
        again = run_step(config, root=tmp_path)
        assert not again["replayed"]
        assert (again["test"], again["prompts"]) == (whole["test"], whole["prompts"])
        kinds = [json.loads(line)["type"] for line in journal.read_bytes().splitlines()]
        assert kinds.count("scored") == sum(b'"type":"scored"' in line for line in lines)


def test_everything_asked_for_is_left_behind(config, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out.txt"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    files = {"summary": "comment.md", "junit": "junit.xml", "prompts": "prompts"}
    answer = run_step(with_(config, output=files), root=tmp_path)
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith(MARKER)
    assert (tmp_path / "step.md").read_text() == comment
    for told in (
        "better / worse",
        "interval",
        "Examples that got worse",
        "refund",
        "rule names the wrong label",
        "roll back",
    ):
        assert told in comment, told
    assert "My parcel never came" not in comment
    outputs = dict(line.split("=", 1) for line in (tmp_path / "out.txt").read_text().splitlines())
    assert outputs["outcome"] == "improved"
    assert outputs["run_id"] == answer["run_id"]
    suites = ET.fromstring((tmp_path / "junit.xml").read_text())  # our own file
    assert suites.get("failures") == "0"
    saved = "".join(p.read_text() for p in (tmp_path / "prompts").rglob("*") if p.is_file())
    assert "answer delivery" in saved
    html = (journal_of(tmp_path, answer).parent / "report.html").read_text()
    assert "My parcel never came" in html
    shown = run_step(with_(config, output=files | {"show_rows": True}), root=tmp_path)
    assert shown["replayed"]
    assert json.loads((journal_of(tmp_path, answer).parent / "result.json").read_text())["run_id"] == answer["run_id"]


def test_nothing_proven_writes_no_prompt(config, tmp_path):
    answer = run_step(with_(config, gate={"min_improvement": 0.7}, output={"prompts": "prompts"}), root=tmp_path)
    assert (answer["outcome"], answer["exit_code"]) in {("no_gain", 3), ("inconclusive", 3)}
    assert not (tmp_path / "prompts").exists()


def test_no_gain_is_code_3_and_zero_only_when_asked(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    config = write_task(tmp_path)
    (tmp_path / "promptopt.toml").write_text(toml_text(with_(config, task={"freeze": ["## Rules"]})))
    assert run(["optimize", "--json"]) == 3
    assert json.loads(capfd.readouterr().out)["exit_code"] == 3
    assert run(["optimize", "--json", "--ok", "no_gain"]) == 0
    assert json.loads(capfd.readouterr().out) | {"exit_code": 0, "outcome": "no_gain"} == json.loads(
        json.dumps(run_step(with_(config, task={"freeze": ["## Rules"]}), root=tmp_path))
    ) | {"exit_code": 0}
    assert run(["optimize", "--ok", "everything"]) == 2


def test_file_environment_flags_from_weak_to_strong(config, tmp_path, monkeypatch, capfd):
    (tmp_path / "promptopt.toml").write_text(toml_text(with_(config, optimize={"seed": 1})))

    def seed(*flags):
        assert run(["optimize", "--json", *flags]) in {0, 3}
        line = journal_of(tmp_path, json.loads(capfd.readouterr().out)).read_text().splitlines()[0]
        return json.loads(line)["data"]["seed"]

    assert seed() == 1
    monkeypatch.setenv("PROMPTOPT_OPTIMIZE__SEED", "2")
    assert seed() == 2
    assert seed("--seed", "3") == 3
    answer = run_step(with_(config, optimize={"seed": 1}), root=tmp_path)
    assert json.loads(journal_of(tmp_path, answer).read_text().splitlines()[0])["data"]["seed"] == 2


def test_ephemeral_workers_keep_runs_where_the_variable_says(config, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTOPT_RUNS_DIR", str(tmp_path / "kept"))
    first = run_step(config, root=tmp_path)
    assert (tmp_path / "kept" / first["run_id"] / "journal.jsonl").is_file()
    assert not (tmp_path / ".promptopt").exists()
    again = run_step(write_task(tmp_path / "fresh checkout"), root=tmp_path / "fresh checkout")
    assert (again["replayed"], again["run_id"]) == (True, first["run_id"])


# ------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("change", "code", "kind", "said"),
    [
        ({"optimize": {"speed": 3}}, 2, "config", "speed"),
        ({"optimize": {"model": None}}, 2, "config", "optimize.model"),
        ({"optimize": {"method": "lpo-pe"}}, 2, "recipe", "lpo-pe2"),
        ({"data": {"source": "empty.jsonl"}}, 2, "data", "empty.jsonl"),
        ({"task": {"prompt": "none.txt"}}, 2, "config", "none.txt"),
        ({"task": {"freeze": ["message:0"]}}, 2, "prompt", "nothing is left to edit"),
        ({"budget": {"calls": 3}}, 2, "config", "held-out test"),
        ({"task": {"temperature": 0.5, "model": None}}, 2, "config", "temperature"),
        ({"optimize": {"base_url": "http://127.0.0.1:9/v1"}}, 2, "config", "no endpoint"),
    ],
)
def test_a_step_never_raises(config, tmp_path, change, code, kind, said):
    (tmp_path / "empty.jsonl").touch()
    answer = run_step(with_(config, **change), root=tmp_path)
    assert answer.keys() >= KEYS
    assert (answer["outcome"], answer["exit_code"], answer["error"]["kind"]) == ("failed", code, kind)
    assert said in answer["error"]["message"]
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("line", "code", "outcome"),
    [
        ("raise RuntimeError('sk-abcdef123456 exploded')", 2, "failed"),
        ("import sys; sys.exit(7)", 2, "failed"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_not_even_for_a_bug(config, tmp_path, line, code, outcome, caplog):
    (tmp_path / f"app_{code}_{len(line)}.py").write_text(line)
    broken = config | {"task": {"chain": f"app_{code}_{len(line)}:chain"}}
    answer = run_step(broken, root=tmp_path)
    assert (answer["exit_code"], answer["outcome"]) == (code, outcome)
    assert "sk-abcdef" not in json.dumps(answer)
    assert ("unexpected error" in caplog.text) == (code != 2)
    assert run_step("no mapping", root=tmp_path)["exit_code"] in {1, 2}  # type: ignore[arg-type]  # on purpose


def test_models_out_of_reach_are_code_5_and_the_step_goes_on_when_they_are_back(config, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out.txt"))
    with OpenAIServer(brain_of(_offline("task"))) as server:
        port = server.port
    down = with_(
        config,
        task={"model": "openai:task", "base_url": f"http://127.0.0.1:{port}/v1"},
        output={"summary": "c.md", "junit": "j.xml"},
    )
    answer = _impatiently(down, tmp_path)
    assert (answer["outcome"], answer["exit_code"]) == ("failed", 5), str(answer["error"])
    assert answer["error"]["retryable"]
    assert answer["run_id"]
    assert "goes on where it stopped" in (tmp_path / "c.md").read_text()
    assert (tmp_path / "c.md").read_text().startswith(MARKER)
    assert 'errors="1"' in (tmp_path / "j.xml").read_text()
    assert "outcome=failed" in (tmp_path / "out.txt").read_text()
    with OpenAIServer(brain_of(_offline("task")), port=port):
        again = run_step(down, root=tmp_path)
    assert (again["run_id"], again["outcome"]) == (answer["run_id"], "improved")


def _impatiently(config, root):
    """The step with two tries a call; the ten of the contract take minutes."""
    from dataclasses import replace

    from langchain_promptopt._runtime.retry import RetryPolicy
    from langchain_promptopt.errors import PromptOptError
    from langchain_promptopt.pipeline.delivering import failure_json, failures_told
    from langchain_promptopt.pipeline.prepare import start

    loaded = config_from_dict(config, root=root)
    try:
        with failures_told(loaded):
            prepared = start(loaded)
            quick = RetryPolicy(attempts=2, base=0.01, cap=0.02)
            prepared.settings = replace(prepared.settings, policy=quick)
            return prepared.optimize().as_json()
    except PromptOptError as error:
        return failure_json(error)


def test_a_spent_budget_is_code_4_or_a_verdict(config, tmp_path):
    answer = run_step(with_(config, budget={"calls": 60}), root=tmp_path)
    assert answer["exit_code"] in {4, 3}
    assert answer["usage"]["calls"] <= 60


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_in_order(config, tmp_path, number, code):
    script = (
        "import json, os, sys\n"
        "from langchain_promptopt import run_step\n"
        "class Stop:\n"
        "    def on_event(self, event):\n"
        "        if event.type == 'scored' and not hasattr(self, 'done'):\n"
        f"            self.done = os.kill(os.getpid(), {int(number)})\n"
        "print(json.dumps(run_step(json.load(sys.stdin), observers=[Stop()])))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(config), capture_output=True, text=True, check=True,
        cwd=tmp_path, env=env,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert (answer["outcome"], answer["exit_code"]) == ("interrupted", code)
    assert answer["error"]["retryable"]
    assert run_step(config, root=tmp_path)["run_id"] == answer["run_id"]


# ------------------------------------------------------------ settings that reach their place


def test_every_setting_reaches_its_place(config, tmp_path):
    with OpenAIServer() as server:
        given = with_(
            config,
            task={"model": "openai:t", "base_url": server.base_url, "temperature": 0.25, "max_tokens": 77},
            optimize={
                "model": "openai:o", "base_url": server.base_url, "temperature": 0.5, "max_reply_tokens": 99,
                "requests_per_second": 4.0, "max_failure_rate": 0.2,
            },
            data={"note": "remark"},
        )  # fmt: skip
        settings = settings_from(config_from_dict(given, root=tmp_path))
    task, optimizer = settings.task_model, settings.optimizer_model
    assert (task.temperature, task.max_tokens, task.openai_api_base) == (0.25, 77, server.base_url)
    assert (optimizer.temperature, optimizer.max_tokens) == (0.5, 99)
    assert settings.optimizer_kwargs == {"temperature": 0.5}
    assert settings.requests_per_second == 4.0
    assert settings.columns.note == "remark"
    fixed = with_(given, task={"model": "openai:o3-mini"}, optimize={"model": "openai:gpt-5"})
    settings = settings_from(config_from_dict(fixed, root=tmp_path))
    assert settings.optimizer_kwargs == {}
    assert settings.optimizer_model.temperature is None


def test_sampling_is_sent_and_decides_the_run_id(config, tmp_path):
    seen = []

    def brain(role):
        think = brain_of(_offline(role))
        return lambda messages: think(messages)

    with OpenAIServer({"task": brain("task"), "opt": brain("optimizer")}) as server:
        served = with_(
            config,
            task={"model": "openai:task", "base_url": server.base_url, "temperature": 0.25, "max_tokens": 50},
            optimize={"model": "openai:opt", "base_url": server.base_url, "temperature": 0.375},
        )
        answer = run_step(served, root=tmp_path)
        assert answer["outcome"] == "improved", answer["error"]
        for request in server.asked("POST", "/v1/chat/completions"):
            body = json.loads(request.body)
            seen.append(
                (body["model"], body.get("temperature"), body.get("max_tokens", body.get("max_completion_tokens")))
            )
        # at a near endpoint the two reasons of a batch are shorter than a reply that marks and rewrites
        assert set(seen) == {("task", 0.25, 50), ("opt", 0.375, 1000), ("opt", 0.375, 100 + 2 * 150)}
        warmer = run_step(with_(served, task={"temperature": 0.5}), root=tmp_path)
        assert warmer["run_id"] != answer["run_id"]


def test_notes_of_rows_reach_the_optimizer(config, tmp_path):
    noted = [row | {"remark": "look at the verb"} for row in rows()]
    config = write_task(tmp_path, data=noted)
    with OpenAIServer(brain_of(_offline("optimizer"))) as server:
        served = with_(config, data={"note": "remark"}, optimize={"model": "openai:opt", "base_url": server.base_url})
        run_step(served, root=tmp_path)
        assert any("look at the verb" in request.body.decode() for request in tuple(server.requests))


# ------------------------------------------------------------ compare, dry run, from an earlier run


def test_compare_leaves_the_same_files(config, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out.txt"))
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    (tmp_path / "new.txt").write_text(GOOD)
    code = run(["compare", "prompt.txt", "new.txt", "--json", "--summary", "c.md", "--junit", "j.xml"])
    said = json.loads(capfd.readouterr().out)
    assert (code, said["outcome"]) == (0, "improved")
    comment = (tmp_path / "c.md").read_text()
    assert comment.startswith(MARKER)
    assert '"refund", answer billing.\n+ - If the message mentions "refund", answer delivery.' in comment
    assert 'failures="0"' in (tmp_path / "j.xml").read_text()
    assert "outcome=improved" in (tmp_path / "out.txt").read_text()
    back = run(["compare", "new.txt", "prompt.txt", "--json", "--summary", "d.md"])
    assert back == 3
    assert "Examples that got worse: 12 of 24" in (tmp_path / "d.md").read_text()


def test_two_prompts_with_nothing_in_common_can_be_compared_and_reported(config, tmp_path, capfd):
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    head, tail = GOOD.split("Message:")
    messages = [{"role": "system", "content": head}, {"role": "human", "content": "Message:" + tail}]
    (tmp_path / "new.json").write_text(json.dumps({"messages": messages}))
    assert run(["compare", "prompt.txt", "new.json", "--json", "--summary", "c.md"]) == 0
    assert json.loads(capfd.readouterr().out)["outcome"] == "improved"
    assert "Examples that got worse: 0 of 24" in (tmp_path / "c.md").read_text()


def test_dry_run_pays_nothing_and_keeps_the_id(config, tmp_path, capfd):
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    assert run(["optimize", "--dry-run", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert not (tmp_path / ".promptopt").exists()
    assert run_step(config, root=tmp_path)["run_id"] == said["run_id"]


def test_edits_of_an_earlier_run_are_tried_first(config, tmp_path):
    first = run_step(config, root=tmp_path)
    changed = write_task(tmp_path, prompt="Be quick. " + PROMPT, data=rows(start=40))
    again = run_step(with_(changed, optimize={"from_run": first["run_id"][:6]}), root=tmp_path)
    assert any("1 of 1 edits of the earlier run still fit" in w for w in again["warnings"])
    events = [json.loads(line) for line in journal_of(tmp_path, again).read_text().splitlines()]
    tried = next(e["data"] for e in events if e["type"] == "proposed")
    assert tried["step"] == 0
    assert [(e["old"], e["new"], e["start"]) for e in tried["edits"]] == [("billing", "delivery", 192)]
    assert (again["outcome"], again["edits"][0]["new"]) == ("improved", "delivery")
    plain = run_step(changed, root=tmp_path)
    assert plain["run_id"] != again["run_id"]
    assert run_step(with_(changed, optimize={"from_run": first["run_id"]}), root=tmp_path)["run_id"] == again["run_id"]


def test_an_edit_whose_text_is_gone_is_left_out(config, tmp_path):
    first = run_step(config, root=tmp_path)
    gone = write_task(tmp_path, prompt=PROMPT.replace("## Rules\n", "").replace("- If the message", "- When it"))
    fits = run_step(with_(gone, optimize={"from_run": "latest"}), root=tmp_path)
    assert any("of 1 edits of the earlier run" in w for w in fits["warnings"])
    frozen = with_(write_task(tmp_path), optimize={"from_run": first["run_id"]}, task={"freeze": ["## Rules"]})
    answer = run_step(frozen, root=tmp_path)
    assert any("0 of 1 edits" in w for w in answer["warnings"])
    assert answer["edits"] == []
    lost = run_step(with_(config, optimize={"from_run": "beef"}), root=tmp_path)
    assert (lost["exit_code"], "there is no run" in lost["error"]["message"]) == (2, True)


def test_a_setting_of_a_model_that_is_not_named_is_refused():
    with pytest.raises(ConfigError, match=r"task\.max_tokens is set, and task\.model is not"):
        config_from_dict({"task": {"chain": "a:b", "max_tokens": 5}})


@pytest.mark.parametrize("broken", ["[optimise]\nseed = 1\n", "[optimize\n", '[output]\nsummary = "c.md"\nlost = 1\n'])
@pytest.mark.parametrize("verb", [["optimize"], ["compare", "prompt.txt", "prompt.txt"], ["resume", "latest"]])
def test_settings_that_cannot_be_read_are_told_where_the_pipeline_looks(tmp_path, monkeypatch, capfd, verb, broken):
    """A step that ends with code 2 must not leave yesterday's verdict, or nothing, for the next step to read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out.txt"))
    monkeypatch.setenv("PROMPTOPT_OUTPUT__SUMMARY", "c.md")
    (tmp_path / "promptopt.toml").write_text(broken)
    assert run([*verb, "--json", "--junit", "j.xml"]) == 2
    said = json.loads(capfd.readouterr().out)["error"]["message"]
    assert (tmp_path / "c.md").read_text().startswith(MARKER)
    assert 'errors="1"' in (tmp_path / "j.xml").read_text()
    assert said[:15] in (tmp_path / "j.xml").read_text().replace("&apos;", "'")
    assert "outcome=failed" in (tmp_path / "out.txt").read_text()


def test_a_step_with_an_unknown_key_tells_its_files_too(config, tmp_path):
    answer = run_step(with_(config, optimize={"speed": 3}, output={"summary": "c.md", "junit": "j.xml"}), root=tmp_path)
    assert answer["exit_code"] == 2
    assert "speed" in (tmp_path / "c.md").read_text()
    assert "speed" in (tmp_path / "j.xml").read_text()


def test_the_second_of_two_steps_on_one_run_may_come_again(config, tmp_path):
    """Two schedulers, one run: the second gets code 5 at once, pays nothing, and later replays what the first found."""
    second = []

    class Meanwhile:
        def on_event(self, event):
            if event.type == "scored" and not second:
                second.append(None)
                second[0] = run_step(config, root=tmp_path)

    first = run_step(config, root=tmp_path, observers=[Meanwhile()])
    assert first["outcome"] == "improved"
    [busy] = second
    assert (busy["outcome"], busy["exit_code"], busy["run_id"]) == ("failed", 5, first["run_id"])
    assert (busy["error"]["kind"], busy["error"]["retryable"]) == ("busy", True)
    again = run_step(config, root=tmp_path)
    assert (again["replayed"], again["test"]) == (True, first["test"])


def test_what_a_row_says_stays_out_of_what_a_pipeline_publishes(tmp_path, monkeypatch, capfd):
    """A baseline that is always wrong shows a row: here, and not in comment, JUnit, annotation or a workflow's log."""
    monkeypatch.chdir(tmp_path)
    config = write_task(tmp_path, data=[row | {"outputs": {"label": "none of them"}} for row in rows()])
    config["output"] = {"summary": "c.md", "junit": "j.xml"}
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    row_text = ("wrong sum", "my parcel", "my password", "none of them")

    def shown(text):
        return any(words in text.lower() for words in row_text)

    def files():
        return (tmp_path / "c.md").read_text() + (tmp_path / "j.xml").read_text()

    assert run(["optimize"]) == 2
    assert shown(capfd.readouterr().err)
    assert not shown(files())
    assert "whose text is left out here" in files()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run(["optimize", "--json"]) == 2
    said = capfd.readouterr()
    assert "::error title=promptopt::the baseline scores 0 on all" in said.err
    assert not shown(said.err)
    error = json.loads(said.out)["error"]
    assert shown(error["message"])
    assert not shown(error["public"])
    assert run(["optimize", "--show-rows"]) == 2
    assert shown(files())


def test_a_workflow_log_tells_rows_by_id_and_score(config, tmp_path, monkeypatch, capfd):
    (tmp_path / "promptopt.toml").write_text(toml_text(config))
    assert run(["optimize"]) == 0
    assert "My parcel never came" in capfd.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run(["optimize"]) == 0
    told = capfd.readouterr().out
    assert "test-1" in told
    assert "My parcel" not in told
    assert run(["optimize", "--show-rows"]) == 0
    assert "My parcel never came" in capfd.readouterr().out


# ------------------------------------------------------------ an optimizer model out of the user's own code

MODELS = """
from langchain_promptopt.offline import OfflineOptimizerModel
editor = OfflineOptimizerModel()
no_model = {"editor": editor}
"""


@pytest.mark.parametrize("place", ["models_of_ours.py", "app_of_ours/models.py"])
def test_an_optimizer_model_is_imported_like_a_chain(config, tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(MODELS)
    name = place.removesuffix(".py").replace("/", ".") + ":editor"
    plain = run_step(config, root=tmp_path)
    answer = run_step(with_(config, optimize={**config["optimize"], "model": name}), root=tmp_path)
    assert answer["error"] is None
    assert answer["run_id"] == plain["run_id"]  # the same model, whoever made it
    assert answer["replayed"]


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("models_of_ours:no_model", {}, "a dict is not a model"),
        ("models_of_ours:nothing", {}, "'models_of_ours' has no 'nothing'"),
        ("gone.models:editor", {}, "no module 'gone'"),
        ("models_of_ours:editor", {"base_url": "http://127.0.0.1:1"}, "has its own endpoint"),
    ],
)
def test_what_is_no_optimizer_model_is_refused_by_its_key(config, tmp_path, name, more, told):
    (tmp_path / "models_of_ours.py").write_text(MODELS)
    optimize = {**config["optimize"], "model": name, **more}
    answer = run_step(with_(config, optimize=optimize), root=tmp_path)
    assert answer["exit_code"] == 2
    assert told in answer["error"]["message"]
    assert f"optimize.model = {name!r}" in answer["error"]["message"]
