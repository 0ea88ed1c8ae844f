"""The guard sees what goes out, however it goes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from tests.support.guard import SocketGuard
from tests.support.openai_server import serve


def test_sync_async_and_threaded_connects_are_seen() -> None:
    async def by_asyncio(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()

    with serve() as server, SocketGuard() as seen:
        socket.create_connection(("127.0.0.1", server.port)).close()
        with contextlib.closing(socket.socket()) as raw:
            raw.connect_ex(("127.0.0.1", server.port))
        worker = threading.Thread(target=lambda: socket.create_connection(("127.0.0.1", server.port)).close())
        worker.start()
        worker.join()
        asyncio.run(by_asyncio(server.port))
        assert len(seen.to(server.url)) == 4
        seen.assert_loopback_only()
        with pytest.raises(AssertionError, match="connected to"):
            seen.assert_never(server.url)


def test_a_refused_or_swallowed_attempt_is_seen_all_the_same() -> None:
    with SocketGuard() as seen:
        for attempt in (
            lambda: socket.create_connection(("192.0.2.1", 443), timeout=0.01),
            lambda: socket.getaddrinfo("api.example.invalid", 443),
        ):
            with contextlib.suppress(AssertionError, OSError):  # as a background thread of an SDK would
                attempt()
    assert [(one.call, one.host) for one in seen.beyond_loopback()][-1] == (
        "socket.getaddrinfo",
        "api.example.invalid",
    )
    assert "192.0.2.1" in {one.host for one in seen.beyond_loopback()}
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        seen.assert_loopback_only()


def test_a_call_that_goes_around_the_patches_is_seen_by_the_audit_net() -> None:
    with serve() as server, contextlib.closing(socket.socket()) as raw, SocketGuard() as seen:
        super(socket.socket, raw).connect(("127.0.0.1", server.port))
        assert len(seen.to(server.url)) == 1


def test_nothing_is_seen_outside_the_guard() -> None:
    with serve() as server:
        before = socket.socket.connect
        with SocketGuard() as seen:
            pass
        assert socket.socket.connect is before
        socket.create_connection(("127.0.0.1", server.port)).close()
    assert seen.attempts == []
