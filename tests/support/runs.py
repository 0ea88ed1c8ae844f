"""Runs of the small task in `tests.support.tasks`, in memory, and what their journals hold."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_promptopt import optimize
from tests.support.tasks import chain, optimizer, rows

if TYPE_CHECKING:
    from langchain_promptopt import Recipe, Result


def run(method: str | Recipe = "lpo-pe2", model: Any = None, *, target: Any = None, **more: Any) -> Result:
    """Optimize the task's chain (or `target`) with the task's optimizer (or `model`); nothing is kept."""
    given = {"data": rows(), "evaluators": ["exact_match"], "runs_dir": None, "openings": None} | more
    return optimize(target or chain(), optimizer_model=model or optimizer(), method=method, **given)


def of_type(result: Result, kind: str) -> list[dict[str, Any]]:
    """The data of a result's events of one type, in order."""
    return [e["data"] for e in result.events() if e["type"] == kind]


def shown_rows(model: Any, section: str = "errors") -> list[dict[str, Any]]:
    """The examples in a section of the first request that a scripted optimizer model was sent."""
    request = "\n".join(str(m.text) for m in model.calls[0])
    found = re.search(rf"<{section}>\n(.*?)\n</{section}>", request, re.DOTALL)
    assert found is not None, request
    return [json.loads(line) for line in found.group(1).split("\n")]
