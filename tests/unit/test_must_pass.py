"""`must_pass`: a candidate that gets a tagged example wrong which the old prompt gets right is out, everywhere."""

from __future__ import annotations

import json

import pytest

from langchain_promptopt import compare, optimize
from langchain_promptopt._data import must_pass_of
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.gate import PairedRow, Pairs, decide
from langchain_promptopt.ports import DataSet
from langchain_promptopt.recipe import Gate
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Example, broken
from tests.support.tasks import PROMPT, answer, chain, improve, optimizer, rows


def tagged(*ids: str, tag: str = "critical") -> list[dict]:
    """The rows of the tiny task, some of them tagged."""
    found = rows()
    for row in found:
        if row["metadata"]["id"] in ids:
            row["metadata"][tag] = True
    return found


def two_faced(messages) -> str:
    """As `improve`, but what it writes for the animals spoils the stones."""
    request = str(messages[-1].text)
    if "JSON list" in request:
        marks = [("PLANT", "animals are no plants"), ("a stone. Answer", "shorter")]
        return json.dumps([{"message": 0, "quote": q, "occurrence": 1, "reason": r} for q, r in marks])
    if "JSON object" in request:
        new = {"1": {"new": "animal", "reason": "a"}, "2": {"new": "a rock. Answer", "reason": "b"}}
        return json.dumps(new)
    return improve(messages)


def run(data, fn=improve, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None, "apply": "never"}
    return optimize(chain(), data=data, optimizer_model=optimizer(fn), **(given | more))


def of(result, kind):
    return [e["data"] for e in result.events() if e["type"] == kind]


# ------------------------------------------------------------------ which examples carry the tag


@pytest.mark.parametrize(
    "metadata",
    [
        {"critical": True},
        {"critical": 1},
        {"critical": "yes"},
        {"tags": ["critical", "x"]},
        {"tags": "x, critical"},
        {"tag": "critical"},
        {"dataset_split": ["dev", "critical"]},
    ],
)
def test_a_tag_is_read_from_metadata(metadata):
    carries, not_ = Example("a", {"q": 1}, {}, metadata), Example("b", {"q": 2}, {}, {"critical": "false", "tags": []})
    assert must_pass_of(DataSet({"dev": (carries, not_)}, "here"), "critical").ids == {"dev": ("a",)}


def test_a_column_of_flat_rows_is_a_tag_and_is_not_called_unused(tmp_path):
    data = [
        {"word": r["inputs"]["word"], "answer": r["outputs"]["answer"], "split": r["metadata"]["split"]} for r in rows()
    ]
    for i, row in enumerate(data):
        row["keep"] = i == 1
    result = run(data, must_pass="keep")
    assert any("examples that must pass (keep): train 1" in w for w in result.warnings)
    assert not any("not used: keep" in w for w in result.warnings)
    assert any("not used: keep" in w for w in run(data).warnings)


def test_a_tag_that_no_example_carries_names_the_nearest():
    model = optimizer()
    with pytest.raises(DataError, match=r"no example carries the tag 'critcal'.*Did you mean 'critical'"):
        optimize(
            chain(),
            data=[r | {"metadata": r["metadata"] | {"tags": ["critical"]}} for r in rows()],
            evaluators=["exact_match"],
            optimizer_model=model,
            must_pass="critcal",
        )
    assert model.calls == []
    with pytest.raises(ConfigError, match="must_pass cannot be 3"):
        run(rows(), must_pass=3)


# ------------------------------------------------------------------ before the gate


def test_a_candidate_that_breaks_one_is_out_before_it_is_compared():
    free = run(tagged("dev-0"), two_faced)
    assert any("rock" in e.new for e in free.edits) or len(of(free, "proposed")) > 0
    result = run(tagged("dev-0", "dev-1"), two_faced, must_pass="critical")
    bad = [d["candidate_id"] for d in of(result, "proposed") if "rock" in d["prompts"][0]["messages"][0]["template"]]
    assert bad
    told = [d["detail"] for d in of(result, "rejected") if d["rule"] == "must_pass"]
    assert f"candidate {bad[0]} gets example dev-0 wrong, which must pass" in told
    assert all(d["candidate_id"] not in bad for d in of(result, "evaluated") if d["split"] == "test")
    whys = {d["candidate_id"]: d["why"] for s in of(result, "selected") for d in s["dropped"]}
    assert whys[bad[0]] == "gets example dev-0 wrong, which must pass"
    assert "rock" not in json.dumps(result.best.as_json())
    assert any(r["rule"] == "must_pass" for r in result.as_json()["health"]["rules"])


def test_examples_that_the_old_prompt_gets_wrong_rule_out_nobody_and_are_named():
    result = run(tagged("dev-1", "test-1"), must_pass="critical")
    assert result.outcome == "improved"
    assert any("the old prompt gets example dev-1 wrong, which must pass; that rules out" in w for w in result.warnings)


def test_the_tag_and_its_examples_are_part_of_the_run_id():
    plain, one = run(tagged("dev-0")), run(tagged("dev-0"), must_pass="critical")
    two = run(tagged("dev-0", "dev-2"), must_pass="critical")
    assert len({plain.run_id, one.run_id, two.run_id}) == 3
    assert plain.run_id == run(rows()).run_id


def test_an_example_of_val_keeps_a_candidate_from_the_test():
    data = tagged()
    val = [
        {"word": "dog-val-0", "a": "PLANT"},
        {"word": "cat-val-1", "a": "animal"},
        {"word": "cow-val-2", "a": "animal"},
    ]
    for i, row in enumerate(val):
        more = {"critical": i == 0, "split": "val", "id": f"val-{i}"}
        data.append({"inputs": {"word": row["word"]}, "outputs": {"answer": row["a"]}, "metadata": more})
    assert run(data).outcome == "improved"
    result = run(data, must_pass="critical")
    assert (result.outcome, result.edits) == ("no_gain", ())
    assert any("gets example val-0 wrong" in d["detail"] for d in of(result, "rejected"))


def test_a_winner_that_max_edits_would_break_is_not_taken():
    def twins(messages):
        """Two edits that are right together: without the first the stones go wrong."""
        request = str(messages[-1].text)
        words = [("sort", "order"), ("PLANT", "animal")]
        if "JSON list" in request:
            return json.dumps([{"message": 0, "quote": q, "occurrence": 1, "reason": "r"} for q, _ in words])
        if "JSON object" in request:
            return json.dumps({str(i): {"new": new, "reason": "r"} for i, (_, new) in enumerate(words, 1)})
        return improve(messages)

    def says(messages):
        text = str(messages[-1].text)
        return "rock" if "opal" in text and "a animal" in text and "order" not in text else answer(messages)

    def best(**more):
        given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None}
        task, model = chain(says), optimizer(twins)
        return optimize(task, data=tagged("dev-0"), optimizer_model=model, apply="never", max_edits=1, **(given | more))

    assert [e.new for e in best().edits] == ["animal"]
    result = best(must_pass="critical")
    assert result.edits == ()
    (said,) = [d["detail"] for d in of(result, "incident") if d["kind"] == "max_edits"]
    assert said == "with at most 1 edit the new prompt gets example dev-0 wrong, which must pass"


# ------------------------------------------------------------------ in the verdict


def test_the_verdict_says_that_a_test_example_was_broken(tmp_path):
    data = tagged("test-0")
    for row in data:  # one stone of the test asks for what the new prompt no longer says
        if row["metadata"]["id"] == "test-0":
            row["inputs"]["word"], row["outputs"]["answer"] = "dog-test-0", "PLANT"
    result = run(data, must_pass="critical", runs_dir=tmp_path / "runs", openings=tmp_path / "o.jsonl")
    assert (result.outcome, result.exit_code) == ("no_gain", 3)
    assert result.test[0]["verdict"] == "improved"
    assert result.reason.kind == "must_pass_broken"
    assert "gets example test-0" in result.reason.detail
    assert not result.gate_passed
    assert any("only test examples carry" in w for w in result.warnings)
    assert result.as_json()["reason"]["kind"] == "must_pass_broken"
    for name in ("report.md", "report.html", "report.xml"):
        assert "must_pass_broken" in (text := result.report(tmp_path / name).read_text()) or "must pass" in text
    assert "gets an example wrong that must pass" in result.report(tmp_path / "again.md").read_text()


def test_compare_looks_at_them_too():
    data = [r for r in tagged("test-0") if r["metadata"]["split"] == "test"]
    worse = PROMPT.replace("a PLANT", "an animal").replace("stone a stone", "stone a rock")
    model = ScriptedModel(fn=answer, model_name="task")
    given = {"evaluators": ["exact_match"], "task_model": model, "runs_dir": None, "openings": None}
    result = compare(PROMPT, worse, data=data, must_pass="critical", **given)
    assert result.reason.kind == "must_pass_broken"
    assert compare(PROMPT, worse, data=data, **given).reason.kind != "must_pass_broken"


def pairs(*scores, required=()):
    """Rows with the score of the old and of the new prompt."""
    made = [
        PairedRow(example_id=f"r{i}", cluster=f"r{i}", baseline={"em": (a,)}, candidate={"em": (b,)})
        for i, (a, b) in enumerate(scores)
    ]
    return Pairs(rows=tuple(made), metrics=("em",), required=required)


GAIN = [(0.0, 1.0)] * 20 + [(1.0, 0.0)] + [(1.0, 1.0)] * 5 + [(0.0, 0.0)]


@pytest.mark.parametrize(
    ("required", "verdict", "kind"),
    [
        ((), "improved", "shown"),
        (("r22",), "improved", "shown"),  # right on both
        (("r26",), "improved", "shown"),  # wrong on both: said, no more
        (("r20",), "no_gain", "must_pass_broken"),
        (("lost",), "inconclusive", "must_pass_not_shown"),
    ],
)
def test_the_gate_knows_what_must_pass(required, verdict, kind):
    found = decide(pairs(*GAIN, required=required), Gate())
    assert (found.verdict, found.reason.kind) == (verdict, kind)
    assert any("both prompts get example r26 wrong" in w for w in found.warnings) == (required == ("r26",))


def test_only_a_full_score_counts_as_right():
    assert broken(["a", "b", "c"], {"a": 1.0, "b": 0.9, "c": 1.0}, {"a": 0.9, "b": 0.0}) == ("a",)
