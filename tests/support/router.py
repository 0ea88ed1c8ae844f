"""Paths to methods, for a server made of several rooms."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from tests.support.http_messages import HttpError, Request, Response

Method = TypeVar("Method", bound=Callable[..., Any])


def route(*specs: str) -> Callable[[Method], Method]:
    """Mark a method as the answer to `"GET /datasets/{dataset}"`; it gets the request and the named parts."""

    def mark(method: Method) -> Method:
        method.routes = specs  # type: ignore[attr-defined]  # read back by Router
        return method

    return mark


class Router:
    """Find the method for a request; what no room serves is a 501 that names itself."""

    def __init__(self, *rooms: object) -> None:
        self.unserved: list[str] = []
        found = [
            (spec, getattr(room, name))
            for room in rooms
            for name in dir(type(room))
            for spec in getattr(getattr(type(room), name), "routes", ())
        ]
        self._table = [(_compiled(spec), method) for spec, method in sorted(found, key=lambda pair: _rank(pair[0]))]

    def __call__(self, request: Request) -> Response:
        asked = f"{request.method} {_plain(request.path)}"
        for pattern, method in self._table:
            if match := pattern.fullmatch(asked):
                answer = method(request, **match.groupdict())
                return answer if isinstance(answer, Response) else Response.of(answer)
        self.unserved.append(asked)
        raise HttpError(501, f"not served here: {request.method} {request.path}")


def _compiled(spec: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(spec)))


def _rank(spec: str) -> tuple[int, str]:
    return spec.count("{"), spec  # /datasets/comparative before /datasets/{dataset}


def _plain(path: str) -> str:
    """The spellings the SDK uses for one endpoint, made one: with and without `/api/v1`, `/v1`, a last slash."""
    return re.sub(r"^(/api)?/v1(?=/)|^/api(?=/v2/)", "", path.rstrip("/"))
