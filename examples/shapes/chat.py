"""A chat with a checkpointer: rows are conversations, and each evaluation has a thread of its own.

python examples/shapes/chat.py       (needs langgraph)

No thread of an example reaches another one, and none reaches the threads that your program keeps.
"""

import asyncio
import sys
from importlib.util import find_spec

from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

if find_spec("langgraph") is None:
    print("skipped: langgraph is not installed (pip install langgraph)")
    sys.exit()

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

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
PROMPT = ChatPromptTemplate.from_messages([("system", RULES), MessagesPlaceholder("messages")])


async def talk(state: MessagesState) -> dict:
    return {"messages": [await (PROMPT | offline_model("task")).ainvoke({"messages": state["messages"]})]}


builder = StateGraph(MessagesState)
builder.add_node("talk", talk)
builder.add_edge(START, "talk")
graph = builder.compile(checkpointer=InMemorySaver())


def as_conversation(row: dict) -> dict:
    """The ticket as the last of three messages."""
    turns = [("user", "Hello."), ("assistant", "Hello! What can we do?"), ("user", row["inputs"]["ticket"])]
    return row | {"inputs": {"messages": [{"role": role, "content": text} for role, text in turns]}}


def right(outputs: dict, reference_outputs: dict) -> bool:
    said = outputs["messages"][-1]
    return (said["content"] if isinstance(said, dict) else said.content) == reference_outputs["label"]


async def answer(thread: str) -> str:
    said = [HumanMessage("I want to cancel my subscription before it renews.")]
    state = await graph.ainvoke({"messages": said}, {"configurable": {"thread_id": thread}})
    return state["messages"][-1].content


before, was = PROMPT.messages[0].prompt.template, asyncio.run(answer("one"))
result = optimize(
    graph,
    data=[as_conversation(row) for row in ROWS],
    evaluators=[right],
    optimizer_model="offline",
    runs_dir=None,
)
assert (result.outcome, result.applied) == ("improved", True)
now = asyncio.run(answer("two"))
print(f"{was!r} -> {now!r}")
assert (was, now) == ("refund", "cancellation")
assert len({state.config["configurable"]["thread_id"] for state in graph.checkpointer.list(None)}) > 2
result.revert()
assert PROMPT.messages[0].prompt.template == before  # byte for byte
