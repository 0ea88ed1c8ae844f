"""The evaluation cache: shared, honest about what it is keyed by, and never the reason a run ends."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt._runtime.cache import CacheKey, EvaluationCache

BASE = CacheKey(
    rendered=[["system", "Be brief."]],
    inputs={"q": "1+1?"},
    model="openai:m",
    endpoint="http://127.0.0.1:1/v1",
    parameters={"temperature": 0},
    evaluators={"exact_match": "abc"},
)


def test_values_survive_the_process_that_wrote_them(tmp_path):
    path = tmp_path / "cache" / "evaluations.db"
    value = {"scores": {"exact_match": 1.0}, "output": "2", "text": "日本 😀"}
    with EvaluationCache(path) as cache:
        assert cache.get("k") is None
        cache.put("k", value)
        assert cache.get("k") == value
        assert (cache.hits, cache.misses) == (1, 1)
    with EvaluationCache(path) as cache:
        assert cache.get("k") == value
        assert cache.incidents == []


def test_private_to_the_user(tmp_path):
    path = tmp_path / "cache" / "evaluations.db"
    with EvaluationCache(path) as cache:
        cache.put("k", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_later_value_replaces_an_earlier(tmp_path):
    with EvaluationCache(tmp_path / "c.db") as cache:
        for i in range(2000):
            cache.put("k", i)
            cache.put(f"k{i}", i)
    with EvaluationCache(tmp_path / "c.db") as cache:
        assert cache.get("k") == 1999
        assert [cache.get(f"k{i}") for i in range(2000)] == list(range(2000))


@pytest.mark.parametrize(
    "change",
    [
        {"rendered": [["system", "Be brief!"]]},
        {"inputs": {"q": "1+2?"}},
        {"model": "openai:n"},
        {"endpoint": "http://127.0.0.1:2/v1"},
        {"parameters": {"temperature": 1}},
        {"evaluators": {"exact_match": "abd"}},
        {"repeat": 1},
        {"more": {"expected": "2"}},
    ],
)
def test_nothing_that_matters_is_crossed(change):
    assert replace(BASE, **change).key != BASE.key
    assert replace(BASE).key == BASE.key


@given(st.dictionaries(st.text(), st.text() | st.integers(), max_size=4), st.integers(0, 3))
def test_keys_do_not_depend_on_order(inputs, repeat):
    backwards = dict(reversed(inputs.items()))
    assert replace(BASE, inputs=inputs, repeat=repeat).key == replace(BASE, inputs=backwards, repeat=repeat).key


def _hammer(path, worker, n):
    with EvaluationCache(path) as cache:
        for i in range(n):
            cache.put(f"{worker}-{i}", {"worker": worker, "i": i})
            cache.get(f"{(worker + 1) % 4}-{i}")
        if cache.incidents:
            raise SystemExit(str(cache.incidents))


def test_several_processes_at_once(tmp_path):
    path, n = tmp_path / "c.db", 300
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_hammer, args=(path, w, n)) for w in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [w.exitcode for w in workers] == [0] * 4
    with EvaluationCache(path) as cache:
        assert all(cache.get(f"{w}-{i}") == {"worker": w, "i": i} for w in range(4) for i in range(n))


@pytest.mark.parametrize("garbage", [b"this is no database" * 300, b"SQLite format 3\0" + Random(7).randbytes(8000)])
def test_a_broken_file_is_set_aside_and_reported(tmp_path, garbage):
    path, told = tmp_path / "c.db", []
    path.write_bytes(garbage)
    with EvaluationCache(path, on_incident=told.append) as cache:
        assert cache.get("k") is None
        cache.put("k", 1)
    assert [(i.role, i.kind) for i in told] == [("cache", "cache_broken")]
    aside = [p for p in tmp_path.iterdir() if ".broken-" in p.name]
    assert [p.read_bytes() for p in aside] == [garbage]
    with EvaluationCache(path) as cache:
        assert cache.get("k") == 1
        assert cache.incidents == []


def test_a_file_that_breaks_under_way_is_set_aside(tmp_path):
    path = tmp_path / "c.db"
    with EvaluationCache(path) as cache:
        for i in range(500):
            cache.put(f"k{i}", "x" * 200)
    with EvaluationCache(path) as cache:
        assert cache.get("k1") is not None
        with path.open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xff" * (path.stat().st_size - 4096))
        sqlite3.connect(path).close()
        cache._let_go()
        assert all(cache.get(f"k{i}") in (None, "x" * 200) for i in range(500))
        assert cache.incidents
        cache.put("new", 1)
    with EvaluationCache(path) as cache:
        assert cache.get("new") == 1


def test_a_value_that_is_no_json_is_a_miss(tmp_path):
    path = tmp_path / "c.db"
    with EvaluationCache(path):
        pass
    db = sqlite3.connect(path)
    db.execute("insert into evaluations values ('k', 'half a val')")
    db.commit()
    db.close()
    with EvaluationCache(path) as cache:
        assert cache.get("k") is None


def test_a_place_that_cannot_hold_it_turns_it_off(tmp_path):
    (tmp_path / "c.db").mkdir()
    with EvaluationCache(tmp_path / "c.db") as cache:
        cache.put("k", 1)
        assert cache.get("k") is None
        assert [i.kind for i in cache.incidents] == ["cache_unusable"]


def test_another_process_holding_the_file_delays_but_loses_nothing(tmp_path):
    path = tmp_path / "c.db"
    with EvaluationCache(path) as cache:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        cache.put("k", 1)
        assert cache.get("k") == 1
        other.execute("commit")
        other.close()
    with EvaluationCache(path) as cache:
        assert cache.get("k") == 1


def test_closing_twice_is_fine_and_late_puts_are_ignored(tmp_path):
    cache = EvaluationCache(tmp_path / "c.db")
    cache.close()
    cache.close()
    cache.put("k", 1)
    assert cache.get("k") is None


def test_only_plain_values(tmp_path):
    with EvaluationCache(tmp_path / "c.db") as cache, pytest.raises(TypeError):
        cache.put("k", object())
