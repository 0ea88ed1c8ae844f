"""The table of product 10.18, against the real OpenAI client and a loopback server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import threading
from concurrent.futures.process import BrokenProcessPool
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.error import HTTPError, URLError

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser

from langchain_promptopt._runtime.failures import TABLE, CallError, classify, classify_finish, classify_reply
from langchain_promptopt.errors import BudgetSpent, CredentialsError, UnavailableError, exit_code_of

JSON, HTML = "application/json", "text/html"


def _error(**fields) -> bytes:
    return json.dumps({"error": fields}).encode()


def _reply(content="hi", finish="stop", **message) -> bytes:
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
    }
    return json.dumps(body).encode()


# name -> (status, content type, body, headers), expected kind, expected action
FAULTS = {
    "truncated JSON": ((200, JSON, b'{"id": "x", "cho', {}), "malformed_reply", "retry"),
    "empty body": ((200, JSON, b"", {}), "malformed_reply", "retry"),
    "HTML": ((200, HTML, b"<html>gateway</html>", {}), "malformed_reply", "retry"),
    "no choices": ((200, JSON, b'{"id":"x","model":"m","choices":[]}', {}), "malformed_reply", "retry"),
    "null choices": ((200, JSON, b'{"id":"x","model":"m","choices":null}', {}), "malformed_reply", "retry"),
    "a list": ((200, JSON, b"[]", {}), "malformed_reply", "retry"),
    "error in a 200": ((200, JSON, _error(message="slow down", code=429), {}), "rate_limited", "retry"),
    "rate limit": ((429, JSON, _error(message="slow"), {"retry-after": "7"}), "rate_limited", "retry"),
    "quota": ((429, JSON, _error(message="pay", code="insufficient_quota"), {}), "insufficient_quota", "stop"),
    "payment": ((402, JSON, _error(message="pay"), {}), "insufficient_quota", "stop"),
    "key": ((401, JSON, _error(message="Incorrect API key provided: sk-abcdef1234567890"), {}), "unauthorized", "stop"),
    "permission": ((403, JSON, _error(message="no"), {}), "forbidden", "stop"),
    "model": ((404, JSON, _error(message="no such model"), {}), "not_found", "stop"),
    "request timeout": ((408, JSON, _error(message="late"), {}), "timeout", "retry"),
    "conflict": ((409, JSON, _error(message="locked"), {}), "conflict", "retry"),
    "500": ((500, HTML, b"<h1>500</h1>", {}), "server_error", "retry"),
    "503": ((503, JSON, b"", {"retry-after-ms": "250"}), "server_error", "retry"),
    "529": ((529, JSON, _error(type="overloaded_error"), {}), "server_error", "retry"),
    "overflow by code": (
        (400, JSON, _error(message="too long", code="context_length_exceeded"), {}),
        "context_overflow",
        "zero",
    ),
    "overflow by text": (
        (400, JSON, _error(message="This model's maximum context length is 8 tokens"), {}),
        "context_overflow",
        "zero",
    ),
    "filter": ((400, JSON, _error(message="filtered", code="content_filter"), {}), "content_filter", "zero"),
    "bad request": ((400, JSON, _error(message="unknown parameter"), {}), "bad_request", "zero"),
    "unprocessable": ((422, JSON, _error(message="unknown parameter"), {}), "bad_request", "zero"),
    "400 of a busy engine": (
        (400, JSON, _error(message="The engine is currently overloaded, please try again later"), {}),
        "server_error",
        "retry",
    ),
    "400 of a server": ((400, JSON, _error(message="no luck", type="server_error"), {}), "server_error", "retry"),
    "400 of a gateway": ((400, JSON, _error(message="Request timed out upstream"), {}), "server_error", "retry"),
    "422 of a dead engine": ((422, JSON, _error(message="EngineDeadError"), {}), "server_error", "retry"),
}
REPLIES = {
    "refusal": (_reply(None, refusal="I cannot"), "refusal"),
    "truncated": (_reply("half a sen", "length"), "truncated"),
    "filtered": (_reply("", "content_filter"), "content_filter"),
    "fine": (_reply("hi"), None),
    "empty content": (_reply(""), None),
}


@pytest.fixture(scope="module")
def server():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            name = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
            ready = (200, JSON, REPLIES[name][0], {}) if name in REPLIES else FAULTS[name][0]
            status, kind, body, headers = ready
            self.send_response(status)
            for key, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()
    thread.join()


def _model(url):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="m", base_url=url, api_key="sk-secretsecret123", max_retries=0, timeout=10)


def _raised(call) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the client raises
        call()
    return caught.value


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("mode", ["async", "sync"])
def test_table_against_the_real_client(server, name, mode):
    from langchain_core.runnables import RunnableLambda

    _, kind, action = FAULTS[name]
    chain = RunnableLambda(lambda x: x) | _model(server) | JsonOutputParser()
    error = _raised(lambda: asyncio.run(chain.ainvoke(name)) if mode == "async" else chain.invoke(name))
    verdict = classify(error)
    assert (verdict.kind, verdict.action) == (kind, action)
    assert "sk-" not in verdict.detail


@pytest.mark.parametrize("name", REPLIES)
def test_replies_that_came_but_are_no_answer(server, name):
    verdict = classify_reply(asyncio.run(_model(server).ainvoke(name)))
    assert (verdict and verdict.kind) == REPLIES[name][1]
    assert verdict is None or verdict.action == "zero"


def test_connection_refused(server):
    error = _raised(lambda: asyncio.run(_model("http://127.0.0.1:9/v1").ainvoke("x")))
    assert (classify(error).kind, classify(error).action) == ("connection", "retry")


def test_retry_after_is_read(server):
    assert classify(_raised(lambda: _model(server).invoke("rate limit"))).retry_after_s == 7
    assert classify(_raised(lambda: _model(server).invoke("503"))).retry_after_s == 0.25


def test_retry_after_as_a_date_uses_the_servers_clock():
    dates = {"Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}
    error = RuntimeError("429")
    error.response = SimpleNamespace(status_code=429, headers=dates)
    assert classify(error).retry_after_s == 30.0


@pytest.mark.parametrize("value", ["soon", "-3", "nan", "inf", ""])
def test_nonsense_retry_after_is_no_wish(value):
    error = RuntimeError("429")
    error.response = SimpleNamespace(status_code=429, headers={"retry-after": value})
    assert classify(error).retry_after_s is None


# ------------------------------------------------------------ the user's own code


def _users_json_error():
    json.loads("no json")


@pytest.mark.parametrize(
    "code",
    [lambda: {}["label"], lambda: [][0], lambda: int("x"), lambda: None.upper(), _users_json_error, lambda: 1 / 0],
)
def test_errors_of_the_users_functions_score_zero(code):
    verdict = classify(_raised(code))
    assert (verdict.kind, verdict.action) == ("target_error", "zero")
    assert verdict.as_failure().scored_zero
    assert classify(_raised(code), "judge").kind == "evaluator_error"


def test_a_parser_that_cannot_read_the_reply_scores_zero():
    verdict = classify(_raised(lambda: JsonOutputParser().invoke(AIMessage("not json"))))
    assert (verdict.kind, verdict.action) == ("unparsable", "zero")


def test_feeding_the_model_nonsense_is_the_chains_fault(server):
    verdict = classify(_raised(lambda: _model(server).invoke({"a": 1})))
    assert verdict.kind == "target_error"


class RpcError(Exception):
    """As gRPC's: its code is a method."""

    def code(self):
        return SimpleNamespace(name=str(self))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionResetError("peer"), "connection"),
        (BrokenPipeError(), "connection"),
        (OSError(24, "Too many open files"), "busy"),
        (OSError(5, "Input/output error"), "busy"),
        (OSError(116, "Stale file handle"), "busy"),
        (MemoryError(), "busy"),
        (RuntimeError("can't start new thread"), "busy"),
        (RuntimeError("cannot schedule new futures after shutdown"), "busy"),
        (URLError(ConnectionRefusedError(111, "refused")), "connection"),
        (URLError("timed out"), "connection"),
        (HTTPError("http://localhost", 404, "no page", Message(), None), "target_error"),
        (asyncio.IncompleteReadError(b"", 5), "connection"),
        (subprocess.TimeoutExpired("grep", 3), "timeout"),
        (BrokenProcessPool("a worker died"), "worker_lost"),
        (sqlite3.OperationalError("database is locked"), "busy"),
        (sqlite3.OperationalError('near "SELEC": syntax error'), "target_error"),
        (RpcError("UNAVAILABLE"), "server_error"),
        (RpcError("RESOURCE_EXHAUSTED"), "rate_limited"),
        (RpcError("INVALID_ARGUMENT"), "target_error"),
        (OSError(28, "No space left on device"), "disk_full"),
        (OSError(113, "No route to host"), "connection"),
        (FileNotFoundError("prompt.txt"), "target_error"),
    ],
)
def test_operating_system_errors(error, kind):
    assert classify(error).kind == kind


def test_an_outage_in_the_users_wrapping_is_still_an_outage():
    def call():
        try:
            raise ConnectionResetError("peer")
        except ConnectionResetError as error:
            msg = "my tool failed"
            raise RuntimeError(msg) from error

    assert classify(_raised(call)).action == "retry"


def test_a_fallback_that_crashes_during_an_outage_is_an_outage():
    def call():
        try:
            raise ConnectionResetError("peer")
        except ConnectionResetError:
            return {}["fallback"]

    assert classify(_raised(call)).action == "retry"


def test_a_parse_error_raised_over_a_json_error_stays_the_prompts_fault():
    def call():
        try:
            json.loads("x")
        except ValueError:
            msg = "cannot read"
            raise OutputParserException(msg) from None

    assert classify(_raised(call)).kind == "unparsable"


def test_of_several_errors_the_gravest_counts():
    group = ExceptionGroup("two tools", [OutputParserException("x"), ConnectionResetError()])
    assert classify(group).action == "retry"
    assert classify(ExceptionGroup("three", [group, BudgetSpent("calls")])).action == "stop"


def test_a_tools_missing_page_does_not_end_the_run():
    class HTTPError(Exception):
        def __init__(self, status):
            self.status = status
            super().__init__(str(status))

    assert classify(HTTPError(404)).kind == "target_error"
    assert classify(HTTPError(401)).kind == "target_error"
    assert classify(HTTPError(503)).action == "retry"
    assert classify(HTTPError(429)).kind == "rate_limited"


def test_our_own_errors_keep_their_meaning():
    spent = BudgetSpent("calls are used up")
    verdict = classify(spent)
    assert verdict.action == "stop"
    assert verdict.as_error("task") is spent

    def wrapped():
        try:
            raise spent
        except BudgetSpent as error:
            msg = "callback"
            raise RuntimeError(msg) from error

    assert classify(_raised(wrapped)).as_error("task") is spent


# ------------------------------------------------------------ what verdicts lead to


def test_exit_codes(server):
    for name, code in {"key": 2, "permission": 2, "model": 2, "quota": 5, "500": 5}.items():
        error = classify(_raised(lambda name=name: _model(server).invoke(name))).as_error("optimizer")
        assert exit_code_of(error) == code
        assert error.as_json()["role"] == "optimizer"
    quota = classify(_raised(lambda: _model(server).invoke("quota"))).as_error("task")
    assert isinstance(quota, UnavailableError)
    assert quota.as_json() | {"message": "", "public": ""} == {
        "role": "task",
        "kind": "insufficient_quota",
        "retryable": False,
        "retry_after_s": None,
        "message": "",
        "public": "",
    }
    assert isinstance(classify(_raised(lambda: _model(server).invoke("key"))).as_error("task"), CredentialsError)


def test_an_outage_is_dropped_never_scored():
    verdict = classify(ConnectionResetError()).exhausted()
    assert verdict.action == "drop"
    assert not verdict.as_failure().scored_zero
    assert classify(CallError(verdict)) == verdict
    zero = classify(OutputParserException("x")).exhausted()
    assert zero.as_failure().scored_zero


def test_every_kind_makes_an_error():
    for kind in TABLE:
        verdict = classify_finish("stop") or classify(ValueError("x"))
        error = type(verdict)(kind, TABLE[kind].action, "detail").as_error("judge")
        assert kind in str(error)
        assert error.mend


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("max_tokens", "truncated"), ("MAX_TOKENS", "truncated"), ("SAFETY", "content_filter"), ("refusal", "refusal")],
)
def test_finish_reasons_of_other_providers(reason, kind):
    assert classify_finish(reason).kind == kind
    assert classify_finish("end_turn") is None
