"""Rows of a recorded run, read again for showing: exactly those of the run, or none and why."""

from __future__ import annotations

import json

import pytest

from langchain_promptopt._data import load_data
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.events import event_of
from langchain_promptopt.offline import demo_rows
from langchain_promptopt.pipeline.recorded import recalled, redact_of

ROWS = [{"text": f"ticket {i}", "kind": "ab"[i % 2], "nr": f"n{i}"} for i in range(12)]
DATA = {"source": "rows.jsonl", "inputs": {"ticket": "text"}, "outputs": ["kind"], "id": "nr"}


def rows_of(root, started):
    return recalled(config_from_dict({}, root=root), event_of({"type": "run.started", "data": started}))


@pytest.fixture
def started(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config = config_from_dict({"data": DATA}, root=tmp_path)
    from langchain_promptopt.pipeline.prepare import data_of, settings_from

    found = data_of(settings_from(config))
    return {
        "data": {"source": str(tmp_path / "rows.jsonl"), "as_of": found.as_of},
        "config": config.model_dump(mode="json"),
    }


def test_the_rows_come_back_from_where_the_run_had_them(started, tmp_path):
    found, why = rows_of(tmp_path, started)
    assert why == ""
    assert found["n3"] == {"inputs": {"ticket": "ticket 3"}, "expected": {"kind": "b"}}
    assert len(found) == len(ROWS)


def test_other_rows_are_never_shown_in_their_place(started, tmp_path):
    changed = [{**row, "text": row["text"].upper()} for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    found, why = rows_of(tmp_path, started)
    assert found is None
    assert "not those of the run any more" in why
    assert "--data" in why


@pytest.mark.parametrize("spoilt", [None, "not json"])
def test_rows_that_cannot_be_read_are_no_failure(started, tmp_path, spoilt):
    file = tmp_path / "rows.jsonl"
    file.unlink() if spoilt is None else file.write_text(spoilt)
    found, why = rows_of(tmp_path, started)
    assert found is None
    assert "--data" in why


def test_no_service_is_asked(tmp_path):
    """conftest's guard would stop a connection; a LangSmith name is not even tried."""
    started = {"data": {"source": "support-triage", "as_of": "2026"}, "config": {"data": {"source": "support-triage"}}}
    found, why = rows_of(tmp_path, started)
    assert (found, "support-triage" in why) == (None, True)


def test_the_demos_rows_are_known(tmp_path):
    version = load_data(demo_rows()).as_of
    found, why = rows_of(tmp_path, {"data": {"source": "rows in memory", "as_of": version}, "config": {}})
    assert why == ""
    assert len(found) == len(demo_rows())
    other = {"data": {"source": "rows in memory", "as_of": "sha256:00"}}
    assert rows_of(tmp_path, other)[0] is None


HIDES = "def initials(text):\n    return text.replace('ticket', 't.')\n"


def test_rows_of_a_run_with_redact_pass_the_function_that_its_settings_name(started, tmp_path):
    (tmp_path / "hides.py").write_text(HIDES)
    started["decides"] = {"redact": "0"}
    started["config"]["optimize"]["redact"] = "hides.py:initials"
    found, why = rows_of(tmp_path, started)
    assert why == ""
    assert found["n3"] == {"inputs": {"ticket": "t. 3"}, "expected": {"kind": "b"}}


def test_rows_that_a_function_of_a_program_had_hidden_are_not_shown(started, tmp_path):
    started["decides"] = {"redact": "0"}
    found, why = rows_of(tmp_path, started)
    assert found is None
    assert "hidden by a function of a program" in why


@pytest.mark.parametrize("name", ["initials", "hides.py:missing", "hides.py:NUMBER"])
def test_a_name_of_no_function_is_an_error(tmp_path, name):
    (tmp_path / "hides.py").write_text(f"NUMBER = 3\n{HIDES}")
    config = config_from_dict({"optimize": {"redact": name}}, root=tmp_path)
    with pytest.raises(ConfigError, match=r"optimize\.redact"):
        redact_of(config)
