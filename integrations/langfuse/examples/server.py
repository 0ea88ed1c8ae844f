"""A small server with the part of Langfuse's HTTP interface that prompts and traces need, for offline use.

Prompts are those of `/api/public/v2/prompts`: versions, labels that are on one version at a time, the label "latest",
types that never change. Traces are OTLP at `/api/public/otel/v1/traces`. Both want the project's two keys.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from types import TracebackType

PUBLIC, SECRET = "pk-lf-offline", "sk-lf-offline"
PROMPTS = "/api/public/v2/prompts"
TRACES = "/api/public/otel/v1/traces"
_LABEL = re.compile(r"[a-z0-9_\-.]{1,36}")


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Project:
    """What the server holds."""

    def __init__(self) -> None:
        self.prompts: dict[str, list[dict[str, Any]]] = {}
        self.spans: list[Any] = []
        self.mutex = threading.Lock()

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        """A new version of a prompt."""
        name, kind = given["name"], given.get("type") or "text"
        if not name or name.startswith("/") or name.endswith("/") or "|" in name or name == "new":
            raise RefusedError(400, f"Invalid prompt name: {name}")
        versions = self.prompts.setdefault(name, [])
        if versions and versions[-1]["type"] != kind:
            raise RefusedError(
                400, "Previous versions have different prompt type. Create a new prompt with a different name."
            )
        made = {
            "id": f"{name}-{len(versions) + 1}",
            "name": name,
            "version": len(versions) + 1,
            "type": kind,
            "prompt": given["prompt"],
            "config": given.get("config") or {},
            "labels": [],
            "tags": given.get("tags") or [],
            "commitMessage": given.get("commitMessage"),
            "createdAt": datetime.now(UTC).isoformat(),
        }
        versions.append(made)
        self._move(name, made, [*given.get("labels", ()), "latest"])
        return made

    def get(self, name: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """A version by number or label; without either, the one with the label "production"."""
        if "version" in query and "label" in query:
            raise RefusedError(400, "Cannot specify both version and label")
        versions = self.prompts.get(name, [])
        if "version" in query:
            found = [v for v in versions if v["version"] == int(query["version"][0])]
        else:
            label = query.get("label", ["production"])[0]
            found = [v for v in versions if label in v["labels"]]
        if not found:
            raise RefusedError(404, f"Prompt not found: '{name}'")
        return found[0]

    def label(self, name: str, version: int, labels: list[str]) -> dict[str, Any]:
        """Labels added to a version and taken from every other."""
        found = self.get(name, {"version": [str(version)]})
        for label in labels:
            if label == "latest" or not _LABEL.fullmatch(label):
                raise RefusedError(400, f"Label cannot be given: {label}")
        self._move(name, found, labels)
        return found

    def _move(self, name: str, version: dict[str, Any], labels: list[str]) -> None:
        for other in self.prompts[name]:
            other["labels"] = [label for label in other["labels"] if label not in labels]
        version["labels"] = list(dict.fromkeys([*labels, *version["labels"]]))


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    project: Project

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve a prompt."""
        self._answer()

    do_POST = do_PATCH = do_GET  # noqa: N815 - names of http.server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.project.mutex:
                status, told = 200, self._told(body)
        except RefusedError as error:
            status, told = error.status, {"error": type(error).__name__, "message": str(error)}
        sent = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf" if told is sent else "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def _told(self, body: bytes) -> Any:
        wanted = "Basic " + base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            raise RefusedError(401, "Invalid credentials. Confirm that you've configured the correct host.")
        at = urlsplit(self.path)
        if self.command == "POST" and at.path == TRACES:
            return self._traced(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        if self.command == "POST" and at.path == PROMPTS:
            return self.project.create(json.loads(body))
        parts = [unquote(part) for part in at.path.removeprefix(PROMPTS + "/").split("/")]
        if self.command == "GET" and at.path.startswith(PROMPTS + "/") and len(parts) == 1:
            return self.project.get(parts[0], parse_qs(at.query))
        if self.command == "PATCH" and len(parts) == 3 and parts[1] == "versions":
            return self.project.label(parts[0], int(parts[2]), json.loads(body)["newLabels"])
        raise RefusedError(404, f"no {self.command} {at.path}")

    def _traced(self, body: bytes) -> bytes:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.project.spans += scope.spans
        return b""


class LangfuseServer:
    """The server on a free port of 127.0.0.1, inside a `with` block."""

    def __init__(self) -> None:
        self.project = Project()
        handler = type("Bound", (Handler,), {"project": self.project})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LangfuseServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
