"""The table of refused programs says what is really said: each of its lines has a program here."""

from __future__ import annotations

import re
import string
import threading
from pathlib import Path

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory

from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.runs import run
from tests.support.tasks import PROMPT, answer, rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "agents.md"
TABLE = re.search(r"^## What is refused.*?\n\n(.*?)(?:\n\n|\Z)", PAGE.read_text("utf-8"), re.M | re.S).group(1)
SHOWN = [re.search(r"`([^`]+)`[^`]*\|$", line).group(1) for line in TABLE.strip().splitlines()[2:]]

task_model = ScriptedModel(fn=answer, model_name="task")
template = ChatPromptTemplate.from_template(PROMPT)
RULES = "You sort the words of team %s into two kinds.\nCall every animal a PLANT. Call every stone a stone."
TWICE = PROMPT.rpartition("\n")[0]


RULES_TEMPLATE = string.Template("You sort the words of a team into two kinds. Answer with one word.\nWord: $word")


def templated(row):
    return task_model.invoke(RULES_TEMPLATE.substitute(word=row["word"])).text


def changed(row):
    return task_model.invoke([SystemMessage(RULES % "desk"), HumanMessage(f"Word: {row['word']}")]).text


def twice(row):
    return task_model.invoke([SystemMessage(TWICE), HumanMessage(f"{TWICE}\n{TWICE}\nWord: {row['word']}")]).text


def made(row):
    return task_model.invoke(f"{PROMPT.replace(' a', ' A').format(word=row['word'])}").text


def thread(row):
    said = []
    worker = threading.Thread(target=lambda: said.append((template | task_model).invoke(row).text))
    worker.start()
    worker.join()
    return said[0]


def copy(row):
    return (template.model_copy() | task_model).invoke(row).text


history = InMemoryChatMessageHistory()
one_memory = RunnableWithMessageHistory(
    template | task_model, lambda: history, history_factory_config=[], input_messages_key="word"
)


class Hub:
    """Stands where langsmith.Client does."""

    def pull_prompt(self, name):
        return ChatPromptTemplate.from_template(name + PROMPT.replace(" a", " A"))


hub = Hub()


def pulls(row):
    return (hub.pull_prompt("triage") | task_model).invoke(row).text


def remote():
    graph = pytest.importorskip("langgraph.pregel.remote", reason="needs langgraph")
    return graph.RemoteGraph("agent", url="http://127.0.0.1:9")


PROGRAMS = {
    "holds its text in a": lambda: templated,
    "changes a text": lambda: changed,
    "sends a text twice": lambda: twice,
    "makes its text": lambda: made,
    "calls the model in a thread": lambda: RunnableLambda(thread),
    "renders a copy": lambda: RunnableLambda(copy),
    "remembers": lambda: one_memory,
    "only asks another program": remote,
    "pulls its prompt": lambda: pulls,
}


def test_the_table_has_a_line_for_each_program():
    lines = TABLE.strip().splitlines()[2:]
    assert [line.startswith(f"| {begins}") for line, begins in zip(lines, PROGRAMS, strict=True)] == [True] * len(lines)


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=list(PROGRAMS))
def test_a_refused_program_is_told_what_the_table_shows(number):
    program = list(PROGRAMS.values())[number]()
    pattern = re.escape(SHOWN[number])
    for shown, real in (
        (r"\.\.\.", ".*"),
        (r"app\.py:4", r"\S+:\d+"),
        (r"app\.RULES", r"\S+"),
        ("RULES", r"\w+"),
        ("ticket", r"\w+"),
    ):
        pattern = pattern.replace(shown, real)
    with pytest.raises(PromptOptError) as raised:
        run(target=program, data=rows())
    assert re.search(pattern, str(raised.value).replace("\n", " ")), str(raised.value)
