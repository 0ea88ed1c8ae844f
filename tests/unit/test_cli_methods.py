"""`promptopt methods`: every preset with its axes, expected calls and source; machine output holds whole recipes."""

from __future__ import annotations

import json
import re

import pytest

from langchain_promptopt.cli.app import run
from langchain_promptopt.presets import DEFAULT, PRESETS, recipe_of
from langchain_promptopt.strategies.registry import load


def answer(capfd, *args):
    assert run(["methods", *args]) == 0
    return capfd.readouterr().out


def test_machine_output_holds_recipes_that_load(capfd):
    found = {m["name"]: m for m in json.loads(answer(capfd, "--json"))}
    assert list(found) == list(PRESETS)
    for name, method in found.items():
        assert load(method["recipe"]) == recipe_of(name)
        assert method["source"]
        assert method["rows"] == {"train": 50, "dev": 100}
        assert method["default"] == (name == DEFAULT)
    assert found["pe2"]["expected"]["high"] == {"task": 3700 + 450, "optimizer": 72, "judge": 0}


def test_rows_change_the_expectation(capfd):
    found = {m["name"]: m for m in json.loads(answer(capfd, "--json", "--train", "10", "--dev", "20"))}
    assert found["pe2"]["expected"]["high"]["task"] == 37 * 20 + 9 * 10


@pytest.mark.parametrize("columns", [None, "40", "200"])
def test_people_see_axes_calls_and_source(capfd, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    out = answer(capfd)
    for name in PRESETS:
        assert name in out
    for text in ("beam 4", "spans 5", "3,750 to 4,150", "2311.05661", "calls to the task model"):  # at any width
        assert text in out


def test_one_method_is_shown_with_every_axis_and_setting(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    out = " ".join(answer(capfd, "lpo-pe2:paper").split())
    for text in ("A1", "A14", "protocol echo", "enforce audit", "w_max 5", "calls to the task model"):
        assert text in out
    found = json.loads(answer(capfd, "robust", "--json"))
    assert [m["name"] for m in found] == ["robust"]


def test_an_unknown_method_is_refused_with_the_nearest_name(capfd):
    assert run(["methods", "robst"]) == 2
    assert "'robust'" in capfd.readouterr().err


@pytest.mark.parametrize("name", PRESETS)
def test_nothing_points_to_documents_that_do_not_ship(capfd, name):
    assert not re.findall(r"\((?:spec|product)\b[^)]*\)", answer(capfd, name))
