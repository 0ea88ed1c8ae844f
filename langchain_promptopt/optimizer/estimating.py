"""What a plan will cost, before its first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.estimate import estimate_calls
from langchain_promptopt.strategies.shape import Sizes, shape_of

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.plan import Plan


def estimate_of(plan: Plan) -> dict[str, Any]:
    """Calls by role, low, likely and high."""
    data = plan.data
    sizes = Sizes(
        train=len(data["train"]),
        dev=len(data["dev"]),
        val=len(data["val"]),
        test=len(data["test"]),
        repeats=plan.settings.gate.repeats,
    )
    found = estimate_calls(shape_of(plan.recipe, sizes))
    return {
        name: {"calls": dict(level.calls), "total": level.total_calls}
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
