"""The main job end to end on small programs: in place, reversible, deterministic, resumable, honest."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import Budget, Gate, PromptOptimizer, optimize
from langchain_promptopt.errors import (
    BudgetSpent,
    ConfigError,
    CredentialsError,
    DataError,
    PromptError,
    RecipeError,
    TooManyFailures,
    UnavailableError,
    UsageError,
)
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.store.lines import find_run
from langchain_promptopt.strategies.seeding import Earlier
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.types import Edit, Span
from tests.support.tasks import PROMPT, answer, chain, improve, optimizer, rows

FAST = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None}


@pytest.fixture
def openings(tmp_path):
    return tmp_path / "promptopt.openings.jsonl"


def run(target=None, **more):
    model = more.pop("optimizer_model", None) or optimizer()
    arguments = FAST | {"data": rows()} | more
    return optimize(target if target is not None else chain(), optimizer_model=model, **arguments)


def transcript(result):
    out = []
    for event in result.events():
        data = {k: v for k, v in event["data"].items() if k != "usage"}
        out.append(json.dumps([event["type"], data], sort_keys=True))
    return sorted(out)


def test_the_chain_the_user_holds_is_better_and_can_be_put_back(openings):
    live = chain()
    template = live.first.messages[0].prompt.template
    result = run(live, openings=openings)
    assert result.outcome == "improved"
    assert result.exit_code == 0
    assert [(e.old, e.new) for e in result.edits] == [("PLANT", "animal")]
    assert live.first.messages[0].prompt.template == template.replace("PLANT", "animal")
    assert live.invoke({"word": "dog-new"}) == "animal"
    result.revert(live)
    assert live.first.messages[0].prompt.template == template
    assert live.invoke({"word": "dog-new"}) == "PLANT"


def test_without_a_record_of_openings_nothing_applies_by_itself():
    live = chain()
    result = run(live)
    assert result.outcome == "improved"
    assert not result.applied
    assert live.invoke({"word": "dog-new"}) == "PLANT"
    assert any("openings" in w for w in result.warnings)
    with pytest.raises(UsageError, match="force=True"):
        result.apply(live)
    result.apply(live, force=True)
    assert live.invoke({"word": "dog-new"}) == "animal"


def test_a_proposal_that_does_not_help_is_no_gain_and_changes_nothing(openings):
    def useless(messages):
        reply = improve(messages)
        return reply.replace("animal", "VEGETABLE") if reply.startswith("{") else reply

    live = chain()
    result = run(live, optimizer_model=optimizer(useless), openings=openings)
    assert (result.outcome, result.exit_code, result.edits) == ("no_gain", 3, ())
    assert live.invoke({"word": "dog-new"}) == "PLANT"


def test_marks_by_number_find_the_fault(openings):
    def by_number(messages):
        request = str(messages[-1].text)
        if "words numbered" not in request:
            return improve(messages)
        n = int(re.search(r"(\d+)\D{1,3}PLANT", request).group(1))
        return json.dumps([{"first": n, "last": n, "reason": "animals are no plants"}])

    result = run(optimizer_model=optimizer(by_number), method="lpo-pe2:index", openings=openings)
    assert result.outcome == "improved"


@pytest.mark.parametrize("method", ["lpo-apo", "apo-pe2", "lpo-pe2", "pe2", "lpo-pe2:paper"])
def test_every_first_preset_finds_the_fault(method, openings):
    def both(messages):
        request = str(messages[-1].text)
        if "Repeat the whole prompt" in request:
            return PROMPT.replace("PLANT", "<edit>PLANT</edit>")
        return PROMPT.replace("PLANT", "animal") if "Reply with the whole prompt" in request else improve(messages)

    result = run(optimizer_model=optimizer(both), method=method, openings=openings)
    assert result.outcome == "improved"
    assert result.test[0]["wins"] == 20


@pytest.mark.parametrize("concurrency", [1, 7, 32])
def test_the_same_seed_and_replies_give_the_same_transcript_at_any_concurrency(concurrency):
    assert transcript(run(max_concurrency=concurrency)) == transcript(run(max_concurrency=3))


def test_by_default_the_record_is_kept_where_the_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    live = chain()
    result = optimize(live, data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(), method="lpo-pe2")
    assert result.applied
    assert live.invoke({"word": "dog-new"}) == "animal"
    assert (tmp_path / "promptopt.openings.jsonl").is_file()
    assert (tmp_path / ".promptopt" / "runs" / result.run_id / "journal.jsonl").is_file()


def test_another_seed_is_another_run():
    assert run(seed=0).run_id != run(seed=1).run_id


def test_budget_concurrency_and_paths_do_not_change_the_run_id(tmp_path):
    plain = run()
    other = run(budget=Budget(calls=10_000), max_concurrency=2, runs_dir=tmp_path)
    assert plain.run_id == other.run_id


def test_a_finished_run_is_replayed_without_a_call(tmp_path, openings):
    first = run(runs_dir=tmp_path, openings=openings)
    model = optimizer()
    live = chain()
    again = run(live, optimizer_model=model, runs_dir=tmp_path, openings=openings)
    assert again.replayed
    assert not first.replayed
    assert model.calls == []
    assert again.test == first.test
    assert live.invoke({"word": "dog-new"}) == "animal"
    journal = first.folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == len({json.loads(line)["seq"] for line in lines})
    assert sum('"type":"run.finished"' in line.replace(" ", "") for line in lines) == 1


def test_an_interrupted_run_pays_nothing_twice(tmp_path):
    task: list[int] = []

    def counting(messages):
        task.append(1)
        return answer(messages)

    whole = run(chain(counting), runs_dir=tmp_path / "whole")
    lines = (whole.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 61):
        folder = tmp_path / f"cut{cut}" / whole.run_id
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
        model, before = optimizer(), len(task)
        resumed = run(chain(counting), optimizer_model=model, runs_dir=tmp_path / f"cut{cut}")
        assert resumed.test == whole.test
        assert resumed.best.id == whole.best.id
        kinds = [json.loads(line)["type"] for line in lines[:cut]]
        journaled = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()]
        total = sum(e["type"] == "called" for e in journaled)
        assert len(model.calls) == total - kinds.count("called")
        assert len(task) - before == sum(e["type"] == "scored" for e in journaled) - kinds.count("scored")


def test_the_optimizer_is_a_runnable():
    made = PromptOptimizer(**FAST, optimizer_model=optimizer(), data=rows())
    assert made.invoke(chain()).outcome == "improved"
    assert made.invoke({"chain": chain(), "seed": 3}).outcome == "improved"


def test_frozen_text_is_never_touched(openings):
    result = run(freeze=["re:Call every animal a PLANT"], openings=openings)
    assert result.outcome == "no_gain"
    assert result.best.id == result.baseline.id


def test_everything_frozen_is_refused_before_a_call():
    model = optimizer()
    with pytest.raises(PromptError, match="nothing is left to edit"):
        run(optimizer_model=model, freeze=["message:0"])
    assert model.calls == []


def test_test_rows_are_not_evaluated_before_the_gate():
    seen = [
        (e["type"], e["data"].get("split")) for e in run().events() if e["type"] in {"scored", "selected", "tested"}
    ]
    last_search = max(i for i, (kind, _) in enumerate(seen) if kind == "selected")
    assert all(split != "test" for kind, split in seen[:last_search] if kind == "scored")
    assert sum(split == "test" for _, split in seen) == 80


def test_a_run_that_cannot_be_set_up_is_not_busy_afterwards(tmp_path):
    given = {"runs_dir": tmp_path / "runs", "openings": tmp_path / "openings.jsonl"}
    with pytest.raises(ConfigError, match="the limits of m have unknown fields"):
        run(**given, limits={"m": {"rpm": 60}})
    assert run(**given).outcome == "improved"


def test_a_verdict_stays_where_something_fails_after_it(tmp_path):
    given = {"runs_dir": tmp_path / "runs", "openings": tmp_path / "openings.jsonl"}
    run(**given)
    with pytest.raises(UnavailableError, match="cannot open the trace file"):
        run(**given, trace_file=tmp_path)
    assert run(**given).replayed


def test_a_run_whose_verdict_is_asked_for_again_is_the_latest(tmp_path):
    given = {"runs_dir": tmp_path / "runs", "openings": tmp_path / "openings.jsonl"}
    first, second = run(**given), run(**given, seed=1)
    assert find_run(given["runs_dir"], "latest").name == second.run_id
    assert run(**given).replayed
    assert find_run(given["runs_dir"], "latest").name == first.run_id


def test_a_baseline_that_is_always_wrong_stops_and_shows_a_row():
    with pytest.raises(DataError, match=r"scores 0 on all 16 dev examples.*inputs") as caught:
        run(chain(lambda _: "nonsense"))
    assert caught.value.exit_code == 2


def after_the_first_rows(right):
    """A task program that is wrong on the 16 dev rows a lazy baseline begins with, and `right` on all later ones."""
    ids = sorted(f"dev-{i}" for i in range(40))
    rng_at(0, "dev-order").shuffle(ids)

    def told(messages):
        word = str(messages[-1].text).rsplit("Word: ", 1)[1]
        kind = "animal" if int(word.rsplit("-", 1)[1]) % 2 else "stone"
        first = any(word.endswith(f"-{i}") for i in ids[:16])
        return kind if right and not first else "nonsense"

    return told


def test_a_baseline_that_looks_broken_on_its_first_rows_is_run_on_all_before_it_is_refused():
    short = replace(recipe_of("robust"), stop=Steps(limit=1))
    result = run(chain(after_the_first_rows(right=True)), method=short, data=rows(dev=40), seed=0)
    base = [e["data"] for e in result.events() if e["type"] == "evaluated" and e["data"]["split"] == "dev"]
    assert [(e["n"], e["score"]) for e in base[:2]] == [(16, 0.0), (40, 0.6)]
    with pytest.raises(DataError, match="scores 0 on all 40 dev examples"):
        run(chain(after_the_first_rows(right=False)), method=short, data=rows(dev=40), seed=0)


def test_an_earlier_edit_races_with_the_baseline_and_neither_is_run_further_than_that():
    start = PROMPT.index("PLANT")
    edit = Edit(Span("main", 0, start, start + 5), "PLANT", "animal", "found earlier", ("train-1",))
    begun = replace(recipe_of("robust"), seeding=Earlier(edits=(json.dumps(edit.as_json()),)), stop=Steps(limit=1))
    result = run(method=begun, data=rows(dev=40))
    seen = [e["data"] for e in result.events() if e["type"] == "evaluated" and e["data"]["split"] == "dev"]
    assert {e["n"] for e in seen} == {16}
    assert len({e["candidate_id"] for e in seen}) == 2
    assert result.outcome == "improved"


def test_too_few_test_rows_give_no_gate_and_no_application(openings):
    live = chain()
    result = run(live, data=rows(test=4), openings=openings)
    assert result.outcome == "inconclusive"
    assert result.test == []
    assert any("test split" in w for w in result.warnings)
    assert live.invoke({"word": "dog-new"}) == "PLANT"


def test_a_budget_below_the_test_is_refused_before_the_first_call():
    model = optimizer()
    with pytest.raises(ConfigError, match="held-out test"):
        run(optimizer_model=model, budget=Budget(calls=50))
    assert model.calls == []


@pytest.mark.parametrize("calls", [100, 130, 200, 300])
def test_a_call_budget_is_never_exceeded_and_the_test_is_paid_for(calls, openings):
    result = run(budget=Budget(calls=calls), openings=openings)
    assert result.usage["calls"] <= calls
    assert result.outcome in {"improved", "no_gain", "budget"}
    assert not (result.outcome == "budget" and result.edits)


def test_search_calls_bound_the_search_alone():
    result = run(budget=Budget(search_calls=60))
    assert result.usage["search_calls"] <= 60
    assert sum(e["type"] == "scored" and e["data"]["split"] == "test" for e in result.events()) in {0, 80}


def test_a_money_budget_without_a_price_is_refused():
    with pytest.raises(UsageError, match="price"):
        run(budget=Budget(usd=1.0))


def test_a_model_out_of_reach_stops_the_run_with_code_5(tmp_path):
    from langchain_promptopt._runtime.clock import FakeClock

    def down(_):
        raise ConnectionResetError

    with pytest.raises(TooManyFailures) as caught:
        run(chain(down), clock=FakeClock(), runs_dir=tmp_path)
    assert caught.value.exit_code == 5
    assert caught.value.retryable
    # and once it is back, the same run goes on
    assert run(runs_dir=tmp_path).outcome == "improved"


def test_a_refused_key_is_code_2():
    class Denied(Exception):
        status_code = 401

    def denied(_):
        raise Denied

    with pytest.raises(CredentialsError):
        run(chain(denied))


def test_a_candidate_that_breaks_the_chain_scores_zero_and_loses(openings):
    def fragile(value):
        if "animal" in value.to_string().split("Word:")[0].replace("every animal", ""):
            raise KeyError("boom")
        return value

    plain = chain()
    result = run(plain.first | RunnableLambda(fragile) | plain.steps[1] | plain.last, openings=openings)
    assert result.outcome == "no_gain"


def test_the_report_of_a_result_shows_its_rows(openings, tmp_path):
    result = run(openings=openings)
    html = result.report(tmp_path / "report.html").read_text()
    for row in ("cat-test-1", "train-3", "stone"):
        assert row in html
    assert "cat-test-1" in html, "a row that got better is shown with its text"
    assert "cat-test-1" not in result.report(tmp_path / "pr.md").read_text()
    assert "cat-test-1" in result.report(tmp_path / "pr.md", show_rows=True).read_text()


def test_an_unknown_argument_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no argument 'optimiser_model'.*Did you mean 'optimizer_model'"):
        run(optimiser_model=optimizer())
    with pytest.raises(ConfigError, match=r"'skip_bad_line'.*'skip_bad_lines'"):
        PromptOptimizer(**FAST, data=rows(), optimizer_model=optimizer(), skip_bad_line=True).invoke(chain())


def test_flat_rows_are_mapped_by_the_words_of_the_config(openings):
    flat = [
        {"text": r["inputs"]["word"], "kind": r["outputs"]["answer"], "nr": r["metadata"]["id"], "thread": str(i // 2)}
        for i, r in enumerate(rows())
    ]
    splits = {s: [f for f in flat if f["nr"].startswith(s)] for s in ("train", "dev", "test")}
    result = run(data=splits, inputs={"word": "text"}, outputs=["kind"], id="nr", group="thread", openings=openings)
    assert result.outcome == "improved"
    assert (result.test[0]["n"], result.test[0]["clusters"]) == (40, 20)
    assert set(result.edits[0].example_ids) <= {f["nr"] for f in splits["train"]}
    with pytest.raises(DataError, match=r"4 and 63 more: `inputs.word` column 'txt' is missing; did you mean 'text'"):
        run(data=splits, inputs={"word": "txt"}, outputs=["kind"])


def test_bad_rows_are_told_with_position_and_field(openings):
    bad = [{"inputs": {"word": None}, "outputs": {"answer": "stone"}}, {"inputs": {"word": "x"}, "outputs": {}}, "text"]
    result = run(data=[*rows(), *bad], openings=openings)
    (told,) = [w for w in result.warnings if "cannot be scored" in w]
    assert told.startswith("3 of 71 examples cannot be scored and are left out: example 68: `inputs.word`")
    assert "example 69: `outputs`" in told
    assert "example 70: an example is a mapping" in told


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(RecipeError, match="lpo-pe2"):
        run(method="lpo-pe")


def test_a_copy_made_at_run_time_is_refused_with_the_place():
    from tests.support.tasks import optimizer as make

    live = chain()
    prompt = live.first

    async def copying(value):
        return await prompt.model_copy(deep=True).ainvoke(value)

    copied = RunnableLambda(copying) | live.middle[0] | live.last
    with pytest.raises(PromptError) as caught:
        optimize(copied, data=rows(), optimizer_model=make(), **FAST)
    assert caught.value.exit_code == 2


def test_gate_repeats_evaluate_each_row_as_often():
    result = run(gate=Gate(repeats=2))
    assert sum(e["type"] == "scored" and e["data"]["split"] == "test" for e in result.events()) == 160


def test_min_improvement_must_be_exceeded(openings):
    assert run(gate=Gate(min_improvement=0.2), openings=openings).outcome == "improved"
    assert run(gate=Gate(min_improvement=0.55), openings=openings).outcome != "improved"


def test_budget_spent_is_an_outcome_not_an_exception():
    result = run(budget=Budget(calls=100))
    assert not isinstance(result, BudgetSpent)
    assert result.outcome in {"budget", "improved", "no_gain"}
