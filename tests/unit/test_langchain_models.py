"""Models by name, object and client; what identifies them."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import openai
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI

from langchain_promptopt._langchain.models import endpoint_of, model_id, model_name, resolve_model, runs_here
from langchain_promptopt.errors import ConfigError, CredentialsError

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_openai_by_name_uses_the_environment_and_no_retries_of_its_own(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "true")
    model = resolve_model("openai:gpt-x", "optimizer")
    assert isinstance(model, ChatOpenAI)
    assert (model.model_name, model.max_retries, endpoint_of(model)) == ("gpt-x", 0, "http://127.0.0.1:9/v1")
    assert str(model.root_async_client.base_url) == "http://127.0.0.1:9/v1/"
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:8/v1")
    assert endpoint_of(resolve_model("openai:gpt-x", "optimizer")) == "http://127.0.0.1:8/v1"


def test_no_key_is_a_credentials_error():
    with pytest.raises(CredentialsError, match="OPENAI_API_KEY"):
        resolve_model("openai:gpt-x", "optimizer")


def test_objects_and_factories_pass():
    model = FakeListChatModel(responses=["a"])
    assert resolve_model(model, "target") is model
    assert resolve_model("offline", "optimizer", factories={"offline": lambda role: (role, model)}) == (
        "optimizer",
        model,
    )


@pytest.mark.parametrize("spec", ["gpt-4o", "openai:", ":x", "", 3, ("x", "y"), (1, 2, 3), ("x",), None])
def test_what_is_no_model_is_refused(spec):
    with pytest.raises(ConfigError, match="optimizer model"):
        resolve_model(spec, "optimizer", factories={"offline": lambda _: None})


def test_other_providers_need_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(ConfigError, match="providers"):
        resolve_model("anthropic:claude", "optimizer")


def _reply(request):
    import httpx2

    message = {"role": "assistant", "content": "hello"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return httpx2.Response(
        200,
        json={
            "id": "1", "object": "chat.completion", "created": 1, "model": "served", "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
    )  # fmt: skip


def test_a_synchronous_client_serves_asynchronous_calls_through_its_own_transport():
    import httpx2

    client = openai.OpenAI(
        api_key=SECRET,
        base_url="http://127.0.0.1:9/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(_reply)),
        max_retries=4,
    )
    model = resolve_model((client, "gpt-x"), "target")
    assert model.invoke("hi").content == "hello"
    assert asyncio.run(model.ainvoke("hi")).content == "hello"
    assert model.root_client is client
    assert client.max_retries == 4
    client.close()


def test_an_asynchronous_client_is_used_as_it_is():
    import httpx2

    async def run():
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(_reply))
        client = openai.AsyncOpenAI(api_key=SECRET, base_url="http://127.0.0.1:9/v1", http_client=http)
        answer = await resolve_model((client, "gpt-x"), "target").ainvoke("hi")
        await client.close()
        return answer.content

    assert asyncio.run(run()) == "hello"


def test_the_id_says_what_decides_answers_and_no_secrets():
    def make(**kwargs):
        return ChatOpenAI(model="gpt-x", api_key=SECRET, base_url="https://me:pw@host.example/v1?key=q", **kwargs)

    base = make(temperature=0, default_headers={"Authorization": SECRET}, model_kwargs={"extra_key": SECRET})
    assert model_id(base) == model_id(make(temperature=0, timeout=3, max_retries=7))
    assert model_id(base) != model_id(make(temperature=1))
    assert model_id(base) != model_id(base.bind(stop=["x"]))
    assert model_id(make(max_tokens=7)) != model_id(make(max_tokens=8))
    assert model_name(base.bind(stop=["x"])) == "gpt-x"
    for text in (model_id(base), model_id(base.bind(api_key=SECRET))):
        assert SECRET not in text
        assert "pw" not in text
        assert "https://host.example/v1" in text


def test_models_without_settings_are_named_by_their_class():
    assert model_id(FakeListChatModel(responses=["a"])) == "FakeListChatModel:FakeListChatModel@"


@pytest.mark.parametrize(
    ("address", "name", "here"),
    [
        ("http://127.0.0.1:8081/v1", "qwen", True),
        ("http://localhost:11434/v1", "gpt-oss:20b", True),
        ("http://[::1]:8000/v1", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("http://0.0.0.0:8000/v1", "phi4", True),
        ("http://localhost:4000", "gpt-4o", False),
        ("http://localhost:4000", "azure/o3-mini", False),
        ("http://localhost:4000", "bedrock/anthropic.claude-3", False),
        ("http://192.168.1.7:8000/v1", "qwen", False),
        ("https://localhost.example.com/v1", "qwen", False),
        ("", "qwen", False),
    ],
)
def test_what_this_machine_serves_costs_nothing(address, name, here):
    assert runs_here(SimpleNamespace(model=name, base_url=address)) is here


def test_an_address_from_the_environment_is_the_models(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8081/v1/")
    local = ChatOpenAI(model="qwen", api_key="x")
    assert endpoint_of(local) == "http://127.0.0.1:8081/v1"
    assert runs_here(local)
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert endpoint_of(ChatOpenAI(model="gpt-4o", api_key="x")) == ""
    ollama = type("ChatOllama", (), {"model": "qwen3", "base_url": None})()
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert endpoint_of(ollama) == "http://127.0.0.1:11434"
    monkeypatch.setenv("OLLAMA_HOST", "gpu.example:1")
    assert not runs_here(ollama)
