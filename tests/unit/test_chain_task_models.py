"""`task_models` for programs with models of their own: chains, graphs, agents and functions."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListLLM
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_promptopt._langchain.target import open_target
from langchain_promptopt._langchain.task_models import Panel
from langchain_promptopt._runtime.usage import UsageCollector, followed_threads, metered_by
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.types import Failure, PromptSet

ROWS = [{"word": f"word-{i}"} for i in range(2)]
RULES = "You answer with the word that you are given, and nothing else."
PROMPT = ChatPromptTemplate.from_messages([("system", RULES), ("human", "{word}")])


class Named(BaseChatModel):
    """Says its name and what it was sent; calls a tool once where it has one; keeps what else its calls were given."""

    model_name: str
    told: list[dict] = []  # noqa: RUF012  # pydantic copies it for each instance
    threads: list = []  # noqa: RUF012

    @property
    def _llm_type(self):
        return "named"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        chosen = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[convert_to_openai_tool(t) for t in tools], **chosen, **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.told.append(kwargs | ({"stop": stop} if stop else {}))
        self.threads.append(run_manager.metadata.get("thread_id") if run_manager else None)
        said = f"{self.model_name}: {'|'.join(m.text for m in messages)}"
        message = AIMessage(said)
        if kwargs.get("tools") and not isinstance(messages[-1], ToolMessage):
            given = kwargs["tools"][0].get("function", kwargs["tools"][0])
            (field,) = given.get("parameters", given.get("input_schema"))["properties"]
            message = AIMessage("", tool_calls=[{"name": given["name"], "args": {field: said}, "id": "call-1"}])
        return ChatResult(generations=[ChatGeneration(message=message)])


class Streaming(Named):
    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        self.told.append(kwargs | {"streamed": True})
        for part in (self.model_name, ": ", messages[-1].text):
            yield ChatGenerationChunk(message=AIMessageChunk(part))


class Foreign(Named):
    """Of another provider: its tools have a form of their own."""

    @property
    def _llm_type(self):
        return "foreign"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        made = []
        for one in tools:
            function = convert_to_openai_tool(one)["function"]
            made.append({"name": function["name"], "input_schema": function["parameters"]})
        chosen = {} if tool_choice is None else {"tool_choice": {"type": "tool", "name": tool_choice}}
        return self.bind(tools=made, **chosen, **kwargs)


def pair(kind=Named, **more):
    return {"small": kind(model_name="a", **more), "large": kind(model_name="b", **more)}


def run(program, *, models=None, swap=None, rows=ROWS, texts=("",), rendered=None, steps=None):
    """What the program answers on the rows under each task model, all at once, with each text behind its own one."""
    models = models or pair()

    async def look():
        async with asyncio.timeout(20):
            target = await open_target(program, dry_inputs=rows[:1])
            with target:
                await target.replace_models(Panel(models, swap), rows[:1])
                assert list(target.models)[: len(models)] == list(models.values())
                asked = []
                for text in texts:
                    candidate = extended(target.prompts, text)
                    asked += [target.invoke(candidate, row, None, rendered, steps) for row in rows]
                return await asyncio.gather(*asked)

    return asyncio.run(look())


def extended(prompts, text):
    found = []
    for prompt in prompts:
        first, *others = prompt.messages
        found.append(replace(prompt, messages=(replace(first, template=first.template + text), *others)))
    return PromptSet(tuple(found))


own = Named(model_name="own")


@pytest.fixture(autouse=True)
def the_programs_own_model_is_not_asked():
    own.told.clear()
    yield
    assert own.told == []


def said(answer):
    """The text in what one of the programs below answers."""
    value = answer["messages"][-1] if isinstance(answer, dict) and "messages" in answer else answer
    value = value["answer"] if isinstance(value, dict) else value
    return getattr(value, "text", value)


def in_a_function(row):
    return (PROMPT | own).invoke(row)


def made_per_call(row):
    return (PROMPT | Named(model_name=f"o{'wn'}")).invoke(row)


async def asked_async(row):
    return await own.ainvoke(await PROMPT.ainvoke(row))


class State(TypedDict, total=False):
    word: str
    answer: str


def graph(**compiled):
    graphs = pytest.importorskip("langgraph.graph", reason="needs langgraph")
    made = graphs.StateGraph(State)
    made.add_node("node", lambda state: {"answer": (PROMPT | own).invoke(state).text})
    made.add_edge(graphs.START, "node")
    return made.compile(**compiled)


def agent(*tools, **more):
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    made = agents.create_agent(own, list(tools), system_prompt=RULES, **more)
    return RunnableLambda(lambda row: {"messages": [HumanMessage(row["word"])]}) | made


PROGRAMS = {
    "chain": lambda: PROMPT | own,
    "batch": lambda: PROMPT | RunnableLambda(lambda value: own.batch([value])[0]),
    "function": lambda: in_a_function,
    "async function": lambda: asked_async,
    "made per call": lambda: made_per_call,
    "graph": graph,
    "agent": agent,
    "held text": lambda: lambda row: own.invoke([SystemMessage(RULES), HumanMessage(row["word"])]),
}


@pytest.mark.parametrize("shape", PROGRAMS)
def test_each_model_gets_its_own_evaluation_and_none_mix_at_64(shape):
    rows = [{"word": f"word-{i}"} for i in range(16)]  # two texts and two models: 64 at once
    answers = run(PROGRAMS[shape](), rows=rows, texts=("", " Now."))
    expected = []
    for text in ("", " Now."):
        expected += [{name: f"{name}: {RULES}{text}|{r['word']}" for name in "ab"} for r in rows]
    got = [{"a": said(one["small"]), "b": said(one["large"])} for one in answers]
    assert got == expected


def test_each_evaluation_under_each_model_has_a_thread_of_its_own():
    memory = pytest.importorskip("langgraph.checkpoint.memory", reason="needs langgraph")
    models = pair()
    answers = run(graph(checkpointer=memory.InMemorySaver()), models=models)
    assert [said(one["small"]) for one in answers] == [f"a: {RULES}|{r['word']}" for r in ROWS]
    assert len({*models["small"].threads, *models["large"].threads} - {None}) == 4


THREADS = {"word-0": "thread-0"}


def test_an_id_of_the_programs_own_that_evaluations_under_two_models_share_is_refused():
    memory = pytest.importorskip("langgraph.checkpoint.memory", reason="needs langgraph")
    kept = graph(checkpointer=memory.InMemorySaver())

    def same_thread(row):
        return kept.invoke(row, {"configurable": {"thread_id": THREADS[row["word"]]}})

    for meter in (nullcontext(), metered_by(UsageCollector())):
        with meter, pytest.raises(ConfigError, match="two evaluations use the same conversation: 'thread_id' is"):
            run(same_thread, rows=ROWS[:1])


@tool
def look_up(word: str) -> str:
    """Where a word is kept."""
    return f"found {word}"


class Kept(BaseModel):
    """What is kept of a word."""

    answer: str


def test_what_the_program_sets_on_a_call_goes_along():
    bound = own.bind_tools([look_up]).bind(temperature=0.2, stop=["END"], model="own")
    models = pair()
    run(PROMPT | bound, models=models, rows=ROWS[:1])
    assert models["small"].told == models["large"].told
    (told,) = models["small"].told
    assert (told["temperature"], told["stop"], told["tools"][0]["function"]["name"]) == (0.2, ["END"], "look_up")
    assert "model" not in told, "the name of the model that was replaced"


def test_an_agent_calls_its_tools_and_structured_output_is_read():
    models, steps = pair(), []
    (answers,) = run(agent(look_up), models=models, rows=ROWS[:1], steps=steps)
    assert said(answers["small"]) == f"a: {RULES}|word-0||found a: {RULES}|word-0"
    assert [s.as_json()["result"] for s in steps if s.kind == "tool"] == [
        {"small": f"found a: {RULES}|word-0"}, {"large": f"found b: {RULES}|word-0"},
    ]  # fmt: skip
    (structured,) = run(PROMPT | own.with_structured_output(Kept), rows=ROWS[:1])
    assert structured == {"small": Kept(answer=f"a: {RULES}|word-0"), "large": Kept(answer=f"b: {RULES}|word-0")}


def test_a_program_that_streams_gets_the_stream_of_the_task_model():
    streaming = Streaming(model_name="own")

    def parts(row):
        return [part.text for part in streaming.stream(PROMPT.invoke(row))]

    async def aparts(row):
        return [part.text async for part in streaming.astream(PROMPT.invoke(row))]

    for program in (parts, aparts):
        models = pair(Streaming)
        (answers,) = run(program, models=models, rows=ROWS[:1])
        assert [p for p in answers["small"] if p] == ["a", ": ", "word-0"]
        assert [p for p in answers["large"] if p] == ["b", ": ", "word-0"]
    assert streaming.told == []


def test_tools_reach_a_model_of_another_provider_in_its_form():
    models = {"small": Named(model_name="a"), "other": Foreign(model_name="f")}
    (answers,) = run(agent(look_up), models=models, rows=ROWS[:1])
    assert said(answers["other"]).startswith("f: ")
    assert models["other"].told[0]["tools"][0]["input_schema"]["properties"].keys() == {"word"}
    forced = PROMPT | own.bind_tools([look_up], tool_choice={"type": "function", "function": {"name": "look_up"}})
    run(forced, models=models, rows=ROWS[:1])
    assert models["other"].told[-1]["tool_choice"] == {"type": "tool", "name": "look_up"}


def only_of_b(message):
    if not message.text.startswith(("b", "ok", "{")):
        msg = "not of b"
        raise OutputParserException(msg)
    return message.text


def test_a_model_under_which_the_program_fails_counts_alone():
    parsed = PROMPT | own | RunnableLambda(only_of_b)
    (answers,) = run(parsed, rows=ROWS[:1])
    assert answers["small"] == Failure("unparsable", answers["small"].message, scored_zero=True)
    assert answers["large"] == f"b: {RULES}|word-0"
    with pytest.raises(OutputParserException):
        run(parsed, models={"small": Named(model_name="a"), "tiny": Named(model_name="c")}, rows=ROWS[:1])


class Refusing(Named):
    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage("", response_metadata={"finish_reason": "content_filter"})
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_model_that_refuses_to_answer_counts_alone_whoever_answers_last():
    for models in ({"small": Refusing(model_name="a"), "large": Named(model_name="b")},
                   {"large": Named(model_name="b"), "small": Refusing(model_name="a")}):  # fmt: skip
        (answers,) = run(PROMPT | own, models=models, rows=ROWS[:1])
        assert answers["small"].kind == "content_filter"
        assert said(answers["large"]) == f"b: {RULES}|word-0"
    (answers,) = run(PROMPT | own, models=pair(Refusing), rows=ROWS[:1])
    assert (answers.kind, answers.scored_zero) == ("content_filter", True)


def test_a_thread_that_the_program_starts_asks_the_task_model():
    def threaded(row):
        value, found = PROMPT.invoke(row), []
        worker = threading.Thread(target=lambda: found.append(own.invoke(value)))
        worker.start()
        worker.join()
        return found[0]

    with followed_threads, metered_by(UsageCollector()):
        answers = run(threaded)
    assert [said(one["large"]) for one in answers] == [f"b: {RULES}|{r['word']}" for r in ROWS]


def test_a_program_that_keeps_the_answer_of_one_model_for_another_is_told():
    kept = {}

    async def caching(row):
        value = await PROMPT.ainvoke(row)
        if str(value) in kept:
            return kept[str(value)]
        answer = await own.ainvoke(value)
        if answer.text.startswith("b"):
            await asyncio.sleep(0.01)
            kept[str(value)] = answer
        return answer

    async def look():
        with await open_target(caching, dry_inputs=ROWS[:1]) as target:
            await target.replace_models(Panel(pair(), None), ROWS[:1])
            for _ in range(2):
                await target.invoke(target.prompts, ROWS[0])

    with pytest.raises(ConfigError, match="or another task model, they were used: the chain keeps answers"):
        asyncio.run(look())


# ---------------------------------------------------------------- two models in one program

router = Named(model_name="router")


def routed(row):
    kind = router.invoke(row["word"]).text
    return {"answer": f"{kind}; {(PROMPT | own).invoke(row).text}"}


def test_a_program_with_two_models_is_refused_until_the_user_says_which_to_replace():
    with pytest.raises(ConfigError, match=r"asks several models \((own, router|router, own)\).*swap=\["):
        run(routed)
    assert router.told == [], "nothing is asked before"
    (named,) = run(routed, swap=["own"], rows=ROWS[:1])
    assert said(named["small"]) == f"router: word-0; a: {RULES}|word-0"
    (every,) = run(routed, swap="*", rows=ROWS[:1])
    assert said(every["large"]) == f"b: word-0; b: {RULES}|word-0"
    with pytest.raises(ConfigError, match=r"swap names 'ruoter'.*Did you mean 'router'"):
        run(routed, swap=["ruoter"])


def test_a_second_model_that_only_an_answer_leads_to_is_refused_before_it_is_asked():
    asked = []

    def escalates(row):
        first = (PROMPT | own).invoke(row)
        if not first.text.startswith(("a: ", "b: ")):
            return first
        asked.append(row)
        return Named(model_name="expert").with_fallbacks([own]).invoke(row["word"])

    with pytest.raises(ConfigError, match=r"asks several models \(own, expert\)"):
        run(escalates)
    assert asked


# ---------------------------------------------------------------- what is refused


def test_a_completion_model_that_only_an_answer_leads_to_is_refused_before_it_is_asked():
    completions = FakeListLLM(responses=["paid"])

    def finishes(row):
        first = (PROMPT | own).invoke(row)
        return completions.model_copy().invoke(row["word"]) if first.text.startswith(("a: ", "b: ")) else first

    with pytest.raises(ConfigError, match="cannot replace the model 'fake-list': LangChain's chat models are asked"):
        run(finishes)


def test_a_program_that_stops_asking_models_that_can_be_seen_is_refused():
    live = []

    async def hides(row):
        value = await PROMPT.ainvoke(row)
        return value.to_string() if live else await own.ainvoke(value)

    async def look():
        with await open_target(hides, dry_inputs=ROWS[:1]) as target:
            await target.replace_models(Panel(pair(), None), ROWS[:1])
            live.append(True)
            for _ in range(8):
                await target.invoke(target.prompts, ROWS[0])

    with pytest.raises(ConfigError, match="no call of one was seen in this one"):
        asyncio.run(look())


def test_models_out_of_sight_are_refused_before_anything_is_paid():
    with pytest.raises(ConfigError, match="no call of one was seen in this one"):
        run(PROMPT | RunnableLambda(lambda value: value.to_string()))
    with pytest.raises(ConfigError, match=r"cannot replace the model 'FakeListLLM': it is no chat model"):
        run(PROMPT | FakeListLLM(responses=["hello"]))


def test_an_openai_client_is_refused_by_name():
    openai = pytest.importorskip("openai", reason="needs openai")
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9")

    def plain(row):
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": row["word"]}]
        return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content

    with pytest.raises(ConfigError, match="cannot replace the model 'gpt-4o': the openai client is asked itself"):
        run(plain)


def test_settings_that_another_provider_does_not_know_are_refused():
    bound = own.bind(response_format={"type": "json_object"})
    models = {"small": Named(model_name="a"), "other": Foreign(model_name="f")}
    with pytest.raises(ConfigError, match=r"(?s)sets 'response_format'.*'f' is a Foreign.*function_calling"):
        run(PROMPT | bound, models=models)
    assert models["small"].told == []


def test_a_program_elsewhere_is_refused():
    remote = pytest.importorskip("langgraph.pregel.remote", reason="needs langgraph")
    elsewhere = remote.RemoteGraph("agent", url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="the program that this one asks has models of its own"):
        run(PROMPT | own | RunnableLambda(lambda m: elsewhere.invoke(m) if m.text == "never" else m))


def test_after_a_run_the_classes_are_as_they_were():
    before = {name: vars(BaseChatModel)[name] for name in ("generate", "agenerate", "stream", "astream")}
    run(PROMPT | own, rows=ROWS[:1])
    assert before == {name: vars(BaseChatModel)[name] for name in before}
