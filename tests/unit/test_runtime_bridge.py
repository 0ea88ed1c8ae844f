"""The sync bridge and signals, with real processes where it matters."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from langchain_promptopt._runtime.bridge import run_sync
from langchain_promptopt._runtime.signals import cancel_on_signals

COLOUR = contextvars.ContextVar("colour", default="none")


async def colour():
    await asyncio.sleep(0)
    return COLOUR.get(), threading.current_thread() is threading.main_thread()


async def fail():
    await asyncio.sleep(0)
    msg = "inside"
    raise KeyError(msg)


def in_a_loop(call):
    async def main():
        return call()

    return asyncio.run(main())


@pytest.mark.parametrize("where", [lambda call: call(), in_a_loop])
def test_results_errors_and_context_cross(where):
    token = COLOUR.set("red")
    try:
        value, on_main = where(lambda: run_sync(colour))
        assert value == "red"
        assert on_main == (where is not in_a_loop)
        with pytest.raises(KeyError, match="inside"):
            where(lambda: run_sync(fail))
    finally:
        COLOUR.reset(token)


def test_bridges_nest():
    async def outer():
        return run_sync(colour)

    assert in_a_loop(lambda: run_sync(outer))[1] is False


def test_exits_are_handed_over():
    async def leave():
        raise SystemExit(4)

    with pytest.raises(SystemExit) as caught:
        in_a_loop(lambda: run_sync(leave))
    assert caught.value.code == 4


def script(body):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_ctrl_c_in_a_notebook_cancels_cleans_up_and_is_raised():
    child = script("""
        import asyncio
        from langchain_promptopt._runtime.bridge import run_sync
        async def work():
            try:
                print("ready")
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                print("cleaned")
        async def notebook():
            run_sync(work)
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(notebook())
        except KeyboardInterrupt:
            print("raised")
    """)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert out == "cleaned\nraised\n", err


RUN = """
    import asyncio, signal
    from langchain_promptopt._runtime.bridge import run_sync
    from langchain_promptopt._runtime.signals import cancel_on_signals
    async def work():
        async with cancel_on_signals() as cancel:
            print("ready")
            number = await cancel.wait()
            print("flushing")
            await asyncio.sleep({linger})
            print("flushed", number, cancel.requested)
    run_sync(work)
    same = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("restored", same and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number):
    child = script(RUN.format(linger=0.01))
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert out == f"flushing\nflushed {int(number)} True\nrestored True\n", err
    assert child.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_quits(number):
    child = script(RUN.format(linger=60))
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "flushing\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=30)
    assert out == ""
    assert child.returncode == -number


def test_off_the_main_thread_signals_stay_the_programs():
    before = signal.getsignal(signal.SIGINT)

    async def work():
        async with cancel_on_signals() as cancel:
            assert signal.getsignal(signal.SIGINT) is before
            cancel.request(signal.SIGTERM)
            return await cancel.wait()

    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(work())))
    thread.start()
    thread.join()
    assert found == [15]


def test_handlers_are_put_back():
    def mine(number, frame):
        return None

    before = signal.signal(signal.SIGTERM, mine)
    try:

        async def work():
            async with cancel_on_signals():
                assert signal.getsignal(signal.SIGTERM) is not mine

        asyncio.run(work())
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
