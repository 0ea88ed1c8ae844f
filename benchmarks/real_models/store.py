"""Replies for tests/data, out of what `run` wrote: `python -m benchmarks.real_models.store OUT FILE [FILE ...]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from langchain_promptopt.steps.line_protocol import is_example

_KEPT = ("model", "cell", "prompt", "fault", "parsed", "legal", "hit", "repaired", "edits")


def replies(turns: list[list[str]]) -> list[str]:
    """What the model said: the model's turns but those that answer a worked example."""
    out: list[str] = []
    for before, (role, text) in zip([["", ""], *turns], turns, strict=False):
        if role == "ai" and not is_example(before[1]):
            out.append(text)
    return out


def main() -> None:
    """Write one line a request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    asked = parser.parse_args()
    lines: list[str] = []
    for path in asked.files:
        for text in path.read_text("utf-8").splitlines():
            row = json.loads(text)
            stored = {k: row[k] for k in _KEPT} | {"replies": replies(row["turns"])}
            lines.append(json.dumps(stored, ensure_ascii=False))
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
