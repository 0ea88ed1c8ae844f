"""The engine's numbered tests (algorithms 5.5): N1, N3-N8, N10, and LPO's L9 and L11.

N2 and N9 stand with the planted world.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from langchain_promptopt import Budget
from langchain_promptopt.errors import PromptOptError, RecipeError
from langchain_promptopt.presets import PRESETS, gpo, lpo_pe2, pe2, recipe_of
from langchain_promptopt.recipe import Recipe
from langchain_promptopt.steps import GlobalProposal, LocalProposal
from langchain_promptopt.steps.base import spans_of
from langchain_promptopt.strategies.memory import Recency
from langchain_promptopt.strategies.registry import dump, load
from langchain_promptopt.strategies.scope import RandomSpans, Spans
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Candidate, Edit, Message, Prompt, PromptSet, Workpiece
from tests.support.runs import of_type, run
from tests.support.tasks import PROMPT, chain, improve, optimizer, rows


def helpful(messages):
    """Answers every kind of request of every preset."""
    request = str(messages[-1].text)
    if "JSON object" in request:
        found = re.findall(r'^(\d+) \(message 0\): (".*")$', request, re.M)
        fixed = {
            n: {"new": json.loads(old).replace("a PLANT", "an animal").replace("PLANT", "animal")} for n, old in found
        }
        return json.dumps(fixed or {"1": {"new": "animal"}})
    if "What was the instruction?" in request:
        return "<START>Call every animal an animal. Call every stone a stone. Answer with one word.<END>"
    return improve(messages)


@pytest.mark.parametrize("name", PRESETS)
def test_N1_every_preset_runs_offline(name):
    recipe = recipe_of(name)
    if recipe.stop.total(12) > 8:
        recipe = replace(recipe, stop=Steps(limit=3))
    result = run(recipe, optimizer(helpful))
    # 40 test examples cannot show that nothing was lost, however short the prompt
    assert result.outcome == ("inconclusive" if recipe.shortens else "improved"), name
    assert result.best["main"].variables == ("word",)


@pytest.mark.parametrize("name", ["lpo-pe2", "pe2", "gpo"])
def test_N3_calls_metered_are_calls_seen(name):
    model, task = optimizer(), []

    def counting(messages):
        from tests.support.tasks import answer

        task.append(1)
        return answer(messages)

    result = run(name, model, target=chain(counting))
    assert result.usage["by_role"]["optimizer"]["calls"] == len(model.calls)
    assert result.usage["by_role"]["task"]["calls"] == len(task)
    assert result.usage["calls"] == len(task) + len(model.calls)


def test_N4_changing_one_axis_changes_only_its_transcript_entries():
    plain = run(replace(pe2(), stop=Steps(limit=1)))
    remembering = run(replace(pe2(), stop=Steps(limit=1), memory=Recency(pool="all")))
    kinds = [
        {json.dumps(d, sort_keys=True) for d in of_type(r, "scored") if d["split"] != "test"}
        for r in (plain, remembering)
    ]
    strip = [re.sub(r'"usage": \{[^}]*\}', "", line) for line in sorted(kinds[0])]
    assert strip == [re.sub(r'"usage": \{[^}]*\}', "", line) for line in sorted(kinds[1])]
    assert not of_type(plain, "retrieved")
    assert of_type(remembering, "retrieved")


@pytest.mark.parametrize("name", PRESETS)
def test_N5_recipes_round_trip_as_plain_values(name):
    recipe = recipe_of(name)
    text = json.dumps(dump(recipe))
    assert load(json.loads(text)) == recipe


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(skope={}), "scope"),
        (lambda d: d["scope"].update(kind="Span"), "Spans"),
        (lambda d: d["scope"].update(w_mx=3), "w_max"),
        (lambda d: d.pop("final"), "final"),
        (lambda d: d["search"].update(kind="Pareto"), "Beam"),
    ],
)
def test_N5_unknown_keys_fail_and_name_the_nearest(change, says):
    data = dump(lpo_pe2())
    change(data)
    with pytest.raises(RecipeError, match=says):
        load(data)


def test_N6_reading_test_rows_before_the_gate_raises():
    from dataclasses import dataclass

    from langchain_promptopt.strategies.selection import BestVal

    @dataclass(frozen=True)
    class Peeking(BestVal):
        def pick(self, trajectory, val, seed_id):
            import gc

            from langchain_promptopt._engine.context import Run

            live = [o for o in gc.get_objects() if isinstance(o, Run) and o.state.step > 0 and not o.state.test_open]
            live[-1].examples("test")
            return super().pick(trajectory, val, seed_id)

    with pytest.raises(PromptOptError, match="test split was read"):
        run(replace(pe2(), final=Peeking()))


def test_N7_a_spent_budget_gives_the_best_so_far_flagged():
    result = run("lpo-pe2", budget=Budget(search_calls=16 + 12 + 2 * 16))
    assert result.outcome == "improved"
    assert any(e["kind"] == "budget" and "2 proposals" in e["detail"] for e in of_type(result, "incident"))
    nothing = run("lpo-pe2", budget=Budget(search_calls=30))
    assert (nothing.outcome, nothing.exit_code) == ("budget", 4)
    assert nothing.best.id == nothing.baseline.id


def test_N8_the_order_of_the_rows_does_not_matter():
    one, other = run("lpo-pe2"), run("lpo-pe2", data=rows()[::-1])
    assert one.best.id == other.best.id
    assert one.test == other.test


@pytest.mark.parametrize("name", ["lpo-pe2", "lpo-apo", "lpo-gpo", "robust", "lpo-opro"])
def test_N10_local_and_vars_hold_over_the_whole_lineage(name):
    recipe = recipe_of(name)
    if recipe.stop.total(12) > 8:
        recipe = replace(recipe, stop=Steps(limit=3))
    result = run(recipe, optimizer(helpful))
    seed = result.baseline
    known = {seed.id: seed}
    spans = {}
    for event in result.events():
        data = event["data"]
        if event["type"] == "identified":
            marked = {(s["message"], s["start"], s["end"]) for s in data["spans"]}
            spans.setdefault(data["candidate_id"], []).append(marked)
        if event["type"] == "proposed":
            parent = known[data["parent_id"]]
            edits = [Edit.from_json(e) for e in data["edits"]]
            child = parent.apply(edits)
            assert child.id == data["candidate_id"]
            assert [m["template"] for m in data["prompts"][0]["messages"]] == [
                m.template for m in child["main"].messages
            ]
            assert child["main"].signature == seed["main"].signature
            if data["scope"] == "spans":
                places = {(e.span.message, e.span.start, e.span.end) for e in edits}
                assert any(places <= marked for marked in spans[data["parent_id"]])
            known[child.id] = child


def test_random_spans_are_a_control_that_needs_no_identify_call():
    model = optimizer(helpful)
    result = run(replace(lpo_pe2(), scope=RandomSpans()), model)
    assert not any("to blame" in str(call[-1].text) for call in model.calls)
    assert of_type(result, "identified")


def test_L9_one_span_over_everything_equals_global():
    text = "Sort the words. Call every animal a PLANT. Be quick."
    prompts = PromptSet((Prompt("main", (Message("human", text),)),))
    better = "Sort all words. Call every animal an animal. Be quick."
    whole = GlobalProposal(model=ScriptedModel(fn=lambda _: f"<START>{better}<END>")).invoke(Workpiece(prompts))
    everything = spans_of(prompts, prompts.document.editable)
    piece = Workpiece(prompts, spans=everything, tagged=f"<edit>{text}</edit>")
    local = LocalProposal(model=ScriptedModel(fn=lambda _: better), protocol="reply").invoke(piece)
    assert local.drafts[0].prompts.id == whole.drafts[0].prompts.id
    assert local.drafts[0].prompts["main"].messages[0].template == better


def test_L10_without_enforcement_local_is_violated():
    """The ablation shows that the guard bites: `off` lets text outside the span change, `strict` does not."""

    def rewrites_all(messages):
        request = str(messages[-1].text)
        if "Reply with the whole prompt" in request:
            return PROMPT.replace("PLANT", "animal").replace("Answer with one word", "Say one word only")
        return improve(messages)

    def outside(enforce):
        recipe = lpo_pe2()
        recipe = replace(recipe, refine=replace(recipe.refine, protocol="reply", enforce=enforce), stop=Steps(limit=1))
        result = run(recipe, optimizer(rewrites_all))
        texts = [p["prompts"][0]["messages"][0]["template"] for p in of_type(result, "proposed")]
        assert texts
        return [t for t in texts if "Answer with one word" not in t]

    assert outside("off")
    assert outside("audit")
    assert not outside("strict")


def test_L11_local_reaches_the_optimum_in_one_step_and_random_rewriting_does_not():
    number = iter(range(10_000))

    def random_rewrite(messages):
        if "<START>" not in str(messages[-1].text):
            return improve(messages)
        prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
        return f"<START>{prompt.replace('You sort words', f'You sort words, attempt {next(number)}')}<END>"

    local = run(replace(lpo_pe2(), stop=Steps(limit=1)))
    whole = run(replace(pe2(), stop=Steps(limit=3)), optimizer(random_rewrite))
    best = {r.run_id: max(e["score"] for e in of_type(r, "evaluated") if e["split"] == "dev") for r in (local, whole)}
    assert best[local.run_id] == 1.0
    assert best[whole.run_id] == 0.5


def test_a_recipe_is_one_field_away_from_local():
    recipe: Recipe = replace(gpo(), scope=Spans())
    axes = [a for a in recipe.axes() if recipe.axes()[a] != gpo().axes()[a]]
    assert axes == ["scope"]


def test_presets_differ_from_their_bases_in_the_axes_they_say():
    from langchain_promptopt import presets

    def changed(a, b):
        return [axis for axis in a.axes() if a.axes()[axis] != b.axes()[axis]]

    assert changed(presets.lpo_pe2(), presets.pe2()) == ["scope"]
    assert changed(presets.lpo_apo(), presets.apo_pe2()) == ["scope"]
    assert changed(presets.apo_pe2(), presets.pe2()) == ["feedback"]
    assert changed(presets.lpo_ape(), presets.ape_iter()) == ["evidence", "scope"]
    assert changed(presets.lpo_ape_blind(), presets.ape_iter()) == ["scope"]
    assert changed(presets.lpo_opro(), presets.opro()) == ["memory", "scope", "stop"]
    assert changed(presets.lpo_gpo(), presets.gpo()) == ["evidence", "scope", "control"]
    assert changed(presets.gpo_code(), presets.gpo()) == ["memory", "incumbent", "stop"]
    for name, preset in presets.PRESETS.items():
        print(name, changed(preset(), presets.pe2()))


def test_each_candidate_is_rebuilt_from_its_parent_and_edits_in_the_journal():
    from langchain_promptopt.events import EventTable, rebuild

    result = run("lpo-pe2")
    events = list(result.events())
    built = rebuild(EventTable(events))
    proposed = of_type(result, "proposed")
    assert proposed
    for data in proposed:
        assert [m.template for m in built[data["candidate_id"]].messages] == [
            m["template"] for p in data["prompts"] for m in p["messages"]
        ]


def test_a_candidate_is_its_content():
    prompts = PromptSet((Prompt("main", (Message("human", "Be brief. {q}"),)),))
    again = PromptSet((Prompt("main", (Message("human", "Be brief. {q}"),), source="elsewhere"),))
    assert Candidate(prompts).id == Candidate(again, step=4).id
    assert Candidate(prompts).id != Candidate(PromptSet((Prompt("other", prompts["main"].messages),))).id
