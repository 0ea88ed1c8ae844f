"""One machine answer: the same keys from optimize, resume, show, compare and failures; failed runs on record."""

from __future__ import annotations

import asyncio
import html
import json
from dataclasses import replace
from typing import get_args

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.cli.app import run
from langchain_promptopt.config import toml_text
from langchain_promptopt.errors import DataError, Interrupted
from langchain_promptopt.optimizer.run import _asked_first
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import render
from langchain_promptopt.settings import Metric
from langchain_promptopt.store import MemoryStore, read_events
from langchain_promptopt.types import Outcomes
from tests.support.pipeline_task import GOOD, rows, write_task
from tests.support.tasks import chain, optimizer
from tests.support.tasks import rows as words


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "promptopt.toml").write_text(toml_text(write_task(tmp_path)))
    (tmp_path / "new.txt").write_text(GOOD)
    return tmp_path


def said(capfd, *args: str) -> tuple[int, dict]:
    """Exit code and the one object on stdout."""
    code = run([*args, "--json"])
    return code, json.loads(capfd.readouterr().out)


def test_every_answer_has_the_same_keys(project, capfd):
    answers = {}
    for verb in (("optimize",), ("show",), ("resume", "latest"), ("compare", "prompt.txt", "new.txt")):
        code, answers[verb[0]] = said(capfd, *verb)
        assert code == answers[verb[0]]["exit_code"] == 0, verb
        assert answers[verb[0]]["outcome"] in get_args(Outcomes)
    code, answers["failure"] = said(capfd, "optimize", "--freeze", "## Nothing of the kind")
    assert (code, answers["failure"]["outcome"]) == (2, "failed")
    code, answers["usage"] = said(capfd, "show", "no-such-run")
    assert code == 2
    first = list(answers["optimize"])
    assert {verb: list(answer) for verb, answer in answers.items()} == dict.fromkeys(answers, first)
    kinds = {name: {type(answer[name]) for answer in answers.values()} - {type(None)} for name in first}
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_a_record_answers_as_its_run_did(project, capfd):
    _, answer = said(capfd, "optimize")
    _, shown = said(capfd, "show")
    for name in ("outcome", "exit_code", "run_id", "prompts", "test", "edits", "health", "stopped", "error"):
        assert shown[name] == answer[name], name
    edits = [list(edit) for edit in answer["edits"]]
    assert edits == [["prompt", "message", "start", "end", "old", "new", "reason", "example_ids", "lineage"]]
    assert answer["edits"][0]["lineage"]
    assert set(answer["test"][0]) == set(Metric.__annotations__)
    _, compared = said(capfd, "compare", "prompt.txt", "new.txt")
    assert [list(edit) for edit in compared["edits"]] == edits
    assert set(compared["test"][0]) == set(Metric.__annotations__)


def test_a_failed_run_is_recorded_as_failed(project, capfd):
    wrong = [row | {"outputs": {"label": "no such label"}} for row in rows()]
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    code, answer = said(capfd, "optimize")
    assert (code, answer["outcome"]) == (2, "failed")
    last = list(read_events(project / ".promptopt" / "runs" / answer["run_id"] / "journal.jsonl"))[-1]
    assert (last["type"], last["data"]["outcome"]) == ("run.finished", "failed")
    assert last["data"]["error"] == answer["error"]
    _, shown = said(capfd, "show")
    assert (shown["outcome"], shown["exit_code"], shown["error"]) == ("failed", 2, answer["error"])
    assert run(["show"]) == 0
    out = capfd.readouterr().out
    assert "scores 0 on all 8 dev examples" in " ".join(out.split())
    assert "promptopt resume" not in out
    assert run(["runs"]) == 0
    assert "failed" in capfd.readouterr().out
    code, resumed = said(capfd, "resume")
    assert code == 2
    assert "there is no unfinished run" in resumed["error"]["message"]
    again = said(capfd, "optimize")[1]
    assert again["error"]["kind"] == answer["error"]["kind"]  # it is tried anew: what failed may be mended


def test_a_failed_run_of_python_is_recorded_too(tmp_path):
    given = {"evaluators": ["exact_match"], "optimizer_model": optimizer(), "openings": None}
    with pytest.raises(DataError) as raised:
        optimize(chain(lambda _: "nonsense"), data=words(), runs_dir=tmp_path, **given)
    (journal,) = tmp_path.glob("*/journal.jsonl")
    last = list(read_events(journal))[-1]["data"]
    assert (last["outcome"], last["exit_code"]) == ("failed", 2)
    assert last["error"]["message"] == str(raised.value)
    assert last["usage"]["calls"] == raised.value.facts["usage"]["calls"] == 16


def test_the_answer_and_the_reports_say_where_the_winner_went(tmp_path):
    given = {"evaluators": ["exact_match"], "optimizer_model": optimizer(), "openings": None}
    result = optimize(chain(), data=words(), runs_dir=tmp_path, method="lpo-pe2", **given)
    assert result.as_json()["written"] == []
    result.save(tmp_path / "prompts")
    (file,) = result.as_json()["written"]
    assert file.startswith(str(tmp_path / "prompts"))
    record = replace(RunRecord.from_events(list(result.events())), written=result.written)
    for fmt in ("markdown", "html"):
        text = html.unescape(render(record, fmt)).replace("\\", "")
        assert f"written to {file}" in text, fmt


class Probed:
    """What a stop while the endpoints are asked looks at."""

    def __init__(self, version):
        self.journal = MemoryStore()
        self.journal.version = version


@pytest.mark.parametrize(("version", "said"), [("", "Nothing was paid for; run it again."), ("1", "promptopt resume")])
def test_a_stop_before_a_run_began_names_nothing_to_resume(version, said):
    async def stopped():
        msg = "stopped"
        raise Interrupted(msg, signal=2, mend="promptopt resume ab")

    with pytest.raises(Interrupted, match=said):
        asyncio.run(_asked_first(stopped(), Probed(version)))
