"""`promptopt report`: a run as HTML, Markdown or JUnit XML."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from langchain_promptopt.cli.answers import RunName, print_view, said
from langchain_promptopt.cli.flags import DATA, Given, with_settings

Format = Annotated[Literal["html", "markdown", "junit"], typer.Option("--format", help="What to write.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help='File; "-" is stdout. HTML goes beside the journal.')]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt report latest --format markdown")(report)


@with_settings(*DATA, "show_rows")
def report(
    *,
    given: Given,
    run: RunName = "latest",
    fmt: Format = "html",
    out: Out = None,
) -> int:
    """Write the report of a run. HTML becomes a file, Markdown and JUnit go to stdout unless --out says otherwise."""
    from langchain_promptopt.cli.journals import find_run, record_of, with_rows
    from langchain_promptopt.report.render import render, write_text

    config = given.load()
    folder = find_run(config, run)
    record = with_rows(record_of(folder), config, given)
    text = render(record, fmt, show_rows=config.output.show_rows)
    file = out or (folder / "report.html" if fmt == "html" else None)
    if file is None or str(file) == "-":
        print_view(text)
    else:
        write_text(file, text)
        said({"run_id": record.run_id, "format": fmt, "file": str(file)}, str(file), as_json=given.as_json)
    return 0
