"""Running a chain without paying for a model, to see which of its prompts it renders and what it gives them.

Models that the walk reaches answer with a canned reply while the dry run's context is active
(other callers of the same object are served as always). A model the walk does not reach is
stopped by a callback before it is called. The run also ends as soon as every prompt has been
seen. Tools, retrievers and other code of the chain do run, as they would in an evaluation.

Programs without templates are looked at in the same way: the texts they hold that stand in what they send are prompts.
"""

from __future__ import annotations

import asyncio
import re
import string
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from langchain_core.callbacks.base import BaseCallbackHandler
from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables.base import RunnableGenerator
from langchain_core.runnables.config import run_in_executor

from langchain_promptopt._imports import package_of
from langchain_promptopt._langchain.discover import (
    PULL_ONCE,
    Found,
    asked_elsewhere,
    elsewhere_by,
    find_models,
    find_remotes,
    held_of,
    is_prompt_or_model,
    is_remote_home,
    may_ask_elsewhere,
    pulled_at,
)
from langchain_promptopt._langchain.held import HeldText, as_tunable, on_a_line
from langchain_promptopt._langchain.overlay import Overlay, overlaid
from langchain_promptopt._langchain.reading import marked_rows, new_mark
from langchain_promptopt._langchain.wire import fronted, tapped, texts_of
from langchain_promptopt._objects import holds_client, walk
from langchain_promptopt._runtime.usage import UsageCollector, beside, followed_threads, metered_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from langchain_core.runnables import Runnable, RunnableConfig


Thing = TypeVar("Thing")


@dataclass
class _Canned:
    """A reply, and how often a model was asked for it."""

    text: str
    asked: int = 0


_MOST_ASKED = 32
"""Calls of models in one dry run."""
_REPLY: ContextVar[_Canned | None] = ContextVar("promptopt_canned_reply", default=None)
_SENT: ContextVar[list[Any] | None] = ContextVar("promptopt_sent", default=None)
_CANNED: dict[int, list[Any]] = {}
_CHANGING = threading.Lock()


@contextmanager
def replying(reply: _Canned) -> Iterator[None]:
    """Canned models answer `reply` in this context."""
    token = _REPLY.set(reply)
    try:
        yield
    finally:
        _REPLY.reset(token)


@dataclass(frozen=True)
class SentCall:
    """A call that a dry run would have made.

    Args:
        asked: The model, or the part of an openai client.
        arguments: Those beside its messages: tools and schemas among them.
    """

    asked: Any
    arguments: dict[str, Any]


def _reply_to(model: Any, sent: tuple[Any, ...], arguments: dict[str, Any]) -> str | None:
    """The canned reply, None outside of a dry run; what was sent is noted where that is asked for.

    Args:
        model: The model that is called.
        sent: The messages.
        arguments: What else it was called with.
    """
    reply = _REPLY.get() or _in_thread(_Canned)
    if reply is None:
        return None
    reply.asked += 1
    if reply.asked > _MOST_ASKED:  # an agent that goes on until the model answers in a form of its own
        raise DryStop
    if (noted := _noting()) is not None:
        noted += [SentCall(model, arguments), sent]
    return reply.text


def _noting() -> list[Any] | None:
    """Where what is sent is noted."""
    noted = _SENT.get()
    return _in_thread(list) if noted is None else noted


def _in_thread(kind: type[Thing]) -> Thing | None:
    """What of a dry run has gone into a thread that the program started without its context."""
    standing = beside.get()
    found = standing if isinstance(standing, _InThreads) else ()
    return next((one for one in found if isinstance(one, kind)), None)


class _InThreads(tuple[Any, ...]):
    """The canned reply of a dry run, what it has seen, and where it notes what is sent."""

    __slots__ = ()


@contextmanager
def _also_in_threads(reply: _Canned, proof: Proof) -> Iterator[None]:
    """A block in which threads of the program are part of the dry run, so that they ask no model either."""
    noted = _SENT.get()
    token = beside.set(_InThreads((reply, proof) if noted is None else (reply, proof, noted)))
    told = threading.excepthook
    threading.excepthook = lambda args: None if issubclass(args.exc_type, DryStop) else told(args)
    try:
        with followed_threads, metered_by(UsageCollector()):
            yield
    finally:
        threading.excepthook = told
        beside.reset(token)


@contextmanager
def canned(models: Sequence[BaseLanguageModel[Any]], chain: Any = None) -> Iterator[None]:
    """Let these models answer from `replying` in its context, and as always elsewhere.

    Programs elsewhere that `chain` asks are not called in that context: a run ends there.
    """
    remotes = [thing for _, thing in find_remotes(chain) if not isinstance(thing, type)]
    with _CHANGING:
        mine = list(filter(_take, (*models, *remotes)))
    try:
        with fronted(later=[("httpx", _sends)]):
            yield
    finally:
        with _CHANGING:
            for model in mine:
                _give_back(model)


def _sends(httpx: Any) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """The one way out of the HTTP clients that programs elsewhere are asked with, and what stands in front of it."""
    return ((kind, "send", _stop_elsewhere) for kind in (httpx.Client, httpx.AsyncClient))


def _stop_elsewhere(send: Callable[..., Any], client: Any, /, *args: Any, **kwargs: Any) -> Any:
    """End a dry run that asks a program elsewhere, with what it is asked by and the user's line; nothing is sent."""
    if (_REPLY.get() or _in_thread(_Canned)) is not None and (met := _asking()) is not None:
        if (proof := _in_thread(Proof)) is not None:  # an exception of a thread ends there
            proof.note_met(met)
        raise _Elsewhere(*met)
    return send(client, *args, **kwargs)


def _asking() -> tuple[str, str] | None:
    """What asks a program elsewhere in this call, and the user's line that has it do so; None where nothing does."""
    kind = ""
    frame: types.FrameType | None = sys._getframe(1)  # the callers of a client tell whose it is
    while frame is not None:
        home = frame.f_globals.get("__name__", "")
        if is_remote_home(home):
            asking = frame.f_locals.get("self")
            kind = type(asking).__name__ if asking is not None else kind
            kind = home.partition(".")[0] if not kind or kind.endswith("HttpClient") else kind
        elif kind and package_of(home) is None:
            return kind, f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return (kind, "$") if kind else None


def _take(model: Any) -> bool:
    entry = _CANNED.get(id(model))
    if entry is not None:
        entry[2] += 1
        return True
    base: type = type(model)
    try:
        model.__class__ = _canned_class(base)
    except TypeError:  # a layout we cannot extend: the callback stops this model
        return False
    _CANNED[id(model)] = [model, base, 1]
    return True


def _give_back(model: Any) -> None:
    entry = _CANNED[id(model)]
    entry[2] -= 1
    if not entry[2]:
        del _CANNED[id(model)]
        model.__class__ = entry[1]


@cache
def _canned_class(base: type) -> type[Any]:
    """A model class that answers from `_REPLY` where it is set, without callbacks, limits or network."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    if issubclass(base, BaseLanguageModel):
        methods: dict[str, Any] = {method.__name__: method for method in (*_plain(base), *_async(base))}
    else:
        methods = {name: _stopping(base, name) for name in _ASKS if hasattr(base, name)}
    return types.new_class(base.__name__, (base,), exec_body=lambda space: space.update(names | methods))


_ASKS = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream", "transform", "atransform")
"""Methods by which a program elsewhere is asked."""


def _stopping(base: Any, name: str) -> Callable[..., Any]:
    """A method that ends a dry run, and is the class's own outside of one."""

    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _REPLY.get() is not None:
            raise DryStop(_UNREACHED)
        return getattr(base, name)(self, *args, **kwargs)

    return ask


def _chat(model: Any) -> bool:
    return isinstance(model, BaseChatModel)


def _value(model: Any, text: str) -> Any:
    return AIMessage(content=text) if _chat(model) else text


def _chunk(model: Any, text: str) -> Any:
    return AIMessageChunk(content=text) if _chat(model) else text


def _result(model: Any, count: int, text: str) -> LLMResult:
    one = ChatGeneration(message=AIMessage(content=text)) if _chat(model) else Generation(text=text)
    return LLMResult(generations=[[one] for _ in range(count)])


def _plain(base: Any) -> tuple[Callable[..., Any], ...]:
    def invoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        text = _reply_to(self, args[:1], kwargs)
        return base.invoke(self, *args, **kwargs) if text is None else _value(self, text)

    def generate(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        text = _reply_to(self, (batch,), kwargs)
        return base.generate(self, batch, *args, **kwargs) if text is None else _result(self, len(batch), text)

    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        text = _reply_to(self, args[:1], kwargs)
        yield from base.stream(self, *args, **kwargs) if text is None else [_chunk(self, text)]

    return invoke, generate, stream


def _async(base: Any) -> tuple[Callable[..., Any], ...]:
    async def ainvoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        text = _reply_to(self, args[:1], kwargs)
        return await base.ainvoke(self, *args, **kwargs) if text is None else _value(self, text)

    async def agenerate(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        text = _reply_to(self, (batch,), kwargs)
        return await base.agenerate(self, batch, *args, **kwargs) if text is None else _result(self, len(batch), text)

    async def astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        text = _reply_to(self, args[:1], kwargs)
        if text is not None:
            yield _chunk(self, text)
            return
        async for part in base.astream(self, *args, **kwargs):
            yield part

    return ainvoke, agenerate, astream


REPLIES = ("ok", "{}")
"""Canned replies, in turn: plain text, then something a JSON parser takes."""

MAX_ROWS = 24
"""Rows tried, so that branches chosen by the input are seen."""


_COMPARED = 4
"""Rows whose requests are compared, to see whether they differ at all."""

_UNREACHED = "it came to a model that a dry run must not call, made at run time or behind another program"


class DryStop(BaseException):
    """Ends a dry run early. No Exception, so that fallbacks and retries of the chain do not see it."""


class _Elsewhere(DryStop):
    """A dry run came to a client of a program elsewhere, which was not asked."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(_UNREACHED)
        self.met = (kind, place)


@dataclass
class Proof:
    """What a dry run saw."""

    calls: dict[int, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Live object (by id) -> variables it was rendered with."""
    direct: set[int] = field(default_factory=set)
    """Live objects whose variables are all the row's inputs as they are; others also have computed ones."""
    printed: set[int] = field(default_factory=set)
    """Live objects in whose text a whole row stands, printed as a dict."""
    copies: list[str] = field(default_factory=list)
    """Classes of copies of them that were rendered."""
    asked: bool = False
    """Whether a model was asked, so that what comes after hangs on its answer."""
    error: str = ""
    """Why the first run that failed did so."""
    in_thread: bool = False
    """Whether the chain must be run in a thread, because a part of it has no asynchronous form."""
    met: list[tuple[str, str]] = field(default_factory=list)
    """Clients of programs elsewhere that it came to, with their places."""

    def note_met(self, met: tuple[str, str]) -> None:
        """Add a client of a program elsewhere, once: what comes after hangs on its answer."""
        self.asked = True
        if met not in self.met:
            self.met.append(met)


Calling = Callable[[Mapping[str, Any], "RunnableConfig | None"], "tuple[Any, RunnableConfig | None]"]
"""From a row's inputs and a config to what the chain is called with."""


async def dry_run(
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    things: Sequence[Any],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Calling = lambda row, config: (dict(row), config),
    first_only: bool = False,
) -> Proof:
    """Run `chain` on rows until each of `things` was rendered, or rows and replies are used up.

    Args:
        chain: The user's chain; slots of `things` must be installed.
        rows: Inputs, as an evaluation would give them.
        things: Live prompts to look for.
        models: Models that answer with canned replies meanwhile.
        given: What the chain is called with for a row.
        first_only: Stop each run at the first rendering, for code whose calls we cannot stop.
    """
    wanted = set(map(id, things))

    async def tried(rows: Sequence[Mapping[str, Any]]) -> Proof:
        proof = Proof(in_thread=_only_in_thread(chain))

        def watch(_: Any) -> None:
            if first_only or wanted <= proof.calls.keys() | overlay.calls.keys():
                raise DryStop

        for reply in REPLIES:
            for row in rows[: MAX_ROWS if reply == REPLIES[0] else MAX_ROWS // 6]:
                overlay = Overlay(watch=watch)
                with overlaid(overlay):
                    await _one(chain, given(row, _CONFIG), _Canned(reply), proof)
                _note(proof, overlay, row, things)
                if wanted <= proof.calls.keys() or (first_only and proof.calls):
                    return proof
        return proof

    with canned(models, chain), tapped(_note_request, _note_call):
        with suppress(Exception):  # a config that the user's function makes of known inputs alone
            proof = await tried(marked_rows(rows, new_mark()))
            if proof.calls and (wanted <= proof.calls.keys() or proof.asked or not proof.error):
                return proof
        return await tried(rows)


async def sends_rows(
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Calling = lambda row, config: (dict(row), config),
    whole: bool = False,
) -> bool | None:
    """Whether what reaches the models differs from row to row; None where no model was reached.

    Args:
        chain: The user's chain.
        rows: Inputs that differ, as an evaluation would give them.
        models: Models that answer with canned replies meanwhile.
        given: What the chain is called with for a row.
        whole: Whether runs that end early tell nothing: what comes later may differ.
    """
    found: set[tuple[str, ...]] = set()
    seen = Proof()
    with canned(models, chain):
        for row in marked_rows(rows if whole else rows[:_COMPARED], new_mark()):
            with suppress(Exception):  # a config that the user's function makes of known inputs alone
                sent = await _noted(chain, given(row, _CONFIG), REPLIES[0], seen)
                found.add(tuple(str(one) for one in sent if not isinstance(one, SentCall)))
            if len(found) > 1:
                return True
    return False if any(found) and not (whole and seen.error) else None


async def sent_by_turns(
    chain: Runnable[Any, Any],
    turns: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Calling,
) -> list[str]:
    """All that reaches models at each of these turns, one after the other, each in a task of its own.

    Args:
        chain: The user's chain.
        turns: Inputs, as evaluations would give them; a row may come more than once.
        models: Models that answer with canned replies meanwhile.
        given: What the chain is called with for a row.
    """
    found: list[str] = []
    with canned(models, chain), tapped(_note_request, _note_call):
        for row in turns:
            turn = asyncio.create_task(_noted(chain, given(row, _CONFIG), REPLIES[0], Proof()))
            sent = await turn  # what a turn sets in its context is no memory: an evaluation has its own, too
            found.append("\n".join(texts_of(sent)))
    return found


async def sent_texts(
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Calling = lambda row, config: (dict(row), config),
) -> tuple[list[str], Proof]:
    """The texts that reach models without one being paid, and what else was seen.

    Args:
        chain: The user's chain.
        rows: Inputs, as an evaluation would give them.
        models: Models that answer with canned replies meanwhile; others end a run, and what they were sent counts.
        given: What the chain is called with for a row.
    """
    sent, seen = await _all_sent(chain, rows, models, given)
    return texts_of(sent), seen


async def sent_calls(
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Calling,
) -> tuple[list[SentCall], Proof]:
    """As `sent_texts`: the calls."""
    sent, seen = await _all_sent(chain, rows, models, given)
    return [one for one in sent if isinstance(one, SentCall)], seen


async def _all_sent(
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    given: Calling,
) -> tuple[list[Any], Proof]:
    found: list[Any] = []
    seen = Proof(in_thread=_only_in_thread(chain))
    with canned(models, chain), tapped(_note_request, _note_call):
        for reply in REPLIES:
            for row in rows[: MAX_ROWS // 3]:
                found += await _noted(chain, given(row, _CONFIG), reply, seen)
    return found, seen


async def _noted(
    chain: Runnable[Any, Any], call: tuple[Any, RunnableConfig | None], reply: str, seen: Proof
) -> list[Any]:
    """What one dry run sends to models; why it failed, and what else was seen, is added to `seen`."""
    sent: list[Any] = []
    answer = _Canned(reply)
    token = _SENT.set(sent)
    try:
        with overlaid(Overlay()):
            await _one(chain, call, answer, seen)
    finally:
        _SENT.reset(token)
    return sent


def _note_call(asked: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call that has no canned reply: noted."""
    if (noted := _noting()) is not None:
        noted.append(SentCall(asked, arguments))
    return arguments


def _note_request(text: str) -> str:
    """A request of a client that has no canned reply: noted, and the run ends before it is sent."""
    noted = _noting()
    if noted is None and _REPLY.get() is None:
        return text
    if noted is not None:
        noted.append(text)
    raise DryStop(_UNREACHED)


async def _one(
    chain: Runnable[Any, Any], call: tuple[Any, RunnableConfig | None], reply: _Canned, proof: Proof
) -> None:
    try:
        with replying(reply), _also_in_threads(reply, proof):
            await _answered_somehow(chain, call, proof)
    except DryStop as stop:
        proof.error = proof.error or str(stop)
        proof.asked = proof.asked or str(stop) == _UNREACHED
        if isinstance(stop, _Elsewhere):
            proof.note_met(stop.met)
    except Exception as error:  # noqa: BLE001  # style H8: the target call; the text is shown to the user
        proof.error = proof.error or f"{type(error).__name__}: {error}"
    proof.asked = proof.asked or bool(reply.asked)


async def _answered_somehow(chain: Runnable[Any, Any], call: tuple[Any, RunnableConfig | None], proof: Proof) -> None:
    """Run the chain; where a part of it has no asynchronous form, in a thread, and note that it needs one."""
    try:
        await run_chain(chain, *call, in_thread=proof.in_thread)
    except NotImplementedError:
        if proof.in_thread:
            raise
        proof.in_thread = True
        try:
            await run_chain(chain, *call, in_thread=True)
        except NotImplementedError:
            proof.in_thread = False
            raise


def _only_in_thread(chain: Any) -> bool:
    """Whether a part of a chain is a generator without an `async` form, which LangChain runs by `invoke` alone."""
    reached = (thing for _, thing in walk(chain, stop=is_prompt_or_model))
    return any(isinstance(thing, RunnableGenerator) and not hasattr(thing, "_atransform") for thing in reached)


def run_chain(
    chain: Runnable[Any, Any], value: Any, config: RunnableConfig | None, *, in_thread: bool
) -> Coroutine[Any, Any, Any]:
    """What the chain says; `in_thread` where a part of it, such as LangGraph's SqliteSaver, has no `async` form."""
    if in_thread:
        return run_in_executor(config, chain.invoke, value, config)
    return chain.ainvoke(value, config)


def _note(proof: Proof, overlay: Overlay, row: Mapping[str, Any], things: Sequence[Any]) -> None:
    known = {id(thing): thing for thing in things}
    proof.copies += overlay.copies
    for key, calls in overlay.calls.items():
        thing = known.get(key)
        own = frozenset(getattr(thing, "input_variables", ())) or row.keys()
        if key not in proof.calls and any(_all_from(row, call, own) for call in calls):
            proof.direct.add(key)
        if any(_prints(thing, call, row) for call in calls):
            proof.printed.add(key)
        proof.calls.setdefault(key, []).extend(calls)


def _all_from(row: Mapping[str, Any], call: Mapping[str, Any], names: Iterable[str]) -> bool:
    return all(name in row and call.get(name, _NONE) is row[name] for name in names)


def _prints(thing: Any, call: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the text that `thing` makes of these variables holds a whole row as Python prints it."""
    texts = [v for v in call.values() if isinstance(v, str)]
    if not row or any(str(dict(row)) in text for text in texts):
        return bool(row)
    held = []
    for v in call.values():
        if isinstance(v, Mapping) and _holds(v, row):
            held.append(v)
    template = getattr(thing, "template", thing) if not hasattr(thing, "format_prompt") else thing
    if not held or not hasattr(template, "format_prompt"):
        return False
    try:
        with overlaid(Overlay()):
            text = template.format_prompt(**call).to_string()
    except Exception:  # noqa: BLE001 - a foreign template's own code; that it fails is told elsewhere
        return False
    return any(str(value) in text for value in held)


def _holds(value: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(name in value and value[name] is row[name] for name in row)


_NONE = object()


class _Stop(BaseCallbackHandler):
    """Stops models that have no canned reply, before they are called."""

    raise_error = True
    run_inline = True

    def on_chat_model_start(self, serialized: Any, messages: Any, **_: Any) -> NoReturn:  # noqa: ARG002
        self._stop(messages)

    def on_llm_start(self, serialized: Any, prompts: Any, **_: Any) -> NoReturn:  # noqa: ARG002
        self._stop(prompts)

    def _stop(self, sent: Any) -> NoReturn:
        if (noted := _SENT.get()) is not None:
            noted.append(sent)
        raise DryStop(_UNREACHED)


_CONFIG: RunnableConfig = {"callbacks": [_Stop()], "run_name": "promptopt.dry_run"}


# What a program holds and sends beside its templates.

_CLIENTS = frozenset({"openai"})
"""Clients whose requests `wire` sees."""


@dataclass(frozen=True)
class Survey:
    """What was found in a program."""

    held: Sequence[HeldText]
    sent: Sequence[str]
    """Texts that a dry run would have sent to models; none where there was no dry run."""
    why: str = ""
    """Why the first dry run that failed did so."""
    pulled: Sequence[str] = ()
    """Where the program pulls prompts from LangSmith while it runs."""
    elsewhere: str = ""
    """What to do about a program that this one asks for its answers."""
    met: Sequence[tuple[str, str]] = ()
    """Clients of programs elsewhere that the dry run came to, with their places."""
    in_thread: bool = False
    """Whether the program must be run in a thread."""
    dollars: Sequence[tuple[str, str]] = ()
    """The objects of `string.Template` that the program holds: their names and texts."""

    @property
    def proof(self) -> Proof:
        """What was seen, as a dry run tells it."""
        calls = {id(held): list(held.seen) for held in self.held if held.proven}
        return Proof(calls=calls, asked=True, in_thread=self.in_thread)

    @property
    def proven(self) -> bool:
        """Whether a held text was seen in what is sent."""
        return any(held.proven for held in self.held)

    @property
    def usable(self) -> bool:
        """Whether a text that may be a prompt was seen, and not only the frame that the program puts around a row."""
        return any(held.proven and (held.is_prompt or not self.changed) for held in self.held)

    @property
    def hint(self) -> str:
        """How to make the program's prompts known, after what was seen of them."""
        if self.changed:
            return self.changed
        if self.pulled:
            pulled = f"Its prompt is in LangSmith: {self.pulled[0]} pulls it for each call. {PULL_ONCE}"
            return f"{self.elsewhere} {pulled}".lstrip()
        if self.elsewhere:
            return self.elsewhere
        mend = "Prompts must be LangChain templates reachable from it, or registered with tunable(...)."
        if self.sent:
            first = on_a_line(self.sent[0])
            return f"{mend} What it sends to a model begins with {first!r}, and no text of the program is that."
        return f"{mend} A dry run ended early: {self.why}" if self.why else mend

    def _sends_a_line_of(self, text: str) -> bool:
        """Whether a line of the text, long enough to be no chance, stands in what is sent."""
        for line in text.splitlines():
            told = line.strip()
            if len(told) >= _LINE and any(told in sent for sent in self.sent):
                return True
        return False

    @property
    def changed(self) -> str:
        """The line to write for a text of which only parts are sent: the program changes it on the way."""
        for held in self.held:
            if held.proven or not self._sends_a_line_of(held.text):
                continue
            where = f"Parts of the text {held.name!r} ({held.place}) are sent, changed on the way"
            return f"{where}. {as_tunable(held.name, held.text)} and send {held.name}.format(...)."
        for name, text in self.dollars:
            if self._sends_a_line_of(text):
                made = as_tunable(name, text)
                return f"{name} is a string.Template. {made} and send {name}.format(...) for {name}.substitute(...)."
        return ""


_LINE = 20
"""Characters of a line that does not stand in a message by chance."""


async def survey(
    task: Any,
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    given: Calling,
    *,
    templates: Mapping[str, Found],
) -> Survey:
    """The texts that a task holds beside its templates; without templates a dry run shows which of them are sent.

    Args:
        task: What the user gave.
        chain: What runs.
        rows: Inputs, as an evaluation would give them.
        given: What the chain is called with for a row.
        templates: Prompts that are known; with them there is no dry run, and the baseline shows what is sent.
    """
    sent: list[str] = []
    seen = Proof()
    elsewhere = asked_elsewhere(task)
    if not templates and (reaches_model(task) or (not elsewhere and may_ask_elsewhere(task))):
        sent, seen = await sent_texts(chain, rows, find_models(task), given=given)
    values = []
    for row in rows:
        values += texts_of(list(row.values()))
    elsewhere = elsewhere or next((elsewhere_by(*met) for met in seen.met), "")
    held = held_of(task, templates, sent, values)
    dollars = []
    for path, thing in walk(task, stop=is_prompt_or_model):
        if isinstance(thing, string.Template):
            dollars.append((re.findall(r"\w+", path)[-1], thing.template))
    return Survey(held, sent, seen.error, pulled_at(task), elsewhere, seen.met, seen.in_thread, dollars)


def reaches_model(task: Any) -> bool:
    """Whether a dry run of the task comes to models that can be kept from answering."""
    if find_models(task) or holds_client(task, _CLIENTS, stop=is_prompt_or_model):
        return True
    reached = (thing for _, thing in walk(task, stop=is_prompt_or_model))
    return any(map(_makes_model, reached))


def _makes_model(thing: Any) -> bool:
    if isinstance(thing, type):
        return issubclass(thing, BaseLanguageModel)
    return getattr(thing, "__module__", "") == "langchain.chat_models.base"
