"""LANGSMITH_* settings for a test server, and datasets on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langsmith import Client
from langsmith.utils import get_env_var, get_tracer_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY = "lsv2_pt_0123456789abcdef_secret"


def point_at(monkeypatch: Any, url: str, **more: str) -> None:
    """Have the SDK talk to `url`; `more` are further LANGSMITH_* settings. The SDK caches what it reads."""
    settings = {"ENDPOINT": url, "API_KEY": KEY, "TRACING": "false", **more}
    for name, value in settings.items():
        monkeypatch.setenv(f"LANGSMITH_{name}", value)
    read_anew()


def forget(monkeypatch: Any) -> None:
    """Take all LANGSMITH_* settings away but the one that turns tracing off."""
    for name in ("ENDPOINT", "API_KEY", "PROJECT", "TRACING_MODE"):
        monkeypatch.delenv(f"LANGSMITH_{name}", raising=False)
    read_anew()


def read_anew() -> None:
    """The SDK remembers the settings it has read."""
    get_env_var.cache_clear()
    get_tracer_project.cache_clear()


def client(url: str) -> Client:
    """The unmodified SDK, for what a user does beside us."""
    return Client(api_url=url, api_key=KEY, auto_batch_tracing=False)


def dataset(url: str, name: str, splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> Any:
    """A dataset whose rows stand in these splits; the split "" is none."""
    there = client(url)
    made = there.create_dataset(name)
    examples = [
        {
            "inputs": dict(row["inputs"]),
            "reference_outputs": dict(row["outputs"]),
            **({"metadata": row["metadata"]} if "metadata" in row else {}),
            **({"split": split} if split else {}),
        }
        for split, rows in splits.items()
        for row in rows
    ]
    for at in range(0, len(examples), 50):
        there.create_examples(dataset_id=made.id, examples=examples[at : at + 50])
    return made
