"""A pipeline step in any scheduler: JSON in, JSON out, resumed and replayed by itself. No key, no network.

`run_step` is what Prefect, GitHub Actions, Airflow or cron call; here a plain loop plays three nights.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from langchain_promptopt import run_step
from langchain_promptopt.offline import demo_prompt, demo_rows


def main() -> None:
    """Run the step, run it again, and run it with a mistake in its configuration."""
    folder = Path(tempfile.mkdtemp())
    (folder / "prompt.txt").write_text(demo_prompt(), encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demo_rows()), encoding="utf-8")
    config = {
        "task": {"prompt": "prompt.txt", "model": "offline", "freeze": ["## Refund policy"]},
        "data": {"source": "rows.jsonl"},
        "evaluate": {"evaluators": ["exact_match"]},
        "optimize": {"model": "offline"},
        "output": {"prompts": "prompts", "summary": "comment.md", "junit": "junit.xml"},
    }
    first = run_step(config, root=folder)
    print("night 1:", first["outcome"], "exit code", first["exit_code"], [(e["old"], e["new"]) for e in first["edits"]])
    print("  left behind:", sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")))

    again = run_step(config, root=folder)  # the same data, prompt, models: the same run
    print("night 2:", again["outcome"], "replayed" if again["replayed"] else "paid again")
    assert again["run_id"] == first["run_id"]

    wrong = run_step(config | {"gate": {"primary": "accuracy"}}, root=folder)  # never raises
    print("night 3:", wrong["outcome"], "exit code", wrong["exit_code"], wrong["error"]["message"])


if __name__ == "__main__":
    main()
