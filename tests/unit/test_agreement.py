"""Agreement of evaluators with people: kappa and its interval, and judges that may not decide."""

from __future__ import annotations

import json
import math
import random

import pytest

from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.pipeline.agreement import FEWEST, Kappa, People, agreement, is_judge, refuse_unmeasured
from langchain_promptopt.testing.scripted import ScriptedModel


def says_right(messages):
    return "yes" if "good" in messages[-1].text else "no"


MODEL = ScriptedModel(fn=says_right, model_name="judge")


def honest(outputs):
    """A judge: it asks a model."""
    return {"key": "honest", "score": MODEL.invoke(outputs["output"]).text == "yes"}


def polite(outputs):
    """No judge: it computes."""
    return {"key": "polite", "score": "good" in outputs["output"]}


HERE = "tests.unit.test_agreement"


def rows(n=60, seed=1, wrong=3):
    """Answers that people scored; `wrong` of ten were scored against what the answer says."""
    draw = random.Random(seed)  # noqa: S311 - a test
    out = []
    for i in range(n):
        good = draw.random() < 0.5
        scored = good if draw.randrange(10) >= wrong else not good
        metadata = {"answer": {"output": f"{'good' if good else 'bad'} {i}"}, "people": {"correct": int(scored)}}
        out.append({"id": str(i), "inputs": {"q": f"q {i}"}, "outputs": None, "metadata": metadata})
    return out


def settings(folder, data, *evaluators, **more):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    named = [f"{HERE}:{name}" for name in evaluators]
    return config_from_dict({"data": {"source": "rows.jsonl"}, "evaluate": {"evaluators": named}, **more}, root=folder)


def test_kappa_of_a_known_table_and_its_edges():
    table = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    found = Kappa.of(table)
    assert found.value == pytest.approx(0.4)
    assert (found.n, found.agreed) == (50, 0.7)
    assert Kappa.of([(a, a) for a in (0, 1) * 20]).value == 1.0
    assert Kappa.of([(a, 1 - a) for a in (0, 1) * 20]).value == -1.0
    assert Kappa.of([(1, 1)] * 40).value is None
    assert Kappa.of([(1, 1)] * 20 + [(1, 0)] * 20).value is None
    assert Kappa.of([]).value is None


def test_the_interval_holds_the_true_kappa_about_as_often_as_it_says():
    draw = random.Random(5)  # noqa: S311 - a test
    hit = 0
    for _ in range(400):
        pairs = []
        for _ in range(120):
            truth = draw.random() < 0.5
            pairs.append((truth, truth if draw.random() < 0.8 else not truth))
        found = Kappa.of(pairs)
        hit += found.low <= 0.6 <= found.high
    assert 0.91 <= hit / 400 <= 0.99


def test_people_are_a_key_and_a_score():
    assert People.of("correct") == People("correct", 1.0)
    assert People.of(" stars >= 4 ") == People("stars", 4.0)
    for wrong in ("", "a<3", ">=2"):
        with pytest.raises(ConfigError, match="feedback of people"):
            People.of(wrong)


def test_evaluators_score_the_answers_that_people_saw(tmp_path):
    honest_one, polite_one = agreement(settings(tmp_path, rows(wrong=1), "honest", "polite"), "correct")
    assert (honest_one.metric, honest_one.kappa.n) == ("honest", 60)
    assert honest_one.kappa == polite_one.kappa
    assert honest_one.kappa.value > 0.6
    assert honest_one.reaches(0.6)
    poor = agreement(settings(tmp_path, rows(wrong=5), "honest"), "correct")[0]
    assert not poor.reaches(0.6)
    assert math.isclose(poor.as_json()["kappa"], poor.kappa.value)


def test_only_answers_with_a_persons_score_count(tmp_path):
    data = rows(FEWEST + 5, wrong=0)
    for row in data[:10]:
        row["metadata"]["people"] = {"other": 1}
    found = agreement(settings(tmp_path, data, "honest"), "correct")[0]
    assert found.kappa.n == FEWEST - 5
    assert not found.reaches(0.1)
    assert f"at least {FEWEST} answers" in str(found)
    with pytest.raises(DataError, match="none of 35 examples"):
        agreement(settings(tmp_path, data, "honest"), "nobody")


def test_a_judge_is_an_evaluator_that_asks_a_model():
    judges = {e.key: is_judge(e) for e in resolve_evaluators([honest, polite, "exact_match"])}
    assert judges == {"honest": True, "polite": False, "exact_match": False}


def test_a_judge_that_was_not_measured_or_agrees_too_little_may_not_decide(tmp_path):
    good, poor = rows(wrong=1), rows(wrong=4)
    assert refuse_unmeasured(settings(tmp_path, poor, "polite"), None, 0.6) == []
    assert refuse_unmeasured(settings(tmp_path, poor, "polite", "honest"), None, 0.6) == []
    with pytest.raises(ConfigError, match="was not measured"):
        refuse_unmeasured(settings(tmp_path, poor, "honest"), None, 0.6)
    assert refuse_unmeasured(settings(tmp_path, poor, "honest"), None, 0.6, trust=True) == []
    with pytest.raises(ConfigError, match=r"agrees too little with people.*kappa 0\.\d"):
        refuse_unmeasured(settings(tmp_path, poor, "honest"), "correct", 0.6)
    assert len(refuse_unmeasured(settings(tmp_path, poor, "honest"), "correct", 0.6, trust=True)) == 1
    assert refuse_unmeasured(settings(tmp_path, good, "honest"), "correct", 0.6)[0].reaches(0.6)
    gated = settings(tmp_path, poor, "polite", "honest", gate={"primary": "honest"})
    with pytest.raises(ConfigError, match="agrees too little"):
        refuse_unmeasured(gated, "correct", 0.6)


def test_the_verb_prints_kappa_and_its_code_says_whether_it_is_enough(tmp_path, monkeypatch, capfd):
    settings(tmp_path, rows(wrong=1), "honest")
    monkeypatch.chdir(tmp_path)
    words = ["agree", "correct", "--data", "rows.jsonl", "--evaluator", f"{HERE}:honest"]
    assert promptopt(words) == 0
    assert "honest agrees with people's 'correct' on 83% of 60 answers: kappa 0.66" in capfd.readouterr().out
    assert promptopt([*words, "--least", "0.99"]) == 3
    assert promptopt([*words, "--json"]) == 0
