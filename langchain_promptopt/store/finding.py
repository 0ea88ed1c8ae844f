"""Finding a run on disk by what a person types."""

from __future__ import annotations

from pathlib import Path

from langchain_promptopt.errors import UsageError

JOURNAL = "journal.jsonl"


def run_folders(base: Path) -> list[Path]:
    """All run folders below `base`, the latest first."""
    found = [p for p in base.iterdir() if (p / JOURNAL).is_file()] if base.is_dir() else []
    return sorted(found, key=lambda p: ((p / JOURNAL).stat().st_mtime_ns, p.name), reverse=True)


def find_run(base: Path, name: str) -> Path:
    """The folder of a run: by id, a beginning of it, a path, or "latest". Raises UsageError."""
    if (Path(name) / JOURNAL).is_file():
        return Path(name)
    folders = run_folders(base)
    found = folders[:1] if name == "latest" else [p for p in folders if p.name.startswith(name)]
    exact = [p for p in found if p.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    said = "several runs begin with" if found else "there is no run"
    msg = f"{said} {name!r}"
    raise UsageError(msg, where=str(base), mend="`promptopt runs` lists them; --runs-dir looks elsewhere.")
