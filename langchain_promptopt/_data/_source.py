"""What `data=` means: a path, a URL or uuid, "hf:owner/name", a LangSmith name, or rows in memory (product 10.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_promptopt.errors import DataError

Kind: TypeAlias = Literal["folder", "file", "url", "uuid", "hf", "name", "splits", "rows"]
REMOTE: frozenset[Kind] = frozenset({"url", "uuid", "name"})
"""Kinds that only LangSmith can read."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\Z")
_URL = re.compile(r"https?://\S+\Z")
_HF = re.compile(r"hf:([\w.\-]+/[\w.\-]+|[\w.\-]+)(?::([\w.\-]+))?\Z")


_PLACE = re.compile(r"(?:\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]")
"""How only a path begins: /, ./, ../, ~/ or a drive."""


@dataclass(frozen=True)
class Source:
    """Where rows come from. `name` is what reports show; `path` is set for files and folders."""

    kind: Kind
    name: str
    path: Path | None = None
    config: str | None = None

    @property
    def remote(self) -> bool:
        """Whether LangSmith has to be asked."""
        return self.kind in REMOTE


def describe_source(data: Any) -> Source:
    """Decide what `data` is, once: a later failure never tries the next meaning.

    >>> describe_source("hf:openai/gsm8k:main")
    Source(kind='hf', name='openai/gsm8k', path=None, config='main')
    >>> describe_source("support-triage").kind
    'name'
    """
    if isinstance(data, Path):
        return _of_path(data.expanduser())
    if isinstance(data, str):
        return _of_text(data)
    if isinstance(data, Mapping):
        if "inputs" in data or "outputs" in data:
            msg = "`data` is a single row"
            raise DataError(msg, mend="Give a list of rows, or a mapping from split name to rows.")
        return Source("splits", "splits in memory")
    if isinstance(data, Iterable):
        return Source("rows", "rows in memory")
    msg = f"`data` cannot be read: it is of type {type(data).__name__}"
    mend = (
        "Give a LangSmith dataset name, id or URL, a file or folder, 'hf:owner/name', a datasets.Dataset or"
        " DatasetDict, a list of rows, or a mapping from split name to rows."
    )
    raise DataError(msg, mend=mend)


def _of_text(text: str) -> Source:
    name = text.strip()
    if not name:
        msg = "`data` is an empty text"
        raise DataError(msg, mend="Name a file, a folder or a dataset.")
    path = Path(name).expanduser()
    if _exists(path) or _PLACE.match(name):
        return _of_path(path)
    if _URL.match(name):
        return Source("url", name)
    if _UUID.match(name):
        return Source("uuid", name)
    if name.startswith("hf:"):
        found = _HF.match(name)
        if found is None:
            msg = f"{name!r} is no name on the Hugging Face hub"
            raise DataError(msg, mend="Write hf:owner/name, or hf:owner/name:config.")
        return Source("hf", found.group(1), config=found.group(2))
    return Source("name", name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or holding a null character: no path
        return False


def _of_path(path: Path) -> Source:
    if not _exists(path):
        msg = f"there is no file or folder {str(path)!r}"
        raise DataError(msg, where=f"looked in {Path.cwd()}", mend=f"Check the path.{near(path)}")
    return Source("folder" if path.is_dir() else "file", str(path), path)


def near(path: Path) -> str:
    """A question about the file or folder beside a missing one that has nearly its name, or nothing."""
    try:
        beside = [p.name for p in path.parent.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(path.name, beside, n=1)
    return f" Did you mean {str(path.parent / close[0])!r}?" if close else ""
