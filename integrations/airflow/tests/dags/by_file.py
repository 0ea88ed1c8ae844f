"""The operator and the TaskFlow function on a settings file; what the gate lets through is noted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task
from langchain_promptopt_airflow import PromptOptimizeOperator, improved, optimize_prompt

NO_DELAY = {"retries": 2, "retry_delay": timedelta(seconds=0)}
PARAMS = {"file": Param("", type="string"), "rows": Param("rows.jsonl", type="string")}


@task
def publish(run: dict[str, Any]) -> str:
    """What a release would do with the reference."""
    return (Path(run["run"]) / "result.json").read_text()[:0] + run["run_id"]


@dag(schedule=None, params=PARAMS)
def by_operator():
    run = PromptOptimizeOperator(
        task_id="optimize", file="{{ params.file }}", overrides={"data.source": "{{ params.rows }}"}, **NO_DELAY
    )
    task.short_circuit(improved)(run.output) >> publish(run.output)


@dag(schedule=None, params=PARAMS)
def by_taskflow():
    run = optimize_prompt.override(task_id="optimize", **NO_DELAY)(file="{{ params.file }}")
    task.short_circuit(improved)(run) >> publish(run)


@dag(schedule=None, params={"folder": Param("", type="string")})
def by_mapping():
    """Settings that another task makes; a text in them looks like a template of Airflow."""

    @task
    def settings(params: dict[str, Any] | None = None) -> dict[str, Any]:
        import json

        return json.loads((Path(params["folder"]) / "config.json").read_text())

    optimize_prompt.override(task_id="optimize")(config=settings(), root="{{ params.folder }}")


operator_dag = by_operator()
taskflow_dag = by_taskflow()
mapping_dag = by_mapping()
