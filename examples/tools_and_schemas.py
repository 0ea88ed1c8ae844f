"""The description of a tool's argument and of a schema's field, optimized like any other text.

python examples/tools_and_schemas.py

They are left alone unless `tune` names them. They are replaced in what the model is sent, and written into the tool,
the pydantic class and everything else that holds them; `promptopt apply RUN --to FILE` writes docstrings and fields.
"""

from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from langchain_promptopt import optimize, prompts
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

RULES = demo_prompt().replace("\nTicket:\n{ticket}", "")


class ToolReader(BaseChatModel):
    """Stands in for a model that calls tools: it follows the description of the first argument, without a network."""

    @property
    def _llm_type(self) -> str:
        return "tool-reader"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        """Bound to tools in OpenAI's form."""
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], tool_choice=tool_choice, **kwargs)

    def _generate(self, messages: list[BaseMessage], *_: Any, tools: Any, **__: Any) -> ChatResult:
        function = tools[0]["function"]
        argument, told = next(iter(function["parameters"]["properties"].items()))
        said = offline_model("task").invoke([SystemMessage(told["description"]), messages[-1]]).text
        call = {"name": function["name"], "args": {argument: said}, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


class Ticket(BaseModel):
    """What a ticket is about."""

    label: str = Field(description=RULES)


class Arguments(BaseModel):
    """What `route` is called with."""

    label: str = Field(description=RULES)


@tool(args_schema=Arguments)
def route(label: str) -> dict:
    """Route the ticket to the desk of its label."""
    return {"label": label}


ask = ChatPromptTemplate.from_template("{ticket}")
with_tool = ask | ToolReader().bind_tools([route]) | (lambda message: route.invoke(message.tool_calls[0]["args"]))
with_schema = ask | ToolReader().with_structured_output(Ticket)


def right(outputs: Any, reference_outputs: dict) -> bool:
    said = outputs["label"] if "label" in outputs else outputs["output"]["label"]
    return said == reference_outputs["label"]


for one in prompts(with_tool, [row["inputs"] for row in demo_rows()]):
    print(f"{one.name:18} {one.kind:10} {'may change' if one.may_change else one.why}")

for program, name in ((with_tool, "tool:route.label"), (with_schema, "schema:Ticket.label")):
    before = Ticket.model_json_schema(), route.tool_call_schema.model_json_schema()
    result = optimize(
        program, data=demo_rows(), evaluators=[right], optimizer_model="offline", tune=name, runs_dir=None
    )
    assert (result.outcome, result.applied) == ("improved", True)
    assert (Ticket.model_json_schema(), route.tool_call_schema.model_json_schema()) != before
    print(f"{name}: {result.test[0]['baseline']:.2f} -> {result.test[0]['best']:.2f}")
    result.revert()
    assert (Ticket.model_json_schema(), route.tool_call_schema.model_json_schema()) == before
