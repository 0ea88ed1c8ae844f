"""`result.select`: edits are numbered from 1, paid from the run's own budget, and nothing is asked twice."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Budget, optimize
from langchain_promptopt.errors import ConfigError, UsageError
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.strategies.proposals import PerParent
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import ANIMALS, optimizer, rows

PROMPT = "Sort words. Call every animal a PLANT. Call every stone a FRUIT. Answer with one word.\nWord: {word}"


class Task:
    """A chain with two wrong words; counts its calls."""

    def __init__(self):
        self.calls = 0
        template = ChatPromptTemplate.from_template(PROMPT)
        self.chain = template | ScriptedModel(fn=self.answer, model_name="task") | StrOutputParser()

    def answer(self, messages) -> str:
        self.calls += 1
        text = str(messages[-1].text)
        word = text.rsplit("Word: ", 1)[1].split("-")[0]
        kind = "animal" if word in ANIMALS else "stone"
        if word == "opal":  # one row is right from the start, so that the baseline is not all wrong
            return "stone"
        return re.search(rf"Call every {kind} an? (\w+)\.", text).group(1)


def improve(messages) -> str:
    request = str(messages[-1].text)
    words = [("PLANT", "animal"), ("FRUIT", "stone")]
    if "JSON list" in request:
        marks = [{"message": 0, "quote": old, "occurrence": 1, "reason": f"{new} is meant"} for old, new in words]
        return json.dumps(marks)
    if "JSON object" in request:
        return json.dumps({str(i): {"new": new, "reason": "meant"} for i, (_, new) in enumerate(words, 1)})
    return "- two words mislead"


def idle_too(messages) -> str:
    """As `improve`, with a third edit that does nothing."""
    request = str(messages[-1].text)
    words = [("Sort", "Order"), ("PLANT", "animal"), ("FRUIT", "stone")]
    if "JSON list" in request:
        return json.dumps([{"message": 0, "quote": old, "occurrence": 1, "reason": "meant"} for old, _ in words])
    if "JSON object" in request:
        return json.dumps({str(i): {"new": new, "reason": "meant"} for i, (_, new) in enumerate(words, 1)})
    return "- two words mislead"


def run(task, tmp_path, model=improve, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "data": rows(), "apply": "never"}
    return optimize(task.chain, optimizer_model=optimizer(model), openings=tmp_path / "o.jsonl", **(given | more))


def test_edits_are_numbered_from_1(tmp_path):
    result = run(Task(), tmp_path)
    assert [(e.old, e.new) for e in result.edits] == [("PLANT", "animal"), ("FRUIT", "stone")]
    assert [e.old for e in result.select([2]).edits] == ["FRUIT"]
    assert [e.old for e in result.select([2, 1, 2]).edits] == ["PLANT", "FRUIT"]
    for wrong in (0, 3, -1, True, "1"):
        with pytest.raises(ConfigError, match="numbered from 1 to 2"):
            result.select([wrong])


@pytest.mark.parametrize("kept", [True, False], ids=["journal", "memory"])
def test_a_selection_is_paid_from_the_run_and_asks_only_for_what_is_missing(tmp_path, kept):
    task = Task()
    result = run(task, tmp_path, idle_too, runs_dir=tmp_path / "runs" if kept else None, budget=Budget(calls=400))
    before, used = task.calls, result.usage["calls"]  # the run itself scored the prompt without the idle edit only
    part = result.select([1])
    assert task.calls - before == 16  # the dev rows of the part; those of the baseline are known
    assert part.usage["calls"] == used + 16
    (entry,) = part.test
    assert (entry["role"], entry["verdict"], entry["n"]) == ("search rows", "not tested", 16)
    assert entry["baseline"] < entry["best"] < 1
    assert not part.gate_passed
    again = result.select([1])
    assert (task.calls - before, again.test) == (16, part.test)
    whole = result.select([1, 2])
    assert task.calls - before == 16  # the winner was evaluated by the search
    assert whole.test[0]["best"] == 1.0
    made = {e["data"]["candidate_id"]: e["data"] for e in result.events() if e["type"] == "proposed"}
    assert [e["old"] for e in made[part.best.id]["edits"]] == ["PLANT"]


def test_a_selection_beyond_the_budget_is_untested_and_says_so(tmp_path):
    task = Task()
    one = replace(recipe_of("lpo-pe2"), stop=Steps(limit=1), proposals=PerParent(m=1))
    whole = run(Task(), tmp_path, method=one)
    # what a selection needs are the dev rows that did not tell what the edit is worth; one call is left of them
    result = run(task, tmp_path, method=one, budget=Budget(calls=whole.usage["calls"] + 1))
    assert result.usage["calls"] == whole.usage["calls"]
    before = task.calls
    part = result.select([1])
    assert task.calls == before
    assert part.test == []
    assert any(w.startswith("untested") for w in part.warnings)
    with pytest.raises(UsageError, match="force=True"):
        part.apply(task.chain)
    part.apply(task.chain, force=True)
    text = task.chain.first.messages[0].prompt.template
    assert text == PROMPT.replace("PLANT", "animal")


def test_a_selection_of_an_applied_result_is_judged_against_the_baseline(tmp_path):
    task = Task()
    result = run(task, tmp_path, apply="if_improved")
    assert result.applied
    part = result.select([2])
    assert part.test[0]["baseline"] == result.select([1]).test[0]["baseline"]
    assert part.best.id != result.best.id


# ------------------------------------------------------------------ max_edits


def pruned(task, tmp_path, **more):
    one = replace(recipe_of("lpo-pe2"), stop=Steps(limit=1), proposals=PerParent(m=1))
    given = {"evaluators": ["exact_match"], "method": one, "runs_dir": None, "data": rows(), "apply": "never"}
    model = optimizer(idle_too)
    return optimize(task.chain, optimizer_model=model, openings=tmp_path / "o.jsonl", **(given | more))


def test_edits_that_add_nothing_go_before_the_test(tmp_path):
    result = pruned(Task(), tmp_path)
    assert [e.new for e in result.edits] == ["animal", "stone"]
    assert [e.new for e in pruned(Task(), tmp_path, max_edits=5).edits] == ["animal", "stone"]
    assert result.outcome == "improved"
    tested = {
        e["data"]["candidate_id"] for e in result.events() if e["type"] == "scored" and e["data"]["split"] == "test"
    }
    assert tested == {result.baseline.id, result.best.id}


def test_a_limit_keeps_the_edits_that_do_most(tmp_path):
    task = Task()
    result = pruned(task, tmp_path, max_edits=1)
    (edit,) = result.edits
    assert edit.new in {"animal", "stone"}
    best = task.chain.first.messages[0].prompt.template
    assert best == PROMPT
    assert result.best["main"].messages[0].template == PROMPT.replace(edit.old, edit.new)


def without_pruning(tmp_path) -> int:
    """Calls of the same run less those that tell which of the three edits carry it, and those of what is left."""
    result = pruned(Task(), tmp_path)
    parts = {e["data"]["candidate_id"] for e in result.events() if e["type"] == "proposed" and e["data"]["part_of"]}
    found = [e["data"] for e in result.events() if e["type"] == "scored" and e["data"]["split"] == "dev"]
    return result.usage["calls"] - sum(d["candidate_id"] in parts for d in found)


def test_each_edit_is_left_out_on_the_examples_that_the_edits_decided(tmp_path):
    result = pruned(Task(), tmp_path)
    parts = {e["data"]["candidate_id"] for e in result.events() if e["type"] == "proposed" and e["data"]["part_of"]}
    dev = [e["data"] for e in result.events() if e["type"] == "scored" and e["data"]["split"] == "dev"]
    wrong = {
        d["example_id"] for d in dev if d["candidate_id"] == result.baseline.id and d["scores"]["exact_match"] == 0
    }
    assert 0 < len(wrong) < 16
    for part in parts - {result.best.id}:
        assert {d["example_id"] for d in dev if d["candidate_id"] == part} == wrong
    assert sum(d["candidate_id"] == result.best.id for d in dev) == 16  # what is left is run on all of them


def test_where_the_budget_ends_all_edits_within_the_limit_stay_and_that_is_said(tmp_path):
    result = pruned(Task(), tmp_path, budget=Budget(calls=without_pruning(tmp_path) + 20))
    assert [e.new for e in result.edits] == ["Order", "animal", "stone"]
    (said,) = [e["data"] for e in result.events() if e["type"] == "incident" and e["data"]["kind"] == "pruning"]
    assert "some of them may add nothing" in said["detail"]


class Stubborn(Task):
    """A task with rows that no prompt gets right, so that a search goes on as long as it can pay."""

    def answer(self, messages) -> str:
        said = super().answer(messages)
        return "nothing" if str(messages[-1].text).endswith(("1", "5", "9")) else said


def test_a_search_that_spends_all_it_may_leaves_the_calls_that_tell_which_edits_carry_it(tmp_path):
    numbers = iter(range(1000))

    def always_something(messages) -> str:
        if any("PLANT" in str(m.text) for m in messages):
            return idle_too(messages)
        if "JSON list" in str(messages[-1].text):
            return json.dumps([{"message": 0, "quote": "one word", "occurrence": 1, "reason": "meant"}])
        if "JSON object" in str(messages[-1].text):
            return json.dumps({"1": {"new": f"one word {next(numbers)}", "reason": "meant"}})
        return "- two words mislead"

    model, budget = optimizer(always_something), Budget(search_calls=200)
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "data": rows(), "apply": "never"}
    task = Stubborn()
    result = optimize(task.chain, optimizer_model=model, openings=tmp_path / "o.jsonl", budget=budget, **given)
    assert result.stopped.kind == "budget"
    assert [e.new for e in result.edits] == ["animal", "stone"]
    assert result.usage["search_calls"] <= 200


def test_where_the_budget_ends_the_evidence_decides_and_that_is_said(tmp_path):
    most = without_pruning(tmp_path) + 20
    result = pruned(Task(), tmp_path, max_edits=2, budget=Budget(calls=most))
    assert len(result.edits) == 2
    assert result.test[0]["n"] == 40  # the share of the test is kept for it
    (said,) = [e["data"] for e in result.events() if e["type"] == "incident" and e["data"]["kind"] == "max_edits"][:1]
    assert "the budget did not cover" in said["detail"]
    assert result.usage["calls"] <= most


def test_a_prompt_that_was_written_anew_is_not_taken_apart(tmp_path):
    """Its differences to the old text mean nothing one by one; with `max_edits` that is asked for."""

    def anew(messages) -> str:
        if "<START>" not in str(messages[-1].text):
            return "- two words mislead"
        return f"<START>{PROMPT.replace('Sort', 'Order').replace('PLANT', 'animal').replace('FRUIT', 'stone')}<END>"

    def parts(**more):
        result = run(Task(), tmp_path, anew, method="pe2", **more)
        assert result.outcome == "improved"
        return [e for e in result.events() if e["type"] == "proposed" and e["data"]["part_of"]]

    assert parts() == []
    assert parts(max_edits=3)


def rewrites_asked(tmp_path, whole: str) -> int:
    """How often `robust` asks for the whole prompt, where every edit that it is given is useless."""
    asked, numbers = [], iter(range(10000))

    def answer(messages) -> str:
        request = str(messages[-1].text)
        if "<START>" in request:
            asked.append(request)
            return whole
        if '"changes"' in request:
            change = {"line": 1, "why": "meant", "old": "one word", "new": f"one word {next(numbers)}"}
            return json.dumps({"changes": [change]})
        return "two words mislead"

    run(Task(), tmp_path, answer, method="robust", budget=Budget(search_calls=600))
    return len(asked)


def test_whole_prompts_are_no_longer_asked_for_where_none_of_three_could_be_used(tmp_path):
    assert rewrites_asked(tmp_path, "I cannot do that.") == 2 * 3  # each is asked for a second time
    assert rewrites_asked(tmp_path / "b", f"<START>{PROMPT.replace('Sort', 'Please sort')}<END>") > 2 * 3
