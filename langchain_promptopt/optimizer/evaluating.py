"""Evaluation in this process: chain and evaluators under limits, metered by role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

from langchain_promptopt._engine.executor import LocalExecutor, Scores
from langchain_promptopt._langchain.models import endpoint_of, model_name
from langchain_promptopt._runtime.failures import TABLE, CallError, Verdict, classify
from langchain_promptopt._runtime.limiter import Lane, Limiter, Limiters, Limits
from langchain_promptopt._runtime.tracing import span, within
from langchain_promptopt._runtime.usage import UsageCollector
from langchain_promptopt.errors import UsageError
from langchain_promptopt.evaluators import EvaluatorFailed, score_all
from langchain_promptopt.optimizer.roles import first_tokens, models_by_role
from langchain_promptopt.types import Example, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_promptopt._engine.executor import Guarded, Shelf
    from langchain_promptopt._engine.run import Run
    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.ledger import Flight
    from langchain_promptopt.evaluators import EvalResult, Evaluator
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.settings import Settings
    from langchain_promptopt.ports import Job

_UNSEEN = "unseen"
"""Stands for models that cannot be found in a chain or an evaluator."""


class Ways:
    """One limiter for each model and endpoint whoever calls it, and one ceiling over all roles.

    Plans that run side by side share one of these, so a model's limits hold over all of them.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._limits = Limits(settings.limits)
        self._most = settings.max_concurrency
        self._clock = clock
        self._first: dict[str, float] = {}
        self._known = Limiters(self._made)
        rate = settings.requests_per_second
        self._ceiling = None if rate is None else Limiter(self._most, clock, requests_per_minute=60 * rate)

    def lanes(self, plan: Plan) -> dict[str, Lane]:
        """The limiters that each role of this plan passes."""
        self._first |= first_tokens(plan)
        return {
            role: self._known.lane([(model_name(m), endpoint_of(m)) for m in found] or [(_UNSEEN, role)], self._ceiling)
            for role, found in models_by_role(plan).items()
        }

    def _made(self, name: str, _endpoint: str) -> Limiter:
        limit = self._limits.of(name)
        return Limiter(
            min(self._most, limit.concurrency or self._most),
            self._clock,
            requests_per_minute=limit.requests_per_minute,
            tokens_per_minute=limit.tokens_per_minute,
            tokens=self._first.get(name, 0.0),
        )


def local_executor(plan: Plan, guarded: Guarded, run_box: Sequence[Run], shelf: Shelf | None = None) -> LocalExecutor:
    """Runs the plan's own target in this process; `run_box` holds the run once it is there."""
    return LocalExecutor(
        target=plan.target,
        score=_scorer(plan.evaluators),
        meter=_meter(plan),
        guard=guarded,
        charge=_charge(plan, guarded, run_box),
        keys=[e.key for e in plan.evaluators],
        max_concurrency=plan.settings.max_concurrency,
        judges=any(not e.inline for e in plan.evaluators),
        shelf=shelf,
        metadata={"promptopt_run_id": plan.run_id, "promptopt_method": plan.recipe.name},
    )


def _meter(plan: Plan) -> Callable[[str, Flight], UsageCollector]:
    told = sum(cost.calls for cost in plan.settings.judges.values())

    def meter(role: str, flight: Flight) -> UsageCollector:
        if role == "judge":
            for _ in range(told):  # calls nobody sees begin now, as far as the budget is concerned
                flight.another()
        flight.meter = made = UsageCollector(before_call=flight.another)
        return made

    return meter


def _charge(plan: Plan, guarded: Guarded, run_box: Sequence[Run]) -> Callable[[str, Job, Any, float], Usage]:
    ledger = guarded.ledger
    blind = not plan.target.models

    def charge(role: str, job: Job, meter: UsageCollector, seconds: float) -> Usage:
        seen = meter.collected
        usage = seen.usage(ledger, seconds=seconds)
        if role == "judge":
            for cost in plan.settings.judges.values():
                usage += ledger.priced(cost.model, cost.usage_metadata, calls=cost.calls)
            if not usage.calls:
                return usage
        elif blind and not seen.started and not seen.cache_hits:
            usage = Usage(calls=1, usd=None, seconds=seconds)  # plain code calls a model nobody sees: one call at least
        ledger.record(role, run_box[0].step, usage, split=job.cell.split)
        ledger.require_known(usage, role)
        return usage

    return charge


@dataclass(frozen=True)
class _Watched:
    """An evaluator that shows as a run beside the chain, its judge's calls below it."""

    evaluator: Evaluator

    @property
    def key(self) -> str:
        return self.evaluator.key

    async def score(self, example: Example, output: Any, **more: Any) -> EvalResult:
        if var_child_runnable_config.get() is None:  # nobody listens
            return await self.evaluator.score(example, output, **more)
        given = {"outputs": output, "reference_outputs": dict(example.outputs)}
        async with span(None, self.key, given) as (inner, end):
            found = await within(inner, lambda: self.evaluator.score(example, output, **more))
            end({"scores": dict(found.scores), "comments": dict(found.comments)})
        return found


def _scorer(evaluators: Sequence[Evaluator]) -> Callable[[Example, Any], Any]:
    watched: Any = [_Watched(e) for e in evaluators]

    async def score(example: Example, output: Any) -> Scores:
        try:
            found = await score_all(watched, example, output)
        except EvaluatorFailed as failed:
            raise _told_apart(failed) from failed
        return Scores(found.scores, found.comments)

    return score


def _told_apart(failed: EvaluatorFailed) -> BaseException:
    """What an evaluator's failure is: an outage of its model, a wrong set-up, or code that this answer breaks.

    The last scores 0 and is counted, as when the chain itself breaks: an answer must not win by
    being unreadable.
    """
    error = failed.error
    if error is None or isinstance(error, UsageError):
        return failed
    verdict = classify(error, "judge")
    if verdict.action != "zero":
        return error
    kind = verdict.kind if verdict.kind != "target_error" else "evaluator_error"
    return CallError(Verdict(kind, TABLE[kind][0], f"{failed.key}: {verdict.detail}"))
