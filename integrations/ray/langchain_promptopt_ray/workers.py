"""One Ray actor for each worker. It holds the prepared run and answers many requests at a time with asyncio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from langchain_promptopt.pipeline import CellWorker, WorkerLost, Workers

if TYPE_CHECKING:
    from collections.abc import Mapping

_AT_ONCE = 1000
"""Requests that an actor takes at a time. The run's own `max_concurrency` is the limit that counts."""


class _Cells:
    """What runs in the actor's process."""

    def __init__(self, config: Mapping[str, Any], root: str) -> None:
        self._cells = CellWorker(config, root)

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        return await self._cells.call(request)


class RayWorker:
    """A `Worker` of the run: the handle of one actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The actor's answer. Raises WorkerLost where its process or its node is gone."""
        ref = self._actor.call.remote(request)
        try:
            answer: dict[str, Any] = await ref
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        except RayTaskError:
            raise  # an error of ours in the actor's code: another worker would meet it too
        except RayActorError as error:
            raise WorkerLost(str(error).strip().partition("\n")[0]) from error
        return answer

    def stop(self) -> None:
        """End the actor's process."""
        ray.kill(self._actor, no_restart=True)


def ray_workers(
    config: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    count: int = 2,
    num_cpus: float = 1,
    patience: float = 300.0,
    **options: Any,
) -> Workers:
    """Workers for `run_step(config, root=root, shards=workers)`, as a context that stops them at its end.

    Call `ray.init(...)` first. The actors start at the first evaluation, and another one starts in the place of one
    that ends. Ray itself must not restart or retry anything: the run does, since it counts what was paid for.

    Args:
        config: The configuration of the run, shaped like `promptopt.toml`.
        root: Where relative paths and imports start, on every node; None is the working directory.
        count: Actors at a time.
        num_cpus: CPUs that Ray sets aside for each.
        patience: Seconds that an actor may take to get its place and to prepare the run. Where none does, the run
            ends with code 5.
        **options: Further options of the actors, such as `resources` or `runtime_env`.
    """
    actor = ray.remote(_Cells).options(
        num_cpus=num_cpus, max_concurrency=_AT_ONCE, max_restarts=0, max_task_retries=0, **options
    )
    place = str(Path(root or ".").resolve())

    async def start() -> RayWorker:
        return RayWorker(actor.remote(dict(config), place))

    return Workers(start, count, patience=patience)
