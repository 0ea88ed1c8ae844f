"""Recorded runs to LangSmith and back: `promptopt push` and `promptopt rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def push_run(folder: Path, target: str, *, tag: str | None = None, force: bool = False) -> str:
    """Commit a recorded run's winner to LangSmith; returns the commit."""
    from langchain_promptopt.optimizer.publishing import push_recorded

    return push_recorded(folder, target, tag=tag, force=force)


def rollback_run(folder: Path) -> str:
    """Take back what a recorded run pushed; returns the commit that stands now."""
    from langchain_promptopt.optimizer.publishing import rollback_recorded

    return rollback_recorded(folder)
