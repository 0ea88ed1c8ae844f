"""Finding prompts, replacing them for one evaluation, writing and reverting: on real chains."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from langchain_core.embeddings import FakeEmbeddings
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotPromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from langchain_core.runnables import (
    ConfigurableField,
    RouterRunnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tracers.base import BaseTracer
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_promptopt._langchain import overlay as registry
from langchain_promptopt._langchain.discover import find_models, find_prompts, name_places, write_into
from langchain_promptopt._langchain.overlay import Overlay, install, overlaid, tunable
from langchain_promptopt._langchain.target import PATIENCE, ChainTarget, open_target
from langchain_promptopt.errors import ConfigError, ConflictError, PromptError
from langchain_promptopt.types import Example, PromptSet
from tests.support.chat import EchoChat

PARSE = StrOutputParser()


def chat(text="Sort: {q}"):
    return ChatPromptTemplate([("system", text)])


GLOBAL_PROMPT = chat("Global: {q}")


def _global_lookup(x):
    return next(GLOBAL_PROMPT.invoke(x) for _ in range(1))


class Service:
    def __init__(self):
        self.table = {"sort": chat()}

    def run(self, x):
        return self.table["sort"].invoke(x)


def with_default(x, prompt=chat()):  # noqa: B008  # the idiom under test
    return prompt.invoke(x)


def closure():
    prompt = chat()
    return lambda x: prompt.invoke(x)


def empty_cell():
    def run(x):
        return prompt.invoke(x) if never else x

    never = False
    if never:
        prompt = chat()
    return run


M = EchoChat()
SHAPES = {
    "sequence": lambda: chat() | M | PARSE,
    "bound": lambda: chat() | M.bind(stop=["x"]) | PARSE,
    "configured": lambda: (chat() | M).with_config(tags=["t"]).with_retry() | PARSE,
    "parallel": lambda: RunnableParallel(a=chat("A {q}") | M | PARSE, b=chat("B {q}") | M | PARSE),
    "assign": lambda: RunnablePassthrough.assign(a=chat("A {q}") | M | PARSE) | chat("B {a} {q}") | M | PARSE,
    "fallbacks": lambda: (chat() | M).with_fallbacks([PromptTemplate.from_template("{q}") | M]) | PARSE,
    "branch": lambda: RunnableBranch((lambda x: x["q"] == "a", chat("A {q}") | M), chat("Else {q}") | M) | PARSE,
    "router": lambda: (
        {"key": lambda x: x["q"], "input": lambda x: x}
        | RouterRunnable({"a": chat("A {q}") | M, "b": chat("B {q}") | M})
    ),
    "alternatives": lambda: chat().configurable_alternatives(ConfigurableField(id="p"), other=chat("Other {q}")) | M,
    "fields": lambda: chat().configurable_fields(messages=ConfigurableField(id="m")) | M,
    "closure": lambda: RunnableLambda(closure()) | M,
    "default": lambda: RunnableLambda(with_default) | M,
    "global": lambda: RunnableLambda(_global_lookup) | M,
    "method": lambda: RunnableLambda(Service().run) | M,
    "partial": lambda: RunnableLambda(functools.partial(lambda x, p: p.invoke(x), p=chat())) | M,
    "returned": lambda: RunnableLambda(lambda x: chain_of().invoke(x)) | PARSE,
    "few shot": lambda: (
        FewShotPromptTemplate(
            examples=[{"i": "1"}], example_prompt=PromptTemplate.from_template("{i}"), prefix="Do.", suffix="{q}"
        )
        | M
        | PARSE
    ),
}
RENDERED = {
    "alternatives": 2,
    "fallbacks": 2,
    "parallel": 2,
    "assign": 2,
    "branch": 2,
    "router": 2,
}
INNER = chat() | M


def chain_of():
    return INNER


ROWS = [{"q": "a"}, {"q": "b"}]


async def _opens(shape):
    return await open_target(SHAPES[shape](), dry_inputs=ROWS)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_prompts_of_every_shape_are_found_proven_and_replaced_without_paying(shape):
    M.calls.clear()

    async def run():
        with await _opens(shape) as target:
            assert M.calls == [], "a dry run called a model"
            assert len(target.prompts) == RENDERED.get(shape, 1)
            marked = _mark(target.prompts, "MARK")
            out = await target.invoke(marked, {"q": "a"})
            assert "MARK" in str(out)
            assert "MARK" not in str(await target.invoke(target.prompts, {"q": "a"}))
            places = [f.template for f in target.places.values()]
            kinds = [type(t) for t in places]
            assert all("__promptopt_base__" in vars(k) for k in kinds)
        assert all("__promptopt_base__" not in vars(type(t)) for t in places)

    asyncio.run(run())
    M.calls.clear()


def _mark(prompts, mark):
    return PromptSet(
        tuple(
            replace(
                p,
                messages=tuple(replace(m, template=f"{mark} {m.template}") if m.editable else m for m in p.messages),
            )
            for p in prompts
        )
    )


def test_a_fallback_that_does_not_run_is_left_alone_and_that_is_said():
    async def run():
        with await _opens("fallbacks") as target:
            seen = set()
            await target.invoke(target.prompts, {"q": "a"}, None, seen)
            kept, notes = target.settle(target.prompts, seen)
            assert [(p.name, p.messages[0].editable) for p in kept] == [
                ("first.runnable.first", True),
                ("first.fallbacks[0].first", False),
            ]
            assert kept.id == target.prompts.id, "a frozen prompt is the same candidate"
            assert "'first.fallbacks[0].first'" in notes[0]
            assert "no example of the baseline renders it" in notes[0]

    asyncio.run(run())


def test_names_are_unique_and_the_prompts_own_where_they_have_one():
    named = PromptTemplate(template="{q}", name="triage")
    chain = RunnableParallel(a=named | M, b=chat() | M, c=PromptTemplate(template="x {q}", name="triage") | M)
    assert list(name_places(find_prompts(chain))) == ["triage", "b.first", "triage-2"]
    assert list(name_places(find_prompts(chat() | M))) == ["main"]


def test_the_walk_survives_cycles_and_empty_cells():
    ring: dict = {"p": chat()}
    ring["self"] = [ring]
    assert len(find_prompts(ring)) == 1
    assert find_prompts(RunnableLambda(empty_cell())) == ()


def test_the_walk_does_not_run_properties():
    class Trap:
        def __init__(self):
            self.prompt = chat()

        @property
        def boom(self):
            raise AssertionError

    trap = Trap()
    assert len(find_prompts(lambda x: trap.prompt)) == 1


def test_the_walk_reads_slots():
    class Node:
        __slots__ = ("bound", "unset")

        def __init__(self, bound):
            self.bound = bound

    assert [f.path for f in find_prompts({"nodes": {"a": Node(chat() | M)}})] == ["$['nodes']['a'].bound.first"]


def test_models_are_found_behind_bindings():
    assert find_models(chat() | M.bind(stop=["x"])) == (M,)


# ---------------------------------------------------------------- dry run


def test_prompts_after_a_model_and_a_json_parser_are_reached():
    chain = chat() | M | JsonOutputParser() | (lambda _: {"z": 1}) | PromptTemplate.from_template("After {z}") | M

    async def run():
        with await open_target(chain, dry_inputs={"q": "a"}) as target:
            assert len(target.prompts) == 2

    asyncio.run(run())


def test_a_model_the_walk_cannot_reach_is_stopped():
    made = []

    def late(value):
        model = EchoChat()
        made.append(model)
        return model.invoke(value)

    two = chat() | RunnableLambda(late) | (lambda m: {"z": m.content}) | PromptTemplate.from_template("{z}") | M

    async def run():
        with await open_target(two, dry_inputs={"q": "a"}) as target:
            assert [p.name for p in target.prompts] == ["first", "middle[2]"]
        assert all(model.calls == [] for model in made)
        assert len(made) >= 1

    asyncio.run(run())


def test_stopping_a_model_does_not_wake_the_fallbacks():
    late = RunnableLambda(lambda v: EchoChat().invoke(v))
    chain = (chat() | late).with_fallbacks([PromptTemplate.from_template("Instead {q}") | M])

    async def run():
        with await open_target(chain, dry_inputs={"q": "a"}) as target:
            assert M.calls == [], "the fallback's model was asked"
            assert len(target.prompts) == 2

    M.calls.clear()
    asyncio.run(run())


@pytest.mark.parametrize("how", ["invoke", "stream", "batch", "generate"])
def test_synchronous_code_between_two_prompts_is_answered_too(how):
    model, first, second = EchoChat(), chat("First {q}"), chat("Second {z}")

    def both(x):
        value = first.invoke(x)
        answer = {
            "invoke": lambda: model.invoke(value).content,
            "stream": lambda: "".join(str(c.content) for c in model.stream(value)),
            "batch": lambda: model.batch([value])[0].content,
            "generate": lambda: model.generate_prompt([value]).generations[0][0].text,
        }[how]()
        return second.invoke({"z": answer}).messages[0].content

    async def run():
        with await open_target(RunnableLambda(both), dry_inputs={"q": "a"}) as target:
            assert len(target.prompts) == 2
            assert model.calls == []

    asyncio.run(run())


def test_other_callers_of_the_model_are_served_during_a_dry_run():
    release, inside = threading.Event(), threading.Event()

    def slow(x):
        inside.set()
        assert release.wait(10)
        return x

    chain = RunnableLambda(slow) | chat() | M | (lambda m: {"z": m.content}) | PromptTemplate.from_template("{z}") | M

    async def run():
        opening = asyncio.create_task(open_target(chain, dry_inputs={"q": "a"}))
        await asyncio.to_thread(inside.wait, 10)
        answer = await asyncio.to_thread(contextvars.Context().run, M.invoke, "real")
        release.set()
        (await opening).close()
        return answer.content

    assert asyncio.run(run()) == "real"
    assert type(M) is EchoChat


def test_no_rendered_prompt_is_an_error_that_tells_the_cause():
    with pytest.raises(PromptError, match="missing variables") as raised:
        asyncio.run(open_target(chat() | M, dry_inputs={"ticket": "x"}))
    assert "inputs = {" in raised.value.mend
    with pytest.raises(PromptError, match="no prompt template"):
        asyncio.run(open_target(RunnableLambda(lambda x: x) | M, dry_inputs={"q": "x"}))

    def needs_a_session(_, config):
        return config["configurable"]["session"]

    with pytest.raises(PromptError, match="ended early: KeyError") as raised:
        asyncio.run(open_target(RunnableLambda(needs_a_session) | chat() | M, dry_inputs={"q": "x"}))
    assert 'config={"configurable"' in raised.value.mend
    assert "session ids are made for each evaluation" in raised.value.mend


def test_only_names_prompts_and_suggests():
    async def run(only):
        with await open_target(SHAPES["parallel"](), dry_inputs=ROWS, only=only) as target:
            return [p.name for p in target.prompts]

    assert asyncio.run(run(["a.first"])) == ["a.first"]
    with pytest.raises(ConfigError, match=r"Did you mean 'a.first'"):
        asyncio.run(run(["a.frist"]))


def test_a_prompt_asked_for_is_kept_though_unproven_and_its_silence_is_seen():
    async def run():
        both = ["first.runnable.first", "first.fallbacks[0].first"]
        with await open_target(SHAPES["fallbacks"](), dry_inputs=ROWS, only=both) as target:
            assert len(target.prompts) == 2
            seen = set()
            await target.invoke(target.prompts, {"q": "a"}, None, seen)
            target.settle(target.prompts, seen)

    with pytest.raises(PromptError, match=r"renders prompt 'first.fallbacks\[0\].first'"):
        asyncio.run(run())


# ---------------------------------------------------------------- one evaluation


def test_a_run_that_renders_a_copy_is_refused():
    prompt = chat()
    stored = {}

    def renders_copy(x):
        source = stored.get("copy", prompt)
        return source.invoke(x)

    async def run():
        with await open_target(RunnableLambda(renders_copy) | M, dry_inputs={"q": "a"}) as target:
            stored["copy"] = prompt.model_copy()
            for _ in range(PATIENCE):
                await target.invoke(target.prompts, {"q": "a"})

    with pytest.raises(PromptError, match="rendered none") as raised:
        asyncio.run(run())
    assert "copy made at run time" in str(raised.value)


def test_copies_made_by_partial_and_plus_follow_the_candidate():
    prompt = ChatPromptTemplate([("system", "Be {tone}: {q}")])
    chain = RunnableLambda(lambda x: (prompt.partial(tone="kind") + HumanMessage("now")).invoke(x)) | M | PARSE

    async def run():
        with await open_target(chain, dry_inputs={"q": "a"}) as target:
            return await target.invoke(_mark(target.prompts, "MARK"), {"q": "a"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(run()).startswith("MARK Be kind: a")


def test_a_bare_thread_pool_is_noticed_before_the_search():
    prompt = chat()
    pool = ThreadPoolExecutor(1)
    chain = RunnableLambda(lambda x: pool.submit(prompt.invoke, x).result()) | M
    with pytest.raises(PromptError, match="none of the chain's prompts") as raised:
        asyncio.run(open_target(chain, dry_inputs={"q": "a"}))
    assert "copy_context" in raised.value.mend
    pool.shutdown()


def test_two_runs_on_one_object_are_refused():
    prompt = chat()

    async def run():
        target = await open_target(prompt | M, dry_inputs={"q": "a"})
        with target, pytest.raises(ConflictError, match="another optimization"):
            await open_target(prompt | M, dry_inputs={"q": "a"})
        with await open_target(prompt | M, dry_inputs={"q": "a"}):
            pass

    asyncio.run(run())


def test_a_failed_opening_leaves_no_slot_behind():
    prompt = chat()
    with pytest.raises(PromptError):
        asyncio.run(open_target(prompt | M, dry_inputs={"x": "a"}))
    assert type(prompt) is ChatPromptTemplate


# ---------------------------------------------------------------- never mixed


def _everywhere(prompt, other):
    """One chain that renders in every way LangChain has of leaving the current task."""
    pool = ThreadPoolExecutor(4)

    async def streams(x):
        return "".join([str(c.messages[0].content) async for c in prompt.astream(x)])

    async def hops(x):
        await asyncio.sleep(random.random() / 500)  # shuffles the tasks
        return (await asyncio.to_thread(prompt.invoke, x)).messages[0].content

    def copied(x):
        context = contextvars.copy_context()
        return pool.submit(context.run, prompt.invoke, x).result().messages[0].content

    text = RunnableLambda(lambda v: v.messages[0].content)
    return RunnableParallel(
        plain=prompt | text,
        batched=RunnableLambda(lambda x: [v.messages[0].content for v in prompt.batch([x, x])]),
        abatched=RunnableLambda(functools.partial(_abatch, prompt)),
        streamed=RunnableLambda(streams),
        hopped=RunnableLambda(hops),
        copied=RunnableLambda(copied),
        other=other | RunnableLambda(lambda v: v.text),
    )


async def _abatch(prompt, x):
    return [v.messages[0].content for v in await prompt.abatch([x, x])]


def test_candidates_never_mix():
    chain = _everywhere(chat(), PromptTemplate.from_template("T {q}"))

    async def run():
        with await open_target(chain, dry_inputs={"q": "z"}) as target:
            seed = target.prompts

            async def one(i):
                out = await target.invoke(_mark(seed, f"<{i}>"), {"q": str(i)})
                seen = {t for v in out.values() for t in (v if isinstance(v, list) else [v])}
                assert seen == {f"<{i}> Sort: {i}", f"<{i}> T {i}"}

            await asyncio.gather(*[one(i) for i in range(60)])

    asyncio.run(run())


def test_the_base_is_served_to_others_while_candidates_run():
    prompt = chat()

    async def run():
        with await open_target(prompt | M | PARSE, dry_inputs={"q": "z"}) as target:
            marked = _mark(target.prompts, "C")
            jobs = [target.invoke(marked, {"q": "1"}) for _ in range(20)]
            plain = [asyncio.to_thread(prompt.format_messages, q="live") for _ in range(20)]
            both = await asyncio.gather(*jobs, *plain)
            assert set(both[:20]) == {"C Sort: 1"}
            assert {m[0].content for m in both[20:]} == {"Sort: live"}

    asyncio.run(run())


def test_structured_prompts_keep_their_pipe_guard_while_installed():
    from langchain_core.prompts.structured import StructuredPrompt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prompt = StructuredPrompt([("human", "{q}")], {"title": "T", "type": "object"})
    take_off = install([("$", prompt)])
    with pytest.raises(NotImplementedError):
        prompt | RunnableLambda(lambda x: x)
    take_off()
    assert type(prompt) is StructuredPrompt


def test_missing_inputs_are_still_explained_under_a_candidate():
    prompt, candidate = chat(), chat("New {q}")
    take_off = install([("$", prompt)])
    try:
        with overlaid(Overlay({id(prompt): candidate})), pytest.raises(KeyError, match="missing variables"):
            prompt.invoke({})
    finally:
        take_off()


# ---------------------------------------------------------------- rendering rows


def _rows(*inputs):
    return [Example(f"e{i}", row, {}) for i, row in enumerate(inputs)]


def test_a_row_without_a_value_is_named():
    async def run():
        with await open_target(chat() | M, dry_inputs={"q": "a"}) as target:
            target.render_check(target.prompts, _rows({"q": "a"}, {"q": "b", "extra": 1}))
            target.render_check(target.prompts, _rows({"q": "a"}, {"x": "b"}))

    with pytest.raises(PromptError, match=r"example 'e1' has no value for the variable 'q'"):
        asyncio.run(run())


def test_a_value_that_does_not_render_is_named():
    async def run():
        prompt = PromptTemplate.from_template("{q:d}")
        with await open_target(prompt | M, dry_inputs={"q": 1}) as target:
            target.render_check(target.prompts, _rows({"q": 1}, {"q": "one"}))

    with pytest.raises(PromptError, match=r"example 'e1' with the variable 'q'"):
        asyncio.run(run())


def test_a_prompt_behind_other_steps_renders_on_what_it_was_given():
    chain = {"z": lambda x: x["q"] * 2} | chat("Twice {z}") | M

    async def run():
        with await open_target(chain, dry_inputs={"q": "a"}) as target:
            target.render_check(target.prompts, _rows({"q": "a"}, {"q": "b"}))

    asyncio.run(run())


def test_optional_placeholders_and_partials_need_no_column():
    prompt = ChatPromptTemplate(
        [("system", "{tone}"), MessagesPlaceholder("h", optional=True), ("human", "{q}")]
    ).partial(tone="kind")

    async def run():
        with await open_target(prompt | M, dry_inputs={"q": "a"}) as target:
            assert target.prompts.variables == ("q",)
            target.render_check(target.prompts, _rows({"q": "a"}))

    asyncio.run(run())


# ---------------------------------------------------------------- write and revert


class Seen(BaseTracer):
    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)

    def prompt_runs(self):
        todo, found = list(self.runs), []
        while todo:
            run = todo.pop()
            todo += run.child_runs
            if run.run_type == "prompt":
                found.append(run)
        return found


@pytest.mark.parametrize("shape", ["sequence", "parallel", "branch", "closure", "method", "few shot", "fallbacks"])
def test_write_reaches_the_live_chain_and_revert_restores_it_byte_for_byte(shape):
    chain = SHAPES[shape]()
    before = {f.path: (dict(f.template.__dict__), set(f.template.model_fields_set)) for f in find_prompts(chain)}

    async def run():
        with await open_target(chain, dry_inputs=ROWS) as target:
            new = _mark(target.prompts, "NEW")
            target.write(new)
            assert target.prompts == new
        return target

    target = asyncio.run(run())
    assert "NEW" in str(chain.invoke({"q": "a"}))
    target.revert()
    after = {f.path: (dict(f.template.__dict__), set(f.template.model_fields_set)) for f in find_prompts(chain)}
    assert after == before
    assert all(value is before[path][0][name] for path, (state, _) in after.items() for name, value in state.items())
    assert "NEW" not in str(chain.invoke({"q": "a"}))


def test_traces_show_the_candidate_during_a_run_and_the_winner_afterwards():
    prompt = chat("Old {q}")
    chain = prompt | M | PARSE
    chain.invoke({"q": "1"}, config={"callbacks": [Seen()]})  # fills LangChain's cache of the serialization

    async def run():
        tracer = Seen()
        with await open_target(chain, dry_inputs=ROWS) as target:
            await target.invoke(_mark(target.prompts, "CAND"), {"q": "1"}, {"callbacks": [tracer]})
            await target.invoke(target.prompts, {"q": "1"}, {"callbacks": [tracer]})
            target.write(_mark(target.prompts, "NEW"))
        return tracer

    during = [(r.name, str(r.serialized)) for r in reversed(asyncio.run(run()).prompt_runs())]
    assert [name for name, _ in during] == ["ChatPromptTemplate"] * 2
    assert "CAND Old {q}" in during[0][1]
    assert "CAND" not in during[1][1]
    tracer = Seen()
    chain.invoke({"q": "1"}, config={"callbacks": [tracer]})
    (after,) = tracer.prompt_runs()
    assert "NEW Old {q}" in str(after.serialized)
    assert after.serialized["id"] == ["langchain", "prompts", "chat", "ChatPromptTemplate"]


def test_write_changes_nothing_when_one_prompt_does_not_fit():
    chain = SHAPES["parallel"]()

    async def run():
        with await open_target(chain, dry_inputs=ROWS) as target:
            good = _mark(target.prompts, "NEW")
            lost = replace(good.prompts[1].messages[0], template="no variable")
            with pytest.raises(PromptError, match="lost"):
                target.write(PromptSet((good.prompts[0], replace(good.prompts[1], messages=(lost,)))))

    asyncio.run(run())
    assert "NEW" not in str(chain.invoke({"q": "a"}))


def test_write_into_needs_the_names():
    prompts = PromptSet(())
    chain = SHAPES["parallel"]()

    async def run():
        with await open_target(chain, dry_inputs=ROWS) as target:
            return target.prompts

    prompts = asyncio.run(run())
    twin = SHAPES["parallel"]()
    snapshot = write_into(twin, _mark(prompts, "NEW"))
    assert twin.invoke({"q": "z"}) == {"a": "NEW A z", "b": "NEW B z"}
    snapshot.restore()
    assert twin.invoke({"q": "z"}) == {"a": "A z", "b": "B z"}
    with pytest.raises(PromptError, match=r"no prompt named"):
        write_into(chat() | M, prompts)


# ---------------------------------------------------------------- bare prompts, functions


def test_a_bare_prompt_is_tuned_by_its_name_alone():
    with pytest.raises(ConfigError, match="the chain has no prompt named 'other'"):
        asyncio.run(open_target(chat(), dry_inputs=ROWS, model=M, only=["other"]))


def test_a_bare_prompt_with_a_model():
    prompt = chat()

    async def run():
        target = await open_target(prompt, dry_inputs=ROWS, model=M)
        with target:
            target.render_check(target.prompts, _rows({"q": "a"}))
            with pytest.raises(PromptError, match="no value"):
                target.render_check(target.prompts, _rows({"x": "a"}))
            return await target.invoke(_mark(target.prompts, "X"), {"q": "a"})

    assert asyncio.run(run()) == "X Sort: a"
    with pytest.raises(ConfigError, match="needs a model"):
        asyncio.run(open_target(chat(), dry_inputs=ROWS))
    with pytest.raises(ConfigError, match="int cannot be optimized"):
        asyncio.run(open_target(3, dry_inputs=ROWS))


@pytest.fixture
def names(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", {})


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("kind", ["sync", "async", "text", "chain"])
def test_a_plain_function_with_a_tunable_prompt(kind):
    prompt = tunable("Sort {q}", name="triage")
    paid = []

    def sync(x):
        text = prompt.format(q=x["q"])
        paid.append(text)
        return text

    async def asynchronous(x):
        await asyncio.sleep(0)
        return sync(x)

    def text(x):
        source = str(prompt)
        paid.append(source)
        return source.format(q=x["q"])

    def chain(x):
        answer = M.invoke(prompt.format(**x)).content
        paid.append(answer)
        return answer

    function = {"sync": sync, "async": asynchronous, "text": text, "chain": chain}[kind]

    async def run():
        with await open_target(function, dry_inputs=ROWS) as target:
            assert isinstance(target, ChainTarget)
            assert paid == []
            assert [p.name for p in target.prompts] == ["triage"]
            seed = target.prompts
            jobs = [target.invoke(_mark(seed, f"<{i}>"), {"q": str(i)}) for i in range(20)]
            assert await asyncio.gather(*jobs) == [f"<{i}> Sort {i}" for i in range(20)]
            target.write(_mark(seed, "NEW"))
            assert prompt.text == "NEW Sort {q}"
            target.revert()
        assert prompt.format(q="1") == "Sort 1"

    asyncio.run(run())


@pytest.mark.usefixtures("names")
def test_tunable_names_are_unique_but_modules_may_load_twice():
    first = tunable("a {x}", name="n")
    assert tunable("a {x}", name="n") is first
    with pytest.raises(ConfigError, match="'n'"):
        tunable("b {x}", name="n")
    with pytest.raises(ConfigError, match="literal"):
        tunable("b", name="m", template_format="literal")


@pytest.mark.usefixtures("names")
def test_a_function_without_tunables_is_a_chain():
    prompt = chat()

    def function(x):
        return (prompt | M | PARSE).invoke(x)

    async def run():
        with await open_target(function, dry_inputs=ROWS) as target:
            return await target.invoke(_mark(target.prompts, "X"), {"q": "a"})

    assert asyncio.run(run()) == "X Sort: a"


class Paid(FakeEmbeddings):
    """Embeddings that a provider would bill."""

    model: str = "embed-1"


@pytest.mark.parametrize(
    ("embeddings", "told"),
    [
        (
            Paid(size=4),
            [
                "the chain embeds texts with Paid (embed-1): these calls are neither estimated nor counted, and no"
                " budget limits them"
            ],
        ),
        (FakeEmbeddings(size=4), []),
    ],
)
def test_embeddings_that_no_budget_counts_are_named(embeddings, told):
    store = InMemoryVectorStore(embeddings)
    prompt = ChatPromptTemplate.from_template("Look at {found}. Word: {word}")
    retriever = RunnableLambda(lambda row: row["word"]) | store.as_retriever(k=1)
    chain = RunnablePassthrough.assign(found=retriever) | prompt | EchoChat()
    target = asyncio.run(open_target(chain, dry_inputs={"word": "a"}))
    assert [note for note in target.notes if "embed" in note] == told
