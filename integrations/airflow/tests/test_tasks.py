"""Runs of a real Airflow, read back from its database: states and tries by exit code, references, resuming."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import by_file
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from langchain_promptopt_airflow.tasks import optimized, raise_without_verdict

from langchain_promptopt.config import toml_text
from langchain_promptopt.offline import offline_model
from tests.support.faults import FaultPlan, Rule
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import PROMPT, write_task

DAGS = {"operator": by_file.operator_dag, "taskflow": by_file.taskflow_dag}


def job(folder, change=None):
    """A job in `folder`; returns its settings file."""
    config = write_task(folder)
    for section, values in (change or {}).items():
        config[section] |= values
    path = folder / "promptopt.toml"
    path.write_text(toml_text(config))
    return path


def read_back(run):
    """The run's state, its tasks' states and tries, and what the step left in XCom; from the database."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        state = session.scalar(select(DagRun.state).where(DagRun.run_id == run.run_id, DagRun.dag_id == run.dag_id))
        tasks = session.scalars(
            select(TaskInstance).where(TaskInstance.run_id == run.run_id, TaskInstance.dag_id == run.dag_id)
        ).all()
        found = {t.task_id: (t.state, t.try_number) for t in tasks}
        xcom = session.scalar(
            select(XComModel.value).where(
                XComModel.run_id == run.run_id,
                XComModel.dag_id == run.dag_id,
                XComModel.task_id == "optimize",
                XComModel.key == "return_value",
            )
        )
    return str(state), found, json.loads(xcom) if isinstance(xcom, str) else xcom


@pytest.mark.parametrize("kind", DAGS)
def test_a_gain_completes_and_xcom_holds_a_reference(kind, tmp_path):
    state, tasks, run = read_back(DAGS[kind].test(run_conf={"file": str(job(tmp_path))}))
    assert state == "success"
    assert tasks == {"optimize": ("success", 1), "improved": ("success", 1), "publish": ("success", 1)}
    assert (run["outcome"], run["exit_code"], run["replayed"]) == ("improved", 0, False)
    assert json.loads((Path(run["run"]) / "result.json").read_text())["run_id"] == run["run_id"]
    assert run["test"][0]["verdict"] == "improved"
    assert "refund" not in json.dumps(run)
    assert len(json.dumps(run)) < 1000


def test_no_gain_completes_and_nothing_is_published(tmp_path):
    file = job(tmp_path, {"task": {"freeze": ["## Rules"]}})
    state, tasks, run = read_back(DAGS["operator"].test(run_conf={"file": str(file)}))
    assert (state, run["exit_code"]) == ("success", 3)
    assert tasks["optimize"] == ("success", 1)
    assert tasks["publish"][0] == "skipped"


@pytest.mark.parametrize("kind", DAGS)
def test_a_wrong_configuration_fails_at_once(kind, tmp_path, caplog):
    file = job(tmp_path, {"optimize": {"method": "lpo-pe"}})
    state, tasks, run = read_back(DAGS[kind].test(run_conf={"file": str(file)}))
    assert (state, run) == ("failed", None)
    assert tasks["optimize"] == ("failed", 1)  # two retries are allowed, and this was no outage


def test_the_error_says_what_to_mend(tmp_path):
    with pytest.raises(AirflowFailException, match=r"exit code 2, run not begun: .*lpo-pe2"):
        optimized(str(job(tmp_path, {"optimize": {"method": "lpo-pe"}})), None, None, None)
    with pytest.raises(AirflowFailException, match="cannot be read"):
        optimized(str(tmp_path / "missing.toml"), None, None, None)
    with pytest.raises(AirflowFailException, match="either file="):
        optimized(None, None, None, None)


@pytest.mark.parametrize("code", [1, 2, 4, 5, 130, 143])
def test_codes_without_a_verdict(code):
    answer = {"exit_code": code, "run_id": "r", "outcome": "failed", "error": {"message": "m"}}
    with pytest.raises(AirflowException) as caught:
        raise_without_verdict(answer)
    assert isinstance(caught.value, AirflowFailException) == (code in {1, 2, 4})


def test_an_outage_is_retried_and_the_retry_resumes(tmp_path):
    """A provider that asks for an hour's pause ends the first try at once; the second goes on where it stopped."""
    faults = FaultPlan(Rule("429-retry-after", skip=20, times=1), retry_after="3600")
    with OpenAIServer(brain_of(offline_model("task")), faults=faults) as models:
        served = {"model": "openai:m", "base_url": models.base_url}
        file = job(tmp_path, {"task": served, "optimize": {"max_concurrency": 4}})
        state, tasks, run = read_back(DAGS["operator"].test(run_conf={"file": str(file)}))
        asked = models.count
    assert [f.kind for f in faults.fired] == ["429-retry-after"]
    assert (state, run["outcome"], run["replayed"]) == ("success", "improved", False)
    assert tasks["optimize"] == ("success", 2)
    paid = paid_of(run["run"])
    assert paid < asked <= paid + 1 + 4  # the refused call, and at most those in flight beside it


def paid_of(folder):
    return json.loads((Path(folder) / "result.json").read_text())["usage"]["by_role"]["task"]["calls"]


def test_a_killed_task_is_run_again_and_resumes(tmp_path):
    """At most the calls in flight at the kill are paid twice, counted at the server of the models."""
    with OpenAIServer(brain_of(offline_model("task")), delay=0.2) as models:
        served = {"model": "openai:m", "base_url": models.base_url}
        file = job(tmp_path, {"task": served, "optimize": {"max_concurrency": 4}})
        program = str(Path(sys.executable).with_name("airflow"))
        command = [program, "dags", "test", "by_operator", "--conf", json.dumps({"file": str(file)})]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            end = time.monotonic() + 150
            while models.count < 22 and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            process.kill()
        at_kill = models.count
        state, _, run = read_back(DAGS["operator"].test(run_conf={"file": str(file)}))
        asked = models.count
    paid = paid_of(run["run"])
    print(f"calls: {at_kill} before the kill, {asked} in all, {paid} that the run needs")
    assert (state, run["outcome"], run["replayed"]) == ("success", "improved", False)
    assert 22 <= at_kill < paid <= asked <= paid + 4


def test_overrides_are_rendered(tmp_path):
    """`rows` of the DAG run says which data it is."""
    file = job(tmp_path)
    (tmp_path / "rows.jsonl").rename(tmp_path / "rows-2026-01-01.jsonl")
    state, _, run = read_back(DAGS["operator"].test(run_conf={"file": str(file), "rows": "rows-2026-01-01.jsonl"}))
    assert (state, run["outcome"]) == ("success", "improved")


def test_settings_of_another_task_are_not_rendered(tmp_path):
    """A frozen text with double braces would be a template to Airflow."""
    prompt = PROMPT.replace("{ticket}", "{{ticket}}")
    config = write_task(tmp_path, prompt=prompt)
    config["task"] |= {"template_format": "mustache", "freeze": ["re:Message: {{ticket}}"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state, tasks, run = read_back(by_file.mapping_dag.test(run_conf={"folder": str(tmp_path)}))
    assert (state, run["outcome"]) == ("success", "improved"), tasks


def test_airflow_finds_the_provider():
    from airflow.providers_manager import ProvidersManager

    found = ProvidersManager().providers["langchain-promptopt-airflow"]
    assert found.version == "0.1.0"


def test_the_example_runs(tmp_path):
    import triage_nightly

    run = triage_nightly.nightly.test(run_conf={"folder": str(tmp_path)})
    state, tasks, found = read_back(run)
    assert (state, found["outcome"]) == ("success", "improved")
    assert tasks["release"] == ("success", 1)
    assert (tmp_path / "released.txt").read_text() != (tmp_path / "prompt.txt").read_text()
