"""What a model endpoint may send in an outage, byte for byte, and that none of it is ever a score."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from langchain_promptopt import compare
from langchain_promptopt._langchain.fast import quick
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.failures import classify, never_sent
from tests.support import online
from tests.support.faults import FaultPlan, Rule
from tests.support.openai_server import serve
from tests.support.raw_server import RawServer, completion, http

REFUSED = {"error": {"message": "unknown parameter", "type": "invalid_request_error"}}


def choice(message, **fields):
    return http(completion(choices=[{"index": 0, "finish_reason": "stop", "message": message, **fields}]))


NOT_HTTP = {
    "a banner of another service": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "HTTP/0.9": b"<html>hello</html>",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "a word as status": b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\n{}",
    "a bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "a chunk cut short": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{}",
    "an oversized header": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\n{}",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
    "a status of its own": b"HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\n{}",
    "no gzip though it says so": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd",
    "a redirection to nowhere": b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
}
GARBAGE = {
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "null": http(b"null"),
    "a number": http(b"5"),
    "a text": http(b'"hi"'),
    "endless brackets": http(b"[" * 100_000),
    "endless objects": http(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "NUL bytes": http(b"\x00" * 20),
    "no UTF-8": http(b'{"id":"\xff"}'),
    "choices of no list": http(completion(choices={})),
    "choices of a text": http(completion(choices="x")),
    "an empty choice": http(completion(choices=[{}])),
    "a null choice": http(completion(choices=[None])),
    "no message": choice(None),
    "a message of no fields": choice({}),
    "a message that is a text": choice("x"),
    "content of an object": choice({"role": "assistant", "content": {"a": 1}}),
    "content of a number": choice({"role": "assistant", "content": 5}),
    "no role": choice({"content": "hi"}),
    "tool calls without a function": choice({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}),
}
PAGES = {
    f"{status} {name}": http(body, status, kind)
    for status in (400, 413, 422)
    for name, body, kind in (
        ("of a proxy", b"<html>nginx</html>", "text/html"),
        ("without a body", b"", "text/html"),
        ("with an empty object", {}, "application/json"),
        ("with a list", [1], "application/json"),
    )
}
STOPPING = {401, 402, 403, 404}
PROMPTS = {400, 413, 422}
STATUSES = {
    f"status {status}": http(REFUSED, status)
    for status in (*range(400, 452), 460, 463, 464, *range(494, 512), 520, 522, 529, 530, 598, 599)
    if status not in STOPPING | PROMPTS
}
GIVEN = {"evaluators": ["exact_match"], "openings": None, "policy": online.QUICK, "max_concurrency": 1}
OUTAGES = NOT_HTTP | GARBAGE | PAGES | STATUSES


def yes(count):
    return {"test": [{"inputs": {"q": f"row {n}"}, "outputs": {"a": "yes"}} for n in range(count)]}


@pytest.fixture(scope="module")
def server():
    with RawServer() as running:
        yield running


def raised(server, reply, mode):
    server.reply = reply
    model = ChatOpenAI(model="m", base_url=server.base_url, api_key="k", max_retries=0, timeout=5)

    async def ask():
        made = quick(model)
        try:
            return await made.chain.ainvoke("x")
        finally:
            await made.aclose()

    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the client raises
        model.invoke("x") if mode == "synchronous" else run_sync(ask)
    return caught.value


@pytest.mark.parametrize("mode", ["as runs ask", "synchronous"])
def test_every_broken_reply_is_tried_again_and_never_scored(server, mode):
    found = {name: classify(raised(server, reply, mode)) for name, reply in OUTAGES.items()}
    assert {name: (f.kind, f.action) for name, f in found.items() if f.action != "retry"} == {}
    assert not any(f.exhausted().as_failure().scored_zero for f in found.values())


@pytest.mark.parametrize(
    "body",
    [
        REFUSED,
        {"error": "Input validation error", "error_type": "validation"},
        {"detail": [{"loc": ["body", "x"], "msg": "field required"}]},
        {"object": "error", "message": "unknown parameter", "type": "BadRequestError", "code": 400},
        {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}},
    ],
)
@pytest.mark.parametrize("status", sorted(PROMPTS))
def test_a_request_that_a_model_api_refuses_is_the_prompts_fault(server, status, body):
    found = classify(raised(server, http(body, status), "as runs ask"))
    assert (found.kind, found.action) == ("context_overflow" if status == 413 else "bad_request", "zero")


@pytest.mark.parametrize("status", sorted(STOPPING))
def test_a_refused_key_permission_or_name_still_ends_the_run(server, status):
    assert classify(raised(server, http(REFUSED, status), "as runs ask")).action == "stop"


def test_a_refused_connection_is_called_so():
    with RawServer() as closed:
        pass
    for mode in ("as runs ask", "synchronous"):
        found = classify(raised(closed, b"", mode))
        assert found.kind == "connection"
        assert "connection refused" in found.detail.lower()


@pytest.mark.parametrize("mode", ["as runs ask", "synchronous"])
def test_what_is_behind_a_broken_connection_is_said(server, mode):
    found = classify(raised(server, NOT_HTTP["nothing"], mode))
    assert "isconnected" in found.detail
    assert "timed out" not in found.detail


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "abort"])
def test_a_reply_that_ends_with_its_providers_failure_is_asked_for_again(tmp_path, reason):
    asked = []

    def brain(messages):
        asked.append(messages)
        return {"content": "", "finish_reason": reason} if len(asked) % 3 == 1 else "yes"

    with serve({"m": brain}) as up:
        old, new = (ChatPromptTemplate.from_template(f"{text} {{q}}") | online.model(up.base_url, "m") for text in "ab")
        result = compare(old, new, data=yes(16), runs_dir=tmp_path, **GIVEN)
    assert (result.test[0]["baseline"], result.test[0]["best"], result.test[0]["n"]) == (1.0, 1.0, 16)
    assert len(asked) > 32


def test_examples_that_a_model_api_refuses_are_named_and_their_prompts_count_as_sent(tmp_path):
    with RawServer() as up:
        up.reply = http(REFUSED, 400)
        old, new = (ChatPromptTemplate.from_template(f"{text} {{q}}") | online.model(up.base_url, "m") for text in "ab")
        result = compare(old, new, data=yes(16), runs_dir=tmp_path, **GIVEN)
    assert (result.outcome, result.reason.kind) == ("inconclusive", "not_shown")
    for side in ("old", "new"):
        [told] = [w for w in result.warnings if f"the {side} prompt got no answer" in w]
        assert told.startswith("16 of 16 test evaluations")
        assert "unknown parameter" in told


def test_errors_of_a_model_of_ones_own_are_not_the_prompts_fault_either():
    from langchain_core.language_models.chat_models import SimpleChatModel

    class Own(SimpleChatModel):
        @property
        def _llm_type(self):
            return "own"

        def _call(self, messages, stop=None, run_manager=None, **kwargs):
            return {"error": "overloaded"}["choices"]

    for ask in (lambda: Own().invoke("x"), lambda: asyncio.run(Own().ainvoke("x"))):
        with pytest.raises(KeyError) as caught:
            ask()
        assert (classify(caught.value).kind, classify(caught.value).action) == ("model_error", "retry")


@pytest.mark.parametrize("kind", ["reset", "lost", "refused", "500"])
def test_a_call_that_reached_a_server_is_no_call_that_was_never_sent(kind):
    with serve({"m": lambda _: "hi"}, faults=FaultPlan(Rule(kind))) as up:
        for mode in ("as runs ask", "synchronous"):
            assert not never_sent(raised(up, b"", mode))
        assert up.count == 2
