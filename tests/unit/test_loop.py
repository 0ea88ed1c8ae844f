"""`promptopt loop`: nights of production against the LangSmith-compatible server, on a clock that the test moves."""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from langchain_core.prompts import PromptTemplate

from langchain_promptopt._langsmith.publish import withdraw_recorded
from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, UsageError
from langchain_promptopt.pipeline import loop as looping
from langchain_promptopt.pipeline.loop import Loop
from tests.support.langsmith_env import client
from tests.support.langsmith_traffic import Traffic
from tests.support.pipeline_task import KINDS, PROMPT

FIRST = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TAGGED = "acme/triage:production"


@dataclass
class World:
    """A prompt in use, its traffic, and the settings of a loop."""

    server: object
    folder: object
    now: datetime = FIRST + timedelta(hours=14)
    more: dict = field(default_factory=dict)

    def day(self, day, n=48, *, turned=False, noise=0):
        """One day's traffic with the labels that people gave.

        On a day that is `turned`, refunds mean billing; every `noise`-th label is a slip.
        """
        rows = []
        for i in range(n):
            text, label = KINDS[i % len(KINDS)]
            if turned and "refund" in text:
                label = "billing"
            if noise and i % noise == 0:
                label = "account" if label != "account" else "billing"
            rows.append((f"{text}, case {day}-{i}", label))
        runs = []
        for text, _ in rows:  # the same ids in every test run, so that the same search follows
            uid = uuid.uuid5(uuid.NAMESPACE_OID, text)
            runs.append({"id": uid, "inputs": {"ticket": text}, "outputs": {"output": "x"}})
        ids = Traffic(self.server.url).runs(runs, FIRST + day * DAY)
        for run, (_, label) in zip(ids, rows, strict=True):  # not over HTTP: there are many
            source = {"type": "app"}
            self.server._runs.add_feedback(
                {"id": run, "run_id": run, "key": "label", "value": label, "feedback_source": source}
            )

    def settings(self):
        base = {
            "task": {"prompt": TAGGED, "model": "offline"},
            "data": {"source": "langsmith-project:live", "window": "24h", "reference": "feedback:label"},
            "evaluate": {"evaluators": ["exact_match"]},
            "optimize": {"model": "offline", "method": "lpo-pe2", "progress": False},
            "output": {"push": "acme/triage"},
            "budget": {"search_calls": 800},
        }
        return config_from_dict(base | self.more, root=self.folder)

    def call(self, *, approve=None):
        return Loop(self.settings(), now=lambda: self.now).advance(approve=approve)

    def prompt(self, ref="production"):
        return client(self.server.url).pull_prompt(f"triage:{ref}", skip_cache=True).template


@pytest.fixture
def world(server, tmp_path):
    there = client(server.url)
    there.push_prompt("triage", object=PromptTemplate.from_template(PROMPT), commit_tags="production")
    return World(server, tmp_path)


def test_three_nights_a_gain_no_gain_and_worse_after_the_promotion(world, server):
    world.day(0)
    first = world.call()
    assert (first.step, first.facts["outcome"]) == ("proposed", "improved")
    assert first.facts["harvest"]["added"] == 48
    assert world.prompt("staging") != PROMPT
    assert world.prompt() == PROMPT
    assert world.call().step == "proposed"
    assert world.call(approve=True).step == "promoted"
    assert world.prompt() == world.prompt("staging") != PROMPT
    gained = world.prompt()
    world.day(1, noise=7)
    world.now += timedelta(hours=20)
    assert world.call().step == "promoted"
    world.now += timedelta(hours=5)
    kept = world.call()
    assert (kept.step, kept.facts["watch"]["test"][0]["difference"] < 0) == ("kept", True)
    assert world.prompt() == gained

    second = world.call()
    assert (second.step, second.history[-1]["ended"]) == ("no_gain", "no_gain")
    assert second.facts["outcome"] in {"no_gain", "inconclusive"}, second.facts
    assert world.prompt() == gained
    assert world.call().history == second.history

    world.day(2, n=64, turned=True)
    world.now += DAY
    third = world.call()
    assert third.step == "proposed", third.facts
    assert third.facts["harvest"]["retired"] > 0
    world.call(approve=True)
    assert world.prompt() != gained
    world.day(3)
    world.now += DAY + timedelta(hours=1)
    back = world.call()
    assert back.step == "rolled_back"
    assert back.facts["watch"]["outcome"] == "improved"
    assert world.prompt() == world.prompt("latest") == gained
    assert [night["ended"] for night in back.history] == ["kept", "no_gain", "rolled_back"]
    assert server.unserved == []


class Killed(BaseException):
    """Ends a call as a signal would."""


def test_every_step_may_be_killed_before_it_is_written_down_and_is_done_again_without_a_double(world, monkeypatch):
    """Each call writes one step down and is killed at the end of the next, so all work but the last is done twice."""
    world.day(0)
    world.day(1)
    whole, writes, seen = looping.write_whole, [0], []

    def write(path, text):
        if path.name == "state.json":
            writes[0] += 1
            if writes[0] == 2:
                raise Killed
        whole(path, text)

    monkeypatch.setattr(looping, "write_whole", write)
    for _ in range(20):
        writes[0], step = 0, Loop(world.settings()).read().step
        if step == "promoted":
            world.now = FIRST + 2 * DAY + timedelta(hours=20)
        with contextlib.suppress(Killed):
            world.call(approve=True if step == "proposed" else None)
        seen.append(Loop(world.settings()).read().step)
        if seen[-1] == "kept":
            break
    assert seen == ["harvesting", "harvested", "proposed", "approved", "promoted", "watching", "kept"]
    prompt = world.server.prompts.all["triage"]
    assert len(prompt.commits) == 2
    assert world.prompt() == world.prompt("latest") != PROMPT
    runs = [p for p in (world.folder / ".promptopt" / "runs").iterdir() if (p / "journal.jsonl").is_file()]
    assert len(runs) == 2
    writes[0] = -9
    assert world.call().step == "no_gain"
    withdraw_recorded(world.folder / ".promptopt" / "runs" / Loop(world.settings()).read().history[0]["run_id"])
    assert world.prompt() == PROMPT


def test_a_prompt_file_is_a_patch_until_it_is_merged_and_is_written_back_where_rejected(world):
    file = world.folder / "prompt.txt"
    file.write_text(PROMPT)
    world.more = {"task": {"prompt": "prompt.txt", "model": "offline"}, "output": {}}
    world.day(0)
    found = world.call()
    assert found.step == "proposed"
    patch = (world.folder / ".promptopt" / "loop" / "proposal.patch").read_text()
    assert patch.startswith(("diff --git", "--- "))
    assert file.read_text() == PROMPT
    assert world.call(approve=True).step == "promoted"
    assert file.read_text() != PROMPT
    assert world.call(approve=False).step == "rejected"
    assert file.read_text() == PROMPT


def test_a_tag_that_a_person_moved_is_an_approval_and_a_rejection_leaves_nothing(world):
    world.day(0)
    world.call()
    there = client(world.server.url)
    head = world.server.prompts.all["triage"].head
    body = {"commit_id": head["id"]}
    there.request_with_retries("PATCH", "/repos/-/triage/tags/production", json=body)
    assert world.call().step == "promoted"
    assert world.call(approve=False).step == "rejected"
    assert world.prompt() == world.prompt("latest") == PROMPT


def test_what_cannot_go_on_is_said(world, capfd, monkeypatch):
    with pytest.raises(UsageError, match="nothing to approve"):
        world.call(approve=True)
    world.day(-9, n=1)
    quiet = world.call()
    assert (quiet.step, quiet.facts["outcome"]) == ("no_gain", "no rows")
    world.more = {"task": {"chain": "my_app:chain"}}
    world.now += DAY
    with pytest.raises(ConfigError, match="the task is a chain in code"):
        world.call()
    state = world.folder / ".promptopt" / "loop" / "state.json"
    state.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        world.call()
    state.unlink()
    monkeypatch.chdir(world.folder)
    assert promptopt(["loop", "--status"]) == 0
    assert "nothing was done yet" in capfd.readouterr().out
    assert promptopt(["loop", "--approve", "--reject"]) == 2
    assert promptopt(["loop", "--approve", "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]
