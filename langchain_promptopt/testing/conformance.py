"""Conformance classes: subclass one, give the fixture, and the laws of a Protocol or port are tested.

    class TestMine(MemoryTests):
        @pytest.fixture
        def memory(self):
            return Mine()

First the ports, then the strategy Protocols A1 to A14.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from langchain_promptopt._collections import ids_of
from langchain_promptopt._text.document import overlaps
from langchain_promptopt.errors import ConflictError
from langchain_promptopt.events import Called, Evaluated, FeedbackGiven, Incident, Rejected, RunFinished, ScoredRow
from langchain_promptopt.protocols import GuardContext, PartialScoring, Progress
from langchain_promptopt.testing.executors import ExecutorTests as ExecutorTests
from langchain_promptopt.testing.samples import (
    SampleBench,
    SampleTrainBench,
    sample_ask,
    sample_candidate,
    sample_edit,
    sample_examples,
    sample_piece,
    sample_prompts,
    sample_rows,
    sample_trajectory,
    unchanged_by,
)
from langchain_promptopt.types import (
    SPLITS,
    Attempt,
    Batch,
    Candidate,
    Cell,
    Draft,
    Outcome,
    Prompt,
    PromptSet,
    Span,
    Stop,
    Usage,
    Workpiece,
    attempts_by_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.events import Event
    from langchain_promptopt.ports import DataSet, ExampleSource, Observer, PromptSink, Store
    from langchain_promptopt.protocols import (
        Control,
        Evidence,
        Final,
        Guards,
        Incumbent,
        Memory,
        Proposals,
        Refinement,
        Reflection,
        Scope,
        Scoring,
        Search,
        Seeding,
        Stopping,
        Trials,
    )


def run(work: Any) -> Any:
    """The result of a coroutine."""
    return asyncio.run(work)


def sample_events() -> tuple[Event, ...]:
    """One event of each kind that ports see most."""
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


def _ids(attempts: Iterable[Attempt]) -> list[str]:
    return [a.candidate.id for a in attempts]


def _ids_by_split(data: DataSet) -> dict[str, list[str]]:
    found = {}
    for split, rows in data.splits.items():
        found[split] = ids_of(rows)
    return found


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
        by_split = _ids_by_split(data)
        ids = list(chain.from_iterable(by_split.values()))
        assert ids
        assert len(set(ids)) == len(ids)
        assert _ids_by_split(source.load()) == by_split
        assert data["no such split"] == ()


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
        types = [line["type"] for line in lines]
        assert types == [e.type for e in sample_events()]
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
        watch: Any = observer.on_event  # an observer that returns something might be meant to steer
        for event in sample_events():
            assert watch(event) is None


class PromptSinkTests:
    """Laws of port 5."""

    @pytest.fixture
    def sink(self) -> PromptSink:
        """The port under test, with nothing published."""
        raise NotImplementedError

    def test_a_push_on_an_old_head_is_refused(self, sink: PromptSink) -> None:
        """Each push names a new commit; a commit of another author is never overwritten."""
        first = sink.push(sample_prompts(), message="first", parent=None, tag=None)
        second = sink.push(sample_candidate(1).prompts, message="second", parent=first, tag="staging")
        assert first
        assert second != first
        with pytest.raises(ConflictError):
            sink.push(sample_candidate(2).prompts, message="late", parent=first, tag=None)


class SeedingTests:
    """Laws of A1."""

    @pytest.fixture
    def seeding(self) -> Seeding:
        """The strategy under test."""
        raise NotImplementedError

    def test_seeds_are_distinct_lawful_and_repeatable(self, seeding: Seeding) -> None:
        """Same arguments, same seeds; each has the variables of the user's own prompt; no state is kept."""
        seed, train = Candidate(sample_prompts()), sample_examples()
        first = run(seeding.seeds(seed, train, sample_ask()))
        ids = ids_of(first)
        assert unchanged_by(seeding, lambda: run(seeding.seeds(seed, train, sample_ask())))
        assert ids_of(run(seeding.seeds(seed, train, sample_ask()))) == ids
        assert len(set(ids)) == len(ids)
        for made in first:
            assert made.prompts["main"].signature == seed.prompts["main"].signature
            assert made.parents == (seed.id,)


class EvidenceTests:
    """Laws of A2."""

    @pytest.fixture
    def evidence(self) -> Evidence:
        """The strategy under test."""
        raise NotImplementedError

    def test_wanted_rows_are_train_rows_each_once(self, evidence: Evidence) -> None:
        """A subset of the ids; the same draw for the same randomness."""
        ids = ids_of(sample_examples())
        found = evidence.wanted(ids, Random(3))
        assert set(found) <= set(ids)
        assert len(set(found)) == len(found)
        assert evidence.wanted(ids, Random(3)) == found

    def test_batches_hold_given_rows_and_are_at_most_m(self, evidence: Evidence) -> None:
        """Nothing is made up, errors are errors, and the same randomness gives the same batches."""
        rows = sample_rows()
        bare = tuple(replace(s, output=None, score=0.0) for s in rows)
        found = evidence.batches(rows, bare, 3, Random(5))
        assert len(found) <= 3
        assert found == evidence.batches(rows, bare, 3, Random(5))
        for batch in found:
            assert all(s in rows for s in (*batch.errors, *batch.correct))
            assert all(s in rows or s in bare for s in batch.formats)
            assert all(s.score < 1.0 for s in batch.errors)
            assert all(s.score >= 1.0 for s in batch.correct)

    def test_rows_that_are_all_right_are_no_errors(self, evidence: Evidence) -> None:
        """Where outcomes are used and nothing is wrong there is no batch, so no call is paid for (A5)."""
        right = tuple(replace(s, score=1.0) for s in sample_rows())
        ids = [s.example_id for s in right]
        found = evidence.batches(right, right, 3, Random(5))
        assert not any(b.errors for b in found)
        if evidence.wanted(ids, Random(3)):
            assert found == ()


class ReflectionTests:
    """Laws of A3."""

    @pytest.fixture
    def feedback(self) -> Reflection:
        """The strategy under test."""
        raise NotImplementedError

    def test_prompts_and_evidence_stay(self, feedback: Reflection) -> None:
        """Only feedback and turns are added, about rows of the batch; repeatable."""
        piece = sample_piece()
        found = run(feedback.reflect(piece, sample_ask()))
        assert found == run(feedback.reflect(piece, sample_ask()))
        for out in found:
            assert (out.prompts, out.batch, out.drafts, out.spans) == (piece.prompts, piece.batch, (), None)
            if out.feedback is not None:
                assert set(out.feedback.example_ids) <= set(piece.batch.example_ids)


class MemoryTests:
    """Laws of A4."""

    @pytest.fixture
    def memory(self) -> Memory:
        """The strategy under test."""
        raise NotImplementedError

    def test_an_empty_trajectory_gives_nothing(self, memory: Memory) -> None:
        """And no model call."""
        assert run(memory.retrieve((), sample_trajectory()[0], sample_ask())) == ()

    def test_members_of_the_trajectory_each_once(self, memory: Memory) -> None:
        """At most k where there is a k; candidates dropped by a race have no score to show."""
        trajectory = sample_trajectory()
        found = run(memory.retrieve(trajectory, trajectory[1], sample_ask()))
        ids = [r.attempt.candidate.id for r in found]
        assert set(ids) <= {a.candidate.id for a in trajectory if not a.out}
        assert len(set(ids)) == len(ids)
        assert len(found) <= getattr(memory, "k", len(trajectory))

    def test_the_same_arguments_give_the_same_answer(self, memory: Memory) -> None:
        """Order included; nothing is remembered between calls."""
        trajectory = sample_trajectory()
        first = run(memory.retrieve(trajectory, trajectory[1], sample_ask()))
        run(memory.retrieve(trajectory[:2], trajectory[0], sample_ask()))
        assert run(memory.retrieve(trajectory, trajectory[1], sample_ask())) == first


class ScopeTests:
    """Laws of A5."""

    @pytest.fixture
    def scope(self) -> Scope:
        """The strategy under test."""
        raise NotImplementedError

    def test_spans_are_lawful(self, scope: Scope) -> None:
        """Sorted, disjoint, outside variables and frozen text; the prompt is as it was; repeatable."""
        piece = sample_piece()
        found = run(scope.resolve(piece, sample_ask()))
        assert found == run(scope.resolve(piece, sample_ask()))
        assert found.prompts == piece.prompts
        message = piece.prompts["main"].messages[0]
        end = 0
        for span in found.spans or ():
            assert end <= span.start <= span.end <= len(message.template)
            assert not overlaps(message.parsed.atom_ranges, span.start, span.end)
            end = span.end

    def test_frozen_prompts_give_no_span(self, scope: Scope) -> None:
        """Nothing may change where everything is frozen."""
        message = replace(sample_prompts()["main"].messages[0], editable=False)
        piece = sample_piece(PromptSet((Prompt("main", (message,)),)))
        found = run(scope.resolve(piece, sample_ask()))
        assert found.spans in {None, ()}
        assert found.spans is None or found.rejections


class ControlTests:
    """Laws of A6."""

    @pytest.fixture
    def control(self) -> Control:
        """The strategy under test."""
        raise NotImplementedError

    def test_allowances_are_positive_and_repeatable(self, control: Control) -> None:
        """At least one word at every step, or no limit."""
        for total in (1, 2, 18):
            for t in range(1, total + 1):
                found = control.allowance(t, total)
                assert found == control.allowance(t, total)
                assert found.words is None or found.words >= 1
                assert found.spans is None or found.spans >= 1
                assert found.words is not None or not found.enforced


class RefinementTests:
    """Laws of A7."""

    @pytest.fixture
    def refine(self) -> Refinement:
        """The strategy under test."""
        raise NotImplementedError

    def marked(self) -> Workpiece:
        """A piece with one place to change."""
        piece = sample_piece()
        at = piece.prompts["main"].messages[0].template.index("PLANT")
        return replace(piece, spans=(Span("main", 0, at, at + 5),), span_reasons=("",))

    @pytest.mark.parametrize("local", [True, False])
    def test_drafts_are_spliced_from_the_parent(self, refine: Refinement, local: bool) -> None:  # noqa: FBT001
        """Text changes inside the spans only, variables stay, and there are at most as many drafts as asked for."""
        piece = self.marked() if local else sample_piece()
        out = run(refine.propose(piece, sample_ask()))
        assert out.drafts
        assert len(out.drafts) <= piece.children
        for draft in out.drafts:
            assert piece.prompts.apply(draft.edits).id == draft.prompts.id
            assert draft.prompts["main"].signature == piece.prompts["main"].signature
            assert not local or {e.span for e in draft.edits} <= set(piece.spans or ())

    @pytest.mark.parametrize("reply", ["", "no", "<START>", "{", "[]", '{"1": 5}', '{"9": {"new": "x"}}'])
    def test_a_useless_reply_is_refused_and_counted(self, refine: Refinement, reply: str) -> None:
        """Never an exception, never a child made of nothing."""
        for piece in (self.marked(), sample_piece()):
            out = run(refine.propose(piece, sample_ask(lambda _: reply)))
            assert out.drafts == ()
            assert out.rejections


class AlwaysYes:
    """An incumbent rule for tests of searches."""

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:  # noqa: ARG002
        """Whatever comes."""
        return not challenger.out


class ProposalsTests:
    """Laws of A8. `refine` writes the paraphrases a strategy may ask for."""

    @pytest.fixture
    def proposals(self) -> Proposals:
        """The strategy under test."""
        raise NotImplementedError

    @pytest.fixture
    def refine(self) -> Refinement:
        """A refinement to augment with."""
        raise NotImplementedError

    def test_counts(self, proposals: Proposals) -> None:
        """At least one batch and one child."""
        assert proposals.per_parent >= 1
        assert proposals.per_call >= 1

    def test_prune_keeps_some_in_their_order(self, proposals: Proposals) -> None:
        """A part of what came, in the order it came, the same for the same randomness."""
        parent, fresh = sample_trajectory()[0], list(map(sample_candidate, range(20)))
        kept = proposals.prune(fresh, parent, Random(1))
        assert list(kept) == [c for c in fresh if c in kept]
        assert proposals.prune(fresh, parent, Random(1)) == kept
        assert proposals.prune([], parent, Random(1)) == ()
        assert not proposals.keeps_all or list(kept) == fresh

    def test_augment_keeps_the_drafts(self, proposals: Proposals, refine: Refinement) -> None:
        """Paraphrases come after what is there; each is an edit of the parent."""
        piece = run(refine.propose(sample_piece(children=1), sample_ask()))
        out = run(proposals.augment(piece, refine, sample_ask()))
        assert out.drafts[: len(piece.drafts)] == piece.drafts
        for draft in out.drafts:
            assert piece.prompts.apply(draft.edits).id == draft.prompts.id


class TrialsTests:
    """Laws of A8b."""

    @pytest.fixture
    def trials(self) -> Trials:
        """The strategy under test."""
        raise NotImplementedError

    def family(self) -> tuple[list[tuple[Batch, list[Candidate]]], SampleTrainBench]:
        """Two batches with two children each, of which every second is right on all rows."""
        shown = sample_rows()
        batches = [Batch(errors=shown[1:3], correct=shown[:1]), Batch(errors=shown[4:6], correct=shown[3:4])]
        children = list(map(sample_candidate, range(4)))
        before = {s.example_id: s.score for s in shown}
        after = {c.id: float(i % 2) for i, c in enumerate(children)}
        bench = SampleTrainBench(Candidate(sample_prompts()), before, after)
        return list(zip(batches, (children[:2], children[2:]), strict=True)), bench

    def test_what_goes_on_was_a_child_or_is_made_of_edits_of_children(self, trials: Trials) -> None:
        """Nothing is made up, nothing is there twice, and the same bench gives the same answer."""
        family, bench = self.family()
        children: set[Candidate] = set()
        for _, made in family:
            children.update(made)
        found = run(trials.sift(family, bench))
        edits = set(chain.from_iterable(c.edits for c in children))
        assert edits.issuperset(chain.from_iterable(c.edits for c in found))
        assert len(set(ids_of(found))) == len(found)
        assert set(found) <= children | set(bench.joined)
        assert run(trials.sift(*self.family())) == found
        assert run(trials.sift([], bench)) == ()

    def test_rows_stay_within_what_was_claimed(self, trials: Trials) -> None:
        """Each child is run on no more rows than `rows` says; where nothing is tried, no row is run."""
        family, bench = self.family()
        run(trials.sift(family, bench))
        most = max(trials.rows(batch) for batch, _ in family)
        mine = set()
        for _, made in family:
            for c in made:
                mine.add(c.id)
        assert max([len(rows) for i, rows in bench.asked.items() if i in mine], default=0) <= most
        assert trials.rows(Batch()) >= 0

    def test_some_of_some_pass(self, trials: Trials) -> None:
        """At least one and at most all; more children never mean fewer."""
        found = list(map(trials.passing, range(5)))
        assert found == sorted(found)
        assert all(min(1, n) <= passing <= n for n, passing in enumerate(found))

    def test_without_budget_there_is_no_evaluation(self, trials: Trials) -> None:
        """What cannot be claimed is not run."""
        family, bench = self.family()
        bench.left = 0
        run(trials.sift(family, bench))
        assert not bench.asked


class GuardsTests:
    """Laws of A9."""

    @pytest.fixture
    def guards(self) -> Guards:
        """The strategy under test."""
        raise NotImplementedError

    def context(self, *known: str) -> GuardContext:
        """What guards may know."""
        return GuardContext(sample_piece(), "spans", frozenset(known))

    def draft(self, old: str, new: str) -> tuple[PromptSet, Draft]:
        """A parent and a child with one edit."""
        parent = sample_prompts()
        edit = sample_edit(parent, old, new)
        return parent, Draft(parent.apply([edit]), (edit,))

    def test_a_harmless_child_passes_and_a_known_one_does_not(self, guards: Guards) -> None:
        """A small edit is accepted once."""
        parent, draft = self.draft("PLANT", "animal")
        assert guards.check(parent, draft, self.context()) is None
        assert guards.check(parent, draft, self.context(draft.prompts.id)) is not None

    @pytest.mark.parametrize("new", ["", "{other}", "{word} {word}", "{", "}} {"])
    def test_variables_are_kept(self, guards: Guards, new: str) -> None:
        """VARS holds for any text of a child, and a child that does not parse never raises."""
        parent, draft = self.draft("{word}", new)
        assert guards.check(parent, draft, self.context()) is not None

    def test_text_outside_the_edits_is_kept(self, guards: Guards) -> None:
        """LOCAL: a draft that says less than it changed is refused."""
        parent, draft = self.draft("PLANT", "animal")
        lying = Draft(draft.prompts.apply([sample_edit(draft.prompts, "stone", "rock")]), draft.edits)
        assert guards.check(parent, lying, self.context()) is not None


class ScoringTests:
    """Laws of A10."""

    @pytest.fixture
    def scoring(self) -> Scoring:
        """The strategy under test."""
        raise NotImplementedError

    def score(self, scoring: Scoring, n: int = 6) -> tuple[list[Candidate], tuple[Attempt, ...], SampleBench]:
        """Fresh candidates of rising quality, and what became of them."""
        fresh = list(map(sample_candidate, range(n)))
        bench = SampleBench({c.id: (i + 1) / (n + 1) for i, c in enumerate(fresh)})
        return fresh, run(scoring.score(fresh, [], bench)), bench

    def test_every_fresh_candidate_gets_an_attempt(self, scoring: Scoring) -> None:
        """Its score is the mean of the rows it saw, all of them rows of the bench; the same again on a new bench."""
        fresh, found, bench = self.score(scoring)
        assert set(_ids(found)) == set(ids_of(fresh))
        for attempt in found:
            assert set(attempt.by_example) <= set(bench.examples)
            assert attempt.n
            assert attempt.score == pytest.approx(sum(attempt.by_example.values()) / attempt.n)
        assert self.score(scoring)[1] == found

    def test_who_is_left_was_measured_on_as_many_rows(self, scoring: Scoring) -> None:
        """A candidate dropped early never saw more than one that stayed; eager scoring uses every row."""
        _, found, bench = self.score(scoring)
        stay = [a.n for a in found if not a.out]
        assert stay
        assert max([a.n for a in found if a.out], default=0) <= max(stay)
        assert not scoring.eager or all(a.n == bench.n for a in found)
        assert 0 < scoring.least(bench.n) <= bench.n

    def test_scores_are_brought_on_the_scale_of_the_leader(self, scoring: Scoring) -> None:
        """None is lost, and the leader stays as it is."""
        _, found, _bench = self.score(scoring)
        leader = max((a for a in found if not a.out), key=lambda a: a.score)
        again = scoring.comparable(found, leader)
        assert _ids(again) == _ids(found)
        assert leader in again

    def test_a_scoring_that_starts_on_a_part_of_the_rows_can_make_up_for_it(self, scoring: Scoring) -> None:
        """The baseline sees a row at the least; those who catch up have seen every row."""
        if not isinstance(scoring, PartialScoring):
            return
        _, found, bench = self.score(scoring)
        assert 0 < scoring.first(bench.n) <= bench.n
        assert scoring.still >= 1
        again = run(scoring.catch_up(found[:2], bench))
        assert _ids(again) == _ids(found[:2])
        assert all(a.n == bench.n for a in again)

    def test_nothing_fresh_is_nothing_to_do(self, scoring: Scoring) -> None:
        """No candidates, no attempts of them."""
        assert run(scoring.score([], [], SampleBench({}))) == ()


class SearchTests:
    """Laws of A11."""

    @pytest.fixture
    def search(self) -> Search:
        """The strategy under test."""
        raise NotImplementedError

    def test_parents_are_known_and_fully_scored(self, search: Search) -> None:
        """At least one while there is something to expand; never one that a race dropped."""
        trajectory = sample_trajectory()
        kept = trajectory[:3]
        found = search.parents(trajectory, kept, 1, Random(2))
        assert found
        assert set(_ids(found)) <= {a.candidate.id for a in trajectory if not a.out}
        assert search.parents(trajectory, kept, 1, Random(2)) == found

    def test_survivors_and_dropped_are_what_came(self, search: Search) -> None:
        """Nothing is lost without a reason, and nothing that a race dropped survives."""
        trajectory = sample_trajectory()
        found = search.admit(trajectory[:2], trajectory[2:], 1, AlwaysYes())
        ids = set(attempts_by_id(found.kept))
        assert ids
        assert not any(a.out for a in found.kept)
        assert ids | set(found.dropped) == set(attempts_by_id(trajectory))
        assert not ids & set(found.dropped)
        assert search.admit(trajectory[:2], trajectory[2:], 1, AlwaysYes()) == found


class IncumbentTests:
    """Laws of A12."""

    @pytest.fixture
    def incumbent(self) -> Incumbent:
        """The strategy under test."""
        raise NotImplementedError

    def test_a_clear_win_is_accepted_and_a_race_loser_is_not(self, incumbent: Incumbent) -> None:
        """Better on all of forty rows takes over; a score measured on part of the rows never does."""
        rows = [f"d{i}" for i in range(40)]
        old = Attempt(sample_candidate(0), 0.0, dict.fromkeys(rows, 0.0))
        new = Attempt(sample_candidate(1), 1.0, dict.fromkeys(rows, 1.0))
        assert incumbent.accepts(new, old)
        assert not incumbent.accepts(Attempt(new.candidate, 1.0, new.by_example, out=True), old)
        assert unchanged_by(incumbent, lambda: incumbent.accepts(old, new))


class StoppingTests:
    """Laws of A13."""

    @pytest.fixture
    def stop(self) -> Stopping:
        """The strategy under test."""
        raise NotImplementedError

    def test_a_search_that_gains_goes_on(self, stop: Stopping) -> None:
        """No reason after a first gain; the limit is a whole number, the same each time."""
        first, second = (Attempt(sample_candidate(i), 0.3 + i / 10, {"d0": 0.3 + i / 10}) for i in range(2))
        progress = Progress(1, (first, second), dev_size=50)
        assert stop.reason(progress) is None
        assert stop.total(48) == stop.total(48) >= 0

    def test_running_away_from_val_ends_it(self, stop: Stopping) -> None:
        """Overfitting first: dev far above val and no gain there for two steps (spec 1.6)."""
        found = []
        for i in range(4):
            found.append(Attempt(sample_candidate(i), 0.5 + i / 10, {"d0": 0.5 + i / 10}))
        best = tuple(found)
        progress = Progress(3, best, dev_val=((0.6, 0.5), (0.7, 0.45), (0.8, 0.4)), dev_size=400)
        why = stop.reason(progress)
        assert isinstance(why, Stop)
        assert why.kind == "overfitting"


class FinalTests:
    """Laws of A14."""

    @pytest.fixture
    def final(self) -> Final:
        """The strategy under test."""
        raise NotImplementedError

    def test_the_winner_is_a_member(self, final: Final) -> None:
        """The seed where it is alone, never a race's loser, with val or without; the same each time."""
        trajectory = sample_trajectory()
        seed = trajectory[0].candidate.id
        assert final.top >= 0
        assert final.pick(trajectory[:1], {}, seed) == trajectory[0]
        val: dict[str, dict[str, float]] = {a.candidate.id: {"v0": a.score} for a in trajectory[:3]}
        for scores in ({}, val):
            found: Any = final.pick(trajectory, scores, seed)
            assert found in trajectory
            assert not found.out
            assert final.pick(trajectory, scores, seed) == found
