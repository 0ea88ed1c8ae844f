"""Spans for our own work, the same for LangSmith, OpenTelemetry and local tracers.

They use LangChain's callback managers, so a span nests as a Runnable's would, and costs nothing without handlers.
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
    """The tracers of one run's evaluations, while its tracing is open.

    Args:
        isolate: Makes the context in which an evaluation is a trace of its own.
        handlers: The run's own tracers; they too get each evaluation as a trace of its own.
        traces: Ids of the evaluation traces made by this process; empty without tracers.
    """

    isolate: Callable[[], AbstractContextManager[Any]] = nullcontext
    handlers: Sequence[BaseCallbackHandler] = ()
    traces: Traces = field(default_factory=dict)

    @contextmanager
    def watching(
        self, isolate: Callable[[], AbstractContextManager[Any]], handlers: Sequence[BaseCallbackHandler]
    ) -> Iterator[None]:
        """A block whose evaluations these tracers see."""
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
    """Open a span under `config`. An exception is reported to the tracers and raised again.

    Args:
        config: The config of the span's parent; None is no parent.
        name: The span's name, such as "promptopt.evaluate".
        inputs: What the tracers show as its inputs.
        metadata: Added to the config's own, for the span and what runs inside.

    Yields:
        The config for what runs inside, and a function that sets the outputs ({} if it is not called).
    """
    own = ensure_config(config)
    if metadata:  # in a new dict: the caller's config may be shared by spans that run at the same time
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
    """The metadata of a span, with the same keys on every span (product 6).

    Args:
        candidate: The candidate the span is about.
        step: The step's number; 0 is before the first.
        split: "train", "dev", "val" or "test"; "" where no split is used.
    """
    return {
        "promptopt_step": step,
        "promptopt_candidate_id": candidate.id,
        "promptopt_parent_id": candidate.parents[0] if candidate.parents else "",
        "promptopt_split": split,
    }


class StepRuns(BaseTracer):
    """Keeps the runs of one call of a chain, each with its `child_runs`, for evaluators that read them."""

    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _start_trace(self, run: Run) -> None:
        # A run whose parent we did not see is a root too: the chain is called inside a span of the caller's.
        if str(run.parent_run_id) not in self.run_map:
            self.roots.append(run)
        super()._start_trace(run)

    def _persist_run(self, run: Run) -> None:
        """They are kept as they start."""


def run_id_of(config: RunnableConfig) -> str:
    """The id of the span that `config` came from; "" where there is none."""
    return str(getattr(config.get("callbacks"), "parent_run_id", None) or "")


async def in_span(config: RunnableConfig, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the user's code so that its Runnables and traceables become children of the span behind `config`."""
    with set_config_context(config) as context:
        return await asyncio.create_task(work(), context=context)
