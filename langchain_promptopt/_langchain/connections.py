"""Connections for many calls at once: each call takes the one used last, and nobody looks at the others.

httpx's pool walks over all its connections before and after each request, asking the operating
system about every idle one; with 64 in flight that is a sixth of a call's processor time.
"""

from __future__ import annotations

import asyncio
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_DEFAULT_CLIENT = "_AsyncHttpxClientWrapper"
"""What langchain-openai makes when nobody passes a client."""
_KEPT_SECONDS = 5.0  # as in the default pool


def spread_client(root: Any) -> Any | None:
    """An HTTP client like the default one of this `AsyncOpenAI`, with cheaper connections.

    None where its client is anybody else's, speaks through a proxy, or was instrumented: those stay.
    """
    default = getattr(root, "_client", None)
    transport = getattr(default, "_transport", None)
    library = sys.modules.get(type(transport).__module__.partition(".")[0])
    plain = library is not None and type(transport) is getattr(library, "AsyncHTTPTransport", None)
    if type(default).__name__ != _DEFAULT_CLIENT or not plain or getattr(default, "_mounts", None):
        return None
    if "create" in vars(root.chat.completions):
        return None
    options = getattr(getattr(transport, "_pool", None), "_socket_options", None)
    return _client(library, default, options)


@cache
def _certificates(library: Any) -> Any:
    """Reading the certificates takes longer than a call: once is enough."""
    return library.create_ssl_context()


def _client(library: Any, default: Any, options: Any) -> Any:
    limits = library.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_SECONDS)

    def connection() -> Any:
        return library.AsyncHTTPTransport(verify=_certificates(library), limits=limits, socket_options=options)

    return type(default)(
        base_url=default.base_url,
        timeout=default.timeout,
        follow_redirects=default.follow_redirects,
        transport=_spread(library)(connection),
    )


@cache
def _spread(library: Any) -> Callable[[Callable[[], Any]], Any]:
    """Transports of one connection each, the last one used on top, as a transport of this library."""
    body = _returned(library)

    class Spread(library.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time
        def __init__(self, connection: Callable[[], Any]) -> None:
            self._connection = connection
            self._idle: list[Any] = []
            self._loop: asyncio.AbstractEventLoop | None = None

        async def handle_async_request(self, request: Any) -> Any:
            loop = asyncio.get_running_loop()
            if loop is not self._loop:  # connections of another event loop cannot be used here
                self._loop, self._idle = loop, []
            idle = self._idle
            inner = idle.pop() if idle else self._connection()
            try:
                response = await inner.handle_async_request(request)
            except BaseException:
                await inner.aclose()
                raise
            response.stream = body(response.stream, lambda: idle.append(inner))
            return response

        async def aclose(self) -> None:
            while self._idle:
                await self._idle.pop().aclose()

    return Spread


def _returned(library: Any) -> Callable[[Any, Callable[[], None]], Any]:
    """A reply's body; when it is closed its connection is free again."""

    class Returned(library.AsyncByteStream):  # type: ignore[misc]  # the same
        def __init__(self, body: Any, free: Callable[[], None]) -> None:
            self._body = body
            self._free = free

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in self._body:
                yield part

        async def aclose(self) -> None:
            await self._body.aclose()
            self._free()

    return Returned
