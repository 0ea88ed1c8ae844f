"""What evaluations run in place of the user's chain asks, answers, refuses and traces the same."""

from __future__ import annotations

import functools

import openai
import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models import base
from openai.resources.chat.completions import completions as sdk
from pydantic import BaseModel

from langchain_promptopt._langchain import fast as lean
from langchain_promptopt._langchain.fast import Quick, quick
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.failures import classify
from tests.support.faults import FaultPlan
from tests.support.http_kit import LoopbackServer
from tests.support.http_messages import Response
from tests.support.openai_server import serve

PROMPT = ChatPromptTemplate([("system", "Sort {what}."), ("ai", "Yes."), ("human", "Word: {word}")])
PICTURE = ChatPromptTemplate(
    [("human", [{"type": "text", "text": "What is {word}?"}, {"type": "text", "text": "Now."}])]
)
GIVEN = {"what": "wörter", "word": "{sea}"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


class Colour(BaseModel):
    """Something that is no JSON yet."""

    name: str


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


def model(server, **more):
    return ChatOpenAI(model="any", base_url=server.base_url, api_key="k", max_retries=0, **more)


CHAINS = {
    "plain": lambda m: PROMPT | m | StrOutputParser(),
    "no parser": lambda m: PROMPT | m,
    "string prompt": lambda m: PromptTemplate.from_template("{what}: {word}") | m | StrOutputParser(),
    "content blocks": lambda m: PICTURE | m | StrOutputParser(),
    "bound": lambda m: PROMPT | m.bind(stop=["x"], seed=3) | StrOutputParser(),
    "tools": lambda m: PROMPT | m.bind_tools([TOOL]),
    "a step behind": lambda m: PROMPT | m | StrOutputParser() | RunnableLambda(str.upper),
    "a step before": lambda m: RunnableLambda(lambda x: {**x, "what": "more"}) | PROMPT | m | StrOutputParser(),
    "a name": lambda m: (PROMPT | m | StrOutputParser()).with_config(run_name="triage"),
}


class Tree(BaseTracer):
    """Names, types and inputs of all runs, as they nest."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _persist_run(self, run):
        def told(one):
            given = str(getattr(one.inputs.get("input"), "content", one.inputs))  # a message's id is drawn
            return [
                one.name,
                one.run_type,
                given,
                sorted(one.tags or []),
                [told(child) for child in one.child_runs],
            ]

        self.seen.append(told(run))


def asked(server, chain, given=GIVEN, config=None):
    """The answer and the body that was sent, byte for byte."""

    async def once():
        made = quick(chain)
        try:
            return await made.chain.ainvoke(given, config)
        finally:
            await made.aclose()

    before = len(server.requests)
    answers = [run_sync(lambda: chain.ainvoke(given, config)), run_sync(once)]
    bodies = [r.body for r in list(server.requests)[before:]]
    assert len(bodies) == 2
    return answers, bodies


def shown(answer):
    return answer if isinstance(answer, str) else (answer.content, answer.tool_calls, answer.usage_metadata)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0, "seed": 7, "extra_body": {"top_k": 3}}], ids=["", "options"]
)
def test_the_same_bytes_go_out_and_the_same_answer_comes_back(server, name, options):
    (plain, ours), (one, two) = asked(server, CHAINS[name](model(server, **options)))
    assert one == two
    assert shown(plain) == shown(ours)


@pytest.mark.parametrize("name", CHAINS)
def test_tracers_see_the_same_runs(server, name):
    trees = [Tree(), Tree()]
    chain = CHAINS[name](model(server))

    async def both():
        made = quick(chain)
        await chain.ainvoke(GIVEN, {"callbacks": [trees[0]]})
        await made.chain.ainvoke(GIVEN, {"callbacks": [trees[1]]})
        await made.aclose()

    run_sync(both)
    assert trees[0].seen == trees[1].seen


def test_a_missing_variable_is_told_in_the_same_words(server):
    chain, said = CHAINS["plain"](model(server)), []
    for one in (chain, quick(chain).chain):
        with pytest.raises(KeyError) as caught:
            run_sync(lambda one=one: one.ainvoke({"word": "x"}))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_the_users_objects_and_clients_stay(server):
    m = model(server)
    chain = CHAINS["plain"](m)
    before = [id(step) for step in chain.steps], id(m.async_client), id(m.root_async_client)
    made = quick(chain)
    assert type(chain) is not type(made.chain)
    assert before == ([id(step) for step in chain.steps], id(m.async_client), id(m.root_async_client))
    run_sync(made.aclose)


def test_an_instrumented_sdk_keeps_its_instruments(server, monkeypatch):
    """Whoever wraps the SDK's `create` sees whole requests, as without us."""
    seen, plain = [], openai.resources.chat.AsyncCompletions.create

    @functools.wraps(plain)  # as good instruments do: what is wrapped can be seen through them
    async def watched(self, **payload):
        seen.append(payload["messages"])
        return await plain(self, **payload)

    monkeypatch.setattr(openai.resources.chat.AsyncCompletions, "create", watched)
    asked(server, CHAINS["plain"](model(server)))
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][0]["content"] == "Sort wörter."


@pytest.mark.parametrize(
    "bound",
    [
        {"extra_body": {"messages": [{"role": "user", "content": "mine"}]}},
        {"stop": ("x", "y")},
        {"prediction": Colour(name="red")},
        {"tools": iter([TOOL])},
        {"temperature": openai.omit, "seed": openai.NOT_GIVEN},
    ],
    ids=["messages of the user", "a tuple", "a pydantic model", "a generator", "nothing given"],
)
def test_what_is_not_plain_json_is_sent_as_the_sdk_sends_it(server, bound):
    chains = []
    for _ in range(2):  # a generator is read once
        fresh = {k: iter([TOOL]) if k == "tools" else v for k, v in bound.items()}
        chains.append(PROMPT | model(server).bind(**fresh) | StrOutputParser())

    async def both():
        made = quick(chains[1])
        await chains[0].ainvoke(GIVEN)
        await made.chain.ainvoke(GIVEN)
        await made.aclose()

    before = len(server.requests)
    run_sync(both)
    one, two = (r.body for r in list(server.requests)[before:])
    assert one == two


def test_replies_are_read_without_a_thread_and_plain_bodies_without_a_look_at_types(server, monkeypatch):
    """Otherwise all of `lean` could be switched off without a test to tell."""
    hops, looks = [], []
    run_in_executor, transform = base.run_in_executor, sdk.async_maybe_transform
    monkeypatch.setattr(base, "run_in_executor", lambda *a, **k: hops.append(a) or run_in_executor(*a, **k))
    monkeypatch.setattr(sdk, "async_maybe_transform", lambda *a: looks.append(a) or transform(*a))
    made = lean._lean_model, lean._lean_completions
    for cached in made:
        cached.cache_clear()
    try:
        asked(server, CHAINS["plain"](model(server)))
        assert (len(hops), len(looks)) == (1, 1)  # those of the chain as it was
        asked(server, PROMPT | model(server).bind(stop=("x",)) | StrOutputParser())
        assert (len(hops), len(looks)) == (2, 3)  # a tuple is no plain JSON: the SDK looks at it
    finally:
        for cached in made:
            cached.cache_clear()


@pytest.mark.parametrize("name", ["a reply without choices", "null choices", "no JSON object", "a refusal", "an error"])
def test_odd_replies_read_as_they_always_did(name):
    body = {
        "a reply without choices": {"id": "x"},
        "null choices": {"choices": None},
        "no JSON object": [1, 2],
        "a refusal": {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "refusal": "No."}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        },
        "an error": {"error": {"message": "overloaded"}, "choices": None},
    }[name]
    said = []
    with LoopbackServer(lambda _: Response.of(body)) as odd:
        m = ChatOpenAI(model="any", base_url=f"{odd.url}/v1", api_key="k", max_retries=0)
        for make in (Quick, quick):
            made = make(m)

            async def once(made=made):
                try:
                    return await made.chain.ainvoke("x")
                finally:
                    await made.aclose()

            try:
                answer = run_sync(once)
                said.append((answer.content, answer.additional_kwargs, answer.response_metadata))
            except Exception as error:  # noqa: BLE001 - both must be alike, whatever they are
                said.append((type(error), str(error)))
    assert said[0] == said[1]


def test_an_instrumented_model_keeps_its_instruments(server, monkeypatch):
    seen, plain = [], ChatOpenAI._agenerate

    @functools.wraps(plain)
    async def watched(self, *args, **kwargs):
        seen.append(args)
        return await plain(self, *args, **kwargs)

    asked(server, CHAINS["plain"](model(server)))
    monkeypatch.setattr(ChatOpenAI, "_agenerate", watched)
    asked(server, CHAINS["plain"](model(server)))
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", "connection"),
        ("lost", "connection"),
        ("truncated", "connection"),
        ("hang", "timeout"),
        ("503", "server_error"),
        ("html", "malformed_reply"),
        ("empty", "malformed_reply"),
    ],
)
def test_failures_keep_their_names_on_these_connections(fault, kind):
    with serve(faults=FaultPlan(rate=1.0, kinds=(fault,))) as failing:
        made = quick(model(failing, timeout=0.5))

        async def once():
            try:
                await made.chain.ainvoke("x")
            finally:
                await made.aclose()

        with pytest.raises(Exception) as caught:  # noqa: PT011 - what is raised is what is tested
            run_sync(once)
    assert classify(caught.value).kind == kind
    assert classify(caught.value).action == "retry"


def test_a_port_nobody_listens_on_is_a_connection_failure(server):
    made = quick(ChatOpenAI(model="any", base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0))
    with pytest.raises(openai.APIConnectionError) as caught:
        run_sync(lambda: made.chain.ainvoke("x"))
    run_sync(made.aclose)
    assert classify(caught.value).kind == "connection"
