"""The guarantees of product section 7, each with a test that fails when it is broken."""

from __future__ import annotations

import json
import os
import re
from collections import Counter

import pytest

from langchain_promptopt import Budget
from langchain_promptopt.errors import DataError, PriceError, TooManyFailures
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.faults import FaultPlan, Rule
from tests.support.killing import killed_at, whole
from tests.support.online import QUICK, chain, model, run, server
from tests.support.runs import of_type
from tests.support.tasks import PROMPT, answer, improve


@pytest.fixture(scope="module")
def up():
    with server() as running:
        yield running


def _template(live):
    return live.first.messages[0].prompt.template


def test_7_1_LOCAL_text_outside_the_spans_and_frozen_text_is_kept_byte_for_byte(up):
    frozen = "Answer with one word."
    result = run(up.base_url, freeze=[f"re:{frozen}"])
    proposed = of_type(result, "proposed")
    assert proposed
    for event in proposed:
        text, at = event["prompts"][0]["messages"][0]["template"], 0
        parent = PROMPT
        for edit in sorted(event["edits"], key=lambda e: e["start"]):
            assert parent[edit["start"] : edit["end"]] == edit["old"]
        rebuilt = ""
        for edit in sorted(event["edits"], key=lambda e: e["start"]):
            rebuilt, at = rebuilt + parent[at : edit["start"]] + edit["new"], edit["end"]
        assert rebuilt + parent[at:] == text
        assert frozen in text


def test_7_2_VARS_no_candidate_has_another_variable():
    def greedy(messages):
        return improve(messages).replace('"animal"', '"animal {answer}"')

    def literal(messages):
        return improve(messages).replace('"animal"', "\"animal {'a': 1}\"")

    with server(optimizer=greedy) as leaking:
        result = run(leaking.base_url)
    assert of_type(result, "rejected")
    assert not [e for e in of_type(result, "proposed") if e["prompts"][0]["variables"] != ["word"]]
    with server(optimizer=literal) as braced:
        proposed = of_type(run(braced.base_url), "proposed")
    assert proposed
    for event in proposed:
        assert event["prompts"][0]["variables"] == ["word"]
        assert "{{'a': 1}}" in event["prompts"][0]["messages"][0]["template"]


def test_7_3_in_place_only_on_success_and_back_byte_for_byte(up):
    live = chain(up.base_url)
    result = run(up.base_url, target=live)
    assert result.applied
    assert _template(live) == PROMPT.replace("PLANT", "animal")
    result.revert(live)
    assert _template(live) == PROMPT
    assert type(live.first).__module__.startswith("langchain_core")
    with server(optimizer=lambda m: improve(m).replace("animal", "mineral")) as other:
        unmoved = chain(other.base_url)
        run(other.base_url, target=unmoved)
        assert _template(unmoved) == PROMPT
    unmoved = chain(up.base_url)
    found = run(up.base_url, target=unmoved, openings=None)  # better on every row, and no record to prove it by
    assert (found.outcome, found.best.id != found.baseline.id, found.gate_passed) == ("improved", True, False)
    assert _template(unmoved) == PROMPT


def test_7_3_candidates_at_the_same_time_never_mix():
    """Every request is one candidate's prompt whole, and each row is asked once under each."""
    with server(delay=0.01) as slow:
        result = run(slow.base_url, max_concurrency=32)
        sent = Counter(r.json()["messages"][0]["content"] for r in slow.requests if r.json()["model"] == "task")
    scored = of_type(result, "scored")
    prompts = {e["candidate_id"]: e["prompts"][0]["messages"][0]["template"] for e in of_type(result, "proposed")}
    prompts[result.baseline.id] = PROMPT
    words = {f"{split}-{i}" for split, n in (("train", 12), ("dev", 16), ("test", 40)) for i in range(n)}
    expected = Counter()
    for row in scored:
        expected[(prompts[row["candidate_id"]].split("\n")[0], row["example_id"])] += 1
    seen = Counter()
    for text, n in sent.items():
        head, _, word = text.partition("\nWord: ")
        seen[(head, word.partition("-")[2])] += n
    assert seen == expected
    assert {name for _, name in seen} <= words


def test_7_5_ledger_counts_what_the_server_saw_and_a_budget_is_not_exceeded(up):
    before = up.count
    used = run(up.base_url).usage
    asked = Counter(r.json()["model"] for r in list(up.requests)[before - up.count :])
    assert {role: n["calls"] for role, n in used["by_role"].items()} == asked
    assert min(asked["task"], asked["optimizer"]) > 0
    assert used["calls"] == up.count - before
    before = up.count
    result = run(up.base_url, budget=Budget(calls=120))
    assert result.usage["calls"] == up.count - before <= 120
    before = up.count
    with pytest.raises(PriceError):
        run(up.base_url, budget=Budget(usd=1.0))
    assert up.count == before


def test_7_6_resume_after_kill_9_is_the_uninterrupted_run(up, tmp_path):
    plain = whole(tmp_path / "whole", up)
    found = killed_at(len(plain.lines) // 2, tmp_path / "killed", up, plain)
    assert found.sound(plain)


def test_7_7_an_outage_is_no_zero_score():
    with server(faults=FaultPlan(Rule("503"))) as down, pytest.raises(TooManyFailures) as caught:
        run(down.base_url, policy=QUICK)
    assert caught.value.exit_code == 5
    assert caught.value.facts["usage"]["calls"] >= 10 * QUICK.attempts


def test_7_7_an_outage_in_the_middle_of_a_run_stops_it():
    with server(faults=FaultPlan(Rule("503", skip=60))) as failing, pytest.raises(TooManyFailures) as caught:
        run(failing.base_url, policy=QUICK)
    assert caught.value.exit_code == 5
    assert re.search(r"\d+ of \d+ evaluations failed, the last [1-9]\d* in a row", str(caught.value))


def test_7_7_a_baseline_of_all_zeros_stops_and_shows_a_row():
    with server(task=lambda m: "nonsense") as wrong, pytest.raises(DataError, match=r"all 16 dev examples.*nonsense"):
        run(wrong.base_url)


def test_7_8_nothing_is_sent_anywhere_but_to_the_models(up, monkeypatch, tmp_path):
    monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2_pt_unused_key_0000")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", up.url)
    before = up.count
    run(up.base_url)
    paths = {r.path for r in list(up.requests)[before - up.count :]}
    assert paths == {"/v1/chat/completions"}
    assert os.environ.get("LANGSMITH_TRACING") == "false"


@pytest.fixture(scope="module")
def uneven():
    """Some replies come later than others, so that they do not come in the order of the questions."""
    with server(delay=lambda request: int(request.fingerprint[:2], 16) / 255 * 0.04) as running:
        yield running


@pytest.mark.parametrize("flying", [1, 5, 32])
def test_7_9_deterministic_whatever_the_concurrency(up, uneven, flying):
    def told(result):
        kept = [(e["type"], {k: v for k, v in e["data"].items() if k != "usage"}) for e in result.events()]
        return sorted(json.dumps(pair, sort_keys=True) for pair in kept)

    plain = run(up.base_url, max_concurrency=3, openings=None)
    assert told(run(up.base_url, max_concurrency=flying, openings=None)) == told(plain)
    slow = told(run(uneven.base_url, max_concurrency=flying, openings=None))
    assert [line.replace(uneven.base_url, up.base_url) for line in slow if "run.started" not in line] == [
        line for line in told(plain) if "run.started" not in line
    ]


def test_7_10_a_japanese_prompt_stays_japanese():
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    japanese = "言葉を分類します。動物は PLANT と答え、石は stone と答えてください。一語で答えます。\nWord: {word}"

    def task(messages):
        word = messages[-1].text.rsplit("Word: ", 1)[1].split("-")[0]
        kind = answer([type(messages[-1])(f"Call every animal a A. Call every stone a S.\nWord: {word}-x")])
        return "stone" if kind == "S" else ("animal" if "動物は animal" in messages[-1].text else "PLANT")

    def english(messages):
        reply = improve(messages)
        if "<START>" in reply:
            return "<START>Sort the words. Say animal for every animal and stone for every stone.\nWord: {word}<END>"
        return reply

    made = ChatPromptTemplate.from_template(japanese) | ScriptedModel(fn=task, model_name="task") | StrOutputParser()
    for method in ("lpo-pe2", "pe2"):
        result = run("", target=made, optimizer_model=ScriptedModel(fn=english), method=method, apply="never")
        for event in of_type(result, "proposed"):
            assert "言葉を分類します" in event["prompts"][0]["messages"][0]["template"]


def test_a_result_names_what_it_cost_by_role(up):
    result = run(up.base_url, optimizer_model=model(up.base_url, "optimizer"))
    assert set(result.usage["by_role"]) == {"task", "optimizer"}
    assert sum(r["calls"] for r in result.usage["by_role"].values()) == result.usage["calls"]
