"""The file of a project that holds a prompt, found by the prompt's own text.

A chain in Python code knows its template but not where it was written. The module that the
configuration names is looked into first; otherwise the text must stand in one file only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_promptopt._langchain.filewrite import rewritten
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_promptopt.types import Prompt

MAX_FILES = 5_000
MAX_BYTES = 1_000_000
_SUFFIXES = frozenset(
    {".py", ".txt", ".md", ".prompt", ".yaml", ".yml", ".json", ".jinja", ".jinja2", ".j2", ".mustache"}
)
_NOT_OURS = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})
_WORD = re.compile(r"[A-Za-z]{4,}")
_TELLING = 5
"""Words of the prompt, the longest ones, of which a file must hold one to be looked at closely."""


def find_home(old: Prompt, new: Prompt, root: Path, module: str = "") -> Path | None:
    """The one file under `root` in which `old` can become `new`; None where there is none.

    Args:
        old: The prompt as it stands in the project.
        new: What it shall become; only messages that differ are looked for.
        root: Folder of the project. Hidden folders, environments and build folders are left out.
        module: Module that holds the chain, as `my_app.chain`.

    Raises:
        PromptError: Several files hold it, or the chain's module builds it in a way that cannot be edited.
    """
    own = module_file(root, module)
    if own is not None:
        try:
            rewritten(own, old, new)
        except PromptError as error:
            if error.facts.get("seen"):  # it stands there, in a form that cannot be edited
                raise
        else:
            return own
    found = [path for path in _candidates(old, new, root) if path != own and _holds(path, old, new)]
    if len(found) > 1:
        listed = ", ".join(os.path.relpath(p, root) for p in found[:5])
        msg = f"{len(found)} files hold the text of prompt {old.name!r}: {listed}"
        raise PromptError(msg, where=str(root), mend="Name the one: --to FILE for apply, --file FILE for diff --patch.")
    return found[0] if found else None


def module_file(root: Path, module: str) -> Path | None:
    """The source of a module under `root`, without importing anything."""
    if not module:
        return None
    place = root.joinpath(*module.split("."))
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _candidates(old: Prompt, new: Prompt, root: Path) -> list[Path]:
    changed = [a.template for a, b in zip(old.messages, new.messages, strict=True) if a.template != b.template]
    words = sorted({w for text in changed for w in _WORD.findall(text)}, key=lambda w: (-len(w), w))[:_TELLING]
    return [path for path in _project_files(root) if _mentions(path, words)]


def _project_files(root: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        ours = [f for f in sorted(folders) if not f.startswith(".") and f not in _NOT_OURS]
        folders[:] = [f for f in ours if not (here / f / "pyvenv.cfg").exists()]
        for name in sorted(names):
            if Path(name).suffix.lower() in _SUFFIXES and seen < MAX_FILES:
                seen += 1
                yield here / name


def _mentions(path: Path, words: list[str]) -> bool:
    try:
        if path.stat().st_size > MAX_BYTES:
            return False
        data = path.read_bytes()
    except OSError:
        return False
    return not words or any(word.encode() in data for word in words)


def _holds(path: Path, old: Prompt, new: Prompt) -> bool:
    try:
        rewritten(path, old, new)
    except PromptError:
        return False
    return True
