"""The rows of a run: from files and memory, or from LangSmith at one version that is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_promptopt._data import load_data
from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.settings import Settings
    from langchain_promptopt.ports import DataSet

_BY_HASH = "unsplit data"
"""How `load_data` begins the note that it made the splits itself."""


def load_rows(settings: Settings, *, write: bool = True) -> DataSet:
    """All rows, checked. LangSmith is asked only when `settings.data` names nothing here.

    With `write`, splits made here go back to a dataset that has none, where the settings ask for it.
    """
    options = settings.langsmith
    remote = settings.remote
    if remote is None:
        remote = LangSmithRows(options.as_of, options.metadata, options.queues)
    data = load_data(
        settings.data,
        columns=settings.columns,
        splits=settings.splits,
        drop_leaks=settings.drop_leaks,
        skip_bad_lines=settings.skip_bad_lines,
        remote=remote,
    )
    if not isinstance(remote, LangSmithRows) or remote.version is None:
        return data
    notes = list(data.notes)
    if write and options.write_splits and any(note.startswith(_BY_HASH) for note in notes):
        notes.append(_write_splits(remote, data))
    return replace(data, as_of=remote.version, notes=tuple(notes))


def _write_splits(remote: LangSmithRows, data: DataSet) -> str:
    if not all(is_uuid(e.id) for rows in data.splits.values() for e in rows):
        return "the splits were not written back: rows carry ids of their own (data.id)"
    remote.split_back(data)
    return "the splits were written to the LangSmith dataset"


def notes_hash(data: DataSet) -> dict[str, Any]:
    """What people's notes add to the identity of a run; nothing where there are none."""
    notes = {e.id: e.note for rows in data.splits.values() for e in rows if e.note}
    return {"notes": content_hash(notes)} if notes else {}


def is_uuid(text: str) -> bool:
    """Whether an id can be one of LangSmith's."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
