"""What each step of an app said reaches the optimizer model, by the prompt's name, and comes back on resuming."""

from __future__ import annotations

import json
import re

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import tool

from langchain_promptopt import tunable
from langchain_promptopt.store.lines import outcome_of
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import StepAnswer, shortened_steps
from tests.support.runs import of_type, run, shown_rows
from tests.support.tasks import PROMPT, answer, chain, improve, rows

FEW = rows(6, 8, 8)
EXTRACT = "Repeat the word.\nWord: {word}"
POLISH = "Say the kind in small letters.\nKind: {kind}"


def program(messages):
    """All three steps: each is told by its prompt."""
    text = str(messages[-1].text)
    if text.startswith("Repeat"):
        return text.rpartition("Word: ")[2]
    if text.startswith("Say"):
        return text.rpartition("Kind: ")[2]
    return answer(messages)


def three_prompts(fn=program):
    model = ScriptedModel(fn=fn, model_name="task")

    def step(name, text):
        prompt = ChatPromptTemplate.from_template(text)
        prompt.name = name
        return prompt | model | StrOutputParser()

    return (
        RunnablePassthrough.assign(word=step("extract", EXTRACT))
        | RunnablePassthrough.assign(kind=step("sort", PROMPT))
        | step("polish", POLISH)
    )


def test_the_optimizer_model_sees_what_each_of_three_prompts_was_answered():
    model = ScriptedModel(fn=improve)
    result = run("lpo-pe2", model, target=three_prompts())
    assert result.outcome == "improved"
    for row in shown_rows(model):
        assert row["steps"] == [
            {"prompt": "extract", "answer": row["inputs"]["word"]},
            {"prompt": "sort", "answer": "PLANT"},
            {"prompt": "polish", "answer": "PLANT"},
        ]
        assert list(row) == ["id", "inputs", "expected", "steps", "answer", "score", "comment"]
    for event in of_type(result, "scored"):
        assert ("steps" in event) == (event["split"] == "train")


def test_places_that_may_be_marked_and_edits_name_their_prompt():
    model = ScriptedModel(fn=improve)
    result = run("lpo-pe2", model, target=three_prompts())
    shown = "\n".join(str(m.text) for m in model.calls[0])
    for name in ("extract", "sort", "polish"):
        assert re.search(rf"^(\d+\| )?\[prompt {name}, message 0: human\]$", shown, re.MULTILINE)
    assert {(e.prompt, e.old, e.new) for e in result.edits} == {("sort", "PLANT", "animal")}
    marked = of_type(result, "identified")[0]
    assert {span["prompt"] for span in marked["spans"]} == {"sort"}


@pytest.mark.parametrize("target", [chain, lambda: chain() | RunnableLambda(str)])
def test_the_request_of_an_app_with_one_prompt_stays_as_it_was(target):
    model = ScriptedModel(fn=improve)
    result = run("lpo-pe2", model, target=target(), data=FEW)
    assert all(list(row) == ["id", "inputs", "expected", "answer", "score", "comment"] for row in shown_rows(model))
    assert not any('"steps"' in str(m.text) for call in model.calls for m in call)
    assert not any("steps" in event for event in of_type(result, "scored"))


def look_up(word: str) -> str:
    """The kind of a word."""
    return f"shelf of {word}"


LOOK_UP = tool(look_up)


def with_tool(messages):
    """Asks the tool first, then does what the prompt says."""
    if isinstance(messages[-1], ToolMessage):
        return answer(messages[:1])
    word = str(messages[0].text).rpartition("Word: ")[2]
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": word}, "id": f"call-{word}"}])


def agent():
    """One prompt, a tool, and the model again."""
    model = ScriptedModel(fn=with_tool, model_name="task")
    prompt = ChatPromptTemplate.from_template(PROMPT)

    async def loop(row):
        messages = prompt.format_messages(word=row["word"])
        while True:
            said = await model.ainvoke(messages)
            if not said.tool_calls:
                return said.content
            messages = [*messages, said, await LOOK_UP.ainvoke(said.tool_calls[0])]

    return loop


def test_calls_of_tools_are_shown_with_arguments_and_results():
    model = ScriptedModel(fn=improve)
    run("lpo-pe2", model, target=agent(), data=FEW)
    for row in shown_rows(model):
        word = row["inputs"]["word"]
        asked = {"tool_calls": [{"name": "look_up", "args": {"word": word}}]}
        assert row["steps"] == [
            {"prompt": "main", "answer": asked},
            {"tool": "look_up", "arguments": {"word": word}, "result": f"shelf of {word}"},
            {"prompt": "main", "answer": "PLANT"},
        ]


@pytest.mark.parametrize("how", ["tasks", "threads"])
def test_prompts_that_run_side_by_side_keep_their_own_answers(how):
    model = ScriptedModel(fn=lambda messages: f"to {messages[-1].text}", model_name="task")
    hello, adieu = (ChatPromptTemplate.from_template(f"{name} {{word}}") for name in ("Hello", "Adieu"))
    hello.name, adieu.name = "hello", "adieu"
    both = RunnableParallel(a=hello | model, b=adieu | model)
    target = both if how == "tasks" else RunnableLambda(both.invoke)
    optimizer = ScriptedModel(fn=improve)
    run("lpo-pe2", optimizer, target=target | RunnableLambda(str), evaluators=[lambda outputs: 0.5], data=FEW)
    for row in shown_rows(optimizer):
        said = {step["prompt"]: step["answer"] for step in row["steps"]}
        assert said == {"hello": f"to Hello {row['inputs']['word']}", "adieu": f"to Adieu {row['inputs']['word']}"}


def test_calls_of_plain_code_belong_to_its_tunable_prompts():
    model = ScriptedModel(fn=lambda messages: f"to {messages[-1].text}", model_name="task")
    first, again = tunable("First {word}", name="first"), tunable("Again {said}", name="again")

    async def plain(row):
        said = await model.ainvoke(f"Please! {first.format(word=row['word'])}")
        bare = await model.ainvoke("Nothing of the prompts")
        return (await model.ainvoke(again.format(said=said.content))).content + bare.content

    optimizer = ScriptedModel(fn=improve)
    run("lpo-pe2", optimizer, target=plain, evaluators=[lambda outputs: 0.5], data=FEW)
    for row in shown_rows(optimizer):
        assert [step["prompt"] for step in row["steps"]] == ["first", None, "again"]


def test_a_step_that_the_app_fails_at_is_shown_too():
    def parse(text):
        if text == "PLANT":
            msg = "no kind of word"
            raise ValueError(msg)
        return text

    model = ScriptedModel(fn=improve)
    run("lpo-pe2", model, target=three_prompts() | RunnableLambda(parse), data=FEW)
    assert [step["prompt"] for step in shown_rows(model)[0]["steps"]] == ["extract", "sort", "polish"]


def test_what_redact_hides_is_hidden_before_anything_is_cut():
    secret = "s3cret" * 100

    def leaky(messages):
        text = str(messages[-1].text)
        return secret + text.rpartition("Word: ")[2] if text.startswith("Repeat") else program(unleaked(messages))

    def unleaked(messages):
        return [m.model_copy(update={"content": str(m.text).replace(secret, "")}) for m in messages]

    model = ScriptedModel(fn=improve)
    hide = {"redact": lambda text: text.replace(secret, "[hidden]")}
    result = run("lpo-pe2", model, target=three_prompts(leaky), data=FEW, **hide)
    row = shown_rows(model)[0]
    assert row["steps"][0] == {"prompt": "extract", "answer": f"[hidden]{row['inputs']['word']}"}
    assert "s3cret" not in json.dumps(list(result.events()), default=str)


def test_long_values_and_many_steps_are_cut():
    many = [StepAnswer("tool", f"t{i}", "x" * 2_000, {"q": ["y" * 2_000]}) for i in range(40)]
    kept = shortened_steps(many)
    assert [s.name for s in kept] == [f"t{i}" for i in range(6)] + [""] + [f"t{i}" for i in range(34, 40)]
    assert kept[6].answer == "[... 28 steps left out ...]"
    assert max(len(json.dumps(s.as_json())) for s in kept) < 1_200


def asked(model):
    return [[str(m.text) for m in call] for call in model.calls]


def test_a_run_resumed_at_any_line_makes_the_same_requests(tmp_path):
    def once(folder):
        model = ScriptedModel(fn=improve)
        result = run(
            "lpo-pe2", model, target=three_prompts(), data=FEW, runs_dir=folder, openings=folder / "openings.jsonl"
        )
        return result, asked(model)

    plain, requests = once(tmp_path / "whole")
    lines = (plain.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert any(b'"steps"' in line for line in lines)
    for n in range(3, len(lines) - 1, max(1, len(lines) // 8)):
        folder = tmp_path / str(n) / plain.folder.name
        folder.mkdir(parents=True, mode=0o700)
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:n]))
        result, again = once(tmp_path / str(n))
        journaled = sum(b'"called"' in line for line in lines[:n])
        assert again == requests[journaled:]
        assert (result.best.id, result.outcome) == (plain.best.id, plain.outcome)


def test_rows_of_older_journals_are_read_without_steps():
    model = ScriptedModel(fn=improve)
    row = next(
        e for e in of_type(run("lpo-pe2", model, target=three_prompts(), data=FEW), "scored") if e["split"] == "train"
    )
    assert [step.as_json() for step in outcome_of(row).steps] == row["steps"]
    del row["steps"]
    assert outcome_of(row).steps == ()


def test_answers_of_the_evaluation_cache_come_with_their_steps(tmp_path):
    def once(seed):
        model = ScriptedModel(fn=improve)
        run("lpo-pe2", model, target=three_prompts(), data=FEW, seed=seed, cache=tmp_path / "cache.sqlite")
        return shown_rows(model)

    for rows_shown in (once(1), once(2)):
        assert all([s["prompt"] for s in row["steps"]] == ["extract", "sort", "polish"] for row in rows_shown)
