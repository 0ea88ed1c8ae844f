"""The user's chain as evaluations run it: the same objects, with less work around each call.

Some things cost a chain of prompt, model and parser most beside the model itself: `StrOutputParser`
hops to a thread to return a string, the sequence opens a task and a callback manager for each step
even where nobody listens, the default HTTP pool looks at every connection it has before each
request, and what `lean` tells. Evaluations run a shallow copy of the sequence in which these are
replaced; the user's own objects, and clients the user passed, are left as they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.config import ensure_config, get_async_callback_manager_for_config

from langchain_promptopt._langchain.connections import own_client
from langchain_promptopt._langchain.lean import lean_completions, lean_model

if TYPE_CHECKING:
    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable, RunnableConfig


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
    if _is_straight(steps):
        made.chain = _Straight(first=steps[0], middle=steps[1:-1], last=steps[-1], name=chain.name)
    elif any(new is not old for new, old in zip(steps, chain.steps, strict=True)):
        made.chain = chain.model_copy(update={"first": steps[0], "middle": steps[1:-1], "last": steps[-1]})
    return made


def _step(step: Any, made: Quick) -> Any:
    if type(step) is StrOutputParser:
        return _inline(step)
    if _is_binding(step):
        bound = _step(step.bound, made)
        return step if bound is step.bound else step.model_copy(update={"bound": bound})
    openai = sys.modules.get("langchain_openai")
    return _model(step, made) if openai is not None and type(step) is openai.ChatOpenAI else step


def _is_binding(step: Any) -> bool:
    """Whether this is a binding of langchain-core's own; that of a chat model is of a class of its own there."""
    return isinstance(step, RunnableBinding) and type(step).__module__.startswith("langchain_core.")


def _model(model: Any, made: Quick) -> Any:
    """The model on connections of its own, unless its client is not the one langchain-openai makes by default."""
    client = None if model.http_async_client is not None else own_client(model.root_async_client)
    if client is None:
        return model
    made.clients.append(client)
    root = model.root_async_client.copy(http_client=client)
    completions = lean_completions(root)
    plain: Any = type(model)
    copy = model.model_copy(update={"root_async_client": root, "async_client": completions})
    object.__setattr__(copy, "__class__", lean_model(plain))
    return copy


def _is_straight(steps: list[Any]) -> bool:
    """A prompt, a chat model (with arguments bound to it, or not) and perhaps our parser, each running as is."""
    prompt, model, *rest = steps
    inner = model.bound if _is_binding(model) else model
    return (
        isinstance(prompt, BasePromptTemplate)
        and type(prompt).ainvoke is BasePromptTemplate.ainvoke
        and isinstance(inner, BaseChatModel)
        and [type(step) for step in rest] in ([], [_Inline])
    )


class _Straight(RunnableSequence[Any, Any]):
    """The sequence; where nobody listens to more than model calls its steps follow each other plainly."""

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Answer one input."""
        if kwargs or not _models_alone(config):
            return await super().ainvoke(input, config, **kwargs)
        prompt, model, *rest = self.steps
        value = await prompt.aformat_prompt(**prompt._validate_input(input))  # type: ignore[attr-defined]  # a template
        value = await model.ainvoke(value, config)
        for parser in rest:
            value = parser.parse_result([ChatGeneration(message=value)])  # type: ignore[attr-defined]  # ours
        return value


_Straight.__name__ = _Straight.__qualname__ = RunnableSequence.__name__  # traces read as always


def _models_alone(config: RunnableConfig | None) -> bool:
    """Whether every handler that would hear of this run wants to hear of its models only."""
    return all(h.ignore_chain for h in get_async_callback_manager_for_config(ensure_config(config)).handlers)


class _Inline(StrOutputParser):
    """The parser, without the thread."""

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> str:
        """Take the text."""
        return self.parse_result(result, partial=partial)


_Inline.__name__ = _Inline.__qualname__ = StrOutputParser.__name__  # traces read as always


def _inline(parser: StrOutputParser) -> StrOutputParser:
    return _Inline(**{name: getattr(parser, name) for name in parser.model_fields_set})
