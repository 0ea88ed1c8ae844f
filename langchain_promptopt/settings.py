"""Types of what `optimize`, `compare` and the steps take, importable from one place.

>>> from langchain_promptopt.settings import Price, RateLimit, RetryPolicy
"""

from __future__ import annotations

from langchain_promptopt._data import Columns
from langchain_promptopt._langchain.isolation import ChainConfig
from langchain_promptopt._langsmith.service import LangSmithOptions
from langchain_promptopt._runtime.clock import Clock
from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt._runtime.redact import Redact
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt._text.spans import SpanLimits
from langchain_promptopt.optimizer.answer import Metric
from langchain_promptopt.optimizer.arguments import (
    Apply,
    Arguments,
    Data,
    EvaluatorLike,
    Evaluators,
    ExecutorLike,
    JudgeCost,
    Model,
    Over,
    Rows,
    Settings,
    SharedArguments,
    Task,
)
from langchain_promptopt.ports import Executor, Observer
from langchain_promptopt.recipe import Budget, Demos, Gate, Recipe
from langchain_promptopt.types import Outcomes

__all__ = [
    "Apply",
    "Arguments",
    "Budget",
    "ChainConfig",
    "Clock",
    "Columns",
    "Data",
    "Demos",
    "EvaluatorLike",
    "Evaluators",
    "Executor",
    "ExecutorLike",
    "Gate",
    "JudgeCost",
    "LangSmithOptions",
    "Metric",
    "Model",
    "Observer",
    "Outcomes",
    "Over",
    "Price",
    "RateLimit",
    "Recipe",
    "Redact",
    "RetryPolicy",
    "Rows",
    "Settings",
    "SharedArguments",
    "SpanLimits",
    "Task",
]
