"""Edits of several steps told as one: they make the final text, do not overlap, and remember where they come from."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.errors import DataError
from langchain_promptopt.events import EventTable, journal_edits, rebuild
from langchain_promptopt.types import Candidate, Edit, Message, Prompt, PromptSet, Span
from langchain_promptopt.types.edits import FinalEdit, compose, differences, final_edits, with_edits
from tests.support.journals import SYSTEM, Journal, edit, improved_run

TEXTS = st.text(st.sampled_from("ab \n🙂é"), max_size=6)


def prompts_of(text: str) -> PromptSet:
    return PromptSet((Prompt("main", (Message("system", text),)),))


def template(prompts: PromptSet) -> str:
    return prompts["main"].messages[0].template


def recorded(prompts: list[dict]) -> str:
    return template(PromptSet.from_json(prompts))


def made(prompts: PromptSet, edits) -> str:
    return template(with_edits(prompts, [e.as_edit() for e in edits]))


@st.composite
def step_edits(draw, text: str) -> list[Edit]:
    """Edits that do not overlap, insertions among them, at most one insertion a place."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    out = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        stop = draw(st.sampled_from([start, end]))
        reason = draw(st.sampled_from(["", "why"]))
        out.append(Edit(Span("main", 0, start, stop), text[start:stop], draw(TEXTS), reason, ("r1",)))
    return out


@st.composite
def histories(draw) -> tuple[str, list[tuple[str, list[Edit]]], str]:
    base = draw(st.text(st.sampled_from("abc d\n🙂"), max_size=30))
    text, steps = base, []
    for i in range(draw(st.integers(0, 4))):
        edits = draw(step_edits(text))
        steps.append((f"c{i}", edits))
        text = template(with_edits(prompts_of(text), edits))
    return base, steps, text


@settings(max_examples=400)
@given(histories())
def test_composed_edits_make_the_final_text_and_do_not_overlap(history):
    base, steps, final = history
    edits = compose(prompts_of(base), steps)
    assert made(prompts_of(base), edits) == final
    for one, two in itertools.pairwise(edits):
        assert one.end <= two.start
        assert (one.start, one.end) != (two.start, two.end)
    for e in edits:
        assert base[e.start : e.end] == e.old != e.new
        assert set(e.lineage) <= {name for name, _ in steps}
        assert e.lineage


@settings(max_examples=100)
@given(histories())
def test_text_no_step_touched_is_in_no_edit(history):
    base, steps, _ = history
    one_step = steps[:1]
    touched = {i for _, edits in one_step for e in edits for i in range(e.span.start, e.span.end)}
    composed = {i for e in compose(prompts_of(base), one_step) for i in range(e.start, e.end)}
    assert composed <= touched


@given(TEXTS, st.text(st.sampled_from("ab ,.\n🙂é"), max_size=8), st.text(st.sampled_from("ab ,.\n🙂é"), max_size=8))
def test_the_core_of_an_edit_is_the_edit_without_shared_words(shared, old, new):
    edit_ = FinalEdit("p", 0, 0, len(shared + old), shared + old, shared + new)
    head, removed, added, tail = edit_.core
    assert (head + removed + tail, head + added + tail) == (edit_.old, edit_.new)


def test_whole_words_are_shown():
    assert FinalEdit("p", 0, 0, 5, "error", "error, pages").core == ("error", "", ", pages", "")
    assert FinalEdit("p", 0, 0, 4, "test", "text").core == ("", "test", "text", "")
    assert FinalEdit("p", 0, 0, 9, "be briefly", "be brief").core == ("be ", "briefly", "brief", "")


def test_an_edit_of_an_edit_keeps_both_reasons_and_ids():
    edits = journal_edits(EventTable(improved_run()), improved_run()[-1]["data"]["best_candidate_id"])
    assert [(e.old, e.new) for e in edits] == [
        ("is always billing", "is billing only when money was taken or is missing"),
        ("the first one in the list", "the one the customer asks to be solved"),
    ]
    assert len(edits[0].lineage) == 2
    assert len(edits[0].reasons) == 2
    assert edits[0].example_ids == ("train-3", "train-9", "train-17", "train-21")
    assert len(edits[1].lineage) == 1


def test_what_was_taken_back_is_no_edit():
    journal = Journal()
    seed = journal.start()
    there = journal.propose(seed, 1, edit(SYSTEM, "be short", "be brief"))
    text = recorded(there[1])
    back = journal.propose(there, 2, edit(text, "be brief", "be short"), edit(text, "Read", "Skim"))
    assert [(e.old, e.new) for e in journal_edits(EventTable(journal.lines), back[0])] == [("Read", "Skim")]


def test_a_candidate_from_nothing_is_told_as_a_difference():
    journal = Journal()
    seed = journal.start()
    fresh = [
        {**seed[1][0], "messages": [{"role": "system", "template": "Sort: one label."}, seed[1][0]["messages"][1]]}
    ]
    journal.add("proposed", parent_id="", candidate_id="fresh", step=0, scope="global", edits=[], prompts=fresh)
    edits = journal_edits(EventTable(journal.lines), "fresh")
    assert made(PromptSet.from_json(seed[1]), edits) == "Sort: one label."
    assert {e.lineage for e in edits} == {("fresh",)}


@given(st.text(max_size=40), st.text(max_size=40))
def test_differences_turn_one_text_into_the_other(old, new):
    edits = differences(prompts_of(old), prompts_of(new), "c")
    assert made(prompts_of(old), edits) == new


def test_candidates_give_the_same_edits_as_their_journal():
    lines = improved_run()
    proposed = {e["data"]["candidate_id"]: e["data"] for e in lines if e["type"] == "proposed"}

    def prompt_set(data) -> PromptSet:
        messages = tuple(Message(m["role"], m["template"]) for m in data[0]["messages"])
        return PromptSet((Prompt("main", messages),))

    baseline = Candidate(prompt_set(lines[0]["data"]["prompts"]))
    ids = {lines[0]["data"]["seed_candidate_id"]: baseline.id}
    known: dict[str, Candidate] = {}
    for name, data in proposed.items():
        edits = tuple(Edit.from_json(e) for e in data["edits"])
        child = Candidate(prompt_set(data["prompts"]), parents=(ids[data["parent_id"]],), edits=edits)
        ids[name], known[child.id] = child.id, child
    best = known[ids[lines[-1]["data"]["best_candidate_id"]]]
    told = final_edits(baseline, best, known)
    assert baseline.prompts.apply(told).id == best.id
    assert [(e.old, e.new) for e in told] == [
        (e.old, e.new) for e in journal_edits(EventTable(lines), lines[-1]["data"]["best_candidate_id"])
    ]
    assert final_edits(baseline, baseline, known) == ()
    lone = Candidate(best.prompts)
    assert baseline.prompts.apply(final_edits(baseline, lone, {})).id == best.id


def test_every_candidate_is_rebuilt_from_parent_and_edits_alone():
    lines = improved_run()
    wanted = {e["data"]["candidate_id"]: e["data"]["prompts"] for e in lines if e["type"] == "proposed"}
    for event in lines:
        if event["type"] == "proposed":
            event["data"]["prompts"] = []  # not read
    found = rebuild(EventTable(lines))
    assert wanted
    for name, prompts in wanted.items():
        assert found[name].as_json() == prompts


def test_a_journal_that_does_not_fit_itself_is_refused():
    lines = improved_run()
    proposed = next(e for e in lines if e["type"] == "proposed")
    proposed["data"]["edits"][0]["old"] = "something else"
    with pytest.raises(DataError, match="does not fit the parent's text"):
        rebuild(EventTable(lines))
    proposed["data"]["edits"][0]["message"] = 7
    with pytest.raises(DataError, match="names message 7"):
        rebuild(EventTable(lines))
