"""Programs whose prompts are elsewhere: behind RemoteGraph and RemoteRunnable, or pulled for each call."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
import types

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_promptopt import tunable
from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.errors import ConfigError, PromptError
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


# ---------------------------------------------------------------- clients made for each call, and the SDK's own


@pytest.fixture
def server():
    """An address where a program could be, and afterwards the proof that nobody called."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listening.accept()


def per_call(url):
    def remote_graph(row):
        from langgraph.pregel.remote import RemoteGraph

        return RemoteGraph("agent", url=url).invoke({"word": row["word"]})

    async def remote_graph_async(row):
        from langgraph.pregel.remote import RemoteGraph

        return await RemoteGraph("agent", url=url).ainvoke({"word": row["word"]})

    async def sdk_client(row):
        import langgraph_sdk

        return await langgraph_sdk.get_client(url=url).runs.wait(None, "agent", input={"word": row["word"]})

    def sdk_stream(row):
        sdk = importlib.import_module("langgraph_sdk")
        runs = sdk.get_sync_client(url=url).runs
        return [part.data for part in runs.stream(None, "agent", input={"word": row["word"]})][-1]

    def in_a_thread(row):
        found = []
        worker = threading.Thread(target=lambda: found.append(remote_graph(row)))
        worker.start()
        worker.join()
        return found

    return {
        "RemoteGraph": remote_graph, "RemoteGraph, async": remote_graph_async, "RunsClient": sdk_client,
        "langgraph_sdk": sdk_stream, "RemoteGraph, in a thread": in_a_thread,
    }  # fmt: skip


PER_CALL = tuple(per_call(""))


@pytest.mark.parametrize("shape", PER_CALL)
def test_a_client_that_is_made_for_each_call_is_stopped_at_its_first_one_and_named(shape, server):
    pytest.importorskip("langgraph.pregel.remote", reason="needs langgraph")
    program = per_call(server)[shape]
    by = rf"by {shape.partition(',')[0]} \(test_elsewhere\.py:\d+\)\. Optimize that program where it runs.*tunable\("
    with pytest.raises(PromptError, match=by):
        opened(program, ROWS[:1])


def test_a_client_for_each_call_behind_a_prompt_of_its_own_is_noted(server):
    pytest.importorskip("langgraph.pregel.remote", reason="needs langgraph")
    asks = per_call(server)["RunsClient"]

    async def program(row):
        told = await asks(row)
        return (await (OWN | task_model).ainvoke({"word": str(told)})).text

    names, notes = opened(program)
    assert names == ["main"]
    assert any("prompts of the program that RunsClient (test_elsewhere.py:" in note for note in notes)


def sdk_clients(url):
    sdk = pytest.importorskip("langgraph_sdk", reason="needs langgraph")
    client, sync = sdk.get_client(url=url), sdk.get_sync_client(url=url)
    holder = {"client": client}

    async def closure(row):
        return await client.runs.wait(None, "agent", input=row)

    class Desk:
        def __init__(self):
            self.client = sync

        def __call__(self, row):
            return self.client.runs.wait(None, "agent", input=row)

    async def held(row):
        return await holder["client"].runs.wait(None, "agent", input=row)

    async def part(row, runs=client.runs):
        return await runs.wait(None, "agent", input=row)

    desk = Desk()
    return {
        "closure": closure, "attribute": desk, "method": desk.__call__, "held": held, "part": part, "alone": client,
    }  # fmt: skip


def test_a_dry_run_asks_no_model_in_a_thread_that_has_no_context():
    model = ScriptedModel(fn=answer, model_name="threaded")

    def program(row):
        worker = threading.Thread(target=(OWN | model).invoke, args=(row,))
        worker.start()
        worker.join()

    with pytest.raises(PromptError, match="in a thread that does not inherit the context"):
        opened(program)
    assert model.calls == []


@pytest.mark.parametrize("shape", ["closure", "attribute", "method", "held", "part", "alone"])
def test_a_client_of_the_sdk_that_is_held_is_named(shape, server):
    with pytest.raises((PromptError, ConfigError), match=r"by (\w*Client) \(\$.*Optimize that program where it runs"):
        opened(sdk_clients(server)[shape], ROWS[:1])


def test_a_client_of_the_sdk_in_a_global_is_named(server, monkeypatch):
    sdk = pytest.importorskip("langgraph_sdk", reason="needs langgraph")
    monkeypatch.setattr(sys.modules[__name__], "desk", sdk.get_client(url=server), raising=False)
    with pytest.raises(PromptError, match=r"by LangGraphClient \(\$<desk>\)\. Optimize that program where it runs"):
        opened(asks_desk, ROWS[:1])


async def asks_desk(row):
    return await desk.runs.wait(None, "agent", input=row)  # noqa: F821 - set by the test


def test_a_text_that_is_sent_to_a_program_elsewhere_is_optimized_where_a_tunable_holds_it(server):
    sdk = pytest.importorskip("langgraph_sdk", reason="needs langgraph")
    client, rules = sdk.get_client(url=server), tunable(PROMPT, name="rules for elsewhere")

    async def program(row):
        return await client.runs.wait(None, "agent", input={"text": rules.format(**row)})

    names, notes = opened(program)
    assert names == ["rules for elsewhere"]
    assert any("LangGraphClient" in note for note in notes)


def opened(program, dry_inputs=ROWS):
    """Names of the prompts that may change, and what is told about the others."""

    async def look():
        with await open_target(program, dry_inputs=dry_inputs) as target:
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
tunable("A text of nothing here.", name="of a program that is not here")  # programs with no prompts are tried with it
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
