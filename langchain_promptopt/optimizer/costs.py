"""The models of a plan before its first call: which role calls which, what that costs, and whether they answer.

Models are asked for free whether the key is taken and whether the name is known.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_promptopt._data import rows_in_order
from langchain_promptopt._engine.demonstrations import already
from langchain_promptopt._langchain.models import endpoint_of, model_name, probe
from langchain_promptopt._runtime.failures import Probe
from langchain_promptopt._runtime.prices import at_tier, to_usd
from langchain_promptopt._text.words import BYTES_A_TOKEN
from langchain_promptopt.errors import ConfigError, CredentialsError
from langchain_promptopt.optimizer.judges import judge_models
from langchain_promptopt.report.wording import number
from langchain_promptopt.strategies.cost import CallCost, Estimate, Sizes, estimate_calls, shape_of
from langchain_promptopt.types import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.types import Prompt

_SAMPLE = 200  # rows that typical lengths are taken from
_ANSWER = 8  # tokens an answer has at least
_META = 450  # tokens of a meta-prompt around prompt and rows
_SHOWN = 4  # rows shown to the optimizer in a batch
_EDITS = 150  # tokens of marks, reasons or replacements
_RUBRIC = 300  # tokens of a judge's own prompt
_OPINION = 60  # tokens of a judge's answer
_LEAST = 0.65  # of the tokens assumed: some models count six bytes of plain text a token


def models_by_role(plan: Plan) -> dict[str, list[Any]]:
    """Models of "task", "optimizer" and "judge"; empty where none can be seen."""
    return {
        "task": list(plan.target.models),
        "optimizer": [] if plan.optimizer is None else [plan.optimizer],
        "judge": list(judge_models(plan.evaluators)),
    }


def call_costs(plan: Plan) -> dict[str, CallCost]:
    """About what one call of a role takes, from the lengths of prompts, rows and expected answers."""
    models, takes = models_by_role(plan), _tokens_by_role(plan)
    tiers = {"task": "batch"} if plan.settings.executor == "batch" else {}
    found = {role: _cost(plan, models[role], *takes[role], tiers.get(role)) for role in takes}
    return found | ({"judge": _told(plan)} if plan.settings.judges else {})


def _tokens_by_role(plan: Plan) -> dict[str, tuple[float, float]]:
    """Input and output tokens of one call of a role, judges whose costs were told apart."""
    rows = list(islice(rows_in_order(plan.data), _SAMPLE))
    row = _typical([e.inputs for e in rows])
    answer = max(_ANSWER, _typical([e.outputs for e in rows]))
    prompts = _tokens(plan.baseline.prompts.document.text)
    rewritten = 0 if plan.recipe.scope.name == "spans" else prompts
    return {
        "task": (prompts / max(1, len(plan.baseline.prompts)) + row, answer),
        "optimizer": (_META + prompts + _SHOWN * (row + 2 * answer), _EDITS + rewritten),
        "judge": (_RUBRIC + row + 2 * answer, _OPINION),
    }


def judge_calls(plan: Plan) -> float:
    """Judge calls of a row: those declared in `judges`, and one for each model that an evaluator holds."""
    return float(sum(cost.calls for cost in plan.settings.judges.values()) + len(judge_models(plan.evaluators)))


def first_tokens(plan: Plan) -> dict[str, float]:
    """What a call of each model is taken to use before any has told, by model name; prices play no part."""
    tokens = _tokens_by_role(plan)
    if plan.settings.judges:
        told = _told(plan)
        tokens["judge"] = told.input_tokens, told.output_tokens
    found: dict[str, float] = {}
    for role, models in models_by_role(plan).items():
        for model in models:
            found[model_name(model)] = sum(tokens[role])
    return found


def _cost(plan: Plan, models: Sequence[Any], tokens_in: float, tokens_out: float, tier: str | None = None) -> CallCost:
    """The dearest of the models; unknown as soon as one has no price.

    Args:
        plan: Has the prices.
        models: The models that a role calls.
        tokens_in: Input tokens of a call.
        tokens_out: Its output tokens.
        tier: The service tier that answers.
    """
    prices = [plan.prices.price(at_tier(model_name(m), tier)) for m in models]
    known = []
    for p in prices:
        if p is not None:
            known.append(p.cost(round(tokens_in), round(tokens_out)))
    usd = to_usd(max(known)) if known and len(known) == len(prices) else None
    return CallCost(tokens_in, tokens_out, usd)


def _told(plan: Plan) -> CallCost:
    """A call of the judges whose cost was told, on average."""
    costs = list(plan.settings.judges.values())
    calls = max(1, sum(c.calls for c in costs))
    prices = [plan.prices.price(c.model) for c in costs]
    spent = []
    for p, c in zip(prices, costs, strict=True):
        if p is not None:
            spent.append(p.cost(c.input_tokens, c.output_tokens))
    usd = to_usd(sum(spent)) / calls if len(spent) == len(costs) else None
    tokens_in = sum(c.input_tokens for c in costs)
    tokens_out = sum(c.output_tokens for c in costs)
    return CallCost(tokens_in / calls, tokens_out / calls, usd)


def _typical(rows: Sequence[Mapping[str, Any]]) -> float:
    return fmean(map(_tokens_of_row, rows)) if rows else 0.0


def _tokens_of_row(row: Mapping[str, Any]) -> float:
    return sum(_tokens(str(value)) for value in row.values())


def _tokens(text: str) -> float:
    return len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN


def estimate_of(plan: Plan, seen: Mapping[str, CallCost] | None = None) -> Estimate:
    """Calls by role, tokens and money: low, likely and high. Money is None where a price is unknown.

    `seen` is what calls of a role were found to take, in place of a guess.
    """
    sizes = _sizes(plan)
    shape = shape_of(plan.recipe, sizes)
    # a chain of several prompts makes a call for each, and several models one each
    calls = max(1, len(plan.baseline.prompts)) * max(1, len(plan.settings.task_models))
    costs = {**call_costs(plan), **(seen or {})}
    demos = plan.settings.demos
    idle = demos is None or already(plan.baseline.prompts, demos) is not None
    extra = 0 if demos is None or idle else demos.cells(sizes.train, sizes.dev + sizes.val)
    return estimate_calls(replace(shape, target_calls=calls, judge_calls=judge_calls(plan), demos=extra), costs)


def _sizes(plan: Plan) -> Sizes:
    data = plan.data
    return Sizes(
        train=len(data["train"]),
        dev=len(data["dev"]),
        val=len(data["val"]),
        test=len(data["test"]),
        repeats=plan.settings.gate.repeats,
    )


def foreseen(plan: Plan) -> Usage:
    """What a first call of the optimizer model is taken to use, if there is one; money is None without a price."""
    if plan.optimizer is None:
        return Usage()
    cost = call_costs(plan)["optimizer"]
    return Usage(1, ceil(cost.input_tokens), ceil(cost.output_tokens), usd=cost.usd)


def refuse_small_budget(plan: Plan) -> None:
    """Raise ConfigError where the tokens of a budget cannot pay for baseline, one proposal and test.

    What is compared is the least that these can take: the shortest prompt, answers of no length, and a tokenizer that
    needs few tokens. Between that and the real need, the claims of the run keep the budget.
    """
    limit = plan.settings.budget.tokens
    if limit is None or plan.optimizer is None:
        return
    sizes = _sizes(plan)
    rows = shape_of(plan.recipe, sizes).baseline_rows
    row = _LEAST * (min(map(_tokens_of_prompt, plan.baseline.prompts), default=0.0))
    baseline = round(row * (sizes.dev if rows is None else min(rows, sizes.dev)))
    test = round(row * 2 * sizes.test * sizes.repeats) if plan.shows.possible else 0
    proposal = round(_LEAST * _tokens_by_role(plan)["optimizer"][0])
    needed = baseline + proposal + test
    if needed <= limit:
        return
    parts = f"the baseline takes {number(baseline)} or more, one proposal {number(proposal)}"
    parts += f", the held-out test {number(test)}" if test else ""
    msg = f"the budget of {number(limit)} tokens cannot pay for a run: {parts}"
    raise ConfigError(msg, mend=f"Raise budget.tokens above {number(needed)}, or use fewer examples.")


def _tokens_of_prompt(prompt: Prompt) -> float:
    return sum(_tokens(message.template) for message in prompt.messages)


def levels_of(estimate: Estimate) -> dict[str, Any]:
    """An estimate as machine output has it: calls, tokens and money of each level by its name."""
    out: dict[str, Any] = {}
    for name, level in (("low", estimate.low), ("likely", estimate.likely), ("high", estimate.high)):
        out[name] = {"calls": dict(level.calls), "total": level.total_calls, "tokens": level.tokens, "usd": level.usd}
    return out


def retries_seen(plan: Plan) -> tuple[str, ...]:
    """Models of the user that try failed calls again by themselves, before our own tries (product 10.19)."""
    models = [("task", m) for m in plan.target.models]
    models += [("optimizer", plan.optimizer)] if plan.optimizer is not None else []
    found: list[str] = []
    for role, m in models:
        if _tries(m):
            found.append(
                f"the {role} model {type(m).__name__} tries failed calls again by itself ({_tries(m)}), and each of our"
                " tries repeats that; max_retries=0 leaves it to us"
            )
    return tuple(found)


def _tries(model: Any) -> str:
    """How the model's own retries are set; "" where it has none, or none that can be seen."""
    if not hasattr(model, "max_retries"):
        return ""
    own = model.max_retries
    return "max_retries is its client's default" if own is None else f"max_retries={own}" if own else ""


# ---------------------------------------------------------------- questions that cost nothing


async def probes_of(plan: Plan, seconds: float | None = None) -> tuple[Probe, ...]:
    """What each model's endpoint says of it, asked once for each endpoint and name, and for free.

    Args:
        plan: The plan.
        seconds: How long to wait for an answer, where it is not worth as much as a check by itself.
    """
    asked: dict[tuple[str, str], tuple[str, Any]] = {}
    for role, models in models_by_role(plan).items():
        for model in models:
            asked.setdefault((model_name(model), endpoint_of(model)), (role, model))
    return tuple(await asyncio.gather(*(_within(seconds, role, model) for role, model in asked.values())))


async def _within(seconds: float | None, role: str, model: Any) -> Probe:
    try:
        return await asyncio.wait_for(probe(role, model), seconds)
    except TimeoutError:
        detail = f"no answer within {seconds:g} s"
        return Probe(role, model_name(model), "unreachable", detail, endpoint_of(model), "timeout")


def refuse_unknown_models(probes: Iterable[Probe]) -> None:
    """Raise CredentialsError for a key that is refused, or a name that is not served, before the baseline is paid.

    A name that is only missing from a list may be an alias: it is refused where the endpoint is the provider's
    own, or where a name on the list is nearly the same. Keys that may call models need not be allowed to list
    them (403), and an endpoint that does not answer may do so at the first call: neither ends a run here.
    """
    for found in probes:
        close = get_close_matches(found.name, found.listed, n=1, cutoff=0.8)
        if found.kind == "unauthorized":
            msg = f"the endpoint refuses the {found.role} model {found.name!r}: {found.detail}"
            raise CredentialsError(msg, where=found.where, role=found.role)
        if found.state == "unlisted" and (close or not found.where):
            msg = f"the endpoint does not know the {found.role} model {found.name!r}"
            mend = f"Did you mean {close[0]!r}?" if close else f"{found.detail[:1].upper()}{found.detail[1:]}."
            raise CredentialsError(msg, where=found.where, mend=mend, role=found.role)
