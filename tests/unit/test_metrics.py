"""Evaluators as LangSmith takes them: the same scores as there, metrics by any name, errors that are no scores."""

from __future__ import annotations

import datetime
import io
import uuid
import warnings

import pytest
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langsmith import Client
from langsmith.evaluation import EvaluationResult, evaluate, run_evaluator
from langsmith.schemas import Example as SmithExample

from langchain_promptopt import Gate
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators import Metrics, resolve_evaluators
from tests.support.runs import of_type, run
from tests.support.tasks import answer, chain, rows


def right(outputs, reference_outputs):
    return outputs["output"] == reference_outputs["answer"]


def own_key(run, example):
    return EvaluationResult(key="correct", score=run.outputs["output"] == example.outputs["answer"])


def made_elsewhere(outputs, reference_outputs):
    return shared_result("elsewhere", outputs["output"] == reference_outputs["answer"])


def shared_result(key, score):
    return {"key": key, "score": score, "comment": "from another module"}


def several(outputs, reference_outputs):
    correct = outputs["output"] == reference_outputs["answer"]
    return {"results": [shared_result("a", correct), {"key": "b", "score": len(outputs["output"]) / 10}]}


def a_list(outputs):
    return [{"key": "short", "score": len(outputs["output"]) < 6}, {"key": "long", "score": 0.5}]


def only_some_rows(inputs, outputs):
    return {"key": "polite", "score": None if "opal" in inputs["word"] else 1.0, "comment": "nothing to judge"}


def by_its_steps(run, example):
    todo, names = list(run.child_runs), set()
    while todo:
        step = todo.pop()
        names.add(step.name)
        todo += step.child_runs or []
    return {"key": "grounded", "score": 1.0 if "look_up" in names else 0.0}


async def asynchronous(outputs, reference_outputs):
    return {"key": "async", "score": outputs["output"] == reference_outputs["answer"]}


@run_evaluator
def decorated(run, example):
    return {"key": "decorated", "score": 1 if run.outputs["output"] == example.outputs["answer"] else 0}


class Callable:
    def __call__(self, outputs, reference_outputs=None):
        return {"key": "callable", "score": 0.25}


EVALUATORS = [right, own_key, made_elsewhere, several, a_list, only_some_rows, by_its_steps, asynchronous, decorated]
EVALUATORS += [Callable()]


def look_up(row):
    return {**row, "notes": row["word"][:3]}


class Silent(Client):
    """Sends nothing: `upload_results=False` still posts the runs of LangChain objects."""

    def create_run(self, *_, **__):
        pass

    def update_run(self, *_, **__):
        pass


def smith_rows():
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return [
        SmithExample(
            id=uuid.uuid5(uuid.NAMESPACE_OID, r["metadata"]["id"]),
            dataset_id=uuid.UUID(int=9),
            inputs=r["inputs"],
            outputs=r["outputs"],
            metadata={"dataset_split": [r["metadata"]["split"]]},
            created_at=when,
        )
        for r in rows()
        if r["metadata"]["split"] == "dev"
    ]


def test_scores_are_those_of_langsmith_evaluate():
    told = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Silent(api_url="http://127.0.0.1:1", api_key="none", auto_batch_tracing=False, info={})
        program = RunnableLambda(look_up) | chain()
        plain = [e for e in EVALUATORS if e is not asynchronous]  # the SDK's sync runner takes no coroutines
        for found in evaluate(program.invoke, data=smith_rows(), evaluators=plain, upload_results=False, client=client):
            for result in found["evaluation_results"]["results"]:
                told[found["example"].inputs["word"], result.key] = result.score
    ours = run(target=RunnableLambda(look_up) | chain(), evaluators=EVALUATORS, gate=Gate(primary="right"))
    baseline = of_type(ours, "run.started")[0]["seed_candidate_id"]
    words = {r["metadata"]["id"]: r["inputs"]["word"] for r in rows()}
    here = {}
    for data in of_type(ours, "scored"):
        if data["candidate_id"] == baseline and data["split"] == "dev":
            here |= {(words[data["example_id"]], key): score for key, score in data["scores"].items()}
    assert told
    assert {k: v for k, v in here.items() if k[1] != "async"} == {k: float(v) for k, v in told.items() if v is not None}
    assert {k[1] for k in here} > {"right", "correct", "elsewhere", "a", "b", "short", "grounded", "async"}
    assert all(here[w, "async"] == here[w, "right"] for w in words.values() if (w, "right") in here)


@pytest.mark.parametrize("name", ["correct", "elsewhere", "several.a", "a"])
def test_the_gate_may_name_any_metric(name):
    result = run(evaluators=[own_key, made_elsewhere, several, only_some_rows], gate=Gate(primary=name))
    assert result.test[0]["metric"] == name.removeprefix("several.")


def test_a_named_evaluator_with_several_results_is_found_by_either_name():
    for primary, guard in (("m.a", "m.b"), ("a", "b")):
        result = run(evaluators={"m": several}, gate=Gate(primary=primary, guards={guard: 0.5}))
        assert [e["metric"] for e in result.test[:2]] == ["m.a", "m.b"]


def test_without_a_name_the_first_metric_of_the_first_evaluator_decides():
    assert run(evaluators=[made_elsewhere]).test[0]["metric"] == "elsewhere"
    assert run(evaluators=[several]).test[0]["metric"] == "a"


def test_a_name_that_cannot_exist_fails_before_the_first_call():
    calls = []

    def counted(messages):
        calls.append(messages)
        return answer(messages)

    with pytest.raises(EvaluatorError, match="'corect', and the evaluators give correct, polite"):
        run(target=chain(counted), evaluators=[own_key, only_some_rows], gate=Gate(primary="corect"))
    assert not calls
    with pytest.raises(EvaluatorError, match="'wrong', and the evaluators gave elsewhere"):
        run(target=chain(counted), evaluators=[made_elsewhere], gate=Gate(guards={"wrong": 0.1}))
    assert len(calls) == 16, "the baseline's rows and nothing else"


def test_rows_without_a_score_are_left_out_and_counted():
    result = run(evaluators=[right, only_some_rows], gate=Gate(primary="right", guards={"polite": 0.2}))
    without = sum("opal" in r["inputs"]["word"] for r in rows() if r["metadata"]["split"] == "test")
    entry = next(e for e in result.test if e["metric"] == "polite")
    assert entry["n"] == 40 - without
    assert (entry["baseline"], entry["best"]) == (1.0, 1.0)
    assert any(f"polite has no score on {without} of 40 test examples" in w for w in result.warnings)


def test_a_metric_that_decides_and_never_scores_is_an_error_of_set_up():
    with pytest.raises(EvaluatorError, match="`never` decides, and gave no score on any of 16 baseline examples"):
        run(evaluators=[lambda outputs: {"key": "never", "score": None}, right])
    with pytest.raises(EvaluatorError, match="gave 'good', which is no score"):
        run(evaluators=[lambda outputs: {"key": "tone", "value": "good"}, right])


def test_words_of_another_metric_are_comments():
    def tone(outputs):
        return {"key": "tone", "value": "good"}

    result = run(evaluators=[right, tone])
    assert {d["comments"]["tone"] for d in of_type(result, "scored")} == {"good"}


def test_one_that_raises_on_too_many_rows_ends_the_run_with_file_and_line():
    def picky(outputs, reference_outputs, inputs):
        return {"key": "picky", "score": 1.0 if inputs["word"].startswith("dog") else {}["label"]}

    with pytest.raises(EvaluatorError, match=r"raised on .*picky: KeyError: 'label' \(.*\.py:\d+\)") as caught:
        run(evaluators=[picky])
    assert caught.value.exit_code == 2


def test_one_that_raises_on_the_answers_of_one_side_gives_no_verdict():
    def picky(outputs, reference_outputs):
        if outputs["output"] == "animal" and reference_outputs["answer"] == "animal" and picky.raises:
            picky.raises -= 1
            raise KeyError("animal")
        return {"key": "picky", "score": outputs["output"] == reference_outputs["answer"]}

    picky.raises = 1
    result = run(evaluators=[picky], max_failure_rate=0.9, max_concurrency=1)
    assert result.outcome == "improved", "on a search row it costs a row and nothing else"
    assert any("raised on 1 evaluations" in w for w in result.warnings)

    def late(outputs, reference_outputs, inputs):
        if "-test-1" in inputs["word"] and outputs["output"] == "animal":
            raise KeyError("animal")
        return {"key": "late", "score": outputs["output"] == reference_outputs["answer"]}

    result = run(evaluators=[late], max_failure_rate=0.9)
    assert result.outcome == "inconclusive"
    assert not result.gate_passed


def test_not_a_number_is_an_error_of_that_row_only():
    def shaky(outputs, reference_outputs, inputs):
        score = float("nan") if "dev-4" in inputs["word"] else float(outputs["output"] == reference_outputs["answer"])
        return {"key": "shaky", "score": score}

    result = run(evaluators=[shaky], max_failure_rate=0.5)
    assert result.outcome == "improved"


def test_attachments_of_examples_reach_the_evaluator():
    read = []

    def graded(outputs, reference_outputs, attachments):
        read.append(attachments["photo"]["reader"].read())
        return {"key": "graded", "score": outputs["output"] == reference_outputs["answer"]}

    given = [
        {**row, "attachments": {"photo": {"mime_type": "text/plain", "reader": io.BytesIO(b"x")}}} for row in rows()
    ]
    assert run(data=given, evaluators=[graded]).outcome == "improved"
    assert set(read) == {b"x"}, "each call reads from the beginning"


def test_child_runs_are_those_of_each_call():
    found = []

    def inside(run):
        found.append([r.name for r in run.child_runs])
        assert 0 < run.latency == (run.end_time - run.start_time).total_seconds() < 60
        return {"key": "inside", "score": 0.5}

    program = RunnablePassthrough.assign(n=RunnableLambda(look_up)) | chain()
    run(target=program, evaluators=[inside, right], gate=Gate(primary="right"))
    assert {tuple(names) for names in found} == {("RunnableSequence",)}


@pytest.mark.parametrize(
    ("evaluators", "names", "is_open"),
    [
        ([right], ("right",), ()),
        ([own_key], ("correct",), ()),
        ([only_some_rows, a_list], ("polite", "short", "long"), ()),
        ([made_elsewhere], ("made_elsewhere",), ("made_elsewhere",)),
        ({"m": own_key}, ("m",), ()),
        (["exact_match", "rouge_l"], ("exact_match", "rouge_l"), ()),
    ],
)
def test_keys_are_read_from_the_code_where_it_tells_them(evaluators, names, is_open):
    metrics = Metrics(resolve_evaluators(evaluators))
    assert (metrics.names, metrics.open) == (names, is_open)
