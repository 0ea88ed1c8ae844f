"""OpenAI's files and batches, as far as a batch of chat completions needs them, with every way to fail."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.http_messages import HttpError, Request, Response

Chat = Callable[[dict[str, Any]], Awaitable[Response]]


class Desk:
    """Takes files, makes batches of them, and works on a batch when it is asked for.

    `fate` says what becomes of a line, given the numbers of batch and line: None is an answer; "expired", "500" and
    "429" are in the error file, "missing" is nowhere, "garbage" is no JSON. `ends` says how a batch ends: "completed",
    "failed", "expired" or "cancelled"; `looks` is how often it is asked for before that. `heard` is told each
    request by name before its answer is sent.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.fate: Callable[[int, int], str | None] = lambda _batch, _line: None
        self.ends: Callable[[int], str] = lambda _batch: "completed"
        self.error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
        self.looks = 1
        self.heard: Callable[[str], None] = lambda _name: None
        self.paid: list[str] = []
        """Custom ids of the requests that were answered."""

    @property
    def submitted(self) -> list[list[dict[str, Any]]]:
        """The requests of each batch."""
        return [self._requests(batch) for batch in self.batches.values()]

    def _requests(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    async def answer(self, request: Request) -> Response | None:
        """The answer to a request for files or batches; None for others."""
        match request.method, request.path.removeprefix("/v1/").split("/"):
            case "POST", ["files"]:
                made = f"file-{len(self.files)}"
                self.files[made] = _uploaded(request)
                self.heard("upload")
                return Response.of({"id": made, "object": "file", "purpose": "batch", "bytes": 1, "filename": "x"})
            case "GET", ["files", name, "content"] if name in self.files:
                self.heard("content")
                return Response(self.files[name], content_type="application/octet-stream")
            case "POST", ["batches"]:
                return self._made(request.json())
            case "GET", ["batches"]:
                found = list(reversed(self.batches.values()))
                return Response.of({"object": "list", "data": found, "has_more": False})
            case "GET", ["batches", name] if name in self.batches:
                self.heard("look")
                return Response.of(await self._looked_at(self.batches[name]))
        return None

    def _made(self, asked: dict[str, Any]) -> Response:
        if asked["input_file_id"] not in self.files:
            raise HttpError(400, "no such file")
        number = len(self.batches)
        batch = {"id": f"batch_{number}", "object": "batch", "status": "in_progress", "created_at": number, **asked}
        batch |= {"output_file_id": None, "error_file_id": None, "errors": None, "looks": 0}
        self.batches[batch["id"]] = batch
        self.heard("create")
        return Response.of(batch)

    async def _looked_at(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] += 1
        if batch["looks"] <= self.looks or batch["status"] != "in_progress":
            return batch
        number = int(batch["id"].rpartition("_")[2])
        batch["status"] = self.ends(number)
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [self.error]}
            return batch
        good: list[bytes] = []
        bad: list[bytes] = []
        for place, line in enumerate(self._requests(batch)):
            await self._work(line, self.fate(number, place), good, bad)
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = b"\n".join(reversed(lines)) + b"\n"  # in no order that means anything
        return batch

    async def _work(self, line: dict[str, Any], fate: str | None, good: list[bytes], bad: list[bytes]) -> None:
        if fate == "missing":
            return
        if fate == "garbage":
            good.append(b'{"custom_id": "')
            return
        reply: dict[str, Any] = {"id": "r", "custom_id": line["custom_id"], "response": None, "error": None}
        if fate == "expired":
            reply["error"] = {"code": "batch_expired", "message": "This request could not be executed before expiry."}
            bad.append(json.dumps(reply).encode())
            return
        status, body = 200, {}
        if fate is not None:
            status, body = int(fate), {"error": {"message": f"planned {fate}", "code": None, "type": "planned"}}
        else:
            try:
                answered = await self.chat(line["body"])
                body = json.loads(answered.body)
            except HttpError as error:
                status, body = error.status, json.loads(error.response().body)
        reply["response"] = {"status_code": status, "request_id": "r", "body": body}
        (good if status == 200 else bad).append(json.dumps(reply).encode())
        if status == 200:
            self.paid.append(line["custom_id"])


def _uploaded(request: Request) -> bytes:
    """The file in a multipart form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(b"--" + boundary):
        head, _, body = part.partition(b"\r\n\r\n")
        if re.search(rb'name="file"', head):
            return body.removesuffix(b"\r\n")
    raise HttpError(400, "no file")
