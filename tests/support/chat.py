"""A chat model that is a function of its messages, for chains under test."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


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
