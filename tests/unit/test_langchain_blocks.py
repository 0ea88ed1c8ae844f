"""Content blocks of messages, variables of any name, and prompts in which no row arrives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import optimize
from langchain_promptopt._langchain.conversion import from_prompt, to_prompt
from langchain_promptopt.errors import DataError, PromptError
from langchain_promptopt.offline import offline_model
from tests.support.chat import EchoChat
from tests.support.pipeline_task import PROMPT, rows

CACHED = {"type": "text", "text": "Sort it.", "cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    "message",
    [
        ("system", [CACHED]),
        ("system", [CACHED, {"type": "text", "text": "Be brief, {q}."}]),
        SystemMessage([CACHED, "Be brief."]),
        HumanMessage([CACHED, IMAGE]),
        ("human", [CACHED, IMAGE]),
    ],
)
def test_text_blocks_are_read_and_written_and_everything_beside_the_text_stays(message):
    template = ChatPromptTemplate([message, ("human", "{q}")])
    prompt = to_prompt(template, name="p")
    assert prompt.messages[0].template == "Sort it."
    assert prompt.messages[0].editable
    new = replace(prompt, messages=(replace(prompt.messages[0], template="Sort it well."), *prompt.messages[1:]))
    before, after = (t.format_messages(q="x") for t in (template, from_prompt(new, like=template)))
    assert after[0].content[0] == CACHED | {"text": "Sort it well."}
    assert before[0].content[1:] == after[0].content[1:]
    assert before[1:] == after[1:]
    assert template.format_messages(q="x") == before


def test_other_blocks_are_frozen():
    prompt = to_prompt(ChatPromptTemplate([HumanMessage([CACHED, IMAGE])]), name="p")
    assert [m.editable for m in prompt.messages] == [True, False]


def settings(**more):
    return {
        "data": rows(), "evaluators": ["exact_match"], "optimizer_model": "offline", "method": "lpo-pe2",
        "apply": "never", "runs_dir": None, "openings": None, "budget": {"search_calls": 40},
    } | more  # fmt: skip


@pytest.mark.parametrize("name", ["customer message", "Mail-Text", "Größe 2"])
def test_a_variable_may_have_any_name_that_langchain_takes(name):
    chain = ChatPromptTemplate.from_template(PROMPT.replace("{ticket}", f"{{{name}}}")) | offline_model("task")
    data = [row | {"inputs": {name: row["inputs"]["ticket"]}} for row in rows()]
    result = optimize(chain, **settings(data=data))
    assert result.baseline.variables == (name,)


def test_where_nothing_that_is_sent_depends_on_the_row_the_run_is_refused_unless_it_is_said():
    prompt = ChatPromptTemplate([("system", "Sort the ticket into a label."), HumanMessage("{ticket}")])
    chain = prompt | EchoChat()
    with pytest.raises(PromptError, match=r"depends on the example.*message object.*constant_prompt = true"):
        optimize(chain, **settings())
    mustache = ChatPromptTemplate.from_template("Sort it: {{ticket}}")
    with pytest.raises(PromptError, match=r"as mustache this would have the variable 'ticket'"):
        optimize(mustache, **settings(task_model="offline"))
    with pytest.raises(Exception) as error:  # noqa: PT011 - it goes on to the baseline, where every answer is the same
        optimize(chain, **settings(constant_prompt=True))
    assert "depends on the example" not in str(error.value)


def test_a_program_that_fills_its_prompt_alike_for_all_rows_is_refused_unless_it_is_said():
    same = RunnableLambda(lambda row: {"ticket": "the lamp"}) | ChatPromptTemplate.from_template(PROMPT) | EchoChat()
    with pytest.raises(PromptError, match="the program fills the prompts with the same values for each"):
        optimize(same, **settings())
    with pytest.raises(Exception) as error:  # noqa: PT011 - it goes on to the baseline, where every answer is the same
        optimize(same, **settings(constant_prompt=True))
    assert "depends on the example" not in str(error.value)


@pytest.mark.parametrize("data", [rows()[:1], rows()[:1] * 12])
def test_of_examples_that_are_all_the_same_it_is_not_said_that_the_program_fills_its_prompt_alike(data):
    chain = ChatPromptTemplate.from_template(PROMPT) | EchoChat()
    with pytest.raises(DataError, match="dev example"):
        optimize(chain, **settings(data=[row | {"metadata": {"split": "train"}} for row in data]))


def test_a_message_object_that_nobody_fills_is_warned_of_where_another_variable_is_the_same_for_all_rows():
    prompt = ChatPromptTemplate(
        [("system", "Sort the ticket of the shop {shop} into a label."), HumanMessage("{ticket}")]
    )
    data = [row | {"inputs": {**row["inputs"], "shop": "Oslo"}} for row in rows()]
    with pytest.raises(Exception) as error:  # noqa: PT011 - it goes on to the baseline, where every answer is the same
        optimize(prompt | EchoChat(), **settings(data=data))
    assert "depends on the example" not in str(error.value)


def test_messages_that_carry_the_row_need_no_variable():
    prompt = ChatPromptTemplate.from_template(PROMPT.replace("Message: {ticket}", ""))

    def with_ticket(row):
        return [*prompt.format_messages(), HumanMessage(row["ticket"])]

    result = optimize(RunnableLambda(with_ticket) | offline_model("task"), **settings())
    assert result.baseline.variables == ()
    assert any("is in other messages" in warning for warning in result.warnings)


def test_braces_of_a_message_object_are_named():
    prompt = ChatPromptTemplate([("system", PROMPT), HumanMessage("Again: {ticket}")])
    result = optimize(prompt | offline_model("task"), **settings())
    assert any("message 1 of prompt 'main' is a message object" in warning for warning in result.warnings)
