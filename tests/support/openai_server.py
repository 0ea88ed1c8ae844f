"""An OpenAI-compatible server on 127.0.0.1 whose brain is any function of the messages.

`with serve({"m": lambda messages: "hello"}) as server:` and then `ChatOpenAI(model="m", base_url=server.base_url)`.
By hand: `python -m tests.support.openai_server --port 0 --delay 0.2 --brain m=my_module:function`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import inspect
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.support.faults import TRANSIENT, FaultPlan
from tests.support.http_kit import LoopbackServer
from tests.support.http_messages import HttpError, Request, Response
from tests.support.http_process import run_until_signal
from tests.support.openai_batches import Desk

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

Message = dict[str, Any]
Brain = Callable[[list[Message]], Any]
"""Messages in OpenAI's form to the reply: a text, or a dict with `content` and, where
wanted, `usage`, `finish_reason`, `refusal`, `tool_calls`; or an awaitable of either."""

CREATED = 1_760_000_000


def echo(messages: list[Message]) -> str:
    """The brain used when none is given: the last message, returned."""
    return text_of(messages[-1]) if messages else ""


def text_of(message: Message) -> str:
    """The text of a message whose content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def tokens(text: str) -> int:
    """A count that is always the same for the same text: four characters a token."""
    return -(-len(text) // 4)


def brain_of(model: BaseChatModel) -> Brain:
    """A LangChain chat model as a brain, given the request's seed as well; what it does is traced nowhere."""
    from langchain_core.messages import convert_to_messages
    from langsmith import tracing_context

    def think(messages: list[Message], seed: int | None = None) -> dict[str, Any]:
        settings = {} if seed is None else {"seed": seed}
        with tracing_context(enabled=False):
            reply = model.invoke(convert_to_messages(messages), **settings)
        said: dict[str, Any] = {"content": reply.text}
        if reply.usage_metadata is not None:
            counts = reply.usage_metadata
            cached = counts.get("input_token_details", {}).get("cache_read", 0)
            reasoning = counts.get("output_token_details", {}).get("reasoning", 0)
            said["usage"] = usage(counts["input_tokens"], counts["output_tokens"], cached, reasoning)
        if "finish_reason" in reply.response_metadata:
            said["finish_reason"] = reply.response_metadata["finish_reason"]
        return said

    think.takes_seed = True
    return think


def usage(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """The usage block of a reply."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


class OpenAIServer(LoopbackServer):
    """The server; `served` maps a requested model to the name its replies carry, `limit` is the context window."""

    free = ("GET", "/v1/models")

    def __init__(
        self,
        brain: Mapping[str, Brain] | Brain = echo,
        *,
        key: str | None = None,
        limit: int | None = None,
        fingerprint: str = "fp_loopback",
        **kit: Any,
    ) -> None:
        super().__init__(self.route, **kit)
        self.brain, self.key, self.limit, self.fingerprint = brain, key, limit, fingerprint
        self.served: dict[str, str] = {}
        self.base_url = f"{self.url}/v1"
        self.desk: Desk | None = Desk(lambda body: self.chat(body))
        """Files and batches; None is a server that has none."""

    async def route(self, request: Request) -> Response:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            raise HttpError(401, "Incorrect API key provided.", code="invalid_api_key")
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return await self.chat(_body(request))
            case "POST", "/v1/embeddings":
                return Response.of(_embeddings(_body(request)))
            case "GET", "/v1/models":
                return Response.of({"object": "list", "data": [_model(name) for name in self.models]})
            case "GET", path if (name := path.removeprefix("/v1/models/")) in self.models:
                return Response.of(_model(name))
        if self.desk is not None and (answered := await self.desk.answer(request)) is not None:
            return answered
        raise HttpError(404, f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")

    @property
    def models(self) -> list[str]:
        return list(self.brain) if isinstance(self.brain, Mapping) else ["any"]

    async def chat(self, body: dict[str, Any]) -> Response:
        model, messages = str(body.get("model")), body.get("messages") or []
        brain = self.brain.get(model) if isinstance(self.brain, Mapping) else self.brain
        if brain is None:
            raise HttpError(404, f"The model `{model}` does not exist", code="model_not_found", param="model")
        prompt = sum(tokens(text_of(message)) for message in messages)
        if self.limit is not None and prompt > self.limit:
            detail = f"This model's maximum context length is {self.limit} tokens, you asked for {prompt}."
            raise HttpError(400, detail, code="context_length_exceeded", type="invalid_request_error")
        replies = [await _think(brain, messages, body.get("seed")) for _ in range(body.get("n") or 1)]
        choices = [_choice(index, reply, body) for index, reply in enumerate(replies)]
        written = sum(tokens(choice["message"]["content"] or "") for choice in choices)
        digest = hashlib.sha256(json.dumps([model, messages], default=str).encode()).hexdigest()
        completion = {
            "id": f"chatcmpl-{digest[:24]}",
            "object": "chat.completion",
            "created": CREATED,
            "model": self.served.get(model, model),
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": replies[0].get("usage") or usage(prompt, written),
        }
        if not body.get("stream"):
            return Response.of(completion)
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return Response(content_type="text/event-stream", chunks=list(_events(completion, with_usage=with_usage)))


def _body(request: Request) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError as error:
        raise HttpError(400, f"The body is not JSON: {error}", type="invalid_request_error") from error
    if not isinstance(body, dict):
        raise HttpError(400, "The body must be an object.", type="invalid_request_error")
    return body


async def _think(brain: Brain, messages: list[Message], seed: int | None) -> dict[str, Any]:
    reply = brain(messages, seed) if getattr(brain, "takes_seed", False) else brain(messages)
    if inspect.isawaitable(reply):
        reply = await reply
    return dict(reply) if isinstance(reply, Mapping) else {"content": reply}


def _choice(index: int, reply: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    content, finish = reply.get("content"), reply.get("finish_reason") or "stop"
    allowed = body.get("max_completion_tokens") or body.get("max_tokens")
    if content is not None and allowed is not None and tokens(content) > allowed:
        content, finish = content[: allowed * 4], "length"
    if finish == "refusal":  # short for: said by the model itself, in the field made for it
        content, finish, reply = None, "stop", {"refusal": content, **reply}
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": reply.get("refusal")}
    if reply.get("tool_calls"):
        message["tool_calls"], finish = reply["tool_calls"], "tool_calls"
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": None}


def _events(completion: dict[str, Any], *, with_usage: bool) -> Iterator[bytes]:
    """The same completion as server-sent events: role, pieces of text, end, usage, [DONE]."""
    common = {k: completion[k] for k in ("id", "created", "model", "system_fingerprint")}
    common["object"] = "chat.completion.chunk"

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps({**common, "choices": choices, **more}).encode() + b"\n\n"

    for choice in completion["choices"]:
        message, index = choice["message"], choice["index"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in re.findall(r"(?s).{1,16}", message["content"] or "")]
        deltas += [{key: message[key]} for key in ("refusal",) if message.get(key)]
        calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls", ()))]
        deltas += [{"tool_calls": [call]} for call in calls]
        for delta in deltas:
            yield event([{"index": index, "delta": delta, "finish_reason": None}])
        yield event([{"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}])
    if with_usage:
        yield event([], usage=completion["usage"])
    yield b"data: [DONE]\n\n"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "loopback"}


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    given, dimensions = body.get("input", ""), body.get("dimensions") or 64
    single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    texts = [given] if single else list(given)
    vectors = [embed(text if isinstance(text, str) else " ".join(map(str, text)), dimensions) for text in texts]
    if body.get("encoding_format") == "base64":
        data: list[Any] = [base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() for vector in vectors]
    else:
        data = list(vectors)
    spent = sum(tokens(text) if isinstance(text, str) else len(text) for text in texts)
    return {
        "object": "list",
        "model": body.get("model"),
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(data)],
        "usage": {"prompt_tokens": spent, "total_tokens": spent},
    }


def embed(text: str, dimensions: int = 64) -> list[float]:
    """A unit vector in which shared words mean nearness: each word is a hashed signed direction."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.casefold()) or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4]) % dimensions] += 1.0 if digest[4] % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def serve(brain: Mapping[str, Brain] | Brain = echo, **options: Any) -> OpenAIServer:
    """The server, not yet started; options are those of `OpenAIServer` and of the kit (delay, faults, record, port)."""
    return OpenAIServer(brain, **options)


def _named(spec: str) -> tuple[str, Brain]:
    """`name=module:attribute`, where the attribute is a brain, a chat model, or a class of chat models."""
    name, _, place = spec.partition("=")
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    thing: Any = found() if inspect.isclass(found) else found
    return name, brain_of(thing) if hasattr(thing, "invoke") else thing


def main() -> None:
    """Run the server until it is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--brain", action="append", default=[], metavar="NAME=MODULE:ATTRIBUTE")
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--kinds", default=",".join(TRANSIENT), help="kinds of fault, comma separated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faults = FaultPlan(rate=given.fault_rate, kinds=given.kinds.split(","), seed=given.seed)
    brain = dict(map(_named, given.brain)) or echo
    run_until_signal(serve(brain, port=given.port, delay=given.delay, faults=faults, record=0))


if __name__ == "__main__":
    main()
