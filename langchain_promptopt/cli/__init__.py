"""The command line: one small module a verb, no logic of its own. The answer goes to stdout, all else to stderr."""

from __future__ import annotations


def main() -> None:
    """Entry point of `promptopt`, `langchain-promptopt` and `python -m langchain_promptopt`."""
    import sys

    from langchain_promptopt._runtime.stopping import leave_within
    from langchain_promptopt.cli.app import run

    code = run(sys.argv[1:])
    leave_within(_PATIENCE, code)
    sys.exit(code)


_PATIENCE = 5.0
"""Seconds that threads and exit handlers of the user's code get after the answer."""
