"""An agent, and a graph with a subgraph and a checkpointer: optimized as they are.

python examples/agents_and_graphs.py       (needs langchain and langgraph)

Nothing is rewritten for it: the agent's system prompt is replaced in what goes out to the model, and written into the
agent and the constant it came from.
"""

import sys
from importlib.util import find_spec
from typing import TypedDict

from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

if find_spec("langchain") is None or find_spec("langgraph") is None:
    print("skipped: langchain and langgraph are not installed (pip install langchain)")
    sys.exit()

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

model = offline_model("task")
AGENT_RULES = demo_prompt().replace("\nTicket:\n{ticket}", "")
NODE_RULES = ChatPromptTemplate.from_template(demo_prompt())

agent = create_agent(model, [], system_prompt=AGENT_RULES)


class State(TypedDict, total=False):
    """What the nodes hand on."""

    ticket: str
    label: str


def clean(state: State) -> State:
    return {"ticket": state["ticket"].strip()}


def label(state: State) -> State:
    return {"label": (NODE_RULES | model).invoke({"ticket": state["ticket"]}).text}


inner = StateGraph(State)
inner.add_node("label", label)
inner.add_edge(START, "label")
outer = StateGraph(State)
outer.add_node("clean", clean)
outer.add_node("triage", inner.compile())
outer.add_node("done", lambda state: {"label": state["label"].strip()})
outer.add_edge(START, "clean")
outer.add_edge("clean", "triage")
outer.add_edge("triage", "done")
outer.add_edge("done", END)
graph = outer.compile(checkpointer=InMemorySaver())  # each evaluation gets a thread of its own


def as_messages(row: dict) -> dict:
    """The demo's ticket as the one message of a conversation."""
    return row | {"inputs": {"messages": [{"role": "user", "content": row["inputs"]["ticket"]}]}}


def right(outputs: dict, reference_outputs: dict) -> bool:
    said = outputs["messages"][-1]
    return (said["content"] if isinstance(said, dict) else said.content) == reference_outputs["label"]


def right_label(outputs: dict, reference_outputs: dict) -> bool:
    return outputs["label"] == reference_outputs["label"]


def texts() -> tuple[object, ...]:
    """All texts that may change, and what the agent answers."""
    asked = agent.invoke({"messages": [HumanMessage("I want to cancel my subscription before it renews.")]})
    return AGENT_RULES, repr(NODE_RULES), asked["messages"][-1].content


conversations = [as_messages(row) for row in demo_rows()]
for name, program, data, judge in (
    ("agent", agent, conversations, right),
    ("graph", graph, demo_rows(), right_label),
):
    before = texts()
    result = optimize(program, data=data, evaluators=[judge], optimizer_model="offline", runs_dir=None)
    assert (result.outcome, result.applied) == ("improved", True)
    assert texts() != before
    print(f"{name}: {result.test[0]['baseline']:.2f} -> {result.test[0]['best']:.2f}")
    result.revert()
    assert texts() == before  # byte for byte
