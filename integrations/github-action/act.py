"""What both actions run: `python3 act.py optimize` and `python3 act.py compare`.

Inputs arrive as environment variables, never as text in a script, so a branch or a file name cannot become
a command. Only files are written; posting a comment is the workflow's own step. Python's own library only,
because `promptopt` may live in another environment.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import verdict
from inputs import Refused, argument, changed_prompts, flags, old_text, wanted

_FINE = (0, 3)


def main(verb: str) -> int:
    """Run a verb; the exit code is that of the step."""
    comment = Path(os.environ["COMMENT"])
    for stale in (comment, Path(os.environ["JUNIT"])):
        stale.unlink(missing_ok=True)  # a step that fails early must not leave an older verdict to be posted
    try:
        return {"optimize": optimize, "compare": compare}[verb](comment)
    except Refused as error:
        print(verdict.ANNOTATION + verdict.escaped(str(error)), flush=True)
        _tell_failure(comment, str(error))
        verdict.write_output("exit_code", "2")
        return 2


# ------------------------------------------------------------ optimize


def optimize(comment: Path) -> int:
    """`promptopt optimize`; code 3 fails the step only when asked for."""
    strict = wanted("FAIL_ON_NO_GAIN", ("true", "false")) == "true"
    config, junit = argument("CONFIG"), argument("JUNIT")
    arguments = ["optimize", "--config", config, "--summary", str(comment), "--junit", junit, *flags()]
    code, said = run(arguments, dict(os.environ))
    if not comment.is_file():  # it did not get as far as saying so itself
        _tell_failure(comment, said)
    verdict.write_output("exit_code", str(code))
    return 0 if code in _FINE and not (strict and code) else code


# ------------------------------------------------------------ compare


def compare(comment: Path) -> int:
    """`promptopt compare` for every watched file that the pull request changes, and one verdict over all."""
    fail_on = wanted("FAIL_ON", ("worse", "not-improved", "never"))
    extra, base = flags(), os.environ["BASE"].strip()
    parts = Path(tempfile.mkdtemp())
    decided = []
    for number, (old, new) in enumerate(changed_prompts(base, os.environ["PROMPTS"]), start=1):
        folder = parts / str(number)
        folder.mkdir()
        before = folder / Path(new).name
        before.write_bytes(old_text(base, old))
        print(f"comparing {new!r} with {base}", flush=True)
        decided.append(_compared(before, new, number, [*extra, "--summary", str(folder / "comment.md")]))
    verdict.publish(decided, comment)
    return verdict.exit_code(decided, fail_on)


def _compared(before: Path, new: str, number: int, flags: list[str]) -> verdict.Decided:
    junit = Path(os.environ["JUNIT"])
    if number > 1:
        junit = junit.with_name(f"{junit.stem}-{number}{junit.suffix}")
    env = {name: value for name, value in os.environ.items() if name not in {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"}}
    answer, written = before.with_name("answer.json"), before.with_name("comment.md")
    arguments = ["compare", str(before), new, "--config", argument("CONFIG"), "--junit", str(junit), "--json", *flags]
    code, said = run(arguments, env, answer)
    text = written.read_text(encoding="utf-8") if written.is_file() else verdict.failure_text(said)
    return verdict.Decided(new, code, _read(answer), text)


def _read(answer: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    except ValueError:  # it ended before it could answer
        return {"outcome": "failed", "test": []}
    return found


# ------------------------------------------------------------ running


def run(arguments: list[str], env: dict[str, str], answer: Path | None = None) -> tuple[int, str]:
    """Run promptopt; its log goes to ours, its answer to a file where one is named. Returns code and last words.

    Models write into that log, and the runner obeys lines that look like its commands, so commands are
    switched off meanwhile. A signal is passed on: the run then ends in order, and can be resumed.
    """
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        code, annotation, said = _watched(arguments, env, answer)
    finally:
        print(f"::{token}::", flush=True)
    if code not in _FINE:
        print(annotation or verdict.ANNOTATION + verdict.escaped(said), flush=True)
    return code, said


def _watched(arguments: list[str], env: dict[str, str], answer: Path | None) -> tuple[int, str, str]:
    annotation, said = "", "promptopt ended without a word"
    out = answer.open("wb") if answer else None
    log = (
        {"stdout": out, "stderr": subprocess.PIPE} if out else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    )
    try:
        process = subprocess.Popen(["promptopt", *arguments], env=env, **log, start_new_session=True)  # noqa: S603, S607
    except FileNotFoundError as error:
        msg = "promptopt is not installed here; name it in the input `install`"
        raise Refused(msg) from error
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda which, _: process.send_signal(which))
    for raw in process.stderr if out else process.stdout:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith(verdict.ANNOTATION):
            annotation = line
        else:
            said = line or said
            print(line, flush=True)
    if out:
        out.close()
    return process.wait(), annotation, said


def _tell_failure(comment: Path, message: str) -> None:
    text = verdict.failure_text(message)
    comment.parent.mkdir(parents=True, exist_ok=True)
    comment.write_text(text, encoding="utf-8")
    verdict.write_summary(text)
    verdict.write_output("outcome", "failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
