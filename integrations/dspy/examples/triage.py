"""DSPy's GEPA with local edits, and the gate decides. Built-in models, no key: `python examples/triage.py`.

The offline models' scores say nothing about real models.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import dspy
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_promptopt_dspy import informed, langchain_lm, local_edits, through_gate

from langchain_promptopt.offline import OfflineTaskModel, offline_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import ChatResult

INSTRUCTIONS = """Choose the `label` of the `message`.

## Labels
- billing: invoice, charge, sum
- delivery: parcel, late
- account: password, log in

## Rules
- If the message mentions "refund", answer billing.

## Output
Answer with the label only."""
TEXTS = (
    ("My invoice shows a wrong sum", "billing"),
    ("My parcel never came, refund it", "delivery"),
    ("My password is not accepted", "account"),
    ("My parcel is missing, I want a refund", "delivery"),
)


def student() -> dspy.Predict:
    """The program before it is compiled."""
    return dspy.Predict(dspy.Signature("message -> label", INSTRUCTIONS))


def examples(first: int, number: int, texts: Sequence[tuple[str, str]] = TEXTS) -> list[dspy.Example]:
    """Messages with their labels, numbered from `first`."""
    found = []
    for i in range(number):
        text, label = texts[i % len(texts)]
        found.append(dspy.Example(message=f"{text} ({first + i})", label=label).with_inputs("message"))
    return found


def right_label(gold: Any, pred: Any) -> bool:
    """Whether the label is the expected one."""
    return gold.label == pred.label


class TaskModel(OfflineTaskModel):
    """The offline task model, which does not know DSPy's form: what it is asked and answers is turned into that."""

    def _generate(self, messages: list[BaseMessage], *given: Any, **settings: Any) -> ChatResult:
        objective = messages[0].text.split("your objective is:")[1]
        instructions = "\n".join(line[8:] for line in objective.strip("\n").split("\n"))
        asked = messages[-1].text.split("[[ ## message ## ]]\n")[1].split("\n\n")[0]
        result = super()._generate([SystemMessage(instructions), HumanMessage(asked)], *given, **settings)
        reply = result.generations[0].message
        reply.content = f"[[ ## label ## ]]\n{reply.text}\n\n[[ ## completed ## ]]"
        return result


def search(proposer: Any) -> dspy.Module:
    """What GEPA compiles with this proposer."""
    logging.getLogger("dspy").setLevel(logging.WARNING)
    dspy.configure(lm=langchain_lm(TaskModel()))
    gepa = dspy.GEPA(
        metric=informed(right_label),
        instruction_proposer=proposer,
        max_metric_calls=40,
        reflection_minibatch_size=4,
        num_threads=2,
    )
    return gepa.compile(student(), trainset=examples(100, 8), valset=examples(200, 8))


def decide(compiled: dspy.Module, texts: Sequence[tuple[str, str]] = TEXTS) -> Any:
    """The gate's result on 24 messages that GEPA has not seen."""
    return through_gate(student(), compiled, examples(300, 24, texts), metric=right_label, model=TaskModel())


if __name__ == "__main__":
    proposer = local_edits(offline_model("optimizer"), student(), frozen=["Answer with the label only."])
    compiled = search(proposer)
    for edit in proposer.edits:
        print(f"proposed: {edit.old!r} -> {edit.new!r} because {edit.reason}")
    result = decide(compiled)
    print("gate:", result.outcome, json.dumps({k: result.test[0][k] for k in ("baseline", "best", "p_value", "n")}))
