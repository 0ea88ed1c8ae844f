"""Prompts of a recorded run as files: patches, writing some of the edits, taking them back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.config import Config
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.types import Prompt

_UNDO = "applied.json"


def prompt_of(data: Mapping[str, Any]) -> Prompt:
    """A prompt as the journal carries it, as a value."""
    from langchain_promptopt.types import Message, Prompt

    messages = tuple(
        Message(m["role"], m["template"], m.get("template_format", data["template_format"])) for m in data["messages"]
    )
    return Prompt(data["name"], messages, data.get("source", ""))


def changed_prompts(record: RunRecord, numbers: Sequence[int]) -> list[tuple[Prompt, Prompt]]:
    """Old and new of every prompt that the edits `numbers` (from 1) touch."""
    from langchain_promptopt.report.record import splice

    old = record.candidates[record.seed_id].prompts
    new = splice(old, [record.edits[n - 1].as_json() for n in numbers])
    return [(prompt_of(a), prompt_of(b)) for a, b in zip(old, new, strict=True) if a != b]


def chosen_edits(text: str, count: int) -> list[int]:
    """The numbers in "1,3"; all where nothing is said. Raises UsageError for a number there is no edit for."""
    if not text:
        return list(range(1, count + 1))
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bad = [part for part in parts if not part.isascii() or not part.isdigit() or not 1 <= int(part) <= count]
    if bad:
        msg = f"there is no edit {bad[0]!r}"
        raise UsageError(msg, where="--edits", mend=f"Edits are numbered 1 to {count}; `promptopt show` lists them.")
    return sorted({int(part) for part in parts})


def patch_of(record: RunRecord, config: Config, file: Path | None) -> str:
    """A unified diff that `git apply` takes."""
    from langchain_promptopt._langchain.filewrite import patch_for_file

    numbers = list(range(1, len(record.edits) + 1))
    return "".join(
        patch_for_file(file or _found(old, new, record, config), old, new)
        for old, new in changed_prompts(record, numbers)
    )


def write_edits(record: RunRecord, folder: Path, numbers: Sequence[int], to: Path | None, config: Config) -> str:
    """Write the edits into a file, remembering what stood there before; returns the file."""
    from langchain_promptopt._langchain.filewrite import write_to_file

    pairs = changed_prompts(record, numbers)
    if not pairs:
        msg = "there is nothing to write: the prompt is as it was"
        raise UsageError(msg, where=f"run {record.run_id}")
    files = {to or _named(old, new, record, config): (old, new) for old, new in pairs}
    before = {
        str(path.resolve()): path.read_bytes().decode("utf-8", "surrogateescape") for path in files if path.exists()
    }
    for path, (old, new) in files.items():
        write_to_file(path, old, new)
    _remember(folder, before)
    return ", ".join(str(path) for path in files)


def revert_files(record: RunRecord, folder: Path) -> list[str]:
    """Put back what `apply` replaced, byte for byte. Raises UsageError where a file was changed since."""
    note = folder / _UNDO
    if not note.is_file():
        msg = "this run wrote no file"
        raise UsageError(msg, where=f"run {record.run_id}", mend="`promptopt rollback` undoes a push.")
    undo = json.loads(note.read_text(encoding="utf-8"))
    for name, state in undo.items():
        if _text(Path(name)) != state["after"]:
            msg = "the file was changed after the run wrote it"
            raise UsageError(msg, where=name, mend="Undo it by hand; nothing was overwritten.")
    for name, state in undo.items():
        Path(name).write_bytes(state["before"].encode("utf-8", "surrogateescape"))
    note.unlink()
    return list(undo)


def _remember(folder: Path, before: Mapping[str, str]) -> None:
    """Keep the first state before any writing of this run, and the latest after it."""
    note = folder / _UNDO
    undo = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    for name, text in before.items():
        first = undo.get(name, {}).get("before", text)
        undo[name] = {"before": first, "after": _text(Path(name))}
    note.write_text(json.dumps(undo), encoding="utf-8")
    note.chmod(0o600)


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else None


def _named(old: Prompt, new: Prompt, record: RunRecord, config: Config) -> Path:
    """The file the run read a prompt from. A file that was only found is proposed, not written to."""
    path = config.path(old.source) if old.source else None
    if path is not None and path.is_file():
        return path
    found = os.path.relpath(_found(old, new, record, config))
    msg = f"the run did not read prompt {old.name!r} from a file; its text stands in {found}"
    raise UsageError(msg, where=old.source, mend=f"Write there with --to {found}.")


def _found(old: Prompt, new: Prompt, record: RunRecord, config: Config) -> Path:
    """The file that holds a prompt: the one the run read, or the one in which its text is found."""
    from langchain_promptopt._langchain.homes import find_home

    path = config.path(old.source) if old.source else None
    if path is None or not path.is_file():
        path = find_home(old, new, config.root, _module(record, config))
    if path is None:
        msg = f"no file under {config.root} holds the text of prompt {old.name!r}"
        raise UsageError(msg, where=old.source, mend="Name it: --to FILE for apply, --file FILE for diff --patch.")
    return path


def _module(record: RunRecord, config: Config) -> str:
    """The module of the chain that was optimized, where it was named."""
    recorded = record.started.get("config", {}).get("task", {}).get("chain")
    return str(config.task.chain or recorded or "").partition(":")[0]
