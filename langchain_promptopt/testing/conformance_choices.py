"""Conformance classes of the strategy Protocols A8-A14: what is made, kept, scored, chosen and stopped."""

# ruff: noqa: S101 - assertions are what these classes are made of

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from langchain_promptopt.protocols import GuardContext, Progress, Trial
from langchain_promptopt.testing.samples import (
    SampleBench,
    sample_ask,
    sample_candidate,
    sample_edit,
    sample_piece,
    sample_prompts,
    sample_trajectory,
    unchanged_by,
)
from langchain_promptopt.types import Attempt, Candidate, Draft, PromptSet

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Final, Guards, Incumbent, Proposals, Refinement, Scoring, Search, Stopping


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
        """At least one batch and one child; rows to try on are not negative."""
        assert proposals.per_parent >= 1
        assert proposals.per_call >= 1
        assert proposals.screening >= 0

    def test_prune_keeps_some_in_their_order(self, proposals: Proposals) -> None:
        """A part of what came, in the order it came, the same for the same randomness."""
        parent, fresh = sample_trajectory()[0], [sample_candidate(i) for i in range(20)]
        kept = proposals.prune(fresh, parent, Random(1))
        assert list(kept) == [c for c in fresh if c in kept]
        assert proposals.prune(fresh, parent, Random(1)) == kept
        assert proposals.prune([], parent, Random(1)) == ()
        assert not proposals.keeps_all or list(kept) == fresh

    def test_screened_children_were_tried(self, proposals: Proposals) -> None:
        """Nothing is made up: kept ones were tried, joined edits are edits of tried ones."""
        children = [sample_candidate(i) for i in range(4)]
        trials = [Trial(c, {"row-1": 0.0}, {"row-1": float(i % 2)}) for i, c in enumerate(children)]
        found = proposals.screened(trials)
        assert set(found.kept) <= set(children)
        assert {e for edits in found.joined for e in edits} <= {e for c in children for e in c.edits}
        assert proposals.screened([]).kept == ()

    def test_augment_keeps_the_drafts(self, proposals: Proposals, refine: Refinement) -> None:
        """Paraphrases come after what is there; each is an edit of the parent."""
        piece = asyncio.run(refine.propose(sample_piece(children=1), sample_ask()))
        out = asyncio.run(proposals.augment(piece, refine, sample_ask()))
        assert out.drafts[: len(piece.drafts)] == piece.drafts
        for draft in out.drafts:
            assert piece.prompts.apply(draft.edits).id == draft.prompts.id


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
        assert isinstance(guards.keep_right, bool)

    @pytest.mark.parametrize("new", ["", "{other}", "{word} {word}", "{", "}} {"])
    def test_variables_are_kept(self, guards: Guards, new: str) -> None:
        """VARS holds whatever stands in a child, and a child that does not parse never raises."""
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
        fresh = [sample_candidate(i) for i in range(n)]
        bench = SampleBench({c.id: (i + 1) / (n + 1) for i, c in enumerate(fresh)})
        return fresh, asyncio.run(scoring.score(fresh, [], bench)), bench

    def test_every_fresh_candidate_gets_an_attempt(self, scoring: Scoring) -> None:
        """Its score is the mean of the rows it saw, all of them rows of the bench; the same again on a new bench."""
        fresh, found, bench = self.score(scoring)
        assert {a.candidate.id for a in found} == {c.id for c in fresh}
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
        """Nobody is lost, the leader stays as it is, and the baseline sees a row at the least."""
        _, found, bench = self.score(scoring)
        leader = max((a for a in found if not a.out), key=lambda a: a.score)
        again = scoring.comparable(found, leader)
        assert [a.candidate.id for a in again] == [a.candidate.id for a in found]
        assert leader in again
        assert 0 < scoring.baseline_rows(bench.n) <= bench.n

    def test_after_a_rematch_nothing_is_owed(self, scoring: Scoring) -> None:
        """Whoever led and whoever is met again have then seen every row that scoring wants of them."""
        _, found, bench = self.score(scoring)
        leader, rival = found[-1], found[0]
        again = {a.candidate.id: a for a in asyncio.run(scoring.rematch(leader, rival, bench))}
        assert set(again) <= {leader.candidate.id, rival.candidate.id}
        assert not scoring.owes(again.get(leader.candidate.id, leader), bench.n)

    def test_nothing_fresh_is_nothing_to_do(self, scoring: Scoring) -> None:
        """No candidates, no attempts of them."""
        assert asyncio.run(scoring.score([], [], SampleBench({}))) == ()


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
        assert {a.candidate.id for a in found} <= {a.candidate.id for a in trajectory if not a.out}
        assert search.parents(trajectory, kept, 1, Random(2)) == found

    def test_survivors_and_dropped_are_what_came(self, search: Search) -> None:
        """Nothing is lost without a reason, and nothing that a race dropped survives."""
        trajectory = sample_trajectory()
        found = search.admit(trajectory[:2], trajectory[2:], 1, AlwaysYes())
        ids = {a.candidate.id for a in found.kept}
        assert ids
        assert not any(a.out for a in found.kept)
        assert ids | set(found.dropped) == {a.candidate.id for a in trajectory}
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
        best = tuple(Attempt(sample_candidate(i), 0.5 + i / 10, {"d0": 0.5 + i / 10}) for i in range(4))
        progress = Progress(3, best, dev_val=((0.6, 0.5), (0.7, 0.45), (0.8, 0.4)), dev_size=400)
        assert "overfitting" in (stop.reason(progress) or "")


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
