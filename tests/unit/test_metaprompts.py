"""The user's own meta-prompts: checked at the door, sent in place of the package's, part of the run id."""

from __future__ import annotations

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.config import load_config
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.pipeline.prepare import prepare
from langchain_promptopt.steps import GlobalProposal, IdentifyTokens, LocalProposal, TextualGradient
from langchain_promptopt.steps.metaprompts import DEFAULT, MetaPrompts, metaprompt, names
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import optimizer
from tests.unit.test_select import Task, improve, rows

OWN = "You mend prompts. This sentence is mine."
SETTINGS = """
[task]
prompt = "prompt.txt"
model = "offline"

[data]
source = "rows.jsonl"

[evaluate]
evaluators = ["exact_match"]

[optimize]
model = "offline"

[optimize.metaprompts]
system = "own.txt"
identify.retry = "Again, please: $problem"
"""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sistem": "x"}, "Did you mean 'system'"),
        ({"allowance": "Be short."}, r"lacks \$words"),
        ({"system": "Use $tools."}, r"unknown \$tools"),
        ({"system": "It costs 5$."}, r"Write \$\$"),
        ({"system": "  "}, "a meta-prompt is a text"),
        ({"system": 3}, "a meta-prompt is a text"),
        ("system", "your text by name"),
    ],
)
def test_what_cannot_be_filled_is_refused_before_anything_is_paid(given, told, tmp_path):
    task = Task()
    with pytest.raises(ConfigError, match=told):
        optimize(task.chain, data=rows(), optimizer_model="offline", metaprompts=given, evaluators=["exact_match"])
    assert task.calls == 0


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "own.txt").write_text(OWN)
    assert MetaPrompts.of({"system": tmp_path / "own.txt"}).text("system") == OWN
    with pytest.raises(ConfigError, match=r"gone\.txt"):
        MetaPrompts.of({"system": tmp_path / "gone.txt"})


def test_the_optimizer_model_is_told_the_users_text_and_the_run_is_another(tmp_path):
    heard = []

    def listen(messages):
        heard.append(str(messages[0].text))
        return improve(messages)

    given = {"data": rows(), "evaluators": ["exact_match"], "method": "lpo-pe2", "apply": "never", "runs_dir": None}
    given |= {"openings": tmp_path / "o.jsonl"}
    plain = optimize(Task().chain, optimizer_model=optimizer(listen), **given)
    assert {*heard} == {metaprompt("system")}
    heard.clear()
    own = optimize(Task().chain, optimizer_model=optimizer(listen), metaprompts={"system": OWN}, **given)
    assert {*heard} == {OWN}
    assert own.run_id != plain.run_id


def test_settings_name_texts_and_files(tmp_path):
    (tmp_path / "own.txt").write_text(OWN)
    (tmp_path / "promptopt.toml").write_text(SETTINGS)
    (tmp_path / "prompt.txt").write_text("Sort words. Word: {word}")
    config = load_config(tmp_path / "promptopt.toml")
    given = prepare(config).settings.metaprompts
    assert given.text("system") == OWN
    assert given.text("identify.retry") == "Again, please: $problem"


def test_steps_show_what_they_send():
    model = ScriptedModel(fn=lambda _: "[]")
    step = IdentifyTokens(model=model, metaprompts={"system": OWN})
    shown = {p.metadata["name"]: p for p in step.get_prompts()}
    assert shown["system"].format() == OWN
    assert shown["system"].metadata["own"]
    assert shown["identify.retry"].format(problem="no {brace}") == DEFAULT.fill("identify.retry", problem="no {brace}")
    step.invoke({"prompt": "Be brief. {question}", "errors": [{"inputs": "x"}]})
    assert model.calls[0][0].text == OWN


@pytest.mark.parametrize("kind", [TextualGradient, IdentifyTokens, LocalProposal, GlobalProposal])
def test_every_meta_prompt_that_is_shown_exists(kind):
    for prompt in kind(model=ScriptedModel(fn=lambda _: "")).get_prompts():
        assert prompt.metadata["name"] in names()
        filled = {name: "x" for name in prompt.input_variables}
        assert prompt.format(**filled) == DEFAULT.fill(prompt.metadata["name"], **filled)
