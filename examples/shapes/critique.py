"""Draft, critique, revise: three prompts, and the last one sees what the first two led to.

python examples/shapes/critique.py

The fault is in the first prompt. What a critic says is no label, so only the revised answer can be scored.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

DRAFT = PromptTemplate.from_template(
    """Read the ticket and choose the queue.

Labels:
- refund: money back, return, reimburse
- delivery: parcel, package, shipping, tracking, courier
- cancellation: end a contract, trial or plan, stop the renewal

Rules:
- If the ticket mentions "cancel" or "subscription", answer refund.
- If the ticket mentions "parcel", "package" or "shipping", answer cancellation.

Answer with the label only.

Ticket:
{ticket}""",
    name="draft",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
CRITIQUE = PromptTemplate.from_template("Say what the draft lacks.\n\nDraft: {draft}", name="critique")
REVISE = PromptTemplate.from_template("Add what it lacks.\n\nDraft: {draft}\nLacks: {critique}", name="revise")


def criticize(prompt: object) -> str:
    """Stands in for the critic: an answer ends with a full stop."""
    return "" if prompt.to_string().endswith(".") else "."


def revise(prompt: object) -> str:
    """Stands in for the model that revises: it adds what is lacking."""
    draft, _, lacks = prompt.to_string().partition("Draft: ")[2].partition("\nLacks: ")
    return draft + lacks


app = (
    RunnablePassthrough.assign(draft=DRAFT | offline_model("task") | StrOutputParser())
    | RunnablePassthrough.assign(critique=CRITIQUE | RunnableLambda(criticize))
    | REVISE
    | RunnableLambda(revise)
)


def right(outputs: dict, reference_outputs: dict) -> bool:
    return outputs["output"] == reference_outputs["label"] + "."


ticket = {"ticket": "I want to cancel my subscription before it renews."}
before, was = (DRAFT.template, CRITIQUE.template, REVISE.template), app.invoke(ticket)
result = optimize(app, data=ROWS, evaluators=[right], optimizer_model="offline", runs_dir=None)
assert (result.outcome, result.applied) == ("improved", True)
assert {edit.prompt for edit in result.edits} == {"draft"}
print(f"{was!r} -> {app.invoke(ticket)!r}")
assert (was, app.invoke(ticket)) == ("refund.", "cancellation.")
result.revert()
assert (DRAFT.template, CRITIQUE.template, REVISE.template) == before  # byte for byte
