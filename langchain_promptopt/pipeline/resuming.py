"""Going on with a run: its own configuration, and a refusal when something that decides it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.redact import public_url
from langchain_promptopt.config import config_from_dict, with_values
from langchain_promptopt.errors import ResumeError
from langchain_promptopt.store import read_events

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_promptopt.config import Config

_FREE = {"budget", "output", "langsmith", "prices", "limits"}
"""Sections that decide nothing about the result."""
_FREE_KEYS = {("optimize", "max_concurrency"), ("optimize", "requests_per_second"), ("optimize", "max_failure_rate")}
_FREE_KEYS |= {("optimize", "cache"), ("evaluate", "judge_cost")}
_FLAGS = "flags"
"""Stands beside the sections of a recorded configuration: what flags had set, by dotted key."""


def recorded(config: Config) -> dict[str, Any]:
    """A configuration as the journal keeps it: no password in an address, and what came by flags told apart."""
    sections: dict[str, Any] = _public(config.model_dump(mode="json"))
    values = {key: sections[section][name] for key in config.flags for section, _, name in [key.partition(".")]}
    return sections | ({_FLAGS: values} if values else {})


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    return public_url(value) if isinstance(value, str) else value


def started(folder: Path) -> Mapping[str, Any]:
    """Data of the run's `run.started`. Raises ResumeError where the journal does not begin with it."""
    first = next(islice(read_events(folder / "journal.jsonl"), 1), None)
    if first is None or first["type"] != "run.started":
        msg = "the journal does not begin with run.started"
        raise ResumeError(msg, where=str(folder), mend="Nothing was paid for; start the run again.")
    data: Mapping[str, Any] = first["data"]
    return data


def recorded_config(config: Config, folder: Path) -> Config:
    """The present configuration with the flags the run was started with, where they are not given anew.

    Where that names no task the run was started from a configuration without a file: then it is the
    recorded one, under the budget and output of the present one.
    """
    known = dict(started(folder).get("config") or {})
    flags = {key: value for key, value in known.pop(_FLAGS, {}).items() if key not in config.flags}
    flags.pop("output.runs_dir", None)
    config = with_values(config, flags) if flags else config
    if config.task.chain is not None or config.task.prompt is not None:
        return config
    present = config.model_dump(mode="json")
    merged = known | {name: present[name] for name in ("budget", "output")}
    return config_from_dict(merged, root=config.root)


def recorded_version(config: Config, folder: Path) -> str | None:
    """The dataset version a run is bound to: its own, where LangSmith gave one, else what the configuration says."""
    version = str((started(folder).get("data") or {}).get("as_of") or "")
    return config.data.as_of if version.startswith("sha256:") or not version else version


def refuse_changes(config: Config, folder: Path) -> None:
    """Raise ResumeError with the difference when a setting that decides the result has changed."""
    known = started(folder).get("config") or {}
    present = recorded(config)
    changed = [
        f"{section}.{key}: {value!r} became {present.get(section, {}).get(key)!r}"
        for section, values in known.items()
        if section not in {*_FREE, _FLAGS} and isinstance(values, Mapping)
        for key, value in values.items()
        if (section, key) not in _FREE_KEYS and present.get(section, {}).get(key) != value
    ]
    if changed:
        msg = f"the configuration has changed: {'; '.join(changed)}"
        mend = "Set it back to resume this run, or start a new one with `promptopt optimize`."
        raise ResumeError(msg, where=f"run {folder.name}", mend=mend)
