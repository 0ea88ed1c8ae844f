"""One run of the optimizer as one task.

The state of a run is its journal, in the run's folder. What goes through XCom is a reference to that folder, with the
figures of the test; prompts and rows do not go into Airflow's database.
"""

from __future__ import annotations

import logging
import os
import tempfile
import tomllib
from collections.abc import Mapping  # noqa: TC003 - Airflow evaluates the annotations
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

_log = logging.getLogger(__name__)

DONE = (0, 3)
"""Improved, and no proven gain: both are verdicts."""
AGAIN = (5, 130, 143)
"""Models or platform were out of reach, or the worker was stopped; the next try goes on where this one stopped."""
RETRIES = 3
RETRY_DELAY = timedelta(minutes=5)


class PromptOptimizeOperator(BaseOperator):
    """Run, resume or replay one optimization; the return value is a reference to the run.

    Args:
        file: The path of a `promptopt.toml`; templated.
        config: The same settings as a mapping, in place of `file`. Never templated, since prompts may hold braces.
        root: Where relative paths and imports start; templated. Without it, the folder of `file`, or the working
            directory.
        overrides: Settings that are stronger than the file, by dotted name: `{"data.source": "rows-{{ ds }}.jsonl"}`;
            templated.
        retries: Tries after an outage. A wrong configuration is never tried again.
        retry_delay: Time between tries.
        **kwargs: What every operator takes.
    """

    template_fields: Sequence[str] = ("file", "root", "overrides")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        file: str | None = None,
        config: Mapping[str, Any] | None = None,
        root: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        retries: int = RETRIES,
        retry_delay: timedelta = RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.file = file
        self.config = config
        self.root = root
        self.overrides = overrides

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Run the step. Raises AirflowException (tried again) or AirflowFailException (not tried again)."""
        return optimized(self.file, self.config, self.root, self.overrides)


@task(task_id="optimize_prompt", retries=RETRIES, retry_delay=RETRY_DELAY)
def optimize_prompt(
    file: str | None = None,
    config: Mapping[str, Any] | None = None,
    root: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The operator as a TaskFlow function; `optimize_prompt.override(retries=5)(file=...)` changes how it is run.

    Args:
        file: The path of a `promptopt.toml`.
        config: The same settings as a mapping. Airflow renders templates in what is written here in the DAG file, but
            not in what another task returns.
        root: Where relative paths and imports start.
        overrides: Settings that are stronger than the file, by dotted name.
    """
    return optimized(file, config, root, overrides)


def improved(run: Mapping[str, Any]) -> bool:
    """Whether the gate passed; for `task.short_circuit(improved)(run)`."""
    return bool(run["outcome"] == "improved")


def optimized(
    file: str | None,
    config: Mapping[str, Any] | None,
    root: str | None,
    overrides: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """`run_step` in Airflow's terms: a reference, or the exception that says whether to try again.

    Args:
        file: The path of a `promptopt.toml`.
        config: The same settings as a mapping.
        root: Where relative paths and imports start.
        overrides: Settings by dotted name.

    Raises:
        AirflowFailException: The configuration, the data or the credentials are wrong, the budget is spent, or there
            is a bug; another try would end the same way.
        AirflowException: Models or platform stayed out of reach; the next try resumes the run.
    """
    from langchain_promptopt import run_step
    from langchain_promptopt.config import config_from_dict
    from langchain_promptopt.pipeline import run_reference

    settings = _settings(file, config, overrides)
    root = root or (str(Path(file).resolve().parent) if file else str(Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        output = dict(settings.get("output", {}))
        summary = Path(root) / output.setdefault("summary", str(Path(folder) / "report.md"))
        answer = run_step({**settings, "output": output}, root=root)
        if summary.is_file():
            _log.info("%s", summary.read_text(encoding="utf-8"))
    raise_without_verdict(answer)
    run = config_from_dict(settings, root=root, env=os.environ).runs_dir / answer["run_id"]
    return run_reference(answer, run)


def _settings(
    file: str | None, config: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The configuration as a dict of its own."""
    if (file is None) == (config is None):
        msg = "Give either file=, the path of a promptopt.toml, or config=, a mapping of the same shape."
        raise AirflowFailException(msg)
    try:
        given = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file is not None else dict(config or {})
    except (OSError, ValueError) as error:
        msg = f"The settings in {file} cannot be read: {error}"
        raise AirflowFailException(msg) from error
    for name, value in (overrides or {}).items():
        _put(given, name.split("."), value)
    return given


def _put(settings: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a dotted key, in copies of the tables on the way to it."""
    for key in keys[:-1]:
        settings[key] = dict(settings.get(key, {}))
        settings = settings[key]
    settings[keys[-1]] = value


def raise_without_verdict(answer: Mapping[str, Any]) -> None:
    """Nothing for a step that reached a verdict; else the exception that says whether to try again."""
    code = answer["exit_code"]
    if code in DONE:
        return
    error = answer["error"] or {}
    told = error.get("public") or error.get("message") or answer["outcome"]  # Airflow keeps and shows it
    msg = f"exit code {code}, run {answer['run_id'] or 'not begun'}: {told}"
    raise (AirflowException if code in AGAIN else AirflowFailException)(msg)
