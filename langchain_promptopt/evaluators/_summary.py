"""Summary evaluators: LangSmith's functions over all rows of an experiment at once, such as an F1 or a kappa.

They cannot steer a search that scores rows, and decide nothing: their values are told beside the verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators._adapter import (
    OF_ALL_ROWS,
    Blame,
    Call,
    Calls,
    Plan,
    Returned,
    is_async_callable,
    plan_of,
    results_of,
)
from langchain_promptopt.evaluators._resolve import key_of, loaded

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SummaryEvaluator:
    """A summary evaluator ready to run."""

    key: str
    function: Callable[..., Any] = field(repr=False)
    plan: Plan = field(repr=False)
    named: bool = False

    async def score(self, rows: Sequence[Call]) -> list[Returned]:
        """Its results over these rows, each with a key. Raises EvaluatorFailed where it fails."""
        args, kwargs = self.plan(Calls.of(rows))
        with Blame(self.key):
            if is_async_callable(self.function):
                value = await self.function(*args, **kwargs)
            else:
                value = await asyncio.to_thread(self.function, *args, **kwargs)
            found = results_of(await value if isinstance(value, Awaitable) else value, self.key)
        alone = len(found) == 1 and self.named
        return [Returned(self.key if alone or r.key is None else r.key, *_rest(r)) for r in found]


def _rest(result: Returned) -> tuple[Any, Any, str, Mapping[str, Any]]:
    return result.score, result.value, result.comment, result.metadata


def resolve_summaries(specs: Any, *, import_from: Path | None = None) -> tuple[SummaryEvaluator, ...]:
    """Summary evaluators ready to run.

    Args:
        specs: One or several functions over any of runs, examples, inputs, outputs, reference_outputs, or
            "module:function"; or a mapping from name to any of these.
        import_from: A folder put first on the import path.

    Raises:
        EvaluatorError: An impossible signature, or two with the same key.
    """
    if isinstance(specs, Mapping):
        pairs: Iterable[tuple[str | None, Any]] = specs.items()
    else:
        several = isinstance(specs, Iterable) and not isinstance(specs, str)
        pairs = [(None, spec) for spec in (specs if several else [specs])]
    found: dict[str, SummaryEvaluator] = {}
    for name, spec in pairs:
        function = loaded(spec, import_from) if isinstance(spec, str) else spec
        if not callable(function):
            msg = f"{spec!r} is no summary evaluator"
            raise EvaluatorError(msg, mend="Give a function of (outputs, reference_outputs), or 'module:function'.")
        key = name or key_of(function)
        if key in found:
            msg = f"two summary evaluators have the key `{key}`"
            raise EvaluatorError(msg, mend="Name them: summary_evaluators={'first': ..., 'second': ...}.", key=key)
        found[key] = SummaryEvaluator(key, function, plan_of(function, key, OF_ALL_ROWS), name is not None)
    return tuple(found.values())
