"""The flow against a real server: states by exit code, artifacts read back, shards, retries that resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from langchain_promptopt_prefect import StepFailed, StepUnavailable, checked, optimize_flow, step

from langchain_promptopt.offline import offline_model
from tests.support.faults import FaultPlan, Rule
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import write_task

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def api(server, path, body=None):
    request = urllib.request.Request(
        f"{server}{path}", data=json.dumps(body or {}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def artifacts(server, flow_run_id=None):
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}} if flow_run_id else {}
    newest_last = reversed(api(server, "/artifacts/filter", {"sort": "CREATED_DESC", **wanted}))
    return {a["key"]: a for a in newest_last}


def runs_of(server, name):
    return api(server, "/flow_runs/filter", {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"})


def test_a_gain_completes_and_its_report_can_be_read_back(server, tmp_path):
    config = write_task(tmp_path)
    state = optimize_flow(config, str(tmp_path), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Improved")
    answer = state.result()
    found = artifacts(server)
    report = found["promptopt-report"]["data"]
    assert report.startswith("<!-- promptopt-gate -->")
    assert "rule names the wrong label" in report
    assert "My parcel never came" not in report
    table = json.loads(found["promptopt-test"]["data"])
    assert (table[0]["metric"], table[0]["wins"], table[0]["verdict"]) == ("exact_match", 12, "improved")
    assert answer["run_id"] in found["promptopt-report"]["description"]
    again = optimize_flow(config, str(tmp_path), return_state=True).result()
    assert (again["replayed"], again["run_id"]) == (True, answer["run_id"])


def test_no_gain_completes_too(server, tmp_path):
    config = write_task(tmp_path)
    config["task"]["freeze"] = ["## Rules"]
    state = optimize_flow(config, str(tmp_path), return_state=True)
    assert (state.type.value, state.name, state.result()["exit_code"]) == ("COMPLETED", "NoGain", 3)


def test_a_wrong_configuration_fails_at_once(server, tmp_path):
    config = write_task(tmp_path)
    config["optimize"]["method"] = "lpo-pe"
    state = optimize_flow(config, str(tmp_path), return_state=True)
    assert state.type.value == "FAILED"
    error = state.result(raise_on_failure=False)
    assert isinstance(error, StepFailed)
    assert not isinstance(error, StepUnavailable)
    assert error.answer["exit_code"] == 2
    assert "lpo-pe2" in artifacts(server)["promptopt-report"]["data"]
    tasks = api(server, "/task_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    assert tasks[0]["run_count"] == 1  # retries=3 is the default, and this was no outage


@pytest.mark.parametrize("code", [1, 2, 4, 130, 143])
def test_codes_without_a_verdict_fail(code):
    answer = {"exit_code": code, "outcome": "failed", "error": {"message": "m"}}
    with pytest.raises(StepFailed) as caught:
        checked(answer)
    assert not isinstance(caught.value, StepUnavailable)


def test_an_outage_is_retried_and_the_retry_resumes(server, tmp_path):
    """A provider that asks for an hour's pause ends the first try at once; the second goes on where it stopped."""
    config = write_task(tmp_path)
    faults = FaultPlan(Rule("429-retry-after", skip=20, times=1), retry_after="3600")
    with OpenAIServer(brain_of(offline_model("task")), faults=faults) as models:
        config["task"] |= {"model": "openai:m", "base_url": models.base_url}
        config["optimize"]["max_concurrency"] = 4
        from prefect import flow

        @flow(name="outage", persist_result=False)
        def outage():
            return step.with_options(retries=2, retry_delay_seconds=1)(config, str(tmp_path))

        answer = outage(return_state=True).result()
        asked = models.count
    assert (answer["outcome"], answer["replayed"]) == ("improved", False)
    assert [f.kind for f in faults.fired] == ["429-retry-after"]
    tasks = api(server, "/task_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    assert tasks[0]["run_count"] == 2
    paid = answer["usage"]["by_role"]["task"]["calls"]
    assert paid < asked <= paid + 1 + 4  # the refused call, and at most those in flight beside it


def test_shards_are_task_runs_and_the_run_is_the_same(server, tmp_path):
    whole = optimize_flow(write_task(tmp_path / "a"), str(tmp_path / "a"), return_state=True).result()
    state = optimize_flow(write_task(tmp_path / "b"), str(tmp_path / "b"), 12, return_state=True)
    answer = state.result()
    assert [answer[k] for k in ("run_id", "test", "edits")] == [whole[k] for k in ("run_id", "test", "edits")]
    run = runs_of(server, "promptopt")[0]
    tasks = api(server, "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}})
    cells = [t for t in tasks if t["name"].startswith("cells-")]
    assert len(cells) > 3
    assert {t["state_type"] for t in cells} == {"COMPLETED"}
    assert (tmp_path / "b" / ".promptopt" / "runs" / answer["run_id"] / "cells.jsonl").is_file()


def wait_for(found, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.5)
    raise AssertionError(what)


def test_served_on_a_schedule(server, tmp_path):
    """`*/1 * * * *`: the run comes by itself, its artifacts are read back through the API."""
    command = [sys.executable, str(EXAMPLES / "nightly.py"), str(tmp_path / "job"), "--cron", "*/1 * * * *"]
    log = tmp_path / "serve.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as serving:
        try:

            def done():
                assert serving.poll() is None, log.read_text()
                ours = [r for r in runs_of(server, "promptopt") if r["deployment_id"]]
                return next((r for r in ours if r["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}), None)

            run = wait_for(done, 250, "no scheduled run within 200 s")
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait(timeout=60)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Improved"), log.read_text()
    assert run["auto_scheduled"]
    found = artifacts(server, run["id"])
    assert found.keys() == {"promptopt-report", "promptopt-test"}
    assert "Prompt optimization: improved" in found["promptopt-report"]["data"]
    assert list((tmp_path / "job" / "prompts").iterdir())


KILLED = """
import json, sys
from langchain_promptopt_prefect import optimize_flow
if __name__ == "__main__":
    state = optimize_flow(json.load(open("config.json")), ".", int(sys.argv[1]), return_state=True)
    print(json.dumps(state.result()))
"""


def processes():
    """(pid, state, parent, group) of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        yield int(path.parent.name), state, int(parent), int(group)


def gone(wanted):
    """Whether no living process of a group is left; the dead may wait for somebody to collect them."""
    return not any(group == wanted and state != "Z" for _, state, _, group in processes())


@pytest.mark.parametrize(("shard", "in_flight"), [(0, 4), (12, 8)], ids=["one process", "shards in a process pool"])
def test_a_flow_run_killed_in_the_middle_is_run_again(server, tmp_path, shard, in_flight):
    """At most the calls in flight at the kill are paid twice, counted at the server of the models; nobody is left."""
    config = write_task(tmp_path)
    with OpenAIServer(brain_of(offline_model("task")), delay=0.2) as models:
        config["task"] |= {"model": "openai:m", "base_url": models.base_url}
        config["optimize"]["max_concurrency"] = 4
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "again.py").write_text(KILLED)
        command = [sys.executable, "again.py", str(shard)]
        with subprocess.Popen(
            command, cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            wait_for(lambda: models.count >= 22 or process.poll() is not None, 200, "the run does not begin")
            process.kill()
        at_kill = models.count
        wait_for(lambda: gone(process.pid), 60, "a killed flow leaves processes behind")
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        asked = models.count
    paid = answer["usage"]["by_role"]["task"]["calls"]
    print(f"calls: {at_kill} before the kill, {asked} in all, {paid} that the run needs")
    assert (answer["outcome"], answer["replayed"]) == ("improved", False)
    assert at_kill < paid <= asked <= paid + in_flight


SERVED = """
import json
from langchain_promptopt_prefect import serve
if __name__ == "__main__":
    serve(json.load(open("config.json")), cron="*/1 * * * *", name="killed", root=".")
"""


def children(wanted):
    return [pid for pid, _, parent, _ in processes() if parent == wanted]


def test_the_schedule_runs_a_killed_run_again(server, tmp_path):
    """`kill -9` of the flow run's process: Prefect says crashed, and the next date of the schedule goes on."""
    config = write_task(tmp_path)
    with OpenAIServer(brain_of(offline_model("task")), delay=0.2) as models:
        config["task"] |= {"model": "openai:m", "base_url": models.base_url}
        config["optimize"]["max_concurrency"] = 4
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "served.py").write_text(SERVED)
        log = tmp_path / "serve.log"

        def ours():
            assert serving.poll() is None, log.read_text()
            found = [r for r in runs_of(server, "promptopt") if r["parameters"].get("root") == str(tmp_path)]
            return {r["state_name"]: r for r in found}

        with (
            log.open("wb") as out,
            subprocess.Popen([sys.executable, "served.py"], cwd=tmp_path, stdout=out, stderr=out) as serving,
        ):
            try:
                wait_for(lambda: models.count >= 22 or serving.poll() is not None, 250, "no scheduled run begins")
                for pid in children(serving.pid):
                    os.kill(pid, signal.SIGKILL)
                at_kill = models.count
                wait_for(lambda: "Crashed" in ours(), 60, "Prefect does not see that the run is dead")
                again = wait_for(lambda: ours().get("Improved"), 250, log.read_text())
            finally:
                serving.send_signal(signal.SIGTERM)
                serving.wait(timeout=60)
        asked = models.count
    [record] = (tmp_path / ".promptopt" / "runs").glob("*/result.json")
    paid = json.loads(record.read_text())["usage"]["by_role"]["task"]["calls"]
    print(f"calls: {at_kill} before the kill, {asked} in all, {paid} that the run needs")
    assert again["auto_scheduled"]
    assert at_kill < paid <= asked <= paid + 4
