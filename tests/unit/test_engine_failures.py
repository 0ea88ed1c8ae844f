"""The table of failures over real HTTP: the right action, the right exit code, nothing paid twice."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import CredentialsError, DataError, EvaluatorError, TooManyFailures, UnavailableError
from tests.support.faults import FaultPlan, Rule
from tests.support.online import QUICK, chain, judged_by, model, run, server
from tests.support.runs import of_type
from tests.support.tasks import answer, rows

RETRIED = [
    "429",
    "429-retry-after",
    "500",
    "503",
    "409",
    "reset",
    "lost",
    "truncated",
    "malformed",
    "empty",
    "html",
    "no_choices",
    "refused",
]
PATIENT = RetryPolicy(timeout=None)


@pytest.fixture(scope="module")
def calm():
    with server() as up:
        return run(up.base_url), up.count


@pytest.mark.parametrize("kind", RETRIED)
def test_what_passes_is_tried_again_and_changes_nothing(kind, calm):
    plain, asked = calm
    plan = FaultPlan(Rule(kind, attempts={0}, times=12, skip=3), retry_after="0.01")
    with server(faults=plan) as up:
        result = run(up.base_url, clock=FakeClock(), policy=PATIENT)
        assert len(plan.fired) == 12
        assert up.count == asked + 12
    assert (result.test, result.best.id) == (plain.test, plain.best.id)
    told = [d for d in of_type(result, "incident") if d["role"] in {"task", "optimizer"}]
    incidents = [d for d in told if d["kind"] != "usage_unknown"]
    assert len(told) - len(incidents) == (kind == "no_choices")  # a whole reply that does not say what it used
    assert len(incidents) == 12
    assert {d["retryable"] for d in incidents} == {True}
    assert result.usage["calls"] == up.count


def test_a_hung_call_is_given_up_and_made_again(calm):
    plan = FaultPlan(Rule("hang", attempts={0}, times=3))
    with server(faults=plan) as up:
        result = run(up.base_url, policy=RetryPolicy(base=0.001, cap=0.001, timeout=0.5))
    assert result.test == calm[0].test
    assert {d["kind"] for d in of_type(result, "incident") if d["role"] == "task"} == {"timeout"}


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("401", CredentialsError, 2),
        ("403", CredentialsError, 2),
        ("404", CredentialsError, 2),
        ("quota", UnavailableError, 5),
    ],
)
def test_what_will_not_pass_ends_the_run_at_the_first_call(kind, error, code):
    with server(faults=FaultPlan(Rule(kind))) as up:
        with pytest.raises(error) as caught:
            run(up.base_url, max_concurrency=1)
        assert up.count == 1
    assert caught.value.exit_code == code
    assert caught.value.role == "task"


def test_a_quota_that_ends_midway_is_resumed_and_only_calls_in_flight_are_paid_again(tmp_path, calm):
    plain, asked = calm
    plan = FaultPlan(Rule("quota", skip=30))
    with server(faults=plan) as up:
        with pytest.raises(UnavailableError, match="insufficient_quota"):
            run(up.base_url, runs_dir=tmp_path, max_concurrency=4)
        up.faults = None
        result = run(up.base_url, runs_dir=tmp_path)
        assert 0 <= up.count - len(plan.fired) - asked <= 4 - len(plan.fired)
    assert result.test == plain.test


def test_an_outage_stops_the_run_and_its_rows_are_asked_for_again(tmp_path, calm):
    plain, _ = calm
    with server(faults=FaultPlan(Rule("503", skip=20))) as up:
        with pytest.raises(TooManyFailures) as caught:
            run(up.base_url, runs_dir=tmp_path, clock=FakeClock(), policy=PATIENT)
        assert caught.value.exit_code == 5
        assert caught.value.facts["run_id"]
        up.faults = None
        result = run(up.base_url, runs_dir=tmp_path)
    assert result.test == plain.test
    assert not [d for d in of_type(result, "scored") if d["failure"]]


def test_a_few_dropped_rows_are_counted_and_never_scored(calm):
    """One dev row is out of reach for good: dropped, not 0."""

    class Plan(FaultPlan):
        def decide(self, request):
            return "500" if b"topaz-dev-6" in request.body else None

    with server(faults=Plan()) as up:
        result = run(up.base_url, policy=RetryPolicy(attempts=3, base=0.001, cap=0.001), max_failure_rate=0.5)
    dropped = [d for d in of_type(result, "scored") if d["failure"]]
    assert dropped
    assert {(d["example_id"], d["failure"]["kind"], tuple(d["scores"])) for d in dropped} == {
        ("dev-6", "server_error", ())
    }
    assert all(d["tries"] == 3 and d["usage"]["calls"] == 3 for d in dropped)
    assert all(d["failures"] == 1 for d in of_type(result, "evaluated") if d["split"] == "dev")
    assert result.usage["calls"] == up.count


@pytest.mark.parametrize("finish", ["content_filter", "refusal"])
def test_an_answer_the_model_refuses_scores_zero(finish):
    def shy(messages):
        said = answer(messages)
        return {"content": "opal", "finish_reason": finish} if "opal" in messages[-1].text else said

    with server(task=shy) as up:
        result = run(up.base_url)
        refused = [d for d in of_type(result, "scored") if "opal" in str(d["output"]) or d["failure"]]
    assert refused
    assert {(d["failure"]["kind"], d["failure"]["scored_zero"], d["scores"]["exact_match"]) for d in refused} == {
        (finish, True, 0.0)
    }


def test_a_reply_cut_short_is_zero_only_where_it_cannot_be_read():
    from langchain_core.output_parsers import JsonOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    def wordy(messages):
        word = str(messages[-1].text)
        if "opal" in word:
            return {"content": '{"answer": "sto', "finish_reason": "length"}
        kind = answer(messages)
        return {"content": f'{{"answer": "{kind}"}}', "finish_reason": "length" if "ruby" in word else "stop"}

    from tests.support.tasks import PROMPT

    with server(task=wordy) as up:
        target = ChatPromptTemplate.from_template(PROMPT) | model(up.base_url, "task") | JsonOutputParser()
        scored = of_type(run(up.base_url, target=target), "scored")
    kinds = Counter(d["failure"]["kind"] for d in scored if d["failure"])
    assert set(kinds) <= {"truncated", "unparsable"}
    assert all(d["scores"]["exact_match"] == 1.0 for d in scored if "ruby" in str(d["output"]))


def test_an_empty_answer_is_an_answer():
    with server(task=lambda m: "" if "opal" in m[-1].text else answer(m)) as up:
        scored = of_type(run(up.base_url), "scored")
    empty = [d for d in scored if d["output"] == ""]
    assert empty
    assert all(d["failure"] is None and d["scores"]["exact_match"] == 0.0 for d in empty)


def test_a_failing_judge_does_not_pay_the_target_again():
    plan = FaultPlan(Rule("500", attempts={0, 1}, path="/v1/chat/completions"))
    with server() as up:
        calls = Counter()
        up.faults = _OnlyJudge(plan)
        judge = judged_by(up.base_url)
        result = run(up.base_url, evaluators=[judge], policy=QUICK)
        for request in up.requests:
            calls[request.json()["model"]] += 1
    scored = of_type(result, "scored")
    assert calls["task"] == len(scored)
    assert len(plan.fired) > 100
    assert calls["judge"] == len(scored) + len(plan.fired)
    assert result.usage["by_role"]["judge"]["calls"] == calls["judge"]
    assert result.usage["by_role"]["task"]["calls"] == calls["task"]


class _OnlyJudge(FaultPlan):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def decide(self, request):
        return self.inner.decide(request) if request.json()["model"] == "judge" else None


def test_a_judge_whose_key_is_refused_ends_the_run_with_code_2():
    with server() as up:
        up.faults = _OnlyJudge(FaultPlan(Rule("401")))
        with pytest.raises(CredentialsError) as caught:
            run(up.base_url, evaluators=[judged_by(up.base_url)])
    assert (caught.value.exit_code, caught.value.role) == (2, "judge")


def test_an_evaluator_that_raises_on_an_answer_drops_the_row_and_is_counted():
    def picky(outputs, reference_outputs):
        said = next(iter(outputs.values()))
        return {"animal": 1.0, "stone": 1.0, "PLANT": 1.0}[said] * (said == reference_outputs["answer"])

    with server(task=lambda m: "???" if "agate" in m[-1].text else answer(m)) as up:
        result = run(up.base_url, evaluators=[picky], max_failure_rate=0.5)
    failed = [d for d in of_type(result, "scored") if d["failure"] and "???" in str(d["output"])]
    assert failed
    assert {(d["failure"]["kind"], d["failure"]["scored_zero"]) for d in failed} == {("evaluator_error", False)}
    assert all(d["scores"] == {} for d in failed)
    assert re.search(r"picky: .*test_engine_failures.py:\d+", failed[0]["failure"]["message"])
    assert any("raised on" in w and "picky" in w for w in result.warnings)


def test_an_outage_that_an_evaluator_wraps_in_an_error_of_its_own_drops_the_row():
    def searching(outputs, reference_outputs):
        said = next(iter(outputs.values()))
        try:
            if said == "???":
                raise ConnectionResetError("peer")
        except OSError as error:
            msg = "the search failed"
            raise RuntimeError(msg) from error
        return said == reference_outputs["answer"]

    with server(task=lambda m: "???" if "agate" in m[-1].text else answer(m)) as up:
        policy = RetryPolicy(attempts=2, base=0.001, cap=0.001)
        result = run(up.base_url, evaluators=[searching], max_failure_rate=0.5, policy=policy)
    failed = [d["failure"] for d in of_type(result, "scored") if d["failure"]]
    assert {(failure["kind"], failure["scored_zero"]) for failure in failed} == {("connection", False)}


def test_an_evaluator_that_breaks_on_every_row_stops_and_says_why():
    def broken(outputs, reference_outputs):
        raise RuntimeError("no field of that name")

    with server() as up, pytest.raises((EvaluatorError, DataError), match="no field of that name"):
        run(up.base_url, evaluators=[broken])


def test_a_score_outside_its_range_is_a_wrong_set_up():
    with server() as up, pytest.raises(EvaluatorError) as caught:
        run(up.base_url, evaluators=[lambda outputs, reference_outputs: 7])
    assert caught.value.exit_code == 2


def test_retries_are_not_multiplied():
    """Our own policy is the only one: a row out of reach is asked for exactly `attempts` times."""
    with server(faults=FaultPlan(Rule("500"))) as up:
        with pytest.raises(TooManyFailures):
            run(up.base_url, data=rows(), policy=RetryPolicy(attempts=4, base=0.001, cap=0.001), max_concurrency=1)
        per_request = Counter(r.fingerprint for r in up.requests)
    assert set(per_request.values()) == {4}
    assert len(per_request) == 10


def test_what_the_users_own_model_retries_stays_his():
    with server(faults=FaultPlan(Rule("500"))) as up:
        target = chain(up.base_url, max_retries=1)
        with pytest.raises(TooManyFailures):
            run(up.base_url, target=target, policy=RetryPolicy(attempts=2, base=0.001, cap=0.001), max_concurrency=16)
        assert max(Counter(r.fingerprint for r in up.requests).values()) == 4
