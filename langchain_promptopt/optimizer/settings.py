"""What a caller may set, in one value. `optimize(...)` and `PromptOptimizer(...)` fill it; pipelines too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_promptopt._data import Columns
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.recipe import Budget, Gate, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.prices import Price
    from langchain_promptopt.protocols import Executor, Observer

Apply = Literal["if_improved", "never", "always"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Arguments of `optimize`, with what only pipelines and tests set.

    Attributes:
        runs_dir: Folder of run records; None keeps the record in memory.
        openings: File that counts openings of test rows; None beside `runs_dir`, else not recorded.
        executor: Runs cells elsewhere; None is this process.
        policy: How failed calls are tried again.
        start_edits: Edits of an earlier run to try first.
    """

    data: Any
    evaluators: Any
    optimizer_model: Any = None
    task_model: Any = None
    method: str | Recipe = "lpo-pe2"
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
