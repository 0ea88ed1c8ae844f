"""A nightly DAG: optimize, and release the winner only if the gate passed. Built-in data, offline models, no key.

Copy it into the DAGs folder. Without a scheduler: `airflow dags test triage_nightly -c '{"folder": "/tmp/job"}'`.
The offline models' scores say nothing about real models.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task
from langchain_promptopt_airflow import PromptOptimizeOperator, improved


@dag(
    dag_id="triage_nightly",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"folder": Param("/opt/airflow/triage", type="string")},
)
def triage_nightly() -> None:
    """Prepare, optimize, decide, release."""

    @task
    def prepare(params: dict[str, Any] | None = None) -> None:
        """Write the demo's prompt, rows and settings; your job has these files already."""
        from langchain_promptopt.config import toml_text
        from langchain_promptopt.offline import demo_prompt, demo_rows

        folder = Path(params["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prompt.txt").write_text(demo_prompt(), encoding="utf-8")
        lines = "".join(json.dumps(row) + "\n" for row in demo_rows())
        (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
        settings = {
            "task": {"prompt": "prompt.txt", "model": "offline", "freeze": ["## Refund policy"]},
            "data": {"source": "rows.jsonl"},
            "evaluate": {"evaluators": ["exact_match"]},
            "optimize": {"model": "offline"},
        }
        (folder / "promptopt.toml").write_text(toml_text(settings), encoding="utf-8")

    @task
    def release(run: dict[str, Any], params: dict[str, Any] | None = None) -> str:
        """Put the winner where the service reads it; `push_run(run, "owner/prompt", tag="staging")` is another way."""
        result = json.loads((Path(run["run"]) / "result.json").read_text(encoding="utf-8"))
        target = Path(params["folder"]) / "released.txt"
        target.write_text(result["prompts"][0]["messages"][0]["template"], encoding="utf-8")
        return str(target)

    optimize = PromptOptimizeOperator(task_id="optimize", file="{{ params.folder }}/promptopt.toml")
    prepare() >> optimize
    task.short_circuit(improved)(optimize.output) >> release(optimize.output)


nightly = triage_nightly()
