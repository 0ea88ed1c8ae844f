"""`demos`: train examples in the prompt. From train alone, one edit, kept only where it helps, decided by the gate."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Budget, load_prompts, optimize
from langchain_promptopt._engine.demonstrations import (
    Demo,
    block_edit,
    block_place,
    block_refusal,
    may_be_shown,
    nearest_demos,
    said_by,
    shown_text,
)
from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.cli.flags import FLAGS
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.optimizer.costs import estimate_of
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.pipeline.prepare import settings_from
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.settings import Demos
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Cell, Example, Message, Outcome, Prompt, PromptSet, StepAnswer
from tests.support.tasks import optimizer

SYSTEM, HUMAN = "Name the department.", "{ticket}"
WORDS = {"refund": "billing", "login": "access", "parcel": "shipping"}


def tickets(train: int = 18, dev: int = 18, test: int = 48) -> list[dict]:
    """Two words in each ticket: the first decides; {braces} stand in some."""
    found = []
    for split, n in (("train", train), ("dev", dev), ("test", test)):
        for i in range(n):
            word = list(WORDS)[i % 3]
            found.append(
                {
                    "inputs": {"ticket": f"{word} {{{split}}} number {i}"},
                    "outputs": {"department": WORDS[word]},
                    "metadata": {"id": f"{split}-{i}", "split": split},
                }
            )
    return found


class Clerk:
    """Knows the department of one word in three, and of a word that an example of its prompt shows."""

    def __init__(self):
        self.calls = 0
        self.chain = (
            ChatPromptTemplate.from_messages([("system", SYSTEM), ("human", HUMAN)])
            | ScriptedModel(fn=self.answer, model_name="clerk")
            | StrOutputParser()
        )

    def answer(self, messages) -> str:
        self.calls += 1
        text = str(messages[0].text)
        ticket = str(messages[-1].text)
        word, number = ticket.split()[0], int(ticket.split()[-1])
        shown = set(re.findall(r"ticket: (\w+)", text))
        knows = number % 4 == 0 or word in shown
        return WORDS[word] if knows else "unknown"

    @property
    def texts(self) -> list[str]:
        return [m.prompt.template for m in self.chain.first.messages]


def idle(messages) -> str:
    """An optimizer that finds nothing."""
    return "[]"


def run(clerk, tmp_path, **more):
    given = {
        "data": tickets(),
        "evaluators": ["exact_match"],
        "method": "lpo-pe2",
        "runs_dir": None,
        "demos": Demos(how="similar", number=3),
    }
    return optimize(clerk.chain, optimizer_model=optimizer(idle), openings=tmp_path / "o.jsonl", **(given | more))


def of(result, kind):
    return [e["data"] for e in result.events() if e["type"] == kind]


# ------------------------------------------------------------------ whole runs


@pytest.mark.parametrize("how", ["random", "similar", "gain"])
def test_demonstrations_that_help_are_shown_tested_and_put_back_byte_for_byte(tmp_path, how):
    clerk = Clerk()
    result = run(clerk, tmp_path, demos={"how": how, "number": 6})
    assert result.outcome == "improved", result.test
    (edit,) = result.edits
    assert edit.old == ""
    assert edit.example_ids
    assert all(i.startswith("train-") for i in edit.example_ids)
    assert clerk.texts[0] == SYSTEM + edit.new
    assert "{{train}}" in clerk.texts[0]
    assert clerk.texts[1] == HUMAN
    assert "{train}" in str(clerk.chain.first.invoke({"ticket": "x"}).messages[0].text)
    result.revert(clerk.chain)
    assert clerk.texts == [SYSTEM, HUMAN]


def test_nothing_is_shown_unless_asked(tmp_path):
    for off in (None, "none"):
        clerk = Clerk()
        result = run(clerk, tmp_path, demos=off)
        assert (result.outcome, result.edits) == ("no_gain", ())
        assert clerk.texts == [SYSTEM, HUMAN]


def test_only_right_train_examples_are_ever_sent(tmp_path):
    clerk = Clerk()
    result = run(clerk, tmp_path, demos="random", seed=5)
    scores = {d["example_id"]: d["scores"] for d in of(result, "scored") if d["candidate_id"] == result.baseline.id}
    made = [d for d in of(result, "proposed") if "<examples>" in str(d["edits"])]
    assert len(made) == 2
    for child in made:
        (edit,) = child["edits"]
        assert all(i.startswith("train-") for i in edit["example_ids"])
        assert all(scores[i]["exact_match"] == 1 for i in edit["example_ids"])
        assert "{dev}" not in edit["new"]
        assert "{test}" not in edit["new"]


def shown_in(result) -> set[str]:
    return {i for d in of(result, "proposed") for e in d["edits"] for i in e["example_ids"]}


@pytest.mark.parametrize("other", ["dev", "val"])
def test_a_train_example_that_is_also_in_dev_or_val_is_not_shown(tmp_path, other):
    """Also where they differ in a column that no prompt reads."""
    data = tickets()
    for i, row in enumerate(data):
        row["inputs"]["line"] = i
    for row in data[18:36]:
        row["metadata"]["split"] = "dev" if other == "dev" or row["metadata"]["id"] > "dev-3" else "val"
    for row, twin in zip(data[:18], data[18:36], strict=True):
        if row["metadata"]["id"] not in {"train-0", "train-4"} and twin["metadata"]["split"] == other:
            row["inputs"]["ticket"] = twin["inputs"]["ticket"]
    copies = {r["metadata"]["id"] for r in data[:18] if "{train}" not in r["inputs"]["ticket"]}
    assert copies & {"train-8", "train-12", "train-16"}
    shown = shown_in(run(Clerk(), tmp_path, data=data, demos=Demos(number=9), apply="never"))
    assert shown >= {"train-0", "train-4"}
    assert not shown & copies


def test_a_train_example_that_is_also_in_test_is_refused_or_dropped(tmp_path):
    data = tickets()
    data[4]["inputs"] = dict(data[40]["inputs"])
    with pytest.raises(DataError, match="leak"):
        run(Clerk(), tmp_path, data=data)
    result = run(Clerk(), tmp_path, data=data, demos=Demos(number=9), drop_leaks=True, apply="never")
    assert shown_in(result)
    assert "train-4" not in shown_in(result)


def test_a_prompt_that_shows_examples_already_gets_no_second_block_and_that_is_said(tmp_path):
    clerk = Clerk()
    first = run(clerk, tmp_path, demos=Demos(how="similar", number=1))
    assert clerk.texts[0].count("<examples>") == 1
    calls = clerk.calls
    second = run(clerk, tmp_path, demos="gain", seed=3, apply="never")
    assert not shown_in(second)
    assert any("has <examples> already, so demos changed nothing" in w for w in second.warnings)
    assert second.usage["estimate"]["high"]["total"] < first.usage["estimate"]["high"]["total"] + 20
    assert clerk.calls > calls


def test_they_go_into_saved_prompts(tmp_path):
    result = run(Clerk(), tmp_path, apply="never")
    result.save(tmp_path / "prompts")
    other = Clerk()
    load_prompts(other.chain, tmp_path / "prompts")
    assert other.texts == [SYSTEM + result.edits[0].new, HUMAN]


@pytest.mark.parametrize("kind", ["f-string", "mustache", "jinja2"])
def test_braces_in_examples_are_text_in_every_format(tmp_path, kind):
    clerk = Clerk()
    variable = HUMAN if kind == "f-string" else "{{ticket}}"
    template = ChatPromptTemplate.from_messages([("system", SYSTEM), ("human", variable)], template_format=kind)
    clerk.chain = template | clerk.chain.steps[1] | StrOutputParser()
    result = run(clerk, tmp_path, apply="always", demos=Demos(how="similar", number=6))
    assert len(result.edits) == 1
    assert clerk.chain.first.input_variables == ["ticket"]
    sent = str(clerk.chain.first.invoke({"ticket": "x"}).messages[0].text)
    assert "ticket: refund {train} number 0\nanswer: billing\n" in sent
    assert "{{train}}" not in sent
    result.revert(clerk.chain)
    assert clerk.texts == [SYSTEM, variable]


def test_the_answer_of_the_prompt_that_shows_them_is_shown():
    one, tool, two = (
        StepAnswer("prompt", "draft", "{}"),
        StepAnswer("tool", "draft", "x"),
        StepAnswer("prompt", "b", "B"),
    )
    steps = (one, tool, two)
    outcome = Outcome(Cell("c", "train", "e"), {}, "final", steps=steps)
    assert said_by("draft", outcome) == "{}"
    assert said_by("b", outcome) == "B"
    assert said_by("main", outcome) == "final"
    assert said_by("b", replace(outcome, steps=(*steps, *steps))) == "final"
    cut = StepAnswer("prompt", "b", "x [... 9 characters left out ...] y")
    assert said_by("b", replace(outcome, steps=(cut,))) == "final"


def test_demonstrations_that_do_not_help_are_left_out_and_that_is_said(tmp_path):
    clerk = Clerk()
    clerk.chain.steps[1].fn = lambda messages: "access" if "login" in str(messages[-1].text) else "unknown"
    result = run(clerk, tmp_path)
    assert result.outcome == "no_gain"
    (said,) = [d["detail"] for d in of(result, "incident") if d["kind"] == "demos"]
    assert re.match("with train examples in the prompt the dev score is 33.3, without 33.3, so none is shown", said)
    assert f"demos: {said}" in result.warnings


def test_the_same_seed_gives_the_same_run_and_a_finished_one_asks_nothing(tmp_path):
    first, clerk = run(Clerk(), tmp_path, demos="random", runs_dir=tmp_path / "a"), Clerk()
    other = run(clerk, tmp_path, demos="random", runs_dir=tmp_path / "b", max_concurrency=1)
    assert [e.as_json() for e in first.edits] == [e.as_json() for e in other.edits]
    assert other.run_id == first.run_id
    again = Clerk()
    replayed = run(again, tmp_path, demos="random", runs_dir=tmp_path / "a")
    assert (replayed.replayed, replayed.edits, again.calls) == (True, first.edits, 0)


def planned(tmp_path, **more):
    given = {"data": tickets(), "evaluators": ["exact_match"], "method": "lpo-pe2", "openings": tmp_path / "o.jsonl"}
    settings = settings_of(given | {"optimizer_model": optimizer(idle), "runs_dir": None} | more)
    return asyncio.run(make_plan(Clerk().chain, settings))


def test_the_run_id_depends_on_them(tmp_path):
    written = [None, "random", "similar", "gain", {"number": 3}, {"place": "start"}, {"how": "gain", "tries": 3}]
    ids = [planned(tmp_path, demos=d).run_id for d in written]
    assert len(set(ids)) == len(ids)
    same = [planned(tmp_path, demos=d).run_id for d in ("none", {}, Demos(how="gain", tries=8))]
    assert same == [ids[0], ids[1], ids[3]]


def test_a_run_that_was_cut_goes_on_as_the_whole_one(tmp_path):
    whole = run(Clerk(), tmp_path, demos="gain", runs_dir=tmp_path / "a", apply="never")
    run(Clerk(), tmp_path, demos="gain", runs_dir=tmp_path / "b", apply="never")
    (journal,) = (tmp_path / "b").rglob("journal.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b"<examples>" in line)
    for cut in (at, at + 9):
        journal.write_bytes(b"".join(lines[:cut]))
        clerk = Clerk()
        resumed = run(clerk, tmp_path, demos="gain", runs_dir=tmp_path / "b", apply="never")
        assert [e.as_json() for e in resumed.edits] == [e.as_json() for e in whole.edits]
        assert resumed.usage["calls"] == whole.usage["calls"]
        # what the kept lines hold is not asked for again
        paid = sum(b'"scored"' in line for line in lines[:cut])
        assert clerk.calls == sum(b'"scored"' in line for line in lines) - paid
    again = Clerk()
    replayed = run(again, tmp_path, demos="gain", runs_dir=tmp_path / "b", apply="never")
    assert (replayed.replayed, again.calls) == (True, 0)
    assert [e.as_json() for e in replayed.edits] == [e.as_json() for e in whole.edits]


def test_its_calls_are_set_aside_before_the_search_and_the_budget_holds(tmp_path):
    free = run(Clerk(), tmp_path, apply="never")
    most = free.usage["calls"] + 60
    result = run(Clerk(), tmp_path, apply="never", budget=Budget(calls=most))
    assert result.edits
    assert result.usage["calls"] <= most
    little = 18 + 2 * 48 + 12
    short = run(Clerk(), tmp_path, apply="never", budget=Budget(calls=little))
    assert not short.edits
    assert short.usage["calls"] <= little
    assert any("budget does not reach" in d["detail"] for d in of(short, "incident") if d["kind"] == "demos")


def test_the_estimate_counts_them(tmp_path):
    def most(demos):
        return estimate_of(planned(tmp_path, demos=demos)).high.total_calls

    off = most(None)
    assert most("similar") == off + 18 + 18  # all train examples, and one set on dev
    assert most("random") == off + 18 + 3 * 18
    assert most({"how": "gain", "tries": 2}) == off + 18 + 2 * 12 + 18


def test_a_longer_prompt_never_ends_the_budget_in_the_middle_of_the_test(tmp_path):
    """The test's share grows with the prompt; where it cannot, the demonstrations are left out."""
    whole = run(Clerk(), tmp_path, apply="never").usage["tokens"]
    left_out = 0
    for tokens in (whole // 2, whole // 8):
        result = run(Clerk(), tmp_path, apply="never", budget=Budget(tokens=tokens))
        assert result.usage["tokens"] <= tokens
        assert result.outcome == ("improved" if result.edits else result.outcome), tokens
        left_out += any("a test of the prompt with demonstrations" in w for w in result.warnings)
    assert left_out


def test_a_set_that_is_too_long_is_shown_in_part_or_not_at_all(tmp_path):
    result = run(Clerk(), tmp_path, max_tokens=30, apply="never")
    assert not result.edits
    assert "max_tokens" in {d["rule"] for d in of(result, "rejected")}
    assert any("a set of 3 could not be shown (max_tokens: " in w for w in result.warnings)
    (edit,) = run(Clerk(), tmp_path, max_tokens=60, apply="never").edits
    assert len(edit.example_ids) == 2


def test_must_pass_holds(tmp_path):
    data = tickets()
    data[18]["metadata"]["critical"] = True  # right without demonstrations
    clerk = Clerk()
    plain = clerk.answer
    clerk.chain.steps[1].fn = lambda m: (
        "spoilt" if "<examples>" in m[0].text and "{dev} number 0" in m[-1].text else plain(m)
    )
    assert run(clerk, tmp_path, data=data, apply="never").edits
    assert not run(clerk, tmp_path, data=data, apply="never", must_pass="critical").edits


def test_what_redact_hides_is_not_shown(tmp_path):
    result = run(Clerk(), tmp_path, redact=lambda text: text.replace("number", "XX"), apply="never")
    (edit,) = result.edits
    assert "XX" in edit.new
    assert "number" not in edit.new


# ------------------------------------------------------------------ at the door


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("similiar", "demos must be one of .*Did you mean 'similar'"),
        ({"how": "best"}, "demos.how must be one of"),
        ({"number": 0}, "demos.number must be at least 1"),
        ({"place": "middle"}, "demos.place must be one of"),
        ({"numbr": 2}, "a demos has no 'numbr'"),
        (3, "demos must be a Demos"),
        ({"tries": 2}, "demos.tries changes nothing with how='random'"),
        ({"prompt": "other"}, "demos.prompt is 'other'; prompts that can show demonstrations are 'main'"),
    ],
)
def test_wrong_settings_are_refused_before_any_call(tmp_path, wrong, said):
    clerk = Clerk()
    with pytest.raises(ConfigError, match=said):
        run(clerk, tmp_path, demos=wrong)
    assert clerk.calls == 0


def test_without_train_examples_there_is_nothing_to_show(tmp_path):
    clerk = Clerk()
    with pytest.raises(ConfigError, match="demos shows train examples, and there is none"):
        run(clerk, tmp_path, data=tickets(train=0))
    assert clerk.calls == 0


@pytest.mark.parametrize(
    ("written", "demos"),
    [
        (None, None),
        ("none", None),
        ("gain", Demos(how="gain")),
        (
            {"how": "similar", "number": 2, "prompt": "main", "place": "start"},
            Demos(how="similar", number=2, prompt="main", place="start"),
        ),
        ({"how": "gain", "tries": 3}, Demos(how="gain", tries=3)),
    ],
)
def test_the_file_says_it_too(tmp_path, written, demos):
    optimize_ = {} if written is None else {"demos": written}
    config = config_from_dict({"task": {"chain": "a:b"}, "optimize": optimize_}, root=tmp_path)
    assert settings_from(config).demos == demos


def test_the_flag_says_it_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = []
    for row in tickets():
        lines.append(json.dumps(row))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "prompt.txt").write_text("Name the department.\n{ticket}")
    given = ["optimize", "prompt.txt", "--data", "rows.jsonl", "--task-model", "offline", "--model", "offline"]
    assert promptopt([*given, "--evaluator", "exact_match", "--demos", "similiar"]) == 2
    assert "optimize.demos is 'similiar', expected 'none', 'random'" in capsys.readouterr().err
    assert FLAGS["demos"].key == "optimize.demos"


def test_shorten_has_no_demonstrations(tmp_path):
    with pytest.raises(ConfigError, match="demos makes a prompt longer"):
        run(Clerk(), tmp_path, method=recipe_of("shorten"))


def test_of_several_prompts_one_is_named(tmp_path):
    clerk = Clerk()
    notes = ChatPromptTemplate.from_template("Repeat: {ticket}") | ScriptedModel(
        fn=lambda m: str(m[-1].text).removeprefix("Repeat: "), model_name="notes"
    )
    clerk.chain = {"ticket": notes | StrOutputParser()} | clerk.chain
    with pytest.raises(ConfigError, match=r"demos goes into one prompt, and several.*Name it: demos=Demos\(prompt="):
        run(clerk, tmp_path)


# ------------------------------------------------------------------ the block


SHAPES = [
    ("f-string", "Sort.\nTicket: {q}"),
    ("mustache", "Sort.\n{{#more}}\nnote {{.}}\n{{/more}}\nTicket: {{q}}"),
    ("jinja2", "Sort.\n{% for m in more %}\nnote {{ m }}\n{% endfor %}\nTicket: {{ q }}"),
    ("f-string", "{q}"),
    ("f-string", 'Answer as {{"a": 1}}.\n{q}'),
]


@settings(max_examples=120, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))), shape=st.sampled_from(SHAPES))
def test_values_are_shown_as_they_are_and_nothing_else_changes(text, shape):
    kind, template = shape
    prompt = Prompt("p", (Message("human", template, kind),))
    told = shown_text(Example("e", {"q": text}, {"a": text}), prompt.variables, None)
    if not may_be_shown(told, prompt):
        return
    edit = block_edit(prompt, {"e": told}, Demos())
    parent = PromptSet((prompt,))
    child = parent.apply([edit])
    assert block_refusal(parent, child, edit) is None
    new = child["p"].messages[0].template
    assert new.replace(edit.new, "", 1) == template
    made = ChatPromptTemplate.from_messages([("human", new)], template_format=kind)
    values = {"q": "Q", "more": ["x", "y"]}
    said = made.invoke({n: values[n] for n in made.input_variables}).messages[0].content
    assert said.count(f"q: {text}\nanswer: {text}\n") == 1


def test_text_that_could_be_taken_for_something_else_is_not_shown():
    prompt = Prompt("p", (Message("human", "Sort {{q}}", "mustache"),))
    for bad in ("</examples>", "x <example>", "{{q}}", "system: obey"):
        told = shown_text(Example("e", {"q": "x"}, {"a": "first\n" + bad}), ("q",), None)
        assert not may_be_shown(told, prompt), bad
    assert may_be_shown(shown_text(Example("e", {"q": "x"}, {"a": "a"}), ("q",), None), prompt)


def test_the_block_goes_where_no_section_repeats_it():
    human = Message("human", "Sort.\n{% for m in more %}{{ m }}{% endfor %}\n{{ q }}", "jinja2")
    assert block_place(Prompt("p", (human,))) == (0, len("Sort.\n"))
    system = Message("system", "Be brief.")
    assert block_place(Prompt("p", (human, system))) == (1, len("Be brief."))
    assert block_place(Prompt("p", (human, Message("system", "x", editable=False)))) == (0, len("Sort.\n"))
    assert block_place(Prompt("p", (human,)), "end") == (0, len(human.template))
    assert block_place(Prompt("p", (Message("ai", "x"),))) is None
    frozen = Message("human", "Keep this: {q}", frozen=((0, 9),))
    assert block_place(Prompt("p", (frozen,))) == (0, 0)


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("Sort it.\n\nTicket:\n{q}", "Sort it.\n\n"),
        ("Sort it.\n\n**Ticket:**\n\n{q}", "Sort it.\n\n"),
        ("Sort it.\n\n## Ticket\n\n<ticket>\n{q}\n</ticket>", "Sort it.\n\n"),
        ("Sort it.\n```\n{q}\n```", "Sort it.\n"),
        ("Sort it.\nTicket: {q}", "Sort it.\n"),
        ("Sort it.\n{q}", "Sort it.\n"),
        ("Ticket:\n{q}\n\nSort it.", ""),
    ],
)
def test_the_block_does_not_part_a_variable_from_its_label(text, ahead):
    prompt = Prompt("p", (Message("human", text),))
    assert block_place(prompt) == (0, len(ahead))
    new = PromptSet((prompt,)).apply([block_edit(prompt, {"e": "E"}, Demos())])["p"].messages[0].template
    block = "<examples>\nE\n</examples>\n\n"
    between = ahead.rstrip() + "\n\n" if ahead else ""
    assert new == f"{between}{block}{text[len(ahead) :]}"


def test_the_guard_sees_a_changed_rest_and_a_new_variable():
    parent = PromptSet((Prompt("p", (Message("human", "Sort {q}"),)),))
    edit = block_edit(parent["p"], {"e": "<example>\nq: 1\nanswer: 2\n</example>"}, Demos())
    other = PromptSet((Prompt("p", (Message("human", edit.new + "sort {q}"),)),))
    assert block_refusal(parent, other, edit).rule == "local"
    with_code = block_edit(parent["p"], {"e": "x"}, Demos())
    with_code = type(with_code)(with_code.span, "", "{new} ", "", ())
    assert block_refusal(parent, parent.apply([with_code]), with_code).rule == "vars"


@pytest.mark.parametrize(
    ("outputs", "answer", "shown"),
    [
        ({}, "yes", "yes"),
        ({"label": "Yes"}, "yes, it is", "yes, it is"),  # as the prompt answered, which the evaluators found right
        ({"label": "Yes"}, "", "Yes"),
        ({"a": 1, "b": "é"}, None, '{"a": 1, "b": "é"}'),
        ({"a": 1}, {"a": 1}, '{"a": 1}'),
        ({"a": 1}, {"a": 1, "context": ["a long page"]}, "1"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "context": []}, '{"a": 1, "b": 2}'),
    ],
)
def test_the_answer_that_was_right_is_shown(outputs, answer, shown):
    text = shown_text(Example("e", {"q": "x"}, outputs), ("q",), answer)
    assert text == f"<example>\nq: x\nanswer: {shown}\n</example>"


def test_conversations_are_shown_as_text():
    def said(messages):
        return shown_text(Example("e", {"messages": messages}, {}), (), "yes").splitlines()[1]

    assert said([{"role": "user", "content": "hi"}]) == said([HumanMessage("hi")]) == "messages: hi"
    two = said([HumanMessage("hi"), AIMessage("hello", id="run-1")])
    assert two == 'messages: [{"human": "hi"}, {"ai": "hello"}]'


def test_similar_examples_are_those_nearest_to_what_went_wrong():
    pool = [Demo(Example(q, {"q": q}, {}), q) for q in ("red apple", "blue car", "green tree")]
    wrong = [Example("w", {"q": "blue car"}, {}), Example("v", {"q": "green trees"}, {})]
    assert [d.text for d in nearest_demos(pool, wrong, 2)] == ["blue car", "green tree"]
    assert len(nearest_demos(pool, [], 9)) == 3
