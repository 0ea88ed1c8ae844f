"""Resuming over real HTTP: after SIGKILL, a power cut, a full disk, a signal; calls counted at the server."""

from __future__ import annotations

import json
import random

import pytest

from langchain_promptopt.errors import ResumeError
from tests.support.killing import DieAt, cut_at, full_disk_at, in_child, killed_at, resumed, run_in, whole
from tests.support.online import judged_by, server


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


def test_a_line_in_the_middle_that_is_damaged_is_refused(up, plain, tmp_path):
    run_id = json.loads(plain.lines[0])["data"]["run_id"]
    (tmp_path / run_id).mkdir(mode=0o700)
    lines = list(plain.lines)
    lines[40] = lines[40][: len(lines[40]) // 2] + b"\n"
    (tmp_path / run_id / "journal.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(ResumeError, match="line 41"):
        run_in(tmp_path, up)
