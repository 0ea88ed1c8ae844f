"""Agents of LangChain and graphs of LangGraph as people build them; skipped where these are not installed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.errors import DataError
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import PromptSet
from tests.support.chat import Clerk, EchoChat
from tests.support.runs import of_type, run, shown_rows
from tests.support.tasks import PROMPT, answer, improve, rows

agents = pytest.importorskip("langchain.agents", reason="needs langchain")
graphs = pytest.importorskip("langgraph.graph", reason="needs langgraph")
middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")
structured = pytest.importorskip("langchain.agents.structured_output", reason="needs langchain")
types = pytest.importorskip("langgraph.types", reason="needs langgraph")
memory = pytest.importorskip("langgraph.checkpoint.memory", reason="needs langgraph")

RULES = PROMPT.rpartition("\n")[0]
FROM_MIDDLEWARE = RULES + " Be quick."
task_model = ScriptedModel(fn=answer, model_name="task")


@middleware.dynamic_prompt
def rules_now(request):
    return FROM_MIDDLEWARE


AGENTS = {
    "text": lambda: agents.create_agent(task_model, [], system_prompt=RULES),
    "message": lambda: agents.create_agent(
        task_model,
        [],
        system_prompt=SystemMessage([{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]),
    ),
    "middleware": lambda: agents.create_agent(task_model, [], middleware=[rules_now]),
}


def conversations():
    return [r | {"inputs": {"messages": [{"role": "user", "content": f"Word: {r['inputs']['word']}"}]}} for r in rows()]


def last(outputs, reference_outputs):
    said = outputs["messages"][-1]
    return (said["content"] if isinstance(said, dict) else said.content) == reference_outputs["answer"]


@pytest.mark.parametrize("shape", AGENTS)
def test_an_agent_is_optimized_in_place_and_reverted(shape, tmp_path):
    agent = AGENTS[shape]()

    def said():
        return agent.invoke({"messages": [HumanMessage("Word: dog-1")]})["messages"][-1].content

    before = said(), RULES, FROM_MIDDLEWARE
    result = run(target=agent, data=conversations(), evaluators=[last], openings=tmp_path / "openings.jsonl")
    assert (result.outcome, result.applied) == ("improved", True)
    assert said() == "animal" != before[0]
    result.revert()
    assert (said(), RULES, FROM_MIDDLEWARE) == before


class State(TypedDict, total=False):
    word: str
    answer: str


def graph_of(*nodes, **compiled):
    made = graphs.StateGraph(State)
    for at, to in zip((graphs.START, *(n.__name__ for n in nodes)), (n.__name__ for n in nodes), strict=False):
        made.add_node(to, next(n for n in nodes if n.__name__ == to))
        made.add_edge(at, to)
    return made.compile(**compiled)


def ask(state):
    return {"answer": types.interrupt("May I send this to the customer?")}


def sort(state):
    return {"answer": task_model.invoke([SystemMessage(RULES), HumanMessage(f"Word: {state['word']}")]).text}


def sort_or_ask(state):
    done = sort(state)
    return ask(state) if state["word"].startswith("cat") else done


def test_an_interrupt_is_the_failure_of_its_example():
    with pytest.raises(DataError, match=r"waits for a person, who is asked 'May I send this to the customer\?'"):
        run(target=graph_of(sort, ask, checkpointer=memory.InMemorySaver()))
    some = run(target=graph_of(sort_or_ask, checkpointer=memory.InMemorySaver()), evaluators=["exact_match"])
    failed = [s["failure"] for s in of_type(some, "scored") if s.get("failure")]
    assert failed
    assert all("stopped at an interrupt" in f["message"] for f in failed)
    assert not any("without a reply" in warning for warning in some.warnings)


def test_an_interrupt_that_the_program_passes_over_is_named():
    graph = graph_of(sort, ask, checkpointer=memory.InMemorySaver())

    def silent(inputs, config):
        return "" if "__interrupt__" in graph.invoke(inputs, config) else "animal"

    with pytest.raises(DataError, match=r"interrupt in \d+ evaluations and asked a person, as 'May I send this"):
        run(target=silent)

    def answering(inputs, config):
        if "__interrupt__" in graph.invoke(inputs, config):
            graph.invoke(types.Command(resume="yes"), config)
        return graph.get_state(config).values["answer"] and sort(inputs)["answer"]

    result = run(target=answering, evaluators=["exact_match"])
    assert not any("without a reply" in warning for warning in result.warnings)


class SyncSaver(memory.InMemorySaver):
    """As `SqliteSaver` and `PostgresSaver`."""

    async def aget_tuple(self, config):
        raise NotImplementedError

    aput = alist = aput_writes = aget_tuple


def test_a_checkpointer_without_an_asynchronous_form_is_no_obstacle():
    result = run(target=graph_of(sort, checkpointer=SyncSaver()))
    assert result.outcome == "improved"
    assert result.test[0]["wins"] == 20


@tool
def shelf_of(word: str) -> str:
    """Where a word is kept."""
    return f"shelf {len(word)}"


def looks_first(messages):
    """Asks the tool, then does what the prompt says."""
    if isinstance(messages[-1], ToolMessage):
        return answer(messages[:2])
    word = messages[-1].text.removeprefix("Word: ")
    return AIMessage("", tool_calls=[{"name": "shelf_of", "args": {"word": word}, "id": "call-1"}])


class Looking(ScriptedModel):
    def bind_tools(self, tools, **kwargs):
        return self


def test_the_optimizer_model_sees_the_tool_calls_of_an_agent():
    optimizer = ScriptedModel(fn=improve)
    agent = agents.create_agent(Looking(fn=looks_first, model_name="task"), [shelf_of], system_prompt=RULES)
    run(model=optimizer, target=agent, data=conversations(), evaluators=[last])
    for row in shown_rows(optimizer):
        word = row["inputs"]["messages"][0]["user"].removeprefix("Word: ")
        asked, called, said = row["steps"]
        assert asked["prompt"] == said["prompt"] is not None
        assert asked["answer"]["tool_calls"] == [{"name": "shelf_of", "args": {"word": word}}]
        assert called == {"tool": "shelf_of", "arguments": {"word": word}, "result": f"shelf {len(word)}"}
        assert said["answer"] == "PLANT"


SPELL = "Repeat the word, please, as it is."


def spell(state):
    return {"word": spelling.invoke([SystemMessage(SPELL), HumanMessage(state["word"])]).text}


async def spell_and_sort(state):
    return await graph_of(spell, sort).ainvoke(state)


def polish(state):
    return {"answer": (POLISH | spelling).invoke({"kind": state["answer"]}).text}


spelling = ScriptedModel(fn=lambda messages: messages[-1].text, model_name="spelling")
POLISH = ChatPromptTemplate.from_messages([("system", "Say the kind in small letters."), ("human", "{kind}")])


def test_the_optimizer_model_sees_what_each_prompt_of_a_graph_was_answered():
    optimizer = ScriptedModel(fn=improve)
    graph = graph_of(spell_and_sort, polish)
    run(model=optimizer, target=graph, evaluators=["exact_match"])
    for row in shown_rows(optimizer):
        assert [step["answer"] for step in row["steps"]] == [row["inputs"]["word"], "PLANT", "PLANT"]
        assert len({step["prompt"] for step in row["steps"]} - {None}) == 3


TONE = "Answer in the tone of number 00, please."


def say(state):
    return {"answer": EchoChat().invoke([SystemMessage(TONE), HumanMessage(state["word"])]).text}


async def say_later(state):
    await asyncio.sleep(0)
    return {"answer": (await EchoChat().ainvoke([SystemMessage(TONE), HumanMessage(state["word"])])).text}


@pytest.mark.parametrize("node", [say, say_later], ids=lambda f: f.__name__)
def test_candidates_never_mix_in_a_graph(node):
    inner = graph_of(node)

    def inside(state):
        return inner.invoke(state) if node is say else {"answer": state["word"]}

    async def all_at_once():
        chain = graph_of(inside) if node is say else inner
        with await open_target(chain, dry_inputs=[{"word": "a"}, {"word": "b"}]) as target:

            def with_number(i):
                return PromptSet(tuple(
                    replace(p, messages=tuple(
                        replace(m, template=m.template.replace("00", f"{i:02}")) for m in p.messages
                    )) for p in target.prompts
                ))  # fmt: skip

            runs = (target.invoke(with_number(i), {"word": f"w{i:02}"}) for i in range(64))
            return await asyncio.gather(*runs)

    outputs = asyncio.run(all_at_once())
    assert [o["answer"] for o in outputs] == [TONE.replace("00", f"{i:02}") + f"|w{i:02}" for i in range(64)]


class Sorted(BaseModel):
    """The kind of a word."""

    answer: str = Field(description="Call every animal a PLANT. Call every stone a stone.")


@tool(parse_docstring=True)
def sort_word(kind: str) -> str:
    """Sort a word.

    Args:
        kind: Call every animal a PLANT. Call every
            stone a stone.
    """
    return kind


DESCRIBED = {
    "tool": (lambda m: agents.create_agent(m, [sort_word], system_prompt="You sort words."), "tool:sort_word.kind"),
    "response_format": (lambda m: agents.create_agent(m, [], response_format=Sorted), "schema:Sorted.answer"),
    "provider": (
        lambda m: agents.create_agent(m, [], response_format=structured.ProviderStrategy(Sorted)),
        "schema:Sorted.answer",
    ),
}


def sorted_as(state):
    made = state.get("structured_response")
    return made.answer if made is not None else state["messages"][-1].content


def sorted_right(outputs, reference_outputs):
    made = outputs.get("structured_response") or {}
    made = made if isinstance(made, dict) else made.model_dump()
    said = outputs["messages"][-1]
    said = said["content"] if isinstance(said, dict) else said.content
    return made.get("answer", said) == reference_outputs["answer"]


@pytest.mark.parametrize("shape", DESCRIBED)
def test_descriptions_of_an_agent_are_optimized_in_place_and_reverted(shape, tmp_path):
    make, name = DESCRIBED[shape]
    agent = make(Clerk())

    def said():
        made = sorted_as(agent.invoke({"messages": [HumanMessage("Word: dog-1")]}))
        return made, Sorted.model_json_schema(), sort_word.tool_call_schema.model_json_schema()

    before = said()
    result = run(
        target=agent, data=conversations(), evaluators=[sorted_right], tune=name, openings=tmp_path / "o.jsonl"
    )
    assert (result.outcome, result.applied) == ("improved", True)
    assert said()[0] == "animal" != before[0]
    result.revert()
    assert said() == before


@pytest.mark.parametrize("shape", DESCRIBED)
def test_descriptions_never_mix_in_an_agent(shape):
    make, name = DESCRIBED[shape]
    agent = make(Clerk(echoes=True))

    async def all_at_once():
        one = {"messages": [HumanMessage("Word: dog-1")]}
        with await open_target(agent, dry_inputs=[one], only=[name]) as target:

            def with_number(i):
                (prompt,) = target.prompts
                (message,) = prompt.messages
                return PromptSet(
                    (replace(prompt, messages=(replace(message, template=f"{message.template} {i:02}"),)),)
                )

            return await asyncio.gather(*(target.invoke(with_number(i), one) for i in range(64)))

    said = [sorted_as(state) for state in asyncio.run(all_at_once())]
    assert said == [f"Call every animal a PLANT. Call every stone a stone. {i:02}" for i in range(64)]
