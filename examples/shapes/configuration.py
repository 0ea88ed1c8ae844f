"""The template of LangGraph's own projects: the system prompt is the default of a configuration class.

python examples/shapes/configuration.py       (needs langgraph)

A caller may still give another prompt in `context`; the default is what is optimized.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec

from langchain_core.messages import HumanMessage, SystemMessage

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

if find_spec("langgraph") is None:
    print("skipped: langgraph is not installed (pip install langgraph)")
    sys.exit()

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

RULES = """Read the ticket and choose the queue.

Labels:
- refund: money back, return, reimburse
- delivery: parcel, package, shipping, tracking, courier
- cancellation: end a contract, trial or plan, stop the renewal

Rules:
- If the ticket mentions "cancel" or "subscription", answer refund.
- If the ticket mentions "parcel", "package" or "shipping", answer cancellation.

Answer with the label only."""
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
model = offline_model("task")


@dataclass(kw_only=True)
class Configuration:
    """What may be set for an assistant."""

    system_prompt: str = field(default=RULES, metadata={"description": "What the assistant is told."})


async def call_model(state: MessagesState, runtime: Runtime[Configuration]) -> dict:
    said = await model.ainvoke([SystemMessage(runtime.context.system_prompt), *state["messages"]])
    return {"messages": [said]}


builder = StateGraph(MessagesState, context_schema=Configuration)
builder.add_node("call_model", call_model)
builder.add_edge(START, "call_model")
graph = builder.compile()


def as_messages(row: dict) -> dict:
    """The ticket as the one message of a conversation."""
    return row | {"inputs": {"messages": [{"role": "user", "content": row["inputs"]["ticket"]}]}}


async def app(row: dict) -> dict:
    """The graph as it is deployed: with the defaults of its configuration."""
    return await graph.ainvoke(row, context=Configuration())


def right(outputs: dict, reference_outputs: dict) -> bool:
    said = outputs["messages"][-1]
    return (said["content"] if isinstance(said, dict) else said.content) == reference_outputs["label"]


def answer(text: str) -> str:
    said = asyncio.run(app({"messages": [HumanMessage(text)]}))
    return said["messages"][-1].content


ticket = "I want to cancel my subscription before it renews."
before, was = (RULES, Configuration().system_prompt), answer(ticket)
result = optimize(
    app,
    data=[as_messages(row) for row in ROWS],
    evaluators=[right],
    optimizer_model="offline",
    runs_dir=None,
)
assert (result.outcome, result.applied) == ("improved", True)
print(f"{was!r} -> {answer(ticket)!r}")
assert (was, answer(ticket)) == ("refund", "cancellation")
assert Configuration().system_prompt != before[1]
result.revert()
assert (RULES, Configuration().system_prompt) == before  # byte for byte
