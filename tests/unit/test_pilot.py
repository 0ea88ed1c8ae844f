"""`check --pilot`: noise by its source, judges that contradict themselves, what to repeat, and what it cost."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

from langchain_promptopt.cli.check_view import check_view
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.pipeline import prepare
from langchain_promptopt.pipeline.check import Noise, check
from tests.support.tasks import PROMPT, rows

APP = """
import itertools
import time
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer

asked, judged = itertools.count(), itertools.count()

def moody(messages):
    return answer(messages) + (" or so" if next(asked) % 5 < 2 else "")

steady = ChatPromptTemplate.from_template(PROMPT) | ScriptedModel(fn=answer, model_name="task") | StrOutputParser()
fickle = ChatPromptTemplate.from_template(PROMPT) | ScriptedModel(fn=moody, model_name="task") | StrOutputParser()
judge = ScriptedModel(fn=lambda _: "yes" if next(judged) % 5 < 2 else "no", model_name="judge")

message = ChatPromptTemplate.from_template(PROMPT) | ScriptedModel(fn=answer, model_name="task")

shown = []

def slow(messages):
    shown.append(" ".join(str(m.text) for m in messages))
    time.sleep(0.2)
    return "nothing misleads"

optimizer = ScriptedModel(fn=slow, model_name="optimizer")

async def looks(outputs: dict) -> bool:
    return "response_metadata" in outputs

async def tossed(outputs: dict) -> bool:
    return (await judge.ainvoke(str(outputs))).text == "yes"
"""
count = itertools.count()


@pytest.fixture
def pilot(tmp_path: Path):
    name = f"pilot_app_{next(count)}"
    (tmp_path / f"{name}.py").write_text(APP)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows()))

    def go(chain: str, evaluators: list[str], optimizer: str | None = None):
        prices = {m: {"input": 1.0, "output": 1.0} for m in ("task", "judge", "optimizer")}
        config = {
            "task": {"chain": f"{name}:{chain}"},
            "data": {"source": "rows.jsonl"},
            "evaluate": {"evaluators": [e.replace("APP", name) for e in evaluators]},
            "optimize": {"max_concurrency": 1} | ({"model": f"{name}:{optimizer}"} if optimizer else {}),
            "prices": prices,
        }
        return check(prepare(config_from_dict(config, root=tmp_path)), pilot=6)

    return go


def test_a_model_that_answers_differently_is_told_from_a_judge_that_does(pilot):
    steady = pilot("steady", ["exact_match"]).pilot
    assert steady.answers_that_changed == 0
    assert steady.noise == {"exact_match": Noise(judge=0.0, model=0.0)}
    assert steady.repeats_advised == 1
    fickle = pilot("fickle", ["exact_match"]).pilot
    assert fickle.answers_that_changed > 0.3
    assert fickle.noise["exact_match"].model > 0
    assert fickle.noise["exact_match"].judge == 0
    assert (fickle.rows, fickle.repeats_advised) == (6, 3)


def test_a_judge_that_contradicts_itself_is_found_on_the_same_answer(pilot):
    report = pilot("steady", ["exact_match", "APP:tossed"])
    found = report.as_json()["pilot"]
    assert found["noise"]["tossed"]["judge"] > 0
    assert found["judge_consistency"]["tossed"] < 1
    assert found["judge_consistency"]["exact_match"] == 1
    assert found["repeats_advised"] == 3
    used = found["usage"]["by_role"]
    assert (used["task"]["calls"], used["judge"]["calls"]) == (12, 18)  # the second judgement pays no second answer
    assert used["judge"]["usd"] > 0
    assert found["estimate"]["likely"]["calls"]["judge"] > 0
    shown = _text(check_view(report))
    assert "noise of the judge" in shown
    assert "judged alike" in shown
    assert PROMPT not in shown


def test_a_judge_sees_the_same_object_both_times(pilot):
    found = pilot("message", ["APP:looks"]).pilot
    assert found.score["looks"] == 1
    assert found.judge_consistency["looks"] == 1


def test_how_long_a_run_takes_is_told_from_the_speed_of_the_answers_and_of_one_reply(pilot):
    found = pilot("steady", ["exact_match"], "optimizer")
    speed, estimate = found.pilot.speed, found.pilot.estimate
    assert speed.evaluation > 0
    assert speed.reply >= 0.2
    for name in ("low", "likely", "high"):
        level = getattr(estimate, name)
        whole = sum(level.evaluations.values()) * speed.evaluation + level.calls["optimizer"] * speed.reply
        assert speed.run[name] == pytest.approx(whole)
    app = sys.modules[f"pilot_app_{next(count) - 1}"]
    (asked,) = app.shown
    assert PROMPT.splitlines()[0] in asked
    assert not any(row["inputs"]["word"] in asked for row in rows())
    assert "a whole run" in _text(check_view(found))
    assert found.as_json()["pilot"]["seconds"]["run"]["likely"] == speed.run["likely"]


def test_without_an_optimizer_model_the_speed_is_that_of_the_evaluations(pilot):
    speed = pilot("steady", ["exact_match"]).pilot.speed
    assert speed.reply is None


def _text(view) -> str:
    from rich.console import Console

    console = Console(width=120, file=None, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(view)
    return captured.get()
