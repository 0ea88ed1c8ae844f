"""One limiter for each model, whoever calls it: requests and tokens a minute, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, improve, rows


def _worst_minute(times):
    return max(sum(first <= t < first + 60 - 1e-6 for t in times) for first in times)


@pytest.fixture
def timed(tmp_path: Path):
    """Runs the tiny task on two models and says at what virtual second each was called."""

    def go(**more):
        clock, called = FakeClock(), {"task": [], "optimizer": [], "judge": []}

        def model(name, fn):
            def spoken(messages):
                called[name].append(clock.time())
                return fn(messages)

            return ScriptedModel(fn=spoken, model_name=name)

        judge = model("judge", lambda _: "yes")

        async def polite(outputs: dict) -> bool:
            return (await judge.ainvoke(str(outputs))).text == "yes"

        target = ChatPromptTemplate.from_template(PROMPT) | model("task", answer) | StrOutputParser()
        optimize(
            target,
            data=rows(),
            evaluators=["exact_match", polite],
            method="lpo-pe2",
            optimizer_model=model("optimizer", improve),
            clock=clock,
            policy=RetryPolicy(timeout=None),
            runs_dir=None,
            openings=tmp_path / "openings.jsonl",
            **more,
        )
        return called

    return go


def test_requests_a_minute_hold_for_the_model_they_are_set_for(timed):
    called = timed(limits={"task": {"requests_per_minute": 30}})
    assert _worst_minute(called["task"]) <= 30
    assert called["optimizer"][1] - called["optimizer"][0] < 60
    assert max(called["task"]) >= (len(called["task"]) / 30 - 2) * 60


def test_a_judge_that_is_slower_than_the_task_has_its_own_limit(timed):
    called = timed(limits={"judge": {"requests_per_minute": 20}})
    assert _worst_minute(called["judge"]) <= 20
    assert _worst_minute(called["task"]) > 20


def test_tokens_a_minute_hold_over_all_calls_of_the_model(timed):
    called = timed(limits={"task": {"tokens_per_minute": 600}})
    words = len(PROMPT.split()) + 1
    assert _worst_minute(called["task"]) * words <= 600 * 1.1  # the first guess is a guess


def test_a_ceiling_holds_over_all_roles_together(timed):
    called = timed(requests_per_second=1)
    assert _worst_minute(sorted(t for times in called.values() for t in times)) <= 60


def test_limits_that_make_no_sense_are_refused(timed):
    with pytest.raises(ConfigError, match="requests_per_minute must be"):
        timed(limits={"task": {"requests_per_minute": -1}})
