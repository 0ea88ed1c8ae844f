"""An agent judged by its trajectory: which tools it called, with what, in which order.

python examples/shapes/trajectory.py       (needs langchain and agentevals)

Each example is a conversation, and its reference is the conversation that is wanted. The final answer says nothing of
the fault, because the agent always says "Done": agentevals compares the tool calls, as in `langsmith.evaluate`.
"""

import json
import sys
from importlib.util import find_spec
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

if find_spec("langchain") is None or find_spec("agentevals") is None:
    print("skipped: langchain or agentevals is not installed (pip install langchain agentevals)")
    sys.exit()

from agentevals.trajectory.match import create_trajectory_match_evaluator
from langchain.agents import create_agent


class Clerk(BaseChatModel):
    """Stands in for a model that calls tools: it follows its prompt, without a network."""

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Bound to tools, by their number: it knows them by heart."""
        return self.bind(tools=len(tools), **kwargs)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage("Done.")
        else:
            queue = offline_model("task").invoke(messages).text
            said = AIMessage("", tool_calls=[{"name": "open_case", "args": {"queue": queue}, "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=said)])


@tool
def open_case(queue: str) -> str:
    """Open a case in a queue."""
    return f"opened in {queue}"


def wanted(row: dict) -> dict:
    """The demo's ticket as a conversation, and the trajectory that is right for it."""
    asked = {"role": "user", "content": row["inputs"]["ticket"]}
    label = row["outputs"]["label"]
    function = {"name": "open_case", "arguments": json.dumps({"queue": label})}
    trajectory = [
        asked,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "content": f"opened in {label}", "tool_call_id": "1"},
        {"role": "assistant", "content": "Done."},
    ]
    return row | {"inputs": {"messages": [asked]}, "outputs": {"messages": trajectory}}


RULES = demo_prompt().replace("\nTicket:\n{ticket}", "")
agent = create_agent(Clerk(), [open_case], system_prompt=RULES)
ticket = {"messages": [{"role": "user", "content": "I want to cancel my subscription before it renews."}]}


def opened() -> str:
    """The queue of the case that the agent opens."""
    return agent.invoke(ticket)["messages"][1].tool_calls[0]["args"]["queue"]


before, was = RULES, opened()
result = optimize(
    agent,
    data=[wanted(row) for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}],
    evaluators=[create_trajectory_match_evaluator(trajectory_match_mode="strict")],
    optimizer_model="offline",
    runs_dir=None,
)
assert (result.outcome, result.applied) == ("improved", True)
print(f"{result.test[0]['metric']}: {result.test[0]['baseline']:.2f} -> {result.test[0]['best']:.2f}")
print(f"{was!r} -> {opened()!r}")
assert opened() != was
result.revert()
assert (RULES, opened()) == (before, was)  # byte for byte
