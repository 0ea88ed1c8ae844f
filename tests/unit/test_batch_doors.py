"""executor="batch" before a run: what is refused, with which reason, and what `check` says of the price."""

from __future__ import annotations

import openai
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from langchain_promptopt import optimize
from langchain_promptopt._langchain.batch_api import Batches, refuse_unbatchable
from langchain_promptopt._langchain.models import resolve_model
from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.prices import Price, PriceTable
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt._runtime.usage import UsageCollector
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.pipeline.check import check_config

KEY = {"model": "gpt-5-mini", "api_key": "k"}


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: FakeListChatModel(responses=["x"]), "FakeListChatModel has no OpenAI Batch API"),
        (lambda: ChatOpenAI(**KEY, streaming=True), "streams"),
        (lambda: resolve_model((openai.OpenAI(api_key="k"), "gpt-5-mini"), "task"), "synchronous"),
        (
            lambda: AzureChatOpenAI(
                api_key="k", azure_endpoint="http://127.0.0.1:1", api_version="2024-10-21", azure_deployment="d"
            ),
            "another API",
        ),
    ],
)
def test_models_that_cannot_be_batched_are_refused_with_the_reason(model, why):
    with pytest.raises(ConfigError, match=why):
        refuse_unbatchable([model()])


def test_models_that_can_be_batched_pass_also_inside_bindings():
    refuse_unbatchable([ChatOpenAI(**KEY), ChatOpenAI(**KEY).bind(stop=["x"])])
    refuse_unbatchable([resolve_model((openai.AsyncOpenAI(api_key="k"), "gpt-5-mini"), "task")])


def test_a_chain_whose_models_cannot_be_seen_is_refused():
    with pytest.raises(ConfigError, match="no model can be seen"):
        refuse_unbatchable([])


def test_optimize_refuses_before_anything_is_paid():
    from tests.support.tasks import chain, optimizer, rows

    with pytest.raises(ConfigError, match="Batch API"):
        optimize(chain(), data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(), executor="batch")


@pytest.mark.parametrize("wrong", ["Batch", "flex", 3, RunnableLambda(lambda x: x)])
def test_another_executor_is_an_error_with_the_form_that_works(wrong):
    with pytest.raises(ConfigError, match='executor="batch"'):
        settings_of({"executor": wrong})


def test_check_estimates_half_the_price(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "p.txt").write_text("Say what {word} is.")
    rows = [{"word": f"{s} w{i}", "answer": "x", "split": s} for s, n in (("dev", 8), ("test", 12)) for i in range(n)]
    (tmp_path / "rows.jsonl").write_text("\n".join(__import__("json").dumps(r) for r in rows))
    given = {
        "task": {"prompt": "p.txt", "model": "openai:gpt-5-mini", "base_url": "http://127.0.0.1:9/v1"},
        "data": {"source": "rows.jsonl", "outputs": ["answer"]},
        "optimize": {"model": "offline"},
    }
    plain = check_config(config_from_dict(given, root=tmp_path))
    given["optimize"]["executor"] = "batch"
    half = check_config(config_from_dict(given, root=tmp_path))
    for level in ("low", "likely", "high"):
        assert getattr(half.facts.estimate, level).usd == pytest.approx(getattr(plain.facts.estimate, level).usd / 2)
    assert any("Batch API, at half the price" in note for note in half.notes)
    assert half.facts.run_id == plain.facts.run_id, "where it is asked does not decide the result"


def test_slower_tiers_cost_half_unless_the_user_says_otherwise():
    table = PriceTable({"m": Price(2.0, 8.0, 1.0), "n": Price(2.0, 8.0), "openai:n@flex": Price(1.5, 6.0)})
    assert table.price("m@flex") == table.price("m@batch") == Price(1.0, 4.0, 0.5)
    assert table.price("n@flex") == Price(1.5, 6.0)
    assert table.price("gpt-5-mini-2025-08-07@batch") == PriceTable().price("gpt-5-mini").times(0.5)
    assert table.price("nobody@batch") is None


@pytest.mark.parametrize(("tier", "name"), [("flex", "m@flex"), ("batch", "m@batch"), ("default", "m"), (None, "m")])
def test_the_tier_that_a_reply_names_decides_the_price(tier, name):
    from tests.support.openai_server import serve, usage

    said = {"content": "hi", "usage": usage(10, 2, 4)}
    with serve({"m": lambda _messages: said}) as up:
        plain = up.chat

        async def tiered(body):
            import json
            from dataclasses import replace

            answered = await plain(body)
            told = json.loads(answered.body) | ({} if tier is None else {"service_tier": tier})
            return replace(answered, body=json.dumps(told).encode())

        up.chat = tiered
        meter = UsageCollector()
        ChatOpenAI(model="m", api_key="k", base_url=up.base_url).invoke("x", {"callbacks": [meter]})
    (found,) = meter.collected.by_model.items()
    assert found[0] == name
    assert (found[1].input_tokens, found[1].cache_read) == (10, 4)


def test_a_file_takes_what_the_api_takes():
    batches = Batches(None, "r", FakeClock(), RetryPolicy(), lambda _event: None, most_requests=3, most_bytes=100)

    class Line:
        def __init__(self, size):
            self.size = size

        def line(self):
            return b"x" * self.size

    parts = [[c.size for c in part] for part in batches._parts([Line(n) for n in (10, 10, 10, 10, 70, 40, 200, 1)])]
    assert parts == [[10, 10, 10], [10, 70], [40], [200], [1]]
