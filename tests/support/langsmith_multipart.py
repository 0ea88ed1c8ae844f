"""The SDK's two multipart bodies: runs with feedback, and examples."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.http_messages import HttpError, Request

if TYPE_CHECKING:
    from collections.abc import Iterator


class Part(NamedTuple):
    """One part: `post.<id>.inputs` and its bytes."""

    name: str
    body: bytes

    @property
    def keys(self) -> list[str]:
        return self.name.split(".")

    def json(self) -> Any:
        return json.loads(self.body)


def parts(request: Request) -> Iterator[Part]:
    """The parts of a plain or zstd-compressed body; one that does not end as it should is a 422."""
    body = request.body
    if request.headers.get("content-encoding") == "zstd":
        import zstandard

        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        raise HttpError(422, "multipart without a boundary")
    mark = b"--" + boundary[1].encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise HttpError(422, "multipart body is cut short")
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is None:
            raise HttpError(422, "multipart part without a name")
        yield Part(name[1].decode(), content)
