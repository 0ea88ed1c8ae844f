"""Score against length and cost: the candidates that none beats in all three."""

from __future__ import annotations

import io
import json
import pickle

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from rich.console import Console

from langchain_promptopt import compare, optimize
from langchain_promptopt.optimizer.answer import of_record
from langchain_promptopt.report.record import RunRecord, Tradeoff
from langchain_promptopt.report.terminal import run_view
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, improve, optimizer, rows
from tests.unit.test_shorten import LONG


def run(method="lpo-pe2", text=PROMPT, fn=improve, **more):
    task = ChatPromptTemplate.from_template(text) | ScriptedModel(fn=answer, model_name="task") | StrOutputParser()
    given = {"evaluators": ["exact_match"], "runs_dir": None, "openings": None, "data": rows(test=100)}
    return optimize(task, method=method, optimizer_model=optimizer(fn), **(given | more))


def shorter(**more):
    """A run that tries many shorter prompts, better and worse ones."""
    return run("shorten", LONG, lambda messages: "nothing", **more)


def test_the_new_prompt_stands_beside_the_old_one():
    result = run()
    new, old = result.pareto
    assert (new.best, new.baseline, old.best, old.baseline) == (True, False, False, True)
    assert (new.score, old.score, new.n, old.n) == (1.0, 0.5, 16, 16)
    assert (new.tokens, old.tokens) == (result.best.tokens, result.baseline.tokens)
    assert new.prompts.id == result.best.id
    assert new.front


def test_no_candidate_of_the_front_is_beaten_and_what_is_left_out_is():
    result = shorter()
    found = result.pareto
    front = [t for t in found if t.front]
    assert any(t.score < 1.0 for t in front)  # shorter still, and worse
    assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    for one in front:
        assert not any(other.beats(one) for other in found)
    (old,) = [t for t in found if t.baseline]
    assert not old.front  # a shorter prompt scores the same
    tried = {e["data"]["candidate_id"] for e in result.events() if e["type"] == "proposed"}
    assert len(found) < len(tried)


@pytest.mark.parametrize(
    ("a", "b", "beats"),
    [
        ((0.9, 100, 1.0), (0.8, 100, 1.0), True),
        ((0.9, 100, 1.0), (0.9, 100, 1.0), False),
        ((0.9, 100, 1.0), (0.8, 90, 1.0), False),
        ((0.9, 100, 2.0), (0.9, 110, 1.0), False),
        ((0.9, 100, None), (0.9, 110, 1.0), True),
        ((0.9, 100, 1.0), (0.9, 100, 2.0), True),
    ],
)
def test_beating_is_in_all_three(a, b, beats):
    one, other = (Tradeoff("x", 1, score, 10, tokens, usd) for score, tokens, usd in (a, b))
    assert one.beats(other) is beats


def test_candidates_that_saw_other_examples_are_compared_by_differences():
    def scored(candidate, example, value):
        data = {"candidate_id": candidate, "split": "dev", "example_id": example, "repeat": 0, "scores": {"em": value}}
        more = {"comments": {}, "failure": None, "cached": False, "usage": None, "model_served": None, "output": ""}
        return "scored", data | more

    result = run()
    events = [dict(e) for e in result.events() if e["type"] in {"run.started", "proposed", "evaluated"}]
    seed, child = result.baseline.id, result.best.id
    rows_ = [scored(seed, "a", 1.0), scored(seed, "b", 0.0), scored(child, "b", 1.0)]
    for name, data in rows_:
        data["scores"] = {"exact_match": data["scores"]["em"]}
        events.append({"seq": len(events), "time": events[0]["time"], "type": name, "data": data})
    record = RunRecord.from_events(events)
    found = {t.candidate_id: (t.score, t.n) for t in record.pareto}
    assert found == {child: (1.0, 1), seed: (0.5, 2)}  # one example more right is 1.5, and no score is above 1


def test_a_part_of_the_edits_tried_on_the_examples_that_they_decided_is_left_out():
    """Its score is of a few examples that were chosen for it, so it stands beside no other."""
    events = [dict(e) for e in run().events() if e["type"] in {"run.started", "proposed", "evaluated", "scored"}]
    (made,) = [e for e in events if e["type"] == "proposed"][:1]
    whole = made["data"]["candidate_id"]
    (row, *_) = [e for e in events if e["type"] == "scored" and e["data"]["candidate_id"] == whole]
    before = {t.candidate_id for t in RunRecord.from_events(events).pareto}

    def told(event, **changes):
        events.append({**event, "seq": len(events), "data": {**event["data"], "candidate_id": "part", **changes}})

    told(made, part_of=whole)
    told(row, split="dev", scores={"exact_match": 1.0})
    mean = {"split": "dev", "n": 1, "score": 1.0, "failures": 0, "cached": 0, "usage": {}}
    told({**row, "type": "evaluated", "data": {}}, **mean)
    record = RunRecord.from_events(events)
    assert record.candidates["part"].score == 1.0
    assert {t.candidate_id for t in record.pareto} == before
    assert record.best_id != "part"


def test_every_face_shows_it(tmp_path):
    result = shorter()
    told = [t.as_json() for t in result.pareto]
    assert result.as_json()["pareto"] == told
    assert json.loads(json.dumps(told)) == told
    assert "prompts" not in told[0]
    assert of_record(RunRecord.from_events(result.events())).as_json()["pareto"] == told
    assert [t.as_json() for t in pickle.loads(pickle.dumps(result)).pareto] == told
    markdown = result.report(tmp_path / "r.md").read_text()
    assert "### Score against length and cost" in markdown
    assert f"| new prompt | 100.0 | 16 | {result.best.tokens} |" in markdown
    assert "only the new prompt was tested" in markdown
    page = result.report(tmp_path / "r.html").read_text()
    assert "<h2>Score against length and cost</h2>" in page
    assert "another is better" in page
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(run_view(RunRecord.from_events(result.events())))
    assert "Score against length and cost" in console.export_text()


def test_a_candidate_that_breaks_what_must_pass_is_not_offered():
    data = rows(test=100)
    for row in data:
        row["metadata"]["critical"] = row["metadata"]["id"] in {"dev-0", "dev-1"}
    free, kept = shorter(data=data), shorter(data=data, must_pass="critical")
    assert any(t.score < 1.0 for t in free.pareto)
    broken = {
        d["candidate_id"]
        for e in kept.events()
        if e["type"] == "selected"
        for d in e["data"]["dropped"]
        if d["why"].endswith("wrong, which must pass")
    }
    assert broken
    assert not broken & {t.candidate_id for t in kept.pareto}


def test_a_comparison_and_a_run_without_gain_have_nothing_to_choose_between(tmp_path):
    model = ScriptedModel(fn=answer, model_name="task")
    given = {"evaluators": ["exact_match"], "task_model": model, "runs_dir": None, "openings": None}
    result = compare(PROMPT, PROMPT.replace("PLANT", "animal"), data=rows(), **given)
    assert result.pareto == ()
    assert "Score against length" not in result.report(tmp_path / "r.md").read_text()
