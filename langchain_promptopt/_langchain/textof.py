"""A model's answer as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


class TextOf(Runnable[Any, Any]):
    """The text of a message; anything else as it is.

    As `StrOutputParser`, without its span and its thread hop a call.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002, ARG002  # LangChain's signature
        """The text of `input`."""
        return str(input.text) if isinstance(input, BaseMessage) else input

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002  # LangChain's signature
        """The text of `input`."""
        return self.invoke(input, config)
