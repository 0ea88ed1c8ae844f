"""GEPA searches with local edits, and the gate decides. Built-in models, no key: `python examples/triage.py`.

The offline models' scores say nothing about real models.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gepa
from gepa.adapters.default_adapter.default_adapter import EvaluationResult
from langchain_promptopt_gepa import LocalEdits, task_lm, through_gate

from langchain_promptopt.evaluators import exact_match
from langchain_promptopt.offline import offline_model

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = {
    "triage": """Choose the label of the message.

## Labels
- billing: invoice, charge, sum
- delivery: parcel, late
- account: password, log in

## Rules
- If the message mentions "refund", answer billing.

## Output
Answer with the label only."""
}
TEXTS = (
    ("My invoice shows a wrong sum", "billing"),
    ("My parcel never came, refund it", "delivery"),
    ("My password is not accepted", "account"),
    ("My parcel is missing, I want a refund", "delivery"),
)


def instances(first: int, number: int, texts: Sequence[tuple[str, str]] = TEXTS) -> list[dict[str, Any]]:
    """Messages with their labels, numbered from `first`, as GEPA's default adapter takes them."""
    found = []
    for i in range(number):
        text, label = texts[i % len(texts)]
        found.append({"input": f"{text} ({first + i})", "answer": label, "additional_context": {}})
    return found


def scored(data: Any, response: str) -> EvaluationResult:
    """One for the right label."""
    right = response.strip() == data["answer"]
    told = "The generated response is correct." if right else f"Wrong. The correct answer is '{data['answer']}'."
    return EvaluationResult(float(right), told)


def search(proposer: LocalEdits) -> Any:
    """What GEPA finds with this proposer."""
    return gepa.optimize(
        seed_candidate=SEED,
        trainset=instances(100, 8),
        valset=instances(200, 8),
        task_lm=task_lm(offline_model("task")),
        evaluator=scored,
        custom_candidate_proposer=proposer,
        reflection_minibatch_size=4,
        max_metric_calls=40,
        display_progress_bar=False,
        logger=Quiet(),
    )


class Quiet:
    """GEPA writes each step to the terminal unless its logger is another."""

    def log(self, message: str) -> None:
        """Leave it."""


def decide(found: Any, texts: Sequence[tuple[str, str]] = TEXTS) -> Any:
    """The gate's result on 24 messages that GEPA has not seen."""
    held_out = []
    for row in instances(300, 24, texts):
        held_out.append({"inputs": {"input": row["input"]}, "outputs": {"label": row["answer"]}})
    task = offline_model("task")
    return through_gate(found, data={"test": held_out}, evaluators=[exact_match], task_model=task, progress=False)


if __name__ == "__main__":
    proposer = LocalEdits(offline_model("optimizer"), frozen=["Answer with the label only."])
    found = search(proposer)
    for edit in proposer.edits:
        print(f"proposed: {edit.old!r} -> {edit.new!r} because {edit.reason}")
    print("GEPA's scores on its validation set:", found.val_aggregate_scores)
    result = decide(found)
    print("gate:", result.outcome, json.dumps({k: result.test[0][k] for k in ("baseline", "best", "p_value", "n")}))
