"""Progress: what the events add up to, where it is written, and what it must not say."""

from __future__ import annotations

import sys

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.events import Evaluated, Incident, Rejected, ScoredRow, event_of
from langchain_promptopt.optimizer.progress import RunProgress, Watcher, bar, expected_of, progress_shown
from langchain_promptopt.presets import lpo_pe2
from langchain_promptopt.strategies.registry import dump
from langchain_promptopt.types import Usage
from tests.support.journals import improved_run
from tests.support.tasks import chain, optimizer, rows

RUN = "c0ffee12ab34cd56"
STARTED = {
    "models": {"task": "x", "optimizer": "y"},
    "recipe": dump(lpo_pe2()),
    "data": {"splits": {"train": 12, "dev": 16, "test": 40}},
}


def expected(**changes):
    return expected_of(event_of({"type": "run.started", "data": STARTED | changes}))


def replay(lines) -> tuple[RunProgress, list[str]]:
    tally = RunProgress()
    said = [text for e in lines if (text := tally.take(event_of(e))) is not None]
    return tally, said


def dev(candidate, score, n):
    return {"type": "evaluated", "data": {"candidate_id": candidate, "split": "dev", "score": score, "n": n}}


def selected(step, *kept):
    return {"type": "selected", "data": {"step": step, "kept": list(kept), "dropped": []}}


def row(candidate, example, score):
    data = {"candidate_id": candidate, "split": "dev", "example_id": example, "scores": {"m": score}, "cached": True}
    return {"type": "scored", "data": data}


def test_in_a_race_the_leader_is_measured_on_rows_that_the_baseline_saw_too():
    """Each candidate sees other rows: the second leader has fewer points in all and is further ahead all the same."""
    tally = RunProgress(seed_id="seed", races=True, weights={"m": 1.0})
    easy, hard = [f"e{i}" for i in range(10)], [f"h{i}" for i in range(10)]
    scored = [row("seed", e, 1.0) for e in easy] + [row("seed", e, 0.0) for e in hard]
    scored += [row("first", e, 1.0) for e in easy] + [row("first", e, 0.0) for e in hard[:5]]
    scored += [row("second", e, 0.5) for e in (*hard, "unseen")]
    said = [tally.take(event_of(e)) for e in (*scored, dev("seed", 0.5, 20), dev("first", 10 / 15, 15))]
    assert said == [None] * len(scored) + ["baseline 50.0 on 20 search examples", None]
    assert "step 1 done: leader +0.0" in tally.take(event_of(selected(1, "seed", "first"))).replace("±", "+")
    assert "step 2 done: leader +50.0 on 10 examples" in tally.take(event_of(selected(2, "second")))


def test_the_end_of_the_budget_is_said_in_a_sentence():
    data = {"role": "engine", "kind": "budget", "action": "stop search", "detail": "the next step does not fit"}
    said = RunProgress().take(event_of({"type": "incident", "data": data | {"retryable": True}}))
    assert said == "the search ends: the next step does not fit"


def test_steps_of_the_method_are_no_incidents_and_retries_are_counted():
    tally = RunProgress()
    plateau = {"role": "method", "kind": "plateau", "action": "one global step", "retryable": False}
    limit = {"role": "task", "kind": "rate_limit", "action": "try 2 in 1.0 s", "retryable": True}
    said = [
        tally.take(event_of({"type": "incident", "data": data})) for data in (plateau, limit, limit, plateau, limit)
    ]
    assert said == [None, "task: rate limit; trying again; retries are counted", None, None, None]
    assert tally.line().endswith("  3 retried")


def test_a_score_on_some_of_the_examples_is_no_new_best():
    """An edit is tried without on a few examples; the mean of those stands beside no other."""
    tally = RunProgress(seed_id="seed")

    def take(candidate, n, score):
        mean = {"candidate_id": candidate, "split": "dev", "n": n, "score": score, "failures": 0, "cached": 0}
        return tally.take(event_of({"type": "evaluated", "data": mean}))

    assert take("seed", 80, 0.6) == "baseline 60.0 on 80 search examples"
    assert take("part", 11, 1.0) is None
    assert take("some failed", 76, 0.7) == "new best 70.0 (candidate some fai)"
    assert tally.best == 0.7


def test_a_run_is_told_in_a_few_lines():
    tally, said = replay(improved_run())
    assert said[0] == "run c0ffee12ab34cd56: lpo-pe2 on support-triage (train 60, dev 60, test 80)"
    assert said[1] == "baseline 50.0 on 10 search examples"
    assert "new best 70.0" in said[2]
    assert said[-1] == "test decided: improved"
    assert "task: rate limit; trying again; retries are counted" in " ".join(said)
    assert (tally.step, tally.phase, tally.best) == (2, "test", 0.8)
    assert tally.calls == 10 * 4 + 12 * 2 + 1
    assert tally.line() == "test  best 80.0 (+30.0)  65 calls  $0.01  1 retried"


def test_scores_of_an_unfinished_test_are_not_shown():
    lines = improved_run()
    test_rows = [e for e in lines if e["data"].get("split") == "test"]
    assert test_rows
    tally, _ = replay(lines[:10])
    before = (tally.best, tally.base)
    said = [tally.take(event_of(e)) for e in test_rows]
    assert said == [None] * len(test_rows)
    assert (tally.best, tally.base) == before


def test_cached_rows_cost_nothing_and_an_unknown_price_stays_unknown():
    tally = RunProgress(seed_id="a")
    row = {"candidate_id": "a", "split": "dev", "usage": {"calls": 1, "usd": 1.0}, "cached": True}

    def take(**changes):
        tally.take(event_of({"type": "scored", "data": row | changes}))

    take()
    assert (tally.calls, tally.usd) == (0, 0.0)
    take(cached=False, usage={"calls": 1, "usd": None})
    take(cached=False)
    assert (tally.calls, tally.usd) == (2, None)
    assert "unknown" in tally.line()


def test_offline_models_cost_nothing():
    lines = improved_run(models={"task": "openai:x", "optimizer": "offline"})
    for e in lines:
        if e["type"] == "called":
            e["data"]["usage"]["usd"] = None
    assert replay(lines)[0].usd == pytest.approx(64 * 0.0001)


def test_an_event_without_news_is_passed_over():
    tally = RunProgress()
    assert tally.take(Rejected(parent_id="a", step=1, rule="VARS", detail="")) is None
    assert tally == RunProgress()


def test_lines_go_to_stderr_only_with_hidden_characters_spelled_out(capfd):
    with progress_shown(True) as observers:
        observers[0].on_event(Incident(role="task", kind="x\x1b[2J", retryable=True, action="wait"))
        observers[0].on_event(
            Evaluated(candidate_id="c", split="test", n=1, score=1.0, failures=0, cached=0, usage=Usage())
        )
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "task: x⟦U+001B⟧[2J; wait\n"


def test_a_terminal_gets_a_live_line_that_goes_away(monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown: list[str] = []
    watcher = Watcher(shown.append, lambda line, share: shown.append(f"{line} {share}"))
    row = ScoredRow(
        candidate_id="c", split="dev", example_id="r", repeat=0, scores={"m": 1.0}, comments={}, failure=None,
        cached=False, usage=Usage(calls=3), model_served=None,
    )  # fmt: skip
    watcher.on_event(row)
    assert shown == ["baseline  no score yet  3 calls  $0 None"]
    with progress_shown(True) as observers:
        observers[0].on_event(row)
    assert capfd.readouterr().out == ""


def shares(result) -> list[tuple[str, float]]:
    """Phase and share after each event of a run."""
    tally, out = RunProgress(), []
    for event in result.events():
        tally.take(event_of(event))
        out.append((tally.phase, tally.share))
    return out


def test_the_bar_only_grows_and_ends_full():
    result = optimize(
        chain(), data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(), method="lpo-pe2", runs_dir=None,
        openings=None,
    )  # fmt: skip
    seen = shares(result)
    values = [share for _, share in seen]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 1.0)
    phases = list(dict.fromkeys(phase for phase, _ in seen))
    assert (phases[:2], phases[-1]) == (["baseline", "step 1 of 3"], "test")
    assert max(share for phase, share in seen if phase != "test") <= 1 - 80 / (80 + 37 * 16)


def test_the_bar_knows_the_budget_of_the_search():
    free = expected()
    bound = expected(config={"budget": {"search_calls": 50}})
    assert (bound.search, bound.test, bound.steps) == (50, free.test, free.steps)
    assert free.search > 50


def test_no_share_is_told_where_nobody_can_know_it():
    assert expected(models={"task": "x"}) is None
    assert expected(recipe={"name": "mine", "scope": {"kind": "mine:Scope"}}) is None
    assert bar(None).plain == "⏵ "
    assert bar(0.5).plain.count("━") == bar(0.5).plain.count("─")
    assert bar(1.0).plain.endswith("100%  ")
