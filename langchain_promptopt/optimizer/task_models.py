"""One prompt for several task models: the metrics of each, and their scores as one."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_promptopt.evaluators import EvalResult, score_all
from langchain_promptopt.evaluators._metrics import told_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.evaluators import Evaluator, Metrics
    from langchain_promptopt.types import Example


def learn_models(metrics: Metrics, evaluators: Sequence[Evaluator], models: Iterable[str]) -> None:
    """Note the metrics of single task models, so that the gate may name them before any row is scored."""
    names = tuple(models)
    for e in evaluators if names else ():
        if not e.open:
            keys = told_keys(e)
            metrics.learn({e.key: (*keys, *_keys_of_models(keys, names))})


def _keys_of_models(keys: Iterable[str], names: Sequence[str]) -> list[str]:
    """The metrics of single models: `exact_match@small`."""
    found = []
    for key in keys:
        found += [f"{key}@{name}" for name in names]
    return found


async def score_models(
    evaluators: Sequence[Any], example: Example, answers: Mapping[str, Any], *, over: str, steps: Sequence[Any] = ()
) -> EvalResult:
    """The verdict on the answers of several models as one: the mean or the worst of each metric, and each model's own.

    A metric that one of them has no score of has none in all.

    Args:
        evaluators: Evaluators in the order in which the user gave them.
        example: The example.
        answers: The answer of each model, by its name.
        over: "mean" or "worst".
        steps: Runs of the chain's parts, for `run.child_runs`.
    """
    found: dict[str, EvalResult] = {}
    for name, answer in answers.items():
        found[name] = await score_all(evaluators, example, answer, steps=steps)
    own, comments, metadata, categories = {}, dict[str, str](), {}, dict[str, str]()
    by_key = defaultdict[str, list[float]](list)
    for name, one in found.items():
        for key, value in one.scores.items():
            own[f"{key}@{name}"] = value
            by_key[key].append(value)
        for key, told in one.metadata.items():
            metadata[f"{key}@{name}"] = told
        for key, said in one.comments.items():
            comments[key] = f"{comments[key]}; {name}: {said}" if key in comments else f"{name}: {said}"
        categories |= one.categories
    scores: dict[str, float] = {}
    for key, values in by_key.items():
        if len(values) == len(found):
            scores[key] = min(values) if over == "worst" else fmean(values)
    keys = {}
    for evaluator, given in next(iter(found.values())).keys.items():
        keys[evaluator] = (*given, *_keys_of_models(given, list(found)))
    return EvalResult(scores | own, comments, metadata, keys, categories)
