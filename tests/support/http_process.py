"""Loopback servers in a process of their own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http_kit import LoopbackServer


def run_until_signal(server: LoopbackServer) -> None:
    """Print the URL and serve until SIGTERM or SIGINT: the body of `python -m tests.support...`."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server:
        print(server.url, flush=True)
        ended.wait()


@contextlib.contextmanager
def spawned(module: str, *arguments: str) -> Iterator[str]:
    """Run `python -m module arguments` beside the test; gives the URL it prints, ends it afterwards."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), f"{module} did not start: {url!r}"
            yield url
        finally:
            process.terminate()
            process.wait(timeout=10)
