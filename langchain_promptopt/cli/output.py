"""The two streams: the answer goes to stdout; remarks go to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias

import typer

from langchain_promptopt.report.privacy import spelled_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType


Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help='A run id or its beginning, a folder, or "latest".')
]

Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Do it although the gate did not pass.")]


def ensure_text() -> None:
    """A terminal that cannot show a character gets a question mark, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


_answers: list[TextIO] = []
"""The stream of the machine answer while everything else that is printed goes to stderr."""


@contextmanager
def answer_alone() -> Iterator[None]:
    """Keep stdout for the answer: chains, models and evaluators, and programs they start, may print what they like."""
    sys.stdout.flush()
    with _set_apart() as stream:
        _answers.append(stream)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _answers.pop()


@contextmanager
def _set_apart() -> Iterator[TextIO]:
    """The process's own stdout under another number, and number 1 pointing to stderr meanwhile."""
    try:
        if sys.stdout.fileno() != 1:
            raise OSError
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # captured or closed: then only what Python prints is kept apart
        yield sys.stdout
        return
    stream = os.fdopen(kept, "w", encoding="utf-8", errors="replace")
    try:
        yield stream
    finally:
        with suppress(OSError):  # the reader has left
            stream.flush()
        os.dup2(kept, 1)
        with suppress(OSError):
            stream.close()


def answer_stream() -> TextIO:
    """Where the answer goes."""
    return _answers[-1] if _answers else sys.stdout


def log_is_public() -> bool:
    """Whether what is printed becomes a workflow's log, which is read by more people than the rows are."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def print_json(data: Any) -> None:
    """One JSON document. ASCII only, so that no pipe and no locale can spoil it."""
    out = answer_stream()
    out.write(json.dumps(data, indent=2, default=str) + "\n")
    out.flush()


def print_view(view: RenderableType) -> None:
    """Something drawn by `report.terminal`; a plain `str` is printed as it is, without markup."""
    if isinstance(view, str):
        answer_stream().write(view if view.endswith("\n") else view + "\n")
        return
    from langchain_promptopt.report.terminal import console_for

    console_for(sys.stdout).print(view, soft_wrap=False)


def print_prose(text: str) -> None:
    """Sentences for people, broken at the width of the terminal."""
    from rich.text import Text

    print_view(Text(spelled_out(text)))


def print_exact(text: str) -> None:
    """Text that another program reads byte for byte, such as a patch."""
    out = answer_stream()
    out.flush()
    out.buffer.write(text.encode("utf-8", "surrogatepass"))
    out.buffer.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> None:
    """Print a table of values from outside.

    Args:
        columns: The heads of the columns.
        rows: One value a column each.
        numbers: Indices of the columns that are aligned to the right, from 0.
    """
    from langchain_promptopt.report.terminal import table_view

    print_view(table_view(columns, rows, numbers))


def note(text: str) -> None:
    """A remark for people, on stderr: broken between words for a terminal, one line where a program reads it."""
    said = spelled_out(text)
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        lines = [fill(line, width, break_long_words=False, break_on_hyphens=False) for line in said.split("\n")]
        said = "\n".join(lines)
    sys.stderr.write(said + "\n")


def said(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a short answer: one sentence, or the object.

    Args:
        data: The answer for `--json`.
        text: The answer for people.
        as_json: Whether `--json` was given.
    """
    if as_json:
        print_json(data)
    else:
        print_view(spelled_out(text))
