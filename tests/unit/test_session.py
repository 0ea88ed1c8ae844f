"""The loop from outside: the same run as in one process, whoever evaluates, in whatever order, whoever dies."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from langchain_promptopt import Budget, PromptOptimizer, optimize
from langchain_promptopt.errors import ConfigError, RunBusy, TooManyFailures
from langchain_promptopt.store import read_events
from langchain_promptopt.types import Cell, Failure, Outcome, Usage
from tests.support.tasks import PROMPT, chain, improve, optimizer, rows

FAMILIES = {"local": "lpo-pe2", "global": "gpo", "bandit": "apo", "race": "robust"}
OTHERS = ("pe2", "pe2-hist", "lpo-apo", "lpo-gpo", "lpo-opro", "opro", "sgdm", "gpo-code", "apo-pe2")


def brain(messages):
    """Answers the questions of every preset."""
    request = str(messages[-1].text)
    if "Repeat the whole prompt" in request:
        return PROMPT.replace("PLANT", "<edit>PLANT</edit>")
    return PROMPT.replace("PLANT", "animal") if "Reply with the whole prompt" in request else improve(messages)


def arguments(folder, **more):
    given = {"data": rows(), "evaluators": ["exact_match"], "method": "lpo-pe2", "optimizer_model": optimizer(brain)}
    return given | {"runs_dir": folder / "runs", "openings": folder / "openings.jsonl"} | more


def transcript(result):
    def timeless(data):
        return {k: v for k, v in data.items() if k not in {"usage", "time"}}

    return sorted(json.dumps([e["type"], timeless(e["data"])], sort_keys=True) for e in result.events())


def counted(result):
    return {role: (u["calls"], u["input_tokens"]) for role, u in result.usage["by_role"].items()}


def drive(session, seed=0):
    """Tell some of what is open, in a drawn order, until the run is over; returns how often."""
    rng, rounds = random.Random(seed), 0
    while jobs := list(session.propose()):
        assert session.propose() == tuple(jobs)
        rng.shuffle(jobs)
        part = jobs[: rng.randint(1, len(jobs))]
        rounds += 1
        assert session.tell(session.evaluate(part)) == len(jobs) - len(part)
    return rounds


@pytest.mark.parametrize("method", [*FAMILIES.values(), *(pytest.param(m, marks=pytest.mark.campaign) for m in OTHERS)])
def test_a_run_driven_from_outside_is_the_run_in_one_process(method, tmp_path):
    """Every family, outcomes in another order and in pieces: same transcript, same bill, same chain."""
    inside, outside = chain(), chain()
    more = {"method": method, "budget": Budget(search_calls=600)}
    whole = optimize(inside, **arguments(tmp_path / "inside", **more))
    with PromptOptimizer(**arguments(tmp_path / "outside", **more)).session(outside) as session:
        assert drive(session, seed=3) > 5
    result = session.result()
    assert whole.outcome == "improved"
    assert transcript(result) == transcript(whole)
    assert counted(result) == counted(whole)
    assert (whole.applied, result.applied) == (True, True)
    assert outside.first.messages[0].prompt.template == inside.first.messages[0].prompt.template != PROMPT


def test_what_was_told_is_on_disk_in_whatever_order_it_came(tmp_path):
    """A process that dies right after `tell` has lost nothing; the next one asks for the rest only."""
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        jobs = session.propose()
        for part in (jobs[9:11], jobs[3:6]):
            session.tell(session.evaluate(part))
            journal = tmp_path / "runs" / session.run_id / "journal.jsonl"
            told = [e["data"]["example_id"] for e in read_events(journal) if e["type"] == "scored"]
            assert set(told) >= {job.cell.example_id for job in part}
        assert len(told) == 5
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        assert [j.cell for j in session.propose()] == [j.cell for j in jobs if j.cell.example_id not in told]
        drive(session)
        assert session.result().outcome == "improved"


def test_a_process_that_dies_between_propose_and_tell_leaves_the_same_cells_open(tmp_path):
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        jobs = session.propose()
        outcomes = session.evaluate(jobs)  # answers are there, and nobody told them
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        assert session.tell(outcomes[:4]) == len(jobs) - 4  # the workers' answers are still good
        assert [j.cell for j in session.propose()] == [j.cell for j in jobs[4:]]


def test_an_answer_told_twice_counts_once(tmp_path):
    """Whoever delivers at least once may do so, in the same process and in the next."""
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        jobs = session.propose()
        outcomes = [Outcome(job.cell, {"exact_match": 0.5}, "x", usage=Usage(calls=1)) for job in jobs]
        assert session.tell([*outcomes[:3], *outcomes[:3]]) == len(jobs) - 3
        assert session.tell(outcomes[:3]) == len(jobs) - 3
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        session.tell(outcomes[:5])
        assert len(session.propose()) == len(jobs) - 5
        spent = session._ready.run.ledger.as_json()
    assert spent["by_role"]["task"]["calls"] == 5


def test_calls_of_a_judge_elsewhere_are_counted_as_its_own(tmp_path):
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        job = session.propose()[0]
        judged = Outcome(job.cell, {"exact_match": 1.0}, "x", usage=Usage(calls=3), judge=Usage(calls=2))
        session.tell([judged])
        by_role = session._ready.run.ledger.as_json()["by_role"]
    assert (by_role["task"]["calls"], by_role["judge"]["calls"]) == (1, 2)


def test_outcomes_nobody_asked_for_are_refused_and_nothing_is_taken(tmp_path):
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        jobs = session.propose()
        good = Outcome(jobs[0].cell, {"exact_match": 1.0})
        with pytest.raises(ConfigError, match="not proposed"):
            session.tell([good, Outcome(Cell("nobody", "dev", "dev-0"), {"exact_match": 1.0})])
        assert session.propose() == jobs
        with pytest.raises(RuntimeError, match="not over"):
            session.result()


def test_an_outage_outside_stops_the_run_like_one_inside(tmp_path):
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        lost = [replace(o, scores={}, failure=Failure("connection", "refused")) for o in blank(session.propose())]
        session.tell(lost)
        with pytest.raises(TooManyFailures) as caught:
            session.propose()
    assert caught.value.exit_code == 5
    assert caught.value.facts["run_id"] == session.run_id


def blank(jobs):
    return [Outcome(job.cell, {"exact_match": 1.0}) for job in jobs]


def test_a_run_has_one_driver_at_a_time(tmp_path):
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        with pytest.raises(RunBusy, match="is working on this run"):
            PromptOptimizer(**arguments(tmp_path)).session(chain())
        session.propose()
    with PromptOptimizer(**arguments(tmp_path)).session(chain()) as session:
        assert session.propose()
