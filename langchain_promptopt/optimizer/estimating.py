"""What a plan will cost, before its first call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.estimate import estimate_calls
from langchain_promptopt.optimizer.roles import call_costs, judge_calls
from langchain_promptopt.strategies.shape import Sizes, shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt._runtime.estimate import CallCost
    from langchain_promptopt.optimizer.plan import Plan


def estimate_of(plan: Plan, seen: Mapping[str, CallCost] | None = None) -> dict[str, Any]:
    """Calls by role, tokens and money: low, likely and high. Money is None where a price is unknown.

    `seen` is what calls of a role were found to take, in place of a guess.
    """
    data = plan.data
    sizes = Sizes(
        train=len(data["train"]),
        dev=len(data["dev"]),
        val=len(data["val"]),
        test=len(data["test"]),
        repeats=plan.settings.gate.repeats,
    )
    shape = shape_of(plan.recipe, sizes)
    calls = max(1, len(plan.baseline.prompts))  # a chain of several prompts makes a call for each
    costs = {**call_costs(plan), **(seen or {})}
    found = estimate_calls(replace(shape, target_calls=calls, judge_calls=judge_calls(plan)), costs)
    return {
        name: {"calls": dict(level.calls), "total": level.total_calls, "tokens": level.tokens, "usd": level.usd}
        for name, level in (("low", found.low), ("likely", found.likely), ("high", found.high))
    }


def retries_seen(plan: Plan) -> tuple[str, ...]:
    """Models of the user that try failed calls again by themselves, before our own tries (product 10.19)."""
    models = [("task", m) for m in plan.target.models]
    models += [("optimizer", plan.optimizer)] if plan.optimizer is not None else []
    return tuple(
        f"the {role} model {type(m).__name__} tries failed calls again by itself ({_tries(m)}), and each of our tries"
        " repeats that; max_retries=0 leaves it to us"
        for role, m in models
        if _tries(m)
    )


def _tries(model: Any) -> str:
    """How the model's own retries are set; "" where it has none, or none that can be seen."""
    if not hasattr(model, "max_retries"):
        return ""
    own = model.max_retries
    return "max_retries is its client's default" if own is None else f"max_retries={own}" if own else ""
