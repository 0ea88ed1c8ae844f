"""Map-reduce: one prompt for each part of a text, all parts at a time, and one prompt that joins the notes.

python examples/shapes/map_reduce.py

The fault is in the prompt that joins. The prompt of the parts is sent several times for each example.
"""

import asyncio
import re

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

NOTE = PromptTemplate.from_template("Note what the customer wants in this part.\n\nPart:\n{part}", name="note")
JOIN = PromptTemplate.from_template(
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
{notes}""",
    name="join",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]


def take_notes(prompt: object) -> str:
    """Stands in for the model that takes notes: it notes the whole part."""
    return prompt.to_string().partition("Part:\n")[2]


async def each_part(row: dict) -> dict:
    parts = [{"part": part} for part in re.split(r"(?<=[.!?]) ", row["ticket"])]
    return {"notes": " ".join(await (NOTE | RunnableLambda(take_notes)).abatch(parts))}


app = RunnableLambda(each_part) | JOIN | offline_model("task") | StrOutputParser()


def answer(text: str) -> str:
    return asyncio.run(app.ainvoke({"ticket": text}))


ticket = "Good morning. I want to cancel my subscription before it renews."
before, was = (NOTE.template, JOIN.template), answer(ticket)
result = optimize(
    app,
    data=ROWS,
    evaluators=["exact_match"],
    optimizer_model="offline",
    runs_dir=None,
)
assert (result.outcome, result.applied) == ("improved", True)
assert "join" in {edit.prompt for edit in result.edits}
print(f"{was!r} -> {answer(ticket)!r}")
assert (was, answer(ticket)) == ("refund", "cancellation")
result.revert()
assert (NOTE.template, JOIN.template) == before  # byte for byte
