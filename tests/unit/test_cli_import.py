"""`promptopt import`: files of promptim, OpenAI and promptfoo become settings, examples and a prompt."""

from __future__ import annotations

import json
import tomllib

import pytest

from langchain_promptopt.cli.app import run

PROMPTIM = {
    "$schema": "https://raw.githubusercontent.com/hinthornw/promptimizer/refs/heads/main/config-schema.json",
    "name": "Triage",
    "dataset": "mails",
    "description": "Sort mails",
    "evaluators": "./task.py:evaluators",
    "evaluator_descriptions": {"accuracy": "Whether the category is right"},
    "optimizer": {"model": {"model": "claude-3-5-sonnet-20241022", "max_tokens_to_sample": 8192}},
    "initial_prompt": {"identifier": "triage:43588ed8", "upload_to": "triage"},
}
PROMPTFOO = """\
description: Sorting
prompts:
  - |-
    Sort the mail: {{mail}}
    Use {one} word.
  - file://other.txt
providers:
  - id: openai:chat:gpt-4o-mini
    config: { temperature: 0.2, apiBaseUrl: "http://127.0.0.1:9/v1" }
  - anthropic:messages:claude-sonnet-4-5
defaultTest:
  vars: { tone: calm }
  assert: [{ type: latency, threshold: 900 }]
tests:
  - vars: { mail: "I want my money back" }
    assert: [{ type: equals, value: refund }]
    metadata: { split: test }
  - vars: { mail: "Where is it?" }
    assert: [{ type: llm-rubric, value: is kind }]
  - file://more.csv
outputPath: out.json
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(capfd, *args, code=0):
    assert run(["import", *args]) == code
    return capfd.readouterr()


def settings(path="promptopt.toml"):
    with open(path, "rb") as stream:
        return tomllib.load(stream)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_promptim_becomes_settings(here, capfd):
    (here / "config.json").write_text(json.dumps(PROMPTIM))
    (here / "task.py").write_text("def accuracy(run, example): ...\nevaluators = [accuracy]\nraise SystemExit\n")
    said = imported(capfd, "config.json").out
    assert settings() == {
        "data": {"source": "mails"},
        "task": {"prompt": "-/triage:43588ed8"},
        "evaluate": {"evaluators": ["task.py:accuracy"]},
        "gate": {"primary": "accuracy"},
        "optimize": {"model": "anthropic:claude-3-5-sonnet-20241022", "max_reply_tokens": 8192},
    }
    assert "upload_to: nothing is pushed unless you ask for it" in " ".join(said.split())
    assert "Write it: [task] model" in " ".join(said.split())
    assert sorted(path.name for path in here.iterdir()) == ["config.json", "promptopt.toml", "task.py"]


def test_a_promptim_system_and_a_text_prompt(here, capfd):
    prompt = {"prompt_str": "Sort {mail}", "model_config": {"model": "gpt-4o-mini", "temperature": 0}}
    data = PROMPTIM | {"initial_prompt": prompt, "system": "./task.py:my_system", "evaluators": "./gone.py:right"}
    (here / "config.json").write_text(json.dumps(data))
    said = " ".join(imported(capfd, "config.json").out.split())
    assert settings()["task"] == {"model": "openai:gpt-4o-mini", "temperature": 0, "prompt": "config-prompt.json"}
    assert settings()["evaluate"]["evaluators"] == ["gone.py:right"]
    assert "system = './task.py:my_system'" in said
    assert "could not be read; the name is taken as it is" in said


def test_a_promptim_file_of_the_first_form_is_refused(here, capfd):
    (here / "config.json").write_text('{"optimizer": {"model": {}}, "task": "task.py:tweet_task"}')
    assert "no code is run here" in imported(capfd, "config.json", code=2).err
    assert not (here / "promptopt.toml").exists()


def test_promptfoo_becomes_settings_examples_and_a_prompt_that_check_takes(here, capfd):
    (here / "promptfooconfig.yaml").write_text(PROMPTFOO)
    rows = "".join(
        f"mail {i} about {'money' if i % 2 else 'a key'},{'refund' if i % 2 else 'access'}\n" for i in range(60)
    )
    (here / "more.csv").write_text("mail,__expected\n" + rows + "one more,contains: x\n")
    said = json.loads(imported(capfd, "promptfooconfig.yaml", "--json").out)
    assert said["tool"] == "promptfoo"
    assert settings()["task"] == {
        "model": "openai:gpt-4o-mini",
        "temperature": 0.2,
        "base_url": "http://127.0.0.1:9/v1",
        "prompt": "promptfooconfig-prompt.json",
    }
    examples = lines(here / "promptfooconfig-examples.jsonl")
    assert len(examples) == 62
    assert examples[0] == {
        "inputs": {"tone": "calm", "mail": "I want my money back"},
        "outputs": {"assert": [{"type": "equals", "value": "refund"}]},
        "metadata": {"split": "test"},
    }
    assert examples[1]["outputs"] == {"assert": [{"type": "equals", "value": "access"}]}
    assert examples[-1]["outputs"] == {"assert": [{"type": "contains", "value": "x"}]}
    assert settings()["evaluate"]["evaluators"] == ["assertions"]
    left = "\n".join(said["not_taken"])
    known = ("1 more prompts", "1 more providers", "1 of 63 tests", "latency (63)", "llm-rubric (1)", "openevals")
    for told in (*known, "outputPath"):
        assert told in left
    for example in examples:  # a split for one row is a split for all
        example.pop("metadata", None)
    (here / "promptfooconfig-examples.jsonl").write_text("\n".join(map(json.dumps, examples)))
    text = (here / "promptopt.toml").read_text()
    (here / "promptopt.toml").write_text("".join(line for line in text.splitlines(True) if "base_url" not in line))
    sets = ("--task-model", "offline", "--model", "offline", "--set", "task.temperature=0")
    assert run(["check", *sets, "--json"]) == 0, capfd.readouterr()


ASSERTS = """\
prompts: ["Answer: {{q}}"]
providers: [openai:gpt-4o-mini]
tests:
  - vars: { q: one, want: blue }
    assert:
      - { type: equals, value: "{{ want }}" }
      - { type: not-icontains, value: sorry, weight: 2 }
      - { type: contains-all, value: [a, "{{want}}"] }
      - { type: is-json, value: { type: object } }
      - { type: regex, value: "(" }
      - { type: equals, value: "{{ want | upper }}" }
      - { type: javascript, value: output.length < 9 }
  - vars: { q: two }
    assert: [{ type: contains, value: file://big.txt }]
"""


def test_assertions_of_promptfoo_are_taken_or_named(here, capfd):
    (here / "p.yaml").write_text(ASSERTS)
    said = json.loads(imported(capfd, "p.yaml", "--json").out)
    (example,) = lines(here / "p-examples.jsonl")
    assert example["outputs"]["assert"] == [
        {"type": "equals", "value": "blue"},
        {"type": "not-icontains", "value": "sorry", "weight": 2},
        {"type": "contains-all", "value": ["a", "blue"]},
        {"type": "is-json"},
    ]
    left = "\n".join(said["not_taken"])
    for told in ("1 of 2 tests", "regex (1)", "equals (1)", "javascript (1)", "contains (1)", "schemas of 1 JSON"):
        assert told in left


def test_where_every_assertion_is_equals_the_value_is_the_answer(here, capfd):
    (here / "p.yaml").write_text("prompts: ['{{q}}']\ntests: t.csv\n")
    (here / "t.csv").write_text("q,__expected\none,blue\ntwo,grade: is kind\nthree,is-json\n")
    imported(capfd, "p.yaml")
    assert [e["outputs"]["assert"][0]["type"] for e in lines(here / "p-examples.jsonl")] == ["equals", "is-json"]
    (here / "t.csv").write_text("q,__expected\none,blue\n")
    (here / "q.yaml").write_text("prompts: ['{{q}}']\ntests: t.csv\n")
    imported(capfd, "q.yaml", "--out", "q.toml")
    assert [e["outputs"] for e in lines(here / "q-examples.jsonl")] == [{"answer": "blue"}]
    assert settings("q.toml")["evaluate"]["evaluators"] == ["exact_match"]


def test_openai_chats_become_one_prompt_and_examples(here, capfd):
    def chat(*said):
        return {"messages": [{"role": role, "content": text} for role, text in said]}

    system = ("system", 'Sort. Answer {"team": "x"}.')
    chats = [chat(system, ("user", f"mail {i}"), ("assistant", "ab"[i % 2])) for i in range(4)]
    chats += [
        chat(system, ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
        chat(("system", "Other."), ("user", "a"), ("assistant", "b")),
        chat(system, ("user", "a")) | {"tools": []},
    ]
    (here / "train.jsonl").write_text("\n".join(map(json.dumps, chats)) + "\n")
    said = " ".join(imported(capfd, "train.jsonl").out.split())
    prompt = json.loads((here / "train-prompt.json").read_text())
    assert prompt["messages"] == [
        {"role": "system", "content": 'Sort. Answer {{"team": "x"}}.'},
        {"role": "user", "content": "{question}"},
    ]
    assert lines(here / "train-examples.jsonl")[1] == {"inputs": {"question": "mail 1"}, "outputs": {"answer": "b"}}
    assert "OpenAI chat: 4 examples" in said
    for told in ("1 of 7 examples, which have several turns", "another system message", "no expected answer", "tools:"):
        assert told in said


def test_openai_evals_samples_keep_every_ideal_answer(here, capfd):
    samples = [
        {"input": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "a"}], "ideal": ["x", "y"]},
        {"input": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "b"}], "ideal": "x"},
    ]
    (here / "samples.jsonl").write_text("\n".join(map(json.dumps, samples)))
    imported(capfd, "samples.jsonl")
    assert [e["outputs"]["answer"] for e in lines(here / "samples-examples.jsonl")] == [["x", "y"], "x"]
    assert settings()["evaluate"]["evaluators"] == ["exact_match"]


def test_openai_evals_items(here, capfd):
    items = [{"item": {"ticket_text": f"my printer {i} is broken", "label": "ab"[i % 2]}} for i in range(8)]
    (here / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    said = imported(capfd, "items.jsonl").out
    assert lines(here / "items-examples.jsonl")[1] == {
        "inputs": {"ticket_text": "my printer 1 is broken"},
        "outputs": {"label": "b"},
    }
    assert "Write [task] prompt and [task] model" in " ".join(said.split())


@pytest.mark.parametrize("taken", ["promptopt.toml", "samples-examples.jsonl", "samples-prompt.json"])
def test_nothing_is_overwritten_and_nothing_half_written(here, capfd, taken):
    (here / "samples.jsonl").write_text(json.dumps({"input": "a", "ideal": "b"}))
    (here / taken).write_text("mine")
    assert f"{taken} exists already" in imported(capfd, "samples.jsonl", code=2).err
    assert (here / taken).read_text() == "mine"
    assert len(list(here.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.json", "{", "this is not JSON"),
        ("x.json", "[1]", "an object is expected, not list"),
        ("x.json", '{"a": 1}', "the format of this file is not known"),
        ("x.yaml", "a: [", "this is not YAML"),
        ("x.yaml", "a: 1", "has no `prompts`"),
        ("x.jsonl", "\n", "the file is empty"),
        ("x.jsonl", '{"a": 1}', "neither chats"),
        ("x.jsonl", '{"messages": 3}', "not in the form that its tool writes"),
        ("x.json", '{"initial_prompt": [], "evaluators": 3}', ""),
        ("x.yaml", "prompts: [a]\nproviders: 7\ntests: [{vars: 3}]", "not in the form"),
        ("x.csv", "a,b", "promptopt init --data"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(here, capfd, name, text, told):
    (here / name).write_text(text)
    code = run(["import", name])
    out, err = capfd.readouterr()
    assert told in out + err
    assert (code == 2) == bool(told)
    assert "Traceback" not in err
