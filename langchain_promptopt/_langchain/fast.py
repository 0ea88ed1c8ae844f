"""Connections for many calls at once.

httpx's pool walks over all its connections before and after each request, asking the operating
system about every idle one, and reads replies in Python; with 64 in flight that is a third of a
call's processor time. The openai SDK brings a client on aiohttp, which does neither.

The code of langchain-openai and of the openai SDK, with two helpers of theirs replaced where they do nothing.

A call of `ChatOpenAI` hops to a thread to read a reply that is already there: a tenth of its
processor time, and with many calls in flight each waits twice for the interpreter. The SDK looks up
the declared type of every key of every message, as much again, and leaves plain JSON as it is. So a
subclass runs the very same code with another `run_in_executor` and another `async_maybe_transform`.
Where that code is written otherwise, or somebody has put an instrument around it, the class stays.

The user's chain as evaluations run it: the same objects, with less work around each call.

Some things cost a chain of prompt, model and parser most beside the model itself: `StrOutputParser`
hops to a thread to return a string, the sequence opens a task and a callback manager for each step
even where nobody listens, the default HTTP pool looks at every connection it has before each
request, and what `lean` tells. Evaluations run a shallow copy of the sequence in which these are
replaced; the user's own objects, and clients the user passed, are left as they are.
"""

from __future__ import annotations

import inspect
import socket
import sys
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.config import ensure_config, get_async_callback_manager_for_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable, RunnableConfig

_DEFAULT_CLIENT = "_AsyncHttpxClientWrapper"
"""What langchain-openai makes when nobody passes a client."""
_KEPT_SECONDS = 5.0  # as in the default pool


def own_client(root: Any) -> Any | None:
    """An HTTP client like the default one of this `AsyncOpenAI`, on aiohttp; it belongs to one event loop.

    None where its client is anybody else's, speaks through a proxy, or was instrumented, and where the
    address names a user, which aiohttp takes for a second authorization: those stay.
    """
    default = getattr(root, "_client", None)
    transport = getattr(default, "_transport", None)
    library = sys.modules.get(type(transport).__module__.partition(".")[0])
    plain = library is not None and type(transport) is getattr(library, "AsyncHTTPTransport", None)
    if type(default).__name__ != _DEFAULT_CLIENT or not plain or getattr(default, "_mounts", None):
        return None
    if "create" in vars(root.chat.completions) or urlsplit(str(root.base_url)).username is not None:
        return None
    options = getattr(getattr(transport, "_pool", None), "_socket_options", None)
    return _client(library, default, options or ())


@cache
def _certificates(library: Any) -> Any:
    """Reading the certificates takes longer than a call: once is enough."""
    return library.create_ssl_context()


def _client(library: Any, default: Any, options: Sequence[tuple[Any, ...]]) -> Any:
    from openai import DefaultAioHttpClient

    client = DefaultAioHttpClient(
        base_url=default.base_url,
        timeout=default.timeout,
        follow_redirects=default.follow_redirects,
        verify=_certificates(library),
    )
    transport: Any = client._transport
    transport.client = _session(_certificates(library), options)  # made on the first request, in its event loop
    return client


def _session(certificates: Any, options: Sequence[tuple[Any, ...]]) -> Callable[[], Any]:
    """Makes a session whose sockets have `options`: langchain-openai's keep long calls alive behind firewalls."""

    def opened(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        for option in options:
            made.setsockopt(*option)
        return made

    def session() -> Any:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector

        connector = TCPConnector(ssl=certificates, limit=0, keepalive_timeout=_KEPT_SECONDS, socket_factory=opened)
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar())

    return session


def lean_model(cls: Any) -> Any:
    """`ChatOpenAI`, reading replies where it is."""
    return _lean_model(cls, cls._agenerate)


@cache  # by its code too: an instrument may be put around it between two runs
def _lean_model(cls: Any, ask: Any) -> Any:
    if not inspect.isfunction(ask) or "run_in_executor" not in ask.__code__.co_names:
        return cls
    return _with(cls, "_agenerate", _in_a_world(ask, run_in_executor=_now))


def lean_completions(root: Any) -> Any:
    """The chat completions of an `AsyncOpenAI`, which send a body of plain JSON as it is."""
    completions = root.chat.completions
    plain: Any = type(completions)
    cls = _lean_completions(plain, plain.create)
    return completions if cls is plain else cls(root)


@cache
def _lean_completions(cls: Any, create: Any) -> Any:
    ask = inspect.unwrap(create)
    if not inspect.isfunction(ask) or "async_maybe_transform" not in ask.__code__.co_names or not _the_sdks_own(create):
        return cls
    transform = ask.__globals__["async_maybe_transform"]
    return _with(cls, "create", _in_a_world(ask, async_maybe_transform=_plainly(transform)))


def _the_sdks_own(create: Any) -> bool:
    """Whether nobody has put an instrument around the request."""
    home = str(sys.modules["openai"].__path__[0])
    return inspect.isfunction(create) and create.__code__.co_filename.startswith(home)


def _in_a_world(function: Any, **names: Any) -> FunctionType:
    """The function with these globals in place of its own."""
    world = {**function.__globals__, **names}
    made = FunctionType(function.__code__, world, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _with(cls: Any, name: str, function: FunctionType) -> Any:
    made = type(cls.__name__, (cls,), {name: function, "__module__": cls.__module__})
    made.__qualname__ = cls.__qualname__  # traces read as always
    return made


async def _now(_executor: Any, do: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return do(*args, **kwargs)


def _plainly(transform: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """The SDK's transform, for what is not plain JSON alone."""
    import openai

    left_out = (openai.NotGiven, openai.Omit)

    async def plainly(data: Mapping[str, Any], declared: Any) -> Any:
        given = {k: v for k, v in data.items() if not isinstance(v, left_out)}
        return given if _is_json(given) else await transform(data, declared)

    return plainly


def _is_json(value: Any) -> bool:
    """Whether the SDK would send the value as it is: what json writes, and no file, date, model or generator."""
    if type(value) is dict:
        return all(_is_json(v) for v in value.values())
    if type(value) is list:
        return all(_is_json(v) for v in value)
    return value is None or type(value) in _PLAIN


_PLAIN = {str, int, float, bool}


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
