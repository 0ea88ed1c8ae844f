"""What a GitHub Actions job reads: step summary, step outputs, error annotations. Only files and lines.

GitHub takes `$GITHUB_OUTPUT` as name=value, or name<<END, lines, END: a value that holds the end
mark could set other outputs, so the mark is chosen such that the value cannot hold it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
