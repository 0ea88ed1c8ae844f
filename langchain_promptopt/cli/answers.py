"""Writing to the two streams: the answer to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help='A run id or its beginning, a folder, or "latest".')
]

_WIDEST = 10_000

Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Do it although the gate did not pass.")]


def ensure_text() -> None:
    """A terminal that cannot show a character gets a question mark, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def log_is_public() -> bool:
    """Whether what is printed becomes a workflow's log, which is read by more people than the rows are."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def print_json(data: Any) -> None:
    """One JSON document. ASCII only, so that no pipe and no locale can spoil it."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def print_view(view: RenderableType) -> None:
    """Something drawn by `report.terminal`; a plain `str` is printed as it is, without markup."""
    if isinstance(view, str):
        sys.stdout.write(view if view.endswith("\n") else view + "\n")
        return
    from rich.console import Console
    from rich.measure import Measurement

    # Rich takes 80 columns for a pipe; there is nobody whose window is that narrow.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), view).minimum
    console.width = max(console.width, needed)  # ids and numbers run over the edge before they are cut
    console.print(view)


def print_exact(text: str) -> None:
    """Text that another program reads byte for byte, such as a patch."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
    sys.stdout.buffer.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> None:
    """A table of values from outside."""
    from langchain_promptopt.report.terminal import table_view

    print_view(table_view(columns, rows, numbers))


def note(text: str) -> None:
    """A remark for people, on stderr."""
    from langchain_promptopt.report.visible import visible

    sys.stderr.write(visible(text) + "\n")


def said(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """A short answer: one sentence, or the object."""
    if as_json:
        print_json(data)
    else:
        from langchain_promptopt.report.visible import visible

        print_view(visible(text))
