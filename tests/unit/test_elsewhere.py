"""Programs whose prompts are elsewhere: behind RemoteGraph and RemoteRunnable, or pulled for each call."""

from __future__ import annotations

import asyncio
import sys
import types

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.errors import PromptError
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.runs import run
from tests.support.tasks import PROMPT, answer, rows

ROWS = [r["inputs"] for r in rows()][:4]
calls: list[object] = []
task_model = ScriptedModel(fn=answer, model_name="task")


def remote_graph():
    """The real class where LangGraph is installed; port 9 answers nobody."""
    remote = pytest.importorskip("langgraph.pregel.remote", reason="needs langgraph")
    return remote.RemoteGraph("agent", url="http://127.0.0.1:9")


def remote_runnable():
    """langserve's class, or one of its name in a module of its name: it is known by these alone."""
    try:
        from langserve.client import RemoteRunnable
    except ImportError:
        module = types.ModuleType("langserve.client")

        class RemoteRunnable(Runnable):
            def __init__(self, url):
                self.url = url

            def invoke(self, input, config=None, **kwargs):  # noqa: A002
                calls.append(input)
                return "called"

        RemoteRunnable.__module__, RemoteRunnable.__qualname__ = "langserve.client", "RemoteRunnable"
        sys.modules.setdefault(module.__name__, module)
    return RemoteRunnable("http://127.0.0.1:9/chain")


REMOTES = [remote_graph, remote_runnable]


@pytest.fixture(autouse=True)
def nothing_called():
    calls.clear()
    yield
    assert not calls, "a program elsewhere was asked before the run began"


@pytest.mark.parametrize("make", REMOTES)
@pytest.mark.parametrize("inside", ["alone", "in a chain", "in a function"])
def test_a_program_that_only_asks_another_is_refused_before_it_asks(make, inside):
    remote = make()
    kind = type(remote).__name__
    program = {
        "alone": remote,
        "in a chain": RunnableLambda(lambda row: row["word"]) | remote,
        "in a function": lambda row: remote.invoke(row["word"]),
    }[inside]
    with pytest.raises(PromptError, match=rf"by {kind} \(\$.*Optimize that program where it runs.*tunable\("):
        run(target=program)


def opened(program):
    """Names of the prompts that may change, and what is told about the others."""

    async def look():
        with await open_target(program, dry_inputs=ROWS) as target:
            return [p.name for p in target.prompts], target.notes

    return asyncio.run(look())


def test_own_prompts_beside_a_remote_program_are_optimized_and_the_dry_run_does_not_ask_it():
    remote = remote_runnable()
    kind = type(remote)
    names, notes = opened(remote | ChatPromptTemplate.from_template(PROMPT) | task_model)
    assert names == ["main"]
    assert "prompts of the program that RemoteRunnable ($.first) asks stay as they are" in notes
    assert type(remote) is kind, "its class is its own again"


class Hub:
    """Stands where langsmith.Client does."""

    def pull_prompt(self, name):
        return ChatPromptTemplate.from_template(name + PROMPT.replace(" a", " A"))  # no text that the program holds


hub = Hub()
OWN = ChatPromptTemplate.from_template(PROMPT)


def pulls(row):
    return (hub.pull_prompt("triage") | task_model).invoke(row).text


def pulls_and_renders(row):
    def later():
        return hub.pull_prompt("second")

    return (later() | task_model).invoke(row).text + (OWN | task_model).invoke(row).text


def test_a_prompt_that_is_pulled_for_each_call_is_named_with_its_line():
    line = pulls.__code__.co_firstlineno + 1
    with pytest.raises(PromptError, match=rf"test_elsewhere\.py:{line} pulls it for each call\. Pull it once"):
        run(target=pulls)


def test_a_prompt_that_is_pulled_beside_others_is_noted():
    line = pulls_and_renders.__code__.co_firstlineno + 2
    _, notes = opened(pulls_and_renders)
    assert [f"test_elsewhere.py:{line} pulls for each call" in note for note in notes] == [True]
