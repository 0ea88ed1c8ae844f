"""What a chain remembers between calls, and the ids that keep evaluations apart.

Graphs with a checkpointer and runnables with a message history are found by their class names, so their packages
are not imported. Each evaluation, repeats and retries included, gets its own thread and session ids, even where
an id was bound to the chain. Memory that takes no id is refused. So is code that makes ids of its own: where reading
it shows that, before the run, else at the first id that two evaluations use.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables.config import CONFIG_KEYS, merge_configs, var_child_runnable_config

from langchain_promptopt._collections import map_values
from langchain_promptopt._imports import users_errors
from langchain_promptopt._langchain.discover import is_prompt_or_model
from langchain_promptopt._langchain.dryrun import sent_by_turns
from langchain_promptopt._langchain.held import on_a_line
from langchain_promptopt._langchain.reading import marked_rows, new_mark
from langchain_promptopt._objects import walk
from langchain_promptopt._runtime.usage import also_heard, with_handler
from langchain_promptopt._values import content_hash
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langchain_core.language_models.base import BaseLanguageModel
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import Runnable, RunnableConfig

ChainConfig: TypeAlias = "Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]] | None"
"""The caller's config for evaluations: one for all examples, or a function of an example's inputs."""

_FRESH = (
    "Give the run a chain without it, or a function that builds a fresh one for each example:"
    " optimize(lambda row: build().invoke(row), ...)."
)
"""What to do about a memory."""
_ID_WORDS = ("session", "thread", "conversation", "chat")
_ID_NAME = re.compile(rf"(?i)(?:chat_)?(?:{'|'.join(_ID_WORDS)})_?(?:id|key|uuid)")
_ID_TYPES = frozenset({str, int, uuid.UUID})


@dataclass(frozen=True)
class Isolation:
    """The config of each evaluation.

    Attributes:
        given: The caller's config for the chain.
        ids: Names in `configurable` that get a fresh value each time, with their types.
        graphs: Whether the chain runs graphs, which may stop and ask a person.
    """

    given: ChainConfig = None
    ids: Mapping[str, type] = field(default_factory=dict)
    graphs: bool = False

    def config(self, inputs: Mapping[str, Any], config: RunnableConfig | None) -> RunnableConfig | None:
        """The config for one evaluation, added to the run's. Raises ConfigError if it is not a config."""
        if self.given is None and not self.ids:
            return config
        own = checked(_config_of(self.given, inputs))
        # An id that the caller's config gives would be the same for every candidate and repeat of the example.
        fresh = _fresh_ids({**_named_ids(own), **self.ids})
        return merge_configs(own, config, {"configurable": fresh} if fresh else None)


class Sessions:
    """What one target's evaluations may not share: ids as its models saw them, replies, answers kept in a cache.

    Args:
        ids: Names in `configurable` that keep conversations apart.
        graphs: Whether graphs run inside.
    """

    def __init__(self, ids: Iterable[str], *, graphs: bool = False) -> None:
        self._ids = tuple(ids)
        self.graphs = graphs
        self.asked: Counter[str] = Counter()
        """What graphs asked a person, in evaluations that gave an answer without a reply."""
        self._users: dict[tuple[str, str], _Evaluation] = {}
        self._replies: dict[str, _Evaluation | None] = {}
        self._asked: dict[str, set[str]] = {}
        self._unread: dict[str, list[Mapping[str, Any]]] = {}
        """By prompts, the rows of `require_asked` that are not in `_asked` yet: few runs ever look there."""
        self._lock = threading.Lock()

    def notes(self) -> Iterator[str]:
        """What a user should know of the evaluations so far."""
        if self.asked:
            said, times = next(iter(self.asked)), self.asked.total()
            yield (
                f"a graph stopped at an interrupt in {times} evaluations and asked a person, as {said!r}; the program"
                " answered without a reply, and these answers were scored"
            )

    def evaluation(self, config: RunnableConfig | None) -> _Evaluation:
        """One evaluation: a block that gives the config that lets it be seen, and the evaluation itself.

        Raises:
            ConfigError: It uses an id that another evaluation has used, or sends a reply that another one got.
        """
        return _Evaluation(self, config)

    def shared(self, configurable: Mapping[str, Any], user: _Evaluation) -> tuple[str, str] | None:
        """The first id that another evaluation has used, with its name."""
        with self._lock:
            for name in self._ids:
                value = str(configurable.get(name, ""))
                if value and self._users.setdefault((name, value), user) is not user:
                    return name, value
        return None

    def replied(self, ids: Iterable[str], user: _Evaluation) -> None:
        """Note the ids of replies that an evaluation got; one that two of them got tells nothing."""
        with self._lock:
            for name in ids:
                self._replies[name] = user if self._replies.get(name, user) is user else None

    def holds_reply(self, ids: Iterable[str], user: _Evaluation) -> bool:
        """Whether one of these messages is a reply that another evaluation got."""
        with self._lock:
            for name in ids:
                if self._replies.get(name) not in (None, user):
                    return True
        return False

    def require_asked(self, inputs: Mapping[str, Any], prompts: str, *, asked: bool) -> None:
        """Refuse an answer that was kept from an evaluation with other prompts.

        Args:
            inputs: The example's.
            prompts: The id of the prompts.
            asked: Whether the evaluation rendered a prompt or asked a model.

        Raises:
            ConfigError: It did not, and an earlier one of the example with other prompts did.
        """
        with self._lock:
            if asked:
                self._unread.setdefault(prompts, []).append(inputs)
                return
            for name, rows in self._unread.items():
                for row in rows:
                    self._asked.setdefault(content_hash(row), set()).add(name)
            self._unread.clear()
            earlier = self._asked.get(content_hash(inputs), set())
        if earlier - {prompts}:
            raise answers_kept()


def answers_kept() -> ConfigError:
    """The error where an evaluation got the answer of another one."""
    msg = (
        "an example was answered without a prompt or a model, and with other prompts, or another task model, they"
        " were used: the chain keeps answers from earlier evaluations"
    )
    mend = (
        "Switch that cache off for the run (functools.lru_cache, a dict of answers, a cache policy of LangGraph), or"
        " make the prompt's text and the model's name parts of its key."
    )
    return ConfigError(msg, where="chain", mend=mend)


class _Evaluation(BaseCallbackHandler):
    """Stops an evaluation before it asks a model within another one's conversation."""

    run_inline = raise_error = True
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True
    """It listens to models only, so that chains run without a callback for each step."""

    def __init__(self, sessions: Sessions, config: RunnableConfig | None) -> None:
        self._sessions = sessions
        self._config = config or {}
        self._shared = self._mend = ""
        self._interrupts = _Interrupts()
        self.asked = False
        """Whether it asked a model."""

    def __enter__(self) -> tuple[RunnableConfig, Self]:
        heard = also_heard(self, self._config)
        return with_handler(heard, self._interrupts) if self._sessions.graphs else heard, self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.check()
        if kind is None:
            self._sessions.asked.update(self._interrupts.open.values())

    def on_chat_model_start(self, *given: Any, **_: Any) -> None:
        """A chat model is about to be called; the config in force around it holds the ids."""
        self.asked = True
        around = (var_child_runnable_config.get() or {}).get("configurable") or {}
        if found := self._sessions.shared(around, self):
            self._shared = f"{found[0]!r} is {found[1]!r} in both, set by the chain's own code"
            self._mend = (
                f"Leave {found[0]!r} out of that code, or take it from the config that the code is given: each"
                " evaluation gets an id of its own."
            )
        elif self._sessions.holds_reply(_ids_of(chain.from_iterable(given[1])) if len(given) > 1 else (), self):
            self._shared = "a request of one holds a reply that the model gave in the other"
            self._mend = _FRESH
        self.check()

    def on_llm_start(self, *_: Any, **__: Any) -> None:
        """A completion model is about to be called."""
        self.on_chat_model_start()

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """A model has replied."""
        made = [getattr(reply, "message", None) for reply in chain.from_iterable(response.generations)]
        self._sessions.replied(_ids_of(made), self)

    def check(self) -> None:
        """Raise ConfigError where a call was made, or tried, within another evaluation's conversation."""
        if self._shared:
            msg = f"two evaluations use the same conversation: {self._shared}"
            raise ConfigError(msg, where="config", mend=self._mend)


def _ids_of(messages: Iterable[Any]) -> list[str]:
    """The ids of model replies among messages: LangChain gives each one of its own, and histories keep it."""
    found: list[str] = []
    for message in messages:
        if type(message) not in _ASKED and isinstance(message, AIMessage) and message.id:
            found.append(message.id)
    return found


_ASKED = frozenset({SystemMessage, HumanMessage})
"""Most of what a model is sent; they are no replies, and asking whether they are is slow."""


class _Interrupts(BaseCallbackHandler):
    """Hears which nodes of graphs stop to ask a person, and which of them go on with a reply."""

    run_inline = True
    ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self) -> None:
        self.open: dict[str, str] = {}
        """What each node that waits has asked."""
        self._nodes: dict[uuid.UUID, str] = {}

    def on_chain_start(self, *_: Any, run_id: uuid.UUID, name: str | None = None, **__: Any) -> None:
        """A step begins."""
        self._nodes[run_id] = name or ""

    def on_chain_end(self, *_: Any, run_id: uuid.UUID, **__: Any) -> None:
        """A step has ended: it asks no more."""
        self.open.pop(self._nodes.pop(run_id, ""), None)

    def on_chain_error(self, error: BaseException, *, run_id: uuid.UUID, **_: Any) -> None:
        """A step has stopped."""
        node = self._nodes.pop(run_id, "")
        if any(kind.__name__ == "GraphInterrupt" for kind in type(error).__mro__):
            asked = next(iter(error.args[0] if error.args else ()), error)
            self.open[node] = on_a_line(str(getattr(asked, "value", asked)))


class GraphInterruptError(Exception):
    """A graph stopped to ask a person, so the example has no answer."""


def refuse_interrupt(output: Any) -> None:
    """Raise GraphInterruptError where a LangGraph graph returned what it asks in place of an answer."""
    asked = output.get("__interrupt__") if isinstance(output, Mapping) else None
    if asked:
        said = on_a_line(str(getattr(asked[0], "value", asked[0])))
        msg = (
            f"the graph stopped at an interrupt and waits for a person, who is asked {said!r}; give the run a graph "
            "that goes on by itself, with this answer given in its config or its state"
        )
        raise GraphInterruptError(msg)


def replaced_ids(given: ChainConfig, inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of a caller's config that each evaluation gets afresh, so that those given are not used."""
    return tuple(_named_ids(_config_of(given, inputs)))


def _config_of(given: ChainConfig, inputs: Mapping[str, Any]) -> Any:
    if not callable(given):
        return given or {}
    with users_errors("the function that makes the config of an example fails", "config"):
        return given(inputs)


def _named_ids(config: Mapping[str, Any]) -> dict[str, type]:
    """Ids of conversations that a config gives, by their usual names, with their types."""
    given = config.get("configurable") or {}
    return {name: type(value) for name, value in given.items() if _ID_NAME.fullmatch(name) and type(value) in _ID_TYPES}


def _fresh_ids(kinds: Mapping[str, type]) -> dict[str, Any]:
    return map_values(_fresh, kinds)


def _fresh(kind: type) -> Any:
    made = uuid.uuid4()
    if kind is int:
        return made.int >> 65  # 63 bits: what databases take as an integer key
    return made if kind is uuid.UUID else str(made)


def checked(given: Any) -> RunnableConfig:
    """A caller's config, its keys looked at. Raises ConfigError."""
    if not isinstance(given, Mapping):
        msg = f"config is a dict, or a function that makes one from an example's inputs, not a {type(given).__name__}"
        raise ConfigError(msg, where="config", mend='For example config={"configurable": {"user": "u1"}}.')
    for name in given:
        if name not in CONFIG_KEYS:
            mend = f'Put it under "configurable": config={{"configurable": {{{name!r}: ...}}}}.'
            msg = f"a config has no key {name!r}"
            raise ConfigError(msg, where="config", mend=mend)
    return cast("RunnableConfig", dict(given))


def isolation_of(task: Any, given: ChainConfig = None) -> Isolation:
    """The config that keeps each evaluation of `task` apart from the others.

    Args:
        task: The chain or function.
        given: The caller's config, or a function of an example's inputs that returns one.

    Raises:
        ConfigError: The chain has a memory that no id separates; the error says where.
    """
    if given is not None and not callable(given):
        checked(given)
    ids: dict[str, type] = {}
    things = list(walk(task, stop=is_prompt_or_model))
    histories = [thing for _, thing in things if _is_a(thing, "RunnableWithMessageHistory")]
    for path, thing in things:
        if _is_a(thing, "RunnableWithMessageHistory"):
            ids |= _history_ids(path, thing)
        elif _is_a(thing, "Pregel"):
            ids |= _graph_ids(path, thing)
        elif _is_a(thing, "BaseStore") and type(thing).__module__.startswith("langgraph."):
            raise _shared(path, thing, "a store is one memory for all threads")
        elif _is_a(thing, "BaseMemory") or (_is_a(thing, "BaseChatMessageHistory") and not histories):
            raise _shared(path, thing, "it takes no session id")
    for path, function in things if ids else ():
        if inspect.isfunction(function) and (found := _own_id(function, ids)):
            raise _shared(path, function, found)
    return Isolation(given, ids, graphs=any(_is_a(thing, "Pregel") for _, thing in things))


async def require_no_memory(
    program: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[BaseLanguageModel[Any]],
    *,
    given: Callable[[Mapping[str, Any], RunnableConfig | None], tuple[Any, RunnableConfig | None]],
) -> None:
    """Run two rows without a paid call, and the first of them again: what is sent for it must not hold the other one.

    This finds memories in lists of texts, files and databases, which nothing in the program's structure shows.

    Args:
        program: The user's chain.
        rows: Inputs, as an evaluation would give them.
        models: Models that answer with canned replies meanwhile.
        given: What the chain is called with for a row.

    Raises:
        ConfigError: It does, once the other one was run.
    """
    if not rows:
        return
    for words in (True, False):
        first, other = f"{new_mark()}?", f"{new_mark()}!"
        turns = [marked_rows(rows, first, words=words)[0], marked_rows(rows, other, words=words)[-1]]
        try:
            before, _, after = await sent_by_turns(program, [*turns, turns[0]], models, given=given)
        except Exception:  # noqa: BLE001, S112 - a config that the user's function makes of known inputs alone
            continue
        if after.count(other) > before.count(other):
            raise _remembers()
        if first in before:  # else the program looks up what was marked
            return


def _remembers() -> ConfigError:
    msg = "examples would share what the chain remembers: in a dry run, what it sent for one example held the"
    msg += " input of another that was run before it"
    return ConfigError(msg, where="chain", mend=_FRESH)


def _history_ids(path: str, bot: Any) -> dict[str, type]:
    """The ids of a message history that tell conversations apart; all of them where no name says which do."""
    specs = {}
    for spec in bot.config_specs:
        if isinstance(spec.annotation, type):
            specs[spec.id] = spec.annotation
        else:
            specs[spec.id] = str
    named = {spec.id: specs.get(spec.id, str) for spec in bot.history_factory_config}
    conversations = {}
    for n, kind in named.items():
        if any(word in n.lower() for word in _ID_WORDS):
            conversations[n] = kind
    if not inspect.signature(bot.get_session_history).parameters:
        raise _shared(path, bot, "its get_session_history takes no id, so all examples share one history")
    first = _history(bot, _fresh_ids(named))
    second = _history(bot, _fresh_ids(named))
    if first is second:
        raise _shared(path, bot, "its get_session_history gives two sessions the same history")
    return conversations or named


def _history(bot: Any, ids: Mapping[str, Any]) -> Any:
    """The history of a session, asked for as LangChain does."""
    return bot.get_session_history(*ids.values()) if len(ids) == 1 else bot.get_session_history(**ids)


def _graph_ids(path: str, graph: Any) -> dict[str, type]:
    if getattr(graph, "store", None) is not None:
        raise _shared(path, graph.store, "a store is one memory for all threads")
    return {"thread_id": str} if getattr(graph, "checkpointer", None) not in (None, True, False) else {}


def _is_a(thing: Any, name: str) -> bool:
    """Whether a class of that name is among the thing's own, so that its package need not be imported."""
    return any(kind.__name__ == name for kind in type(thing).__mro__)


def _own_id(function: Any, ids: Mapping[str, type]) -> str:
    """How the function's code gives one of the ids a value that evaluations share; "" where it does not."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return ""
    of_row = _of_row(function, tree)
    for name, value in _entries(tree):
        place = f"{name!r} in line {first + value.lineno - 1} of {function.__code__.co_filename.rpartition('/')[2]}"
        if name in ids and isinstance(value, ast.Constant):
            return f"{place} gives every example the same id"
        if name in ids and _made_of(value, of_row):
            return f"{place} gives an example the same id under every candidate and in every repeat"
    return ""


def _entries(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Keys and values of the dicts in a piece of code, and arguments of `dict(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            yield from ((keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg is not None)


def _of_row(function: Any, tree: ast.AST) -> set[str]:
    """Names in the function's code that depend on nothing but the example: its parameters, and what is made of them."""
    known = {name for name in inspect.signature(function).parameters if "config" not in name and name != "self"}
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    for node in sorted(assigned, key=lambda n: n.lineno):
        targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
        known = known | targets if _made_of(node.value, known) else known - targets
    return known


_SAME = frozenset({"str", "int", "hash", "len", "repr", "f", "format"})
"""Functions that give the same for the same."""


def _made_of(value: ast.expr, of_row: set[str]) -> bool:
    """Whether an expression is made of the example's values alone, so that it is the same at each evaluation."""
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return bool(names & of_row) and names <= of_row | _SAME


def _shared(path: str, thing: Any, why: str) -> ConfigError:
    name = getattr(thing, "__name__", type(thing).__name__)
    msg = f"examples would share the conversations in `{name}`: {why}"
    return ConfigError(msg, where=path, mend=_FRESH)
