"""Event loops and threads: how synchronous callers reach the async engine, and how work runs side by side.

An event loop is kept after a call: an HTTP client's open connections belong to the loop that opened them, and the
client would fail on another one. Calls that follow each other share a loop; a call inside a call gets another.
The user's synchronous code (chains, evaluators) runs on threads that do not keep the process alive.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from langchain_promptopt._runtime.usage import followed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in the order given. After an exception, the other work is cancelled and awaited, then it is raised."""
    tasks = list(map(asyncio.ensure_future, work))
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class DaemonThreads(ThreadPoolExecutor):
    """A pool whose threads end with the process, even in the middle of their work.

    Python waits for the threads of an ordinary pool before it exits, and a loop that is closed waits for its own:
    an evaluator that never returns would keep the process alive after the run.
    """

    def __init__(self, most: int = 64) -> None:
        super().__init__(max_workers=most)
        self._most = most
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0
        self._ended = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function on a thread of the pool.

        Args:
            fn: The function; the usage meter of the calling context sees its model calls.
            *args: Its arguments.
            **kwargs: Its named arguments.

        Raises:
            RuntimeError: The pool was shut down.
        """
        if self._ended:
            msg = "this pool was shut down"
            raise RuntimeError(msg)
        future: Future[T] = Future()
        call = followed(fn)

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = call(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(value)

        self._todo.put(work)
        if not self._idle.acquire(blocking=False) and self._made < self._most:
            self._made += 1
            threading.Thread(target=self._serve, name=f"promptopt-work-{self._made}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work. Work that has begun is not waited for."""
        self._ended = True
        for _ in range(self._made):
            self._todo.put(None)

    def _serve(self) -> None:
        while (work := self._todo.get()) is not None:
            work()
            del work  # what it holds is not kept until the next one comes
            self._idle.release()


_idle: list[asyncio.Runner] = []
_lock = threading.Lock()
_of_the_parent: list[asyncio.Runner] = []
"""After a fork: loops whose file descriptors are the parent's, kept so that nothing closes them here."""


def run_on_a_loop(coro_fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `coro_fn()` to its end in this thread, in which no loop runs, as `asyncio.run` would.

    Tasks left over are cancelled and awaited. A loop that was interrupted is closed and not used again.
    """
    with _lock:
        runner = _idle.pop() if _idle else asyncio.Runner(loop_factory=_new_loop)
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


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(DaemonThreads())
    return loop


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
            _close(_idle.pop().get_loop())


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close an idle loop as `Runner.close` does, but without the thread that it starts to wait for the executor.

    From Python 3.12 on no thread starts while the interpreter ends; ours are daemons and need no waiting.
    """
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may hold the old one
    _of_the_parent.extend(_idle)
    _idle.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_after_fork)


def run_sync(coro_fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `coro_fn()` to its end and return its result, whether or not a loop runs in this thread.

    Without a running loop it runs right here, so signals reach it. Inside one (a notebook, an async
    web service) it runs on a thread with another loop, in a copy of the caller's context;
    Ctrl-C then cancels the work, waits for its clean-up and is raised here.

    >>> async def answer() -> int:
    ...     return 42
    >>> run_sync(answer)
    42
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_on_a_loop(coro_fn)
    return _Aside(coro_fn).result()


class _Aside(Generic[T]):
    """Work on a thread of its own, on a loop that is not the caller's."""

    def __init__(self, coro_fn: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._coro_fn = coro_fn
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="promptopt-bridge", daemon=True)
        self._started = threading.Event()
        self._done = threading.Event()

    def result(self) -> T:
        """Start, wait, and give back what came out."""
        try:
            self._thread.start()
            self._done.wait()  # not `join`: interrupted once, CPython 3.11 takes the thread for dead
        except KeyboardInterrupt:
            self._started.wait()
            self._cancel()
            self._done.wait()
            raise
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _cancel(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        try:
            self._value.append(run_on_a_loop(self._main))
        except BaseException as error:  # noqa: BLE001 - handed over to the waiting thread and raised there
            self._error = error
        finally:
            self._started.set()
            self._done.set()

    async def _main(self) -> T:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._started.set()
        return await self._coro_fn()
