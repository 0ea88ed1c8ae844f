"""The table of `docs/real-models.md`: `python -m benchmarks.real_models.table FILE [FILE ...]`."""

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


def main() -> None:
    """Print the table of the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="what benchmarks.real_models.run wrote")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in parser.parse_args().files:
        for text in path.read_text("utf-8").splitlines():
            row = json.loads(text)
            row["clean"] = row["repaired"] and not row["elsewhere"]
            groups[row["model"], row["cell"]].append(row)
    print(_HEAD)
    print("|---" * _HEAD.count(" | ") + "|---|")
    for (model, cell), rows in groups.items():
        print(line(model, cell, rows))


if __name__ == "__main__":
    main()
