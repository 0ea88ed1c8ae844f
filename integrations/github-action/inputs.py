"""What the actions are told: inputs, flags, and the prompts that a pull request changes."""

from __future__ import annotations

import os
import shlex
import subprocess


class Refused(Exception):  # noqa: N818 - a fact about the inputs
    """The step cannot start as asked; its message is for the person who wrote the workflow."""


def argument(name: str) -> str:
    """An input that must say something."""
    value = os.environ.get(name, "").strip()
    if not value:
        msg = f"the input `{name.lower().replace('_', '-')}` is empty"
        raise Refused(msg)
    return value


def wanted(name: str, known: tuple[str, ...]) -> str:
    """An input with a closed set of values; a typo must not switch a gate off."""
    value = os.environ.get(name, "").strip().lower()
    if value not in known:
        msg = f"the input `{name.lower().replace('_', '-')}` is {value!r}, expected one of {', '.join(known)}"
        raise Refused(msg)
    return value


def flags() -> list[str]:
    """`args` as a shell would read it, without ever being given to one."""
    try:
        return shlex.split(os.environ.get("ARGS", ""))
    except ValueError as error:
        msg = f"the input `args` cannot be read: {error}"
        raise Refused(msg) from error


def pathspecs(text: str) -> list[str]:
    r"""One a line where there are several lines, else separated by spaces.

    >>> pathspecs("a.txt b.txt"), pathspecs("my prompts/a.txt\n*.yaml\n")
    (['a.txt', 'b.txt'], ['my prompts/a.txt', '*.yaml'])
    """
    return [line.strip() for line in text.splitlines() if line.strip()] if "\n" in text else text.split()


def changed_prompts(base: str, watched: str) -> list[tuple[str, str]]:
    """Old and new path of every watched file whose text differs from `base`; moved files are followed."""
    specs = pathspecs(watched)
    if not specs:
        msg = "the input `prompts` is empty"
        raise Refused(msg)
    if not base:
        msg = "there is no base commit to compare with: outside of pull requests, give the input `base`"
        raise Refused(msg)
    if _git("rev-parse", "--quiet", "--verify", f"{base}^{{commit}}").returncode:
        msg = f"the base commit {base!r} is not in this checkout: `actions/checkout` needs `fetch-depth: 0`"
        raise Refused(msg)
    command = ["diff", "--name-status", "-z", "--find-renames", "--relative", base, "--", *specs]
    fields = _done(*command).decode("utf-8", "surrogateescape").split("\0")
    found, left = [], []
    while fields[0]:
        kind = fields.pop(0)
        old = fields.pop(0)
        new = fields.pop(0) if kind[0] in "RC" else old
        if kind[0] in "MR" and kind != "R100":
            found.append((old, new))
        elif kind != "R100":
            left.append(new)
    if left:
        print(f"nothing to compare with, left alone: {', '.join(map(repr, left))}", flush=True)
    return found


def old_text(base: str, path: str) -> bytes:
    """A file as it stands in the base commit."""
    return _done("show", f"{base}:./{path}")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607


def _done(*arguments: str) -> bytes:
    ran = _git(*arguments)
    if ran.returncode:
        msg = f"git {arguments[0]} failed: {ran.stderr.decode('utf-8', 'replace').strip()}"
        raise Refused(msg)
    return ran.stdout
