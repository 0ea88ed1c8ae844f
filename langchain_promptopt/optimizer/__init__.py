"""The facade: `optimize`, `aoptimize`, and `PromptOptimizer` as a Runnable with a session."""

from langchain_promptopt.optimizer.facade import aoptimize, optimize
from langchain_promptopt.optimizer.result import Result
from langchain_promptopt.optimizer.runnable import PromptOptimizer
from langchain_promptopt.optimizer.session import Session
from langchain_promptopt.optimizer.settings import Settings

__all__ = ["PromptOptimizer", "Result", "Session", "Settings", "aoptimize", "optimize"]
