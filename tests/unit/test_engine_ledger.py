"""Budgets of any mix are kept against a real client, calls are counted by role, kept evaluations cost nothing."""

from __future__ import annotations

import random
from collections import Counter

import openai
import pytest

from langchain_promptopt import Budget
from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import BudgetSpent, ConfigError, PriceError
from langchain_promptopt.optimizer.arguments import JudgeCost
from tests.support.faults import FaultPlan
from tests.support.online import chain, judged_by, model, run, server
from tests.support.tasks import answer

PRICES = {"task": Price(1000.0, 1000.0), "optimizer": Price(2000.0, 2000.0), "judge": Price(500.0, 500.0)}


@pytest.fixture(scope="module")
def up():
    with server() as running:
        yield running


def _spent(usage, budget):
    """By how much a run went past each limit it was given."""
    used = {
        "calls": usage["calls"],
        "tokens": usage["tokens"],
        "usd": usage["usd"],
        "search_calls": usage["search_calls"],
    }
    return {name: used[name] - limit for name, limit in budget.items() if name in used}


LARGEST = 1_200
"""Tokens of an optimizer call with its worked example: each call in flight may go beyond the budget by so many."""


@pytest.mark.parametrize("seed", range(8))
def test_a_mixed_budget_is_kept(seed, up):
    rng = random.Random(f"budget-{seed}")
    limits = {
        "calls": rng.randint(85, 400),
        "tokens": rng.randint(4000, 20000),
        "usd": rng.uniform(4.0, 20.0),
        "search_calls": rng.randint(20, 200),
    }
    budget = {name: limits[name] for name in rng.sample(sorted(limits), rng.randint(1, 4))}
    flying = rng.choice([1, 4, 16])
    evaluators = [judged_by(up.base_url)] if rng.random() < 0.5 else ["exact_match"]
    before = up.count
    try:
        usage = run(
            up.base_url, budget=Budget(**budget), max_concurrency=flying, prices=PRICES, evaluators=evaluators
        ).usage
    except (BudgetSpent, ConfigError) as refused:  # the budget cannot bear the test, or not even the baseline
        usage = refused.facts.get("usage")
        if usage is None:
            assert up.count == before
            return
    assert usage["calls"] == up.count - before
    over = _spent(usage, budget)
    assert over.get("calls", 0) <= 0
    assert over.get("search_calls", 0) <= 0
    assert over.get("tokens", 0) <= flying * LARGEST
    assert over.get("usd", 0.0) <= flying * LARGEST * 2000e-6


@pytest.mark.parametrize("tokens", [400, 1500, 3000, 3600, 4200, 5000, 6000, 8000])
def test_a_token_budget_is_never_exceeded_by_a_call_that_could_be_foreseen(tokens, up):
    """One call after the other, so that none is in flight: a small budget is refused before the first, or kept."""
    before = up.count
    try:
        usage = run(up.base_url, budget=Budget(tokens=tokens), max_concurrency=1).usage
    except ConfigError as refused:
        assert str(refused).startswith(f"the budget of {tokens:,} tokens cannot pay for a run: the baseline takes")
        assert up.count == before
        assert tokens < 4000
        return
    assert usage["tokens"] <= tokens


def test_a_budget_is_kept_while_calls_fail_and_are_made_again():
    with server(faults=FaultPlan(rate=0.3, kinds=["500", "reset"], seed=1)) as running:
        result = run(
            running.base_url,
            budget=Budget(calls=260, search_calls=90),
            clock=FakeClock(),
            policy=RetryPolicy(timeout=None),
        )
        assert result.usage["calls"] == running.count <= 260
    assert result.usage["search_calls"] <= 90


def test_seconds_end_the_search_and_are_resumed(tmp_path):
    with server(delay=0.05) as running:
        try:
            result = run(running.base_url, budget=Budget(seconds=0.4), max_concurrency=2, runs_dir=tmp_path)
            assert result.outcome == "budget"
        except BudgetSpent as spent:
            assert spent.exit_code == 4
        running.delay = 0.0
        assert run(running.base_url, runs_dir=tmp_path).outcome == "improved"


def test_every_call_of_a_chain_with_two_models_is_counted(up):
    from langchain_core.runnables import RunnableLambda

    first, second = chain(up.base_url), model(up.base_url, "judge")

    async def both(row):
        said = await first.ainvoke(row)
        await second.ainvoke(f"the same for {row['word']}?\n{said} / {said}")
        return said

    before = up.count
    result = run(up.base_url, target=RunnableLambda(both), budget=Budget(calls=300))
    assert result.usage["calls"] == up.count - before <= 300
    assert result.usage["by_role"]["task"]["calls"] == 2 * result.usage["search_calls"] + 2 * 80


def test_judges_are_counted_by_their_own_role(up):
    before = up.count
    result = run(up.base_url, evaluators=[judged_by(up.base_url)], prices=PRICES, budget=Budget(usd=1000.0))
    roles = result.usage["by_role"]
    assert sum(used["calls"] for used in roles.values()) == up.count - before
    assert roles["judge"]["calls"] == roles["task"]["calls"]
    assert 0 < roles["judge"]["usd"] < roles["task"]["usd"]


def test_an_unknown_price_is_refused_before_a_call(up):
    before = up.count
    with pytest.raises(PriceError):
        run(up.base_url, budget=Budget(usd=5.0), prices={"task": PRICES["task"]})
    assert up.count == before


def test_a_judge_without_a_price_is_refused_before_a_call_and_one_that_shows_late_ends_the_run(up):
    given = {"prices": {name: PRICES[name] for name in ("task", "optimizer")}, "budget": Budget(usd=1000.0)}
    before = up.count
    with pytest.raises(PriceError, match="price of judge is unknown"):
        run(up.base_url, evaluators=[judged_by(up.base_url)], **given)
    assert up.count == before

    async def late(inputs, outputs, reference_outputs):  # the judge is made inside: nobody can know it before
        return await judged_by(up.base_url)(inputs, outputs, reference_outputs)

    with pytest.raises(PriceError, match="judge"):
        run(up.base_url, evaluators=[late], max_concurrency=1, **given)
    assert up.count == before + 2


def test_a_judge_that_is_also_the_optimizer_is_said(up):
    judged = [judged_by(up.base_url)]
    mine = run(up.base_url, evaluators=judged, optimizer_model=model(up.base_url, "judge"), method="ape")
    assert any("judge and optimizer are the same model" in w for w in mine.warnings)
    assert not any("same model" in w for w in run(up.base_url, evaluators=judged).warnings)


def _hidden(up):
    client = openai.OpenAI(base_url=up.base_url, api_key="unused", max_retries=0)

    def helpful(inputs, outputs, reference_outputs):
        said = next(iter(outputs.values()))
        asked = [{"role": "user", "content": f"equal for {inputs['word']}?\n{reference_outputs['answer']} / {said}"}]
        return client.chat.completions.create(model="judge", messages=asked).choices[0].message.content == "yes"

    return helpful


def test_a_judge_nobody_sees_is_noticed_and_its_cost_is_asked_for(up):
    with pytest.raises(PriceError, match="judge_cost"):
        run(up.base_url, evaluators=[_hidden(up)], budget=Budget(usd=50.0), prices=PRICES)
    with pytest.raises(ConfigError, match="judge_cost"):
        run(up.base_url, evaluators=[_hidden(up)], budget=Budget(calls=500))
    told = {"helpful": JudgeCost(calls=1, input_tokens=20, output_tokens=1, model="judge")}
    before = up.count
    result = run(up.base_url, evaluators=[_hidden(up)], judges=told, prices=PRICES, budget=Budget(usd=50.0, calls=500))
    assert result.usage["calls"] == up.count - before <= 500
    assert result.usage["by_role"]["judge"]["input_tokens"] == 20 * result.usage["by_role"]["judge"]["calls"]


def test_without_a_budget_a_judge_nobody_sees_is_said(up):
    assert any("cannot be counted" in w for w in run(up.base_url, evaluators=[_hidden(up)]).warnings)


# ---------------------------------------------------------------- evaluations kept between runs


def _scored(result):
    return [e["data"] for e in result.events() if e["type"] == "scored"]


def test_kept_evaluations_cost_nothing_and_the_test_is_fresh(up, tmp_path):
    first = run(up.base_url, cache=tmp_path / "cache.sqlite")
    before = up.count
    again = run(up.base_url, cache=tmp_path / "cache.sqlite")
    asked = Counter(r.json()["model"] for r in list(up.requests)[before - up.count :])
    assert (again.test, again.best.id) == (first.test, first.best.id)
    assert asked["task"] == 80 == again.usage["by_role"]["task"]["calls"]
    assert again.usage["search_calls"] == 0
    rows = _scored(again)
    assert {d["cached"] for d in rows if d["split"] == "test"} == {False}
    assert {(d["cached"], d["usage"]["calls"]) for d in rows if d["split"] != "test"} == {(True, 0)}


def test_a_run_on_kept_evaluations_is_resumed_as_it_was(up, tmp_path):
    run(up.base_url, cache=tmp_path / "cache.sqlite")
    once = run(up.base_url, cache=tmp_path / "cache.sqlite", runs_dir=tmp_path)
    replay = run(up.base_url, runs_dir=tmp_path)
    assert replay.replayed
    assert replay.usage["calls"] == once.usage["calls"]
    assert replay.usage["search_calls"] == 0


def test_endpoints_models_rows_code_and_repeats_are_not_mixed(up, tmp_path):
    place = tmp_path / "cache.sqlite"
    run(up.base_url, cache=place)

    def asked_of(running, **more):
        before = running.count
        usage = run(running.base_url, cache=place, **more).usage
        assert running.count - before == usage["calls"]
        return usage["by_role"]["task"]["calls"]

    with server() as other:
        assert asked_of(other) > 80
    assert asked_of(up, target=chain(up.base_url, temperature=0.5)) > 80
    assert (
        asked_of(up, evaluators=[lambda outputs, reference_outputs: outputs["output"] == reference_outputs["answer"]])
        > 80
    )
    from langchain_core.runnables import RunnableLambda

    louder = chain(up.base_url) | RunnableLambda(lambda text: text + "")
    assert asked_of(up, target=louder) > 80
    assert asked_of(up) == 80


def test_two_judges_that_differ_in_their_model_alone_are_not_mixed(up, tmp_path):
    place = tmp_path / "cache.sqlite"
    run(up.base_url, cache=place, evaluators=[judged_by(up.base_url)])
    result = run(up.base_url, cache=place, evaluators=[judged_by(up.base_url, temperature=0.1)])
    assert result.usage["search_calls"] > 0


def test_failures_are_not_kept(tmp_path):
    def shy(messages):
        return {"content": "no", "finish_reason": "content_filter"} if "opal" in messages[-1].text else answer(messages)

    with server(task=shy) as running:
        run(running.base_url, cache=tmp_path / "c.sqlite")
        rows = _scored(run(running.base_url, cache=tmp_path / "c.sqlite"))
    assert not [d for d in rows if d["failure"] and d["cached"]]
    assert [d for d in rows if d["cached"]]


def test_the_estimate_made_before_stands_beside_what_it_was(up):
    usage = run(up.base_url).usage
    assert usage["calls"] <= usage["estimate"]["high"]["total"]
    assert set(usage["estimate"]["likely"]["calls"]) == {"task", "optimizer", "judge"}
    assert usage["estimate"]["low"]["usd"] is None  # a price is unknown, and that is no 0
    priced = run(up.base_url, prices=PRICES, evaluators=[judged_by(up.base_url)]).usage
    low, high = priced["estimate"]["low"], priced["estimate"]["high"]
    assert low["usd"] / 3 < priced["usd"] < high["usd"] * 3
    assert low["calls"]["judge"] == low["calls"]["task"]
