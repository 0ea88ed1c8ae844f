"""`run_step`: a configuration as a dict in, machine output as a dict out. Never raises (product 10.8)."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.pipeline.answers import failure_json
from langchain_promptopt.pipeline.delivering import failures_told
from langchain_promptopt.pipeline.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.pipeline.prepare import Prepared
    from langchain_promptopt.pipeline.shards import Shards
    from langchain_promptopt.protocols import Observer

NEEDED = ("task", "data.source", "evaluate.evaluators", "optimize.model")
"""Settings without which no optimization can start."""
_log = logging.getLogger("langchain_promptopt")


def run_step(
    config: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    shards: Shards | None = None,
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
        The keys of product section 4. Failures are told in `outcome`, `exit_code` and `error`.
    """
    try:
        settings = config_from_dict(config, root=root, env=os.environ)
        with failures_told(settings):
            result = start(settings).optimize(observers, shards=shards)
    except PromptOptError as error:
        return failure_json(error)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the contract: it never raises
        _log.exception("run_step failed in a way nobody foresaw")
        return failure_json(error)
    return result.as_json()


def start(config: Config, *, resume: Path | None = None) -> Prepared:
    """The run of a configuration, ready to go: what `promptopt optimize` and `run_step` share."""
    if resume is None:
        config.require(*NEEDED)
    return prepare(config, resume=resume)
