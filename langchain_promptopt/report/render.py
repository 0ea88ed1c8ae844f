"""The report in every format, and the files that a pipeline step leaves: summary, JUnit, GitHub's outputs."""

from __future__ import annotations

from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from langchain_promptopt._collections import present
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.report.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def write_summary(markdown: str, env: Mapping[str, str]) -> Path | None:
    """Append to the step summary; the file, or None outside of Actions."""
    return _append(env.get("GITHUB_STEP_SUMMARY"), markdown.rstrip("\n") + "\n")


def write_outputs(values: Mapping[str, str], env: Mapping[str, str]) -> Path | None:
    """Append step outputs; the file, or None outside of Actions."""
    return _append(env.get("GITHUB_OUTPUT"), "".join(starmap(output_lines, values.items())))


def output_lines(name: str, value: str) -> str:
    r"""One output, however many lines its value has.

    >>> output_lines("outcome", "improved")
    'outcome=improved\n'
    """
    if not any(mark in value for mark in "\r\n") and "<<" not in value:
        return f"{name}={value}\n"
    # A value that holds the end mark could set other outputs, so the mark must not be in it.
    mark = "END"
    while mark in value:
        mark += "_"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def error_line(title: str, message: str, env: Mapping[str, str]) -> str | None:
    r"""The workflow command that shows an error at the job.

    Args:
        title: The title of the annotation.
        message: The message; it may have several lines.
        env: Environment variables.

    Returns:
        The line to print; None outside of Actions.

    >>> error_line("promptopt", "50 % lost:\nsee, below", {"GITHUB_ACTIONS": "true"})
    '::error title=promptopt::50 %25 lost:%0Asee, below'
    """
    if env.get("GITHUB_ACTIONS") != "true":
        return None
    return f"::error title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _append(path: str | None, text: str) -> Path | None:
    if not path:
        return None
    file = Path(path)
    with file.open("a", encoding="utf-8", errors="replace", newline="\n") as out:
        out.write(text)
    return file


Format: TypeAlias = Literal["html", "markdown", "junit"]
FORMATS: tuple[Format, ...] = get_args(Format)
_BY_ENDING: Mapping[str, Format] = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".xml": "junit",
}


def render(record: RunRecord, fmt: Format, *, show_rows: bool = False) -> str:
    """The report in one format.

    Args:
        record: The run.
        fmt: "html", "markdown" or "junit".
        show_rows: Put row text into Markdown. HTML always has it, JUnit never.
    """
    if fmt == "html":
        from langchain_promptopt.report.html import render_html

        return render_html(record)
    if fmt == "markdown":
        from langchain_promptopt.report.markdown import render_markdown

        return render_markdown(record, show_rows=show_rows)
    from langchain_promptopt.report.junit import render_junit

    return render_junit(record)


def write_report(
    events: Iterable[Mapping[str, Any]],
    path: Path,
    *,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
    show_rows: bool = False,
) -> Path:
    """Write the report of a journal.

    Args:
        events: The journal's lines.
        path: The file; its ending says the format (.html, .htm, .md, .markdown, .xml).
        examples: Inputs and expected outputs by example id; None shows ids only.
        show_rows: Put row text into Markdown.

    Returns:
        The file.

    Raises:
        ConfigError: The ending names no format.
    """
    fmt = _BY_ENDING.get(path.suffix.lower())
    if fmt is None:
        msg = f"no report format is known for {path.suffix or path.name!r}"
        raise ConfigError(msg, where=str(path), mend=f"End the name in one of {', '.join(_BY_ENDING)}.")
    return write_text(path, render(RunRecord.from_events(events, examples), fmt, show_rows=show_rows))


def write_text(path: Path, text: str) -> Path:
    """Write a text file, folders made as needed, line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return path


def deliver(
    record: RunRecord,
    env: Mapping[str, str],
    *,
    summary: Path | None = None,
    junit: Path | None = None,
    show_rows: bool = False,
) -> list[Path]:
    """Write what a pipeline step leaves for others.

    Args:
        record: The run.
        env: Environment variables; they name the files that GitHub Actions reads.
        summary: The Markdown file, if one is wanted.
        junit: The JUnit file, if one is wanted.
        show_rows: Put row text into the Markdown.

    Returns:
        The files that were written.
    """
    markdown = render(record, "markdown", show_rows=show_rows)
    written = [
        write_text(summary, markdown) if summary else None,
        write_text(junit, render(record, "junit")) if junit else None,
        write_summary(markdown, env),
        write_outputs(step_outputs(record), env),
    ]
    return present(written)


def step_outputs(record: RunRecord) -> dict[str, str]:
    """What later steps of a workflow can read."""
    difference = record.metrics[0].difference if record.metrics else None
    return {
        "outcome": record.outcome or "unfinished",
        "run_id": record.run_id,
        "replayed": "true" if record.replayed else "false",
        "improved": "true" if record.outcome == "improved" else "false",
        "difference": "" if difference is None else f"{difference:.6g}",
        "edits": str(len(record.edits)),
    }
