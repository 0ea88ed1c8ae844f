"""What is kept of the files of `run` and `end_to_end`: `python -m benchmarks.real_models.store OUT FILE [FILE ...]`.

With `--replies` the replies for tests/data; else the rows of the tables, without conversations, for benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from langchain_promptopt.steps.line_protocol import is_example

_KEPT = ("model", "cell", "prompt", "fault", "parsed", "legal", "hit", "repaired", "edits")


def replies(turns: list[list[str]]) -> list[str]:
    """What the model said: the model's turns but those that answer a worked example."""
    out: list[str] = []
    for before, (role, text) in zip([["", ""], *turns], turns, strict=False):
        if role == "ai" and not is_example(before[1]):
            out.append(text)
    return out


def without_conversations(row: dict[str, Any]) -> dict[str, Any]:
    """What the tables need of a request or of a whole run."""
    if "result" not in row:
        return {k: v for k, v in row.items() if k not in {"turns", "rejections"}}
    result = row["result"]
    calls = result["usage"]["by_role"]
    test = next(iter(result["test"]), {})
    return {k: v for k, v in row.items() if k not in {"result", "seconds"}} | {
        "outcome": result["outcome"],
        "test": {k: test[k] for k in ("baseline", "best", "p_value", "interval", "wins", "losses") if k in test},
        "edits": [[edit["old"], edit["new"]] for edit in result["edits"]],
        "task_calls": calls["task"]["calls"],
        "optimizer_calls": calls.get("optimizer", {}).get("calls", 0),
        "minutes": f"{row['seconds'] / 60:.0f}",
    }


def main() -> None:
    """Write one line a request, or a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", action="store_true", help="replies for the tests")
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    asked = parser.parse_args()
    lines: list[str] = []
    for path in asked.files:
        for text in path.read_text("utf-8").splitlines():
            row = json.loads(text)
            if asked.replies:
                stored = {k: row[k] for k in _KEPT} | {"replies": replies(row["turns"])}
            else:
                stored = without_conversations(row)
            lines.append(json.dumps(stored, ensure_ascii=False))
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
