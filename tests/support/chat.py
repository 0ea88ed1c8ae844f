"""A chat model that is a function of its messages, for chains under test."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from tests.support.tasks import answer


class EchoChat(BaseChatModel):
    """Answers with the texts of its messages, and counts its calls."""

    calls: list[str] = []  # noqa: RUF012  # pydantic copies it for each instance
    fn: Any = None

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        text = "|".join(str(m.content) for m in messages)
        self.calls.append(text)
        answer = self.fn(text) if self.fn else text
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])


class Clerk(BaseChatModel):
    """Does what the descriptions of tools and schemas say; with `echoes`, says what it was told of the first field."""

    sent: list[dict[str, Any]] = []  # noqa: RUF012  # pydantic copies it for each instance
    echoes: bool = False

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(t) for t in tools], **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.sent.append(kwargs)
        if isinstance(messages[-1], ToolMessage) and kwargs["tools"][0]["function"]["name"] not in {"Sorted"}:
            return _reply(AIMessage(str(messages[-1].content)))
        schema = kwargs.get("response_format", {}).get("json_schema")
        given = schema or kwargs["tools"][0]["function"]
        (field, told), *_ = (given.get("parameters") or given["schema"])["properties"].items()
        told = told.get("description", "")
        text = f"{given.get('description', '')} {told}\n{messages[-1].text}"
        said = told if self.echoes else answer([HumanMessage(text)])
        if schema:
            return _reply(AIMessage(json.dumps({field: said})))
        return _reply(AIMessage("", tool_calls=[{"name": given["name"], "args": {field: said}, "id": "call-1"}]))


def _reply(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])
