"""Materializations of a real Dagster instance, read back from its event log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from langchain_promptopt_dagster import gate_check, nightly, optimized_prompt
from langchain_promptopt_dagster.assets import Optimization, _raise_without_verdict

from langchain_promptopt.config import toml_text
from langchain_promptopt.offline import offline_model
from tests.support.faults import FaultPlan, Rule
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import write_task

AT_ONCE = dg.RetryPolicy(max_retries=2)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def job(folder, change=None):
    """A job in `folder`; returns its settings file."""
    config = write_task(folder)
    for section, values in (change or {}).items():
        config[section] |= values
    path = folder / "promptopt.toml"
    path.write_text(toml_text(config))
    return path


def materialized(instance, settings, *, blocking=False, **config):
    """Materialize the asset, its check and an asset that depends on it."""
    asset = optimized_prompt("triage", settings, retry_policy=AT_ONCE)

    @dg.asset(deps=[asset])
    def after():
        return None

    run_config = dg.RunConfig(ops={"triage": Optimization(**config)}) if config else None
    check = gate_check(asset, blocking=blocking)
    return dg.materialize([asset, check, after], instance=instance, run_config=run_config, raise_on_error=False)


def events(instance, run_id, kind):
    return [e.dagster_event for e in instance.all_logs(run_id) if e.dagster_event_type == kind]


def check_of(instance, run_id):
    [event] = events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return event.asset_check_evaluation_data


def test_a_gain_materializes_and_its_report_is_read_back(instance, tmp_path):
    done = materialized(instance, job(tmp_path))
    assert instance.get_run_by_id(done.run_id).status == dg.DagsterRunStatus.SUCCESS
    found = instance.get_latest_materialization_event(dg.AssetKey("triage")).asset_materialization.metadata
    assert found["outcome"].value == "improved"
    assert "rule names the wrong label" in found["report"].value
    assert "My parcel never came" not in found["report"].value
    assert found["test"].records[0].data["verdict"] == "improved"
    value = done.output_for_node("triage")
    assert json.loads((Path(value["run"]) / "result.json").read_text())["run_id"] == value["run_id"]
    assert "refund" not in json.dumps(value)
    check = check_of(instance, done.run_id)
    assert (check.check_name, check.passed, check.metadata["verdict"].value) == ("gate", True, "improved")
    again = materialized(instance, tmp_path / "promptopt.toml").output_for_node("triage")
    assert (again["replayed"], again["run_id"]) == (True, value["run_id"])


@pytest.mark.parametrize("blocking", [False, True])
def test_no_gain_is_a_warning_or_stops_what_depends_on_it(instance, tmp_path, blocking):
    file = job(tmp_path, {"task": {"freeze": ["## Rules"]}})
    done = materialized(instance, str(file), blocking=blocking)
    assert done.output_for_node("triage")["exit_code"] == 3
    check = check_of(instance, done.run_id)
    assert (check.passed, check.severity.value) == (False, "ERROR" if blocking else "WARN")
    status = instance.get_run_by_id(done.run_id).status
    assert status == (dg.DagsterRunStatus.FAILURE if blocking else dg.DagsterRunStatus.SUCCESS)
    later = [e.step_key for e in events(instance, done.run_id, dg.DagsterEventType.STEP_SUCCESS)]
    assert ("after" in later) is not blocking


def test_a_wrong_configuration_fails_at_once(instance, tmp_path):
    done = materialized(instance, job(tmp_path, {"optimize": {"method": "lpo-pe"}}))
    assert instance.get_run_by_id(done.run_id).status == dg.DagsterRunStatus.FAILURE
    assert not events(instance, done.run_id, dg.DagsterEventType.STEP_RESTARTED)  # two retries are allowed
    [failed] = [e for e in events(instance, done.run_id, dg.DagsterEventType.STEP_FAILURE) if e.step_key == "triage"]
    told = failed.step_failure_data.user_failure_data
    assert "exit code 2, run not begun" in told.description
    assert "lpo-pe2" in told.description


def test_settings_that_cannot_be_read(instance, tmp_path):
    done = materialized(instance, tmp_path / "missing.toml")
    [failed] = [e for e in events(instance, done.run_id, dg.DagsterEventType.STEP_FAILURE) if e.step_key == "triage"]
    assert "missing.toml cannot be read" in failed.step_failure_data.user_failure_data.description


@pytest.mark.parametrize("code", [1, 2, 4, 5, 130, 143])
def test_codes_without_a_verdict(code):
    answer = {"exit_code": code, "run_id": "r", "outcome": "failed", "error": {"message": "m"}}
    with pytest.raises(dg.Failure) as caught:
        _raise_without_verdict(answer)
    assert caught.value.allow_retries == (code in {5, 130, 143})


def paid_of(folder):
    return json.loads((Path(folder) / "result.json").read_text())["usage"]["by_role"]["task"]["calls"]


def test_an_outage_is_retried_and_the_retry_resumes(instance, tmp_path):
    """A provider that asks for an hour's pause ends the first try at once; the second goes on where it stopped."""
    faults = FaultPlan(Rule("429-retry-after", skip=20, times=1), retry_after="3600")
    with OpenAIServer(brain_of(offline_model("task")), faults=faults) as models:
        served = {"model": "openai:m", "base_url": models.base_url}
        file = job(tmp_path, {"task": served, "optimize": {"max_concurrency": 4}})
        done = materialized(instance, file)
        asked = models.count
    value = done.output_for_node("triage")
    assert [f.kind for f in faults.fired] == ["429-retry-after"]
    assert (value["outcome"], value["replayed"]) == ("improved", False)
    assert len(events(instance, done.run_id, dg.DagsterEventType.STEP_RESTARTED)) == 1
    paid = paid_of(value["run"])
    assert paid < asked <= paid + 1 + 4  # the refused call, and at most those in flight beside it


KILLED = """
import sys
import dagster as dg
from langchain_promptopt_dagster import optimized_prompt
with dg.DagsterInstance.ephemeral() as instance:
    dg.materialize([optimized_prompt("triage", sys.argv[1])], instance=instance)
"""


def test_a_killed_process_is_run_again_and_resumes(instance, tmp_path):
    """At most the calls in flight at the kill are paid twice, counted at the server of the models."""
    with OpenAIServer(brain_of(offline_model("task")), delay=0.2) as models:
        served = {"model": "openai:m", "base_url": models.base_url}
        file = job(tmp_path, {"task": served, "optimize": {"max_concurrency": 4}})
        with subprocess.Popen([sys.executable, "-c", KILLED, str(file)], env=os.environ) as process:
            end = time.monotonic() + 150
            while models.count < 22 and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            process.kill()
        at_kill = models.count
        value = materialized(instance, file).output_for_node("triage")
        asked = models.count
    paid = paid_of(value["run"])
    print(f"calls: {at_kill} before the kill, {asked} in all, {paid} that the run needs")
    assert (value["outcome"], value["replayed"]) == ("improved", False)
    assert 22 <= at_kill < paid <= asked <= paid + 4


def test_overrides_of_a_run(instance, tmp_path):
    file = job(tmp_path)
    (tmp_path / "rows.jsonl").rename(tmp_path / "rows-2026-01-01.jsonl")
    done = materialized(instance, file, overrides={"data.source": "rows-2026-01-01.jsonl"})
    assert done.output_for_node("triage")["outcome"] == "improved"


def test_the_schedule_asks_for_the_asset_and_its_check(instance):
    asset = optimized_prompt("triage", "promptopt.toml")
    schedule = nightly(asset, cron="0 3 * * *", timezone="Europe/Berlin")
    defs = dg.Definitions(assets=[asset], asset_checks=[gate_check(asset)], schedules=[schedule])
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 1, 3, tzinfo=UTC),
        repository_def=defs.get_repository_def(),
    )
    found = schedule.evaluate_tick(context)
    assert len(found.run_requests) == 1
    steps = {node.name for node in defs.resolve_job_def("triage_job").nodes}
    assert steps == {"triage", "triage_gate"}


def test_the_example_runs(instance):
    import triage_nightly

    job_def = triage_nightly.defs.resolve_implicit_global_asset_job_def()
    done = job_def.execute_in_process(instance=instance)
    assert done.success
    assert check_of(instance, done.run_id).passed
    released = triage_nightly.FOLDER / "released.txt"
    assert released.read_text() != (triage_nightly.FOLDER / "prompt.txt").read_text()
