"""All verbs in one Typer app, and the one place where an error becomes an exit code and a message."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import nullcontext
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt.cli import changes, methods, nights, optimize, runs
from langchain_promptopt.cli.flags import EXAMPLES, help_of
from langchain_promptopt.cli.output import answer_alone, ensure_text, log_is_public, note, print_json
from langchain_promptopt.errors import Interrupted, PromptOptError, UsageError, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="promptopt",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Small, explained, reversible prompt edits for LangChain chains, proven on held-out examples.\n\n"
    "Exit codes: 0 improved or done, 1 bug, 2 wrong usage or config, 3 no significant gain, 4 budget spent, "
    "5 models or platform unavailable, 130 and 143 interrupted.",
    epilog="Example: promptopt demo",
)
for _verb in (
    *(optimize.demo, optimize.init, optimize.import_, optimize.prompts, optimize.check),
    *(optimize.optimize, optimize.compare, optimize.resume, runs.watch),
    *(runs.runs, runs.show, changes.diff, runs.report, runs.export, changes.apply, changes.push, changes.rollback),
    *(nights.harvest, nights.agree, nights.loop, methods.methods, methods.bench),
):
    app.command(name=_verb.__name__.rstrip("_"), help=help_of(_verb), epilog=EXAMPLES[_verb])(_verb)

_CLICK_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Typer carries its own copy of click in newer versions; either way this is the base of its usage errors."""


@app.callback()
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")] = False,
) -> None:
    pass


def run(args: Sequence[str]) -> int:
    """Run one command line and return the process exit code.

    With `--json`, stdout is the answer alone: what the user's own code prints goes to stderr.
    """
    ensure_text()
    args = list(args)
    if args == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"promptopt {version('langchain-promptopt')}\n")
        return 0
    with_traceback = "--traceback" in args
    args = [arg for arg in args if arg != "--traceback"]
    with answer_alone() if "--json" in args else nullcontext():
        return _run(args, with_traceback=with_traceback)


def _run(args: list[str], *, with_traceback: bool) -> int:
    as_json = "--json" in args
    try:
        code = typer.main.get_command(app).main(args=args, prog_name="promptopt", standalone_mode=False)
    except _CLICK_ERROR as error:
        return _usage(error, as_json=as_json)
    except typer.Abort:
        return _failed(Interrupted("stopped"), as_json=as_json)
    except PromptOptError as error:
        if with_traceback:
            traceback.print_exc()
        return _failed(error, as_json=as_json)
    except SystemExit as end:
        # Typer ends with 1 when the reader of our output left, which is no failure.
        return 0 if isinstance(end.__context__, BrokenPipeError) else int(end.code or 0)
    except OSError as error:
        if with_traceback or error.filename is None or isinstance(error, BrokenPipeError):
            raise
        return _failed(_unusable(error), as_json=as_json)
    except Exception as error:
        if as_json:
            _print_failure(error)
        raise  # a bug of ours: the traceback is the message, the exit code is 1
    return code if isinstance(code, int) else 0


def _unusable(error: OSError) -> UsageError:
    """A file that cannot be written or read; an error on whose account it was to be written is said, too."""
    msg = f"the file or folder cannot be used: {error.strerror}"
    meant = error.__context__
    also = f"\n  also: {meant}" if isinstance(meant, PromptOptError) else ""
    return UsageError(msg, where=str(error.filename), mend=f"Name another one, or mend the path or its rights.{also}")


def _usage(error: Any, *, as_json: bool) -> int:
    """A wrong command line, said the way Typer says it."""
    shown = StringIO()
    error.show(file=shown)
    note(shown.getvalue().rstrip("\n"))
    if as_json:
        _print_failure(UsageError(error.format_message()))
    return 2


def _failed(error: PromptOptError, *, as_json: bool) -> int:
    """What, where and mend on stderr; the same as an object on stdout where machine output was asked for."""
    from langchain_promptopt.report.privacy import spelled_out
    from langchain_promptopt.report.render import error_line

    said = spelled_out(error.public if log_is_public() else str(error))
    note(f"promptopt: {said}")
    if line := error_line("promptopt", said, os.environ):
        sys.stderr.write(line + "\n")
    if as_json:
        _print_failure(error)
    return exit_code_of(error)


def _print_failure(error: BaseException) -> None:
    """The same object as `run_step` gives."""
    from langchain_promptopt.pipeline.delivering import failure_json

    print_json(failure_json(error))
