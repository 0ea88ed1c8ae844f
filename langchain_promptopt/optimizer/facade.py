"""`optimize` and `aoptimize`: one call from a chain to a decided, written-back result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.concurrency import run_sync

if TYPE_CHECKING:  # what a call needs is loaded by the call
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.optimizer.result import Result
    from langchain_promptopt.optimizer.settings import Apply, Settings
    from langchain_promptopt.ports import Observer
    from langchain_promptopt.recipe import Budget, Gate, Recipe

HERE = "here"
"""Default of places: beside the program's working directory."""


def optimize(  # noqa: PLR0913 - the facade: each is a word users type
    chain: Any,
    *,
    data: Any,
    evaluators: Any,
    optimizer_model: Any,
    method: str | Recipe = "robust",
    task_model: Any = None,
    freeze: Sequence[str] = (),
    gate: Gate | None = None,
    budget: Budget | None = None,
    apply: Apply = "if_improved",
    seed: int = 0,
    max_concurrency: int = 32,
    inputs: Mapping[str, str] | None = None,
    outputs: Sequence[str] | Mapping[str, str] | None = None,
    id: str | None = None,  # noqa: A002 - the word of promptopt.toml
    group: str | None = None,
    splits: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    runs_dir: str | Path | None = HERE,
    openings: str | Path | None = HERE,
    observers: Sequence[Observer] = (),
    **more: Any,
) -> Result:
    """Improve the prompts inside `chain` by small edits, and decide on held-out rows whether they help.

    Args:
        chain: A Runnable, a prompt template (then with `task_model`), or a callable whose prompts are `tunable`.
        data: Rows: a path, `datasets.Dataset`, list, mapping split -> rows, or a LangSmith dataset's name.
        evaluators: LangSmith-shaped evaluators, names of built-in ones, or a mapping name -> evaluator.
        optimizer_model: "provider:name", a chat model, an (openai client, "model") pair, or "offline".
        method: A preset's name or a Recipe.
        task_model: The model of a bare prompt template.
        freeze: Text nobody may touch: "## Heading", "re:...", "role:human", "message:0".
        gate: How the winner is decided.
        budget: Hard limits.
        apply: When the winner is written into `chain`.
        seed: Of all randomness.
        max_concurrency: Model calls in flight.
        inputs: Prompt variable -> column, where rows are flat or name it otherwise; dots reach into nested rows.
        outputs: Columns that hold the reference, or reference name -> column.
        id: The column with a row's id.
        group: The column that keeps related rows together (a thread, a customer): never split, one cluster of the test.
        splits: Our split -> the source's split.
        drop_leaks: Remove train and dev rows whose input is also in test.
        runs_dir: Folder of run records; by default `.promptopt/runs` here (or `PROMPTOPT_RUNS_DIR`). A finished run
            with the same inputs is returned from there without a call. None keeps the record in memory.
        openings: File that counts looks at the test rows; by default `promptopt.openings.jsonl` here. Without a
            record (None) nothing is applied by itself.
        observers: Watchers of the run's events.
        **more: Further fields of `Settings`.

    Returns:
        The `Result`; `chain` itself holds the better prompts if the gate passed.

    Raises:
        UsageError: Bad input; nothing was paid for.
        UnavailableError: Models stayed out of reach; resume when they are back.
        BudgetSpent: The budget ended before anything could be decided.
    """
    given = {
        "data": data,
        "evaluators": evaluators,
        "optimizer_model": optimizer_model,
        "method": method,
        "task_model": task_model,
        "freeze": tuple(freeze),
        "gate": gate,
        "budget": budget,
        "apply": apply,
        "seed": seed,
        "max_concurrency": max_concurrency,
        "inputs": inputs,
        "outputs": outputs,
        "id": id,
        "group": group,
        "splits": splits,
        "drop_leaks": drop_leaks,
        "runs_dir": runs_dir,
        "openings": openings,
        "observers": tuple(observers),
    }
    return run_sync(lambda: aoptimize(chain, **given, **more))


async def aoptimize(chain: Any, **settings: Any) -> Result:
    """`optimize` for callers that run an event loop; takes the same arguments."""
    from langchain_promptopt.optimizer.run import run_task

    return await run_task(chain, settings_of(settings))


def settings_of(arguments: Mapping[str, Any]) -> Settings:
    """Arguments of `optimize` as Settings: defaults filled, paths and columns in their own types."""
    from langchain_promptopt._data import Columns
    from langchain_promptopt._langsmith.service import LangSmithOptions
    from langchain_promptopt.gate.openings import FILE_NAME
    from langchain_promptopt.optimizer.settings import Settings
    from langchain_promptopt.recipe import Budget, Gate
    from langchain_promptopt.store import runs_dir as default_runs_dir

    given = dict(arguments)
    columns = given.pop("columns", None)
    mapped = {name: given.pop(name, None) for name in ("inputs", "outputs", "id", "group")}
    _refuse_unknown(given)
    folder, openings = given.pop("runs_dir", HERE), given.pop("openings", HERE)
    given["gate"] = given.get("gate") or Gate()
    given["budget"] = given.get("budget") or Budget()
    trace_file = given.pop("trace_file", None)
    return Settings(
        cache=_path(given.pop("cache", None)),
        langsmith=LangSmithOptions.of(given.pop("langsmith", None)),
        trace_file=None if trace_file is None else Path(trace_file),
        columns=columns if isinstance(columns, Columns) else Columns(**mapped),
        runs_dir=default_runs_dir(Path.cwd()) if folder == HERE else _path(folder),
        openings=Path.cwd() / FILE_NAME if openings == HERE else _path(openings),
        **given,
    )


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    """A misspelt argument is told before anything happens, with the nearest one there is."""
    from dataclasses import fields
    from difflib import get_close_matches

    from langchain_promptopt.errors import ConfigError
    from langchain_promptopt.optimizer.settings import Settings

    known = {f.name for f in fields(Settings)} - {"columns"} | {"inputs", "outputs", "id", "group"}
    for name in sorted(given.keys() - known):
        close = get_close_matches(name, known, n=1)
        msg = f"there is no argument {name!r}"
        mend = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(sorted(known))}."
        raise ConfigError(msg, where="optimize()", mend=mend)


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)
