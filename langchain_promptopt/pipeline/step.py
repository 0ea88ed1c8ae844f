"""A configuration as a dict in, machine output as a dict out: what orchestrators call. Never raises (product 10.8)."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.pipeline.delivering import failure_json, failures_told, unusable_told
from langchain_promptopt.pipeline.prepare import names_code, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.pipeline.prepare import Elsewhere, Prepared
    from langchain_promptopt.ports import Observer

NEEDED = ("task", "data.source", "evaluate.evaluators", "optimize.model")
"""Settings without which no optimization can start."""
_log = logging.getLogger("langchain_promptopt")


def run_step(
    config: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    shards: Elsewhere | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Run, resume or replay the run that `config` describes; the same as `promptopt optimize --json`.

    `PROMPTOPT_*` variables are stronger than `config`. A finished run is returned with `replayed`
    true; a run that was stopped goes on, and pays for nothing that was answered.

    Args:
        config: Shaped like `promptopt.toml`; JSON values only.
        root: Where relative paths and imports start; None is the working directory.
        shards: Evaluates cells elsewhere; None is this process.
        observers: Watchers of the run's events.

    Returns:
        The keys of product section 4. Failures are in `outcome`, `exit_code` and `error`.
    """
    return _answered(config, root, lambda settings: start(settings).optimize(observers, shards=shards))


def compare_step(
    config: Mapping[str, Any],
    old: str,
    new: str,
    *,
    root: str | Path | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Decide between two prompts or chains; the same as `promptopt compare OLD NEW --json`. Never raises.

    Args:
        config: As for `run_step`; no optimizer model is needed.
        old: What runs now: a prompt file, "owner/prompt:tag", or "module:chain".
        new: What might replace it.
        root: Where relative paths and imports start; None is the working directory.
        observers: Watchers of the events.
    """

    def compared(settings: Config) -> Result:
        settings.require("data.source", "evaluate.evaluators")
        return prepare(settings).compare(old, new, observers=observers)

    task = {"chain" if names_code(old) else "prompt": old}
    named = {name: value for name, value in config.get("task", {}).items() if name not in {"chain", "prompt"}}
    return _answered({**config, "task": named | task}, root, compared)


def _answered(config: Mapping[str, Any], root: str | Path | None, work: Callable[[Config], Result]) -> dict[str, Any]:
    """The answer about some work on a configuration, whatever becomes of it."""
    try:
        with unusable_told(config, root=root):
            settings = config_from_dict(config, root=root, env=os.environ)
        with failures_told(settings):
            answer: dict[str, Any] = json.loads(json.dumps(work(settings).as_json(), default=str))
            return answer
    except PromptOptError as error:
        return failure_json(error)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the contract: it never raises
        _log.exception("a step failed with an unexpected error")
        return failure_json(error)


def start(config: Config, *, resume: Path | None = None) -> Prepared:
    """The run of a configuration, ready to go: what `promptopt optimize` and `run_step` share."""
    if resume is None:
        config.require(*NEEDED)
    return prepare(config, resume=resume)
