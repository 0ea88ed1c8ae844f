"""What a chain reads of a row, by its structure alone; where that cannot be told, everything counts."""

from __future__ import annotations

from operator import itemgetter

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import (
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnablePick,
)

from langchain_promptopt._langchain.reading import names_read, reading_of
from langchain_promptopt._text.templates import parse_template
from langchain_promptopt.testing.scripted import ScriptedModel

MODEL = ScriptedModel(fn=lambda messages: "x")
PROMPT = ChatPromptTemplate.from_messages([("system", "Sort for {shop}."), ("human", "{ticket}")])
TAIL = MODEL | StrOutputParser()
ONE = PromptTemplate.from_template("Sort {ticket}.")
OTHERS = {"one": PROMPT | TAIL}


def upper(text):
    return text.upper()


def whole(row):
    return str(row)


async def later(row):
    return f"{row['ticket']} {row.get('shop', '')}" if "lang" in row else ""


def routed(row):
    return OTHERS[row["kind"]]


def handed_on(row):
    return ONE if row["kind"] else PROMPT


class Bound:
    def answer(self, row):
        return row["ticket"]


class Called:
    def __call__(self, row):
        return row["ticket"] + row["shop"]


@pytest.mark.parametrize(
    ("task", "paths"),
    [
        (PROMPT, ("shop", "ticket")),
        (ChatPromptTemplate([("system", "{shop}"), HumanMessage("{ticket}")]) | TAIL, ("shop", "ticket")),  # as meant
        (PROMPT | TAIL, ("shop", "ticket")),
        ((PROMPT | TAIL).with_config(tags=["x"]).with_retry(), ("shop", "ticket")),
        (PROMPT.partial(shop="ours") | TAIL, ("shop", "ticket")),  # a row's own value would win
        (ChatPromptTemplate([("human", "{q}"), MessagesPlaceholder("history", optional=True)]), ("history", "q")),
        ({"ticket": itemgetter("text")} | ONE | TAIL, ("text",)),
        ({"ticket": RunnableLambda(lambda row: upper(row["text"]))} | ONE | TAIL, ("text",)),
        ({"ticket": RunnablePick("text")} | ONE | TAIL, ("text",)),
        (RunnablePick(["ticket", "n"]) | ONE | TAIL, ("n", "ticket")),
        (RunnablePassthrough.assign(ticket=lambda row: row["raw"].strip()) | PROMPT | TAIL, ("raw", "shop")),
        (RunnablePassthrough() | PROMPT | TAIL, ("shop", "ticket")),
        (RunnableParallel(label=ONE | TAIL, tone=PROMPT | TAIL), ("shop", "ticket")),
        (RunnableParallel(label=ONE | TAIL) | RunnableLambda(whole), ("ticket",)),
        (RunnableBranch((lambda row: row["kind"] == "a", ONE), PROMPT) | TAIL, ("kind", "shop", "ticket")),
        ((ONE | TAIL).with_fallbacks([PROMPT | TAIL]), ("shop", "ticket")),
        (RunnableLambda(later), ("lang", "shop", "ticket")),
        (lambda row: (ONE | TAIL).invoke({"ticket": row["text"]}), ("text",)),
        (Bound().answer, ("ticket",)),
        (Called(), ("shop", "ticket")),
        ({"ticket": lambda row: row["mail"]["body"]} | ONE | TAIL, ("mail.body",)),
        (lambda row: upper(row["mail"]["parts"]["text"]) + row["to"][0], ("mail.parts.text", "to")),
        (lambda row: upper(row["a.b"]["c"]) + row["d"]["e.f"], ("a.b", "d")),  # a dot of a key is no step
    ],
)
def test_what_is_read_is_seen(task, paths):
    assert reading_of(task).paths == paths


@pytest.mark.parametrize(
    "task",
    [
        RunnableLambda(whole) | ONE | TAIL,
        {"ticket": RunnablePassthrough()} | ONE | TAIL,  # the whole row is the ticket
        lambda row: (PROMPT | TAIL).invoke(row),
        lambda row: [v for v in row.values()],
        lambda row: (lambda: row["a"])(),
        RunnableLambda(routed) | StrOutputParser(),  # what it returns is called with the whole row
        RunnableLambda(handed_on) | TAIL,
        RunnablePassthrough(),  # the answer is the row
        "no chain",
    ],
)
def test_where_it_cannot_be_told_everything_counts(task):
    assert reading_of(task).paths is None


def test_graphs_read_the_keys_of_their_input():
    graph = pytest.importorskip("langgraph.graph")
    from typing import TypedDict

    class State(TypedDict, total=False):
        ticket: str
        label: str

    made = graph.StateGraph(State)
    made.add_node("sort", lambda state: {"label": (ONE | TAIL).invoke(state)})
    made.add_edge(graph.START, "sort")
    assert reading_of(made.compile()).paths == ("label", "ticket")


@pytest.mark.parametrize(
    ("source", "template_format", "paths", "printed"),
    [
        ("{{mail.body}} {{{raw}}} {{& a.b }}", "mustache", ("a.b", "mail.body", "raw"), ("a.b", "mail.body")),
        ("{{#items}}{{name}} {{a.b}}{{/items}}", "mustache", ("a", "items", "name"), ()),
        ("{{ mail.body }}{{ q['z'] }}", "jinja2", ("mail.body", "q.z"), ("mail.body", "q.z")),
        ("{% if a.b %}{{ c.d }}{% endif %}{{ e.f | default('') }}", "jinja2", ("a.b", "c.d", "e.f"), ()),
        ("{% for x in rows %}{{ x.y }}{% endfor %}{{ m.name.upper() }}", "jinja2", ("m.name", "rows"), ()),
    ],
)
def test_fields_of_variables_are_paths(source, template_format, paths, printed):
    parsed = parse_template(source, template_format)
    assert (parsed.paths, parsed.printed) == (paths, printed)
    assert reading_of(PromptTemplate.from_template(source, template_format=template_format)).paths == paths


def test_names_are_those_of_the_parameter_that_is_asked_about():
    def judge(inputs, outputs, reference_outputs):
        return inputs["question"] in outputs["answer"]

    assert names_read(judge, "inputs") == {"question"}
    assert names_read(judge, "reference_outputs") == frozenset()
