"""The decision trace of a run and the evaluation traces beside it, in whichever ways they are watched."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import merge_configs
from langchain_core.tracers.base import BaseTracer

from langchain_promptopt._langsmith.tracing import TraceFile, tracing
from langchain_promptopt.store import RunFolder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.executor import LocalExecutor
    from langchain_promptopt.optimizer.assemble import Assembled
    from langchain_promptopt.optimizer.plan import Plan

T = TypeVar("T")
SPOOL = "traces"
"""Folder beside the journal for traces that could not be sent."""


async def traced(
    plan: Plan,
    ready: Assembled,
    config: RunnableConfig,
    work: Callable[[RunnableConfig], Awaitable[T]],
    *more: LocalExecutor,
) -> T:
    """Do a run's work under its tracers: LangSmith or OpenTelemetry where that is on, the trace file, the caller's.

    `more` are further executors of the run, such as the other side of a comparison.
    """
    settings = plan.settings
    spool = None if settings.runs_dir is None else RunFolder(settings.runs_dir, plan.run_id).path / SPOOL
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(tracing(settings.langsmith.project, spool))
        if settings.trace_file is not None:
            config = merge_configs(config, {"callbacks": [stack.enter_context(TraceFile(settings.trace_file))]})
        for executor in (ready.local, *more):
            executor.isolate = made.isolate
            executor.handlers = tracers_of(config)
            executor.traces = ready.run.traces
        return await work(config)


def tracers_of(config: RunnableConfig) -> list[BaseTracer]:
    """The tracers among a caller's callbacks: each sees evaluations too, as traces of their own.

    Other handlers stay with the run itself: a web page that streams its events has no use for rows.
    """
    given = config.get("callbacks")
    handlers = given.inheritable_handlers if isinstance(given, BaseCallbackManager) else given or []
    return [h for h in handlers if isinstance(h, BaseTracer)]
