"""What goes out to models: recorded, and changed for one evaluation.

While a run is open, the public calls of LangChain's chat models and of the openai client look into a ContextVar
before they send. Without an active `Traffic` in their context they do what they always do, so other users of the
same process are not touched, and candidates under evaluation never mix.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_promptopt._langchain.held import HeldText

    Change: TypeAlias = Callable[["Traffic", tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]

_ACTIVE: ContextVar[Traffic | None] = ContextVar("promptopt_traffic", default=None)
_CHANGING = threading.Lock()
_OPEN: dict[str, Any] = {"count": 0, "undo": []}


@dataclass
class Traffic:
    """The messages of one evaluation.

    Args:
        texts: Held text -> the candidate's text, in the format of its template; texts that are not named stay.
    """

    texts: Mapping[int, tuple[HeldText, str]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    """The texts of all messages, as the program built them."""
    hits: set[int] = field(default_factory=set)
    """Ids of the held texts that were replaced."""
    _passed: set[str] = field(default_factory=set)

    def passed(self, text: str) -> str:
        """The text to send in place of this one."""
        if text in self._passed:  # LangChain's models call the openai client, and streams fall back to `generate`
            return text
        self.sent.append(text)
        for key, (held, new) in self.texts.items():
            if held.find(text) is not None:
                self.hits.add(key)
                text = held.replaced(text, new)
        self._passed.add(text)
        return text


@contextmanager
def carrying(traffic: Traffic) -> Iterator[Traffic]:
    """Record and change what is sent in this context and in all contexts copied from it."""
    token = _ACTIVE.set(traffic)
    try:
        yield traffic
    finally:
        _ACTIVE.reset(token)


@contextmanager
def tapped() -> Iterator[None]:
    """Let the calls of models consult the active traffic; may be entered several times at once."""
    with _CHANGING:
        _OPEN["count"] += 1
        if _OPEN["count"] == 1:
            _OPEN["undo"] = [*_tap_langchain(), *_tap_openai()]
    try:
        yield
    finally:
        with _CHANGING:
            _OPEN["count"] -= 1
            if not _OPEN["count"]:
                for undo in reversed(_OPEN["undo"]):
                    undo()


def _tap_langchain() -> Iterator[Callable[[], None]]:
    for name in ("generate", "agenerate", "stream", "astream"):
        yield _replace(BaseChatModel, name, _batch if "generate" in name else _input)


def _tap_openai() -> Iterator[Callable[[], None]]:
    """The openai client's own calls, where it is loaded. LangChain's models use them too, and have been seen then."""
    for module, kinds in (
        ("openai.resources.chat.completions.completions", ("Completions", "AsyncCompletions")),
        ("openai.resources.responses.responses", ("Responses", "AsyncResponses")),
    ):
        found = sys.modules.get(module)
        for kind in kinds:
            if found is not None and hasattr(found, kind):
                yield _replace(getattr(found, kind), "create", _request)


def _replace(owner: Any, name: str, change: Change) -> Callable[[], None]:
    """Put a method in front of a class's own that changes its arguments under an active traffic."""
    plain = owner.__dict__[name]

    def changed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        traffic = _ACTIVE.get()
        return (args, kwargs) if traffic is None else change(traffic, args, kwargs)

    # what is awaited or iterated is made by the plain method, so one plain wrapper serves all four kinds of call
    @functools.wraps(plain)
    def tap(self: Any, *args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs = changed(args, kwargs)
        return plain(self, *new_args, **new_kwargs)

    setattr(owner, name, tap)
    return lambda: setattr(owner, name, plain)


def _batch(traffic: Traffic, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`generate(messages, ...)`: a list of conversations."""
    given = args[0] if args else kwargs["messages"]
    changed = [[_message(traffic, message) for message in conversation] for conversation in given]
    return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {"messages": changed})


def _input(traffic: Traffic, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`stream(input, ...)`: a prompt value, a text, or messages in any of LangChain's forms."""
    from langchain_core.messages.utils import convert_to_messages
    from langchain_core.prompt_values import PromptValue

    given = args[0] if args else kwargs["input"]
    if isinstance(given, str):
        changed: Any = traffic.passed(given)
    else:
        messages = given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)
        changed = [_message(traffic, message) for message in messages]
    return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {"input": changed})


def _request(traffic: Traffic, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`create(messages=...)` of chat completions, `create(input=..., instructions=...)` of responses."""
    changed = dict(kwargs)
    for name in ("messages", "input"):
        given = kwargs.get(name)
        if isinstance(given, str):
            changed[name] = traffic.passed(given)
        elif isinstance(given, list):
            changed[name] = [_plain_message(traffic, message) for message in given]
    if isinstance(kwargs.get("instructions"), str):
        changed["instructions"] = traffic.passed(kwargs["instructions"])
    return args, changed


def _message(traffic: Traffic, message: Any) -> Any:
    if not isinstance(message, BaseMessage):
        return message
    content = _content(traffic, message.content)
    return message if content is message.content else message.model_copy(update={"content": content})


def _plain_message(traffic: Traffic, message: Any) -> Any:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return message | {"content": _content(traffic, message["content"])}


def _content(traffic: Traffic, content: Any) -> Any:
    """A message's content with its text passed on; parts that are no text stay as they are."""
    if isinstance(content, str):
        new = traffic.passed(content)
        return content if new == content else new
    if not isinstance(content, list):
        return content
    parts = [_part(traffic, part) for part in content]
    return content if all(new is old for new, old in zip(parts, content, strict=True)) else parts


def _part(traffic: Traffic, part: Any) -> Any:
    if isinstance(part, str):
        return traffic.passed(part)
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        new = traffic.passed(part["text"])
        return part if new == part["text"] else part | {"text": new}
    return part
