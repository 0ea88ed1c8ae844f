"""Results and progress in a notebook and in Python: what is shown, and what may be taken from a result."""

from __future__ import annotations

import asyncio
import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from langchain_promptopt import PromptOptimizer, optimize
from langchain_promptopt.errors import UsageError
from langchain_promptopt.types import PromptSet
from tests.support.tasks import chain, optimizer, rows

SETTINGS = {
    "data": rows(),
    "evaluators": ["exact_match"],
    "optimizer_model": optimizer(),
    "method": "lpo-pe2",
    "runs_dir": None,
    "openings": None,
}


@pytest.fixture(scope="module")
def result():
    return optimize(chain(), **SETTINGS)


def test_a_result_is_one_line_in_a_prompt_and_a_table_in_a_notebook(result):
    assert repr(result) == (
        f"<Result improved: exact_match 50.0 -> 100.0 (+50.0) on 40 examples; 1 edit; run {result.run_id}>"
    )
    shown = result._repr_html_()
    assert "Improved" in shown
    assert ">PLANT</del>" in shown
    assert ">animal</ins>" in shown
    assert "the rows expect animal" in shown
    assert "<script" not in shown


def test_a_result_that_was_on_record_says_so(tmp_path):
    settings = {**SETTINGS, "runs_dir": tmp_path}
    first, again = optimize(chain(), **settings), optimize(chain(), **settings)
    assert (first.replayed, again.replayed) == (False, True)
    assert "nothing was called" not in first._repr_html_()
    assert "nothing was called" in again._repr_html_()


def test_text_of_a_run_cannot_become_markup_in_a_notebook():
    evil = "<img src=x onerror=alert(1)>"

    def improving(messages):
        from tests.support.tasks import improve

        return improve(messages).replace("the rows expect animal", evil)

    shown = optimize(chain(), **{**SETTINGS, "optimizer_model": optimizer(improving)})._repr_html_()
    assert evil not in shown
    assert "&lt;img src=x" in shown


def test_the_best_prompt_is_a_langchain_template(result):
    assert "Call every animal a animal" in result.prompt.invoke({"word": "dog-1"}).to_messages()[0].content
    assert list(result.prompts) == [result.best.prompts[0].name]
    (own,) = result.best
    several = PromptSet((own, replace(own, name="other")))
    two = pickle.loads(pickle.dumps(result))
    two.best = several
    with pytest.raises(UsageError, match="several prompts"):
        _ = two.prompt


def test_rows_hold_both_answers(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = result.rows
    assert len(found) == 56
    won = next(row for row in found if row["example_id"] == "test-1")
    assert (won["split"], won["status"], won["score_before"], won["score_after"]) == ("test", "better", 0.0, 1.0)
    assert (won["output_before"], won["output_after"]) == ("PLANT", "animal")
    assert won["inputs.word"] == "cat-test-1"
    assert won["expected.answer"] == "animal"


def test_rows_are_a_data_frame_where_pandas_is(result):
    pandas = pytest.importorskip("pandas")
    frame = result.rows
    assert isinstance(frame, pandas.DataFrame)
    assert (frame[frame.split == "test"].status == "better").sum() == 20


def test_a_pickled_result_keeps_everything_but_the_chain(result):
    again = pickle.loads(pickle.dumps(result))
    assert again.as_json() == result.as_json()
    assert again._repr_html_() == result._repr_html_()
    live = chain()
    again.apply(live, force=True)  # without a record of openings no gate passes
    assert "a animal" in str(live.steps[0])
    again.revert(live)
    assert "a PLANT" in str(live.steps[0])
    with pytest.raises(UsageError, match="not attached"):
        again.select([1])


def test_progress_is_shown_where_a_person_looks(capsys, monkeypatch):
    optimize(chain(), **SETTINGS)
    assert capsys.readouterr().err == ""
    optimize(chain(), **SETTINGS, progress=True)
    said = capsys.readouterr().err
    assert "baseline 50.0 on 16 search examples" in said
    assert "test decided: improved" in said
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    optimize(chain(), **SETTINGS)
    assert "baseline 50.0" in capsys.readouterr().err
    optimize(chain(), **SETTINGS, progress=False)
    assert capsys.readouterr().err == ""


def test_a_wrong_progress_is_refused():
    with pytest.raises(UsageError, match="progress cannot be 'bar'"):
        optimize(chain(), **SETTINGS, progress="bar")


def test_a_notebook_gets_one_line_that_is_replaced(monkeypatch, capsys):
    """IPython's own interface: `get_ipython().kernel`, and `display(..., display_id=True)` with its handle."""
    shown: list[dict[str, str]] = []

    def display(data, **options):
        assert options == {"raw": True, "display_id": True}
        shown.append(data)
        return SimpleNamespace(update=lambda data, raw: shown.append(data))

    module = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    optimize(chain(), **SETTINGS)
    assert shown[0]["text/plain"] == "starting"
    assert len(shown) > 1
    assert "calls" in shown[-1]["text/plain"]
    assert "<progress" in shown[-1]["text/html"]
    assert capsys.readouterr().err == ""


def test_astream_events_carries_the_progress():
    async def streamed():
        return [event async for event in PromptOptimizer(**SETTINGS).astream_events(chain(), version="v2")]

    heard = asyncio.run(streamed())
    root = next(event for event in heard if event["event"] == "on_chain_start")
    events = [event for event in heard if event["event"] == "on_custom_event"]
    assert {event["run_id"] for event in events} == {root["run_id"]}
    assert {event["name"] for event in events} == {"promptopt_progress"}
    said = [event["data"] for event in events]
    assert said[0]["line"].startswith("run ")
    assert said[-1]["line"] == "test decided: improved"
    assert said[-1]["share"] == 1.0
    shares = [data["share"] for data in said]
    assert shares == sorted(shares)
    assert said[-1].keys() == {"phase", "step", "share", "calls", "usd", "baseline", "best", "line"}
