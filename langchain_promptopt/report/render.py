"""What a GitHub Actions job reads: step summary, step outputs, error annotations. Only files and lines.

GitHub takes `$GITHUB_OUTPUT` as name=value, or name<<END, lines, END: a value that holds the end
mark could set other outputs, so the mark is chosen such that the value cannot hold it.

One door to all formats, and writing what a run was asked to leave behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.report.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def write_summary(markdown: str, env: Mapping[str, str]) -> Path | None:
    """Append to the step summary; the file, or None outside of Actions."""
    return _append(env.get("GITHUB_STEP_SUMMARY"), markdown.rstrip("\n") + "\n")


def write_outputs(values: Mapping[str, str], env: Mapping[str, str]) -> Path | None:
    """Append step outputs; the file, or None outside of Actions."""
    return _append(env.get("GITHUB_OUTPUT"), "".join(output_lines(name, value) for name, value in values.items()))


def output_lines(name: str, value: str) -> str:
    r"""One output, however many lines its value has.

    >>> output_lines("outcome", "improved")
    'outcome=improved\n'
    """
    if not any(mark in value for mark in "\r\n") and "<<" not in value:
        return f"{name}={value}\n"
    mark = "END"
    while mark in value:
        mark += "_"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def error_line(title: str, message: str, env: Mapping[str, str]) -> str | None:
    r"""The workflow command that shows an error at the job; None outside of Actions.

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


# ------------------------------------------------------------ One door to all formats, and writing what a run was

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
    """The report in a format. `show_rows` puts row text into Markdown; HTML always has it."""
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
    """Write the report of a journal; the ending of `path` says the format.

    Raises ConfigError for an ending that names no format.
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
    """What a pipeline step leaves for others: summary file, JUnit file, and the files GitHub Actions reads."""
    markdown = render(record, "markdown", show_rows=show_rows)
    written = [
        write_text(summary, markdown) if summary else None,
        write_text(junit, render(record, "junit")) if junit else None,
        write_summary(markdown, env),
        write_outputs(step_outputs(record), env),
    ]
    return [path for path in written if path is not None]


def step_outputs(record: RunRecord) -> dict[str, str]:
    """What later steps of a workflow can read."""
    metric = record.metrics[0] if record.metrics else {}
    difference = metric.get("difference")
    return {
        "outcome": record.outcome or "unfinished",
        "run_id": record.run_id,
        "replayed": "true" if record.replayed else "false",
        "improved": "true" if record.outcome == "improved" else "false",
        "difference": "" if difference is None else f"{difference:.6g}",
        "edits": str(len(record.edits)),
    }
