"""Joins the answers of `promptopt compare` for the prompts of a pull request into one outcome and one comment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ORDER = ("improved", "no_gain", "inconclusive", "worse", "failed")
MARKER = "<!-- promptopt-gate -->"


def outcome_of(answer: dict[str, Any]) -> str:
    """The answer's outcome; "worse" where the whole interval of the deciding metric lies below zero."""
    table = answer["test"]
    interval = table[0].get("interval") if table else None
    return "worse" if interval and interval[1] < 0 else answer["outcome"]


def main(folder: Path, count: int, comment: Path, fail_on: str) -> int:
    """Write comment and output; returns the exit code of the step."""
    answers = [json.loads((folder / f"{n}.json").read_text()) for n in range(1, count + 1)]
    found = [outcome_of(a) for a in answers]
    worst = max(found, key=lambda o: ORDER.index(o) if o in ORDER else len(ORDER), default="unchanged")
    texts = [(folder / f"{n}.md").read_text().removeprefix(MARKER) for n in range(1, count + 1)]
    comment.write_text(MARKER + ("".join(texts) if texts else "\n\nNo prompt was touched.\n"))
    with open(os.environ.get("GITHUB_OUTPUT", os.devnull), "a") as out:
        out.write(f"outcome={worst}\n")  # the last line of a name counts
    codes = [int((folder / f"{n}.code").read_text()) for n in range(1, count + 1)]
    broken = [code for code in codes if code not in (0, 3)]
    if broken:
        return broken[0]
    refused = {"worse": {"worse"}, "not-improved": {"worse", "no_gain", "inconclusive"}}.get(fail_on, set())
    if refused & set(found):
        print(f"::error title=promptopt::{worst}: see the job summary")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
