"""The tables of `docs/real-models.md`: `python -m benchmarks.real_models.table FILE [FILE ...]`.

A file holds requests, as `run` writes them, or whole runs, as `store` keeps them of what `end_to_end` wrote.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gate_simulation import wilson

_HEAD = (
    "| model | protocol | faults | reply parses | legal mark | fault marked | marks on a fault | repaired"
    " | repaired, nothing else changed | changed words | calls | tokens read | tokens written | seconds |"
)


def share(rows: list[dict[str, Any]], field: str) -> str:
    """The share of rows where a field is true, with its interval."""
    hits = sum(bool(row[field]) for row in rows)
    low, high = wilson(hits, len(rows))
    return f"{hits / len(rows):.2f} [{low:.2f}, {high:.2f}]"


def line(model: str, cell: str, rows: list[dict[str, Any]]) -> str:
    """One line of the table."""
    marked, good = sum(row["marked"] for row in rows), sum(row["good"] for row in rows)
    on_fault = f"{good / marked:.2f}" if marked else "-"
    edited = [row["changed_words"] for row in rows if row["edited"]]
    figures = [f"{median(row[name] for row in rows):g}" for name in ("calls", "read", "written")]
    return " | ".join(
        (
            f"| {model}",
            f"`{cell}`",
            str(len(rows)),
            share(rows, "parsed"),
            share(rows, "legal"),
            share(rows, "hit"),
            on_fault,
            share(rows, "repaired"),
            share(rows, "clean"),
            f"{median(edited):g}" if edited else "-",
            *figures,
            f"{median(row['seconds'] for row in rows):.0f} |",
        )
    )


_RUNS_HEAD = (
    "| method | data | seed | verdict | old prompt | new prompt | difference, interval | better / worse"
    " | rules repaired | calls of the task, the optimizer | minutes |"
)
_VERDICTS = {"no_gain": "no gain", "budget": "budget spent, no candidate was better on dev"}


def run_line(run: dict[str, Any]) -> str:
    """One line of the table of whole runs."""
    test, outcome = run["test"], run["outcome"]
    rules = "" if run["repaired"] is None else f"{run['repaired']} of 4"
    row = [f"| `{run['method']}`", run["data"], str(run["seed"]), _VERDICTS.get(outcome, outcome), *[""] * 4]
    if test:
        p = "p < 0.001" if test["p_value"] < 0.001 else f"p = {test['p_value']:.3f}"
        old, new = (100 * test[k] + 1e-9 for k in ("baseline", "best"))  # half a tenth goes up
        low, high = (f"{100 * bound:+.1f}" for bound in test["interval"])
        row[3:] = [f"{outcome}, {p}", f"{old:.1f}", f"{new:.1f}", f"{new - old:+.1f}, {low} to {high} (95 %)"]
        row.append(f"{test['wins']} / {test['losses']}")
    calls = f"{run['task_calls']}, {run['optimizer_calls']}"
    return " | ".join((*row, rules, calls, f"{run['minutes']} |"))


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of the table of requests, and of that of whole runs, where there are any.

    Args:
        rows: Requests and whole runs.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    runs = list[str]()
    for row in rows:
        if "method" in row:
            runs.append(run_line(row))
        else:
            groups[row["model"], row["cell"]].append(row | {"clean": row["repaired"] and not row["elsewhere"]})
    requests = [line(model, cell, found) for (model, cell), found in groups.items()]
    out = list[str]()
    for head, lines in ((_HEAD, requests), (_RUNS_HEAD, runs)):
        if lines:
            out += [head, "|---" * head.count(" | ") + "|---|", *lines]
    return out


def main() -> None:
    """Print the tables of the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    rows = []
    for path in parser.parse_args().files:
        rows += map(json.loads, path.read_text("utf-8").splitlines())
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
