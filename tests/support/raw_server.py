"""A server on 127.0.0.1 that answers each request with bytes as they are, HTTP or not."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import Any, Self


class RawServer:
    """`with RawServer() as server: server.reply = b"SSH-2.0\\r\\n"`; every request gets the reply of that moment."""

    def __init__(self) -> None:
        self.reply = b""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, name="loopback-raw", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.settimeout(5)
                self._read(client)
                client.sendall(self.reply)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):  # an orderly end: closing with unread bytes would be a reset
                    pass

    @staticmethod
    def _read(client: socket.socket) -> None:
        got = b""
        while b"\r\n\r\n" not in got:
            piece = client.recv(65536)
            if not piece:
                return
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        left = int(lengths[0]) - len(body) if lengths else 0
        while left > 0:
            left -= len(client.recv(65536))


def http(body: Any = b"", status: int = 200, content_type: str = "application/json") -> bytes:
    """An HTTP reply; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + content


def completion(**fields: Any) -> dict[str, Any]:
    """A chat completion that says "hi", with other fields."""
    message = {"role": "assistant", "content": "hi"}
    common = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {**common, "choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage, **fields}
