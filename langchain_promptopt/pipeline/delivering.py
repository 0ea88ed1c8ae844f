"""What a step leaves behind: winner, result, report, the files that its pipeline reads; failures in the same form."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._runtime.redact import redact
from langchain_promptopt.config import config_for_failures
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.optimizer.answer import of_error
from langchain_promptopt.report.markdown import Failed, failure_junit, failure_markdown
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import deliver, render, step_outputs, write_outputs, write_summary, write_text
from langchain_promptopt.store import RunFolder, visible_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.optimizer import Result


TEST_COLUMNS = (
    "metric",
    "role",
    "baseline",
    "best",
    "difference",
    "interval",
    "p_value",
    "n",
    "wins",
    "losses",
    "verdict",
)
"""What orchestrators show of an entry of the gate's table."""


def run_reference(answer: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """What an orchestrator may store of a run: where it is, how it ended, the figures of the test. No prompt, no row.

    Args:
        answer: The machine answer of `run_step`.
        run: The run's folder.
    """
    test = []
    for entry in answer["test"]:
        test.append({name: entry.get(name) for name in TEST_COLUMNS})
    return {
        "run_id": answer["run_id"],
        "run": str(run.resolve()),
        "outcome": answer["outcome"],
        "exit_code": answer["exit_code"],
        "replayed": answer["replayed"],
        "test": test,
    }


def deliver_result(config: Config, result: Result, examples: Mapping[str, Mapping[str, Any]]) -> RunRecord:
    """Write everything the config names, as far as the gate allows.

    Doing it again for the same result changes nothing and pushes nothing.

    Args:
        config: Its `[output]` says what is written where.
        result: The run that ended.
        examples: Inputs and expected outputs by example id, shown beside their scores.

    Returns:
        The run as the reports show it.

    Raises:
        ConflictError: The LangSmith prompt was changed meanwhile; nothing was pushed.
    """
    out = config.output
    if (folder := winners_folder(config, result)) is not None:
        result.save(folder)
    if out.push is not None and result.gate_passed:
        from langchain_promptopt._langsmith.publish import push_once

        push_once(result.winner(), result.events(), out.push, tag=out.tag)
    return deliver_report(config, result, examples)


def winners_folder(config: Config, result: Result) -> Path | None:
    """Where the winner of a run is written; None where nothing is."""
    out = config.output
    proven = result.gate_passed or (out.apply == "always" and result.best.id != result.baseline.id)
    return config.path(out.prompts) if out.prompts is not None and proven and out.apply != "never" else None


def deliver_report(config: Config, result: Result, examples: Mapping[str, Mapping[str, Any]]) -> RunRecord:
    """`result.json` and `report.html` beside the journal; summary, JUnit and GitHub's files where asked for.

    Args:
        config: Its `[output]` names summary and JUnit file.
        result: The run that ended.
        examples: Inputs and expected outputs by example id, shown beside their scores.

    Returns:
        The run as the reports show it.
    """
    known = RunRecord.from_events(_events(result), examples)
    record = replace(known, replayed=result.replayed, written=result.written)
    if result.folder is not None:
        folder = RunFolder(result.folder.parent, result.run_id)
        folder.write_result(result.as_json())
        folder.write_report(render(record, "html"))
    out = config.output
    deliver(
        record,
        os.environ,
        summary=config.path(out.summary) if out.summary else None,
        junit=config.path(out.junit) if out.junit else None,
        show_rows=out.show_rows,
    )
    return record


def _events(result: Result) -> list[Mapping[str, Any]]:
    """What may be shown: nothing of a test that was not finished."""
    return list(result.events() if result.folder is None else visible_events(result.folder / "journal.jsonl"))


@contextmanager
def failures_told(config: Config) -> Iterator[None]:
    """A failure inside is written to the same files as a result, and raised on."""
    try:
        yield
    except PromptOptError as error:
        deliver_failure(config, error)
        raise


@contextmanager
def unusable_told(
    given: Mapping[str, Any] | str | Path | None,
    *,
    root: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """The same as `failures_told`, for settings that cannot be read.

    The failure is written where the settings still say.

    Args:
        given: The settings: a mapping, or the file as for `load_config`.
        root: Where relative paths start, for a mapping.
        overrides: Dotted key -> value, from flags.

    Raises:
        PromptOptError: What was raised inside, once it is written.
    """
    try:
        yield
    except PromptOptError as error:
        config = config_for_failures(given, root=root, env=os.environ, overrides=overrides)
        deliver_failure(config, error)
        raise


def deliver_failure(config: Config, error: PromptOptError) -> None:
    """Summary, JUnit and GitHub's files of a step that failed."""
    out, env = config.output, os.environ
    if not (out.summary or out.junit or env.get("GITHUB_OUTPUT") or env.get("GITHUB_STEP_SUMMARY")):
        return
    answer = of_error(error)
    failed = Failed(
        outcome=answer.outcome or "failed",
        run_id=answer.run_id,
        kind=error.kind,
        message=redact(str(error)),
        public=redact(error.public),
        retryable=error.retryable,
    )
    record = _record(config, failed.run_id)
    text = failure_markdown(failed, record, show_rows=out.show_rows)
    if out.summary:
        write_text(config.path(out.summary), text)
    if out.junit:
        write_text(config.path(out.junit), failure_junit(failed, show_rows=out.show_rows))
    write_summary(text, env)
    known = step_outputs(record) if record else {"difference": "", "edits": "0"}
    write_outputs(known | {"outcome": failed.outcome, "run_id": failed.run_id or "", "improved": "false"}, env)


def _record(config: Config, run_id: str | None) -> RunRecord | None:
    """The run as far as it came, if it began at all."""
    path = config.runs_dir / str(run_id) / "journal.jsonl"
    if run_id is None or not path.is_file():
        return None
    events = list(visible_events(path))
    return RunRecord.from_events(events) if events else None


def failure_json(error: BaseException) -> dict[str, Any]:
    """The keys of a finished run's answer, with `error` filled. No key and no header gets into it.

    >>> answer = failure_json(ValueError("oops"))
    >>> answer["outcome"], answer["exit_code"], answer["error"]["kind"]
    ('failed', 1, 'bug')
    """
    return of_error(error).as_json()
