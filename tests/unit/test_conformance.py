"""Our own strategies and ports against the conformance classes that strangers use for theirs."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json

import pytest

from langchain_promptopt._data import load_data
from langchain_promptopt._engine.executor import Scores
from langchain_promptopt.errors import ConflictError
from langchain_promptopt.optimizer.arguments import Settings
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.session import ParkedExecutor
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.ports import Job
from langchain_promptopt.presets import PRESETS
from langchain_promptopt.store import MemoryStore
from langchain_promptopt.store.journal import Journal
from langchain_promptopt.strategies import (
    control,
    evidence,
    guards,
    memory,
    proposals,
    scope,
    scoring,
    seeding,
    selection,
    trials,
)
from langchain_promptopt.strategies.registry import AXES, options
from langchain_promptopt.testing import conformance as base
from langchain_promptopt.testing.samples import sample_edit, sample_prompts
from langchain_promptopt.types import Cell, Outcome
from tests.support.tasks import chain, optimizer, rows

EARLIER = json.dumps(sample_edit(sample_prompts(), "PLANT", "animal").as_json())
MADE = {
    "seeding": [seeding.Manual(), seeding.Induction(subsets=2, each=2), seeding.Earlier(edits=(EARLIER,))],
    "evidence": [
        evidence.NoEvidence(),
        evidence.ErrorBatches(),
        evidence.ErrorBatches(size=4, correct=2, sample=6),
        evidence.ErrorGroups(),
        evidence.RandomBatches(),
        evidence.FormatExamples(),
    ],
    "feedback": [proposals.NoFeedback(), proposals.Gradient(), proposals.Gradient(reasons=2), proposals.Reasoning()],
    "memory": [
        memory.NoMemory(),
        memory.Recency(),
        memory.Importance(pool="all"),
        memory.Relevance(),
        memory.Relevance(k=2, order="current_first", pool="all"),
        memory.TopByScore(),
        memory.TopByScore(k=2, threshold=0.9),
        memory.TopEdits(),
        memory.Summary(),
    ],
    "scope": [
        scope.Global(),
        scope.Spans(),
        scope.RandomSpans(),
        scope.FixedSpans(quotes=("PLANT", "stone")),
        scope.Sections(),
        scope.Alternating(),
        scope.Hedged(),
    ],
    "control": [control.NoControl(), control.Fixed(), control.Linear(warmup=2), control.Cosine(unit="spans")],
    "refine": [
        proposals.Refine(),
        proposals.Refine(goal="generate"),
        proposals.Refine(goal="paraphrase"),
        proposals.Shorten(),
    ],
    "proposals": [proposals.PerParent(), proposals.Paraphrased()],
    "trials": [
        trials.NoTrials(),
        trials.KeepRight(),
        trials.OwnEvidence(),
        trials.OwnEvidence(most=2, singles=1, each=False),
        trials.KeepRight(trials.OwnEvidence()),
    ],
    "guards": [guards.Standard(), guards.Standard(cap=50), guards.OnlyShorter()],
    "scoring": [
        scoring.FullDev(),
        scoring.Bandit(rounds=3, samples=8, arms=4),
        scoring.Bandit(rule="ucb-e", rounds=3, samples=8, arms=4),
        scoring.Bandit(rule="uniform", rounds=3, samples=8, arms=4),
        scoring.SuccessiveRejects(budget=200, keep=2),
        scoring.SuccessiveHalving(budget=200, keep=2),
        scoring.Race(),
        scoring.Lazy(),
        scoring.Lazy(scoring.Race(first=8, z_ahead=1.6449)),
        scoring.Lazy(scoring.FullDev()),
        scoring.NotWorse(),
    ],
    "search": [
        selection.Beam(),
        selection.Beam(back_track=False),
        selection.Greedy(),
        selection.Pool(),
        selection.Trim(),
    ],
    "incumbent": [selection.Elitist(), selection.FreeWalk(), selection.PairedGate()],
    "stop": [selection.Steps(), selection.Steps(patience=2), selection.Epochs(), selection.Epochs(patience=2)],
    "final": [selection.BestVal(), selection.BestDev(), selection.Shortest()],
}


def over(axis):
    """A fixture that gives each of our strategies of an axis."""

    @pytest.fixture(params=MADE[axis], ids=repr)
    def strategy(self, request):
        return request.param

    return strategy


class TestSeeding(base.SeedingTests):
    seeding = over("seeding")


class TestEvidence(base.EvidenceTests):
    evidence = over("evidence")


class TestReflection(base.ReflectionTests):
    feedback = over("feedback")


class TestMemory(base.MemoryTests):
    memory = over("memory")


class TestScope(base.ScopeTests):
    scope = over("scope")


class TestControl(base.ControlTests):
    control = over("control")


class TestRefinement(base.RefinementTests):
    refine = over("refine")


class TestTrials(base.TrialsTests):
    trials = over("trials")


class TestProposals(base.ProposalsTests):
    proposals = over("proposals")

    @pytest.fixture
    def refine(self):
        return proposals.Refine()


class TestGuards(base.GuardsTests):
    guards = over("guards")

    def draft(self, old, new):
        """The harmless edit is one that shortens, because a guard may want that."""
        return super().draft(old, new.replace("animal", "x"))


class TestScoring(base.ScoringTests):
    scoring = over("scoring")


class TestSearch(base.SearchTests):
    search = over("search")


class TestIncumbent(base.IncumbentTests):
    incumbent = over("incumbent")


class TestStopping(base.StoppingTests):
    stop = over("stop")


class TestFinal(base.FinalTests):
    final = over("final")


def test_every_strategy_we_ship_is_under_test():
    for axis in AXES:
        public = {n for n, c in options(axis).items() if _has_verb(c)}
        assert public <= {type(s).__name__ for s in MADE[axis]}, axis


def _has_verb(cls):
    """Helpers such as a purse of rows have no verb of a strategy."""
    verbs = "seeds batches reflect retrieve resolve allowance propose prune check score admit accepts reason pick"
    return bool({*verbs.split()} & {*dir(cls)})


def test_strategies_are_frozen_values():
    for strategies in MADE.values():
        for strategy in strategies:
            field = next(iter(dataclasses.fields(strategy)), None)
            if field is not None:
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(strategy, field.name, None)


def test_every_preset_is_made_of_strategies_under_test():
    for make in PRESETS.values():
        for axis, strategy in make().axes().items():
            assert type(strategy) in {type(s) for s in MADE[axis]}


# ------------------------------------------------------------------ ports


class TestMemoryStore(base.StoreTests):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestJournal(base.StoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        with Journal(tmp_path / "run" / "journal.jsonl") as journal:
            yield journal


class Answering(ParkedExecutor):
    """The parked executor with somebody who tells every outcome at once."""

    async def evaluate(self, jobs, done):
        work = asyncio.ensure_future(super().evaluate(jobs, done))
        await asyncio.sleep(0)
        if self.parked:
            await self.tell({cell: Outcome(cell, Scores({"em": 1.0}).scores) for cell in list(self.parked)})
        await work


class TestParkedExecutor(base.ExecutorTests):
    @pytest.fixture
    def executor(self):
        return Answering()

    def test_a_cell_nobody_asked_for_is_refused(self):
        from langchain_promptopt.errors import ConfigError

        with pytest.raises(ConfigError, match="not proposed"):
            ParkedExecutor().refuse_unknown([Cell("c", "dev", "d")])


class TestLocalExecutor(base.ExecutorTests):
    """The executor of a real plan: chain, evaluators, limits and retries."""

    @pytest.fixture
    def plan(self):
        settings = Settings(data=rows(), evaluators=["exact_match"], optimizer_model=optimizer())
        plan = asyncio.run(make_plan(chain(), settings))
        yield plan
        plan.close()

    @pytest.fixture
    def executor(self, plan):
        ready = assemble(plan)
        yield ready.local
        ready.close()

    @pytest.fixture
    def jobs(self, plan):
        return [Job(Cell(plan.baseline.id, "train", e.id), plan.baseline, e) for e in plan.data["train"]]


class Counting:
    """An observer of a few lines, as users write them."""

    def __init__(self):
        self.seen = []

    def on_event(self, event):
        self.seen.append(event.type)


class TestObserver(base.ObserverTests):
    @pytest.fixture
    def observer(self):
        return Counting()


class Shelf:
    """A prompt registry in memory."""

    def __init__(self):
        self.heads = []

    def push(self, prompts, *, message, parent, tag):
        if self.heads and parent != self.heads[-1]:
            msg = f"the head is {self.heads[-1]}, not {parent}"
            raise ConflictError(msg)
        self.heads.append(f"{len(self.heads)}-{prompts.id}")
        return self.heads[-1]


class TestPromptSink(base.PromptSinkTests):
    @pytest.fixture
    def sink(self):
        return Shelf()

    def test_the_class_sees_a_sink_that_overwrites(self):
        class Overwriting(Shelf):
            def push(self, prompts, *, message, parent, tag):
                self.heads = []
                return super().push(prompts, message=message, parent=None, tag=tag)

        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            self.test_a_push_on_an_old_head_is_refused(Overwriting())


class FromFile:
    """An ExampleSource on our loader."""

    def __init__(self, path):
        self.path = path

    def load(self):
        return load_data(self.path)


class TestExampleSource(base.ExampleSourceTests):
    @pytest.fixture
    def source(self, tmp_path):
        rows = [{"inputs": {"q": f"question {i}"}, "outputs": {"answer": str(i)}} for i in range(60)]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return FromFile(str(path))


def test_the_classes_can_fail():
    """Broken strategies are seen: one remembers too much, one invents rows, one forgets a variable."""

    class Hoarder(memory.Recency):
        async def retrieve(self, trajectory, around, ask):
            from langchain_promptopt.types import Remembered

            return tuple(Remembered(a) for a in (*trajectory, around))

    class Yes(guards.Standard):
        def check(self, parent, draft, context):
            return None

    with pytest.raises(AssertionError):
        base.MemoryTests().test_an_empty_trajectory_gives_nothing(Hoarder())
    with pytest.raises(AssertionError):
        base.GuardsTests().test_variables_are_kept(Yes(), "{other}")
    with pytest.raises(AssertionError):
        base.ScopeTests().test_spans_are_lawful(_Everywhere())


class _Everywhere(scope.Global):
    async def resolve(self, piece, ask):
        from langchain_promptopt.types import Span

        length = len(piece.prompts["main"].messages[0].template)
        return dataclasses.replace(piece, spans=(Span("main", 0, 0, length),))


def test_each_protocol_has_a_class():
    from langchain_promptopt import ports, protocols

    classes = [n for n, c in vars(base).items() if inspect.isclass(c)]
    axes = "Seeding Evidence Reflection Memory Scope Control Refinement"
    axes += " Proposals Trials Guards Scoring Search Incumbent Stopping Final"
    five = "ExampleSource Executor Store Observer PromptSink"
    names = [*axes.split(), *five.split()]
    assert {f"{p}Tests" for p in names} == {n for n in classes if n.endswith("Tests")}
    assert all(hasattr(protocols, p) for p in axes.split())
    assert all(hasattr(ports, p) for p in five.split())
