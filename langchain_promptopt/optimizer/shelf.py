"""Evaluations kept between runs: what an evaluation's address is, and when one may be taken from the shelf."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.prompts.base import BasePromptTemplate

from langchain_promptopt._langchain.models import endpoint_of, model_id
from langchain_promptopt._runtime.cache import Address, EvaluationCache
from langchain_promptopt.evaluators._resolve import hash_of
from langchain_promptopt.types import Outcome

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.ports import Job

_DEPTH = 12


class CacheShelf:
    """The evaluations of one plan's chain, models, rows and evaluators.

    The test split is always asked afresh, and so is a chain whose models cannot be seen: nothing
    would tell two endpoints apart.
    """

    def __init__(self, plan: Plan, cache: EvaluationCache) -> None:
        self._cache = cache
        self._seen = bool(plan.target.models)
        self._models = [model_id(model) for model in plan.target.models]
        self._endpoints = [endpoint_of(model) for model in plan.target.models]
        self._evaluators = {e.key: f"{e.hash}/{hash_of_parts(e.origin)}" for e in plan.evaluators}
        self._chain = hash_of_parts(plan.task)
        self._version = plan.started.version

    def get(self, job: Job) -> Outcome | None:
        """What an earlier run found for the same cell; it costs nothing now."""
        found = self._cache.get(self._address(job).key) if self._allowed(job) else None
        if found is None:
            return None
        return Outcome(
            job.cell,
            found["scores"],
            found["output"],
            found["comments"],
            model_served=found["model_served"],
            cached=True,
        )

    def put(self, job: Job, outcome: Outcome) -> None:
        """Keep an outcome, unless it is a failure or its answer would not come back as it is."""
        if not self._allowed(job) or outcome.failure is not None or not _survives(outcome.output):
            return
        value = {
            "scores": dict(outcome.scores),
            "output": outcome.output,
            "comments": dict(outcome.comments),
            "model_served": outcome.model_served,
        }
        self._cache.put(self._address(job).key, value)

    def close(self) -> None:
        """Write what is pending."""
        self._cache.close()

    def _allowed(self, job: Job) -> bool:
        return self._seen and job.cell.split != "test"

    def _address(self, job: Job) -> Address:
        return Address(
            rendered=job.candidate.id,  # with the row's inputs and the chain's code it decides the rendered text
            inputs=job.example.inputs,
            model=", ".join(self._models),
            endpoint=", ".join(self._endpoints),
            parameters={},  # part of the model's id
            evaluators=self._evaluators,
            repeat=job.cell.repeat,
            more={
                "expected": dict(job.example.outputs),
                "metadata": dict(job.example.metadata),
                "chain": self._chain,
                "version": self._version,
            },
        )


def _survives(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def hash_of_parts(thing: Any) -> str:
    """A hash of what an object does: code of its functions, ids of its models, plain settings.

    Prompts are left out: a candidate has its own.
    """
    return hash_of(_parts, {"parts": json.dumps(_parts(thing, _DEPTH, set()), sort_keys=True, default=str)})


def _parts(thing: Any, depth: int, above: set[int]) -> Any:
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, BasePromptTemplate):
        return "prompt"
    if isinstance(thing, BaseLanguageModel):
        return model_id(thing)
    if depth == 0 or id(thing) in above:
        return type(thing).__qualname__
    inside = above | {id(thing)}
    if isinstance(thing, Mapping):
        return {str(k): _parts(v, depth - 1, inside) for k, v in thing.items()}
    if isinstance(thing, list | tuple):
        return [_parts(v, depth - 1, inside) for v in thing]
    if inspect.isroutine(thing):
        held = inspect.getclosurevars(thing).nonlocals if inspect.isfunction(thing) else {}
        return [hash_of(thing, {}), _parts(dict(held), depth - 1, inside)]
    return [type(thing).__qualname__, _parts(_state(thing), depth - 1, inside)]


def _state(thing: Any) -> dict[str, Any]:
    return {name: value for name, value in getattr(thing, "__dict__", {}).items() if not name.startswith("__")}
