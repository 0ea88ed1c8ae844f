"""Connections for many calls at once.

httpx's pool walks over all its connections before and after each request, asking the operating
system about every idle one, and reads replies in Python; with 64 in flight that is a third of a
call's processor time. The openai SDK brings a client on aiohttp, which does neither.
"""

from __future__ import annotations

import socket
import sys
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEFAULT_CLIENT = "_AsyncHttpxClientWrapper"
"""What langchain-openai makes when nobody passes a client."""
_KEPT_SECONDS = 5.0  # as in the default pool


def own_client(root: Any) -> Any | None:
    """An HTTP client like the default one of this `AsyncOpenAI`, on aiohttp; it belongs to one event loop.

    None where its client is anybody else's, speaks through a proxy, or was instrumented, and where the
    address names a user, which aiohttp takes for a second authorization: those stay.
    """
    default = getattr(root, "_client", None)
    transport = getattr(default, "_transport", None)
    library = sys.modules.get(type(transport).__module__.partition(".")[0])
    plain = library is not None and type(transport) is getattr(library, "AsyncHTTPTransport", None)
    if type(default).__name__ != _DEFAULT_CLIENT or not plain or getattr(default, "_mounts", None):
        return None
    if "create" in vars(root.chat.completions) or urlsplit(str(root.base_url)).username is not None:
        return None
    options = getattr(getattr(transport, "_pool", None), "_socket_options", None)
    return _client(library, default, options or ())


@cache
def _certificates(library: Any) -> Any:
    """Reading the certificates takes longer than a call: once is enough."""
    return library.create_ssl_context()


def _client(library: Any, default: Any, options: Sequence[tuple[Any, ...]]) -> Any:
    from openai import DefaultAioHttpClient

    client = DefaultAioHttpClient(
        base_url=default.base_url,
        timeout=default.timeout,
        follow_redirects=default.follow_redirects,
        verify=_certificates(library),
    )
    transport: Any = client._transport
    transport.client = _session(_certificates(library), options)  # made on the first request, in its event loop
    return client


def _session(certificates: Any, options: Sequence[tuple[Any, ...]]) -> Callable[[], Any]:
    """Makes a session whose sockets have `options`: langchain-openai's keep long calls alive behind firewalls."""

    def opened(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        for option in options:
            made.setsockopt(*option)
        return made

    def session() -> Any:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector

        connector = TCPConnector(ssl=certificates, limit=0, keepalive_timeout=_KEPT_SECONDS, socket_factory=opened)
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar())

    return session
