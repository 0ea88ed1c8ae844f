"""`task_models`: one prompt for several models, by the mean of their scores or by the worst."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import Budget, Gate, compare, optimize
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.evaluators import EvalResult
from langchain_promptopt.evaluators._metrics import score_models
from langchain_promptopt.optimizer.answer import of_record
from langchain_promptopt.pipeline.prepare import settings_from
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.settings import Price
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, optimizer, rows


def stubborn(messages) -> str:
    """As `answer`, but it never calls a cat an animal."""
    said = answer(messages)
    return "beast" if said == "animal" and "cat" in str(messages[-1].text) else said


def models():
    return {
        "large": ScriptedModel(fn=answer, model_name="large"),
        "small": ScriptedModel(fn=stubborn, model_name="small"),
    }


def run(target=None, **more):
    prompt = target or ChatPromptTemplate.from_template(PROMPT)
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": None, "apply": "never"}
    given |= {"data": rows(test=60), "task_models": models()}
    return optimize(prompt, optimizer_model=optimizer(), **(given | more))


def test_a_prompt_is_chosen_for_all_models_and_each_is_shown(tmp_path):
    mean, worst = run(), run(over="worst")
    cats = sum("cat" in row["inputs"]["word"] for row in rows(test=60) if row["metadata"]["split"] == "test") / 60
    assert mean.outcome == worst.outcome == "improved"
    assert mean.test[0]["best"] == pytest.approx(1.0 - cats / 2)
    assert worst.test[0]["best"] == pytest.approx(1.0 - cats)
    large, small = worst.by_model
    assert (large["model"], large["baseline"], large["best"], large["split"]) == ("large", 0.5, 1.0, "test")
    assert (small["model"], small["best"], small["n"]) == ("small", pytest.approx(1.0 - cats), 60)
    told = json.loads(json.dumps(worst.as_json()["by_model"]))
    assert told == list(worst.by_model)
    assert of_record(RunRecord.from_events(worst.events())).as_json()["by_model"] == told
    markdown = worst.report(tmp_path / "r.md").read_text()
    assert "One prompt, several models: exact\\_match on held-out examples" in markdown
    assert "| large | 50.0 | 100.0 | +50.0 | 60 |" in markdown
    assert "One prompt, several models" in worst.report(tmp_path / "r.html").read_text()
    assert len({mean.run_id, worst.run_id}) == 2
    assert worst.usage["by_role"]["task"]["calls"] % 2 == 0


def refuses_cats(messages):
    if "cat" in str(messages[-1].text):
        return AIMessage("", response_metadata={"finish_reason": "content_filter"})
    return answer(messages)


def test_an_answer_that_one_model_refuses_counts_for_that_model_alone():
    refusing = ScriptedModel(fn=refuses_cats, model_name="refusing")
    for given in ({"refusing": refusing, **models()}, {**models(), "refusing": refusing}):
        result = run(task_models={"large": given["large"], **given})
        best = {m["model"]: m["best"] for m in result.by_model}
        assert best["large"] == 1.0
        assert best["refusing"] < 1.0


def test_the_gate_may_name_the_metric_of_one_model():
    result = run(gate=Gate(primary="exact_match@small", guards={"exact_match@large": 0.05}))
    assert [m["metric"] for m in result.test[:2]] == ["exact_match@small", "exact_match@large"]
    assert result.outcome == "improved"


def test_which_model_has_which_name_is_part_of_the_run_and_of_the_cache():
    large, small = models().values()
    swapped = run(task_models={"large": small, "small": large})
    assert swapped.run_id != run().run_id
    other = run(task_models={"large": large, "small": ScriptedModel(fn=stubborn, model_name="tiny")})
    assert other.run_id != run().run_id


def test_two_prompts_are_compared_on_several_models():
    given = {"evaluators": ["exact_match"], "runs_dir": None, "openings": None, "task_models": models()}
    result = compare(PROMPT, PROMPT.replace("PLANT", "animal"), data=rows(test=60), over="worst", **given)
    assert [m["model"] for m in result.by_model] == ["large", "small"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"over": "mea"}, "over must be 'mean' or 'worst'.*Did you mean 'mean'"),
        ({"task_models": {}, "over": "mean"}, "over is 'mean', and there are no task_models"),
        ({"task_models": ["a"]}, r"task_models cannot be \['a'\]"),
        ({"task_models": {"a@b": "offline"}}, "task_models has the name 'a@b'"),
        ({"task_model": "offline"}, "task_model and task_models are both set"),
        ({"task_models": {}, "swap": "own"}, r"swap is \['own'\], and there are no task_models"),
        ({"swap": {"own": "a"}}, r'swap cannot be .*Write swap=\["gpt-4o"\]'),
    ],
)
def test_a_wrong_setting_shows_the_right_form(wrong, said):
    with pytest.raises(ConfigError, match=said):
        run(**wrong)


CHAINS = {
    "chain": lambda own: ChatPromptTemplate.from_template(PROMPT) | own | StrOutputParser(),
    "function": lambda own: lambda row: own.invoke([SystemMessage(RULES), HumanMessage(f"Word: {row['word']}")]).text,
    "agent": lambda own: agent_of(own),
}
RULES = PROMPT.rpartition("\n")[0]


def agent_of(own):
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    memory = pytest.importorskip("langgraph.checkpoint.memory", reason="needs langgraph")
    made = agents.create_agent(own, [], system_prompt=RULES, checkpointer=memory.InMemorySaver())
    return RunnableLambda(lambda row: {"messages": [HumanMessage(f"Word: {row['word']}")]}) | made


@pytest.mark.parametrize("shape", CHAINS)
def test_the_model_of_a_chain_gives_way_and_each_call_is_priced_by_the_name_of_the_one_that_answers(shape, tmp_path):
    own, given = ScriptedModel(fn=answer, model_name="own"), models()
    prices = {"large": Price(0, 1), "small": Price(0, 1000), "optimizer": Price(0, 0)}
    result = run(
        target=CHAINS[shape](own), task_models=given, over="worst", prices=prices, budget=Budget(usd=10),
        max_concurrency=64, openings=tmp_path / "openings.jsonl",
    )  # fmt: skip
    assert own.calls == []
    assert result.outcome == "improved"
    assert [(m["model"], m["best"] > m["baseline"]) for m in result.by_model] == [("large", True), ("small", True)]
    calls = {name: len(model.calls) for name, model in given.items()}
    assert result.usage["by_role"]["task"]["calls"] == calls["large"] + calls["small"]
    assert result.usage["by_role"]["task"]["usd"] == pytest.approx((calls["large"] + 1000 * calls["small"]) / 1e6)


def test_what_is_kept_of_one_model_is_not_taken_for_another(tmp_path):
    def cached(**given):
        own = ScriptedModel(fn=answer, model_name="own")
        chain = ChatPromptTemplate.from_template(PROMPT) | own | StrOutputParser()
        return run(target=chain, cache=tmp_path / "cache.sqlite", openings=None, task_models=given)

    first, again = models(), models()
    cached(**first)
    cached(**again)
    assert len(again["small"].calls) < len(first["small"].calls), "all but the test examples are known"
    other = {"large": models()["large"], "small": ScriptedModel(fn=stubborn, model_name="other")}
    cached(**other)
    assert len(other["small"].calls) == len(first["small"].calls)


def test_a_chain_that_remembers_examples_is_refused_with_several_models_too():
    own, before = ScriptedModel(fn=answer, model_name="own"), []
    template = ChatPromptTemplate([("system", RULES), ("human", "Before: {before}\nWord: {word}")])

    def remembers(row):
        before.append(("human", row["word"]))
        return (template | own).invoke({**row, "before": str(before)}).text

    data = rows(test=60)
    for row in data:  # texts of one word alone are not marked in the dry run
        row["inputs"] = {"word": f"this is a {row['inputs']['word']}"}
    with pytest.raises(ConfigError, match="examples would share what the chain remembers"):
        run(target=RunnableLambda(remembers), data=data)


def test_two_chains_are_compared_under_several_models():
    sides = [ChatPromptTemplate.from_template(p) | offline_own() for p in (PROMPT, PROMPT.replace("PLANT", "animal"))]
    given = {"evaluators": ["exact_match"], "runs_dir": None, "openings": None, "task_models": models()}
    result = compare(*sides, data=rows(test=60), over="worst", **given)
    assert [(m["model"], m["best"] > m["baseline"]) for m in result.by_model] == [("large", True), ("small", True)]


def offline_own():
    return ScriptedModel(fn=answer, model_name="own")


def test_settings_of_the_file_reach_the_run(tmp_path):
    given = {
        "task": {"prompt": "p.txt"},
        "optimize": {"task_models": {"a": "offline"}, "over": "worst", "swap": ["own"]},
    }
    config = config_from_dict(given, root=tmp_path)
    config.require("task")
    settings = settings_from(config)
    assert (dict(settings.task_models), settings.over, settings.swap) == ({"a": "offline"}, "worst", ("own",))


def test_a_metric_that_one_model_has_no_score_of_has_none_in_all():
    class Judge:
        key = "j"

        async def score(self, example, output, **more):
            scores = {} if output is None else {"j": output}
            return EvalResult(scores, {"j": f"said {output}"}, keys={"j": ("j",)})

    def joined(answers, over):
        return asyncio.run(score_models([Judge()], SimpleNamespace(id="x"), answers, over=over))

    assert joined({"a": 1.0, "b": 0.5}, "mean").scores == {"j": 0.75, "j@a": 1.0, "j@b": 0.5}
    assert joined({"a": 1.0, "b": 0.5}, "worst").scores["j"] == 0.5
    half = joined({"a": 1.0, "b": None}, "mean")
    assert half.scores == {"j@a": 1.0}
    assert half.comments == {"j": "a: said 1.0; b: said None"}
    assert half.keys == {"j": ("j", "j@a", "j@b")}
