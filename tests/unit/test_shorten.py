"""`shorten`: a shorter prompt, kept only where the test shows that it is not worse."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Budget, compare, optimize
from langchain_promptopt._text.spans import removable
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.gate import PairedRow, Pairs, decide, feasibility
from langchain_promptopt.protocols import Turn
from langchain_promptopt.recipe import Gate
from langchain_promptopt.strategies import Shorten, Shortest
from langchain_promptopt.testing.samples import sample_ask
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Attempt, Candidate, Message, Prompt, PromptSet, Workpiece
from tests.support.tasks import answer, optimizer, rows

LONG = """## Task
You sort words. This is a friendly assistant that likes order.
Call every animal a animal. Animals are nice.
Please think of the weather. It may rain.
Call every stone a stone. Stones are hard.
- Be kind to the user.
- Never shout.
Answer with one word.
Word: {word}"""
SHORT = "Call every animal a animal. Call every stone a stone.\nWord: {word}"
IDLE = "I would not change a thing."


def chain(text=LONG, fn=answer):
    return ChatPromptTemplate.from_template(text) | ScriptedModel(fn=fn, model_name="task") | StrOutputParser()


def run(said=f"<START>{SHORT}<END>", target=None, **more):
    given = {"evaluators": ["exact_match"], "method": "shorten", "runs_dir": None, "openings": None}
    model = optimizer(lambda messages: said)
    return optimize(target or chain(), data=rows(test=100), optimizer_model=model, **(given | more))


def of(result, kind):
    return [e["data"] for e in result.events() if e["type"] == kind]


# ------------------------------------------------------------------ the search


def test_a_rewrite_in_fewer_words_is_shown_not_to_be_worse(tmp_path):
    live = chain()
    result = run(target=live, openings=tmp_path / "o.jsonl")
    assert (result.outcome, result.exit_code) == ("improved", 0)
    assert result.test[0]["verdict"] == "held"
    assert result.reason.kind == "not_worse"
    assert "exact_match fell by 3.7 points at most, and 5 are allowed" in result.reason.detail
    assert result.best.tokens < result.baseline.tokens / 2
    assert live.first.messages[0].prompt.template == result.best["main"].messages[0].template
    assert live.invoke({"word": "dog-new"}) == "animal"
    assert repr(result).startswith("<Result not worse: exact_match 100.0 -> 100.0")


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_reports_say_shorter_and_not_worse_and_by_how_much(name, tmp_path):
    result = run()
    text = result.report(tmp_path / name).read_text().lower()
    saved = round((1 - result.best.tokens / result.baseline.tokens) * 100)
    assert "shorter, not worse" in text
    assert f"{saved} % shorter (about {result.baseline.tokens} → {result.best.tokens} tokens)" in text
    assert "not worse by more than 5 points" in text
    assert "scores higher" not in text


def test_without_a_useful_reply_text_is_left_out_and_nothing_that_an_answer_needs():
    result = run(IDLE)
    text = result.best["main"].messages[0].template
    assert result.outcome == "improved"
    assert "Call every animal a animal." in text
    assert "Call every stone a stone." in text
    assert "weather" not in text
    assert "## Task" in text  # a title is not left out
    assert {r for e in result.edits for r in e.reasons} == {"left out to see whether any answer needs it"}
    assert all(not e.new.strip() or e.new in LONG for e in result.edits)


def test_what_an_answer_needs_stays_and_the_report_says_that_nothing_shorter_is_as_good(tmp_path):
    tight = chain("Call every animal a animal.\nCall every stone a stone.\nWord: {word}")
    result = run("<START>Call every stone a stone.\nWord: {word}<END>", tight)
    assert (result.outcome, result.edits) == ("no_gain", ())
    assert "no shorter prompt that is as good" in result.report(tmp_path / "r.md").read_text()
    whys = [d["why"] for s in of(result, "selected") for d in s["dropped"]]
    assert any("points less than the prompt of the start on 16 examples" in why for why in whys)


def test_a_reply_that_is_longer_is_refused():
    result = run(f"<START>{LONG.replace('Never shout.', 'Never shout, and never ever whisper.')}<END>")
    assert any(d["rule"] == "not_shorter" for d in of(result, "rejected"))


def test_only_the_first_proposal_of_a_step_asks_the_optimizer_model():
    model = optimizer(lambda messages: f"<START>{SHORT}<END>")
    optimize(
        chain(), data=rows(test=100), evaluators=["exact_match"], method="shorten", optimizer_model=model,
        runs_dir=None, openings=None, apply="never",
    )  # fmt: skip
    steps = 24
    assert 0 < len(model.calls) <= steps


def test_a_search_ends_within_its_budget():
    result = run(IDLE, budget=Budget(calls=400))
    assert result.usage["calls"] <= 400
    assert result.test[0]["n"] == 100


def test_titles_frozen_text_and_variables_are_not_left_out():
    text = "# Rules\nBe brief. Be kind! Ask: {q}\n<note>\nNever guess.\n---\n日本語です。短く。"
    at = text.index("{q}")
    assert [text[a:b] for a, b in removable(text, [(at, at + 3)])] == [
        "Be brief. ", "Be kind! ", "Never guess.\n", "日本語です。", "短く。",
    ]  # fmt: skip
    assert removable(text, [(0, len(text))]) == ()


def test_val_confirms_the_shortest():
    def attempt(text, saved, **more):
        prompts = PromptSet((Prompt("main", (Message("human", text),)),))
        return Attempt(Candidate(prompts, **more), saved)

    first, a, b = attempt("a b c", 0.0), attempt("a b", 0.3, parents=("x",)), attempt("a", 0.6, parents=("x",))
    val = {first.candidate.id: {"1": 1.0, "2": 1.0}, a.candidate.id: {"1": 1.0, "2": 1.0}}
    val[b.candidate.id] = {"1": 1.0, "2": 0.0}
    trajectory = (first, a, b)
    assert Shortest().pick(trajectory, {}, first.candidate.id) is b
    assert Shortest().pick(trajectory, val, first.candidate.id) is a
    assert Shortest(margin=0.5).pick(trajectory, val, first.candidate.id) is b
    worse = val | {a.candidate.id: {"1": 0.0, "2": 1.0}}
    assert Shortest().pick(trajectory, worse, first.candidate.id) is first


# ------------------------------------------------------------------ with other settings


def test_a_prompt_that_is_too_long_comes_down_to_max_tokens():
    now = run(IDLE).baseline.tokens
    with pytest.raises(PromptError, match="make it shorter first"):
        run(method="lpo-pe2", max_tokens=40)
    result = run(max_tokens=now // 2)
    assert result.outcome == "improved"
    assert result.best.tokens <= now // 2
    tight = run(IDLE, max_tokens=3)
    assert tight.edits == ()


def test_what_does_not_go_together_is_refused_before_anything_is_paid_for():
    with pytest.raises(ConfigError, match="max_edits is 2, and 'shorten'"):
        run(max_edits=2)
    with pytest.raises(ConfigError, match=r"gate\.min_improvement is 0\.02, and 'shorten' asks for a prompt"):
        run(gate={"min_improvement": 0.02})
    with pytest.raises(ConfigError, match=r"both set"):
        Gate(margin=0.05, min_improvement=0.02)
    with pytest.raises(ConfigError, match=r"5 points are 0\.05"):
        Gate(margin=5)
    with pytest.raises(ConfigError, match=r"gate\.margin must be a number"):
        Gate(margin="0.05")
    with pytest.raises(ConfigError, match=r"above 0"):
        Gate(margin=0)


def test_the_margin_is_part_of_the_run_id_and_of_no_other_run():
    assert "margin" not in Gate().as_json()
    one, other = run(), run(gate={"margin": 0.1})
    assert one.run_id == run(gate={"margin": 0.05}).run_id
    assert one.run_id != other.run_id


# ------------------------------------------------------------------ the gate


def pairs(wins: int, losses: int, same: int) -> Pairs:
    scores = [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * same
    made = [
        PairedRow(example_id=f"r{i}", cluster=f"r{i}", baseline={"em": (a,)}, candidate={"em": (b,)})
        for i, (a, b) in enumerate(scores)
    ]
    return Pairs(rows=tuple(made), metrics=("em",))


@pytest.mark.parametrize(
    ("counts", "margin", "verdict", "kind", "entry"),
    [
        ((0, 0, 100), 0.05, "improved", "not_worse", "held"),
        ((0, 0, 60), 0.05, "inconclusive", "not_shown", "inconclusive"),
        ((0, 5, 95), 0.05, "inconclusive", "not_shown", "inconclusive"),
        ((0, 5, 95), 0.15, "improved", "not_worse", "held"),
        ((0, 30, 70), 0.05, "no_gain", "worse", "broken"),
        ((30, 0, 70), 0.05, "improved", "not_worse", "held"),
    ],
)
def test_not_worse_is_a_test_with_a_margin(counts, margin, verdict, kind, entry):
    found = decide(pairs(*counts), Gate(margin=margin))
    assert (found.verdict, found.reason.kind, found.entries[0].verdict) == (verdict, kind, entry)
    assert (found.entries[0].role, found.entries[0].margin) == ("primary", -margin)


def test_how_many_examples_it_takes_is_said_before_anything_is_paid_for():
    assert feasibility(100, Gate(margin=0.05)).warnings == ()
    (said,) = feasibility(40, Gate(margin=0.05)).warnings
    assert said.startswith("to show that the score falls by no more than 5 points where nothing changes takes about 7")
    assert said.endswith("there are 40")
    assert feasibility(100, Gate(margin=0.05), baseline_rate=1.0).possible


def test_that_is_said_once():
    given = {"evaluators": ["exact_match"], "method": "shorten", "runs_dir": None, "openings": None}
    result = optimize(chain(), data=rows(test=40), optimizer_model=optimizer(lambda _: "no"), **given)
    assert sum("falls by no more than 5 points" in warning for warning in result.warnings) == 1


def test_compare_asks_whether_the_new_prompt_is_not_worse():
    model = ScriptedModel(fn=answer, model_name="task")
    given = {"evaluators": ["exact_match"], "task_model": model, "runs_dir": None, "openings": None}
    data = [r for r in rows(test=100) if r["metadata"]["split"] == "test"]
    result = compare(LONG, SHORT, data=data, gate=Gate(margin=0.05), **given)
    assert (result.outcome, result.test[0]["verdict"]) == ("improved", "held")
    assert compare(LONG, SHORT, data=data, **given).outcome == "inconclusive"


def test_no_message_is_left_empty():
    prompts = PromptSet((Prompt("main", (Message("system", "Be brief."), Message("human", "{word}"))),))
    asked = replace(sample_ask(), turn=Turn(batch=1))
    out = asyncio.run(Shorten().propose(Workpiece(prompts), asked))
    assert out.drafts == ()
    assert [r.rule for r in out.rejections] == ["nothing_to_leave_out"]
    two = PromptSet((Prompt("main", (Message("system", "Be brief. Be kind."), Message("human", "{word}"))),))
    out = asyncio.run(Shorten().propose(Workpiece(two), asked))
    assert [d.prompts["main"].messages[0].template.strip() for d in out.drafts] in (["Be brief."], ["Be kind."])
