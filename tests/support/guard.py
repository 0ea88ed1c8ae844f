"""Watch the sockets of this process: every connect and every name looked up, in any thread."""

from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", ""})
_EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
_active: list[SocketGuard] = []
_inside = threading.local()


class Attempt(NamedTuple):
    """One try to reach somebody, whether it succeeded or not."""

    call: str
    host: str
    port: int | None
    thread: str


class SocketGuard:
    """`with SocketGuard() as seen: ...; seen.assert_loopback_only()`.

    Two nets: Python's audit events, which no alias or C caller avoids, and the
    patched methods, which also see what another guard of the suite refuses
    before it reaches the interpreter.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def __enter__(self) -> Self:
        _install()
        self._saved = (socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo)
        connect, connect_ex, getaddrinfo = self._saved
        socket.socket.connect = _seen("socket.connect", connect, 1)  # type: ignore[method-assign]  # undone in exit
        socket.socket.connect_ex = _seen("socket.connect", connect_ex, 1)  # type: ignore[method-assign]  # the same
        socket.getaddrinfo = _seen("socket.getaddrinfo", getaddrinfo, 0)
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.remove(self)
        connect, connect_ex, socket.getaddrinfo = self._saved
        socket.socket.connect = connect  # type: ignore[method-assign]  # what was there before
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]  # the same

    def to(self, url: str) -> list[Attempt]:
        """The connections tried to the host and port of this URL."""
        parts = urlsplit(url)
        return [attempt for attempt in self.attempts if (attempt.host, attempt.port) == (parts.hostname, parts.port)]

    def beyond_loopback(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.host not in LOOPBACK]

    def assert_loopback_only(self) -> None:
        assert not self.beyond_loopback(), f"left the machine: {self.beyond_loopback()}"

    def assert_never(self, url: str) -> None:
        assert not self.to(url), f"connected to {url}: {self.to(url)}"


def _record(call: str, address: Any) -> None:
    if isinstance(address, tuple):
        host, port = address[0], address[1] if len(address) > 1 else None
    elif call == "socket.connect":
        return  # a Unix socket reaches nobody beyond this machine
    else:
        host, port = address, None
    host = host.decode() if isinstance(host, bytes) else host or ""
    for guard in tuple(_active):
        guard.attempts.append(Attempt(call, host, port, threading.current_thread().name))


def _seen(call: str, real: Callable[..., Any], place: int) -> Callable[..., Any]:
    """`real`, recorded once: the audit event it raises itself is not counted again."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        address = args[place] if len(args) > place else next(iter(kwargs.values()))
        if getattr(_inside, "call", False):
            return real(*args, **kwargs)
        _record(call, address)
        _inside.call = True
        try:
            return real(*args, **kwargs)
        finally:
            _inside.call = False

    return watched


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _active and event in _EVENTS and not getattr(_inside, "call", False):
        _record(event, args[_EVENTS[event]])


def _install(done: list[bool] = []) -> None:  # noqa: B006  # an audit hook can be added once and never removed
    if not done:
        sys.addaudithook(_audit)
        done.append(True)
