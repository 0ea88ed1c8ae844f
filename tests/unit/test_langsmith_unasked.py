"""What LangSmith is sent when nothing more was asked for, and a hub prompt with a schema from pull to push."""

from __future__ import annotations

import pytest
from langchain_core.prompts.structured import StructuredPrompt
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import optimize
from langchain_promptopt._langsmith.hub import pull_template
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.langsmith_env import client, dataset, point_at
from tests.support.tasks import PROMPT, answer, chain, optimizer, rows

SCHEMA = {"title": "A", "description": "d", "type": "object", "properties": {"answer": {"type": "string"}}}


class Structured(ScriptedModel):
    """Answers with an object, as hub prompts with a schema want it."""

    def with_structured_output(self, schema, **kwargs):
        return RunnableLambda(lambda value: {"answer": answer(value.to_messages())})


def run(task, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "optimizer_model": optimizer()}
    return optimize(task, **given, **more)


@pytest.mark.parametrize("traced", [False, True])
def test_a_won_run_on_a_langsmith_dataset_writes_nothing_but_traces(server, monkeypatch, tmp_path, traced):
    given = rows(6, 6, 20)
    dataset(
        server.url, "words", {s: [r for r in given if r["metadata"]["split"] == s] for s in ("train", "dev", "test")}
    )
    client(server.url).push_prompt("words", object=chain().first, commit_tags="staging")
    point_at(monkeypatch, server.url, TRACING=str(traced).lower())
    before = len(server.requests)
    result = run(pull_template("acme/words:staging") | chain().middle[0] | chain().last, data="words",
                 openings=tmp_path / "openings.jsonl")  # fmt: skip
    assert result.outcome == "improved"
    assert result.applied
    written = {f"{r.method} {r.path}" for r in list(server.requests)[before:] if r.method != "GET"}
    assert written == ({"POST /runs/multipart"} if traced else set())
    assert len(server.prompts.all["words"].commits) == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_prompt_with_a_schema_is_pulled_improved_and_pushed_with_it(server):
    prompt = StructuredPrompt([("human", PROMPT)], schema_=SCHEMA)
    client(server.url).push_prompt("words", object=prompt, commit_tags="staging")
    model = Structured(fn=answer, model_name="task")
    result = run(pull_template("acme/words:staging"), task_model=model, data=rows(6, 6, 20), openings=None)
    assert (result.outcome, result.test[0]["baseline"], result.test[0]["best"]) == ("improved", 0.5, 1.0)
    result.push("acme/words", tag="staging", force=True)
    now = pull_template("acme/words:staging")
    assert isinstance(now, StructuredPrompt)
    assert now.schema_ == SCHEMA
    assert now.messages[0].prompt.template == PROMPT.replace("PLANT", "animal")
