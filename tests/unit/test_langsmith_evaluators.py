"""Evaluators kept in LangSmith: judges are read and run here, code is refused, and both are said clearly."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.structured import StructuredPrompt
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import Gate, optimize
from langchain_promptopt._langsmith.hub import PromptHub, stored
from langchain_promptopt._langsmith.service import Service, make_client
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Example
from tests.support.langsmith_env import client
from tests.support.tasks import chain, optimizer, rows

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
SCHEMA = {
    "title": "Verdict", "description": "d", "type": "object",
    "properties": {"helpful": {"type": "boolean"}, "comment": {"type": "string"}},
}  # fmt: skip
MAPPING = {"question": "input.word", "answer": "output.output", "wanted": "referenceOutput.answer"}


class Judge(ScriptedModel):
    """Says whether answer and reference are the same, as an object."""

    def with_structured_output(self, schema, **kwargs):
        def answer(messages):
            question, given, wanted = messages.to_messages()[0].content.split("|")
            return {"helpful": given == wanted, "comment": f"about {question}"}

        return RunnableLambda(answer)


def judge():
    return Judge(fn=lambda _: "", model_name="judge")


@pytest.fixture
def helpful(server):
    prompt = StructuredPrompt([("human", "{question}|{answer}|{wanted}")], schema_=SCHEMA)
    client(server.url).push_prompt("helpful-judge", object=prompt)
    row = {"prompt_repo_handle": "helpful-judge", "commit_hash_or_tag": "latest", "variable_mapping": MAPPING}
    server.evaluators.add("helpful", type="llm", llm_evaluator=row, feedback_keys=["helpful"])
    server.evaluators.add("helpful too", type="code", code_evaluator={"code": "def perform_eval(run): return {}"})


def hub():
    return PromptHub(Service(make_client(), sleep=lambda _: None))


def test_a_judge_of_the_workspace_scores_a_run(server, helpful):
    result = optimize(
        chain(), data=rows(6, 6, 20), evaluators=["langsmith:helpful"], method="lpo-pe2", runs_dir=None, openings=None,
        optimizer_model=optimizer(), gate=Gate(primary="helpful"), langsmith={"judge_model": judge()},
    )  # fmt: skip
    assert result.outcome == "improved"
    scored = next(e["data"] for e in result.events() if e["type"] == "scored")
    assert scored["scores"].keys() == {"helpful"}
    assert scored["comments"]["helpful"].startswith("about ")


def test_the_judge_of_another_commit_is_another_evaluator(server, helpful):
    def made():
        return stored("helpful", hub(), lambda kept: (str(kept), judge()))

    one = made()
    prompt = StructuredPrompt([("human", "Anew. {question}|{answer}|{wanted}")], schema_=SCHEMA)
    client(server.url).push_prompt("helpful-judge", object=prompt)
    two = made()
    hashes = {resolve_evaluators([e])[0].hash for e in (one, two, made())}
    assert len(hashes) == 2


def test_a_row_without_what_the_judge_needs_is_no_zero(server, helpful):
    (evaluator,) = resolve_evaluators([stored("helpful", hub(), lambda _: ("m", judge()))])
    with pytest.raises(EvaluatorError, match=r"fills `question` from 'input.word'"):
        asyncio.run(evaluator.score(Example("1", {"other": "x"}, {"answer": "y"}), "z"))


def test_the_stored_model_is_told(server, helpful):
    manifest = client(server.url).pull_prompt_commit("helpful-judge").manifest
    model = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain_openai", "chat_models", "base", "ChatOpenAI"],
        "kwargs": {"model": "gpt-x"},
    }
    whole = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "runnable", "RunnableSequence"],
        "kwargs": {"first": manifest, "last": model},
    }
    client(server.url).request_with_retries(
        "POST", "/commits/-/helpful-judge",
        json={"manifest": whole, "parent_commit": server.prompts.all["helpful-judge"].head["commit_hash"]},
    )  # fmt: skip
    asked = []
    stored("helpful", hub(), lambda kept: (asked.append(kept) or "m", judge()))
    assert asked == ["openai:gpt-x"]


def test_code_is_not_run_here(server, helpful):
    with pytest.raises(EvaluatorError, match="runs in LangSmith only"):
        stored("helpful too", hub(), lambda _: ("m", judge()))


def test_an_unknown_name_is_said_with_those_there_are(server, helpful):
    for wrong in ("help", "helpfull"):
        with pytest.raises(EvaluatorError, match=f"no evaluator '{wrong}'; it has helpful, helpful too"):
            stored(wrong, hub(), lambda _: ("m", judge()))


def test_no_model_anywhere_is_said(server, helpful):
    with pytest.raises(EvaluatorError, match="judge_model"):
        optimize(chain(), data=rows(6, 6, 20), evaluators=["langsmith:helpful"], optimizer_model=optimizer())


def test_a_prompt_without_a_schema_is_no_judge(server):
    client(server.url).push_prompt("plain", object=ChatPromptTemplate([("human", "{output}")]))
    server.evaluators.add("plain", type="llm", llm_evaluator={"prompt_repo_handle": "plain"})
    with pytest.raises(EvaluatorError, match="no output schema"):
        stored("plain", hub(), lambda _: ("m", judge()))


def test_feedback_written_as_an_object_is_read_like_any_other():
    """What LangSmith's own classes look like, sync and async, one result or several."""

    async def several(outputs):
        return SimpleNamespace(results=[SimpleNamespace(key="a", score=1, value=None, comment="x", metadata=None)])

    (evaluator,) = resolve_evaluators([several])
    assert evaluator.is_async
