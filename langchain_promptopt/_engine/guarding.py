"""One way to the models: limiter, budget, retries, time-out, and what a failure means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.failures import CallError, classify_reply
from langchain_promptopt._runtime.retry import Retry, RetryPolicy, with_retries
from langchain_promptopt.events import Event, Incident
from langchain_promptopt.protocols import Job, rng_at
from langchain_promptopt.types import Usage, content_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.ledger import Ledger
    from langchain_promptopt._runtime.limiter import Limiter


@dataclass
class Guarded:
    """Calls under limits and retries.

    Args:
        limiters: A limiter per model id.
        ledger: Refuses to start calls past the budget, and books them.
        policy: How often and how patiently.
        clock: Time.
        seed: For the jitter of pauses.
        emit: Where incidents go.
        models: Model id by role, as prices know it.
        deadline: Moment of `clock` at which budget.seconds ends.
    """

    limiters: Mapping[str, Limiter]
    ledger: Ledger
    policy: RetryPolicy
    clock: Clock
    seed: int
    emit: Callable[[Event], None]
    models: Mapping[str, str]
    deadline: float | None = None

    async def cell(self, attempt: Callable[[], Awaitable[Any]], job: Job) -> Any:
        """The value of an evaluation, or the Failure it ended as. What ends the run is raised."""
        cell = job.cell
        try:
            return await self._call(
                "task", attempt, cell.split, (cell.candidate_id, cell.split, cell.example_id, cell.repeat)
            )
        except CallError as failed:
            if failed.verdict.action == "stop":
                ended = failed.verdict.as_error("task")
                raise ended from failed
            return failed.verdict.as_failure()

    async def optimizer(
        self, model: Any, messages: Any, config: RunnableConfig, kwargs: Mapping[str, Any]
    ) -> tuple[AIMessage, Usage]:
        """A reply of the optimizer model and what it cost. Raises what ends the run."""
        started = self.clock.time()
        try:
            message: AIMessage = await self._call(
                "optimizer", lambda: model.ainvoke(messages, config, **kwargs), None, (content_hash(str(messages)),)
            )
        except CallError as failed:
            ended = failed.verdict.as_error("optimizer")
            raise ended from failed
        if (odd := classify_reply(message)) is not None:
            self.emit(
                Incident(role="optimizer", kind=odd.kind, retryable=False, action="reply kept", detail=odd.detail)
            )
        usage = self.ledger.priced(
            self.models["optimizer"],
            message.usage_metadata,
            seconds=self.clock.time() - started,
        )
        return message, usage

    async def _call(
        self, role: str, attempt: Callable[[], Awaitable[Any]], split: str | None, place: tuple[str | int, ...]
    ) -> Any:
        limiter = self.limiters[role]

        async def limited() -> Any:
            async with limiter.slot():  # waiting in line is no hung call: the time-out is inside
                with self.ledger.flight(role, split):
                    async with self.clock.timeout(self.policy.timeout):
                        return await attempt()

        def retried(retry: Retry) -> None:
            v = retry.verdict
            action = f"try {retry.attempt + 1} in {retry.pause:.1f} s"
            self.emit(Incident(role=role, kind=v.kind, retryable=True, action=action, detail=v.detail))

        rng = rng_at(self.seed, "retry", role, *place)
        patient = replace(self.policy, timeout=None)
        return await with_retries(
            limited, policy=patient, clock=self.clock, rng=rng, on_retry=retried, deadline=self.deadline
        )
