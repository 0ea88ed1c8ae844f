"""The record read from a journal: scores, rows, rejections, usage, damage."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from langchain_promptopt.errors import DataError
from langchain_promptopt.events import event_of
from langchain_promptopt.report import wording
from langchain_promptopt.report.candidates import Tried, course
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.rows import Scorer, paired_rows
from langchain_promptopt.types import MetricEntry
from tests.support.journals import Journal, edit, improved_run, rows_of, usage


@pytest.fixture
def lines():
    return improved_run()


def test_a_finished_run_is_read_whole(lines):
    record = RunRecord.from_events(lines, rows_of(lines))
    assert record.run_id == "c0ffee12ab34cd56"
    assert record.outcome == "improved"
    assert [s.step for s in record.steps] == [0, 1, 2]
    assert [s.best for s in record.steps] == [0.5, 0.7, 0.8]
    assert [(r.rule, r.count) for r in record.rejections] == [("VARS", 2), ("unchanged", 1)]
    assert record.rejections[0].rate == pytest.approx(2 / 6)
    assert record.rejections[0].example == "lost {ticket}"
    assert record.incidents[0].kind == "rate_limit"
    assert record.damaged == ()
    assert record.words[2] == 16
    assert record.total.calls == 73
    assert record.total.usd == pytest.approx(0.0424)


def test_rows_are_paired_and_sorted_by_how_much_they_moved(lines):
    rows = RunRecord.from_events(lines, rows_of(lines)).rows["test"]
    assert [r.example_id for r in rows.worse] == ["test-7"]
    assert [r.example_id for r in rows.better] == ["test-1", "test-2", "test-4", "test-6", "test-8"]
    assert rows.same == 6
    worst = rows.worse[0]
    assert (worst.before.output, worst.after.output) == ("billing", "delivery")
    assert worst.inputs == {"ticket": "Where is my refund? (test-7)"}


def test_without_rows_given_there_are_ids_only(lines):
    row = RunRecord.from_events(lines).rows["test"].worse[0]
    assert (row.example_id, row.inputs, row.expected) == ("test-7", None, None)


def test_repeats_are_averaged_and_later_lines_replace_earlier_ones():
    def cell(candidate, repeat, score, **more):
        data = {"candidate_id": candidate, "split": "dev", "example_id": "r", "repeat": repeat}
        data |= {"scores": {"m": score}, "failure": None, "output": None, "comments": {}}
        return event_of({"type": "scored", "data": data | more})

    cells = [cell("a", 0, 1), cell("a", 1, 0), cell("b", 0, 1), cell("b", 1, 1)]
    row = paired_rows(cells, ("a", "b"), "dev", Scorer("m")).all[0]
    assert (row.before.score, row.after.score, row.change) == (0.5, 1.0, 0.5)


def test_a_row_the_prompt_broke_counts_zero_and_a_dropped_row_counts_not_at_all():
    def cells(failure):
        base = {"split": "dev", "example_id": "r", "repeat": 0, "output": None, "comments": {}}
        data = [
            base | {"candidate_id": "a", "scores": {"m": 1}, "failure": None},
            base | {"candidate_id": "b", "scores": {}, "failure": failure},
        ]
        return [event_of({"type": "scored", "data": one}) for one in data]

    broken = paired_rows(
        cells({"kind": "unparsable", "message": "", "scored_zero": True}), ("a", "b"), "dev", Scorer("m")
    )
    dropped = paired_rows(
        cells({"kind": "timeout", "message": "", "scored_zero": False}), ("a", "b"), "dev", Scorer("m")
    )
    assert [r.change for r in broken.worse] == [-1.0]
    assert (dropped.worse, dropped.same) == ((), 1)


def test_weights_decide_where_they_are_set():
    def scorer_of(gate):
        return Scorer.of(event_of({"type": "run.started", "data": {"gate": gate, "evaluators": [{"name": "a"}]}}))

    scorer = scorer_of({"weights": {"a": 3, "b": 1}})
    assert scorer.score({"a": 1.0, "b": 0.0}) == 0.75
    assert scorer_of({}).score({"b": 0.0, "a": 1.0}) == 1.0


def test_an_unfinished_run_has_no_verdict_but_a_best_and_its_cost():
    journal = Journal()
    seed = journal.start()
    journal.score(seed[0], "dev", [1, 0])
    journal.add("called", key="k", role="optimizer", step=1, reply="", usage=usage(1, 10, 5, None))
    better = journal.propose(seed, 1, edit(seed[1][0]["messages"][0]["template"], "short", "brief"))
    journal.score(better[0], "dev", [1, 1])
    record = RunRecord.from_events(journal.lines)
    assert record.outcome is None
    assert record.best_id == better[0]
    assert record.total.calls == 5
    assert record.total.usd is None
    assert wording.headline(record).title == "Not finished"


def test_a_tie_keeps_the_baseline():
    journal = Journal()
    seed = journal.start()
    journal.score(seed[0], "dev", [1, 0])
    other = journal.propose(seed, 1, edit(seed[1][0]["messages"][0]["template"], "short", "brief"))
    journal.score(other[0], "dev", [0, 1])
    record = RunRecord.from_events(journal.lines)
    assert record.best_id == seed[0]
    assert record.edits == ()
    assert record.rows == {}


def test_a_candidate_whose_text_is_not_what_its_edits_make_is_named(lines):
    proposed = next(e for e in lines if e["type"] == "proposed")
    proposed["data"]["prompts"][0]["messages"][0]["template"] += "!"
    assert RunRecord.from_events(lines).damaged == (proposed["data"]["candidate_id"],)


def test_unknown_events_are_passed_over_and_an_empty_journal_is_refused(lines):
    more = [*lines, {"seq": 999, "time": "", "type": "from.the.future", "data": {"x": 1}}]
    assert RunRecord.from_events(more).outcome == "improved"
    with pytest.raises(DataError, match=r"no run\.started"):
        RunRecord.from_events([])


def test_offline_models_are_called_simulated():
    record = RunRecord.from_events(improved_run(models={"task": "offline", "optimizer": "openai:gpt-4o"}))
    assert record.simulated == ("task",)
    assert "say nothing about real models" in wording.simulated_note(record)
    assert wording.simulated_note(RunRecord.from_events(improved_run())) == ""


@pytest.mark.parametrize("outcome", ["improved", "inconclusive", "no_gain", "budget", "interrupted", "failed"])
def test_every_outcome_has_words_of_its_own(lines, outcome):
    lines[-1]["data"]["outcome"] = outcome
    top = wording.headline(RunRecord.from_events(lines))
    assert top.title.lower() in {outcome, "not proven", "no gain", "budget spent"}
    assert ("scores higher" in top.sentence) == (outcome == "improved")


def test_watched_numbers_are_shown_in_their_own_unit():
    metric = {"metric": "output_length", "role": "warning", "baseline": 200.0, "best": 260.0, "difference": 60.0}
    metric |= {"interval": [10.0, 90.0], "p_value": 0.01, "n": 5, "verdict": "warning"}
    cells = wording.metric_cells(MetricEntry.of(metric))
    assert (cells.old, cells.new, cells.difference, cells.interval) == ("200", "260", "+30 %", "–")


def tried(name, step, score, n):
    return Tried(name, "seed", step, "spans", (), (), score, n)


def test_the_best_so_far_is_the_highest_score_where_all_saw_the_same_rows():
    found = course({t.id: t for t in (tried("seed", 0, 0.5, 80), tried("a", 1, 0.6, 80), tried("b", 2, 0.4, 80))}, {})
    assert [(s.step, s.scores, s.best) for s in found] == [(0, (0.5,), 0.5), (1, (0.6,), 0.6), (2, (0.4,), 0.6)]


def test_few_lucky_rows_of_a_race_are_no_best_so_far():
    everyone = [tried("seed", 0, 0.5, 80), tried("lucky", 1, 0.9, 16), tried("good", 2, 0.6, 80)]
    found = course({t.id: t for t in everyone}, {1: "seed", 2: "good", 3: "good"})
    assert [(s.step, s.scores, s.best) for s in found] == [
        (0, (0.5,), 0.5),
        (1, (0.9,), 0.5),
        (2, (0.6,), 0.6),
        (3, (), 0.6),
    ]


def test_how_many_more_examples_would_decide_is_said_once():
    entry = MetricEntry(metric="em", baseline=0.5, best=0.6, difference=0.1, p_value=0.3, n=40, rows_needed=1264)
    reason = SimpleNamespace(kind="not_shown", detail="a gain is not shown; about 1,264 more examples would decide")
    said = wording.evidence_text(SimpleNamespace(metrics=(entry,), reason=reason, outcome="inconclusive"))
    assert said.count("about 1,264 more examples would decide") == 1
    other = SimpleNamespace(kind="served", detail="the model changed")
    said = wording.evidence_text(SimpleNamespace(metrics=(entry,), reason=other, outcome="inconclusive"))
    assert said.count("about 1,264 more examples would decide") == 1
