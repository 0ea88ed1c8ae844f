"""Requests and answers of the loopback servers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-service-key", "api-key", "cookie", "proxy-authorization"})


@dataclass
class Request:
    """What a client asked; `number` counts from 0 in order of arrival."""

    number: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    fault: str | None = None

    @cached_property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @cached_property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal requests, also when a multipart boundary was drawn anew."""
        _, _, boundary = self.headers.get("content-type", "").partition("boundary=")
        body = self.body.replace(boundary.encode(), b"") if boundary else self.body
        return hashlib.sha256(f"{self.method} {self.target}\n".encode() + body).hexdigest()

    def one(self, name: str, default: str | None = None) -> str | None:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Response:
    """An answer; with `chunks` the body is streamed in these pieces."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Response:
        return cls(json.dumps(value, default=str).encode(), status)


class HttpError(Exception):
    """Raised by a handler: this status, with `detail` where either SDK looks for it."""

    def __init__(self, status: int, detail: str, **error: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.error = status, detail, error

    def response(self) -> Response:
        error = {"message": self.detail, "type": "test_server", "param": None, "code": None, **self.error}
        return Response.of({"detail": self.detail, "error": error}, self.status)


def encoded(response: Response) -> tuple[bytes, bytes]:
    """The head and the body as they go over the wire."""
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"content-type: {response.content_type}",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.chunks is None:
        lines.append(f"content-length: {len(response.body)}")
        pieces = [response.body]
    else:
        lines.append("transfer-encoding: chunked")
        pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in response.chunks if chunk] + [b"0\r\n\r\n"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), b"".join(pieces)
