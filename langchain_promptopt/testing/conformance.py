"""Conformance classes of the strategy Protocols A1-A7: subclass one, give the fixture, and the laws are tested.

    class TestMine(MemoryTests):
        @pytest.fixture
        def memory(self):
            return Mine()

The axes A8-A14 are written in `conformance_choices`, the ports in `conformance_ports`; all are imported from here.
"""

# ruff: noqa: S101 - assertions are what these classes are made of

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from langchain_promptopt.testing.conformance_choices import FinalTests as FinalTests
from langchain_promptopt.testing.conformance_choices import GuardsTests as GuardsTests
from langchain_promptopt.testing.conformance_choices import IncumbentTests as IncumbentTests
from langchain_promptopt.testing.conformance_choices import ProposalsTests as ProposalsTests
from langchain_promptopt.testing.conformance_choices import ScoringTests as ScoringTests
from langchain_promptopt.testing.conformance_choices import SearchTests as SearchTests
from langchain_promptopt.testing.conformance_choices import StoppingTests as StoppingTests
from langchain_promptopt.testing.conformance_ports import ExampleSourceTests as ExampleSourceTests
from langchain_promptopt.testing.conformance_ports import ExecutorTests as ExecutorTests
from langchain_promptopt.testing.conformance_ports import ObserverTests as ObserverTests
from langchain_promptopt.testing.conformance_ports import PromptSinkTests as PromptSinkTests
from langchain_promptopt.testing.conformance_ports import StoreTests as StoreTests
from langchain_promptopt.testing.samples import (
    sample_ask,
    sample_examples,
    sample_piece,
    sample_prompts,
    sample_rows,
    sample_trajectory,
    unchanged_by,
)
from langchain_promptopt.types import Candidate, Prompt, PromptSet, Span, Workpiece

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Control, Evidence, Memory, Refinement, Reflection, Scope, Seeding


def run(work: Any) -> Any:
    """The result of a coroutine."""
    return asyncio.run(work)


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
        assert unchanged_by(seeding, lambda: run(seeding.seeds(seed, train, sample_ask())))
        assert [c.id for c in run(seeding.seeds(seed, train, sample_ask()))] == [c.id for c in first]
        assert len({c.id for c in first}) == len(first)
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
        ids = [e.id for e in sample_examples()]
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
            assert all(span.end <= a or b <= span.start for a, b in message.parsed.atom_ranges)
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
