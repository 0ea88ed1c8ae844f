"""One program under several task models: calls of its own chat model go to the task model of an evaluation.

For each example the program runs once for each task model, with a config, thread ids and a ContextVar of its own. The
calls that all others of LangChain's chat models come to look at that variable, so it makes no difference where the
program holds its model, when it makes one, or how the model is asked; other users of the process are not touched.
What the program sets on a call (bound tools, structured output, temperature, streaming) goes along; what it sets on
its model does not.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_core.callbacks.base import BaseCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableParallel
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.config import merge_configs
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_promptopt._collections import without
from langchain_promptopt._langchain.descriptions import overlaid_call
from langchain_promptopt._langchain.discover import find_models, find_remotes, is_prompt_or_model
from langchain_promptopt._langchain.dryrun import Proof, SentCall, reaches_model, sent_calls
from langchain_promptopt._langchain.isolation import answers_kept
from langchain_promptopt._langchain.models import model_name
from langchain_promptopt._langchain.wire import ASKED, fronted, openai_calls
from langchain_promptopt._objects import walk
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.failures import FailedElsewhere, by_its_end, classify, classify_finish
from langchain_promptopt._runtime.usage import UsageCollector, beside, with_handler
from langchain_promptopt.errors import ConfigError, did_you_mean
from langchain_promptopt.types import BY_MODEL, ByModel, Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from langchain_core.language_models.base import BaseLanguageModel
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._langchain.dryrun import Calling
    from langchain_promptopt._runtime.usage import Collected
    from langchain_promptopt.types import StepAnswer

ALL = "*"
"""In `swap`: all models of the chain."""
_PATIENCE = 8
"""Evaluations that may ask no model that is seen before the run ends, where none has asked one."""
_MODEL = ("model", "model_name")
"""Arguments of a call that name the model."""
_OF_LANGCHAIN = frozenset(
    {"messages", "input", "config", "stop", "callbacks", "tags", "metadata", "run_name", "run_id"}
)
"""Arguments of a call that are LangChain's own, and the same for all models."""
_PARALLEL = "parallel_tool_calls"
_FORMAT = ("ls_structured_output_format", "structured_output_format")
_ANYWHERE = frozenset({"tools", "tool_choice", _PARALLEL, *_FORMAT, "temperature", "top_p", "max_tokens"})
"""Arguments of a call that models of other classes understand too, tools after they are put into their form."""

_INSIDE: ContextVar[bool] = ContextVar("promptopt_inside_task_model", default=False)
"""Whether a call has been given its model: what that model calls in turn is its own affair."""


class Panel:
    """The task models of a run, and which models of the program they replace.

    Args:
        models: The task models by name.
        swap: Names of the program's models to replace; None is the one model it has.
    """

    def __init__(self, models: Mapping[str, BaseChatModel], swap: Sequence[str] | None) -> None:
        self.models = dict(models)
        self.left: tuple[BaseLanguageModel[Any], ...] = ()
        """Models of the program that stay."""
        self._swap = None if swap is None else frozenset(swap)
        self._own = ""
        self._heard = False
        self._unheard = 0

    @classmethod
    def of(
        cls, task: Any, models: Mapping[str, BaseChatModel], swap: Sequence[str] | None, *, batched: bool
    ) -> Panel | None:
        """The task models of a task; None where it has none, or a prompt asks all in one evaluation.

        Args:
            task: What the user gave.
            models: The task models by name.
            swap: Names of the program's models to replace.
            batched: Whether requests go into batches: those of an evaluation have to be made at once.

        Raises:
            ConfigError: A chain's models cannot be replaced in batches.
        """
        bare = isinstance(task, BasePromptTemplate)
        if not models or (batched and bare):
            return None
        if batched:
            msg = "task_models cannot take the place of a chain's models in batches"
            raise ConfigError(msg, where="executor", mend="Leave executor out, or give the prompt template itself.")
        return cls(models, (ALL,) if bare else swap)

    # before anything is paid for

    async def prepare(
        self, task: Any, chain: Runnable[Any, Any], rows: Sequence[Mapping[str, Any]], given: Calling
    ) -> None:
        """Look at the models of a program in a dry run.

        Args:
            task: What the user gave.
            chain: What runs.
            rows: Inputs, as an evaluation would give them.
            given: What the chain is called with for a row.

        Raises:
            ConfigError: A model of it cannot be replaced, it has several and `swap` does not say which, or what it
                sets on a call has no form that a task model understands.
        """
        models = find_models(task)
        calls, seen = await sent_calls(chain, rows, models, given=given) if reaches_model(task) else ([], Proof())
        elsewhere = [path for path, _ in find_remotes(task)]
        elsewhere += [place for _, place in seen.met]
        if elsewhere:
            msg = "the program that this one asks has models of its own, which task_models cannot replace"
            raise ConfigError(msg, where=elsewhere[0], mend="Optimize that program where it runs.")
        if not calls:
            raise ConfigError(_UNSEEN, mend=_SEEN)
        every = [*_held_calls(task, models), *calls]
        self._choose(list(dict.fromkeys(map(_called, every))))
        kept: dict[int, BaseLanguageModel[Any]] = {}
        for call in every:
            if not self.replaces(_called(call)):
                kept[id(call.asked)] = call.asked
                continue
            for model in self.models.values():
                _fitted(model, call)
        self.left = tuple(kept.values())

    def _choose(self, names: Sequence[str]) -> None:
        """Check `swap` against the names of the program's models. Raises ConfigError."""
        shown = ", ".join(names)
        if self._swap is None:
            if len(names) > 1:
                raise ConfigError(_several(shown), mend=_which(names[0]))
            self._own = names[0]
            return
        for name in sorted(self._swap - {ALL}):
            if name not in names:
                msg = f"swap names {name!r}, and the chain asks no model of that name"
                raise ConfigError(msg, mend=f"{did_you_mean(name, names)}It asks: {shown}.")

    def replaces(self, name: str) -> bool:
        """Whether calls of the program's model of this name go to the task models.

        Raises:
            ConfigError: It is a second model, and the user has not said which ones to replace.
        """
        if self._swap is None:
            if name != self._own:
                raise ConfigError(_several(f"{self._own}, {name}"), mend=_which(self._own))
            return True
        return name in self._swap or ALL in self._swap

    def spares(self, name: str) -> bool:
        """Whether the user has named the models to replace, and this is none of them."""
        return self._swap is not None and name not in self._swap and ALL not in self._swap

    # use

    @contextmanager
    def standing(self) -> Iterator[None]:
        """A block in which models ask whose turn it is."""
        fronts = [(BaseChatModel, name, _chat_front(name)) for name in ASKED]
        with fronted(fronts, openai_calls(_client_front)):
            yield

    async def answers(
        self,
        ask: Callable[..., Awaitable[Any]],
        config: RunnableConfig | None,
        rendered: set[str] | None,
        answers: list[StepAnswer] | None,
    ) -> ByModel | Failure:
        """The program's answer under each task model, side by side; a Failure for one that fails by the prompt's fault.

        Args:
            ask: Runs the program once, given a config and what notes the names it rendered and what its steps said.
            config: Of the evaluation.
            rendered: Names of the prompts that were rendered are added to it.
            answers: What each step said is added to it, by model.

        Raises:
            ConfigError: A call could not go to the task model, or the program kept an answer from another one.
            Exception: What the program raised, where it failed under all models or where no prompt is to blame.

        Returns:
            The answers by model, or the one Failure where all models refuse to answer.
        """
        noted: dict[str, list[StepAnswer]] = {name: [] for name in self.models}
        failed: list[Exception] = []

        stands = [_Stand(name, model, self) for name, model in self.models.items()]

        async def under(stand: _Stand) -> Any:
            hits, said = set[str](), None if answers is None else noted[stand.name]
            heard = UsageCollector()
            try:
                value = await self._under(stand, lambda c: ask(with_handler(c, heard), hits, said), config, hits)
            except Exception as error:
                found = classify(error)
                if found.action != "zero":
                    raise
                failed.append(error)
                value = found.as_failure()
            finally:
                if rendered is not None:
                    rendered.update(hits)
            return _by_its_end(value, heard.collected)

        found = ByModel(zip(self.models, await together(map(under, stands)), strict=True))
        if len({stand.seen for stand in stands}) > 1:
            raise answers_kept()
        for name, steps in noted.items():
            for step in steps:
                (answers if answers is not None else []).append(step.of_model(name))
        if any(not isinstance(value, Failure) for value in found.values()):
            return found
        if failed:
            raise failed[0]
        refused: Failure = next(iter(found.values()))
        return refused

    async def _under(
        self,
        stand: _Stand,
        ask: Callable[[RunnableConfig], Awaitable[Any]],
        config: RunnableConfig | None,
        hits: set[str],
    ) -> Any:
        """The program's answer under one task model. Raises ConfigError where a call could not go to it.

        Args:
            stand: The evaluation.
            ask: Runs the program.
            config: Of the evaluation.
            hits: Holds the names of rendered prompts, once the program has run.
        """
        token = beside.set(stand)
        try:
            output = await ask(stand.config(config))
        except Exception:
            stand.check()
            raise
        finally:
            beside.reset(token)
        stand.check()
        self._count(stand, hits)
        return output

    def _count(self, stand: _Stand, hits: Collection[str]) -> None:
        """Note whether a model was asked. Raises ConfigError where a model that is out of sight must be the one."""
        self._heard = self._heard or stand.asked
        self._unheard += bool(hits) and not stand.asked
        if not self._heard and self._unheard >= _PATIENCE:
            raise ConfigError(_UNSEEN, mend=_SEEN)


def _by_its_end(value: Any, heard: Collected) -> Any:
    """An answer by the end of its last reply. Raises FailedElsewhere where its provider failed."""
    end = classify_finish(heard.finish_reason or "", heard.refusal)
    if end is not None and end.retryable:
        raise FailedElsewhere(end)
    return by_its_end(value, end)


def whose_turn() -> tuple[str, bool]:
    """The name of the task model of this evaluation, and whether a model was asked in it; "" without task models."""
    stand = beside.get()
    return (stand.name, stand.seen) if isinstance(stand, _Stand) else ("", False)


def panel(models: Mapping[str, Runnable[Any, Any]]) -> RunnableParallel[Any]:
    """Several models behind one prompt; the answer is each model's text, by its name."""
    return RunnableParallel({name: model | TextOf() for name, model in models.items()})


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


@dataclass(eq=False)
class _Stand:
    """One evaluation under one task model."""

    name: str
    model: BaseChatModel
    panel: Panel
    asked: bool = False
    """Whether it was asked."""
    seen: bool = False
    """Whether any chat model was."""
    fault: ConfigError | None = None
    """Why a call was refused: chains with fallbacks do not pass errors on."""

    def config(self, config: RunnableConfig | None) -> RunnableConfig:
        """The config of this evaluation: its runs tell whose they are, and calls that pass by are refused."""
        return merge_configs(config, {"metadata": {BY_MODEL: self.name}, "callbacks": [_PassedBy(self)]})

    def instead(self, call: SentCall) -> SentCall:
        """The call to make in place of this one. Raises ConfigError."""
        self.seen = True
        try:
            if not self.panel.replaces(_called(call)):
                return call
            found = SentCall(self.model, _fitted(self.model, call))
        except ConfigError as error:
            self.fault = self.fault or error
            raise
        self.asked = True
        return found

    def refuse(self, error: ConfigError) -> NoReturn:
        """Raise the error, also from `check`."""
        self.fault = self.fault or error
        raise error

    def check(self) -> None:
        """Raise the ConfigError of a call that was refused."""
        if self.fault is not None:
            raise self.fault


class _PassedBy(BaseCallbackHandler):
    """Refuses calls of models that cannot be given to a task model, before they are made."""

    run_inline = raise_error = True
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, stand: _Stand) -> None:
        self._stand = stand

    def on_chat_model_start(self, serialized: Any, messages: Any, **told: Any) -> None:  # noqa: ARG002 - LangChain's
        """A chat model is about to be called."""
        self._look(told)

    def on_llm_start(self, serialized: Any, prompts: Any, **told: Any) -> None:  # noqa: ARG002 - LangChain's
        """A completion model is about to be called."""
        self._look(told)

    def _look(self, told: Mapping[str, Any]) -> None:
        if _INSIDE.get():
            return
        params = told.get("invocation_params") or {}
        name = str(params.get("model_name") or params.get("model") or params.get("_type") or "a model")
        if not self._stand.panel.spares(name):
            self._stand.refuse(_irreplaceable(name, "LangChain's chat models are asked otherwise"))


# What stands in front of the models.


@contextmanager
def _inside() -> Iterator[None]:
    token = _INSIDE.set(True)
    try:
        yield
    finally:
        _INSIDE.reset(token)


def _chat_front(name: str) -> Callable[..., Any]:
    """What stands in front of a method of chat models: it calls the task model's in its place."""

    def front(method: Callable[..., Any], model: Any, /, *args: Any, **kwargs: Any) -> Any:
        stand = beside.get()
        if not isinstance(stand, _Stand) or _INSIDE.get():
            return method(model, *args, **kwargs)
        call = stand.instead(SentCall(model, kwargs))
        ask = functools.partial(method, model) if call.asked is model else getattr(call.asked, name)
        return _KINDS[name](functools.partial(ask, *args, **call.arguments))

    return front


def _client_front(method: Callable[..., Any], asked: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What stands in front of the openai client's own calls, which no chat model of another provider can answer."""
    stand = beside.get()
    if isinstance(stand, _Stand) and not _INSIDE.get():
        stand.instead(SentCall(asked, kwargs))
    return method(asked, *args, **kwargs)


def _generated(ask: Callable[[], Any]) -> Any:
    with _inside():
        return ask()


async def _agenerated(ask: Callable[[], Any]) -> Any:
    with _inside():
        return await ask()


def _streamed(ask: Callable[[], Any]) -> Iterator[Any]:
    """The parts of a stream; between two of them the program's own code runs, which is not inside."""
    with _inside():
        parts = iter(ask())
    try:
        while True:
            with _inside():
                part = next(parts, _END)
            if part is _END:
                return
            yield part
    finally:
        parts.close()


async def _astreamed(ask: Callable[[], Any]) -> AsyncIterator[Any]:
    with _inside():
        parts = aiter(ask())
    try:
        while True:
            with _inside():
                part = await anext(parts, _END)
            if part is _END:
                return
            yield part
    finally:
        await parts.aclose()


_END = object()
_KINDS: Mapping[str, Callable[[Callable[[], Any]], Any]] = {
    "generate": _generated,
    "agenerate": _agenerated,
    "stream": _streamed,
    "astream": _astreamed,
}


# What goes along with a call.


def _held_calls(task: Any, models: Iterable[BaseLanguageModel[Any]]) -> Iterator[SentCall]:
    """The calls that a program can make, as far as they can be told from what it holds."""
    renamed = set()
    for _, thing in walk(task, stop=is_prompt_or_model):
        if isinstance(thing, RunnableBinding) and isinstance(thing.bound, BaseChatModel):
            if any(name in thing.kwargs for name in _MODEL):
                renamed.add(id(thing.bound))
            yield SentCall(thing.bound, dict(thing.kwargs))
    for model in models:
        if isinstance(model, BaseChatModel) and id(model) not in renamed:
            yield SentCall(model, {})


def _called(call: SentCall) -> str:
    """The name of the model that a call asks for."""
    given = next((call.arguments[name] for name in _MODEL if call.arguments.get(name)), None)
    return given if isinstance(given, str) else model_name(call.asked)


def _fitted(model: BaseChatModel, call: SentCall) -> dict[str, Any]:
    """The arguments of a call in the form of the model that gets it. Raises ConfigError."""
    asked = call.asked
    if not isinstance(asked, BaseChatModel):
        where = "it is no chat model of LangChain" if hasattr(asked, "invoke") else "the openai client is asked itself"
        raise _irreplaceable(_called(call), where)
    kept = without(call.arguments, _MODEL)
    if _same_form(type(asked), type(model)):
        return kept
    for name in kept:
        if name not in _ANYWHERE | _OF_LANGCHAIN:
            raise _strange(name, asked, model)
    return _with_tools(model, asked, overlaid_call(kept)) if kept.get("tools") else kept


def _same_form(first: type, second: type) -> bool:
    """Whether two classes of models take the same arguments: one code makes the form of their tools."""
    home = _home(first)
    if home is not _home(second):
        return False
    return home is not BaseChatModel or issubclass(first, second) or issubclass(second, first)


def _home(kind: type) -> type:
    """The class that makes the form of tools."""
    return next(base for base in kind.__mro__ if "bind_tools" in vars(base))


def _with_tools(model: BaseChatModel, asked: BaseChatModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with tools as the model takes them. Raises ConfigError.

    Args:
        model: Gets the call.
        asked: Was called, and gave the tools their form.
        arguments: Those of the call.
    """
    given = dict(arguments)
    bound: dict[str, Any] = {}
    takes = inspect.signature(model.bind_tools).parameters
    if (choice := given.pop("tool_choice", None)) is not None:
        bound["tool_choice"] = _choice(choice)
    if _PARALLEL in given:
        wanted = given.pop(_PARALLEL)
        if _PARALLEL in takes:
            bound[_PARALLEL] = wanted
        elif wanted is not False or len(given["tools"]) > 1:  # a single tool that is forced is called once anyway
            raise _strange(_PARALLEL, asked, model)
    offered = "tools"
    try:
        tools = list(map(convert_to_openai_tool, given.pop(offered)))
        made: Any = model.bind_tools(tools, **bound)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise _strange(offered, asked, model) from error
    return {**getattr(made, "kwargs", {}), **given}


def _choice(choice: Any) -> Any:
    """A choice of tools as `bind_tools` of every class takes it: "auto", "any", or a tool's name."""
    if isinstance(choice, dict):
        inner = choice.get("function") or choice.get("tool") or choice
        choice = inner.get("name") or choice.get("type")
    return "any" if choice in ("required", True) else choice


# What is said.

_UNSEEN = "task_models replaces the chat models of a program, and no call of one was seen in this one"
_SEEN = (
    "Ask a chat model of LangChain in this process, held where the program can be seen to hold it (in the chain, a"
    " closure, an attribute, a global), or give the prompt template itself."
)


def _several(names: str) -> str:
    return f"the chain asks several models ({names}), and task_models does not say which of them it replaces"


def _which(name: str) -> str:
    return f'Name them, as in swap=["{name}"]; the others stay as they are. swap="*" replaces all.'


def _irreplaceable(name: str, why: str) -> ConfigError:
    msg = f"task_models cannot replace the model {name!r}: {why}"
    return ConfigError(msg, mend="Ask it through a chat model of LangChain, by invoke, batch or stream.")


def _strange(name: str, asked: BaseChatModel, model: BaseChatModel) -> ConfigError:
    kinds = f"{type(asked).__name__}, and the task model {model_name(model)!r} is a {type(model).__name__}"
    msg = f"the chain sets {name!r} on its calls of {model_name(asked)!r} in the form of a {kinds}"
    mend = "Take task models of the same class, or leave the setting to the models themselves."
    if name == "response_format":
        mend = (
            'Ask for the structure by a tool: with_structured_output(Schema, method="function_calling"), or'
            " response_format=ToolStrategy(Schema) in create_agent."
        )
    return ConfigError(msg, where="task_models", mend=mend)
