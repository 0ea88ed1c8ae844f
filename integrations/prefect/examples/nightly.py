"""Serve the built-in demo as a nightly flow: `python nightly.py FOLDER --cron "0 3 * * *"`; no key, no network.

Needs PREFECT_API_URL of a running server. Stop it with Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from langchain_promptopt_prefect import serve

from langchain_promptopt.offline import demo_prompt, demo_rows


def job(folder: Path) -> dict[str, Any]:
    """Write prompt and rows into `folder`; returns the configuration that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompt.txt").write_text(demo_prompt(), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in demo_rows())
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    return {
        "task": {"prompt": "prompt.txt", "model": "offline", "freeze": ["## Refund policy"]},
        "data": {"source": "rows.jsonl"},
        "evaluate": {"evaluators": ["exact_match"]},
        "optimize": {"model": "offline"},
        "output": {"prompts": "prompts"},
    }


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cron", default="0 3 * * *")
    parser.add_argument("--shard-size", type=int, default=0)
    given = parser.parse_args()
    serve(job(given.folder), cron=given.cron, root=str(given.folder), shard_size=given.shard_size)


if __name__ == "__main__":
    main()
