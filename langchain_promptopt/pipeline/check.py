"""What is known before the first paid call: rows rendered, splits, cost, the test's power, models asked for free.

With a pilot a little is paid: the baseline twice on some search rows, and each judge twice on one answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import all_as_json, by_id, map_values
from langchain_promptopt._engine.executor import Scores
from langchain_promptopt._imports import importing_from
from langchain_promptopt._langchain.models import NO_KEY, without_keys
from langchain_promptopt._langsmith.service import probe_langsmith
from langchain_promptopt._runtime.clock import RealClock
from langchain_promptopt._runtime.concurrency import run_sync, together
from langchain_promptopt._runtime.ledger import Ledger, Spending
from langchain_promptopt._runtime.prices import SERVICE_TIERS
from langchain_promptopt.errors import CredentialsError
from langchain_promptopt.optimizer.costs import (
    call_costs,
    estimate_of,
    levels_of,
    probes_of,
    refuse_small_budget,
    retries_seen,
)
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble, evaluate_here
from langchain_promptopt.pipeline.prepare import code_folder, prepare
from langchain_promptopt.ports import Job
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.steps.diagnosis import TextualGradient
from langchain_promptopt.strategies.cost import CallCost
from langchain_promptopt.types import Cell, Workpiece

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._runtime.failures import Probe
    from langchain_promptopt.config import Config
    from langchain_promptopt.gate import Feasibility
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.wiring import Assembled
    from langchain_promptopt.pipeline.prepare import Prepared
    from langchain_promptopt.strategies.cost import Estimate
    from langchain_promptopt.types import Outcome, PromptSet, Usage


@dataclass(frozen=True)
class Facts:
    """What a run with these settings would be, as far as its plan says."""

    run_id: str
    prompts: PromptSet
    splits: Mapping[str, int]
    """Examples by split."""
    made: Mapping[str, str]
    """How splits were made that the data does not name."""
    models: Mapping[str, str]
    """By role."""
    evaluators: tuple[str, ...]
    method: str
    estimate: Estimate
    shows: Feasibility
    """What the test can show."""

    @property
    def rendered(self) -> str:
        """How many prompts were filled in with how many examples."""
        examples, prompts = sum(self.splits.values()), len(self.prompts)
        return f"{'the prompt' if prompts == 1 else f'{prompts} prompts'} with {examples} examples"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        prompts: list[dict[str, Any]] = []
        for p in self.prompts:
            prompts.append(
                {"name": p.name, "source": p.source, "messages": len(p.messages), "variables": list(p.variables)}
            )
        return {
            "run_id": self.run_id,
            "prompts": prompts,
            "rendered": self.rendered,
            "splits": dict(self.splits),
            "splits_made": dict(self.made),
            "models": dict(self.models),
            "evaluators": list(self.evaluators),
            "method": self.method,
            "estimate": levels_of(self.estimate),
            "test": {**self.shows.as_json(), "rows": self.splits.get("test", 0)},
        }


@dataclass(frozen=True)
class Noise:
    """How far the scores of two answers to one example are apart, by what makes them differ."""

    judge: float
    model: float


@dataclass(frozen=True)
class Speed:
    """How fast the models of a run are, and what that makes of its estimate. All in seconds.

    Attributes:
        evaluation: Wall time of the pilot for each evaluation, at the run's own concurrency.
        reply: A reply of the optimizer model, of the length that a run asks for; None without one.
        run: The whole run by level of the estimate ("low", "likely", "high"), replies one after another.
    """

    evaluation: float
    reply: float | None
    run: Mapping[str, float]


@dataclass(frozen=True)
class Pilot:
    """What some search examples told that were answered twice and judged again. Metrics are by name, scores 0 to 1.

    Attributes:
        rows: Examples with two answers.
        score: The mean.
        answers_that_changed: Share of the examples whose second answer was another one.
        disagreement: Mean difference of the scores of both answers.
        noise: The same, of the judge and of the model.
        judge_consistency: Share of the answers that a judge scored alike both times.
        repeats_advised: How often each example should be evaluated.
        dropped: Evaluations that were lost to an outage.
        ledger: What the pilot cost.
        estimate: The run's cost, by the calls seen here.
        speed: How long it takes, by the speed seen here; None where every evaluation was lost.
    """

    rows: int
    score: Mapping[str, float]
    answers_that_changed: float
    disagreement: Mapping[str, float]
    noise: Mapping[str, Noise]
    judge_consistency: Mapping[str, float]
    repeats_advised: int
    dropped: int
    ledger: Ledger
    estimate: Estimate
    speed: Speed | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rows": self.rows,
            "score": dict(self.score),
            "answers_that_changed": self.answers_that_changed,
            "disagreement": dict(self.disagreement),
            "noise": map_values(asdict, self.noise),
            "judge_consistency": dict(self.judge_consistency),
            "repeats_advised": self.repeats_advised,
            "dropped": self.dropped,
            "usage": self.ledger.as_json(),
            "estimate": levels_of(self.estimate),
            "seconds": None if self.speed is None else asdict(self.speed),
        }


@dataclass(frozen=True)
class CheckReport:
    """What is known before the first paid call."""

    ok: bool
    facts: Facts
    problems: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    pilot: Pilot | None = None
    probes: tuple[Probe, ...] = ()
    """What each model's endpoint, and LangSmith where it is used, said about our key."""
    missing: tuple[CredentialsError, ...] = ()
    """Keys that a run would want and that are not set."""

    @property
    def exit_code(self) -> int:
        """0; 2 where a run would be refused, 5 where an endpoint is out of reach."""
        refused = max((p.exit_code for p in self.probes), default=0)
        return refused or (0 if self.ok else 2)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        found = {"ok": self.exit_code == 0, "exit_code": self.exit_code, **self.facts.as_json()}
        found |= {"probes": all_as_json(self.probes)}
        found |= {"problems": list(self.problems), "notes": list(self.notes)}
        return found if self.pilot is None else found | {"pilot": self.pilot.as_json()}


def check_config(config: Config, pilot: int = 0) -> CheckReport:
    """`prepare` and `check` of a configuration, whether or not the keys of its models are set."""
    with without_keys() as missing:
        try:
            prepared = prepare(config)
        except CredentialsError as error:
            if "OPENAI_API_KEY" in os.environ:
                raise
            missing.append(error)
        else:
            return check(prepared, pilot)
        with _placeholder_key():  # the user's module makes its model at import, which wants a key
            return check(prepare(config))


def check(prepared: Prepared, pilot: int = 0) -> CheckReport:
    """Resolve everything as a run would.

    A key that is not set becomes a note, and the rest is checked without it; the pilot is then left out.

    Args:
        prepared: The configuration with its task.
        pilot: Search rows to answer twice, which costs.

    Raises:
        UsageError: For what a run would refuse.
    """
    return run_sync(lambda: _check(prepared, pilot))


async def _check(prepared: Prepared, pilot: int) -> CheckReport:
    searches = prepared.settings.optimizer_model is not None
    with importing_from(code_folder(prepared.config)), without_keys() as missing:
        plan = await make_plan(prepared.task, prepared.settings, searches=searches)
        try:
            _refuse_budget(plan)
            facts, probes = _facts(plan), await _probes(plan, prepared.config)
            unpaid = pilot and not any(p.exit_code for p in probes)
            found = await run_pilot(plan, pilot) if unpaid else None
        finally:
            await plan.aclose()
    notes = (*map(str, plan.notes), *retries_seen(plan))
    return CheckReport(plan.shows.possible, facts, tuple(plan.data.problems), notes, found, probes, tuple(missing))


@contextmanager
def _placeholder_key() -> Iterator[None]:
    """A key in the environment that no call is made with, for models that cannot be made without one."""
    os.environ["OPENAI_API_KEY"] = NO_KEY
    try:
        yield
    finally:
        os.environ.pop("OPENAI_API_KEY", None)


async def _probes(plan: Plan, config: Config) -> tuple[Probe, ...]:
    """One question an endpoint and model, and one to LangSmith where the run would use it."""
    writes = config.output.push is not None or config.langsmith.experiments
    return (*await probes_of(plan), *await asyncio.to_thread(probe_langsmith, wanted=writes))


def _refuse_budget(plan: Plan) -> None:
    """Raise ConfigError where the budget cannot pay for the least of a run, as a run would before its first call."""
    refuse_small_budget(plan)
    ledger = Ledger(plan.settings.budget, plan.prices, RealClock())
    Spending(ledger).reserve_test(2 * plan.settings.gate.repeats * len(plan.data["test"]))


def _facts(plan: Plan) -> Facts:
    splits = map_values(len, plan.data.splits)
    return Facts(
        run_id=plan.run_id,
        prompts=plan.baseline.prompts.awake,
        splits=splits,
        made=plan.data.made,
        models=plan.models,
        evaluators=tuple(e.key for e in plan.evaluators),
        method=plan.recipe.name,
        estimate=estimate_of(plan),
        shows=plan.shows,
    )


_REPEATS = 2
_WRITING = 4
"""Tokens that a model reads in the time in which it writes one, about, where it runs on one core."""
_LITTLE, _SOME = 0.02, 0.1
"""Mean difference of two rounds up to which one repeat, or two, are advised."""


@dataclass(frozen=True)
class _Twice:
    """One row: two answers with their scores, and the scores of the first answer judged once more."""

    first: Outcome
    second: Outcome
    again: Mapping[str, float] | None = None

    def scores(self, metric: str) -> tuple[float, float]:
        """The scores of both answers."""
        return _score(self.first, metric), _score(self.second, metric)

    def change(self, metric: str) -> float:
        """How far the scores of the two answers are apart."""
        first, second = self.scores(metric)
        return abs(first - second)


async def run_pilot(plan: Plan, rows: int) -> Pilot:
    """Scores, noise by source, judge consistency, repeats advised, cost by role, and the estimate made of it."""
    directly = replace(plan.settings, runs_dir=None, cache=None, executor=None)  # a batch would take hours
    ready = assemble(replace(plan, settings=directly))
    ready.local.answers = {}  # evaluators see again what they saw first, not its plain form
    try:
        begun = time.monotonic()
        outcomes = await evaluate_here(ready, _jobs(plan, rows))
        taken = time.monotonic() - begun
        found = await _judged_again(plan, ready, _paired(outcomes))
        reply = None if plan.optimizer is None or not found else await _reply_time(plan, ready.run)
    finally:
        ready.close()
    metrics: set[str] = set()
    for outcome in outcomes:
        metrics.update(outcome.scores)
    score, whole, noise, consistency = {}, {}, {}, {}
    for metric in sorted(metrics):
        score[metric] = _mean(list(chain.from_iterable(row.scores(metric) for row in found)))
        whole[metric] = _mean([row.change(metric) for row in found])
        judged = _of_judge(found, metric)
        noise[metric] = Noise(judge=judged or 0.0, model=max(0.0, whole[metric] - (judged or 0.0)))
        if judged is not None:
            consistency[metric] = _mean([float(_same(row, metric)) for row in found if row.again])
    changed = [float(row.first.output != row.second.output) for row in found]
    estimate = estimate_of(plan, _seen(plan, ready.run.ledger.by_role))
    return Pilot(
        rows=len(found),
        score=score,
        answers_that_changed=_mean(changed),
        disagreement=whole,
        noise=noise,
        judge_consistency=consistency,
        repeats_advised=_advised(max(whole.values(), default=0.0)),
        dropped=sum(outcome.dropped for outcome in outcomes),
        ledger=ready.run.ledger,
        estimate=estimate,
        speed=_speed(estimate, taken / len(outcomes), reply) if found else None,
    )


async def _reply_time(plan: Plan, run: Run) -> float:
    """Seconds of a reply of the optimizer model, told from one short question about the prompt, without any example."""
    piece = Workpiece(prompts=plan.baseline.prompts)
    begun = time.monotonic()
    await TextualGradient(model=run.optimizer.at((0, "pilot")), metaprompts=plan.settings.metaprompts).ainvoke(piece)
    taken, used, usual = time.monotonic() - begun, run.ledger.by_role["optimizer"], call_costs(plan)["optimizer"]
    asked = used.input_tokens + _WRITING * used.output_tokens
    return taken * max(1.0, (usual.input_tokens + _WRITING * usual.output_tokens) / max(1.0, asked))


def _speed(estimate: Estimate, evaluation: float, reply: float | None) -> Speed:
    levels = {"low": estimate.low, "likely": estimate.likely, "high": estimate.high}
    run: dict[str, float] = {}
    for name, level in levels.items():
        replies = level.calls.get("optimizer", 0) * (reply or 0.0)
        run[name] = sum(level.evaluations.values()) * evaluation + replies
    return Speed(evaluation, reply, run)


def _jobs(plan: Plan, rows: int) -> list[Job]:
    """Cells of rows drawn at random: files are often sorted by label, so the first rows are not like the others."""
    base, dev = plan.baseline, plan.data["dev"]
    drawn = rng_at(plan.settings.seed, "pilot").sample(dev, min(rows, len(dev)))
    found: list[Job] = []
    for repeat in range(_REPEATS):
        for example in drawn:
            found.append(Job(Cell(base.id, "dev", example.id, repeat), base, example))
    return found


def _paired(outcomes: Sequence[Outcome]) -> list[_Twice]:
    """Rows that were answered twice; what was lost to an outage is counted apart."""
    rounds: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.cell.repeat):
        if not outcome.dropped:
            rounds.setdefault(outcome.cell.example_id, []).append(outcome)
    out: list[_Twice] = []
    for found in rounds.values():
        if len(found) == _REPEATS:
            out.append(_Twice(found[0], found[1]))
    return out


async def _judged_again(plan: Plan, ready: Assembled, found: Sequence[_Twice]) -> list[_Twice]:
    """Each first answer before the judges once more, where an evaluator may be one."""
    if all(e.inline for e in plan.evaluators):
        return list(found)
    examples = by_id(plan.data["dev"])
    out: list[_Twice] = []

    async def once(twice: _Twice) -> None:
        first = twice.first
        scores = None
        if first.failure is None:
            said = await ready.local.judge(Job(first.cell, plan.baseline, examples[first.cell.example_id]))
            scores = said.scores if isinstance(said, Scores) else None
        out.append(replace(twice, again=scores))

    await together(map(once, found))
    return out


def _of_judge(found: Sequence[_Twice], metric: str) -> float | None:
    """Mean difference of two judgements of one answer; None where nothing was judged twice."""
    moved = []
    for t in found:
        if t.again is not None:
            moved.append(abs(_score(t.first, metric) - t.again.get(metric, 0.0)))
    return _mean(moved) if moved else None


def _same(twice: _Twice, metric: str) -> bool:
    return twice.again is not None and twice.again.get(metric, 0.0) == _score(twice.first, metric)


def _score(outcome: Outcome, metric: str) -> float:
    return outcome.scores.get(metric, 0.0)


def _advised(noise: float) -> int:
    return 1 if noise <= _LITTLE else 2 if noise <= _SOME else 3


def _seen(plan: Plan, by_role: Mapping[str, Usage]) -> dict[str, CallCost]:
    """What a call of a role took here, at the price that it has in the run."""
    found: dict[str, CallCost] = {}
    for role, u in by_role.items():
        if role == "optimizer":  # it was asked one short question
            continue
        share = SERVICE_TIERS["batch"] if role == "task" and plan.settings.executor == "batch" else 1.0
        if u.calls:
            found[role] = CallCost(
                u.input_tokens / u.calls, u.output_tokens / u.calls, None if u.usd is None else share * u.usd / u.calls
            )
    return found


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
