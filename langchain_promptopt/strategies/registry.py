"""Recipes as plain values and back: every strategy is a frozen dataclass known by its class name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from langchain_promptopt.errors import RecipeError
from langchain_promptopt.recipe import Recipe
from langchain_promptopt.strategies.combining import check_recipe
from langchain_promptopt.strategies.unbuilt import refuse_option

AXES: dict[str, tuple[str, ...]] = {
    "seeding": ("seeding",),
    "evidence": ("evidence",),
    "feedback": ("feedback",),
    "memory": ("memory",),
    "scope": ("scope",),
    "control": ("control",),
    "refine": ("refine",),
    "proposals": ("proposals",),
    "guards": ("guards",),
    "scoring": ("scoring", "race"),
    "search": ("search",),
    "incumbent": ("incumbent",),
    "stop": ("stopping",),
    "final": ("final",),
}
"""Field of Recipe -> modules of `strategies`, in the order A1..A14."""
_MODEL_NAMES = ("model", "model_name", "model_id", "repo_id")


@cache
def options(axis: str) -> dict[str, type]:
    """The strategies of an axis by class name."""
    modules = [import_module(f"langchain_promptopt.strategies.{name}") for name in AXES[axis]]
    return {
        name: cls
        for module in modules
        for name, cls in vars(module).items()
        if isinstance(cls, type)
        and not name.startswith("_")
        and dataclasses.is_dataclass(cls)
        and cls.__module__ == module.__name__
    }


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values."""
    return {"name": recipe.name, "source": recipe.source} | {a: dump_one(s) for a, s in recipe.axes().items()}


def dump_one(strategy: Any) -> dict[str, Any]:
    """A strategy as {"kind": class name, its fields}; nested strategies (wrappers) likewise."""
    if not dataclasses.is_dataclass(strategy):
        return {"kind": f"{type(strategy).__module__}:{type(strategy).__qualname__}"}
    out: dict[str, Any] = {"kind": type(strategy).__name__}
    for f in dataclasses.fields(strategy):
        value = getattr(strategy, f.name)
        out[_key(f.name)] = dump_one(value) if dataclasses.is_dataclass(value) else _plain(value)
    return out


def _key(field: str) -> str:
    """How a field is called in plain data: "kind" is taken by the class."""
    return "kind_" if field == "kind" else field


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _named(value)


def _named(value: Any) -> str:
    """A foreign object by its class, and by its model where it has one: two embedding models are two recipes."""
    model = next((m for n in _MODEL_NAMES if isinstance(m := getattr(value, n, None), str)), "")
    return f"{type(value).__module__}:{type(value).__qualname__}" + (f"({model})" if model else "")


def load(data: Mapping[str, Any]) -> Recipe:
    """The recipe of `dump`. Unknown axes, kinds and fields raise RecipeError (N5), impossible combinations too."""
    unknown = set(data) - set(AXES) - {"name", "source"}
    if unknown:
        _refuse("axis", sorted(unknown)[0], AXES)
    missing = set(AXES) - set(data)
    if missing:
        msg = f"the recipe has no {sorted(missing)[0]!r}"
        raise RecipeError(msg, mend="Give a strategy for every axis, or start from a preset.")
    axes = {axis: load_one(axis, data[axis]) for axis in AXES}
    recipe = Recipe(name=str(data.get("name", "custom")), source=str(data.get("source", "")), **axes)
    check_recipe(recipe)
    return recipe


def load_one(axis: str, data: Mapping[str, Any]) -> Any:
    """A strategy of `axis` from {"kind": ..., fields}."""
    kinds = options(axis)
    kind = str(data.get("kind"))
    if kind not in kinds:
        raise refuse_option(axis, kind, kinds)
    cls = kinds[kind]
    names = {_key(f.name): f.name for f in dataclasses.fields(cls)}
    values = {}
    for name, value in data.items():
        if name == "kind":
            continue
        if name not in names:
            _refuse(f"field of {kind}", name, names)
        nested = isinstance(value, Mapping) and "kind" in value
        values[names[name]] = load_one(axis, value) if nested else (tuple(value) if isinstance(value, list) else value)
    return cls(**values)


def _refuse(what: str, got: str, known: Any) -> None:
    near = difflib.get_close_matches(got, list(known), n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = f"unknown {what} {got!r}"
    raise RecipeError(msg, mend=f"{hint}Known: {', '.join(sorted(known))}.")
