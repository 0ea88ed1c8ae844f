"""Event loops that outlive a call, because connections do.

An HTTP client keeps its connections open, and they belong to the loop that opened them: with a
new loop for each call the second step that uses the same client would fail. The loop used last is
taken first, so calls that follow each other share one; calls inside a call get another.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

T = TypeVar("T")

_idle: list[asyncio.Runner] = []
_lock = threading.Lock()
_of_the_parent: list[asyncio.Runner] = []
"""After a fork: loops whose file descriptors are the parent's, kept so that nothing closes them here."""


def run_on_a_loop(coro_fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `coro_fn()` to its end in this thread, in which no loop runs, as `asyncio.run` would.

    Tasks left over are cancelled and awaited. A loop that was interrupted is closed and not used again.
    """
    with _lock:
        runner = _idle.pop() if _idle else asyncio.Runner(loop_factory=asyncio.new_event_loop)
    try:
        value = runner.run(_alone(coro_fn), context=contextvars.copy_context())
    except Exception:
        _keep(runner)
        raise
    except BaseException:
        runner.close()
        raise
    _keep(runner)
    return value


async def _alone(coro_fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return await coro_fn()
    finally:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _keep(runner: asyncio.Runner) -> None:
    with _lock:
        _idle.append(runner)


def _close_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().close()


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may hold the old one
    _of_the_parent.extend(_idle)
    _idle.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_after_fork)
