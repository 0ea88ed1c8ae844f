"""What a caller may set, in one value. `optimize(...)` and `PromptOptimizer(...)` fill it; pipelines too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_promptopt._data import Columns
from langchain_promptopt._langsmith.service import LangSmithOptions
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.recipe import Budget, Gate, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.limiter import RateLimit
    from langchain_promptopt._runtime.prices import Price
    from langchain_promptopt.optimizer.earlier import PastEdit
    from langchain_promptopt.ports import Executor, Observer

Apply = Literal["if_improved", "never", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCost:
    """What one row costs an evaluator whose model calls cannot be seen.

    Args:
        calls: Model calls a row.
        input_tokens: Input tokens a row, over its calls.
        output_tokens: Output tokens a row, over its calls.
        model: The model, as prices know it.
    """

    calls: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = "unknown"

    @property
    def usage_metadata(self) -> dict[str, int]:
        """In langchain-core's shape."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Arguments of `optimize`, with what only pipelines and tests set.

    Attributes:
        runs_dir: Folder of run records; None keeps the record in memory.
        openings: File that counts openings of test rows; None beside `runs_dir`, else not recorded.
        langsmith: What is read from and written to LangSmith; `optimize` takes a mapping as well.
        trace_file: File to which every traced run is appended as one JSON line.
        executor: Runs cells elsewhere; None is this process.
        policy: How failed calls are tried again.
        start_edits: What an earlier run found; edits that still fit are tried first, each alone and all together.
        optimizer_kwargs: Sent with every optimizer call, in place of what the method would send.
        requests_per_second: Ceiling on calls started, over all roles.
        limits: What one model may be asked, by its name: requests and tokens a minute, calls in flight.
        judges: What evaluators whose model calls cannot be seen take for each row, by key.
        cache: File of evaluations shared between runs; None asks always.
        summary_evaluators: LangSmith's functions over all rows at once; told beside the verdict, deciding nothing.
        notes: What was noticed while the task was read, for the run's warnings.
    """

    data: Any
    evaluators: Any
    optimizer_model: Any = None
    task_model: Any = None
    method: str | Recipe = "robust"
    freeze: Sequence[str] = ()
    only: Sequence[str] | None = None
    gate: Gate = field(default_factory=Gate)
    budget: Budget = field(default_factory=Budget)
    apply: Apply = "if_improved"
    seed: int = 0
    max_concurrency: int = 32
    max_failure_rate: float = 0.05
    columns: Columns = field(default_factory=Columns)
    splits: Mapping[str, str] | None = None
    drop_leaks: bool = False
    skip_bad_lines: bool = False
    import_from: Path | None = None
    langsmith: LangSmithOptions = field(default_factory=LangSmithOptions)
    trace_file: Path | None = None
    runs_dir: Path | None = None
    openings: Path | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    executor: Executor | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Clock | None = None
    fresh: bool = False
    config_json: Mapping[str, Any] = field(default_factory=dict)
    remote: Any = None
    expected_run: str | None = None
    start_edits: Sequence[PastEdit] = ()
    optimizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    requests_per_second: float | None = None
    limits: Mapping[str, RateLimit | Mapping[str, Any]] = field(default_factory=dict)
    judges: Mapping[str, JudgeCost] = field(default_factory=dict)
    cache: Path | None = None
    summary_evaluators: Any = ()
    notes: Sequence[str] = ()
