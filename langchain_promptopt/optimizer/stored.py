"""`evaluators=["langsmith:helpful"]`: evaluators kept in LangSmith, with the model they are to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import model_id, resolve_model
from langchain_promptopt._langsmith.evaluators import PREFIX, stored
from langchain_promptopt._langsmith.hub import PromptHub
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators import Declared
from langchain_promptopt.offline import factories

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.settings import Settings


_MAY_NAME = (str, Mapping, Declared)


def with_stored(specs: Any, settings: Settings) -> Any:
    """The evaluators as given, those named "langsmith:..." replaced by what LangSmith keeps under the name.

    LangSmith is asked only when there is such a name. Raises EvaluatorError for what cannot be run here.
    """
    if isinstance(specs, str):
        return _judge(specs, settings) if specs.startswith(PREFIX) else specs
    if isinstance(specs, Mapping):
        return {k: with_stored(v, settings) if isinstance(v, _MAY_NAME) else v for k, v in specs.items()}
    if isinstance(specs, Declared):
        return replace(specs, evaluator=with_stored(specs.evaluator, settings))
    if isinstance(specs, Iterable):
        return [with_stored(s, settings) if isinstance(s, _MAY_NAME) else s for s in specs]
    return specs


def _judge(spec: str, settings: Settings) -> Any:
    name = spec.removeprefix(PREFIX)
    given = settings.langsmith.judge_model

    def model_of(kept: str | None) -> tuple[str, Any]:
        wanted = given if given is not None else kept
        if wanted is None:
            msg = f"the LangSmith evaluator {name!r} has no model beside its prompt"
            raise EvaluatorError(msg, mend='Give one: langsmith={"judge_model": "provider:name"}.', key=name)
        model = resolve_model(wanted, "judge", factories=factories())
        return model_id(model), model

    return stored(name, PromptHub(), model_of)
