"""Prompts in a real MLflow registry: the laws of a sink, what is written, what is refused, and the way back."""

from __future__ import annotations

import offline
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_promptopt_mlflow import MlflowPrompts
from mlflow import MlflowClient

from langchain_promptopt.errors import ConflictError, PromptError
from langchain_promptopt.testing.conformance import PromptSinkTests
from langchain_promptopt.types import Message, Prompt, PromptSet


class TestMlflowPrompts(PromptSinkTests):
    @pytest.fixture
    def sink(self, client):
        return MlflowPrompts("triage", client=client)


def chat(*messages, name="main", template_format="f-string"):
    return PromptSet((Prompt(name, tuple(Message(role, text, template_format) for role, text in messages)),))


TEXT = 'Answer {question} as {{"label": "x"}}. Ä{day}'


def pushed(sink, prompts, parent=None, tag=None, message="m"):
    return sink.push(prompts, message=message, parent=parent, tag=tag)


def test_a_prompt_is_a_version_with_message_alias_and_mlflows_variables(client):
    sink = MlflowPrompts("triage", client=client)
    assert sink.head() is None
    assert (
        pushed(sink, chat(("system", "Be brief."), ("human", TEXT), ("ai", "ok")), tag="staging", message="why") == "1"
    )
    kept = client.load_prompt("prompts:/triage@staging")
    assert (kept.version, kept.commit_message, kept.variables) == (1, "why", {"question", "day"})
    assert kept.template == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'Answer {{question}} as {"label": "x"}. Ä{{day}}'},
        {"role": "assistant", "content": "ok"},
    ]
    said = kept.format(question="Q", day="D")[1]["content"]
    back = sink.pull("@staging")
    assert back.format_messages(question="Q", day="D")[1].content == said == 'Answer Q as {"label": "x"}. ÄD'
    assert [m.prompt.template for m in back.messages] == ["Be brief.", TEXT, "ok"]
    assert sink.head() == "1"


def test_a_string_prompt_and_mustache_that_writes_values_as_they_are_are_held(client):
    sink = MlflowPrompts("triage", client=client)
    text = PromptSet((Prompt("main", (Message("human", "Read {x}."),), kind="string"),))
    assert pushed(sink, text) == "1"
    assert client.load_prompt("prompts:/triage/1").template == "Read {{x}}."
    assert sink.pull("1").format(x="{y}") == "Read {y}."
    value, mustache = {"x": "<a & b>", "y": "{c}"}, "Now {{{ x }}} {z} {{&y}}"
    assert pushed(sink, chat(("human", mustache), template_format="mustache"), parent="1") == "2"
    said = ChatPromptTemplate([("human", mustache)], template_format="mustache").format_messages(**value)[0].content
    assert said == "Now <a & b> {z} {c}"
    assert sink.pull().format_messages(**value)[0].content == said
    assert client.load_prompt("prompts:/triage/2").format(**value)[0]["content"] == said


def test_the_same_prompt_again_is_no_new_version_but_may_get_an_alias(client):
    sink, prompts = MlflowPrompts("triage", client=client), chat(("human", TEXT))
    pushed(sink, prompts)
    assert pushed(sink, prompts, parent=None, tag="production") == "1"
    assert client.load_prompt("prompts:/triage@production").version == 1
    assert sink.head() == "1"


@pytest.mark.parametrize(
    ("prompts", "what"),
    [
        (chat(("placeholder", "{history}")), "placeholder"),
        (chat(("human", "{x:.2f}")), "{x:.2f}"),
        (chat(("human", "{größe}")), "braces"),
        (chat(("human", "Say {{{{name}}}}.")), "braces"),
        (chat(("human", "Say {{% if %}}.")), "braces"),
        (chat(("human", "{{#a}}x{{/a}}"), template_format="mustache"), "{{#a}}"),
        (chat(("human", "Now {{x}}"), template_format="mustache"), "write three braces, {{{name}}}"),
        (chat(("human", "{% if a %}x{% endif %}"), template_format="jinja2"), "{% if a %}"),
    ],
)
def test_what_mlflow_cannot_hold_is_refused_before_anything_is_written(client, prompts, what):
    with pytest.raises(PromptError, match="cannot hold") as told:
        pushed(MlflowPrompts("triage", client=client), prompts)
    assert what in str(told.value)
    assert client.get_prompt("triage") is None


def test_several_prompts_are_one_each_and_one_commit(client):
    sink = MlflowPrompts("app", client=client)
    first, second = chat(("human", "A {x}"), name="tool:a"), chat(("human", "B {y}"), name="b")
    both = PromptSet((*first, *second))
    commit = pushed(sink, both, tag="staging")
    assert commit == "b=1,tool:a=1" == sink.head(both)
    assert client.load_prompt("prompts:/app.tool-a@staging").template[0]["content"] == "A {{x}}"
    changed = PromptSet((*first, *chat(("human", "C {y}"), name="b")))
    assert pushed(sink, changed, parent=commit) == "b=2,tool:a=2"
    assert sink.pull(prompt="b").format_messages(y=1)[0].content == "C 1"
    assert sink.pull("1", prompt="tool:a").format_messages(x=1)[0].content == "A 1"


def test_a_version_that_comes_in_between_is_told_and_no_alias_moves(client):
    class Meanwhile(MlflowClient):
        def register_prompt(self, name, template, **given):
            super().register_prompt(name, "somebody else's", **given)
            return super().register_prompt(name, template, **given)

    sink = MlflowPrompts("triage", client=client)
    first = pushed(sink, chat(("human", "one")), tag="staging")
    other = MlflowPrompts("triage", client=Meanwhile(client.tracking_uri, client._registry_uri))
    with pytest.raises(ConflictError, match="yours is version 3, not 2"):
        pushed(other, chat(("human", "two")), parent=first, tag="staging")
    assert client.load_prompt("prompts:/triage@staging", cache_ttl_seconds=0).version == 1


def test_a_run_of_what_is_registered_is_published(client, tmp_path):
    result, _, head = offline.run(tmp_path)
    assert (result.outcome, head) == ("improved", "2")
    kept = client.load_prompt("prompts:/triage@staging")
    assert kept.commit_message == f"run {result.run_id}"
    value = {"ticket": "My parcel is late"}
    assert kept.format(**value)[0]["content"] == result.prompt.format_messages(**value)[0].content
    before = client.load_prompt("prompts:/triage/1").format(**value)[0]["content"]
    assert before != kept.format(**value)[0]["content"]
