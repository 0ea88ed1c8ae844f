"""`run_bench`: methods on tasks at equal search calls, as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PLANTED = "planted"


def run_bench(  # noqa: PLR0913
    tasks: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int = 3,
    search_calls: int = 1000,
    model: str | None = None,
    optimizer: str | None = None,
    folder: str | Path | None = None,
) -> dict[str, Any]:
    """Each method on each task with the same seeds and the same number of search calls.

    Args:
        tasks: "planted" (or "planted:long", ":medium", ":short", ":rewrite"), which needs no model, or benchmark
            tasks such as "banking77", "gsm8k", "bbh/navigate" with `folder` or from the hub.
        methods: Preset names.
        seeds: How many seeds, from 0.
        search_calls: `Budget(search_calls=...)` of every run.
        model: Task model of benchmark tasks, "offline" or "provider:name".
        optimizer: Optimizer model; `model` where it is not given.
        folder: Folder with `<task>/train.jsonl` and so on; None loads from the hub.

    Returns:
        "rows" (task, method, test with interval, calls) and "notes" (what was not run, and why).

    Raises:
        UsageError: When none of the tasks can be run; otherwise such a task becomes a note.
    """
    if seeds < 1 or search_calls < 1:
        msg = f"a bench needs at least 1 seed and 1 search call, got {seeds} and {search_calls}"
        raise ConfigError(msg)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    refused: list[UsageError] = []
    for task in tasks:
        if task.partition(":")[0] == PLANTED:
            rows += _planted(task, methods, seeds, search_calls)
        elif model is None:
            notes.append(f"{task}: not run, no model was given (--model)")
        else:
            try:
                rows += _with_model(task, methods, seeds, search_calls, (model, optimizer or model, folder))
            except UsageError as error:
                refused.append(error)
                notes.append(f"{task}: not run: {str(error).splitlines()[0]}")
    if refused and not rows:
        raise refused[0]
    return {"search_calls": search_calls, "seeds": seeds, "rows": rows, "notes": notes}


def _planted(task: str, methods: Sequence[str], seeds: int, search_calls: int) -> list[dict[str, Any]]:
    from langchain_promptopt.bench.planted import bootstrap, mean, run_in_world
    from langchain_promptopt.bench.world import WORLDS
    from langchain_promptopt.presets import recipe_of

    name = task.partition(":")[2]
    if name and name not in WORLDS:
        msg = f"there is no planted world {name!r}"
        raise ConfigError(msg, mend=f"Known: {', '.join(WORLDS)}.")
    out = []
    for world in [name] if name else list(WORLDS):
        for method in methods:
            traces = [run_in_world(recipe_of(method), WORLDS[world], s, search_calls) for s in range(seeds)]
            out.append(
                {
                    "task": f"{PLANTED}:{world}",
                    "method": method,
                    "start": mean([t.start for t in traces]),
                    "test": bootstrap([t.test for t in traces]).as_json(),
                    "search_calls": mean([t.search_calls for t in traces]),
                    "optimizer_calls": mean([t.optimizer_calls for t in traces]),
                }
            )
    return out


def _with_model(
    task: str, methods: Sequence[str], seeds: int, search_calls: int, who: tuple[str, str, str | Path | None]
) -> list[dict[str, Any]]:
    from langchain_promptopt.bench.planted import bootstrap, mean
    from langchain_promptopt.bench.tasks import run_task_once, task_of

    model, optimizer, folder = who
    loaded = task_of(task, folder)
    out = []
    for method in methods:
        runs = [run_task_once(loaded, method, seed, search_calls, model, optimizer) for seed in range(seeds)]
        scored = [r for r in runs if r["test"] is not None]
        out.append(
            {
                "task": task,
                "method": method,
                "start": mean([r["start"] for r in scored]) if scored else None,
                "test": bootstrap([r["test"] for r in scored]).as_json() if scored else None,
                "runs": len(runs),
                "search_calls": mean([r["search_calls"] for r in runs]),
                "optimizer_calls": mean([r["optimizer_calls"] for r in runs]),
                "outcomes": [r["outcome"] for r in runs],
            }
        )
    return out


def as_markdown(table: Mapping[str, Any]) -> str:
    """The table of `run_bench`: scores of the runs whose candidate was put to the test, and how all runs ended."""
    lines = [
        f"{table['seeds']} seed{'s' if table['seeds'] > 1 else ''}, {table['search_calls']:,} search calls a run;"
        " 95 % intervals over seeds.",
        "",
        "| task | method | start | held-out test | search calls | optimizer calls | outcomes |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in table["rows"]]
    return "\n".join([*lines, *(f"\n{note}" for note in table["notes"])])


def _row(row: Mapping[str, Any]) -> str:
    t, start = row["test"], row["start"]
    ended = row.get("outcomes", [])
    cells = [
        row["task"],
        row["method"],
        "-" if start is None else f"{start:.3f}",
        "not tested" if t is None else f"{t['mean']:.3f} [{t['low']:.3f}, {t['high']:.3f}] n={t['n']}",
        f"{row['search_calls']:.0f}",
        f"{row['optimizer_calls']:.0f}",
        ", ".join(f"{ended.count(o)} {o}" for o in dict.fromkeys(ended)) or "-",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"
