"""One traced span for our own work, seen alike by LangSmith, OpenTelemetry and local tracers.

Uses LangChain's callback managers, so a span nests wherever a Runnable would, and costs
nothing where nobody listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.runnables.config import (
    RunnableConfig,
    ensure_config,
    get_async_callback_manager_for_config,
    patch_config,
    set_config_context,
)
from langchain_core.tracers.base import BaseTracer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.schemas import Run

    from langchain_promptopt.types import Candidate

T = TypeVar("T")

Traces = dict[tuple[str, str], list[str]]
"""Ids of evaluation traces by candidate and split."""
End = Callable[[Mapping[str, Any]], None]


@dataclass
class Tracers:
    """What watches the evaluations of one run, for as long as its tracing is open.

    Args:
        isolate: Context in which an evaluation is a trace of its own.
        handlers: Tracers that were given to the run: they see its evaluations as traces of their own.
        traces: Ids of the evaluation traces made by this process; empty where nobody listens.
    """

    isolate: Callable[[], AbstractContextManager[Any]] = nullcontext
    handlers: Sequence[BaseCallbackHandler] = ()
    traces: Traces = field(default_factory=dict)

    @contextmanager
    def watching(
        self, isolate: Callable[[], AbstractContextManager[Any]], handlers: Sequence[BaseCallbackHandler]
    ) -> Iterator[None]:
        """Evaluations inside the block are seen by these."""
        self.isolate, self.handlers = isolate, handlers
        try:
            yield
        finally:
            self.isolate, self.handlers = nullcontext, ()


def listened(config: RunnableConfig | None) -> bool:
    """Whether any tracer or handler would see a span opened under `config`."""
    return bool(get_async_callback_manager_for_config(ensure_config(config)).handlers)


@asynccontextmanager
async def span(
    config: RunnableConfig | None, name: str, inputs: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[RunnableConfig, End]]:
    """Open a span under `config`; yields the config for what runs inside, and a setter for its outputs.

    An exception is reported to the tracers and raised again; without `end(outputs)` outputs are {}.
    """
    own = ensure_config(config)
    if metadata:
        own = {**own, "metadata": {**(own.get("metadata") or {}), **metadata}}
    manager = get_async_callback_manager_for_config(own)
    run = await manager.on_chain_start(None, dict(inputs), name=name, run_id=own.pop("run_id", None))
    outputs: dict[str, Any] = {}
    try:
        yield patch_config(own, callbacks=run.get_child()), outputs.update
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(outputs)


def trace_metadata(candidate: Candidate, *, step: int, split: str = "") -> dict[str, Any]:
    """The metadata by which a span is found: every key on every span, empty where it does not apply (product 6)."""
    return {
        "promptopt_step": step,
        "promptopt_candidate_id": candidate.id,
        "promptopt_parent_id": candidate.parents[0] if candidate.parents else "",
        "promptopt_split": split,
    }


class Steps(BaseTracer):
    """Keeps the runs of one call of a chain, each with its `child_runs`, for evaluators that look at them."""

    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _start_trace(self, run: Run) -> None:
        if str(run.parent_run_id) not in self.run_map:
            self.roots.append(run)
        super()._start_trace(run)

    def _persist_run(self, run: Run) -> None:
        """They are kept as they start."""


def run_id_of(config: RunnableConfig) -> str:
    """The id of the span that `config` was given out by."""
    return str(getattr(config.get("callbacks"), "parent_run_id", None) or "")


async def within(config: RunnableConfig, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run foreign code so that its Runnables and traceables become children of the span behind `config`."""
    with set_config_context(config) as context:
        return await asyncio.create_task(work(), context=context)
