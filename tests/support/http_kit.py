"""One small HTTP/1.1 server on 127.0.0.1 under both test servers.

One asyncio thread answers everything, so handlers see one request at a time
and need no locks. It keeps connections alive, reads Content-Length and chunked
bodies, delays, fails on plan (`faults.py`) and remembers what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Self

from tests.support.faults import BEFORE, STATUSES, FaultPlan
from tests.support.http_messages import SECRET_HEADERS, HttpError, Request, Response, encoded

Handler = Callable[[Request], "Response | Awaitable[Response]"]


class LoopbackServer:
    """Serve `handler` in a thread; `with LoopbackServer(...) as server: server.url`.

    `count` is of the requests that cost something: a server names in `free` the method and path prefix of others.
    """

    free: tuple[str, str] | None = None

    def __init__(
        self,
        handler: Handler,
        *,
        port: int = 0,
        delay: float | Callable[[Request], float] = 0.0,
        faults: FaultPlan | None = None,
        record: int | None = 10_000,
    ) -> None:
        self.handler, self.delay, self.faults = handler, delay, faults
        self.requests: deque[Request] = deque(maxlen=record)
        self.errors: list[BaseException] = []
        self.arrived = self.count = self.inflight = self.peak = 0
        self.connections: set[_Connection] = set()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._closed = socket.socket()  # bound and never listening: the system refuses whoever connects
        self._closed.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.port}"
        self._arriving: set[asyncio.Task[Any]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="loopback-http", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        """Close every connection, hung ones too, and end the thread. A second call does nothing."""
        self._closed.close()
        if not self._thread.is_alive():
            self._socket.close()
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def asked(self, method: str, path: str) -> list[Request]:
        """The recorded requests to exactly this path."""
        return [request for request in tuple(self.requests) if (request.method, request.path) == (method, path)]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)
        self._ready.set()
        await self._stop.wait()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await asyncio.gather(*self._arriving)
        while self.connections:
            for connection in tuple(self.connections):
                connection.reset()
            await asyncio.sleep(0)

    def _accept(self) -> None:
        """Take one connection; asyncio's own server leaks those that arrive while it is being closed."""
        client, _ = self._socket.accept()
        arriving = self._loop.create_task(self._loop.connect_accepted_socket(lambda: _Connection(self), client))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def answer(self, connection: _Connection, request: Request) -> None:
        """Delay, fail on plan, or handle; called by the connection for each complete request."""
        if request.path == "/_kit":  # for whoever runs this server in a process of its own
            connection.send(Response.of({"requests": self.count, "peak": self.peak}))
            return
        request.fault = self.faults.decide(request) if self.faults is not None else None
        public = {name: value for name, value in request.headers.items() if name not in SECRET_HEADERS}
        self.requests.append(replace(request, headers=public))
        self.inflight += 1
        self.peak = max(self.peak, self.inflight)
        try:
            seconds = self.delay(request) if callable(self.delay) else self.delay
            if seconds:
                await asyncio.sleep(seconds)
            if request.fault in BEFORE:
                await self._refuse(connection, request.fault, request.target)
            else:
                await self._spoil(connection, request.fault, await self._handle(request))
        finally:
            self.inflight -= 1

    async def _handle(self, request: Request) -> Response:
        try:
            response = self.handler(request)
            return await response if inspect.isawaitable(response) else response
        except HttpError as error:
            return error.response()

    async def _refuse(self, connection: _Connection, fault: str, target: str) -> None:
        assert self.faults is not None
        if fault == "hang":
            await asyncio.Event().wait()  # until the client or `stop` closes the connection
        if fault == "reset":
            connection.reset()
            return
        if fault == "refused":  # sent on to a port where nobody listens, as behind a balancer whose backend is gone
            place = f"http://127.0.0.1:{self._closed.getsockname()[1]}{target}"
            connection.send(Response(status=307, content_type="text/plain", headers={"Location": place}))
            return
        code = "insufficient_quota" if fault == "quota" else None
        refusal = HttpError(STATUSES[fault], f"planned fault {fault}", code=code, type=code or "planned").response()
        if fault == "429-retry-after":
            refusal.headers["Retry-After"] = self.faults.retry_after
        connection.send(refusal)

    async def _spoil(self, connection: _Connection, fault: str | None, response: Response) -> None:
        spoilt = {
            "malformed": replace(response, body=b'{"id": "x", "choices": [{"mess', chunks=None),
            "empty": replace(response, body=b"", chunks=None),
            "html": Response(b"<html><body>Bad gateway</body></html>", content_type="text/html"),
            "no_choices": Response.of({"id": "x", "object": "chat.completion", "choices": [], "usage": None}),
        }
        if fault == "lost":
            connection.reset()
        elif fault == "truncated":
            connection.send(response, stop_after=max(1, len(response.body) // 2))
            connection.close()
        elif fault == "slow":
            assert self.faults is not None
            await connection.trickle(response, self.faults.slow)
        else:
            connection.send(spoilt.get(fault or "", response))


class _Connection(asyncio.Protocol):
    """One client: reads requests, answers them in order."""

    transport: asyncio.Transport

    def __init__(self, server: LoopbackServer) -> None:
        self.server, self.buffer = server, bytearray()
        self.task: asyncio.Task[None] | None = None
        self.head: tuple[str, str, dict[str, str], int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.task is None:
            self._next()

    def _next(self) -> None:
        request = self._take()
        if request is not None:
            self.task = asyncio.get_running_loop().create_task(self.server.answer(self, request))
            self.task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:  # a bug of the server or of a brain: seen by the client, kept for the test
            self.server.errors.append(error)
            self.send(Response.of({"detail": repr(error), "error": {"message": repr(error)}}, 500))
        if not self.transport.is_closing():
            self._next()

    def _take(self) -> Request | None:
        """The next complete request of the buffer, removed from it."""
        if self.head is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
            method, target, _version = first.split(" ", 2)
            pairs = (line.split(":", 1) for line in lines)
            self.head = (method, target, {name.strip().lower(): value.strip() for name, value in pairs}, end + 4)
        method, target, headers, start = self.head
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, end = self._chunked(start)
        else:
            end = start + int(headers.get("content-length", "0"))
            body = bytes(self.buffer[start:end]) if len(self.buffer) >= end else None
        if body is None:
            return None
        del self.buffer[:end]
        self.head = None
        self.server.arrived += 1
        free = self.server.free
        self.server.count += free is None or method != free[0] or not target.startswith(free[1])
        return Request(self.server.arrived - 1, method, target, headers, body)

    def _chunked(self, at: int) -> tuple[bytes | None, int]:
        pieces: list[bytes] = []
        while (line := self.buffer.find(b"\r\n", at)) >= 0:
            size = int(self.buffer[at:line].split(b";")[0], 16)
            at = line + 2 + size + 2
            if len(self.buffer) < at:
                break
            if size == 0:
                return b"".join(pieces), at
            pieces.append(bytes(self.buffer[line + 2 : at - 2]))
        return None, at

    def send(self, response: Response, *, stop_after: int | None = None) -> None:
        """Write an answer; with `stop_after` only this many bytes of its body."""
        head, body = encoded(response)
        self.transport.write(head + body[:stop_after])

    async def trickle(self, response: Response, seconds: float) -> None:
        """Write an answer in eight pieces spread over `seconds`."""
        head, body = encoded(response)
        self.transport.write(head)
        step = max(1, -(-len(body) // 8))
        for at in range(0, len(body), step):
            await asyncio.sleep(seconds / 8)
            self.transport.write(body[at : at + step])

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Drop the connection with a TCP reset, so the client sees no orderly end."""
        raw = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # already gone
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
