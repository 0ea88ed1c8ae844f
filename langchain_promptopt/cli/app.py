"""All verbs in one Typer app, and the one place where an error becomes an exit code and a message."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import typer

from langchain_promptopt.cli import changes, methods, optimize, runs
from langchain_promptopt.cli.flags import EXAMPLES
from langchain_promptopt.cli.output import ensure_text, log_is_public, print_json
from langchain_promptopt.errors import Interrupted, PromptOptError, UsageError, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="promptopt",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Small, explained, reversible prompt edits for LangChain chains, proven on held-out rows.\n\n"
    "Exit codes: 0 improved or done, 1 bug, 2 wrong usage or config, 3 no significant gain, 4 budget spent, "
    "5 models or platform unavailable, 130 and 143 interrupted.",
    epilog="Example: promptopt demo",
)
for _verb in (
    *(optimize.demo, optimize.init, optimize.check, optimize.optimize, optimize.compare, optimize.resume),
    *(runs.runs, runs.show, changes.diff, runs.report, runs.export, changes.apply, changes.push, changes.rollback),
    *(methods.methods, methods.bench),
):
    app.command(epilog=EXAMPLES[_verb])(_verb)

_CLICK_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Typer carries its own copy of click in newer versions; either way this is the base of its usage errors."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return the process exit code."""
    ensure_text()
    as_json = "--json" in args
    try:
        code = typer.main.get_command(app).main(args=list(args), prog_name="promptopt", standalone_mode=False)
    except _CLICK_ERROR as error:
        return _usage(error, as_json=as_json)
    except typer.Abort:
        return _failed(Interrupted("stopped"), as_json=as_json)
    except PromptOptError as error:
        return _failed(error, as_json=as_json)
    except SystemExit as end:
        # Typer ends with 1 when the reader of our output left, which is nobody's failure.
        return 0 if isinstance(end.__context__, BrokenPipeError) else int(end.code or 0)
    except Exception as error:
        if as_json:
            _print_failure(error)
        raise  # a bug of ours: the traceback is the message, the exit code is 1
    return code if isinstance(code, int) else 0


def _usage(error: Any, *, as_json: bool) -> int:
    """A wrong command line, said the way Typer says it."""
    error.show(file=sys.stderr)
    if as_json:
        _print_failure(UsageError(error.format_message()))
    return 2


def _failed(error: PromptOptError, *, as_json: bool) -> int:
    """What, where and mend on stderr; the same as an object on stdout where machine output was asked for."""
    from langchain_promptopt.report.privacy import visible
    from langchain_promptopt.report.render import error_line

    said = visible(error.public if log_is_public() else str(error))
    sys.stderr.write(f"promptopt: {said}\n")
    if line := error_line("promptopt", said, os.environ):
        sys.stderr.write(line + "\n")
    if as_json:
        _print_failure(error)
    return exit_code_of(error)


def _print_failure(error: BaseException) -> None:
    """The same object as `run_step` gives."""
    from langchain_promptopt.pipeline.step import failure_json

    print_json(failure_json(error))
