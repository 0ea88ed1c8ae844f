"""What each evaluation is called with: a text where the chain takes one, ids of its own, the caller's config."""

from __future__ import annotations

import asyncio
import functools
import json
import uuid

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, messages_from_dict, messages_to_dict
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnablePassthrough, RunnableSequence
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.runnables.utils import ConfigurableFieldSpec

from langchain_promptopt import PromptOptimizer
from langchain_promptopt._langchain.isolation import isolation_of, replaced_ids, require_no_memory
from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.types import Edit, Span
from tests.support.chat import EchoChat
from tests.support.runs import run
from tests.support.tasks import PROMPT, chain, optimizer, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated"),
    pytest.mark.filterwarnings("ignore:The class `InMemoryChatMessageHistory` was deprecated"),
]
MODEL = EchoChat()


def asked(target_of, row, **more):
    """What the model is sent for a row."""

    async def once():
        with await open_target(target_of, dry_inputs=[row], **more) as target:
            MODEL.calls.clear()
            await target.invoke(target.prompts, row)
            return MODEL.calls

    return asyncio.run(once())


def text_only(question: str):
    return {"q": question.strip()}


SINGLE = {
    "passthrough": lambda: {"q": RunnablePassthrough()} | PromptTemplate.from_template("Sort: {q}") | MODEL,
    "beside a step": lambda: (
        {"q": RunnablePassthrough(), "n": RunnableLambda(len)} | PromptTemplate.from_template("Sort: {q}") | MODEL
    ),
    "a typed function": lambda: RunnableLambda(text_only) | PromptTemplate.from_template("Sort: {q}") | MODEL,
    "an untyped one": lambda: (
        RunnableLambda(lambda q: {"q": q.strip()}) | PromptTemplate.from_template("Sort: {q}") | MODEL
    ),
    "an f-string": lambda: RunnableLambda(lambda q: {"q": f"{q}"}) | PromptTemplate.from_template("Sort: {q}") | MODEL,
    "inside config": lambda: (
        {"q": RunnablePassthrough()} | PromptTemplate.from_template("Sort: {q}") | MODEL
    ).with_config(tags=["t"]),
}


@pytest.mark.parametrize("shape", SINGLE)
def test_a_chain_that_takes_a_text_gets_the_text(shape):
    assert asked(SINGLE[shape](), {"ticket": "a lamp"}) == ["Sort: a lamp"]


def test_a_chain_over_rows_still_gets_the_row():
    chained = RunnablePassthrough.assign(n=lambda row: len(row["q"])) | PromptTemplate.from_template("{q} {n}") | MODEL
    assert asked(chained, {"q": "lamp"}) == ["lamp 4"]
    whole = (
        {"row": RunnablePassthrough()} | PromptTemplate.from_template("{{ row.q }}", template_format="jinja2") | MODEL
    )
    assert asked(whole, {"q": "lamp", "x": 1}) == ["lamp"]


def test_a_chain_that_would_print_a_whole_row_is_refused_before_a_call():
    chained = {"q": RunnablePassthrough()} | PromptTemplate.from_template("Sort: {q}") | MODEL
    MODEL.calls.clear()
    with pytest.raises(PromptError, match="takes one input, and examples have 2: 'q', 'x'") as raised:
        asked(chained, {"q": "lamp", "x": 1})
    assert "inputs = {" in raised.value.mend
    assert MODEL.calls == []


def bot(store, **more):
    prompt = ChatPromptTemplate([("system", "Sort"), MessagesPlaceholder("history"), ("human", "{q}")])
    return RunnableWithMessageHistory(
        prompt | MODEL,
        more.pop("factory", lambda session_id: store.setdefault(session_id, InMemoryChatMessageHistory())),
        input_messages_key="q",
        history_messages_key="history",
        **more,
    )


@pytest.mark.parametrize("bound", [False, True])
def test_each_evaluation_has_a_history_of_its_own(bound):
    store = {}
    one = bot(store)
    one = one.with_config(configurable={"session_id": "eval"}) if bound else one

    async def several():
        with await open_target(one, dry_inputs=[{"q": "dry"}]) as target:
            MODEL.calls.clear()
            for _ in range(3):
                await target.invoke(target.prompts, {"q": "same row"})

    asyncio.run(several())
    assert [call.count("row") for call in MODEL.calls] == [1, 1, 1]
    assert "eval" not in store


def test_ids_of_users_stay_and_conversations_are_fresh():
    seen = []

    def factory(user_id: str, conversation_id: str):
        seen.append((user_id, conversation_id))
        return InMemoryChatMessageHistory()

    fields = [
        ConfigurableFieldSpec(id=name, annotation=str, name=name, description="", default="", is_shared=True)
        for name in ("user_id", "conversation_id")
    ]
    one = bot({}, factory=factory, history_factory_config=fields)

    async def twice():
        given = {"configurable": {"user_id": "ann", "conversation_id": "c1"}}
        with await open_target(one, dry_inputs=[{"q": "dry"}], config=given) as target:
            seen.clear()
            for _ in range(2):
                await target.invoke(target.prompts, {"q": "x"})

    asyncio.run(twice())
    assert {user for user, _ in seen} == {"ann"}
    assert len({c for _, c in seen}) == 2
    assert "c1" not in {c for _, c in seen}


class Pregel:
    """Has what a compiled graph has: `langgraph` is no dependency of the tests."""

    def __init__(self, checkpointer=None, store=None):
        self.checkpointer, self.store = checkpointer, store


def test_a_graph_with_a_checkpointer_gets_thread_ids():
    isolation = isolation_of(RunnableLambda(Pregel(checkpointer=object()).__init__))
    configs = [isolation.config({}, None)["configurable"]["thread_id"] for _ in range(2)]
    assert len({*configs}) == 2
    assert not isolation_of(RunnableLambda(Pregel().__init__)).ids


@pytest.mark.parametrize("name", ["thread_id", "session_id", "conversation_id", "sessionId", "chat_session_id"])
def test_ids_that_the_config_makes_of_a_row_are_fresh_for_each_evaluation(name):
    def config(row):
        return {"configurable": {name: row["case"], "user_id": row["user"]}, "tags": ["x"]}

    isolation = isolation_of(RunnableLambda(lambda row: row), config)
    made = [isolation.config({"case": "c7", "user": "ann"}, None)["configurable"] for _ in range(3)]
    assert len({m[name] for m in made} - {"c7"}) == 3
    assert {m["user_id"] for m in made} == {"ann"}
    assert replaced_ids(config, {"case": "c7", "user": "ann"}) == (name,)


def test_an_id_of_the_config_keeps_its_type():
    isolation = isolation_of(RunnableLambda(lambda row: row), {"configurable": {"session_id": 7}})
    made = [isolation.config({}, None)["configurable"]["session_id"] for _ in range(2)]
    assert [type(m) for m in made] == [int, int]
    assert len({*made}) == 2


def of_row(row):
    return graph.invoke(row, {"configurable": {"thread_id": row["case"]}})


def of_row_by_name(row):
    case = f"case-{row['case']}"
    return graph.invoke(row, config=dict(configurable=dict(thread_id=str(case))))


def fresh(row):
    thread = f"{row['case']}-{uuid.uuid4()}"
    return graph.invoke(row, {"configurable": {"thread_id": thread}})


def passed_on(row, config):
    return graph.invoke(row, {"configurable": {"thread_id": config["configurable"]["thread_id"]}})


graph = None


@pytest.mark.parametrize("function", [of_row, of_row_by_name])
def test_an_id_that_code_makes_of_the_row_is_refused(function, monkeypatch):
    monkeypatch.setitem(globals(), "graph", Pregel(checkpointer=object()))
    with pytest.raises(ConfigError, match="the same id under every candidate and in every repeat"):
        isolation_of(RunnableLambda(function))


@pytest.mark.parametrize("function", [fresh, passed_on])
def test_an_id_that_code_makes_afresh_or_passes_on_is_taken(function, monkeypatch):
    monkeypatch.setitem(globals(), "graph", Pregel(checkpointer=object()))
    assert isolation_of(RunnableLambda(function)).ids == {"thread_id": str}


def test_memory_that_takes_no_id_is_refused_with_its_place():
    shared = InMemoryChatMessageHistory()

    def keeps(row):
        shared.add_user_message(row["q"])
        return row

    def constant(row):
        return graph.invoke(row, {"configurable": {"thread_id": "1"}})

    graph = Pregel(checkpointer=object())
    refused = {
        "two sessions the same history": bot({}, factory=lambda session_id: shared),
        "takes no id": bot({}, factory=lambda: shared),
        "takes no session id": RunnableLambda(keeps),
        "one memory for all threads": RunnableLambda(Pregel(store=object()).__init__),
        "gives every example the same id": RunnableLambda(constant),
    }
    for why, thing in refused.items():
        with pytest.raises(ConfigError, match=why):
            isolation_of(thing)


def test_the_config_reaches_the_chain():
    seen = []

    def look(row, config):
        seen.append(config)
        return row

    program = RunnableLambda(look) | chain()
    run(target=program, config={"configurable": {"user": "ann"}, "tags": ["mine"], "recursion_limit": 7})
    assert {c["configurable"]["user"] for c in seen} == {"ann"}
    assert all("mine" in c["tags"] and c["recursion_limit"] == 7 for c in seen)
    seen.clear()
    run(target=program, config=lambda inputs: {"configurable": {"user": inputs["word"]}})
    assert len({c["configurable"]["user"] for c in seen}) > 16
    seen.clear()
    given = {"evaluators": ["exact_match"], "optimizer_model": optimizer(), "method": "lpo-pe2", "data": rows()}
    ready = PromptOptimizer(runs_dir=None, openings=None, **given)
    ready.invoke(program, {"configurable": {"user": "bob"}, "tags": ["theirs"]})
    assert {c["configurable"]["user"] for c in seen} == {"bob"}
    with pytest.raises(ConfigError, match="no key 'thread_id'"):
        run(target=program, config={"thread_id": "1"})


def test_another_config_is_another_run():
    ids = {run(config=config).run_id for config in (None, {"tags": ["a"]}, {"tags": ["b"]})}
    assert len(ids) == 3


def test_prompts_behind_a_model_s_decision_are_optimized():
    """A canned reply takes no branch: the baseline does, and shows which prompts there are."""
    animals = ChatPromptTemplate.from_template(PROMPT) | chain().middle[0] | chain().last
    unused = ChatPromptTemplate.from_template("Never: {word}") | chain().middle[0] | chain().last
    ask = ChatPromptTemplate.from_template("Route. Call every animal a beast. Call every stone a rock.\nWord: {word}")
    decide = RunnablePassthrough.assign(kind=ask | chain().middle[0] | chain().last)
    program = decide | RunnableBranch(
        (lambda row: row["kind"] in {"beast", "rock"}, animals),
        (lambda row: row["kind"] == "x", unused),
        lambda _: "ok",
    )
    result = run(target=program)
    assert result.outcome == "improved"
    assert [(e.old, e.new) for e in result.edits] == [("PLANT", "animal")]
    assert any("stays as it is: no example of the baseline renders it" in w for w in result.warnings)


def test_prompts_that_no_row_renders_end_the_run():
    prompt = ChatPromptTemplate.from_template(PROMPT)
    model, parser = chain().middle[0], chain().last

    def program(row):
        if row["word"] == "never":
            return prompt.invoke(row)
        return " ".join(["Call", "every", "animal", "a", "PLANT."]) + "\nWord: " + row["word"]

    with pytest.raises(PromptError, match="rendered none of the prompts") as raised:
        run(target=RunnableLambda(program) | model | parser)
    assert raised.value.exit_code == 2


def test_the_winner_of_a_function_with_two_templates_is_applied():
    first = ChatPromptTemplate.from_template(PROMPT)
    second = ChatPromptTemplate.from_template("Repeat.\nWord: {said}")
    model = chain().middle[0]

    async def program(row):
        said = (await model.ainvoke(first.invoke(row))).text
        second.invoke({"said": said})
        return said

    result = run(target=program, apply="always")
    assert result.applied
    assert "animal" in first.messages[0].prompt.template
    result.revert(program)
    assert first.messages[0].prompt.template == PROMPT


# ids that code makes where reading it does not show them


def case_of(row) -> str:
    return "user-" + row.get("user", row["case"])


def helped(row):
    return talker.invoke({"q": row["case"]}, conversation_of(row))


talker = None


def conversation_of(row):
    return {"configurable": {"session_id": case_of(row)}}


def test_an_id_made_by_a_helper_stops_the_second_evaluation_that_uses_it(monkeypatch):
    monkeypatch.setitem(globals(), "talker", bot(store := {}))

    async def several(*cases):
        with await open_target(helped, dry_inputs=[{"case": "dry"}]) as target:
            MODEL.calls.clear()
            for case in cases:
                await target.invoke(target.prompts, {"case": case})

    asyncio.run(several("a", "b"))
    assert len(MODEL.calls) == 2
    store.clear()
    with pytest.raises(ConfigError, match="'session_id' is 'user-a' in both"):
        asyncio.run(several("a", "b", "a"))
    assert len(MODEL.calls) == 2  # the third was stopped before its model was asked


def test_a_run_over_shared_conversations_ends_with_the_reason(monkeypatch):
    monkeypatch.setitem(globals(), "talker", bot({}))
    data = [{"inputs": {"case": f"{n}", "user": f"{n % 3}"}, "outputs": {"answer": "x"}} for n in range(40)]
    with pytest.raises(ConfigError, match="two evaluations use the same conversation"):
        run(target=helped, data=data)


# memory and caches of the chain's own


class Told(list):
    """Past messages in a list."""

    def add(self, *messages):
        self.extend(messages)


class Filed:
    """Past messages in a file, as histories of LangChain write them."""

    path = None

    def __iter__(self):
        return iter(messages_from_dict(json.loads(self.path.read_text())) if self.path.exists() else [])

    def add(self, *messages):
        self.path.write_text(json.dumps(messages_to_dict([*self, *messages])))


def talking(past, model=MODEL):
    """A function that sends what is kept in `past`, and keeps what it sent and got."""
    talk = ChatPromptTemplate([("system", "Sort"), MessagesPlaceholder("history"), ("human", "{q}")]) | model

    def answer(row):
        own = past() if isinstance(past, type) else past
        for _ in range(2):
            reply = talk.invoke({"q": row["q"], "history": list(own)})
            own.add(HumanMessage(row["q"]), reply)
        return reply.content

    return answer


def evaluated(task, *words, rows=({"q": "a"}, {"q": "b"})):
    """Evaluates rows under prompts that say each of these words in place of Sort."""

    async def all_of():
        answers = []
        with await open_target(task, dry_inputs=[{"q": "dry"}]) as target:
            for word in words:
                place = Span(target.prompts.prompts[0].name, 0, 0, 4)
                prompts = target.prompts.apply([Edit(place, "Sort", word)])
                for row in rows:
                    answers.append(await target.invoke(prompts, row))
        return answers

    return asyncio.run(all_of())


@pytest.mark.parametrize("kind", [Told, Filed])
def test_memory_of_the_chain_s_own_stops_the_evaluation_that_reads_another_s_reply(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Filed, "path", tmp_path / "past.json")
    model = EchoChat()
    with pytest.raises(ConfigError, match="holds a reply that the model gave in the other") as raised:
        evaluated(talking(kind(), model), "List")
    assert "builds a fresh one" in raised.value.mend
    assert len(model.calls) == 2  # the second was stopped before its model was asked


def test_replies_within_one_evaluation_and_constant_ids_are_no_shared_memory():
    assert len(evaluated(talking(Told), "List", "Sort")) == 4
    constant = FakeMessagesListChatModel(responses=[AIMessage("ok", id="fixed")])
    assert evaluated(talking(Told, constant), "List", "Sort") == ["ok"] * 4


def cached_dict(ask, kept):
    def answer(row):
        if row["q"] not in kept:
            kept[row["q"]] = ask(row["q"])
        return kept[row["q"]]

    return answer


def cached_function(ask, _):
    ask = functools.lru_cache(ask)
    return lambda row: ask(row["q"])


@pytest.mark.parametrize("cached", [cached_dict, cached_function])
def test_a_cache_that_would_answer_for_the_old_prompt_ends_the_run(cached):
    asks = ChatPromptTemplate([("system", "Sort"), ("human", "{q}")]) | MODEL | StrOutputParser()

    def ask(q):
        return asks.invoke({"q": q})

    assert evaluated(cached(ask, {}), "List", "List") == ["List|a", "List|b"] * 2  # the same prompts: true answers
    with pytest.raises(ConfigError, match="keeps answers from earlier evaluations"):
        evaluated(cached(ask, {}), "List", "Order")


def test_what_watches_evaluations_does_not_report_each_step_of_a_plain_chain(monkeypatch):
    reported = []
    ainvoke = RunnableSequence.ainvoke

    def noted(self, *given, **more):
        if type(self) is not RunnableSequence:  # the copy of the chain that evaluations run
            reported.append(self)
        return ainvoke(self, *given, **more)

    monkeypatch.setattr(RunnableSequence, "ainvoke", noted)
    run()
    assert reported == []


def test_an_example_that_never_needs_a_prompt_is_no_cache():
    asks = ChatPromptTemplate([("system", "Sort"), ("human", "{q}")]) | MODEL | StrOutputParser()

    def answer(row):
        return "empty" if row["q"] == "b" else asks.invoke(row)

    assert evaluated(answer, "List", "Order") == ["List|a", "empty", "Order|a", "empty"]


WORDS = ("a small brown lamp", "two garden chairs", "the kitchen table", "a shelf of oak")


def remembering(past, keep, talk="Sort.\nBefore: {past}\nNow: {q}"):
    """A function that sends what `past` holds as text, and keeps each question in it."""
    prompt = PromptTemplate.from_template(talk)

    def answer(row):
        reply = (prompt | MODEL).invoke({"q": row["q"], "past": str(past)})
        keep(past, row["q"], reply.content)
        return reply.content

    return RunnableLambda(answer)


MEMORIES = {
    "pairs of texts": ([], lambda past, q, reply: past.extend([("human", q), ("ai", reply)])),
    "messages of OpenAI": ([], lambda past, q, _: past.append({"role": "user", "content": q})),
    "the last question": ({}, lambda past, q, _: past.update(last=q)),
}


def tried(task, words=WORDS):
    data = [{"inputs": {"q": word}, "outputs": {"answer": "x"}} for word in words]
    return run(target=task, data={"train": data[:2], "dev": data[2:]}, gate=None)


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_memory_of_texts_is_refused_before_a_call(kind):
    MODEL.calls.clear()
    with pytest.raises(ConfigError, match="share what the chain remembers"):
        tried(remembering(*MEMORIES[kind]))
    assert MODEL.calls == []


def test_a_store_of_examples_is_no_memory():
    rows = [{"q": word} for word in WORDS]
    program = remembering(list(WORDS), lambda *_: None)
    asyncio.run(require_no_memory(program, rows, [MODEL], given=lambda row, c: (row, c)))


def test_what_a_cache_of_the_program_keeps_of_a_dry_run_is_no_answer_to_an_example():
    kept = {}

    def answer_once(row):
        if row["q"] not in kept:
            kept[row["q"]] = MODEL.invoke(row["q"]).content
        return kept[row["q"]]

    rows = [{"q": word} for word in WORDS]
    program = RunnableLambda(answer_once)
    asyncio.run(require_no_memory(program, rows, [MODEL], given=lambda row, c: (row, c)))
    assert len(kept) == 2
    assert not kept.keys() & {*WORDS}


def test_a_memory_of_single_words_is_refused_too():
    rows = [{"q": word.replace(" ", "_")} for word in WORDS]
    program = remembering([], lambda past, q, _: past.append(q))
    with pytest.raises(ConfigError, match="share what the chain remembers"):
        asyncio.run(require_no_memory(program, rows, [MODEL], given=lambda row, c: (row, c)))


def test_a_memory_is_seen_where_the_program_looks_up_a_word_of_the_example():
    known = {f"T-{i}": word for i, word in enumerate(WORDS)}
    talk = remembering([], lambda past, q, _: past.append(q))
    program = RunnableLambda(lambda row: talk.invoke({"q": f"{known[row['id']]}: {row['q']}"}))
    rows = [{"id": f"T-{i}", "q": word} for i, word in enumerate(WORDS)]
    with pytest.raises(ConfigError, match="share what the chain remembers"):
        asyncio.run(require_no_memory(program, rows, [MODEL], given=lambda row, c: (row, c)))


@pytest.mark.parametrize("blank", [" ", "_"])
def test_a_dry_run_of_two_prompts_leaves_no_canned_reply_for_an_example_in_a_cache(blank):
    kept = {}

    def ask(value):
        text = value.to_string()
        if text not in kept:
            kept[text] = MODEL.invoke(value).content
        return kept[text]

    first, second = PromptTemplate.from_template("Shorten {q}"), PromptTemplate.from_template("Sort {q}")
    program = RunnableLambda(lambda row: ask(first.invoke(row)) and row) | second | RunnableLambda(ask)
    rows = [{"q": word.replace(" ", blank)} for word in WORDS]
    asyncio.run(open_target(program, dry_inputs=rows)).close()
    assert kept
    assert not kept.keys() & {first.format(**row) for row in rows}


def test_a_chain_with_a_generator_that_langchain_runs_by_invoke_alone_is_run_so():
    def shout(parts):
        for part in parts:
            yield part.upper()

    program = ChatPromptTemplate([("system", "Sort"), ("human", "{q}")]) | MODEL | StrOutputParser() | shout
    assert evaluated(program, "List") == ["LIST|A", "LIST|B"]
