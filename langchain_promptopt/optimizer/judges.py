"""Evaluators that call models: seen through LangChain's callbacks, or noticed and asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.discover import find_models, is_prompt_or_model
from langchain_promptopt._langchain.models import endpoint_of, model_name
from langchain_promptopt._objects import holds_client
from langchain_promptopt.errors import ConfigError, PriceError
from langchain_promptopt.types import Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models.base import BaseLanguageModel

    from langchain_promptopt.evaluators import Evaluator
    from langchain_promptopt.optimizer.arguments import Settings

_CLIENTS = frozenset(
    {
        "aiohttp", "anthropic", "boto3", "botocore", "cohere", "groq", "httpx", "httpx2", "litellm", "mistralai",
        "ollama", "openai", "requests", "together", "urllib3", "vertexai",
    }
)  # fmt: skip
"""Packages that call models without LangChain, so that no callback sees the call."""


def unseen(evaluators: Sequence[Evaluator]) -> tuple[str, ...]:
    """Keys of evaluators whose code holds or names a client that LangChain's callbacks do not reach."""
    # Built-in evaluators are inline: they compute, and call no model.
    asked = [e for e in evaluators if not e.inline]
    found: list[str] = []
    for e in asked:
        if holds_client(e.origin, _CLIENTS, stop=is_prompt_or_model):
            found.append(e.key)
    return tuple(found)


def judge_models(evaluators: Sequence[Evaluator]) -> tuple[BaseLanguageModel[Any], ...]:
    """LangChain models that evaluators can get at; others are seen as they call."""
    found = {}
    for e in evaluators:
        if not e.inline:
            for model in find_models(e.origin):
                found[id(model)] = model
    return tuple(found.values())


def shared_model_note(evaluators: Sequence[Evaluator], optimizer: Any) -> tuple[Note, ...]:
    """A warning where the optimizer writes for the very model that judges (product 8)."""
    if optimizer is None:
        return ()
    mine = (model_name(optimizer), endpoint_of(optimizer))
    if mine not in {(model_name(m), endpoint_of(m)) for m in judge_models(evaluators)}:
        return ()
    text = f"judge and optimizer are the same model ({mine[0]}): edits may fit this judge instead of the task"
    return (Note("judge", text),)


def judge_notes(evaluators: Sequence[Evaluator], settings: Settings) -> tuple[Note, ...]:
    """What to know about evaluators whose model calls cannot be seen and whose cost is not given.

    Raises:
        ConfigError: A cost is given for an evaluator that does not exist, or a budget of calls or
            tokens is set, which could not count such calls.
        PriceError: The same for a budget of money.
    """
    keys = {e.key for e in evaluators}
    if stray := sorted(set(settings.judges) - keys):
        msg = f"a judge's cost is given for {', '.join(stray)}, and the evaluators are {', '.join(sorted(keys))}"
        raise ConfigError(msg, where="evaluate.judge_cost", mend="Use an evaluator's key.")
    unknown = [key for key in unseen(evaluators) if key not in settings.judges]
    if not unknown:
        return ()
    what = f"evaluator {', '.join(unknown)} calls a model without LangChain, so its calls cannot be counted"
    mend = "Say what an example costs: [evaluate.judge_cost.NAME] calls, input_tokens, output_tokens, model."
    budget = settings.budget
    if budget.usd is not None:
        msg = f"budget.usd is set, but {what}"
        raise PriceError(msg, mend=mend)
    if budget.calls is not None or budget.tokens is not None:
        msg = f"a budget is set, but {what}"
        raise ConfigError(msg, mend=mend)
    return (Note("judge", f"{what}. {mend}"),)
