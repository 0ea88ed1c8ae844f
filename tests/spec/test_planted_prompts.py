"""The prompts with planted faults: places are exact, the right fix is told from a wrong one, the sets are sound."""

from __future__ import annotations

import string
from collections import Counter

import pytest

from benchmarks.real_models.held_out import HELD_OUT
from benchmarks.real_models.prompts import TUNING, Fault, Planted, elsewhere, repaired, sentence_of
from benchmarks.real_models.second_held_out import SECOND_HELD_OUT

ALL = (*TUNING, *HELD_OUT, *SECOND_HELD_OUT)
FAULTS = [pytest.param(p, f, id=f"{p.name}-{n}") for p in ALL for n, f in enumerate(p.faults)]

LOOSE = {("bank-desk", 0), ("correo", 1)}
"""Tuning faults whose line names the right word in another place, so that taking out the wrong one is enough."""


def ways(fault: Fault) -> list[str]:
    """The right words, one string for each way to write them."""
    return [way.strip() for way in fault.right.split("/")]


@pytest.mark.parametrize(("planted", "fault"), FAULTS)
def test_a_fault_stands_where_it_says(planted: Planted, fault: Fault) -> None:
    assert planted.text[fault.start : fault.end] == fault.wrong
    assert planted.marked.count(f"[[{fault.wrong}=>{fault.right}]]") >= 1
    assert fault.wrong not in ways(fault)


@pytest.mark.parametrize(("planted", "fault"), FAULTS)
def test_only_the_right_words_in_the_right_place_repair_a_fault(planted: Planted, fault: Fault) -> None:
    for way in ways(fault):
        assert repaired(planted, fault, [(fault.start, fault.end, way)])
        assert elsewhere(planted, fault, [(fault.start, fault.end, way)]) == 0
    assert not repaired(planted, fault, [])
    if (planted.name, planted.faults.index(fault)) not in LOOSE:
        assert not repaired(planted, fault, [(fault.start, fault.end, "")])
        assert not repaired(planted, fault, [(fault.start, fault.end, "something else")])
    assert not repaired(planted, fault, [(fault.start, fault.end, f"{ways(fault)[0]} {fault.wrong}")])
    for other in planted.faults:
        if other is not fault:
            assert not repaired(planted, fault, [(other.start, other.end, ways(fault)[0])])
            both = [(f.start, f.end, "x") for f in (fault, other)]
            assert elsewhere(planted, fault, both) == (sentence_of(planted, fault) != sentence_of(planted, other))


@pytest.mark.parametrize("planted", ALL, ids=lambda p: p.name)
def test_a_prompt_is_a_template_with_one_variable_and_no_marks(planted: Planted) -> None:
    assert not any(mark in planted.text for mark in ("[[", "]]", "=>"))
    fields = [field for _, field, _, _ in string.Formatter().parse(planted.text) if field is not None]
    assert len(fields) == 1
    assert fields[0].isidentifier()
    assert planted.kind in {"routing", "rule", "format", "extraction"}


@pytest.mark.parametrize("planted", ALL, ids=lambda p: p.name)
def test_each_fault_has_three_cases_that_no_other_example_repeats(planted: Planted) -> None:
    assert all(len(fault.cases) == 3 for fault in planted.faults)
    assert all(expected != answer for fault in planted.faults for _, expected, answer in fault.cases)
    given = [case[0] for fault in planted.faults for case in fault.cases] + [given for given, _ in planted.kept]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("planted", [p for p in ALL if p.kind == "routing"], ids=lambda p: p.name)
def test_routing_cases_answer_with_the_words_of_their_fault(planted: Planted) -> None:
    for fault in planted.faults:
        assert {(expected, answer) for _, expected, answer in fault.cases} == {(fault.right, fault.wrong)}
    for _, answer in planted.kept:
        assert answer in planted.text


def test_the_sets_are_as_large_as_they_say_and_share_no_name() -> None:
    assert (len(TUNING), sum(len(p.faults) for p in TUNING)) == (17, 49)
    assert (len(HELD_OUT), sum(len(p.faults) for p in HELD_OUT)) == (14, 45)
    assert len({p.name for p in ALL}) == len(ALL)


def test_the_held_out_prompts_mix_kinds_languages_and_lengths() -> None:
    assert Counter(p.kind for p in HELD_OUT) == {"routing": 6, "rule": 5, "format": 2, "extraction": 1}
    assert Counter(p.language for p in HELD_OUT) == {"en": 9, "de": 1, "es": 1, "fr": 1, "it": 1, "ja": 1}
    assert not LOOSE & {(p.name, n) for p in HELD_OUT for n in range(len(p.faults))}
    assert all(40 <= p.words <= 400 for p in HELD_OUT)
    assert sum(p.words >= 200 for p in HELD_OUT if p.language != "ja") == 3
