"""Evaluators that call models: seen through LangChain's callbacks, or noticed and asked about."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.runnables import Runnable

from langchain_promptopt._langchain.discover import find_models
from langchain_promptopt._langchain.models import endpoint_of, model_name
from langchain_promptopt.errors import ConfigError, PriceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_promptopt.evaluators import Evaluator
    from langchain_promptopt.optimizer.settings import Settings

_CLIENTS = frozenset(
    {
        "openai",
        "anthropic",
        "mistralai",
        "groq",
        "cohere",
        "ollama",
        "litellm",
        "httpx",
        "httpx2",
        "requests",
        "aiohttp",
    }
    | {"boto3", "botocore", "together", "vertexai", "urllib3"}
)
"""Packages that reach models past LangChain, so that no callback sees the call."""
_DEPTH = 3


def unseen(evaluators: Sequence[Evaluator]) -> tuple[str, ...]:
    """Keys of evaluators whose code holds or names a client that LangChain's callbacks do not reach."""
    return tuple(e.key for e in evaluators if not e.inline and any(map(_is_client, _reached(e.origin, _DEPTH))))


def judge_models(evaluators: Sequence[Evaluator]) -> tuple[Any, ...]:
    """LangChain models that evaluators hold in their closures, globals and attributes; others are seen as they call."""
    found: dict[int, Any] = {}
    for evaluator in evaluators:
        for thing in () if evaluator.inline else _reached(evaluator.origin, _DEPTH):
            if isinstance(thing, BaseLanguageModel):
                found[id(thing)] = thing
            elif isinstance(thing, Runnable):
                found |= {id(model): model for model in find_models(thing)}
    return tuple(found.values())


def shared_model_note(evaluators: Sequence[Evaluator], optimizer: Any) -> tuple[str, ...]:
    """A warning where the optimizer writes for the very model that judges (product 8)."""
    if optimizer is None:
        return ()
    mine = (model_name(optimizer), endpoint_of(optimizer))
    if mine not in {(model_name(m), endpoint_of(m)) for m in judge_models(evaluators)}:
        return ()
    return (f"judge and optimizer are the same model ({mine[0]}): it may come to write what it likes to judge",)


def _is_client(thing: Any) -> bool:
    home = thing.__name__ if inspect.ismodule(thing) else getattr(type(thing), "__module__", None)
    made_by = getattr(thing, "__module__", None) if inspect.isclass(thing) or inspect.isroutine(thing) else None
    return any(str(name).partition(".")[0] in _CLIENTS for name in (home, made_by) if name)


def _reached(thing: Any, depth: int) -> Iterator[Any]:
    """What a callable's code can get at: its closure, the globals it names, its object's attributes."""
    while isinstance(thing, functools.partial):
        yield from (*thing.args, *thing.keywords.values())
        thing = thing.func
    held: list[Any] = list(getattr(thing, "__dict__", {}).values()) if not inspect.ismodule(thing) else []
    owner = getattr(thing, "__self__", None)
    if owner is not None and not inspect.ismodule(owner):
        held += [owner, *getattr(owner, "__dict__", {}).values()]
    function = thing if inspect.isroutine(thing) else vars(type(thing)).get("__call__")
    held += _named(inspect.unwrap(function)) if callable(function) else []
    for value in held:
        yield value
        if depth and inspect.isroutine(value):
            yield from _reached(value, depth - 1)


def _named(function: Any) -> list[Any]:
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    scope = getattr(function, "__globals__", {})
    found = [scope[name] for name in code.co_names if name in scope]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a cell that is still empty
            continue
    return found


def judge_notes(evaluators: Sequence[Evaluator], settings: Settings) -> tuple[str, ...]:
    """What to know about evaluators whose model calls cannot be seen, and whose cost was not told.

    Raises:
        ConfigError: A cost was told for an evaluator there is none of, or a budget of calls or
            tokens is set that such calls would escape.
        PriceError: The same for a budget of money.
    """
    keys = {e.key for e in evaluators}
    if stray := sorted(set(settings.judges) - keys):
        msg = f"a judge's cost is given for {', '.join(stray)}, and the evaluators are {', '.join(sorted(keys))}"
        raise ConfigError(msg, where="evaluate.judge_cost", mend="Use an evaluator's key.")
    unknown = [key for key in unseen(evaluators) if key not in settings.judges]
    if not unknown:
        return ()
    what = f"evaluator {', '.join(unknown)} calls a model past LangChain, so its calls cannot be counted"
    mend = "Tell what a row costs: [evaluate.judge_cost.NAME] calls, input_tokens, output_tokens, model."
    budget = settings.budget
    if budget.usd is not None:
        msg = f"budget.usd is set, but {what}"
        raise PriceError(msg, mend=mend)
    if budget.calls is not None or budget.tokens is not None:
        msg = f"a budget is set, but {what}"
        raise ConfigError(msg, mend=mend)
    return (f"{what}. {mend}",)
