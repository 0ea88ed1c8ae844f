"""One traced span for our own work, seen alike by LangSmith, OpenTelemetry and local tracers.

Uses LangChain's callback managers, so a span nests wherever a Runnable would, and costs
nothing where nobody listens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.runnables.config import (
    RunnableConfig,
    ensure_config,
    get_async_callback_manager_for_config,
    patch_config,
)

End = Callable[[Mapping[str, Any]], None]


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
