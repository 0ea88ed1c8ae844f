"""Where the benchmark rows lie on a developer's machine; tests must not need them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shared(path: str) -> Path | None:
    """A file or folder of the shared benchmark data, or None when this machine has none."""
    base = Path(os.environ.get("PROMPTOPT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    found = base / path
    return found if found.exists() else None
