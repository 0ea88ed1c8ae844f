"""Rows that are conversations, and evaluators over trajectories: agentevals as it is, with LangSmith's scores."""

from __future__ import annotations

import datetime
import json
import uuid
import warnings

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langsmith import Client
from langsmith.evaluation import evaluate
from langsmith.schemas import Example as SmithExample

from langchain_promptopt import Gate
from langchain_promptopt._data import load_data
from langchain_promptopt.errors import DataError, EvaluatorError
from langchain_promptopt.types import answer_of, copied, recorded, told
from langchain_promptopt.types.plain_value import is_message
from tests.support.runs import of_type, run
from tests.support.tasks import PROMPT, answer, improve, optimizer, rows

agents = pytest.importorskip("langchain.agents", reason="needs langchain")
middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")
memory = pytest.importorskip("langgraph.checkpoint.memory", reason="needs langgraph")

RULES = PROMPT.rpartition("\n")[0]


class Filer(BaseChatModel):
    """Calls the tool with what its prompt says of the last word, then says that it is done."""

    @property
    def _llm_type(self) -> str:
        return "filer"

    def bind_tools(self, tools, **_):
        return self.bind(tools=len(tools))

    def _generate(self, messages, stop=None, run_manager=None, **_):
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage("Done.")
        else:
            args = {"kind": answer([messages[0], messages[-1]])}
            said = AIMessage("", tool_calls=[{"name": "file_word", "args": args, "id": str(uuid.uuid4())}])
        return ChatResult(generations=[ChatGeneration(message=said)])


@tool
def file_word(kind: str) -> str:
    """File the word."""
    return "ok"


def agent(**more):
    return agents.create_agent(Filer(), [file_word], system_prompt=RULES, **more)


def asked(row):
    return f"Word: {row['inputs']['word']}"


def openai_form(row, *, call_id="x"):
    """The trajectory that is wanted, as OpenAI writes it; without an id where none is given."""
    function = {"name": "file_word", "arguments": json.dumps({"kind": row["outputs"]["answer"]})}
    ids = ({"id": call_id}, {"tool_call_id": call_id}) if call_id else ({}, {})
    return [
        {"role": "user", "content": asked(row)},
        {"role": "assistant", "content": "", "tool_calls": [{**ids[0], "type": "function", "function": function}]},
        {"role": "tool", "content": "ok", **ids[1]},
        {"role": "assistant", "content": "Done."},
    ]


def langchain_form(row):
    call = {"name": "file_word", "args": {"kind": row["outputs"]["answer"]}, "id": "x"}
    called = AIMessage("", tool_calls=[call])
    return [HumanMessage(asked(row)), called, ToolMessage("ok", tool_call_id="x"), AIMessage("Done.")]


def conversations(wanted=openai_form, human=lambda row: {"role": "user", "content": asked(row)}):
    return [r | {"inputs": {"messages": [human(r)]}, "outputs": {"messages": wanted(r)}} for r in few_rows()]


def few_rows():
    return rows(train=4, dev=8, test=20)


class Judge(BaseChatModel):
    """Stands in for a judge model: the trajectory is accurate where its tool call is the reference's."""

    @property
    def _llm_type(self) -> str:
        return "judge"

    def with_structured_output(self, schema, **_):
        def judged(prompt):
            self.invoke("judge it")
            reference, _, actual = str(prompt).partition("Grade")
            kind = next(k for k in ("animal", "stone", "PLANT") if k in actual)
            return {
                "reasoning": f"it filed {kind}",
                "score": kind in reference or ("reference" not in reference and kind != "PLANT"),
            }

        return RunnableLambda(judged)

    def _generate(self, messages, stop=None, run_manager=None, **_):
        return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])


def trajectory_evaluators():
    """agentevals' evaluators as people make them, by the metric that each gives."""
    match = pytest.importorskip("agentevals.trajectory.match", reason="needs agentevals (make test installs it)")
    judges = pytest.importorskip("agentevals.trajectory.llm", reason="needs agentevals (make test installs it)")
    found = {}
    for mode in ("strict", "unordered", "subset", "superset"):
        found[f"trajectory_{mode}_match"] = match.create_trajectory_match_evaluator(trajectory_match_mode=mode)
    return found | {"trajectory_accuracy": judges.create_trajectory_llm_as_judge(judge=Judge())}


def scored_on_dev(result):
    """Scores of the baseline on the dev examples, by example and metric."""
    baseline = of_type(result, "run.started")[0]["seed_candidate_id"]
    found = {}
    for data in of_type(result, "scored"):
        if data["candidate_id"] == baseline and data["split"] == "dev":
            found |= {(data["example_id"], key): score for key, score in data["scores"].items()}
    return found


class Silent(Client):
    """Sends nothing."""

    def create_run(self, *_, **__):
        pass

    def update_run(self, *_, **__):
        pass


def langsmith_scores(program, data, evaluators):
    """What `langsmith.evaluate` gives on the dev examples."""
    when, examples = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), {}
    for r in data:
        if r["metadata"]["split"] == "dev":
            uid = uuid.uuid5(uuid.NAMESPACE_OID, r["metadata"]["id"])
            known = {"id": uid, "dataset_id": uuid.UUID(int=9), "created_at": when}
            examples[uid] = r["metadata"]["id"], SmithExample(inputs=r["inputs"], outputs=r["outputs"], **known)
    client = Silent(api_url="http://127.0.0.1:1", api_key="none", auto_batch_tracing=False, info={})
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = [example for _, example in examples.values()]
        for one in evaluate(program.invoke, data=given, evaluators=evaluators, upload_results=False, client=client):
            for result in one["evaluation_results"]["results"]:
                found[examples[one["example"].id][0], result.key] = float(result.score)
    return found


@pytest.mark.parametrize("wanted", [openai_form, langchain_form])
def test_trajectory_evaluators_give_langsmiths_scores_and_the_agent_is_mended(wanted):
    evaluators = trajectory_evaluators()
    theirs = langsmith_scores(agent(), conversations(wanted), [*evaluators.values()])
    result = run(target=agent(), data=conversations(wanted), evaluators=[*evaluators.values()])
    assert result.outcome == "improved"
    ours = scored_on_dev(result)
    assert {metric for _, metric in ours} == set(evaluators)
    assert ours == theirs
    assert set(ours.values()) == {0.0, 1.0}


def test_what_the_optimizer_reads_shows_the_wrong_tool_call():
    requests = []

    def optimizing(messages):
        requests.append(str(messages[-1].text))
        return improve(messages)

    def same_calls(outputs, reference_outputs):
        def calls(state):
            return [call["args"] for message in state["messages"] for call in getattr(message, "tool_calls", ())]

        return calls(outputs) == calls(reference_outputs)

    data = conversations(langchain_form, lambda row: HumanMessage(asked(row)))
    result = run(model=optimizer(optimizing), target=agent(), data=data, evaluators=[same_calls])
    assert result.outcome == "improved"
    [line, *_] = [line for line in requests[0].splitlines() if line.startswith('{"id": "train-')]
    row = json.loads(line)
    question = {"user": row["inputs"]["messages"][0]["user"]}
    for side, kind in (("expected", "animal"), ("answer", "PLANT")):
        call = {"assistant": {"tool_calls": [{"name": "file_word", "args": {"kind": kind}}]}}
        assert row[side]["messages"] == [question, call, {"tool": "ok"}, {"assistant": "Done."}]


def test_matchers_compare_the_last_message_and_the_record_shows_that():
    with pytest.raises(DataError, match=r"scores 1 on all 8 dev examples.*answer 'Done\."):
        run(target=agent(), data=conversations(), evaluators=["exact_match"])


def right_calls(outputs, reference_outputs):
    """Whether the same tools were called; it takes the messages apart as it reads them."""
    found = []
    for side in (outputs, reference_outputs):
        calls = []
        while side["messages"]:
            message = side["messages"].pop()
            calls += [call["args"] for call in getattr(message, "tool_calls", ())]
        found.append(calls)
    return found[0] == found[1]


def test_what_a_chain_or_an_evaluator_does_to_its_arguments_is_undone():
    graph, sizes = agent(), set()

    def appending(inputs):
        sizes.add(len(inputs["messages"]))
        inputs["messages"].append(HumanMessage(inputs["messages"][-1].text))
        return graph.invoke(inputs)

    def whole(outputs, reference_outputs):
        return (len(outputs["messages"]), len(reference_outputs["messages"])) == (5, 4)

    data = conversations(langchain_form, lambda row: HumanMessage(asked(row)))
    before = repr(data)
    result = run(target=appending, data=data, evaluators=[right_calls, whole])
    assert result.outcome == "improved"
    assert {s["scores"]["whole"] for s in of_type(result, "scored")} == {1.0}
    assert sizes == {1}
    assert repr(data) == before, "LangGraph gives ids to the messages that it gets"


def test_a_run_that_is_called_again_pays_nothing_again(tmp_path):
    """agentevals adds ids to the reference, LangGraph to the inputs: what the optimizer is sent must stay the same."""
    evaluators, calls = trajectory_evaluators(), []

    def optimizing(messages):
        calls.append(1)
        return improve(messages)

    def again(wanted, human):
        counted, folder = [], tmp_path / wanted.__name__
        for _ in range(2):
            calls.clear()
            run(
                model=optimizer(optimizing), target=agent(), data=conversations(wanted, human), runs_dir=folder,
                evaluators=[evaluators["trajectory_strict_match"]], apply="never", openings=folder / "openings.jsonl",
            )  # fmt: skip
            counted.append(len(calls))
        return counted

    def without_ids(row):
        return openai_form(row, call_id="")

    for wanted, human in (
        (without_ids, lambda row: {"role": "user", "content": asked(row)}),
        (langchain_form, lambda row: HumanMessage(asked(row))),
    ):
        first, second = again(wanted, human)
        assert first
        assert second == 0


def test_rows_of_trajectories_are_split_at_the_last_question():
    evaluator = trajectory_evaluators()["trajectory_strict_match"]
    flat = [{"messages": openai_form(r), "metadata": r["metadata"]} for r in few_rows()]
    result = run(target=agent(), data=flat, evaluators=[evaluator])
    assert result.outcome == "improved"
    said = "the examples are agents' trajectories: the input is the messages up to the last question, the reference is"
    assert f"{said} the whole conversation" in [note.text for note in load_data(flat).notes]
    lists = [r | {"inputs": r["inputs"]["messages"], "outputs": r["outputs"]["messages"]} for r in conversations()]
    assert run(target=agent(), data=lists, evaluators=[evaluator]).test[0]["best"] == 1.0


def test_a_judge_that_needs_no_reference_takes_rows_without_one():
    judges = pytest.importorskip("agentevals.trajectory.llm", reason="needs agentevals (make test installs it)")
    judge = judges.create_trajectory_llm_as_judge(judge=Judge(), prompt=judges.TRAJECTORY_ACCURACY_PROMPT)
    data = [{"inputs": r["inputs"], "metadata": r["metadata"]} for r in conversations()]
    result = run(target=agent(), data=data, evaluators=[judge])
    said = {comment for s in of_type(result, "scored") for comment in s["comments"].values()}
    assert said >= {"it filed PLANT", "it filed stone"}
    assert result.usage["by_role"]["judge"]["calls"] > 0


def test_an_evaluator_that_raises_is_told_with_what_it_was_given():
    evaluator = trajectory_evaluators()["trajectory_strict_match"]
    graph = agent()
    told_of = (
        r"trajectory_strict_match: ValueError.*it was given outputs with 'output' and reference_outputs with 'mess"
    )
    with pytest.raises(EvaluatorError, match=told_of):
        run(target=lambda inputs: graph.invoke(inputs)["messages"], data=conversations(), evaluators=[evaluator])


def test_a_gate_names_a_trajectory_metric_before_anything_is_paid():
    evaluators = [*trajectory_evaluators().values()][:2]
    with pytest.raises(EvaluatorError, match="the evaluators give trajectory_strict_match, trajectory_unordered_match"):
        run(target=agent(), data=conversations(), evaluators=evaluators, gate=Gate(primary="trajectory_subset_match"))


def test_a_tool_that_waits_for_approval_is_the_failure_of_its_example():
    approving = middleware.HumanInTheLoopMiddleware(interrupt_on={"file_word": True})
    waiting = agent(middleware=[approving], checkpointer=memory.InMemorySaver())
    with pytest.raises(DataError, match="the graph stopped at an interrupt and waits for a person, who is asked"):
        run(target=waiting, data=conversations(), evaluators=[right_calls])


def test_several_turns_on_one_thread_are_one_trajectory():
    graph = agent(checkpointer=memory.InMemorySaver())

    def two_turns(inputs):
        config = {"configurable": {"thread_id": str(uuid.uuid4())}}
        graph.invoke({"messages": "Word: opal-0"}, config)
        return graph.invoke(inputs, config)

    first = {"inputs": {"word": "opal-0"}, "outputs": {"answer": "stone"}}

    def wanted(row):
        return openai_form(first) + openai_form(row)

    evaluator = trajectory_evaluators()["trajectory_strict_match"]
    result = run(target=two_turns, data=conversations(wanted), evaluators=[evaluator])
    assert (result.test[0]["baseline"], result.test[0]["best"]) == (0.5, 1.0)


def test_graph_trajectories_are_judged_by_their_steps():
    strict = pytest.importorskip("agentevals.graph_trajectory.strict", reason="needs agentevals")
    utils = pytest.importorskip("agentevals.graph_trajectory.utils", reason="needs agentevals")

    class Hasty(Filer):
        """Answers at once where the prompt calls the word a PLANT."""

        def _generate(self, messages, stop=None, run_manager=None, **_):
            if answer([messages[0], next(m for m in messages if m.type == "human")]) == "PLANT":
                return ChatResult(generations=[ChatGeneration(message=AIMessage("No idea."))])
            return super()._generate(messages)

    graph = agents.create_agent(Hasty(), [file_word], system_prompt=RULES, checkpointer=memory.InMemorySaver())

    def program(inputs):
        config = {"configurable": {"thread_id": str(uuid.uuid4())}}
        graph.invoke(inputs, config)
        return utils.extract_langgraph_trajectory_from_thread(graph, config)["outputs"]

    steps = {"results": [], "steps": [["__start__", "model", "tools", "model"]]}
    data = [r | {"outputs": steps} for r in conversations()]
    result = run(target=program, data=data, evaluators=[strict.graph_trajectory_strict_match])
    assert (result.outcome, result.test[0]["best"]) == ("improved", 1.0)


# The plain forms.

WORDS = {"inputs": {"word": "dog"}, "outputs": {"answer": "animal"}}
WANTED = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "call_1", "type": "function", "function": {"name": "file_word", "arguments": '{"kind": "animal"}'}}
]}  # fmt: skip


@pytest.mark.parametrize("form", [openai_form, langchain_form])
def test_a_conversation_is_kept_in_one_form_without_chance_ids(form):
    kept = recorded({"messages": form(WORDS), "left": 3, "empty": []}, {"messages": []}, matched=False)
    said = [
        {"role": "user", "content": "Word: dog"},
        WANTED,
        {"role": "tool", "content": "ok", "tool_call_id": "call_1"},
    ]
    assert kept == {"messages": [*said, {"role": "assistant", "content": "Done."}], "left": 3}
    assert recorded(form(WORDS), {}, matched=False) == kept["messages"]
    assert answer_of(WANTED) == {"tool_calls": [{"name": "file_word", "args": {"kind": "animal"}}]}


def test_a_conversation_is_kept_whole_only_where_it_tells_more_than_its_end():
    said = {"messages": [HumanMessage("hi"), AIMessage("ho")]}
    assert recorded(said, {"answer": "ho"}, matched=False) == "ho"
    assert recorded(said, {"trajectory": [HumanMessage("hi")]}, matched=False)["messages"][-1]["content"] == "ho"
    assert recorded(said, {"trajectory": [HumanMessage("hi")]}, matched=True) == "ho"
    assert recorded("ho", {}, matched=False) == "ho"


def test_told_keeps_what_is_no_conversation():
    assert told({"n": 1, "rows": [1, "a"], "none": None}) == {"n": 1, "rows": [1, "a"], "none": None}
    assert told([{"role": "assistant", "tool_calls": [], "content": None}]) == [{"assistant": ""}]
    assert is_message({"role": "assistant", "tool_calls": [{}]})
    assert not is_message({"role": "user", "tool_calls": []})


def test_copies_are_equal_and_apart():
    thing = object()
    message = AIMessage("a", tool_calls=[{"name": "t", "args": {"x": [1]}, "id": "1"}])
    value = {"messages": [message], "rows": [{"x": 1}], "thing": thing}
    made = copied(value)
    assert made == value
    assert made["thing"] is thing
    made["messages"][0].tool_calls[0]["args"]["x"].append(2)
    made["messages"][0].id = "new"
    made["rows"][0]["x"] = 2
    assert (message.id, message.tool_calls[0]["args"], value["rows"]) == (None, {"x": [1]}, [{"x": 1}])
