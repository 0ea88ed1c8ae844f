"""Conformance classes of the five ports: ExampleSource, Executor, Store, Observer, PromptSink."""

# ruff: noqa: S101 - assertions are what these classes are made of

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from langchain_promptopt.errors import ConflictError
from langchain_promptopt.events import Called, Evaluated, FeedbackGiven, Incident, Rejected, RunFinished, ScoredRow
from langchain_promptopt.ports import Executor, Job
from langchain_promptopt.testing.samples import sample_candidate, sample_examples, sample_prompts
from langchain_promptopt.types import SPLITS, Cell, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.events import Event
    from langchain_promptopt.ports import ExampleSource, Observer, PromptSink, Store


def sample_events() -> tuple[Event, ...]:
    """One event of each kind that ports meet most."""
    outcome = Outcome(Cell("c1", "dev", "d0"), {"em": 1.0}, "ünïcode\u2028\n")
    return (
        Called(key="1/c1/0/reflect/0:ab", role="optimizer", step=1, reply="- a reason", usage=Usage(calls=1)),
        ScoredRow.of(outcome),
        Evaluated(candidate_id="c1", split="dev", n=1, score=1.0, failures=0, cached=0, usage=Usage()),
        FeedbackGiven(candidate_id="c1", text="too vague", example_ids=("d0",), step=1),
        Rejected(parent_id="c1", step=1, rule="no_op", detail="the reply changes nothing"),
        Incident(role="task", kind="rate_limit", retryable=True, action="try 2 in 1.0 s"),
        RunFinished(outcome="no_gain", exit_code=3, best_candidate_id="c1", usage={"calls": 1}),
    )


class ExampleSourceTests:
    """Laws of port 1."""

    @pytest.fixture
    def source(self) -> ExampleSource:
        """The port under test, with rows in it."""
        raise NotImplementedError

    def test_rows_have_ids_and_one_split(self, source: ExampleSource) -> None:
        """Known split names, ids unique over all splits, the same rows at each load."""
        data = source.load()
        assert set(data.splits) <= set(SPLITS)
        ids = [e.id for rows in data.splits.values() for e in rows]
        assert ids
        assert len(set(ids)) == len(ids)
        assert {s: [e.id for e in rows] for s, rows in source.load().splits.items()} == {
            s: [e.id for e in rows] for s, rows in data.splits.items()
        }
        assert data["no such split"] == ()


class ExecutorTests:
    """Laws of port 2."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The port under test, able to answer `jobs`."""
        raise NotImplementedError

    @pytest.fixture
    def jobs(self) -> Sequence[Job]:
        """Cells to run; override where the port needs others."""
        candidate = sample_candidate(0)
        return [Job(Cell(candidate.id, "train", e.id), candidate, e) for e in sample_examples(5)]

    def test_each_job_is_done_once(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """In any order; every outcome is for the cell it was asked for."""
        seen: list[Outcome] = []

        async def done(outcome: Outcome) -> None:
            seen.append(outcome)

        asyncio.run(executor.evaluate(jobs, done))
        assert sorted(o.cell for o in seen) == sorted(j.cell for j in jobs)
        assert all(o.scores or o.failure for o in seen)
        assert isinstance(executor, Executor)

    def test_nothing_to_do_is_nothing_done(self, executor: Executor) -> None:
        """No job, no call."""

        async def done(outcome: Outcome) -> None:
            pytest.fail(f"nobody asked for {outcome}")

        asyncio.run(executor.evaluate([], done))

    def test_what_done_raises_ends_it(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """The engine stops a run this way; the error must come through."""

        async def done(outcome: Outcome) -> None:  # noqa: ARG001
            msg = "enough"
            raise ArithmeticError(msg)

        with pytest.raises(ArithmeticError, match="enough"):
            asyncio.run(executor.evaluate(jobs, done))


class StoreTests:
    """Laws of port 3."""

    @pytest.fixture
    def store(self) -> Store:
        """The port under test, empty."""
        raise NotImplementedError

    def test_what_is_appended_is_there_in_order(self, store: Store) -> None:
        """Lines are numbered from 1, dated in UTC, and hold exactly the event's data; reading changes nothing."""
        for event in sample_events():
            store.append(event)
        lines = list(store.events())
        assert [line["type"] for line in lines] == [e.type for e in sample_events()]
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        for line, event in zip(lines, sample_events(), strict=True):
            assert line["data"] == json.loads(json.dumps(event.as_json()))
            moment = datetime.fromisoformat(str(line["time"]))
            assert moment.utcoffset() is not None
        assert list(store.events()) == lines


class ObserverTests:
    """Laws of port 4."""

    @pytest.fixture
    def observer(self) -> Observer:
        """The port under test."""
        raise NotImplementedError

    def test_every_event_is_taken_and_nothing_is_answered(self, observer: Observer) -> None:
        """Watching is not steering; events of later versions are no surprise."""
        watch: Any = observer.on_event  # a port that answered could not be told from one that steers
        for event in sample_events():
            assert watch(event) is None


class PromptSinkTests:
    """Laws of port 5."""

    @pytest.fixture
    def sink(self) -> PromptSink:
        """The port under test, with nothing published."""
        raise NotImplementedError

    def test_a_push_on_an_old_head_is_refused(self, sink: PromptSink) -> None:
        """Each push names a new commit; somebody else's commit is never overwritten."""
        first = sink.push(sample_prompts(), message="first", parent=None, tag=None)
        second = sink.push(sample_candidate(1).prompts, message="second", parent=first, tag="staging")
        assert first
        assert second != first
        with pytest.raises(ConflictError):
            sink.push(sample_candidate(2).prompts, message="late", parent=first, tag=None)
