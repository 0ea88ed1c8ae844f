"""Our own strategies and ports against the conformance classes that strangers use for theirs."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json

import pytest

from langchain_promptopt._data import load_data
from langchain_promptopt._engine.executor import Scores
from langchain_promptopt._engine.parked import ParkedExecutor
from langchain_promptopt.errors import ConflictError
from langchain_promptopt.optimizer.arguments import Settings
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.ports import Job
from langchain_promptopt.presets import PRESETS
from langchain_promptopt.store import MemoryStore
from langchain_promptopt.store.journal import Journal
from langchain_promptopt.strategies import (
    control,
    evidence,
    feedback,
    final,
    guards,
    incumbent,
    memory,
    proposals,
    stopping,
    trials,
)
from langchain_promptopt.strategies import refine as refining
from langchain_promptopt.strategies import scope as scopes
from langchain_promptopt.strategies import scoring as race
from langchain_promptopt.strategies import scoring as scorings
from langchain_promptopt.strategies import search as searches
from langchain_promptopt.strategies import seeding as seedings
from langchain_promptopt.strategies.registry import AXES, options
from langchain_promptopt.testing import conformance as base
from langchain_promptopt.testing.samples import sample_edit, sample_prompts
from langchain_promptopt.types import Cell, Outcome
from tests.support.tasks import chain, optimizer, rows

EARLIER = json.dumps(sample_edit(sample_prompts(), "PLANT", "animal").as_json())
MADE = {
    "seeding": [seedings.Manual(), seedings.Induction(subsets=2, each=2), seedings.Earlier(edits=(EARLIER,))],
    "evidence": [
        evidence.NoEvidence(),
        evidence.ErrorBatches(),
        evidence.ErrorBatches(size=4, correct=2, sample=6),
        evidence.ErrorGroups(),
        evidence.RandomBatches(),
        evidence.FormatExamples(),
    ],
    "feedback": [feedback.NoFeedback(), feedback.Gradient(), feedback.Gradient(reasons=2), feedback.Reasoning()],
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
        scopes.Global(),
        scopes.Spans(),
        scopes.RandomSpans(),
        scopes.FixedSpans(quotes=("PLANT", "stone")),
        scopes.Sections(),
        scopes.Alternating(),
        scopes.Hedged(),
    ],
    "control": [control.NoControl(), control.Fixed(), control.Linear(warmup=2), control.Cosine(unit="spans")],
    "refine": [refining.Refine(), refining.Refine(goal="generate"), refining.Refine(goal="paraphrase")],
    "proposals": [proposals.PerParent(), proposals.Paraphrased()],
    "trials": [
        trials.NoTrials(),
        trials.KeepRight(),
        trials.OwnEvidence(),
        trials.OwnEvidence(most=2, singles=1, each=False),
        trials.KeepRight(trials.OwnEvidence()),
    ],
    "guards": [guards.Standard(), guards.Standard(cap=50)],
    "scoring": [
        scorings.FullDev(),
        scorings.Bandit(rounds=3, samples=8, arms=4),
        scorings.Bandit(rule="ucb-e", rounds=3, samples=8, arms=4),
        scorings.Bandit(rule="uniform", rounds=3, samples=8, arms=4),
        scorings.SuccessiveRejects(budget=200, keep=2),
        scorings.SuccessiveHalving(budget=200, keep=2),
        race.Race(),
        race.Lazy(),
        race.Lazy(race.Race(first=8, z_ahead=1.6449)),
        race.Lazy(scorings.FullDev()),
    ],
    "search": [searches.Beam(), searches.Beam(back_track=False), searches.Greedy(), searches.Pool()],
    "incumbent": [incumbent.Elitist(), incumbent.FreeWalk(), incumbent.PairedGate()],
    "stop": [stopping.Steps(), stopping.Steps(patience=2), stopping.Epochs(), stopping.Epochs(patience=2)],
    "final": [final.BestVal(), final.BestDev()],
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
        return refining.Refine()


class TestGuards(base.GuardsTests):
    guards = over("guards")


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


class _Everywhere(scopes.Global):
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
