"""langchain-promptopt: small, explained, reversible prompt edits, proven on held-out examples.

Names load on first use (PEP 562), so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_promptopt._langchain.discover import load_prompts
    from langchain_promptopt._langchain.overlay import tunable
    from langchain_promptopt.optimizer import PromptOptimizer, Result, aoptimize, optimize
    from langchain_promptopt.optimizer.comparison import compare
    from langchain_promptopt.optimizer.facade import prompts
    from langchain_promptopt.pipeline import run_step
    from langchain_promptopt.recipe import Budget, Gate, Recipe
    from langchain_promptopt.steps import (
        GlobalProposal,
        IdentifyTokens,
        LocalProposal,
        TextualGradient,
        TrajectoryRetriever,
    )

_HOMES = {
    "Budget": "recipe",
    "Gate": "recipe",
    "GlobalProposal": "steps",
    "IdentifyTokens": "steps",
    "LocalProposal": "steps",
    "PromptOptimizer": "optimizer.session",
    "Recipe": "recipe",
    "Result": "optimizer.result",
    "TextualGradient": "steps",
    "TrajectoryRetriever": "steps",
    "aoptimize": "optimizer.facade",
    "compare": "optimizer.comparison",
    "evaluators": None,
    "load_prompts": "_langchain.discover",
    "optimize": "optimizer.facade",
    "presets": None,
    "prompts": "optimizer.facade",
    "run_step": "pipeline",
    "tunable": "_langchain.overlay",
}

__all__ = [
    "Budget",
    "Gate",
    "GlobalProposal",
    "IdentifyTokens",
    "LocalProposal",
    "PromptOptimizer",
    "Recipe",
    "Result",
    "TextualGradient",
    "TrajectoryRetriever",
    "aoptimize",
    "compare",
    "evaluators",
    "load_prompts",
    "optimize",
    "presets",
    "prompts",
    "run_step",
    "tunable",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("langchain-promptopt")
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    home = _HOMES[name]
    if home is None:
        return import_module(f"{__name__}.{name}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)
