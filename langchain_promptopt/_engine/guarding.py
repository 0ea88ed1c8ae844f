"""One way to the models: limiter, budget, retries, time-out, and what a failure means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.failures import CallError, Verdict, classify_reply
from langchain_promptopt._runtime.retry import Retry, RetryPolicy, with_retries
from langchain_promptopt._runtime.stopping import Stopping
from langchain_promptopt._runtime.usage import UsageCollector, with_handler
from langchain_promptopt.events import Event, Incident
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Usage, content_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.ledger import Flight, Ledger
    from langchain_promptopt._runtime.limiter import Lane, Slot, Slots
    from langchain_promptopt.ports import Job

_FIRST_CALLS = {"task": 1, "optimizer": 1, "judge": 0}
"""Calls an attempt is known to make; a judge may be plain code."""


@dataclass
class Guarded:
    """Calls under limits and retries.

    Args:
        lanes: The limiters a role's calls pass; roles on one model share its limiter.
        ledger: Refuses to start calls past the budget, and books them.
        policy: How often and how patiently.
        clock: Time.
        seed: For the jitter of pauses.
        emit: Where incidents go.
        models: Model id by role, as prices know it.
        deadline: Moment of `clock` at which budget.seconds ends.
        stopping: Says what may still begin once a stop was asked for.
    """

    lanes: Mapping[str, Lane]
    ledger: Ledger
    policy: RetryPolicy
    clock: Clock
    seed: int
    emit: Callable[[Event], None]
    models: Mapping[str, str]
    deadline: float | None = None
    stopping: Stopping = field(default_factory=Stopping)
    _patient: RetryPolicy = field(init=False)

    def __post_init__(self) -> None:
        self._patient = replace(self.policy, timeout=None)

    async def cell(self, role: str, attempt: Callable[[Flight], Awaitable[Any]], job: Job) -> Any:
        """The value of an evaluation's part, or the Failure it ended as. What ends the run is raised."""
        cell = job.cell
        place = (cell.candidate_id, cell.split, cell.example_id, cell.repeat)
        try:
            return await self._call(role, attempt, cell.split, place, cell)
        except CallError as failed:
            if failed.verdict.action == "stop":
                raise failed.verdict.as_error(role) from failed
            return _of_role(failed.verdict, role).as_failure()

    def over(self, job: Job) -> None:
        """The outcome of this job is kept, or will never be."""
        self.stopping.end(job.cell)

    async def optimizer(
        self, model: Any, messages: Any, config: RunnableConfig, kwargs: Mapping[str, Any], step: int = 0
    ) -> tuple[AIMessage, Usage]:
        """A reply of the optimizer model, and what it and its failed tries cost; both are booked.

        Raises what ends the run.
        """
        total: list[Usage] = []
        work = object()

        async def attempt(flight: Flight) -> AIMessage:
            meter, started = UsageCollector(self.models["optimizer"], flight.another), self.clock.time()
            flight.meter = meter
            try:
                message: AIMessage = await model.ainvoke(messages, with_handler(config, meter), **kwargs)
            finally:
                total.append(self._booked("optimizer", step, meter, self.clock.time() - started))
            return message

        try:
            message: AIMessage = await self._call("optimizer", attempt, None, (content_hash(str(messages)),), work)
        except CallError as failed:
            raise failed.verdict.as_error("optimizer") from failed  # noqa: EM101 - the role, no message
        finally:  # the caller journals the reply before anything else can run
            self.stopping.end(work)
        if (odd := classify_reply(message)) is not None:
            self.emit(
                Incident(role="optimizer", kind=odd.kind, retryable=False, action="reply kept", detail=odd.detail)
            )
        return message, sum(total, Usage())

    def _booked(self, role: str, step: int, meter: UsageCollector, seconds: float) -> Usage:
        usage = meter.collected.usage(self.ledger, seconds=seconds)
        self.ledger.record(role, step, usage)
        self.ledger.require_known(usage, role)
        return usage

    async def _call(
        self,
        role: str,
        attempt: Callable[[Flight], Awaitable[Any]],
        split: str | None,
        place: tuple[str | int, ...],
        work: Hashable,
    ) -> Any:
        async def limited() -> Any:
            async with self.lanes[role].slot() as slot:  # waiting in line is no hung call: the time-out is inside
                if self.stopping.lets(work):
                    return await started(slot)
            await self.stopping.bar()  # out of the slot, which a judge's call may need

        async def started(slot: Slot | Slots) -> Any:
            self.stopping.begin(work)
            with self.ledger.flight(role, split, calls=_FIRST_CALLS[role]) as flight:
                try:
                    async with self.clock.timeout(self.policy.timeout):
                        return await attempt(flight)
                finally:
                    slot.told(flight.used)

        def retried(retry: Retry) -> None:
            v = retry.verdict
            if role != "judge":  # which is asked about an answer that is paid for already
                self.stopping.end(work)
            action = f"try {retry.attempt + 1} in {retry.pause:.1f} s"
            self.emit(Incident(role=role, kind=v.kind, retryable=True, action=action, detail=v.detail))

        return await with_retries(
            limited,
            policy=self._patient,
            clock=self.clock,
            rng=lambda: rng_at(self.seed, "retry", role, *place),
            on_retry=retried,
            deadline=self.deadline,
        )


def _of_role(verdict: Verdict, role: str) -> Verdict:
    """An error of unknown type out of an evaluator is the evaluator's, not the target's."""
    return replace(verdict, kind="evaluator_error") if role == "judge" and verdict.kind == "target_error" else verdict
