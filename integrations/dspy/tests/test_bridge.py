"""Real runs of DSPy's optimizers with local edits, and what they compiled through the gate."""

from __future__ import annotations

import json

import dspy
import pytest
import triage
from langchain_core.exceptions import OutputParserException
from langchain_promptopt_dspy import (
    ProgramChain,
    evaluator_of,
    informed,
    informed_row,
    langchain_lm,
    local_edits,
    rows_of,
    through_gate,
)

from langchain_promptopt import optimize, prompts
from langchain_promptopt._objects import fingerprint
from langchain_promptopt.errors import UsageError
from langchain_promptopt.offline import offline_model
from langchain_promptopt.testing.scripted import ScriptedModel

OTHERS = (
    ("My invoice shows a wrong sum", "billing"),
    ("My parcel is late", "delivery"),
    ("I was charged twice, give me a refund", "billing"),
    ("My password is not accepted", "billing"),
)


def instructions(program):
    return program.named_predictors()[0][1].signature.instructions


# ------------------------------------------------------------ GEPA with local edits


@pytest.fixture(scope="module")
def searched():
    """One real run of `dspy.GEPA`: the proposer, and the compiled program."""
    proposer = local_edits(offline_model("optimizer"), triage.student(), frozen=["Answer with the label only."])
    return proposer, triage.search(proposer)


def test_gepa_compiles_local_edits_and_the_gate_agrees(searched):
    proposer, compiled = searched
    was, new = 'mentions "refund", answer billing', 'mentions "refund", answer delivery'
    assert instructions(compiled) == triage.INSTRUCTIONS.replace(was, new)
    first = proposer.edits[0]
    assert (first.component, first.old, first.new) == ("self", "billing", "delivery")
    assert "refund" in first.reason
    result = triage.decide(compiled)
    assert result.outcome == "improved"
    assert [(e.old, e.new) for e in result.edits] == [("billing", "delivery")]
    assert (result.test[0]["metric"], result.test[0]["n"]) == ("right_label", 24)
    assert (result.test[0]["baseline"], result.test[0]["best"]) == (0.5, 1.0)
    assert result.usage["by_role"]["task"]["calls"] == 48


def test_what_helps_only_the_examples_of_the_search_does_not_pass(searched):
    result = triage.decide(searched[1], OTHERS)
    assert result.test[0]["difference"] < 0
    assert result.outcome == "no_gain"


def test_a_run_that_found_nothing_is_told_before_any_call():
    nothing = ScriptedModel(fn=lambda messages: "I would change nothing.")
    compiled = triage.search(local_edits(nothing, triage.student()))
    assert nothing.calls
    assert instructions(compiled) == triage.INSTRUCTIONS
    with pytest.raises(UsageError, match="that it began with"):
        triage.decide(compiled)


def test_names_of_fields_and_what_is_frozen_stay():
    def proposed(line, old, new):
        reply = json.dumps([{"line": line, "old": old, "new": new, "reason": "because"}])
        proposer = local_edits(ScriptedModel(fn=lambda messages: reply), triage.student(), frozen=["label only"])
        record = {"Inputs": {"message": "m"}, "Generated Outputs": {"label": "x"}, "Feedback": "Wrong."}
        return proposer({"self": triage.INSTRUCTIONS}, {"self": [record]}, ["self"])

    assert proposed(1, "Choose", "Pick") == {"self": triage.INSTRUCTIONS.replace("Choose", "Pick")}
    assert proposed(1, "`message`", "text") == {}
    assert proposed(12, "label only", "label") == {}


def test_the_metric_tells_the_proposer_score_and_expected_outputs():
    gold = dspy.Example(message="m", label="billing").with_inputs("message")

    def graded(gold, pred, trace, pred_name, pred_trace):
        return dspy.Prediction(score=0.25, feedback=f"{pred_name}: Expected: no\nsecond line")

    for metric, score, comment in (
        (triage.right_label, 0.0, ""),
        (graded, 0.25, "triage: Expected: no\nsecond line"),
    ):
        told = informed(metric)(gold, dspy.Prediction(label="x"), None, "triage", None)
        row = informed_row({"Inputs": {"message": "m"}, "Generated Outputs": {"label": "x"}, "Feedback": told.feedback})
        assert told.score == score
        assert (row["score"], row["expected"], row["comment"]) == (score, {"label": "billing"}, comment)
    plain = informed_row({"Inputs": {}, "Generated Outputs": "?", "Feedback": "Your output failed to parse."})
    assert (plain["score"], plain["expected"], plain["comment"]) == (0.0, {}, "Your output failed to parse.")


# ------------------------------------------------------------ other optimizers through the gate


def test_instructions_that_copro_wrote_are_decided():
    better = triage.INSTRUCTIONS.replace("answer billing", "answer delivery")
    writer = ScriptedModel(
        fn=lambda messages: (
            f"[[ ## proposed_instruction ## ]]\n{better}\n\n[[ ## proposed_prefix_for_output_field ## ]]\nLabel:\n\n"
            "[[ ## completed ## ]]"
        )
    )
    dspy.configure(lm=langchain_lm(triage.TaskModel()))
    copro = dspy.COPRO(prompt_model=langchain_lm(writer), metric=triage.right_label, breadth=2, depth=1)
    compiled = copro.compile(
        triage.student(), trainset=triage.examples(100, 8), eval_kwargs={"num_threads": 2, "display_progress": False}
    )
    assert writer.calls
    assert instructions(compiled) == better
    result = triage.decide(compiled)
    assert result.outcome == "improved"
    assert [(e.old, e.new) for e in result.edits] == [("billing", "delivery")]


@pytest.mark.parametrize("demos", [0, 1], ids=["instructions", "instructions and demonstrations"])
def test_what_miprov2_compiled_is_decided(demos):
    better = triage.INSTRUCTIONS.replace("answer billing", "answer delivery")
    fields = ("observations", "summary", "program_description", "module_description", "proposed_instruction")
    writer = ScriptedModel(fn=lambda messages: "".join(f"[[ ## {field} ## ]]\n{better}\n\n" for field in fields))
    dspy.configure(lm=langchain_lm(triage.TaskModel()))
    mipro = dspy.MIPROv2(
        triage.right_label, prompt_model=langchain_lm(writer), auto=None, num_candidates=3, num_threads=2,
        max_bootstrapped_demos=demos, max_labeled_demos=2 * demos,
    )  # fmt: skip
    split = {"trainset": triage.examples(100, 8), "valset": triage.examples(200, 8)}
    compiled = mipro.compile(triage.student(), **split, num_trials=6, minibatch=False)
    assert writer.calls
    assert instructions(compiled) == better
    assert bool(compiled.predictors()[0].demos) is bool(demos)
    result = triage.decide(compiled)
    assert result.outcome == "improved"
    assert [(e.old, e.new) for e in result.edits] == [("billing", "delivery")]
    assert triage.decide(compiled, OTHERS).outcome == "no_gain"


def test_demonstrations_alone_are_decided():
    def answer(messages):
        shown = len(messages) > 2 or "m4" in messages[-1].text
        return f"[[ ## label ## ]]\n{'billing' if shown else 'none'}\n\n[[ ## completed ## ]]"

    examples = [dspy.Example(message=f"m{i}", label="billing").with_inputs("message") for i in range(12)]
    compiled = dspy.LabeledFewShot(k=2).compile(triage.student(), trainset=examples[:4])
    model = ScriptedModel(fn=answer)
    result = through_gate(triage.student(), compiled, examples[4:], metric=triage.right_label, model=model)
    assert instructions(compiled) == triage.INSTRUCTIONS
    assert result.edits == ()
    assert (result.test[0]["baseline"], result.test[0]["best"]) == (0.125, 1.0)


# ------------------------------------------------------------ the program as a chain


class TwoSteps(dspy.Module):
    """A module without `aforward`."""

    def __init__(self):
        super().__init__()
        self.summarise = dspy.Predict(dspy.Signature("message -> summary", "Say what the message is about."))
        self.choose = dspy.Predict(dspy.Signature("summary -> label", "Choose the label of the summary."))

    def forward(self, message):
        return self.choose(summary=self.summarise(message=message).summary)


def by_field(messages):
    field = "summary" if "-> summary" in messages[0].text or "Say what" in messages[0].text else "label"
    return f"[[ ## {field} ## ]]\n{messages[0].text.split('objective is:')[1].strip()[:5]}\n\n[[ ## completed ## ]]"


def test_a_module_of_several_predictors_is_a_chain_with_their_prompts():
    model = ScriptedModel(fn=by_field)
    chain = ProgramChain(TwoSteps(), model)
    assert chain.invoke({"message": "hi"}) == {"label": "Choos"}
    listed = prompts(chain, [{"inputs": {"message": "hi"}}, {"inputs": {"message": "ho"}}])
    assert sorted(p.name for p in listed) == ["choose", "summarise"]
    assert len(model.calls) == 2


def run(chain, value, *, asynchronous):
    import asyncio

    return asyncio.run(chain.ainvoke(value)) if asynchronous else chain.invoke(value)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("module", [triage.student, TwoSteps])
def test_errors_of_the_model_keep_their_class_and_unreadable_replies_are_parser_errors(module, asynchronous):
    def fails(messages):
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        run(ProgramChain(module(), ScriptedModel(fn=fails)), {"message": "m"}, asynchronous=asynchronous)
    chain = ProgramChain(module(), ScriptedModel(fn=lambda messages: "nothing to read"))
    with pytest.raises(OutputParserException):
        run(chain, {"message": "m"}, asynchronous=asynchronous)


def test_a_program_is_the_same_in_each_copy_and_another_with_other_demonstrations():
    model, held = ScriptedModel(fn=by_field), {}
    for label in ("x", "y", "y"):
        program = triage.student()
        program.demos = [dspy.Example(message="m", label=label).with_inputs("message")]
        held.setdefault(label, []).append(fingerprint(ProgramChain(program, model)))
    assert len(set(held["y"])) == 1
    assert held["x"][0] != held["y"][0]


def test_a_program_with_another_setting_or_tool_is_another():
    found = set()
    for setting in (1, 2, 2, len, max):
        program = TwoSteps()
        program.setting = setting
        found.add(fingerprint(ProgramChain(program, ScriptedModel(fn=by_field))))
    assert len(found) == 4


def test_this_package_optimizes_the_instructions_of_a_program():
    chain = ProgramChain(triage.student(), triage.TaskModel())
    rows = {"train": triage.examples(100, 8), "dev": triage.examples(200, 8), "test": triage.examples(300, 24)}
    data = {split: rows_of(examples) for split, examples in rows.items()}
    result = optimize(
        chain, data=data, evaluators=[evaluator_of(triage.right_label)], optimizer_model=offline_model("optimizer")
    )
    assert result.outcome == "improved"
    assert result.edits
    assert instructions(chain.program) == result.best["self"].messages[0].template != triage.INSTRUCTIONS


def test_a_predictor_with_a_model_of_its_own_asks_the_given_one():
    program = triage.student()
    other = ScriptedModel(fn=lambda messages: "never")
    program.set_lm(langchain_lm(other))
    assert ProgramChain(program, triage.TaskModel()).invoke({"message": "My parcel is late"}) == {"label": "delivery"}
    assert other.calls == []


def test_what_a_program_sends_is_what_dspy_sends():
    seen = []
    model = ScriptedModel(fn=lambda m: seen.append([(x.type, x.text) for x in m]) or by_field(m))
    with dspy.context(lm=langchain_lm(model)):
        triage.student()(message="Q {x}")
    ProgramChain(triage.student(), model).invoke({"message": "Q {x}"})
    assert seen[0] == seen[1]
    assert [kind for kind, _ in seen[0]] == ["system", "human"]
    assert "Q {x}" in seen[0][1][1]


def test_settings_of_dspy_reach_a_model_that_has_them():
    told = []

    class Told(ScriptedModel):
        def _generate(self, messages, stop=None, run_manager=None, **settings):
            told.append({**settings, "stop": stop})
            return super()._generate(messages)

    model = Told(fn=lambda messages: "ok")
    assert langchain_lm(model, temperature=0.5, max_tokens=7, stop=["END"])("hello") == ["ok"]
    assert told == [{"temperature": 0.5, "stop": ["END"]}]


def test_pictures_are_refused_and_not_left_out():
    program = dspy.Predict("picture: dspy.Image -> label")
    picture = dspy.Image(url="data:image/png;base64,iVBORw0KGgo=")
    with pytest.raises(Exception, match="only text is passed on, no image"):
        ProgramChain(program, ScriptedModel(fn=by_field)).invoke({"picture": picture})


def test_examples_and_metrics_are_rows_and_evaluators():
    example = dspy.Example(message="m", label="billing").with_inputs("message")
    assert rows_of([example]) == [{"inputs": {"message": "m"}, "outputs": {"label": "billing"}}]
    evaluator = evaluator_of(triage.right_label)
    assert evaluator({"message": "m"}, {"label": "billing"}, {"label": "billing"}) == {
        "key": "right_label",
        "score": 1.0,
        "comment": "",
    }
    assert evaluator({"message": "m"}, {"label": "x"}, {"label": "billing"})["score"] == 0.0
