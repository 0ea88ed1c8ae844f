"""What an evaluator is called and what decides its verdicts: its key and its hash."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from langchain_promptopt.evaluators._matchers import BUILT_INS, REVISION, LabelMatch
from langchain_promptopt.types import content_hash


def is_built_in(evaluator: Any) -> bool:
    """Whether it is one of ours: pure, fast, safe to call on the event loop."""
    return isinstance(evaluator, LabelMatch) or any(evaluator is known for known in BUILT_INS.values())


def key_of(evaluator: Any) -> str:
    """The key scores will carry, read without a call.

    An attribute says it, or a feedback key held by the function (openevals), or the one literal
    "key" in its source (as LangSmith does), or its name.
    """
    for attribute in ("key", "evaluation_name"):
        if isinstance(found := getattr(evaluator, attribute, None), str) and found:
            return found
    inner = _function_of(evaluator)
    keys = getattr(evaluator, "feedback_keys", None) or _literal_keys(inner)
    held = _held(inner).get("feedback_key")
    if isinstance(held, str) and held:
        return held
    if len(keys) == 1:
        return str(keys[0])
    name = getattr(inner, "__name__", None) or getattr(evaluator, "_name", None)
    return str(name) if name and name != "<lambda>" else type(evaluator).__name__ if name is None else "lambda"


def hash_of(evaluator: Any, settings: Mapping[str, Any]) -> str:
    """A hash that changes when the evaluator's own code or configuration does."""
    if is_built_in(evaluator):
        detail: Any = asdict(evaluator) if isinstance(evaluator, LabelMatch) else evaluator.__name__
        return content_hash(["built-in", REVISION, detail, dict(settings)])
    return content_hash([_code(evaluator), dict(settings)])


def _function_of(evaluator: Any) -> Any:
    """The plain function behind partials, decorators and evaluator objects."""
    seen = evaluator
    while isinstance(seen, functools.partial):
        seen = seen.func
    return inspect.unwrap(seen) if callable(seen) else seen


def _source(thing: Any) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return None


def _literal_keys(function: Any) -> list[str]:
    """The literal values of "key" in dicts the source builds; () where it cannot be read alone."""
    source = _source(function) if inspect.isroutine(function) else None
    if source is None:
        return []
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda in the middle of an expression
        return []
    found = {
        value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "key"
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }
    return sorted(found)


def _held(function: Any) -> dict[str, Any]:
    """Variables a closure holds; cells that are still empty are left out."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    if code is None:
        return {}
    held = {}
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # an empty cell
            continue
    return held


def plain(value: Any) -> Any:
    """A value as configuration: simple values by content, others by type only, since reprs hold addresses."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        members = [plain(v) for v in value]
        return sorted(members, key=repr) if isinstance(value, set | frozenset) else members
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return _code(value) if inspect.isfunction(value) else type(value).__qualname__


def _code(evaluator: Any) -> Any:
    if isinstance(evaluator, functools.partial):
        return ["partial", _code(evaluator.func), plain(evaluator.args), plain(evaluator.keywords)]
    function = _function_of(evaluator)
    if inspect.isroutine(function):
        held = {n: type(v).__qualname__ if inspect.isfunction(v) else plain(v) for n, v in _held(function).items()}
        defaults = plain(getattr(function, "__defaults__", None) or ())
        return [function.__qualname__, _source(function), defaults, held]
    kind = type(evaluator)
    names = [f.name for f in fields(kind)] if is_dataclass(kind) else getattr(evaluator, "__dict__", {})
    state = {name: getattr(evaluator, name, None) for name in names}
    return [kind.__qualname__, _source(kind), {n: plain(v) for n, v in state.items() if not n.startswith("_")}]
