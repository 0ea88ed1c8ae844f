"""Bounds of strategy settings, checked when the value is made, before anything is paid for."""

from __future__ import annotations

from langchain_promptopt.errors import RecipeError


def at_least(name: str, value: float, least: float) -> None:
    """Raise RecipeError unless `value` is `least` or more."""
    if not value >= least:
        msg = f"{name} must be at least {least:g}, got {value!r}"
        raise RecipeError(msg)


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise RecipeError unless `low` < `value` <= `high`."""
    if not low < value <= high:
        msg = f"{name} must be above {low:g} and at most {high:g}, got {value!r}"
        raise RecipeError(msg)
