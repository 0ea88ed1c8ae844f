"""The user's chain as evaluations run it: the same answers, with less work around each model call.

Evaluations run a copy of the chain in which four costs are removed; the user's own objects, and HTTP clients
that the user passed, are left as they are.

* httpx checks every idle connection before and after each request: our connections are on aiohttp.
* `ChatOpenAI` reads a reply that is already there in another thread: the copy reads it where it is.
* The openai SDK looks up the declared type of every key of a message: plain JSON is sent as it is.
* `StrOutputParser` uses a thread, and a sequence opens a task for each step: both run in line.

The last three run LangChain's and the SDK's own code with two helpers replaced. Where that code looks different,
or is instrumented, it is not replaced.
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
"""The class of the HTTP client that langchain-openai makes by default."""
_KEPT_SECONDS = 5.0  # as in the default pool


def own_client(root: Any) -> Any | None:
    """An HTTP client like the default one of this `AsyncOpenAI`, on aiohttp; it belongs to one event loop.

    None where the client is not the default one, uses a proxy or is instrumented, and where the address
    contains a user name, which aiohttp would send as a second authorization. Such a client is kept.
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
    """The certificates, read once: reading them takes longer than a call."""
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
    """`ChatOpenAI`, or a subclass that reads replies without another thread."""
    return _lean_model(cls, cls._agenerate)


@cache  # keyed by the code too: it may be instrumented between two runs
def _lean_model(cls: Any, ask: Any) -> Any:
    if not inspect.isfunction(ask) or "run_in_executor" not in ask.__code__.co_names:
        return cls
    return _with(cls, "_agenerate", _with_globals(ask, run_in_executor=_now))


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
    return _with(cls, "create", _with_globals(ask, async_maybe_transform=_plainly(transform)))


def _the_sdks_own(create: Any) -> bool:
    """Whether the request method is the SDK's own, not an instrumented one."""
    home = str(sys.modules["openai"].__path__[0])
    return inspect.isfunction(create) and create.__code__.co_filename.startswith(home)


def _with_globals(function: Any, **names: Any) -> FunctionType:
    """The function with these globals in place of its own."""
    changed = {**function.__globals__, **names}
    made = FunctionType(function.__code__, changed, function.__name__, function.__defaults__, function.__closure__)
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
        return all(map(_is_json, value.values()))
    if type(value) is list:
        return all(map(_is_json, value))
    return value is None or type(value) in _PLAIN


_PLAIN = {str, int, float, bool}


@dataclass
class Quick:
    """A chain to run, and the HTTP clients that were made for it."""

    chain: Runnable[Any, Any]
    clients: list[Any] = field(default_factory=list)

    @property
    def straight(self) -> bool:
        """Whether it is a prompt, a model and perhaps a parser, so that nothing else can happen in it."""
        return type(self.chain) is _Straight

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
        and list(map(type, rest)) in ([], [_Inline])
    )


class _Straight(RunnableSequence[Any, Any]):
    """The sequence. Where all handlers listen to models only, it calls its steps without tasks of their own."""

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Answer one input.

        Args:
            input: The prompt's variables.
            config: LangChain's config; its handlers decide whether each step is reported.
            **kwargs: LangChain's; with any of them, the sequence runs as LangChain's own does.

        Returns:
            The parser's text, or the model's message where the chain has no parser.
        """
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
    """Whether every handler of this run listens to model calls only."""
    return all(h.ignore_chain for h in get_async_callback_manager_for_config(ensure_config(config)).handlers)


class _Inline(StrOutputParser):
    """The parser, without a thread."""

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> str:
        """Take the text."""
        return self.parse_result(result, partial=partial)


_Inline.__name__ = _Inline.__qualname__ = StrOutputParser.__name__  # traces read as always


def _inline(parser: StrOutputParser) -> StrOutputParser:
    return _Inline(**{name: getattr(parser, name) for name in parser.model_fields_set})
