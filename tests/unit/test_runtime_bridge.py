"""The sync bridge and signals, with real processes where it matters."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.stopping import cancel_on_signals, grace

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
        from langchain_promptopt._runtime.concurrency import run_sync
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
    from langchain_promptopt._runtime.concurrency import run_sync
    from langchain_promptopt._runtime.stopping import cancel_on_signals
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


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 10.0), (False, 5.0)])
def test_calls_in_flight_get_longer_where_somebody_can_press_ctrl_c_again(terminal, seconds, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    assert grace(None) == grace(120.0) == seconds
    assert grace(2.0) == 2.0


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


# ------------------------------------------------------------------ loops outlive a call


async def loop_now():
    return asyncio.get_running_loop()


@pytest.mark.parametrize("where", [lambda call: call(), in_a_loop])
def test_calls_that_follow_each_other_share_a_loop(where):
    assert where(lambda: run_sync(loop_now)) is where(lambda: run_sync(loop_now))


def test_a_call_inside_a_call_has_another_loop():
    async def outer():
        return asyncio.get_running_loop(), run_sync(loop_now)

    mine, inner = run_sync(outer)
    assert mine is not inner


def test_each_call_sees_its_own_context():
    for value in ("red", "blue"):
        token = COLOUR.set(value)
        assert run_sync(colour)[0] == value
        COLOUR.reset(token)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_left_over_goes_on_in_the_next_call(fails):
    ended = []

    async def background():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def work():
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        if fails:
            raise KeyError(task.get_name())

    if fails:
        with pytest.raises(KeyError):
            run_sync(work)
    else:
        run_sync(work)
    assert ended == [True]


def test_an_interrupted_loop_is_not_used_again():
    before = run_sync(loop_now)

    async def leave():
        raise SystemExit(4)

    with pytest.raises(SystemExit):
        run_sync(leave)
    assert before.is_closed()
    assert run_sync(loop_now) is not before


def test_threads_that_call_at_once_do_not_share():
    barrier, seen = threading.Barrier(4), []

    async def meet():
        barrier.wait(timeout=30)
        return asyncio.get_running_loop()

    threads = [threading.Thread(target=lambda: seen.append(run_sync(meet))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(loop) for loop in seen}) == 4


def test_a_forked_child_takes_no_loop_of_its_parent():
    child = script("""
        import asyncio, os
        from langchain_promptopt._runtime.concurrency import run_sync
        async def number():
            await asyncio.sleep(0)
            return id(asyncio.get_running_loop())
        mine = run_sync(number)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if run_sync(number) != mine else 1)
        print(os.waitpid(pid, 0)[1], run_sync(number) == mine)
    """)
    out, err = child.communicate(timeout=30)
    assert out == "0 True\n", err


HANGS = """
    import asyncio, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from langchain_promptopt._runtime.concurrency import run_sync

    async def main():
        hung = asyncio.create_task(asyncio.to_thread(threading.Event().wait))
        done = await asyncio.gather(*(asyncio.to_thread(lambda n=n: n * n) for n in range(100)))
        hung.cancel()
        return sum(done)

    print(run_sync(main), flush=True)
"""


def test_a_thread_that_never_returns_does_not_keep_the_process_alive():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(HANGS)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "328350\n"), done.stderr


LEAVES = """
    import sys, threading
    from langchain_promptopt._runtime.stopping import leave_within

    threading.Thread(target=threading.Event().wait).start()
    sys.stdout.write("answer")
    leave_within(0.1, 4)
"""


def test_an_answer_ends_the_process_whatever_threads_the_users_code_left():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(LEAVES)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (4, "answer"), done.stderr


def test_threads_of_the_loop_pass_errors_values_and_context_on():
    COLOUR.set("red")

    def boom():
        raise KeyError("inside")

    async def main():
        assert await asyncio.to_thread(COLOUR.get) == "red"
        with pytest.raises(KeyError, match="inside"):
            await asyncio.to_thread(boom)
        return await asyncio.to_thread(lambda: threading.current_thread().daemon)

    assert run_sync(main)


ENDS = """
    import asyncio, atexit, threading
    from langchain_promptopt._runtime.concurrency import run_sync

    async def work():
        await asyncio.to_thread(print, "answer")

    def refuse(*_, **__):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    run_sync(work)
    for start in ("_start_new_thread", "_start_joinable_thread"):
        atexit.register(setattr, threading, start, refuse)  # as Python 3.12 does
"""


def test_no_thread_is_started_while_the_interpreter_ends():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(ENDS)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer\n", "")
