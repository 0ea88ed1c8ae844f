"""A tool chain: the model calls a tool, the tool runs, and a second prompt answers with its result.

python examples/shapes/tool_chain.py

The fault is in the prompt that chooses what the tool is called with; the tool itself never sees a prompt.
"""

from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model


class Caller(BaseChatModel):
    """Stands in for a model that calls tools: it follows its prompt, without a network."""

    @property
    def _llm_type(self) -> str:
        return "caller"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Bound to tools in OpenAI's form."""
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **kwargs)

    def _generate(self, messages: list[BaseMessage], *_: Any, tools: Any, **__: Any) -> ChatResult:
        said = offline_model("task").invoke(messages).text
        call = {"name": tools[0]["function"]["name"], "args": {"queue": said}, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


@tool
def open_case(queue: str) -> str:
    """Open a case in a queue."""
    return f"{queue}-{sum(map(ord, queue))}"


CALL = PromptTemplate.from_template(
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
    name="call",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
TELL = PromptTemplate.from_template("Tell the customer the number of the case.\n\nCase: {case}", name="tell")


def run_tool(message: AIMessage) -> dict:
    return {"case": open_case.invoke(message.tool_calls[0]["args"])}


def tell(prompt: object) -> str:
    """Stands in for the model that answers."""
    return f"Your case is {prompt.to_string().partition('Case: ')[2]}."


app = CALL | Caller().bind_tools([open_case]) | run_tool | TELL | RunnableLambda(tell)


def right(outputs: dict, reference_outputs: dict) -> bool:
    return f" {reference_outputs['label']}-" in outputs["output"]


ticket = {"ticket": "I want to cancel my subscription before it renews."}
before, was = (CALL.template, TELL.template), app.invoke(ticket)
result = optimize(app, data=ROWS, evaluators=[right], optimizer_model="offline", runs_dir=None)
assert (result.outcome, result.applied) == ("improved", True)
assert {edit.prompt for edit in result.edits} == {"call"}
print(f"{was!r} -> {app.invoke(ticket)!r}")
assert "refund" in was
assert "cancellation" in app.invoke(ticket)
result.revert()
assert (CALL.template, TELL.template) == before  # byte for byte
