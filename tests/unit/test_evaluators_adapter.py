"""Foreign evaluators behind one face: signatures, returned shapes, scales, failures, keys and hashes."""

from __future__ import annotations

import asyncio
import functools
import threading
import uuid
from decimal import Decimal

import numpy as np
import pytest
from langsmith.evaluation import EvaluationResult, RunEvaluator, run_evaluator

from langchain_promptopt.errors import BudgetSpent, EvaluatorError
from langchain_promptopt.evaluators import (
    EvaluatorFailed,
    choice_match,
    declare,
    exact_match,
    know_labels,
    label_match,
    make_label_match,
    resolve_evaluators,
    score_all,
)
from langchain_promptopt.evaluators._calls import Call, RunView
from langchain_promptopt.types import Example

ROW = Example("r1", {"q": "2+2?"}, {"answer": "4"}, {"attachments": {"a": "b"}, "lang": "en"})


def judge(evaluator, output="4", **settings):
    (ready,) = resolve_evaluators([declare(evaluator, **settings)] if settings else [evaluator])
    return asyncio.run(ready.score(ROW, output))


def by_outputs(outputs, reference_outputs):
    return outputs["output"] == reference_outputs["answer"]


def by_all(run, example, inputs, outputs, reference_outputs, attachments):
    assert run.inputs == example.inputs == inputs == {"q": "2+2?"}
    assert run.outputs == outputs == {"output": "4"}
    assert example.outputs == run.reference_outputs == reference_outputs == {"answer": "4"}
    assert attachments == {"a": "b"}
    assert example.metadata["lang"] == "en"
    assert run.error is None
    return 1


def by_position(prediction, gold):
    return prediction.outputs["output"] == gold.outputs["answer"]


def by_keyword(*, outputs, reference_outputs):
    return outputs["output"] == reference_outputs["answer"]


def by_keyword_and_more(*, inputs=None, outputs=None, reference_outputs=None, **kwargs):
    assert kwargs == {}
    return outputs["output"] == reference_outputs["answer"]


def by_kwargs(**kwargs):
    return kwargs["outputs"]["output"] == kwargs["reference_outputs"]["answer"]


def by_default(outputs, threshold=0.5):
    return 0.75 if threshold == 0.5 else 0


def positional(outputs, reference_outputs, /):
    return outputs["output"] == reference_outputs["answer"]


async def asynchronous(outputs, reference_outputs):
    await asyncio.sleep(0)
    return outputs["output"] == reference_outputs["answer"]


class Instance:
    def __call__(self, outputs, reference_outputs):
        return outputs["output"] == reference_outputs["answer"]


class AsyncInstance:
    async def __call__(self, outputs, reference_outputs):
        return outputs["output"] == reference_outputs["answer"]


class OldStyle(RunEvaluator):
    def evaluate_run(self, run, example=None, evaluator_run_id=None):
        return EvaluationResult(key="old", score=run.outputs["output"] == example.outputs["answer"])


@run_evaluator
def decorated(run, example):
    return {"score": run.outputs["output"] == example.outputs["answer"]}


@run_evaluator
async def decorated_async(run, example):
    return {"score": run.outputs["output"] == example.outputs["answer"]}


SIGNATURES = [by_outputs, by_position, by_keyword, by_keyword_and_more, by_kwargs, positional, asynchronous]
SIGNATURES += [Instance(), AsyncInstance(), OldStyle(), decorated, decorated_async, functools.partial(by_outputs)]
SIGNATURES += [lambda outputs, reference_outputs: outputs["output"] == reference_outputs["answer"]]


@pytest.mark.parametrize("evaluator", SIGNATURES)
def test_every_langsmith_signature(evaluator):
    assert list(judge(evaluator).scores.values()) == [1.0]
    assert list(judge(evaluator, "5").scores.values()) == [0.0]


def test_all_arguments_are_what_langsmith_passes():
    assert judge(by_all).scores == {"by_all": 1.0}


@pytest.mark.parametrize("built_in", [exact_match, choice_match, make_label_match(["(A)", "(B)"])])
def test_built_ins_work_in_langsmith_itself(built_in):
    run, example = RunView(uuid.uuid4(), {}, {"output": "(B)"}, {}), Example("x", {}, {"answer": "(B)"})
    view = Call.of(example, "(B)").example
    assert run_evaluator(built_in).evaluate_run(run, view).score == 1.0


def test_arguments_with_defaults_are_left_alone():
    assert judge(by_default).scores == {"by_default": 0.75}


@pytest.mark.parametrize("evaluator", [lambda a: 1, lambda a, b, c: 1, lambda: 1, lambda x=1: 1, lambda *, a, b: 1])
def test_other_signatures_are_refused_before_any_call(evaluator):
    with pytest.raises(EvaluatorError, match="signature"):
        resolve_evaluators([evaluator])


def by_misspelt_name(outputs, refrence_outputs=None):
    return outputs == refrence_outputs


def by_singular(*, outputs, reference_output=None):
    return outputs == reference_output


@pytest.mark.parametrize("evaluator", [by_misspelt_name, by_singular])
def test_an_argument_that_is_never_given_is_named(evaluator):
    """LangSmith leaves it at its default, and every example is wrong."""
    with pytest.raises(EvaluatorError, match=r"is never given its argument 'ref.*Did you mean 'reference_outputs'"):
        resolve_evaluators([evaluator])


@pytest.mark.parametrize(
    "evaluator",
    [lambda outputs, expected: outputs == expected, lambda prediction, inputs: True, lambda example, gold: 1],
)
def test_an_argument_that_would_get_another_thing_than_its_name_says_is_refused(evaluator):
    """Two arguments of which one has no name of LangSmith's get (run, example)."""
    with pytest.raises(EvaluatorError, match=r"would be given the (run|example) as its"):
        resolve_evaluators([evaluator])


@pytest.mark.parametrize("evaluator", [Instance, AsyncInstance, OldStyle])
def test_a_class_in_place_of_its_object_is_named(evaluator):
    with pytest.raises(EvaluatorError, match=f"{evaluator.__name__} is a class.*Make one"):
        resolve_evaluators([evaluator])


RETURNS = [
    (True, 1.0),
    (0, 0.0),
    (0.25, 0.25),
    (Decimal("0.5"), 0.5),
    (np.float32(0.5), 0.5),
    (np.bool_(True), 1.0),
    (np.int64(1), 1.0),
    ({"score": 0.5}, 0.5),
    ({"score": True, "comment": "fine"}, 1.0),
    ({"value": 0.5}, 0.5),
    ({"results": [{"score": 0.5}]}, 0.5),
    ([{"score": 0.5}], 0.5),
    (EvaluationResult(key="f", score=0.5), 0.5),
    ({"results": [EvaluationResult(key="f", score=0.5)]}, 0.5),
]


@pytest.mark.parametrize(("value", "score"), RETURNS)
def test_returned_shapes(value, score):
    def f(outputs):
        return value

    assert judge(f).scores == {"f": score}


def test_several_results_and_their_comments():
    def many(outputs):
        return {
            "results": [
                {"key": "a", "score": 1, "comment": "good"},
                {"key": "b", "score": 0},
                {"key": "c", "value": "x"},
            ]
        }

    found = judge(many)
    assert found.scores == {"a": 1.0, "b": 0.0}
    assert found.comments == {"a": "good", "c": "x"}
    named = asyncio.run(resolve_evaluators({"m": many})[0].score(ROW, "4"))
    assert named.scores == {"m.a": 1.0, "m.b": 0.0}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 1.5, -0.1, {}, {"helpful": 1}, object()],
)
def test_what_is_no_score_is_refused_and_never_zero(value):
    def f(outputs):
        return value

    with pytest.raises(EvaluatorFailed) as caught:
        judge(f)
    assert (caught.value.key, caught.value.example_id, caught.value.exit_code) == ("f", "r1", 2)
    assert "r1" in str(caught.value)


@pytest.mark.parametrize("value", [None, [], {"score": None}, {"key": "f", "comment": "nothing to judge"}, "good"])
def test_no_score_is_left_out_and_its_key_is_known(value):
    def f(outputs):
        return value

    found = judge(f)
    assert found.scores == {}
    assert found.keys == {"f": ("f",)}


def test_nan_is_called_by_its_name():
    with pytest.raises(EvaluatorFailed, match="`lambda` gave NaN"):
        judge(lambda outputs: float("nan"))


def test_a_raising_evaluator_is_named_with_its_row():
    def f(outputs):
        raise KeyError("label")

    with pytest.raises(EvaluatorFailed, match=r"`f` raised KeyError.*r1") as caught:
        judge(f)
    assert isinstance(caught.value.error, KeyError)
    assert caught.value.__cause__ is caught.value.error


def test_our_own_stops_pass_through_an_evaluator():
    def f(outputs):
        raise BudgetSpent("nothing left")

    with pytest.raises(BudgetSpent):
        judge(f)


def test_built_in_refusals_name_the_row():
    (ready,) = resolve_evaluators(["number_match"])
    with pytest.raises(EvaluatorFailed, match=r"needs a number.*example x9"):
        asyncio.run(ready.score(Example("x9", {}, {"answer": "blue"}), "1"))


def test_declared_scales_become_zero_to_one():
    assert judge(lambda outputs: 4, key="stars", range=(1, 5)).scores == {"stars": 0.75}
    assert judge(lambda outputs: 4, key="stars", range=(1, 5)).metadata == {"stars": {"raw": 4.0}}
    assert judge(lambda outputs: 2, key="cost", range=(0, 10), direction="min").scores == {"cost": 0.8}
    assert judge(lambda outputs: "ok", key="tone", values={"good": 1, "ok": 0.5, "bad": 0}).scores == {"tone": 0.5}
    with pytest.raises(EvaluatorFailed, match=r"`stars` gave 6.* outside 1 to 5"):
        judge(lambda outputs: 6, key="stars", range=(1, 5))
    with pytest.raises(EvaluatorFailed, match="'awful'"):
        judge(lambda outputs: "awful", key="tone", values={"good": 1})
    for wrong in ({"range": (1, 1)}, {"range": (2, 1)}, {"direction": "up"}):
        with pytest.raises(EvaluatorError, match="scale"):
            declare(exact_match, **wrong)


def test_settings_may_come_from_a_config_file(tmp_path):
    (tmp_path / "house_evals.py").write_text("def stars(outputs):\n    return 5\n")
    spec = {"evaluator": "house_evals:stars", "key": "stars", "range": [1, 5]}
    (ready,) = resolve_evaluators([spec], import_from=tmp_path)
    assert asyncio.run(ready.score(ROW, "x")).scores == {"stars": 1.0}
    with pytest.raises(EvaluatorError, match="nearest is `range`"):
        resolve_evaluators([{"evaluator": "exact_match", "rang": [1, 5]}])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("exact_mach", "exact_match"),
        ("nothing_here:f", "no module 'nothing_here'"),
        ("json:dumpz", "dump"),
        (7, "is not an evaluator"),
        ([], "no evaluators"),
    ],
)
def test_unusable_specs_say_what_to_write(spec, said):
    with pytest.raises(EvaluatorError, match=said):
        resolve_evaluators(spec if spec == [] else [spec])


def test_one_key_twice_is_refused_with_both_names():
    def exact(outputs):
        return {"key": "exact_match", "score": 1}

    with pytest.raises(EvaluatorError, match=r"exact_match`: 'exact_match' and .*exact"):
        resolve_evaluators(["exact_match", exact])
    both = resolve_evaluators({"ours": "exact_match", "mine": exact})
    assert [e.key for e in both] == ["ours", "mine"]
    assert asyncio.run(score_all(both, ROW, "4")).scores == {"ours": 1.0, "mine": 1.0}


def test_keys_that_collide_only_when_called_are_refused():
    def one(outputs):
        return {"key": "x".lower(), "score": 1}

    def two(outputs):
        return {"key": "x".lower(), "score": 0}

    with pytest.raises(EvaluatorFailed, match="two evaluators gave the key `x`"):
        asyncio.run(score_all(resolve_evaluators([one, two]), ROW, "4"))


def test_keys_are_read_without_a_call():
    def made(feedback_key):
        def wrapped(*, outputs, reference_outputs):
            return {"key": feedback_key, "score": 1}

        return wrapped

    def literal(outputs):
        return {"key": "politeness", "score": 1}

    found = resolve_evaluators([made("correctness"), literal, make_label_match(["a", "b"], key="intent"), "rouge_l"])
    assert [e.key for e in found] == ["correctness", "politeness", "intent", "rouge_l"]


def test_hashes_follow_code_and_configuration():
    def made(limit):
        def check(outputs):
            return len(str(outputs)) < limit

        return check

    def hash_of(evaluator, **settings):
        return resolve_evaluators([declare(evaluator, **settings)])[0].hash

    assert hash_of(made(3)) == hash_of(made(3))
    assert hash_of(made(3)) != hash_of(made(4))
    assert hash_of(made(3)) != hash_of(made(3), range=(0, 5))
    assert hash_of(functools.partial(by_default, threshold=1)) != hash_of(functools.partial(by_default, threshold=2))
    assert hash_of(make_label_match(["a", "b"])) != hash_of(make_label_match(["a", "c"]))
    assert hash_of(Instance()) == hash_of(Instance())
    assert hash_of(exact_match) == resolve_evaluators("exact_match")[0].hash


def test_foreign_sync_code_leaves_the_event_loop():
    seen = []

    def blocking(outputs):
        seen.append(threading.current_thread() is threading.main_thread())
        return 1

    judge(blocking)
    assert seen == [False]


def test_light_objects_have_langsmith_ids():
    def check(run, example):
        assert isinstance(run.id, uuid.UUID)
        assert isinstance(example.id, uuid.UUID)
        return run.reference_example_id == example.id

    assert judge(check).scores == {"check": 1.0}


def test_a_structured_output_is_passed_as_it_is():
    def check(outputs):
        return outputs == {"label": "x", "why": "y"}

    assert judge(check, {"label": "x", "why": "y"}).scores == {"check": 1.0}


def test_label_match_learns_the_labels_of_the_data():
    rows = [Example(str(i), {"q": i}, {"answer": ["billing", "refund"][i % 2]}) for i in range(8)]
    (plain,) = resolve_evaluators([label_match])
    (closed,) = know_labels([plain], rows)
    reply = "It is about billing. Not much of a refund."
    assert asyncio.run(plain.score(rows[0], reply)).scores == {"label_match": 1.0}
    assert asyncio.run(closed.score(rows[0], reply)).scores == {"label_match": 0.0}
    assert closed.key == plain.key
    assert closed.hash != plain.hash
    (numbers,) = resolve_evaluators(["number_match"])
    assert know_labels([numbers], rows) == (numbers,)


def test_parse_failures_are_visible():
    (ready,) = resolve_evaluators(["number_match"])
    assert not asyncio.run(ready.score(ROW, "four")).parse_ok
    assert asyncio.run(ready.score(ROW, "5")).parse_ok
