"""The parts of `robust`: trials on own evidence, joined edits, sampled evidence, hedged scope, races cut short."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

from langchain_promptopt.bench.planted import run_in_world
from langchain_promptopt.bench.world import LOCAL_LONG, LOCAL_MEDIUM
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.protocols import Ask, NoTrials, Turn
from langchain_promptopt.strategies.evidence import ErrorBatches
from langchain_promptopt.strategies.proposals import PerParent
from langchain_promptopt.strategies.scope import FixedSpans, Hedged
from langchain_promptopt.strategies.scoring import FullDev, Race
from langchain_promptopt.strategies.trials import KeepRight, OwnEvidence, Trial
from langchain_promptopt.testing.samples import SampleTrainBench
from langchain_promptopt.types import (
    Allowance,
    Attempt,
    Batch,
    Candidate,
    Edit,
    Message,
    Prompt,
    PromptSet,
    Shown,
    Span,
    Workpiece,
)
from langchain_promptopt.types.edits import kept_apart

PROMPTS = PromptSet((Prompt("main", (Message("human", "One two three four five six seven {x}"),)),))
IDS = [f"t{i}" for i in range(40)]


def edit(start, end, new="X"):
    return Edit(Span("main", 0, start, end), PROMPTS["main"].messages[0].template[start:end], new, "why", ("t1",))


def trial(edits, gain, scope="spans"):
    child = Candidate(PROMPTS.apply(edits), scope=scope, edits=tuple(edits))
    return Trial(child, dict.fromkeys(IDS[:6], 0.0), {i: float(k < gain) for k, i in enumerate(IDS[:6])})


def test_only_children_that_won_rows_go_on_and_their_edits_are_joined():
    one, two, idle = trial([edit(0, 3)], 2), trial([edit(8, 13)], 3), trial([edit(14, 18)], 0)
    assert OwnEvidence().chosen([one, two, idle]) == ((), (edit(8, 13), edit(0, 3)))
    assert OwnEvidence().chosen([idle]) == OwnEvidence().chosen([]) == ((), ())


def test_a_single_winner_goes_on_as_it_is_and_overlapping_edits_are_not_joined():
    one, over = trial([edit(0, 7)], 3), trial([edit(4, 13)], 2)
    assert OwnEvidence().chosen([one]) == ((one.candidate,), ())
    assert OwnEvidence().chosen([over, one]) == ((one.candidate,), ())
    assert kept_apart([edit(0, 3), edit(3, 4), edit(4, 7)]) == (edit(0, 3), edit(4, 7))


def test_a_whole_rewrite_goes_on_only_where_it_won_more_than_every_local_child():
    local, whole = trial([edit(0, 3)], 2), trial([edit(0, 13)], 2, "global")
    assert OwnEvidence().chosen([local, whole])[0] == (local.candidate,)
    better = trial([edit(0, 13)], 3, "global")
    assert better.candidate in OwnEvidence().chosen([local, better])[0]


def test_a_child_that_breaks_a_right_row_is_refused_before_the_inner_trials_see_it():
    right = Shown("r1", {}, {}, "x", 1.0)
    children = [trial([edit(0, 3)], 0).candidate, trial([edit(8, 13)], 0).candidate]
    bench = SampleTrainBench(Candidate(PROMPTS), {"r1": 1.0}, {children[0].id: 0.0, children[1].id: 1.0})
    family = [(Batch(correct=(right,)), children)]
    assert asyncio.run(KeepRight().sift(family, bench)) == (children[1],)
    assert bench.refused == ["regression: 1 of 1 examples that were right no longer are, the first is 'r1'"]


def test_later_evidence_is_what_ancestors_failed_and_a_few_fresh_rows():
    evidence = ErrorBatches(size=4, sample=20, fresh=6)
    first = evidence.wanted(IDS, Random(1))
    assert len(set(first)) == 20
    before = {i: (0.0,) if k < 5 else (1.0,) for k, i in enumerate(first)} | {first[0]: (0.0, 0.0, 0.0)}
    later = evidence.wanted(IDS, Random(2), before)
    assert set(first[1:5]) <= set(later)  # failed, still worth a look
    assert first[0] not in later  # failed three times in this line
    assert len(set(later) - set(first)) == 6
    assert not set(later) & set(first[5:])
    assert ErrorBatches().wanted(IDS, Random(1), before) == tuple(IDS)


def test_a_hedged_scope_rewrites_the_whole_prompt_in_its_turn_of_a_stalled_step():
    scope = Hedged(FixedSpans(("two three",)), after=2, every=4)

    def spans(stalled, batch, unusable=0):
        piece = Workpiece(PROMPTS, allowance=Allowance(5, stated=True, enforced=True))
        turn = Turn(batch=batch, stalled=stalled, unusable=unusable)
        ask = Ask(lambda at: None, {}, 0, ("any", "place"), turn=turn)
        return asyncio.run(scope.resolve(piece, ask))

    assert spans(1, 3).spans is not None
    assert spans(2, 2).spans is not None
    assert spans(2, 3).spans is None
    assert spans(2, 3).allowance == Allowance()
    assert spans(2, 3, unusable=2).spans is None
    assert spans(2, 3, unusable=3).spans is not None  # none of three could be used, so no more are asked for


class Short:
    """A bench whose budget ends after `left` rows."""

    def __init__(self, scores, left):
        self.examples = tuple(IDS)
        self.scores, self.left, self.seen, self.cut = scores, left, {}, set()

    def known(self, candidate):
        return dict(self.seen.get(candidate.id, {}))

    async def evaluate(self, candidate, example_ids):
        missing = [i for i in example_ids if i not in self.known(candidate)]
        paid, self.left = missing[: self.left], max(0, self.left - len(missing))
        if len(paid) < len(missing):
            self.cut.add(candidate.id)
        self.seen.setdefault(candidate.id, {}).update({i: self.scores[i] for i in paid})
        return self.known(candidate)

    def withheld(self, candidate):
        return candidate.id in self.cut


def test_a_race_that_the_budget_ends_scores_by_paired_differences():
    fresh = Candidate(PROMPTS)
    easy = {i: float(k < 20) for k, i in enumerate(IDS)}
    incumbent = Attempt(Candidate(PROMPTS.apply([edit(0, 3)])), 0.5, easy)
    told = asyncio.run(Race(first=8, beam=1).score([fresh], [incumbent], Short(easy, 20)))[0]
    assert told.n == 20
    assert 0.45 < told.score < 0.5  # at most as good as the incumbent on the same rows, not 20 of 20
    assert not told.out
    few = asyncio.run(Race(first=8, beam=1).score([fresh], [incumbent], Short(easy, 5)))[0]
    assert few.out
    assert asyncio.run(FullDev().score([fresh], [], Short(easy, 39)))[0].out
    assert not asyncio.run(FullDev().score([fresh], [], Short(easy, 40)))[0].out


def test_trials_let_the_same_calls_try_more_children():
    """What trials do by construction; what that is worth is measured in docs/benchmarks/planted.md."""
    robust = recipe_of("robust")
    untried = replace(robust, proposals=PerParent(m=4), trials=NoTrials(), name="untried")
    pairs = [(run_in_world(robust, LOCAL_LONG, s, 500), run_in_world(untried, LOCAL_LONG, s, 500)) for s in range(3)]
    assert all(a.search_calls <= 500 and b.search_calls <= 500 for a, b in pairs)
    assert sum(a.steps for a, _ in pairs) > sum(b.steps for _, b in pairs)
    assert sum(a.proposed for a, _ in pairs) > sum(b.proposed for _, b in pairs)


def test_small_budgets_are_used_and_never_exceeded():
    for calls in (120, 150, 175, 230):
        assert run_in_world(recipe_of("robust"), LOCAL_MEDIUM, 2, calls).search_calls <= calls
    whole = run_in_world(recipe_of("gpo"), LOCAL_MEDIUM, 0, 350)
    assert 300 <= whole.search_calls <= 350  # two of the eight children of a line
