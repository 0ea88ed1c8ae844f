"""No key leaves in a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt._runtime.redact import message_of, redact

SECRETS = [
    "sk-abcdefghijklmnop1234",
    "sk-proj-AbC_123-def456ghi",
    "sk-ant-api03-abcdefgh",
    "lsv2_pt_0123456789abcdef_0123456789",
    "hf_abcdefghijklmnop",
    "AIzaSyA-1234567890abcdefghijk",
    "gsk_abcdefgh12345678",
    "ghp_abcdefgh12345678",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk",
]
WORDS = st.text(alphabet=st.characters(exclude_categories=("L", "N", "Cs"), exclude_characters="_-.*"), max_size=20)


@given(WORDS, st.sampled_from(SECRETS), WORDS)
def test_known_shapes_go_wherever_they_stand(before, secret, after):
    assert secret not in redact(f"{before}{secret}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer zzz-topsecret",
        "{'authorization': 'Bearer zzz-topsecret'}",
        "api_key=zzz-topsecret&x=1",
        '"api-key": "zzz-topsecret"',
        "X-Api-Key: zzz-topsecret",
        "Incorrect API key provided: zzz-topsecret.",
        "http://user:zzz-topsecret@host/v1",
        "password=zzz-topsecret",
        "bearer zzz-topsecret",
    ],
)
def test_named_secrets_of_unknown_shape_go(text):
    assert "topsecret" not in redact(text)


def test_values_of_secret_variables_go(monkeypatch):
    monkeypatch.setenv("MY_GATEWAY_KEY", "tulip-garden-42")
    monkeypatch.setenv("HOME_TOWN", "tulip-city-4242")
    assert redact("refused tulip-garden-42 in tulip-city-4242") == "refused [hidden] in tulip-city-4242"


@pytest.mark.parametrize("text", ["risk-averse customers", "the token budget: 5", "task-oriented", "a key insight"])
def test_ordinary_text_stays(text):
    assert redact(text) == text


def test_message_is_one_bounded_line():
    text = message_of(ValueError("a\n\n b " + "x" * 100_000))
    assert text.startswith("ValueError: a b xxx")
    assert len(text) < 600
    assert "\n" not in text
    assert message_of(TimeoutError()) == "TimeoutError"
