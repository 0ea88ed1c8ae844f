"""Retrieval: one prompt writes the search, a second one answers from what was found.

python examples/shapes/rag.py

The fault is in the first prompt, and only the last answer is scored: the better text goes into the right prompt.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

SEARCH = PromptTemplate.from_template(
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
    name="search",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
ANSWER = PromptTemplate.from_template(
    "Answer from the passage.\n\nPassage: {passage}\n\nTicket:\n{ticket}", name="answer"
)
LABELS = sorted({row["outputs"]["label"] for row in ROWS})
HANDBOOK = [f"{label}: see chapter {i} of the handbook." for i, label in enumerate(LABELS, 1)]


def retrieve(query: str) -> str:
    """The passages that begin with the query; your vector store stands here."""
    return "".join(passage for passage in HANDBOOK if passage.startswith(query))


def answer(prompt: object) -> str:
    """Stands in for the model that answers: it says what the passage says."""
    return prompt.to_string().partition("Passage: ")[2].partition("\n")[0]


search = SEARCH | offline_model("task") | StrOutputParser() | retrieve
app = RunnablePassthrough.assign(passage=search) | ANSWER | RunnableLambda(answer)


def right(outputs: dict, reference_outputs: dict) -> bool:
    return outputs["output"].startswith(reference_outputs["label"] + ":")


ticket = {"ticket": "I want to cancel my subscription before it renews."}
before, was = (SEARCH.template, ANSWER.template), app.invoke(ticket)
result = optimize(app, data=ROWS, evaluators=[right], optimizer_model="offline", runs_dir=None)
assert (result.outcome, result.applied) == ("improved", True)
assert {edit.prompt for edit in result.edits} == {"search"}
print(f"{was!r} -> {app.invoke(ticket)!r}")
assert (was[:6], app.invoke(ticket)[:12]) == ("refund", "cancellation")
result.revert()
assert (SEARCH.template, ANSWER.template) == before  # byte for byte
