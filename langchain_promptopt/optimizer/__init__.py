"""The facade: `optimize`, `aoptimize`, and `PromptOptimizer` as a Runnable with a session.

Names load on first use: `import` stays fast, and the first call loads the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.arguments import Settings
    from langchain_promptopt.optimizer.facade import aoptimize, optimize
    from langchain_promptopt.optimizer.result import Result
    from langchain_promptopt.optimizer.session import PromptOptimizer, Session

__all__ = ["PromptOptimizer", "Result", "Session", "Settings", "aoptimize", "optimize"]

_HOMES = {
    "PromptOptimizer": "session",
    "Result": "result",
    "Session": "session",
    "Settings": "arguments",
    "aoptimize": "facade",
    "optimize": "facade",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
