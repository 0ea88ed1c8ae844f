"""A nightly asset with its gate, and a release that happens only after a gain. Built-in data, offline models, no key.

`dagster dev -f triage_nightly.py` shows it; `TRIAGE_FOLDER` says where its files go. The offline models' scores say
nothing about real models.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from langchain_promptopt_dagster import gate_check, nightly, optimized_prompt

FOLDER = Path(os.environ.get("TRIAGE_FOLDER", "triage"))
SETTINGS = {
    "task": {"prompt": "prompt.txt", "model": "offline", "freeze": ["## Refund policy"]},
    "data": {"source": "rows.jsonl"},
    "evaluate": {"evaluators": ["exact_match"]},
    "optimize": {"model": "offline"},
}


@dg.asset(group_name="promptopt")
def triage_files() -> None:
    """The demo's prompt and rows; your job has these files already."""
    from langchain_promptopt.offline import demo_prompt, demo_rows

    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "prompt.txt").write_text(demo_prompt(), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in demo_rows())
    (FOLDER / "rows.jsonl").write_text(lines, encoding="utf-8")


triage_prompt = optimized_prompt("triage_prompt", SETTINGS, root=FOLDER, deps=[triage_files])


@dg.asset(group_name="promptopt", output_required=False, ins={"run": dg.AssetIn("triage_prompt")})
def released_prompt(run: dict[str, Any]) -> Iterator[dg.Output[str]]:
    """Put the winner where the service reads it; without a gain, nothing is materialized.

    `push_run(Path(run["run"]), "owner/prompt", tag="staging")` of `langchain_promptopt.pipeline` is another way.
    """
    if run["outcome"] == "improved":
        result = json.loads((Path(run["run"]) / "result.json").read_text(encoding="utf-8"))
        target = FOLDER / "released.txt"
        target.write_text(result["prompts"][0]["messages"][0]["template"], encoding="utf-8")
        yield dg.Output(str(target))


defs = dg.Definitions(
    assets=[triage_files, triage_prompt, released_prompt],
    asset_checks=[gate_check(triage_prompt)],
    schedules=[nightly(triage_prompt, cron="0 3 * * *")],
)
