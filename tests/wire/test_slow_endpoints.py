"""A slow server on this machine: replies come token by token, and what breaks amid a reply is asked for again."""

from __future__ import annotations

import asyncio

import pytest

from langchain_promptopt import Budget
from langchain_promptopt._runtime.retry import RetryPolicy
from tests.support.faults import FaultPlan
from tests.support.http_messages import HttpError
from tests.support.online import QUICK, brain, run, server
from tests.support.openai_server import OpenAIServer
from tests.support.runs import of_type
from tests.support.tasks import answer, improve


class OneSlot(OpenAIServer):
    """Writes one reply of the optimizer after the other, each in eight parts; the task model answers at once."""

    def __init__(self, **more):
        super().__init__({"task": brain(answer), "optimizer": brain(improve)}, **more)
        self.slot = asyncio.Lock()

    async def answer(self, connection, request):
        if b'"optimizer"' not in request.body:
            await super().answer(connection, request)
            return
        async with self.slot:
            await super().answer(connection, request)

    async def _spoil(self, connection, fault, response):
        if b'"model": "optimizer"' in b"".join(response.chunks or [response.body]):
            self.faults, fault = FaultPlan(slow=2.4), "slow"
        await super()._spoil(connection, fault, response)

    @property
    def bodies(self):
        """What the optimizer model was asked."""
        asked = [r.json() for r in tuple(self.requests) if r.method == "POST"]
        return [body for body in asked if body["model"] == "optimizer"]


def test_a_reply_that_takes_longer_than_the_limit_is_asked_for_once():
    policy = RetryPolicy(base=0.001, cap=0.002, timeout=1.2)
    with OneSlot() as up:
        result = run(up.base_url, policy=policy, budget=Budget(search_calls=45))
    calls = result.usage["by_role"]["optimizer"]["calls"]
    assert calls > 0
    assert len(up.bodies) == calls
    assert all(body["stream"] and body["stream_options"] == {"include_usage": True} for body in up.bodies)
    assert of_optimizer(result) == []


def of_optimizer(result):
    """Incidents of the optimizer's calls, but for replies that broke off and so did not tell what they used."""
    return [d for d in of_type(result, "incident") if d["role"] == "optimizer" and d["kind"] != "usage_unknown"]


class AmidReplies(OpenAIServer):
    """Ends the first two streamed replies of the optimizer as the test says."""

    ends = "lost"

    def __init__(self, **more):
        super().__init__({"task": brain(answer), "optimizer": brain(improve)}, **more)
        self.spoilt = 0

    async def _spoil(self, connection, fault, response):
        if response.chunks is not None and self.spoilt < 2:
            self.spoilt += 1
            if self.ends == "error":
                data = b'data: {"error": {"code": 500, "message": "slot failed", "type": "server_error"}}\n\n'
                response.chunks = [*response.chunks[:2], data]
            else:
                fault = self.ends
        await super()._spoil(connection, fault, response)


@pytest.mark.parametrize("ends", ["lost", "truncated", "html", "empty", "error"])
def test_a_reply_that_breaks_off_is_asked_for_again(ends):
    with AmidReplies() as up:
        up.ends = ends
        result = run(up.base_url, policy=QUICK, budget=Budget(search_calls=45))
    assert up.spoilt == 2
    assert [d["retryable"] for d in of_optimizer(result)] == [True, True]


class Plain(OpenAIServer):
    """A server that refuses streams, or streams without telling what was used."""

    refuses = True

    def __init__(self, **more):
        super().__init__({"task": brain(answer), "optimizer": brain(improve)}, **more)
        self.streamed = 0

    async def chat(self, body):
        if body.get("stream"):
            self.streamed += 1
            if self.refuses:
                raise HttpError(400, "unknown field: stream_options", type="invalid_request_error")
            return await super().chat({**body, "stream_options": None})
        return await super().chat(body)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_that_cannot_stream_is_asked_for_whole_replies(refuses):
    with Plain() as up:
        up.refuses = refuses
        result = run(up.base_url, budget=Budget(search_calls=45))
    assert 1 <= up.streamed < result.usage["by_role"]["optimizer"]["calls"]
    assert result.edits


def test_under_a_budget_of_tokens_replies_come_whole_and_are_counted():
    with server() as up:
        result = run(up.base_url, budget=Budget(search_calls=60, tokens=1_000_000))
    assert not any(r.json().get("stream") for r in tuple(up.requests) if r.method == "POST")
    assert result.usage["output_tokens"] > 0
