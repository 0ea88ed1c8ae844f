"""`ScriptedModel`: a chat model whose answers are a function of the messages. Fakes are part of the product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

Answer = Callable[[Sequence[BaseMessage]], str | AIMessage]


class ScriptedModel(BaseChatModel):
    """Answers with `fn(messages)`, counts its calls, and reports a word-based usage.

    Deterministic where `fn` is; safe under any concurrency. An exception raised by `fn` is raised
    by the call, so outages can be scripted too.

    Args:
        fn: From the messages to the reply's text, or to a whole AIMessage.
        name: The model's name, part of its identity.
    """

    fn: Answer
    model_name: str = "scripted"
    calls: list[Sequence[BaseMessage]] = []  # noqa: RUF012 - pydantic copies the default per instance
    temperature: float | None = None

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.calls.append(tuple(messages))
        answer = self.fn(messages)
        if isinstance(answer, AIMessage):
            return ChatResult(generations=[ChatGeneration(message=answer)])
        read = sum(len(str(m.text).split()) for m in messages)
        said = len(answer.split())
        usage = {"input_tokens": read, "output_tokens": said, "total_tokens": read + said}
        message = AIMessage(answer, usage_metadata=usage, response_metadata={"model_name": self.model_name})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)
