"""A recorded run read again: its configuration for going on with it, its edits as a start, its rows for showing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import map_values
from langchain_promptopt._data import Columns, examples_of, load_data
from langchain_promptopt._imports import import_object
from langchain_promptopt._runtime.redact import public_url
from langchain_promptopt.config import config_from_dict, with_values
from langchain_promptopt.errors import ConfigError, PromptOptError, ResumeError, UsageError
from langchain_promptopt.events import RunStarted, event_of
from langchain_promptopt.gate import OPENINGS_FILE, Openings
from langchain_promptopt.optimizer.plan import redacted
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.store import read_events, visible_events
from langchain_promptopt.store.lines import JOURNAL, find_run, run_folders
from langchain_promptopt.strategies.seeding import PastEdit
from langchain_promptopt.types import RowUse

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_promptopt._runtime.redact import Redact
    from langchain_promptopt.config import Config
    from langchain_promptopt.config.schema import DataConfig
    from langchain_promptopt.ports import DataSet

_FLAGS = "flags"
"""Key beside the sections of a recorded configuration: what flags had set, by dotted key."""


def journaled_config(config: Config) -> dict[str, Any]:
    """A configuration as the journal keeps it: addresses without passwords, and flags in a table of their own."""
    sections: dict[str, Any] = _public(config.model_dump(mode="json"))
    values = {}
    for key in config.flags:
        for section, _, name in [key.partition(".")]:
            values[key] = sections[section][name]
    return sections | ({_FLAGS: values} if values else {})


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return map_values(_public, value)
    if isinstance(value, list):
        return list(map(_public, value))
    return public_url(value) if isinstance(value, str) else value


def started(folder: Path) -> RunStarted:
    """The run's `run.started`. Raises ResumeError where the journal does not begin with it."""
    first = next(islice(read_events(folder / JOURNAL), 1), None)
    event = None if first is None else event_of(first)
    if not isinstance(event, RunStarted):
        msg = "the journal does not begin with run.started"
        raise ResumeError(msg, where=str(folder), mend="Nothing was paid for; start the run again.")
    return event


def recorded_config(config: Config, folder: Path) -> Config:
    """The present configuration with the flags the run was started with, where they are not given anew.

    Where that names no task the run was started from a configuration without a file: then it is the
    recorded one, under the budget and output of the present one.
    """
    known = dict(started(folder).config)
    flags = {}
    for key, value in known.pop(_FLAGS, {}).items():
        if key not in config.flags:
            flags[key] = value
    flags.pop("output.runs_dir", None)
    config = with_values(config, flags) if flags else config
    if config.task.chain is not None or config.task.prompt is not None:
        return config
    present = config.model_dump(mode="json")
    merged = known | {name: present[name] for name in ("budget", "output")}
    return config_from_dict(merged, root=config.root)


def recorded_version(config: Config, folder: Path) -> str | None:
    """The dataset version a run is bound to: its own, where LangSmith gave one, else what the configuration says."""
    version = str(started(folder).data.get("as_of") or "")
    return config.data.as_of if version.startswith("sha256:") or not version else version


def past_edits(config: Config) -> tuple[PastEdit, ...]:
    """The edits of the run that `optimize.from_run` names; () where none is named.

    "latest" is the latest run that came to an end: a run that was killed and is started again must
    find the same edits as before. Raises UsageError where there is no such run.
    """
    name = config.optimize.from_run
    if name is None:
        return ()
    record = _record(_latest_ended(config.runs_dir) if name == "latest" else find_run(config.runs_dir, name))
    baseline = record.started.prompts
    searched = frozenset(record.started.data.get("searched") or ())
    found: list[PastEdit] = []
    for e in record.edits:
        found.append(PastEdit(e.as_edit(), baseline[e.prompt].messages[e.message].template, searched))
    return tuple(found)


def _latest_ended(base: Path) -> Path:
    for folder in run_folders(base):
        if _record(folder).finished is not None:
            return folder
    msg = "no run has come to an end yet"
    raise UsageError(msg, where=str(base), mend="Leave optimize.from_run out for the first run.")


def _record(folder: Path) -> RunRecord:
    return RunRecord.from_events(list(visible_events(folder / JOURNAL)))


def redact_of(config: Config) -> Redact | None:
    """The function that `optimize.redact` names. Raises ConfigError where there is none, or it cannot be called."""
    name = config.optimize.redact
    if name is None:
        return None
    where = f"optimize.redact = {name!r}"
    if ":" not in name:
        msg = f"{name!r} names no function"
        raise ConfigError(msg, where=where, mend='Write it as "module:function".')
    found: Any = import_object(name, config.root, "optimize.redact")
    if not callable(found):
        msg = f"{name!r} is {type(found).__name__} and cannot be called"
        raise ConfigError(msg, where=where, mend="Name a function that takes a text and gives the text to keep.")
    redact: Redact = found
    return redact


def redacting(config: Config, started: RunStarted) -> Config:
    """The present configuration with the function that the run had hidden texts with, where it names none itself.

    Raises ConfigError where that was a function of a program, which no configuration can name.
    """
    if config.optimize.redact is not None or "redact" not in started.decides:
        return config
    named = started.setting("optimize", "redact")
    if named is None:
        msg = "this run had texts of its examples hidden by a function of a program (redact=)"
        mend = 'Name the function to see the others: --redact module:function, or [optimize] redact = "...".'
        raise ConfigError(msg, mend=mend)
    return with_values(config, {"optimize.redact": named})


_ASK = "Name them with --data to see their texts."

_IN_MEMORY = ("examples in memory", "rows in memory")
"""What a run's record calls examples that no file holds; the second is the name that earlier versions wrote."""


def recalled(config: Config, started: RunStarted) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """The rows of a run by example id, or None and why there are none.

    Only what lies here is read, never a service, and only rows that are exactly those of the run are shown.

    Args:
        config: Says where relative paths start.
        started: The run's `run.started`.
    """
    source = started.setting("data", "source")
    use = RowUse.from_json(started.data)
    try:
        redact = redact_of(redacting(config, started))
        if source:
            found = _local(config_from_dict({"data": started.config["data"]}, root=config.root), use)
        else:
            found = _demo(use) if started.data.get("source") in _IN_MEMORY else None
    except PromptOptError as error:
        return None, f"the examples cannot be read again: {error} {_ASK}"
    if found is None:
        return None, f"the record holds no example texts ({started.data.get('source', 'unknown source')}). {_ASK}"
    if found.as_of != started.data.get("as_of"):
        where = source or "in memory"
        return None, f"the examples ({where}) are not those of the run any more, so their texts are left out. {_ASK}"
    return examples_of(redacted(found, redact)), ""


def _local(config: Config, use: RowUse) -> DataSet | None:
    data = config.data
    source = config.path(data.source or "")
    if not source.exists():
        return None

    return load_data(
        str(source),
        columns=columns_of(data),
        splits={ours: theirs for ours, theirs in data.splits.items()} or None,
        drop_leaks=data.drop_leaks,
        skip_bad_lines=data.skip_bad_lines,
        use=use,
        openings=Openings(config.root / OPENINGS_FILE),
    )


def _demo(use: RowUse) -> DataSet:
    from langchain_promptopt.offline import demo_rows

    return load_data(demo_rows(), use=use)


def columns_of(data: DataConfig) -> Columns:
    """What `[data]` says about columns."""
    return Columns(
        inputs=dict(data.inputs) or None,
        outputs=list(data.outputs) or None,
        id=data.id,
        group=data.group,
        note=data.note,
        split=data.split,
    )
