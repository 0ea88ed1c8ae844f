"""`run_step`: a configuration as a dict in, machine output as a dict out. Never raises (product 10.8)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import PromptOptError, exit_code_of
from langchain_promptopt.pipeline.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_step(config: Mapping[str, Any], *, root: str | None = None) -> dict[str, Any]:
    """Run, resume or replay the run that `config` describes; the same as `promptopt optimize --json`.

    Args:
        config: Shaped like `promptopt.toml`; JSON values only.
        root: Where relative paths start; None is the working directory.

    Returns:
        The keys of product section 4. Failures are told in `outcome`, `exit_code` and `error`.
    """
    try:
        result = prepare(config_from_dict(config, root=root, env=os.environ)).optimize()
    except PromptOptError as error:
        return failure_json(error)
    return result.as_json()


def failure_json(error: PromptOptError) -> dict[str, Any]:
    """Machine output of a run that ended without a verdict."""
    code = exit_code_of(error)
    outcome = {4: "budget", 130: "interrupted", 143: "interrupted"}.get(code, "failed")
    return {
        "outcome": outcome,
        "exit_code": code,
        "run_id": error.facts.get("run_id"),
        "replayed": False,
        "prompts": [],
        "test": [],
        "edits": [],
        "usage": error.facts.get("usage") or {},
        "error": error.as_json(),
    }
