"""`redact=`: what it hides is in no record, report, cache, trace or optimizer call; chain and evaluators see it."""

from __future__ import annotations

import io
import json
import re

import pytest
from langchain_core.messages import AIMessage
from rich.console import Console

from langchain_promptopt import Budget, compare, optimize
from langchain_promptopt.errors import ConfigError, EvaluatorError
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.optimizer.session import Session
from langchain_promptopt.presets import lpo_pe2
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.terminal import run_view
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Outcome, Usage
from tests.support.langsmith_env import point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.tasks import answer, chain, improve, rows

SECRET = "jane.doe@example.org"
_MAIL = re.compile(r"[\w.]+@[\w.]+")


def hide(text: str) -> str:
    return _MAIL.sub("[mail]", text)


def planted(**sizes):
    """Rows with an address in the input, the reference, the metadata and a nested key."""
    found = rows(**sizes)
    for row in found:
        row["inputs"] = {"word": f"{row['inputs']['word']} from {SECRET}"}
        row["outputs"] = {"answer": f"{row['outputs']['answer']} for {SECRET}", "by": {SECRET: [SECRET]}}
        row["metadata"]["agent"] = SECRET
    return found


class Seen:
    """A chain, an evaluator and an optimizer model that note what they were given."""

    def __init__(self):
        self.task, self.judged, self.optimizer = [], [], []

    def chain(self):
        def said(messages):
            self.task.append(str(messages[-1].text))
            return f"{answer(messages)} for {SECRET}"

        return chain(said)

    def right(self, outputs, reference_outputs):
        self.judged.append((outputs, reference_outputs))
        same = outputs["output"].split()[0:1] == reference_outputs["answer"].split()[0:1]
        return {"key": "right", "score": float(same), "comment": f"asked by {SECRET}"}

    def model(self):
        def said(messages):
            self.optimizer.append("\n".join(str(m.text) for m in messages))
            return improve(messages)

        return ScriptedModel(fn=said, model_name="optimizer")


def run(seen, folder, **more):
    settings = {
        "data": planted(),
        "evaluators": [seen.right],
        "optimizer_model": seen.model(),
        "method": lpo_pe2(),
        "runs_dir": folder / "runs",
        "openings": folder / "openings.jsonl",
        "redact": hide,
    }
    return optimize(seen.chain(), **{**settings, **more})


def files(folder):
    """Everything on disk as bytes, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def holding(folder):
    return [name for name, content in files(folder).items() if b"jane.doe" in content]


def test_a_planted_address_is_found_nowhere_but_in_chain_and_evaluators(tmp_path):
    seen = Seen()
    result = run(seen, tmp_path, cache=tmp_path / "cache", trace_file=tmp_path / "traces.jsonl")
    assert result.outcome == "improved"
    for name in ("report.html", "report.md", "report.xml"):
        result.report(tmp_path / name, show_rows=True)
    assert holding(tmp_path) == []
    assert "[mail]" in (tmp_path / "report.html").read_text()
    assert seen.optimizer
    assert not [text for text in seen.optimizer if "jane.doe" in text]
    assert any("[mail]" in text for text in seen.optimizer)
    assert all(SECRET in text for text in seen.task)
    assert all(SECRET in said["output"] and SECRET in str(reference) for said, reference in seen.judged)


def test_traces_hold_the_hidden_form_in_inputs_outputs_comments_and_metadata(tmp_path):
    seen = Seen()
    config = {"metadata": {"customer": SECRET}}
    run(seen, tmp_path, trace_file=tmp_path / "traces.jsonl", config=config)
    text = (tmp_path / "traces.jsonl").read_text()
    assert "jane.doe" not in text
    spans = [json.loads(line) for line in text.splitlines()]
    assert any(s["metadata"].get("customer") == "[mail]" and s["metadata"]["promptopt_run_id"] for s in spans)
    assert {"promptopt.evaluate", "right"} <= {s["name"] for s in spans if "[mail]" in json.dumps(s)}


def test_rows_in_the_terminal_pass_it(tmp_path):
    result = run(Seen(), tmp_path)
    record = RunRecord.from_events(list(result.events()), {e.id: {"inputs": e.inputs} for e in result.data["test"]})
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(run_view(record))
    assert "jane.doe" not in console.export_text()


def test_an_error_that_quotes_a_row_passes_it(tmp_path):
    def broken(outputs):
        msg = f"cannot read {outputs}"
        raise ValueError(msg)

    with pytest.raises(EvaluatorError) as caught:
        run(Seen(), tmp_path, evaluators=[broken])
    assert "[mail]" in str(caught.value)
    assert "jane.doe" not in str(caught.value)
    assert holding(tmp_path) == []


def test_an_error_that_quotes_what_an_evaluator_said_passes_it(tmp_path):
    def words(outputs):
        return {"key": "words", "value": outputs["output"]}

    with pytest.raises(EvaluatorError) as caught:
        run(Seen(), tmp_path, evaluators=[words])
    assert "[mail]" in str(caught.value)
    assert "jane.doe" not in str(caught.value)
    assert holding(tmp_path) == []


class Elsewhere:
    """An executor of the user, whose answers quote the rows."""

    async def evaluate(self, jobs, done):
        for job in jobs:
            kind = answer([AIMessage(f"{job.candidate.prompts.document.text} Word: {job.example.inputs['word']}")])
            right = float(job.example.outputs["answer"].startswith(kind))
            await done(Outcome(job.cell, {"right": right}, f"{kind} {SECRET}", {"right": SECRET}, usage=Usage(calls=1)))


def test_outcomes_of_another_executor_pass_it(tmp_path):
    seen = Seen()
    result = run(seen, tmp_path, executor=Elsewhere())
    assert result.outcome == "improved"
    assert seen.optimizer
    assert not [text for text in seen.optimizer if "jane.doe" in text]
    assert holding(tmp_path) == []


def test_runs_that_are_sent_to_langsmith_pass_it(tmp_path, monkeypatch):
    with LangSmithServer() as server:
        point_at(monkeypatch, server.url, TRACING="true", PROJECT="p")
        run(Seen(), tmp_path, data=planted(train=8, dev=8, test=12), config={"metadata": {"customer": SECRET}})
        found = [run for tree in server.traces("p") for run in tree.walk()]
    told = [f"{run.inputs} {run.outputs} {run.metadata}" for run in found]
    assert any("[mail]" in text for text in told)
    assert not [text for text in told if "jane.doe" in text]
    assert any("promptopt_run_id" in text for text in told)


def test_a_run_goes_on_and_is_recognised_by_the_real_rows(tmp_path):
    whole, parts = Seen(), Seen()
    run(whole, tmp_path / "whole")
    first = run(parts, tmp_path / "parts", budget=Budget(search_calls=40))
    assert first.outcome == "budget"
    second = run(parts, tmp_path / "parts")
    assert second.run_id == first.run_id
    assert (len(parts.task), len(parts.optimizer)) == (len(whole.task), len(whole.optimizer))
    assert run(parts, tmp_path / "parts").replayed


def test_rows_that_differ_only_in_what_is_hidden_are_different_rows(tmp_path):
    data = planted()
    other = json.loads(json.dumps(data).replace("jane.doe", "john.roe"))
    found = {run(Seen(), tmp_path, data=given, apply="never").run_id for given in (data, other)}
    assert len(found) == 2


def test_the_function_is_part_of_the_run_id(tmp_path):
    def shorter(text):
        return _MAIL.sub("", text)

    found = {run(Seen(), tmp_path, redact=hook, apply="never").run_id for hook in (hide, shorter, None)}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (lambda text: text[9999], "redact= raised IndexError"),
        (lambda text: None, "redact= gave NoneType in place of a text"),
        (lambda text: text.encode(), "redact= gave bytes in place of a text"),
        ("mail", "redact cannot be 'mail'"),
    ],
)
def test_a_function_that_gives_no_text_is_an_error_before_any_call(tmp_path, hook, said):
    seen = Seen()
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        run(seen, tmp_path, redact=hook)
    assert "jane.doe" not in str(caught.value)
    assert seen.task == seen.optimizer == []


def test_a_coroutine_function_is_an_error(tmp_path):
    async def later(text):
        return text

    with pytest.raises(ConfigError, match="gave coroutine in place of a text"):
        run(Seen(), tmp_path, redact=later)


def test_a_function_that_gives_another_text_each_time_is_an_error(tmp_path):
    count = iter(range(10_000))
    with pytest.raises(ConfigError, match="another text each time"):
        run(Seen(), tmp_path, redact=lambda text: f"{text}{next(count)}")


def test_a_function_that_fails_later_names_the_row_and_keeps_nothing(tmp_path):
    def fussy(text):
        if text.startswith("asked by"):
            msg = text
            raise ValueError(msg)
        return hide(text)

    with pytest.raises(ConfigError, match="redact= raised ValueError") as caught:
        run(Seen(), tmp_path, redact=fussy)
    assert "example '" in str(caught.value)
    assert holding(tmp_path) == []


def test_ids_stay_and_those_that_it_would_change_are_named(tmp_path):
    data = [{"mail": f"u{i}@x.org", "word": r["inputs"]["word"], **r["outputs"]} for i, r in enumerate(rows())]
    found = run(Seen(), tmp_path, data=data, inputs={"word": "word"}, outputs="answer", id="mail")
    assert any("redact= would change" in w for w in found.warnings)


def test_values_of_every_kind_pass_it(tmp_path):
    from langchain_core.messages import HumanMessage

    from langchain_promptopt._runtime.redact import RowRedaction

    hidden = RowRedaction(lambda text: hide(text).replace("4917", "****"))
    given = {
        "chat": [HumanMessage(f"I am {SECRET}")],
        "deep": ({"a": {SECRET: 1}},),
        "number": 491712345,
        "truth": True,
        "nothing": None,
        "share": 0.5,
    }
    kept = hidden.value(given)
    assert "jane.doe" not in repr(kept)
    assert kept["number"] == "****12345"
    assert (kept["truth"], kept["nothing"], kept["share"]) == (True, None, 0.5)
    assert kept["deep"] == [{"a": {"[mail]": 1}}]


def test_a_session_and_a_comparison_pass_it(tmp_path):
    seen = Seen()
    settings = settings_of(
        {
            "data": planted(),
            "evaluators": [seen.right],
            "optimizer_model": seen.model(),
            "method": lpo_pe2(),
            "runs_dir": tmp_path / "runs",
            "openings": None,
            "redact": hide,
        }
    )
    with Session(seen.chain(), settings) as session:
        jobs = session.propose()
        assert all(SECRET in str(job.example.inputs) for job in jobs)
        session.tell(session.evaluate(jobs[:3]))
        session.tell([Outcome(job.cell, {"right": 0.5}, f"PLANT {SECRET}") for job in jobs[3:]])
    better = "Call every animal an animal. Call every stone a stone.\nWord: {word}"
    old, new = seen.chain(), seen.chain()
    new.first.messages[0].prompt.template = better
    compare(old, new, data=planted(), evaluators=[seen.right], redact=hide, runs_dir=tmp_path / "two", openings=None)
    assert len(files(tmp_path)) > 1
    assert holding(tmp_path) == []
