"""Offline models: real programs that stand in for a task model and an optimizer model, free and instant.

The task model follows the labels, rules and answer form it reads in the prompt; the optimizer
model derives its edits from the errors it is shown. Neither sees reference answers by another way
than the messages. They exist for demos, tests and dry runs: **their scores say nothing about real
models**, neither how good a prompt is nor how much an optimization would gain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.language_models.chat_models import BaseChatModel

    from langchain_promptopt.offline.demo import demo_prompt, demo_rows
    from langchain_promptopt.offline.optimizer import OfflineOptimizerModel, Role, label_prompt, offline_model
    from langchain_promptopt.offline.task import OfflineTaskModel

# Loaded on first use: every run knows the spec "offline", and few use it.
_HOMES = {
    "OfflineOptimizerModel": "optimizer",
    "OfflineTaskModel": "task",
    "Role": "optimizer",
    "demo_prompt": "demo",
    "demo_rows": "demo",
    "label_prompt": "optimizer",
    "offline_model": "optimizer",
}

__all__ = [
    "OfflineOptimizerModel",
    "OfflineTaskModel",
    "Role",
    "demo_prompt",
    "demo_rows",
    "factories",
    "label_prompt",
    "offline_model",
]


def factories() -> Mapping[str, Callable[[Role], BaseChatModel]]:
    """Model specs of this package and what makes them."""
    return {"offline": _offline}


def _offline(role: Role) -> BaseChatModel:
    from langchain_promptopt.offline.optimizer import offline_model

    return offline_model(role)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
