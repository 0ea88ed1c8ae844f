"""The report as Prefect artifacts, readable in the UI and over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping

REPORT = "promptopt-report"
TABLE = "promptopt-test"


def publish(answer: Mapping[str, Any], markdown: str) -> None:
    """Keep report and test table of a step; the report holds no row text unless the configuration asks for it."""
    from langchain_promptopt.pipeline import TEST_COLUMNS

    told = f"{answer['outcome']}, run {answer['run_id'] or 'not begun'}"
    create_markdown_artifact(key=REPORT, markdown=markdown, description=told)
    if answer["test"]:
        rows = [{name: _cell(entry.get(name)) for name in TEST_COLUMNS} for entry in answer["test"]]
        create_table_artifact(key=TABLE, table=rows, description=told)


def _cell(value: Any) -> Any:
    return " to ".join(f"{v:.4g}" for v in value) if isinstance(value, list) else value
