"""`optimize.from_run`: the edits of an earlier run, read from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.errors import UsageError
from langchain_promptopt.optimizer.plan import PastEdit
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.store import visible_events
from langchain_promptopt.store.finding import JOURNAL, find_run, run_folders

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_promptopt.config import Config


def past_edits(config: Config) -> tuple[PastEdit, ...]:
    """The edits of the run that `optimize.from_run` names; () where none is named.

    "latest" is the latest run that came to an end: a run that was killed and is started again must
    find the same edits as before. Raises UsageError where there is no such run.
    """
    name = config.optimize.from_run
    if name is None:
        return ()
    record = _record(_latest_ended(config.runs_dir) if name == "latest" else find_run(config.runs_dir, name))
    texts = {(p["name"], i): m["template"] for p in record.started["prompts"] for i, m in enumerate(p["messages"])}
    return tuple(PastEdit(e.as_edit(), texts[e.prompt, e.message]) for e in record.edits)


def _latest_ended(base: Path) -> Path:
    for folder in run_folders(base):
        if _record(folder).finished is not None:
            return folder
    msg = "no run has come to an end yet"
    raise UsageError(msg, where=str(base), mend="Leave optimize.from_run out for the first run.")


def _record(folder: Path) -> RunRecord:
    return RunRecord.from_events(list(visible_events(folder / JOURNAL)))
