"""The rows of a recorded run, read again for showing: the journal holds their ids and scores only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._data import examples_of, load_data
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.pipeline.prepare import columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.config import Config
    from langchain_promptopt.ports import DataSet

_ASK = "Name them with --data to see their texts."


def recalled(config: Config, started: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """The rows of a run by example id, or None and why there are none.

    Only what lies here is read, never a service, and only rows that are exactly those of the run are shown.

    Args:
        config: Says where relative paths start.
        started: The run's `run.started`.
    """
    wanted = started["data"].get("as_of")
    recorded = started.get("config", {}).get("data") or {}
    try:
        if recorded.get("source"):
            found = _local(config_from_dict({"data": recorded}, root=config.root))
        else:
            found = _demo() if started["data"].get("source") == "rows in memory" else None
    except PromptOptError as error:
        return None, f"the rows cannot be read again: {error} {_ASK}"
    if found is None:
        return None, f"the record holds no row texts ({started['data'].get('source', 'unknown source')}). {_ASK}"
    if found.as_of != wanted:
        where = recorded.get("source") or "in memory"
        return None, f"the rows ({where}) are not those of the run any more, so their texts are left out. {_ASK}"
    return examples_of(found), ""


def _local(config: Config) -> DataSet | None:
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
    )


def _demo() -> DataSet:
    from langchain_promptopt.offline import demo_rows

    return load_data(demo_rows())
