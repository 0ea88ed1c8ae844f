"""Resuming over real HTTP: after SIGKILL, a power cut, a full disk, a signal; calls counted at the server."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from langchain_promptopt import Budget, optimize
from langchain_promptopt.errors import UnavailableError
from tests.support.killing import DieAt, cut_at, facts, full_disk_at, in_child, killed_at, resumed, run_in, whole
from tests.support.online import judged_by, server
from tests.support.tasks import answer, chain, improve, optimizer, rows


@pytest.fixture(scope="module")
def up():
    with server() as running:
        yield running


@pytest.fixture(scope="module")
def plain(up, tmp_path_factory):
    return whole(tmp_path_factory.mktemp("whole"), up)


@pytest.mark.parametrize("place", range(6))
def test_killed_anywhere_and_resumed_is_the_run_that_was_not(place, up, plain, tmp_path):
    n = random.Random(place).randint(1, len(plain.lines) - 1)
    found = killed_at(n, tmp_path, up, plain)
    assert found.sound(plain), (n, found)


def test_killed_again_and_again(up, plain, tmp_path):
    before = up.count
    for n in (30, 31, 55, 3):
        in_child(lambda n=n: run_in(tmp_path, up, observers=[DieAt(n)]))
    found = resumed(tmp_path, up, plain, up.count - before)
    assert found.same
    assert found.asked_after == plain.requests - found.journaled


@pytest.mark.parametrize("place", range(4))
def test_a_power_cut_at_any_byte(place, up, plain, tmp_path):
    size = random.Random(f"cut-{place}").randint(1, sum(map(len, plain.lines)) - 1)
    assert cut_at(size, tmp_path, up, plain).sound(plain)


def test_a_full_disk_ends_the_run_in_order(up, plain, tmp_path):
    found = full_disk_at(sum(map(len, plain.lines)) // 2, tmp_path, up, plain)
    assert found.sound(plain), found


def test_a_judges_calls_are_resumed_too_and_counted_by_role(up, tmp_path):
    def judge(seconds):  # langchain-openai shares connections between models that look alike, which forks must not
        return {"evaluators": [judged_by(up.base_url, timeout=seconds)]}

    plain = whole(tmp_path / "whole", up, **judge(11))
    before = up.count
    assert in_child(lambda: run_in(tmp_path / "killed", up, observers=[DieAt(90)], **judge(12))) < 0
    found = resumed(tmp_path / "killed", up, plain, up.count - before, **judge(13))
    assert found.same
    assert found.whole
    assert plain.facts["judge"] == plain.facts["task"]


def kept(plain, folder, change):
    """A folder with the record of the whole run, changed."""
    run_id = json.loads(plain.lines[0])["data"]["run_id"]
    (folder / run_id).mkdir(mode=0o700)
    (folder / run_id / "journal.jsonl").write_bytes(b"".join(change(list(plain.lines))))
    return folder


def journal_incidents(result):
    told = [e["data"] for e in result.events() if e["type"] == "incident" and e["data"]["role"] == "journal"]
    return [(t["kind"], t["detail"]) for t in told]


def test_a_damaged_line_is_told_and_costs_no_more_than_what_stood_on_it(up, plain, tmp_path):
    def damage(lines):
        at = next(n for n, line in enumerate(lines) if n > 40 and b'"type":"scored"' in line)
        lines[at] = b"[" * 100_000 + b"\n"
        return lines

    before = up.count
    folder = kept(plain, tmp_path, damage)
    result = run_in(folder, up)
    assert facts(result) == plain.facts
    assert up.count - before == 1
    ((kind, detail),) = journal_incidents(result)
    assert (kind, detail.split(":")[0].split()[0]) == ("damaged_line", "line")
    again = run_in(folder, up)
    assert facts(again) == plain.facts
    assert len(journal_incidents(again)) == 1
    assert up.count - before == 1, "what was made good is not asked for again"


def test_a_run_that_another_version_began_goes_on_and_says_so(up, plain, tmp_path):
    def older(lines):
        event = json.loads(lines[0])
        event["data"]["version"] = "0.0.1"
        return [json.dumps(event, ensure_ascii=False).encode() + b"\n", *lines[1:]]

    before = up.count
    result = run_in(kept(plain, tmp_path, older), up)
    assert facts(result) == plain.facts
    assert up.count == before
    ((kind, detail),) = journal_incidents(result)
    assert kind == "other_version"
    assert "0.0.1" in detail
    assert sum(e["type"] == "run.started" for e in result.events()) == 1


def test_a_run_whose_folder_is_deleted_stops_early(up, plain, tmp_path):
    class Deletes:
        def __init__(self):
            self.left = 30

        def on_event(self, event):
            self.left -= 1
            if self.left == 0:
                shutil.rmtree(next(tmp_path.iterdir()))

    before = up.count
    with pytest.raises(UnavailableError, match="deleted or moved") as caught:
        run_in(tmp_path, up, observers=[Deletes()])
    assert caught.value.exit_code == 5
    assert up.count - before < plain.requests / 2


def test_half_a_surrogate_pair_in_an_answer_ends_nothing(tmp_path):
    sent = []

    def brain(messages):
        said = answer(messages)
        return f"{said}\ud800" if "ant" in str(messages[-1].text) else said

    def improved(messages):
        sent.extend(str(m.text) for m in messages)
        return improve(messages)

    result = optimize(
        chain(brain), data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(improved), method="lpo-pe2",
        runs_dir=tmp_path, openings=tmp_path / "o.jsonl", budget=Budget(search_calls=120),
    )  # fmt: skip
    assert any("\ufffd" in text for text in sent), "the optimizer was shown such an answer"
    assert "".join(sent).encode()
    assert result.outcome in {"improved", "inconclusive", "no_gain"}
