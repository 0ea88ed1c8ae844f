"""One Dask actor for each worker process: it holds the prepared run and answers many requests at once with asyncio."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from langchain_promptopt.pipeline import CellWorker, WorkerLost, Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from distributed import Actor, Client, Future

T = TypeVar("T")


class Cells:
    """What a Dask worker holds. Its requests wait for models on a thread of its own, not on Dask's event loop."""

    def __init__(self, config: Mapping[str, Any], root: str) -> None:
        self._cells = CellWorker(config, root)

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        return await self._cells.call(request)

    def __del__(self) -> None:
        self._cells.close(wait=False)  # Dask drops an actor that nobody holds, and calls nothing


async def _in_client(client: Client, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work()` on the client's own event loop, which is on another thread."""

    async def working() -> T:
        return await work()

    loop = client.loop.asyncio_loop
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(working(), loop))


class DaskWorker:
    """A `Worker` of the run: the handle of one actor on one Dask worker."""

    def __init__(self, client: Client, future: Future, actor: Actor) -> None:
        self._client = client
        self._future = future
        self._actor = actor

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The actor's answer. Raises WorkerLost where its process is gone."""
        try:
            return await _in_client(self._client, lambda: self._actor.call(request))
        except (OSError, RuntimeError, ValueError) as error:  # Dask has no class for a lost actor
            raise WorkerLost(str(error) or type(error).__name__) from error

    def stop(self) -> None:
        """Give the actor up, whoever still holds its handle."""
        self._client.cancel([self._future], force=True)


def dask_workers(
    client: Client,
    config: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    count: int | None = None,
    patience: float = 300.0,
) -> Workers:
    """Workers for `run_step(config, root=root, shards=workers)`, as a context that gives them up at its end.

    Args:
        client: A client of the cluster, made without `asynchronous=True`.
        config: The configuration of the run, shaped like `promptopt.toml`.
        root: Where relative paths and imports start, on every machine; None is the working directory.
        count: Actors at a time, spread over the Dask workers; None is one for each Dask worker that is there now.
        patience: Seconds that an actor may take to start and to prepare the run. Where none does, the run ends
            with code 5.
    """
    place = str(Path(root or ".").resolve())
    there = max(1, len(_addresses(client)))
    wanted = count or there
    seats = Seats(client, most=-(-wanted // there))

    async def start() -> DaskWorker:
        while True:
            address = await seats.free()
            future = client.submit(
                Cells,
                dict(config),
                place,
                actor=True,
                pure=False,
                key=f"promptopt-cells-{uuid4().hex}",
                workers=[address],
                allow_other_workers=False,
            )
            actor = await seats.taken(address, future)
            if actor is not None:
                return DaskWorker(client, future, actor)

    return Workers(start, wanted, patience=patience)


def _addresses(client: Client) -> list[str]:
    return list(client.scheduler_info(-1)["workers"])


_LOOK = 0.5
"""Seconds between two looks at the cluster."""
_LOOKS = 20
"""Looks at a cluster whose workers all have their actors, before one gets two: a killed one is back by then."""


class Seats:
    """Where actors go: on the Dask workers with the fewest of them.

    Args:
        client: A client of the cluster.
        most: Actors on one Dask worker, unless others do not come back.
    """

    def __init__(self, client: Client, most: int) -> None:
        self._client = client
        self._most = most
        self._actors: Counter[str] = Counter()

    async def free(self) -> str:
        """The address of a Dask worker for one more actor; waits until there is one."""
        for look in itertools.count():
            there = await asyncio.to_thread(_addresses, self._client)
            address = min(there, key=lambda name: self._actors[name], default=None)
            if address is not None and (look >= _LOOKS or self._actors[address] < self._most):
                break
            await asyncio.sleep(_LOOK)
        self._actors[address] += 1
        return address

    async def taken(self, address: str, future: Future) -> Actor | None:
        """The actor once it is there; None where its Dask worker ended before.

        Args:
            address: The Dask worker that the actor was sent to.
            future: What `client.submit` returned for it.

        Raises:
            WorkerLost: The actor cannot be made there.
        """
        waiting = asyncio.ensure_future(_in_client(self._client, lambda: future))
        try:
            while not (await asyncio.wait([waiting], timeout=_LOOK))[0]:
                if address not in await asyncio.to_thread(_addresses, self._client):
                    future.release()
                    return None
            return await waiting
        except asyncio.CancelledError:
            future.release()
            raise
        except Exception as error:
            raise WorkerLost(str(error) or type(error).__name__) from error
        finally:
            waiting.cancel()
