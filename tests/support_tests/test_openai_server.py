"""The OpenAI-compatible server, asked by the unmodified SDK and by langchain-openai."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.support.faults import TRANSIENT, FaultPlan, Rule
from tests.support.openai_server import OpenAIServer, brain_of, embed, serve, usage

if TYPE_CHECKING:
    from collections.abc import Iterator


async def later(messages: list[dict[str, Any]]) -> str:
    return "later"


BRAIN = {
    "shout": lambda messages: messages[-1]["content"].upper(),
    "later": later,
    "rich": lambda messages: {"content": "ok", "usage": usage(100, 7, cached=64, reasoning=3)},
    "filtered": lambda messages: {"content": "", "finish_reason": "content_filter"},
    "refuses": lambda messages: {"content": "I will not.", "finish_reason": "refusal"},
    "wordy": lambda messages: "word " * 100,
}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(BRAIN) as running:
        yield running


@pytest.fixture
def sdk(server: OpenAIServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0, timeout=5) as client:
        yield client


def chat(server: OpenAIServer, model: str = "shout", **kw: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=server.base_url, api_key="k", max_retries=0, **kw)  # type: ignore[arg-type]  # a SecretStr to mypy


def test_a_chat_model_gets_text_usage_and_metadata(server: OpenAIServer) -> None:
    reply = chat(server).invoke([SystemMessage("s" * 8), HumanMessage("hello")])
    assert reply.content == "HELLO"
    assert reply.usage_metadata is not None
    assert (reply.usage_metadata["input_tokens"], reply.usage_metadata["output_tokens"]) == (4, 2)
    assert (reply.response_metadata["model_name"], reply.response_metadata["system_fingerprint"]) == (
        "shout",
        "fp_loopback",
    )
    assert chat(server, "later").invoke("x").content == "later"
    server.served["shout"] = "shout-2"
    assert chat(server).invoke("x").response_metadata["model_name"] == "shout-2"


def test_cached_and_reasoning_tokens_reach_langchain(server: OpenAIServer) -> None:
    counts = chat(server, "rich").invoke("x").usage_metadata
    assert counts is not None
    assert (counts["input_tokens"], counts["output_tokens"]) == (100, 7)
    assert counts["input_token_details"]["cache_read"] == 64
    assert counts["output_token_details"]["reasoning"] == 3


def test_streams_say_the_same_as_whole_answers(server: OpenAIServer) -> None:
    model = chat(server, stream_usage=True)
    chunks = list(model.stream("a long line of words to be cut into pieces"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 3
    assert whole.content == "A LONG LINE OF WORDS TO BE CUT INTO PIECES"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["input_tokens"] == 11
    assert whole.response_metadata["finish_reason"] == "stop"


def test_finish_reasons(sdk: openai.OpenAI) -> None:
    def asked(model: str, **kw: Any) -> Any:
        return sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], **kw)

    cut = asked("wordy", max_completion_tokens=5).choices[0]
    assert (cut.finish_reason, len(cut.message.content)) == ("length", 20)
    assert asked("filtered").choices[0].finish_reason == "content_filter"
    refused = asked("refuses").choices[0]
    assert (refused.message.content, refused.message.refusal) == (None, "I will not.")
    assert len(asked("shout", n=3).choices) == 3


def test_wrong_model_key_length_and_path_are_known_errors(server: OpenAIServer, sdk: openai.OpenAI) -> None:
    say: Any = [{"role": "user", "content": "x" * 400}]
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="absent", messages=say)
    assert missing.value.code == "model_not_found"
    server.limit = 50
    with pytest.raises(openai.BadRequestError) as long:
        sdk.chat.completions.create(model="shout", messages=say)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="Unknown request URL"):
        sdk.files.list()
    server.key = "other"
    with pytest.raises(openai.AuthenticationError):
        sdk.models.list()


def test_models_and_embeddings(server: OpenAIServer, sdk: openai.OpenAI) -> None:
    assert {model.id for model in sdk.models.list()} == BRAIN.keys()
    assert sdk.models.retrieve("shout").id == "shout"
    near, far = embed("the red house"), embed("quantum chromodynamics")
    got = OpenAIEmbeddings(base_url=server.base_url, api_key="k", check_embedding_ctx_length=False).embed_documents(  # type: ignore[arg-type]  # a SecretStr to mypy
        ["a red house", "the red house"]
    )
    assert got[1] == pytest.approx(near, abs=1e-6)
    assert (
        sum(a * b for a, b in zip(got[0], near, strict=True)) > 0.5 > sum(a * b for a, b in zip(far, near, strict=True))
    )
    few = sdk.embeddings.create(model="e", input="x", dimensions=8, encoding_format="float")
    assert few.data[0].embedding == embed("x", 8)


@pytest.mark.parametrize("kind", ["401", "403", "404", "409", "429", "quota", "500", "503", "reset", "empty", "html"])
def test_faults_are_the_exceptions_langchain_shows(server: OpenAIServer, kind: str) -> None:
    server.faults = FaultPlan(Rule(kind, times=1))
    with pytest.raises((openai.OpenAIError, ValueError)) as caught:
        chat(server).invoke("x")
    wanted = {
        "401": openai.AuthenticationError,
        "403": openai.PermissionDeniedError,
        "404": openai.NotFoundError,
        "409": openai.ConflictError,
        "429": openai.RateLimitError,
        "quota": openai.RateLimitError,
        "500": openai.InternalServerError,
        "503": openai.InternalServerError,
        "reset": openai.APIConnectionError,
        "empty": ValueError,
        "html": ValueError,
    }[kind]
    assert isinstance(caught.value, wanted)
    assert chat(server).invoke("x").content == "X"


def test_thirty_percent_of_mixed_faults_are_outlived_by_retries(server: OpenAIServer) -> None:
    server.faults = FaultPlan(rate=0.3, seed=5, retry_after="0")
    model = chat(server).with_retry(
        retry_if_exception_type=(Exception,), stop_after_attempt=3, wait_exponential_jitter=False
    )
    replies = model.batch([f"row {number}" for number in range(60)])
    assert [reply.content for reply in replies] == [f"ROW {number}" for number in range(60)]
    assert len({fired.kind for fired in server.faults.fired}) > len(TRANSIENT) // 2
    assert server.errors == []


class Counting(BaseChatModel):
    """Says how many messages of which type it saw."""

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> ChatResult:
        counts: Any = {
            "input_tokens": 9,
            "output_tokens": 4,
            "total_tokens": 13,
            "input_token_details": {"cache_read": 5},
        }
        text = " ".join(message.type for message in messages)
        meta = {"finish_reason": "length"}
        message = AIMessage(text, usage_metadata=counts, response_metadata=meta)
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_langchain_model_can_be_the_brain() -> None:
    with serve({"c": brain_of(Counting())}) as server:
        reply = chat(server, "c").invoke([SystemMessage("a"), HumanMessage("b"), AIMessage("c"), HumanMessage("d")])
    assert reply.content == "system human ai human"
    assert reply.response_metadata["finish_reason"] == "length"
    assert reply.usage_metadata is not None
    assert (reply.usage_metadata["total_tokens"], reply.usage_metadata["input_token_details"]["cache_read"]) == (13, 5)
