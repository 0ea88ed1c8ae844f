"""Structured extraction: a prompt, and a schema that the answer must have.

python examples/shapes/extraction.py

The fault is in the prompt. `examples/tools_and_schemas.py` optimizes the descriptions of the schema itself.
"""

from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model


class Filler(BaseChatModel):
    """Stands in for a model that fills schemas: its label is what the prompt says, the first word is the subject."""

    @property
    def _llm_type(self) -> str:
        return "filler"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        """Bound to schemas in OpenAI's form."""
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], tool_choice=tool_choice, **kwargs)

    def _generate(self, messages: list[BaseMessage], *_: Any, tools: Any, **__: Any) -> ChatResult:
        subject = messages[-1].text.partition("Ticket:\n")[2].split()[0]
        filled = {"queue": offline_model("task").invoke(messages).text, "subject": subject}
        call = {"name": tools[0]["function"]["name"], "args": filled, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


class Ticket(BaseModel):
    """What a ticket is about."""

    queue: str
    subject: str


PROMPT = PromptTemplate.from_template(
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
{ticket}"""
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
app = PROMPT | Filler().with_structured_output(Ticket)


def right(outputs: dict, reference_outputs: dict) -> bool:
    return outputs["queue"] == reference_outputs["label"]


ticket = {"ticket": "I want to cancel my subscription before it renews."}
before, was = PROMPT.template, app.invoke(ticket)
result = optimize(app, data=ROWS, evaluators=[right], optimizer_model="offline", runs_dir=None)
assert (result.outcome, result.applied) == ("improved", True)
print(f"{was!r} -> {app.invoke(ticket)!r}")
assert (was.queue, app.invoke(ticket).queue) == ("refund", "cancellation")
result.revert()
assert PROMPT.template == before  # byte for byte
