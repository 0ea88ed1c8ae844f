"""One run of the optimizer as one materialization.

The state of a run is its journal, in the run's folder. The asset's value is a reference to that folder, with the
figures of the test; prompts and rows do not go into Dagster's storage.
"""

# No postponed annotations in this module: Dagster reads those of `context`.

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

DONE = (0, 3)
"""Improved, and no proven gain: both are verdicts."""
AGAIN = (5, 130, 143)
"""Models or platform were out of reach, or the process was stopped; the next try goes on where this one stopped."""
RETRIES = dg.RetryPolicy(max_retries=3, delay=60, backoff=dg.Backoff.EXPONENTIAL)
_COLUMNS = ("metric", "baseline", "best", "difference", "p_value", "n", "verdict")


class Optimization(dg.Config):
    """What a Dagster run may change: settings by dotted name, such as `{"data.source": "rows-2026-01-01.jsonl"}`."""

    overrides: dict[str, Any] = {}  # noqa: RUF012 - a field of a pydantic model


def optimized_prompt(
    name: str,
    settings: str | Path | Mapping[str, Any],
    *,
    root: str | Path | None = None,
    retry_policy: dg.RetryPolicy = RETRIES,
    **kwargs: Any,
) -> dg.AssetsDefinition:
    """An asset whose materialization runs, resumes or replays one optimization.

    Args:
        name: The asset's name.
        settings: The path of a `promptopt.toml`, or a mapping of the same shape.
        root: Where relative paths and imports start. Without it, the folder of the settings file, or the working
            directory.
        retry_policy: Tries after an outage. A wrong configuration is never tried again.
        **kwargs: What `dagster.asset` takes: `group_name`, `deps`, `partitions_def`, `automation_condition`.
    """
    kwargs.setdefault("group_name", "promptopt")
    kwargs.setdefault("kinds", {"langchain"})

    @dg.asset(name=name, retry_policy=retry_policy, **kwargs)
    def materialized(context: dg.AssetExecutionContext, config: Optimization) -> dg.MaterializeResult:
        from langchain_promptopt.pipeline import run_reference

        given = _settings(settings, config.overrides)
        folder = root or (Path(settings).resolve().parent if isinstance(settings, str | Path) else Path.cwd())
        answer, report = _answered(given, Path(folder))
        _raise_without_verdict(answer)
        run = _runs_dir(given, folder) / answer["run_id"]
        context.log.info(f"{answer['outcome']}, run {answer['run_id']}")
        return dg.MaterializeResult(value=run_reference(answer, run), metadata=_metadata(answer, run, report))

    return materialized


def gate_check(asset: dg.AssetsDefinition, *, blocking: bool = False) -> dg.AssetChecksDefinition:
    """The gate of an optimization as an asset check: passed only where the verdict is "improved".

    Args:
        asset: What `optimized_prompt` gave.
        blocking: Whether assets that depend on it must wait for a gain. Dagster then counts a run without a gain as
            failed. Without it, such a run succeeds with a warning.
    """
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN

    @dg.asset_check(asset=asset, name="gate", blocking=blocking, description="The held-out test passed.")
    def gate(run: dict[str, Any]) -> dg.AssetCheckResult:
        figures = run["test"][0] if run["test"] else {}
        shown = {key: value for key, value in figures.items() if isinstance(value, int | float | str)}
        return dg.AssetCheckResult(
            passed=run["outcome"] == "improved",
            severity=severity,
            description=f"{run['outcome']}, run {run['run_id']}",
            metadata=shown,
        )

    return gate


def nightly(asset: dg.AssetsDefinition, *, cron: str = "0 3 * * *", timezone: str = "UTC") -> dg.ScheduleDefinition:
    """A schedule that materializes the asset and runs its checks.

    Args:
        asset: What `optimized_prompt` gave.
        cron: When.
        timezone: The time zone of `cron`.
    """
    name = asset.key.to_python_identifier()
    job = dg.define_asset_job(f"{name}_job", selection=dg.AssetSelection.assets(asset.key), tags={"promptopt": name})
    return dg.ScheduleDefinition(
        name=f"{name}_nightly",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def _answered(given: Mapping[str, Any], root: Path) -> tuple[dict[str, Any], str]:
    """The machine answer of the step, and its report as Markdown."""
    from langchain_promptopt import run_step

    with tempfile.TemporaryDirectory() as folder:
        output = dict(given.get("output", {}))
        summary = root / output.setdefault("summary", str(Path(folder) / "report.md"))
        answer = run_step({**given, "output": output}, root=root)
        return answer, summary.read_text(encoding="utf-8") if summary.is_file() else ""


def _metadata(answer: Mapping[str, Any], run: Path, report: str) -> dict[str, dg.MetadataValue]:
    """What the asset's page shows."""
    records = []
    for entry in answer["test"]:
        records.append(dg.TableRecord({name: entry.get(name) for name in _COLUMNS}))
    shown: dict[str, dg.MetadataValue] = {
        "outcome": dg.MetadataValue.text(answer["outcome"]),
        "run": dg.MetadataValue.path(run.resolve()),
        "replayed": dg.MetadataValue.bool(answer["replayed"]),
        "report": dg.MetadataValue.md(report),
    }
    if records:
        columns = [dg.TableColumn(name) for name in _COLUMNS]
        shown["test"] = dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))
        shown["difference"] = dg.MetadataValue.float(float(answer["test"][0]["difference"]))
    return shown


def _raise_without_verdict(answer: Mapping[str, Any]) -> None:
    """Nothing for a step that reached a verdict; else a Failure that says whether to try again."""
    code = answer["exit_code"]
    if code in DONE:
        return
    error = answer["error"] or {}
    told = error.get("public") or error.get("message") or answer["outcome"]  # Dagster keeps and shows it
    msg = f"exit code {code}, run {answer['run_id'] or 'not begun'}: {told}"
    facts = {"exit_code": code, "run_id": answer["run_id"] or ""}
    raise dg.Failure(msg, metadata=facts, allow_retries=code in AGAIN)


def _runs_dir(given: Mapping[str, Any], root: str | Path) -> Path:
    from langchain_promptopt.config import config_from_dict

    return config_from_dict(given, root=root, env=os.environ).runs_dir


def _settings(settings: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as a dict of its own, with what is stronger than it."""
    try:
        given = dict(settings) if isinstance(settings, Mapping) else tomllib.loads(Path(settings).read_text("utf-8"))
    except (OSError, ValueError) as error:
        msg = f"The settings in {settings} cannot be read: {error}"
        raise dg.Failure(msg, allow_retries=False) from error
    for name, value in overrides.items():
        *way, last = name.split(".")
        table = given
        for key in way:
            table[key] = dict(table.get(key, {}))
            table = table[key]
        table[last] = value
    return given
