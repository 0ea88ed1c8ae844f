"""The user's chain as evaluations run it: the same objects, with less work around each call.

Two things cost a chain of prompt, model and parser most beside the model itself: `StrOutputParser`
hops to a thread to return a string, and the default HTTP pool looks at every connection it has
before each request. Evaluations run a shallow copy of the sequence in which these two are
replaced; the user's own objects, and clients the user passed, are left as they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableSequence
from langchain_core.runnables.base import RunnableBinding

from langchain_promptopt._langchain.connections import spread_client

if TYPE_CHECKING:
    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable


@dataclass
class Quick:
    """A chain to run, and the HTTP clients that were made for it."""

    chain: Runnable[Any, Any]
    clients: list[Any] = field(default_factory=list)

    async def aclose(self) -> None:
        """End the connections that were opened for this chain."""
        while self.clients:
            await self.clients.pop().aclose()


def quick(chain: Runnable[Any, Any]) -> Quick:
    """`chain` (or a model) with its parser and its models' connections made cheaper where they are the defaults.

    The connections are this run's own: those of langchain-openai's shared default client belong to
    the event loop that opened them, and fail in the next one.
    """
    made = Quick(chain)
    if type(chain) is not RunnableSequence:
        made.chain = _step(chain, made)
        return made
    steps = [_step(step, made) for step in chain.steps]
    if any(new is not old for new, old in zip(steps, chain.steps, strict=True)):
        made.chain = chain.model_copy(update={"first": steps[0], "middle": steps[1:-1], "last": steps[-1]})
    return made


def _step(step: Any, made: Quick) -> Any:
    if type(step) is StrOutputParser:
        return _inline(step)
    if type(step) is RunnableBinding:
        bound = _step(step.bound, made)
        return step if bound is step.bound else step.model_copy(update={"bound": bound})
    openai = sys.modules.get("langchain_openai")
    return _model(step, made) if openai is not None and type(step) is openai.ChatOpenAI else step


def _model(model: Any, made: Quick) -> Any:
    """The model on connections of its own, unless its client is not the one langchain-openai makes by default."""
    client = None if model.http_async_client is not None else spread_client(model.root_async_client)
    if client is None:
        return model
    made.clients.append(client)
    root = model.root_async_client.copy(http_client=client)
    return model.model_copy(update={"root_async_client": root, "async_client": root.chat.completions})


class _Inline(StrOutputParser):
    """The parser, without the thread."""

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> str:
        """Take the text."""
        return self.parse_result(result, partial=partial)


_Inline.__name__ = _Inline.__qualname__ = StrOutputParser.__name__  # traces read as always


def _inline(parser: StrOutputParser) -> StrOutputParser:
    return _Inline(**{name: getattr(parser, name) for name in parser.model_fields_set})
