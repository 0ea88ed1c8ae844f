"""Summary evaluators: every signature of LangSmith's, values beside the verdict, and failures that decide nothing."""

from __future__ import annotations

import asyncio

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators import Call, EvaluatorFailed, resolve_evaluators, resolve_summaries
from langchain_promptopt.types import Example
from tests.support.tasks import chain, optimizer, rows

CALLS = [Call.of(Example(str(i), {"q": i}, {"a": i % 2}), {"a": 1}) for i in range(4)]


def by_rows(runs, examples):
    return sum(r.outputs["a"] == e.outputs["a"] for r, e in zip(runs, examples, strict=True)) / len(runs)


def by_position(these, those):
    return by_rows(these, those)


def by_values(inputs, outputs, reference_outputs):
    assert [i["q"] for i in inputs] == [0, 1, 2, 3]
    pairs = zip(outputs, reference_outputs, strict=True)
    return {"key": "right", "score": sum(o["a"] == r["a"] for o, r in pairs) / len(outputs), "comment": "half"}


async def by_values_later(outputs, reference_outputs):
    return [{"key": "n", "score": len(outputs)}, {"key": "verdict", "value": "so so"}]


def told(spec):
    (evaluator,) = resolve_summaries(spec)
    return [(r.key, r.score if r.score is not None else r.value) for r in asyncio.run(evaluator.score(CALLS))]


@pytest.mark.parametrize("function", [by_rows, by_position])
def test_runs_and_examples(function):
    assert told([function]) == [(function.__name__, 0.5)]


def test_values_by_name_and_several_results():
    assert told([by_values]) == [("right", 0.5)]
    assert told({"mine": by_values}) == [("mine", 0.5)]
    assert told([by_values_later]) == [("n", 4), ("verdict", "so so")]
    assert told(f"{__name__}:by_values") == [("right", 0.5)]


def test_other_signatures_and_the_wrong_argument_are_refused_by_name():
    with pytest.raises(EvaluatorError, match="summary evaluator's signature"):
        resolve_summaries([lambda a: a])
    with pytest.raises(EvaluatorError, match="not a summary evaluator"):
        resolve_summaries([3])
    with pytest.raises(EvaluatorError, match="two summary evaluators"):
        resolve_summaries([by_rows, by_rows])
    with pytest.raises(EvaluatorError, match="summary_evaluators="):
        resolve_evaluators([by_rows])


def test_one_that_fails_is_named():
    def bad(outputs):
        raise ZeroDivisionError(len(outputs))

    (evaluator,) = resolve_summaries([bad])
    with pytest.raises(EvaluatorFailed, match=r"`bad` raised ZeroDivisionError: 4 \(.*:\d+\) \(all examples\)"):
        asyncio.run(evaluator.score(CALLS))


def test_a_run_tells_them_and_one_that_fails_changes_no_verdict():
    given = {
        "data": rows(6, 6, 20), "evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None,
        "optimizer_model": optimizer(),
    }  # fmt: skip

    def animals(outputs):
        return sum(o["output"] == "animal" for o in outputs)

    def bad(outputs):
        raise ZeroDivisionError(len(outputs))

    plain = optimize(chain(), **given)
    result = optimize(chain(), **given, summary_evaluators=[animals])
    assert {s["split"]: (s["baseline"], s["best"]) for s in result.summary} == {
        "dev": (0, 3), "test": (0, 10),
    }  # fmt: skip
    assert result.as_json()["summary"] == result.summary
    broken = optimize(chain(), **given, summary_evaluators=[bad])
    assert any("`bad` raised" in w for w in broken.warnings)
    assert plain.run_id == result.run_id == broken.run_id
    assert plain.outcome == result.outcome == broken.outcome == "improved"
