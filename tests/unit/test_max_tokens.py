"""`max_tokens`: no candidate's prompt is longer, and one that is longer at the start is refused."""

from __future__ import annotations

import pytest

from langchain_promptopt import optimize
from langchain_promptopt._text.words import count_tokens
from langchain_promptopt.cli.flags import FLAGS
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.pipeline.prepare import settings_from
from langchain_promptopt.types import Message, Prompt, PromptSet
from tests.support.tasks import PROMPT, chain, improve, optimizer, rows

NOW = count_tokens(PROMPT)


def wordy(messages) -> str:
    """As `improve`, with more words than are needed."""
    reply = improve(messages)
    return reply.replace('"animal"', '"animal. Call a beast so, too"') if reply.startswith("{") else reply


def run(fn=improve, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None, "apply": "never"}
    return optimize(chain(), data=rows(), optimizer_model=optimizer(fn), **(given | more))


def refusals(result):
    return [
        e["data"]["detail"] for e in result.events() if e["type"] == "rejected" and e["data"]["rule"] == "max_tokens"
    ]


def test_no_candidate_passes_the_limit():
    assert run(wordy).best["main"].tokens > NOW + 4
    result = run(wordy, max_tokens=NOW + 4)
    assert result.edits == ()
    assert refusals(result)[0].endswith(f"tokens, {NOW + 4} allowed")
    assert any(r["rule"] == "max_tokens" for r in result.as_json()["health"]["rules"])
    short = run(max_tokens=NOW + 4)
    assert [e.new for e in short.edits] == ["animal"]
    assert refusals(short) == []


def test_a_prompt_that_is_longer_already_is_an_error_before_anything_is_paid_for():
    model = optimizer()
    with pytest.raises(PromptError, match=f"prompt 'main' has about {NOW} tokens, and max_tokens is {NOW - 1}"):
        optimize(chain(), data=rows(), evaluators=["exact_match"], optimizer_model=model, max_tokens=NOW - 1)
    assert model.calls == []
    with pytest.raises(ConfigError, match="max_tokens must be a whole number"):
        run(max_tokens=2.5)
    with pytest.raises(ConfigError, match="max_tokens must be at least 1"):
        run(max_tokens=0)


def test_a_prompt_whose_text_may_not_change_is_not_counted():
    free = Message("human", "four words of text {x}")
    fixed = Message("system", "a much longer text that nobody may change at all", editable=False)
    prompts = PromptSet((Prompt("free", (free,)), Prompt("fixed", (fixed,)), Prompt("both", (fixed, free))))
    assert [p.name for p in prompts.longer_than(8)] == ["both"]
    assert [p.name for p in prompts.longer_than(2)] == ["free", "both"]
    assert prompts.longer_than(None) == ()


def test_the_limit_is_part_of_the_run_id():
    assert len({run().run_id, run(max_tokens=500).run_id, run(max_tokens=600).run_id}) == 3


def test_the_length_of_a_prompt_and_of_a_reply_are_two_settings(tmp_path):
    given = {"task": {"chain": "a:b"}, "optimize": {"max_tokens": 300}}
    assert settings_from(config_from_dict(given, root=tmp_path)).max_tokens == 300
    assert FLAGS["max_tokens"].key == "optimize.max_tokens"
    with pytest.raises(ConfigError, match=r"optimize\.max_reply_tokens is set, and optimize\.model is not"):
        config_from_dict({"task": {"chain": "a:b"}, "optimize": {"max_reply_tokens": 300}})


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("日本語", 3)])
def test_tokens_are_a_quarter_of_the_bytes(text, tokens):
    assert count_tokens(text) == tokens
