"""Prompt optimization as an Airflow task: an operator and a TaskFlow function, whose XCom is a reference to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_promptopt_airflow.tasks import PromptOptimizeOperator, improved, optimize_prompt

__all__ = ["PromptOptimizeOperator", "improved", "optimize_prompt"]


def provider_info() -> dict[str, Any]:
    """What `airflow providers list` shows.

    Airflow calls this while it reads its own configuration, when `airflow` cannot be imported yet. So the names above
    load on first use.
    """
    from importlib.metadata import version

    name = "langchain-promptopt-airflow"
    return {
        "package-name": name,
        "name": "LangChain prompt optimization",
        "description": "Small, proven edits of prompts: an operator and a TaskFlow function.",
        "versions": [version(name)],
    }


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from langchain_promptopt_airflow import tasks

    return getattr(tasks, name)
