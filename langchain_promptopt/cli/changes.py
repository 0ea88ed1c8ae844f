"""Verbs that carry what a run found to other places: diff, apply, push, rollback."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt._collections import all_as_json, without
from langchain_promptopt._text.words import items_of_list
from langchain_promptopt.cli.flags import Given, verb, with_settings
from langchain_promptopt.cli.output import Force, RunName, print_exact, print_json, print_view, said
from langchain_promptopt.errors import UnavailableError, UsageError
from langchain_promptopt.events import Applied, RolledBack
from langchain_promptopt.store import record_moves
from langchain_promptopt.store.folder import open_unlinked, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.config import Config
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.types import Prompt

_UNDO = "applied.json"


def changed_prompts(record: RunRecord, numbers: Sequence[int]) -> list[tuple[Prompt, Prompt]]:
    """Old and new of every prompt that the edits `numbers` (from 1) touch."""
    from langchain_promptopt.types.edits import with_edits

    before = record.candidates[record.seed_id].prompts
    after = with_edits(before, [record.edits[n - 1].as_edit() for n in numbers])
    found: list[tuple[Prompt, Prompt]] = []
    for old, new in zip(before, after, strict=True):
        if old != new:
            # Nothing is bound in a file: there every variable is one that the chain has to fill.
            found.append((replace(old, partials=()), replace(new, partials=())))
    return found


def chosen_edits(text: str, count: int) -> list[int]:
    """The numbers in "1,3"; all where it is empty. Raises UsageError for a number without an edit."""
    if not text:
        return list(range(1, count + 1))
    parts = items_of_list(text)
    bad = []
    for part in parts:
        if not part.isascii() or not part.isdigit() or not 1 <= int(part) <= count:
            bad.append(part)
    if bad:
        msg = f"there is no edit {bad[0]!r}"
        raise UsageError(msg, where="--edits", mend=f"Edits are numbered 1 to {count}; `promptopt show` lists them.")
    return sorted(set(map(int, parts)))


def patch_of(record: RunRecord, config: Config, file: Path | None) -> str:
    """The edits of a run as a unified diff that `git apply` takes.

    Args:
        record: The run.
        config: Says where the prompts' files are.
        file: The file that holds the prompt; None looks for it.

    Raises:
        UsageError: The file lies outside this work tree, or none holds the prompt.
    """
    from langchain_promptopt._files.rewrite import patch_for_file, work_tree

    patches = []
    for old, new in changed_prompts(record, list(range(1, len(record.edits) + 1))):
        path, part = (file, "") if file is not None else _home(old, new, record, config)
        if not path.resolve().is_relative_to(work_tree(Path.cwd())):
            msg = (
                f"the prompt's file {os.path.relpath(path)} lies outside this work tree, so `git apply` cannot reach it"
            )
            raise UsageError(msg, mend=f"Run the command there, or write the file: promptopt apply {record.run_id}.")
        _refuse_written(path, part, old, new, record)
        patches.append(patch_for_file(path, old, new, part=part))
    return "".join(patches)


def write_edits(record: RunRecord, folder: Path, numbers: Sequence[int], to: Path | None, config: Config) -> str:
    """Write edits into their files, and remember what the files held before.

    Args:
        record: The run.
        folder: The run's folder, where the former texts are kept for `--revert`.
        numbers: Numbers of the edits, from 1.
        to: The file to write; None is the file that the run read the prompt from.
        config: Says where the prompts' files are.

    Returns:
        The files, joined by commas.

    Raises:
        UsageError: There is nothing to write, or no file to write it into.
    """
    from langchain_promptopt._files.rewrite import write_to_file

    pairs = changed_prompts(record, numbers)
    if not pairs:
        msg = "there is nothing to write: the prompt is as it was"
        raise UsageError(msg, where=f"run {record.run_id}")
    places = [((to, "") if to is not None else _named(old, new, record, config), old, new) for old, new in pairs]
    _undo_notes(folder)  # what cannot be put back is not written
    before = {}
    for (path, _), _, _ in places:
        if path.exists():
            before[str(path.resolve())] = path.read_bytes().decode("utf-8", "surrogateescape")
    for (path, part), old, new in places:
        _refuse_written(path, part, old, new, record)
        write_to_file(path, old, new, part)
    _remember(folder, before)
    files = list(dict.fromkeys(str(path) for (path, _), _, _ in places))
    applied = [Applied(actor="apply", target=_near(f), commit=None, candidate_id=record.best_id) for f in files]
    record_moves(folder, applied)
    return ", ".join(files)


def _near(file: str) -> str:
    """A file as the record names it."""
    from langchain_promptopt._langchain.holders import shown_path

    return shown_path(str(Path(file).resolve()))


def _refuse_written(path: Path, part: str, old: Prompt, new: Prompt, record: RunRecord) -> None:
    """Raise UsageError where the edits are in the file already."""
    from langchain_promptopt._files.rewrite import holds

    if not holds(path, old, new, part) and holds(path, new, old, part):
        msg = f"the edits of run {record.run_id} are in {path} already"
        raise UsageError(msg, mend=f"promptopt apply --revert {record.run_id} takes them out.")


def revert_files(record: RunRecord, folder: Path, only: Path | None = None, *, force: bool = False) -> list[str]:
    """Put back what `apply` replaced, byte for byte.

    Args:
        record: The run.
        folder: The run's folder, where the former texts are kept.
        only: The file to put back; None is every file that the run wrote.
        force: Put it back also where it was changed since; that change is lost.

    Raises:
        UsageError: The run did not write this file, or it was changed since; nothing was written.
    """
    note, known = folder / _UNDO, _undo_notes(folder)
    if not known:
        msg = "this run wrote no file"
        raise UsageError(msg, where=f"run {record.run_id}", mend="`promptopt rollback` undoes a push.")
    undo = {name: state for name, state in known.items() if only is None or Path(name) == only.resolve()}
    if not undo:
        msg = f"this run did not write {only}"
        raise UsageError(msg, where=f"run {record.run_id}", mend=f"It wrote {', '.join(map(_near, known))}.")
    for name, state in undo.items():
        if not force and _text(Path(name)) != state["after"]:
            msg = "the file was changed after the run wrote it"
            raise UsageError(msg, where=name, mend="Undo it by hand, or add --force to lose that change.")
    for name, state in undo.items():
        Path(name).write_bytes(state["before"].encode("utf-8", "surrogateescape"))
    left = without(known, undo)
    if left:
        write_whole(note, json.dumps(left))
    else:
        note.unlink()
    seed = record.seed_id
    record_moves(folder, [RolledBack(actor="revert", target=_near(n), commit=None, candidate_id=seed) for n in undo])
    return list(undo)


def _remember(folder: Path, before: Mapping[str, str]) -> None:
    """Keep the first state before any writing of this run, and the latest after it.

    A file that somebody changed between two writings is put back to where it stood before the second.
    """
    note, undo = folder / _UNDO, _undo_notes(folder)
    for name, text in before.items():
        known = undo.get(name)
        first = known["before"] if known is not None and known["after"] == text else text
        undo[name] = {"before": first, "after": _text(Path(name))}
    write_whole(note, json.dumps(undo))


def _undo_notes(folder: Path) -> dict[str, dict[str, Any]]:
    """What the run wrote to files, by name: the text before and after.

    Raises UnavailableError where that cannot be read.
    """
    note = folder / _UNDO
    try:
        with open(open_unlinked(note, os.O_RDONLY), "rb") as stream:
            return dict(json.load(stream))
    except FileNotFoundError:
        return {}
    except OSError as error:
        msg, mend = f"cannot be read: {error.strerror}", "Remove it, then undo by hand what this run wrote."
        raise UnavailableError(msg, where=str(note), mend=mend) from error


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else None


def _named(old: Prompt, new: Prompt, record: RunRecord, config: Config) -> tuple[Path, str]:
    """The file the run read a prompt from. A file that was only found is proposed, not written to."""
    path, part = _home(old, new, record, config)
    if _configured(old, record, config) is not None:
        return path, part
    found = os.path.relpath(path)
    msg = f"the run did not read prompt {old.name!r} from a file; its text is in {found}"
    raise UsageError(msg, where=old.source, mend=f"Write there with --to {found}.")


def _home(old: Prompt, new: Prompt, record: RunRecord, config: Config) -> tuple[Path, str]:
    """File and part that hold a prompt: those the settings name, else the file in which the text is found."""
    from langchain_promptopt._files.rewrite import find_source

    if (named := _configured(old, record, config)) is not None:
        return named
    path = find_source(old, new, config.root, _module(record, config))
    if path is None:
        msg = f"no file under {config.root} holds the text of prompt {old.name!r}"
        raise UsageError(msg, where=old.source, mend=f"Name it: {_WHERE}.")
    return path, ""


_WHERE = "--to FILE for apply, --file FILE for diff --patch"


def _configured(old: Prompt, record: RunRecord, config: Config) -> tuple[Path, str] | None:
    """File and part that `task.prompt` names, as the run had it; other files with the same text are not looked at."""
    from langchain_promptopt._files.rewrite import SUFFIXES

    prompt, chain = record.started.setting("task", "prompt"), record.started.setting("task", "chain")
    for name in (prompt or (None if chain else config.task.prompt), old.source):
        if name and (found := config.prompt_file(name)) is not None:
            return found
        if name == prompt and name and Path(name.partition("#")[0]).suffix in SUFFIXES:
            msg = f"the run read prompt {old.name!r} from {name}, and there is no such file any more"
            raise UsageError(msg, where=f"run {record.run_id}", mend=f"Name its file: {_WHERE}.")
    return None


def _module(record: RunRecord, config: Config) -> str:
    """The module of the chain that was optimized, where it was named."""
    return str(config.task.chain or record.started.setting("task", "chain") or "").partition(":")[0]


@verb("promptopt diff latest --patch | git apply")
@with_settings("runs_dir")
def diff(
    *,
    given: Given,
    run: RunName = "latest",
    patch: Annotated[bool, typer.Option("--patch", help="A patch that `git apply` takes.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="File that holds the prompt, where the run does not know.")
    ] = None,
) -> int:
    """Show the edits between the old and the new prompt.

    Args:
        given: Flags and settings.
        run: A run id or its beginning, a folder, or "latest".
        patch: Print a patch that `git apply` takes.
        file: The file that holds the prompt, where the run does not know.

    Returns:
        The exit code.
    """
    from langchain_promptopt.cli.runs import record_of
    from langchain_promptopt.report.terminal import diff_view
    from langchain_promptopt.store.lines import find_run

    config = given.load()
    record = record_of(find_run(config.runs_dir, run))
    if patch:
        print_exact(patch_of(record, config, file))
    elif given.as_json:
        print_json({"run_id": record.run_id, "edits": all_as_json(record.edits), "prompts": _prompts(record)})
    else:
        print_view(diff_view(record))
    return 0


def _prompts(record: RunRecord) -> dict[str, Any]:
    return {
        "old": record.candidates[record.seed_id].prompts.as_json(),
        "new": record.candidates[record.best_id].prompts.as_json(),
    }


To = Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Text, YAML, JSON or Python file to change.")]
Edits = Annotated[
    str,
    typer.Option("--edits", metavar="1,3", help="Only these edits, as `show` numbers them: untested, so with --force."),
]
Revert = Annotated[bool, typer.Option("--revert", help="Undo what this run wrote.")]


@verb("promptopt apply latest --to prompts/triage.yaml")
@with_settings("runs_dir")
def apply(
    *,
    given: Given,
    run: RunName = "latest",
    to: To = None,
    edits: Edits = "",
    revert: Revert = False,
    force: Force = False,
) -> int:
    """Write the new prompt into FILE, keeping the file's formatting.

    Args:
        given: Flags and settings.
        run: A run id or its beginning, a folder, or "latest".
        to: The file to write, or with `revert` to put back; None is the file that the run read the prompt from.
        edits: Numbers of edits, as "1,3"; "" is all of them.
        revert: Put back what this run wrote.
        force: Write also what the gate has not decided on; with `revert`, also where the file was changed since.

    Returns:
        The exit code.

    Raises:
        UsageError: The gate did not pass, or the file was changed since.
    """
    from langchain_promptopt.cli.runs import record_of
    from langchain_promptopt.store.lines import find_run

    config = given.load()
    folder = find_run(config.runs_dir, run)
    record = record_of(folder)
    if revert:
        if edits:
            msg = "--revert takes out all that the run wrote, so --edits changes nothing"
            raise UsageError(msg, mend="Leave --edits out; --to FILE names one of several files.")
        files = revert_files(record, folder, to, force=force)
        said({"run_id": record.run_id, "reverted": files}, f"reverted: {', '.join(files)}", as_json=given.as_json)
        return 0
    numbers = chosen_edits(edits, len(record.edits))
    if not force:
        _require_proof(record, numbers)
    file = write_edits(record, folder, numbers, to, config)
    said(
        {"run_id": record.run_id, "edits": numbers, "file": file},
        f"wrote {len(numbers)} edits to {file}",
        as_json=given.as_json,
    )
    return 0


def _require_proof(record: RunRecord, numbers: Sequence[int]) -> None:
    """Refuse what the gate has not decided on: a run without a gain, wandering children, a part of the edits."""
    where, mend = f"run {record.run_id}", "Add --force to write them all the same."
    if record.outcome != "improved":
        msg = f"the gate did not pass (outcome {record.outcome or 'not finished'!r}), so nothing proves these edits"
        raise UsageError(msg, where=where, mend=mend)
    if record.unenforced:
        msg = 'these edits were made with enforce="audit" or "off", so they may lie outside the marked places'
        raise UsageError(msg, where=where, mend=mend)
    if len(numbers) < len(record.edits):
        msg = f"untested: the gate decided on all {len(record.edits)} edits together, not on this part of them"
        named = ", ".join(map(str, numbers))
        raise UsageError(
            msg, where=where, mend=f"{mend} In Python, result.select([{named}]) judges it on search examples."
        )


@verb("promptopt push latest me/triage --tag staging")
@with_settings("runs_dir")
def push(
    *,
    given: Given,
    run: RunName,
    name: Annotated[
        str | None, typer.Argument(metavar="OWNER/NAME", help="LangSmith prompt; default is output.push.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Commit tag to move to the new commit.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Push although the gate did not pass.")] = False,
) -> int:
    """Commit a run's new prompt to LangSmith.

    Args:
        given: Flags and settings.
        run: A run id or its beginning, a folder, or "latest".
        name: The LangSmith prompt; None is `output.push`.
        tag: The commit tag to move; None is `output.tag`.
        force: Push although the gate did not pass.

    Returns:
        The exit code.

    Raises:
        UsageError: No prompt is named, or the gate did not pass.
    """
    from langchain_promptopt.pipeline import push_run
    from langchain_promptopt.store.lines import find_run

    config = given.load()
    target = name or config.output.push
    if target is None:
        msg = "no LangSmith prompt is named"
        raise UsageError(msg, mend='Write `promptopt push RUN owner/name`, or output.push = "owner/name".')
    tag = tag or config.output.tag
    commit = push_run(find_run(config.runs_dir, run), target, tag=tag, force=force)
    said(
        {"run": run, "target": target, "commit": commit, "tag": tag},
        f"pushed {target} as {commit}" + (f"; the tag {tag!r} points to it" if tag else ""),
        as_json=given.as_json,
    )
    return 0


@verb("promptopt rollback latest")
@with_settings("runs_dir")
def rollback(*, given: Given, run: RunName) -> int:
    """Take back what a run pushed: the tag moves to the commit it pointed to before."""
    from langchain_promptopt.events import RolledBack, dated
    from langchain_promptopt.pipeline import rollback_run
    from langchain_promptopt.store import read_events
    from langchain_promptopt.store.lines import find_run

    folder = find_run(given.load().runs_dir, run)
    commit = rollback_run(folder)
    target = dated(read_events(folder / "journal.jsonl"), RolledBack)[-1].event.target
    told = f"rolled back: {target} points to {commit}" if commit else f"rolled back: {target} is removed"
    said({"run": run, "target": target, "commit": commit}, told, as_json=given.as_json)
    return 0
