"""Going on with a run: its own configuration, and a refusal when something that decides it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ResumeError
from langchain_promptopt.store import read_events

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_promptopt.config import Config

_FREE = {"budget", "output", "langsmith", "prices", "limits"}
"""Sections that decide nothing about the result."""
_FREE_KEYS = {("optimize", "max_concurrency"), ("optimize", "requests_per_second"), ("optimize", "max_failure_rate")}
_FREE_KEYS |= {("optimize", "cache"), ("evaluate", "judge_cost")}


def started(folder: Path) -> Mapping[str, Any]:
    """Data of the run's `run.started`. Raises ResumeError where the journal does not begin with it."""
    first = next(islice(read_events(folder / "journal.jsonl"), 1), None)
    if first is None or first["type"] != "run.started":
        msg = "the journal does not begin with run.started"
        raise ResumeError(msg, where=str(folder), mend="Nothing was paid for; start the run again.")
    data: Mapping[str, Any] = first["data"]
    return data


def recorded_config(config: Config, folder: Path) -> Config:
    """The configuration a run was started with, under the budget and output of the present one.

    Used where the present configuration names no task: the run was started by flags alone.
    """
    if config.task.chain is not None or config.task.prompt is not None:
        return config
    recorded = dict(started(folder).get("config") or {})
    present = config.model_dump(mode="json")
    merged = recorded | {name: present[name] for name in ("budget", "output")}
    return config_from_dict(merged, root=config.root)


def recorded_version(config: Config, folder: Path) -> str | None:
    """The dataset version a run is bound to: its own, where LangSmith gave one, else what the configuration says."""
    version = str((started(folder).get("data") or {}).get("as_of") or "")
    return config.data.as_of if version.startswith("sha256:") or not version else version


def refuse_changes(config: Config, folder: Path) -> None:
    """Raise ResumeError with the difference when a setting that decides the result has changed."""
    recorded = started(folder).get("config") or {}
    present = config.model_dump(mode="json")
    changed = [
        f"{section}.{key}: {value!r} became {present.get(section, {}).get(key)!r}"
        for section, values in recorded.items()
        if section not in _FREE and isinstance(values, Mapping)
        for key, value in values.items()
        if (section, key) not in _FREE_KEYS and present.get(section, {}).get(key) != value
    ]
    if changed:
        msg = f"the configuration has changed: {'; '.join(changed)}"
        mend = "Set it back to resume this run, or start a new one with `promptopt optimize`."
        raise ResumeError(msg, where=f"run {folder.name}", mend=mend)
