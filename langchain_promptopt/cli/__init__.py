"""The command line: one small module a verb, no logic of its own. The answer goes to stdout, all else to stderr."""

from __future__ import annotations


def main() -> None:
    """Entry point of `promptopt`, `langchain-promptopt` and `python -m langchain_promptopt`."""
    import sys

    from langchain_promptopt.cli.app import run

    sys.exit(run(sys.argv[1:]))
