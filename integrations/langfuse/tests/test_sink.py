"""Prompts in Langfuse through its SDK: the laws of a sink, what is written, refused, promoted, and the way back."""

from __future__ import annotations

import random

import offline
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_promptopt_langfuse import LangfusePrompts
from langchain_promptopt_langfuse.form import content_of
from langfuse.model import TemplateParser
from server import PUBLIC, SECRET

from langchain_promptopt.errors import ConflictError, CredentialsError, PromptError, UnavailableError
from langchain_promptopt.testing.conformance import PromptSinkTests
from langchain_promptopt.types import Message, Prompt, PromptSet


class TestLangfusePrompts(PromptSinkTests):
    @pytest.fixture
    def sink(self, client):
        return LangfusePrompts("triage", client=client)


@pytest.fixture
def sink(client):
    return LangfusePrompts("triage", client=client)


def chat(*messages, name="main", template_format="f-string", partials=()):
    made = tuple(Message(role, text, template_format) for role, text in messages)
    return PromptSet((Prompt(name, made, partials=partials),))


def string(text):
    return PromptSet((Prompt("main", (Message("human", text),), kind="string"),))


TEXT = 'Answer {question} as {{"label": "x"}}.\r\n Ä{day} \n'


def pushed(sink, prompts, parent=None, tag=None, message="m"):
    return sink.push(prompts, message=message, parent=parent, tag=tag)


def test_a_chat_prompt_is_a_version_with_message_and_label_and_comes_back_byte_for_byte(sink, client):
    assert sink.head() is None
    prompts = chat(("system", "Be brief."), ("placeholder", "{history}"), ("human", TEXT), ("ai", "ok"))
    assert pushed(sink, prompts, tag="staging", message="why") == "1"
    kept = client.get_prompt("triage", type="chat", label="staging")
    assert (kept.version, kept.commit_message, kept.variables) == (1, "why", ["question", "day"])
    assert kept.prompt == [
        {"type": "message", "role": "system", "content": "Be brief."},
        {"type": "placeholder", "name": "history"},
        {"type": "message", "role": "user", "content": 'Answer {{question}} as {"label": "x"}.\r\n Ä{{day}} \n'},
        {"type": "message", "role": "assistant", "content": "ok"},
    ]
    back = sink.pull("@staging")
    assert [m.prompt.template for m in back.messages if hasattr(m, "prompt")] == ["Be brief.", TEXT, "ok"]
    assert (back.messages[1].variable_name, sink.head()) == ("history", "1")
    said = kept.compile(question="{{day}}", day="D", history=[{"role": "user", "content": "before"}])
    got = back.format_messages(question="{{day}}", day="D", history=[("human", "before")])
    assert [m["content"] for m in said] == [m.content for m in got]


def test_a_text_prompt_comes_back_byte_for_byte(sink, client):
    assert pushed(sink, string(TEXT)) == "1"
    kept = client.get_prompt("triage", version=1)
    assert kept.compile(question="<q>", day=3) == 'Answer <q> as {"label": "x"}.\r\n Ä3 \n'
    assert sink.pull("1").template == TEXT


def test_what_is_written_means_the_same_to_both_or_is_refused():
    """Random braces: Langfuse's own parser and LangChain make the same text of each template that is not refused."""
    dice, values, held, refused = random.Random(7), {"a": "{{b}}", "b": "<&>"}, 0, 0
    for _ in range(3000):
        text = "".join(dice.choice(["{a}", "{b}", "{{", "}}", "{{ ", "x", "\n", '"', "}} "]) for _ in range(6))
        expected = ChatPromptTemplate([("human", text)]).format_messages(**values)[0].content
        try:
            (message,) = content_of(*chat(("human", text)))
        except PromptError:
            refused += 1
            continue
        held += 1
        assert TemplateParser.compile_template(message["content"], values) == expected
    assert held > 1000
    assert refused > 100


def test_mustache_is_held_where_langchain_does_not_escape(sink):
    assert pushed(sink, chat(("human", "Now {{{x}}} {{& z }} }"), template_format="mustache")) == "1"
    assert sink.pull().format_messages(x="<", z="&")[0].content == "Now < & }"


@pytest.mark.parametrize(
    ("prompts", "what"),
    [
        (chat(("human", "{x:.2f}")), "{x:.2f}"),
        (chat(("human", "{größe}")), "{größe}"),
        (chat(("human", "Say {{{{name}}}}.")), "two braces"),
        (chat(("human", "{{{x}}}")), "two braces"),
        (chat(("human", "see @@@langfusePrompt:name=a|version=1@@@")), "@@@langfusePrompt:"),
        (chat(("human", "a\0b")), "x00"),
        (chat(("tool", "x")), "'tool' message"),
        (chat(("placeholder", "{history}"), partials=("history",)), "optional placeholder {history}"),
        (chat(("placeholder", "{x}"), ("human", "{x}")), "of one name, 'x'"),
        (chat(("human", "{{x}}"), template_format="mustache"), "three braces"),
        (chat(("human", "{{#a}}x{{/a}}"), template_format="mustache"), "{{#a}}"),
        (chat(("human", "{{ a }}\n"), template_format="jinja2"), "jinja2"),
    ],
)
def test_what_langfuse_cannot_hold_is_refused_before_anything_is_written(sink, server, prompts, what):
    with pytest.raises(PromptError, match="cannot hold") as told:
        pushed(sink, prompts)
    assert what in str(told.value)
    assert server.project.prompts == {}


def test_the_same_prompt_again_is_no_new_version_but_may_get_a_label(sink, client):
    pushed(sink, chat(("human", TEXT)))
    assert pushed(sink, chat(("human", TEXT)), tag="production") == "1"
    assert (client.get_prompt("triage", type="chat").version, sink.head()) == (1, "1")


def test_a_label_is_moved_and_moved_back(sink, client):
    first = pushed(sink, chat(("human", "one {x}")))
    assert sink.promote(first, tag="production") is None
    assert client.get_prompt("triage", type="chat").compile(x=1)[0]["content"] == "one 1"
    second = pushed(sink, chat(("human", "two {x}")), parent=first, tag="staging")
    assert (sink.head(tag="production"), sink.head(tag="staging")) == ("1", "2")
    before = sink.promote(second, tag="production")
    assert client.get_prompt("triage", type="chat").compile(x=1)[0]["content"] == "two 1"  # not one from its cache
    assert sink.promote(before, tag="production") == second
    assert client.get_prompt("triage", type="chat").compile(x=1)[0]["content"] == "one 1"
    assert sink.head(tag="staging") == "2"
    with pytest.raises(PromptError, match="no version 9"):
        sink.promote("9", tag="production")
    with pytest.raises(PromptError, match="is no commit"):
        sink.promote("staging", tag="production")


def test_several_prompts_are_one_each_in_a_folder_and_one_commit(client):
    sink = LangfusePrompts("app", client=client)
    first, second = chat(("human", "A {x}"), name="tool/a b"), chat(("human", "B {y}"), name="b")
    both = PromptSet((*first, *second))
    commit = pushed(sink, both, tag="staging")
    assert commit == "b=1,tool/a b=1" == sink.head(both) == sink.head(both, tag="staging")
    assert client.get_prompt("app/tool-a b", type="chat", label="staging").prompt[0]["content"] == "A {{x}}"
    changed = PromptSet((*first, *chat(("human", "C {y}"), name="b")))
    now = pushed(sink, changed, parent=commit)
    assert now == "b=2,tool/a b=2"
    assert sink.promote(now, tag="staging") == commit
    assert sink.pull("@staging", prompt="b").format_messages(y=1)[0].content == "C 1"
    assert sink.pull("1", prompt="tool/a b").format_messages(x=1)[0].content == "A 1"
    with pytest.raises(PromptError, match="one name"):
        sink.head(PromptSet((*first, *chat(("human", "A"), name="tool-a b"))))


def test_a_version_that_comes_in_between_is_told_and_no_label_moves(sink, server, monkeypatch):
    first = pushed(sink, chat(("human", "one")), tag="staging")
    create = sink.api.prompts.create

    def meanwhile(**given):
        server.project.create({"name": "triage", "type": "chat", "prompt": [{"role": "user", "content": "theirs"}]})
        return create(**given)

    monkeypatch.setattr(sink.api.prompts, "create", meanwhile)
    with pytest.raises(ConflictError, match="yours is 3, not 2"):
        pushed(sink, chat(("human", "two")), parent=first, tag="staging")
    assert sink.head(tag="staging") == "1"


def test_another_type_is_refused_before_anything_is_written(sink, server):
    first = pushed(sink, chat(("human", "one")))
    with pytest.raises(PromptError, match="is a chat prompt"):
        pushed(sink, string("one"), parent=first)
    assert len(server.project.prompts["triage"]) == 1


def test_a_prompt_that_langchain_cannot_say_is_told_at_pull(sink, client):
    client.create_prompt(name="triage", prompt="Hello {{first name}}")
    with pytest.raises(PromptError, match=r"\{\{first name\}\} is a variable in Langfuse"):
        sink.pull()
    with pytest.raises(PromptError, match="no prompt 'triage' with '@production'"):
        sink.pull("@production")


def test_the_servers_refusals_say_what_to_change(sink, server, monkeypatch):
    pushed(sink, chat(("human", "one")))
    with pytest.raises(PromptError, match="Label cannot be given: Not Lower"):
        sink.promote("1", tag="Not Lower")
    with pytest.raises(CredentialsError, match="LANGFUSE_PUBLIC_KEY"):
        LangfusePrompts("triage")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "wrong")
    monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
    with pytest.raises(CredentialsError, match="Langfuse answered 401: Invalid credentials"):
        LangfusePrompts("triage").head()
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
    assert LangfusePrompts("triage").head() == "1"
    monkeypatch.setenv("LANGFUSE_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="cannot be reached"):
        LangfusePrompts("triage").head()


def test_a_run_of_what_is_served_is_staged_promoted_and_rolled_back(client, tmp_path):
    result, sink = offline.run(tmp_path, client)
    assert (result.outcome, sink.head(tag="production"), sink.head(tag="staging")) == ("improved", "1", "2")
    kept = client.get_prompt("triage", type="chat", label="staging")
    value = {"ticket": "My parcel is late"}
    assert kept.commit_message == f"run {result.run_id}"
    assert kept.compile(**value)[0]["content"] == result.prompt.format_messages(**value)[0].content
    assert sink.pull("@staging").messages[0].prompt.template == result.best["main"].messages[0].template
    before = sink.promote("2", tag="production")
    assert before == "1"
    sink.promote(before, tag="production")
    assert client.get_prompt("triage", type="chat").version == 1
