"""Push a winner to LangSmith and roll it back: commits and tags, each recorded in the run's journal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.conversion import build_template, from_prompt, to_prompt
from langchain_promptopt._langsmith.hub import Address, Commit, PromptHub, manifest_of, template_in
from langchain_promptopt.errors import ConflictError, PromptError, UsageError
from langchain_promptopt.events import Moved, Pushed, RolledBack, RunStarted, Tagged, dated
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.store import read_events, record_moves
from langchain_promptopt.types import MetricEntry, Prompt, PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.prompts.base import BasePromptTemplate

    from langchain_promptopt.types.edits import FinalEdit

_JOURNAL = "journal.jsonl"
_EDITS_QUOTED = 8
"""Edits quoted in a commit's message; the run's journal has them all."""


@dataclass(frozen=True)
class Winner:
    """What is published: prompts before and after, and where it is recorded."""

    run_id: str
    baseline: PromptSet
    best: PromptSet
    message: str
    folder: Path | None = None

    def changed(self) -> list[tuple[Prompt, Prompt]]:
        """Old and new of every prompt that is different now. Raises UsageError when none is."""
        pairs = []
        for old, new in zip(self.baseline, self.best, strict=True):
            if _texts(old) != _texts(new):
                pairs.append((old, new))
        if not pairs:
            msg = "there is nothing to push: the prompt did not change"
            raise UsageError(msg, where=f"run {self.run_id}")
        return pairs


def winner_of(
    run_id: str,
    prompts: tuple[PromptSet, PromptSet],
    test: Sequence[Mapping[str, Any]],
    edits: Sequence[FinalEdit],
    folder: Path | None,
) -> Winner:
    """What a finished run publishes.

    Args:
        run_id: The run's id, for the commit's message.
        prompts: The prompts before and after.
        test: Results by metric on the test split; the primary one is quoted in the message.
        edits: The winner's edits; the first 8 are quoted in the message.
        folder: The run's folder; None for a run kept in memory.
    """
    return Winner(run_id, *prompts, _message(run_id, tuple(map(MetricEntry.of, test)), edits), folder)


def push(winner: Winner, name: str, *, tag: str | None = None, hub: PromptHub | None = None) -> str:
    """Commit a winner's prompts and move a tag to the commit.

    Args:
        winner: What to push.
        name: "name", "owner/name" or "owner/name:tag"; of several prompts, each adds its own name.
        tag: The tag to move; None is the one in `name`, if any.
        hub: The workspace's prompts; None connects with the LANGSMITH_* settings.

    Returns:
        The hash of the commit, of several the last one.

    Raises:
        UsageError: No prompt changed.
        ConflictError: The prompt was changed in LangSmith since the run began. It is not overwritten.
    """
    return _push(winner, name, tag, hub)


def push_recorded(
    folder: Path, target: str, *, tag: str | None = None, force: bool = False, hub: PromptHub | None = None
) -> str:
    """Commit the winner of a recorded run; see `push`.

    Args:
        folder: The run's folder.
        target: The prompt's name in LangSmith, with or without a tag.
        tag: The tag to move; None is the one in `target`, if any.
        force: Push although the run's result is not "improved".
        hub: The workspace's prompts; None connects with the LANGSMITH_* settings.

    Returns:
        The hash of the commit.

    Raises:
        UsageError: The gate did not pass, or no prompt changed.
        ConflictError: The prompt was changed in LangSmith since the run began.
    """
    record = RunRecord.from_events(read_events(folder / _JOURNAL))
    outcome = record.outcome or "unfinished"
    if outcome != "improved" and not force:
        msg = f"the gate did not pass (outcome {outcome!r}), so nothing proves these edits"
        raise UsageError(msg, where=f"run {record.run_id}", mend="Use --force to push them anyway.")
    baseline, best = (_prompts(record, i) for i in (record.seed_id, record.best_id))
    message = _message(record.run_id, record.metrics, record.edits)
    return _push(Winner(record.run_id, baseline, best, message, folder), target, tag, hub)


def push_once(
    winner: Winner,
    events: Iterable[Mapping[str, Any]],
    name: str,
    *,
    tag: str | None = None,
    hub: PromptHub | None = None,
) -> str | None:
    """`push` after a run, unless the journal says that it was pushed, or rolled back, before.

    Args:
        winner: What to push.
        events: The run's journal.
        name: The prompt's name in LangSmith, with or without a tag.
        tag: The tag to move; None is the one in `name`, if any.
        hub: The workspace's prompts; None connects with the LANGSMITH_* settings.

    Returns:
        The hash of the commit, new or of the earlier push; None or "" where a rollback left no commit.

    Raises:
        UsageError: No prompt changed.
        ConflictError: The prompt was changed in LangSmith since the run began.
    """
    plain = name.partition(":")[0]
    for move in reversed(dated(events, Moved)):
        ours = move.event.target.partition(":")[0].startswith(plain)
        if ours and isinstance(move.event, Pushed | RolledBack):
            return move.event.commit
    return push(winner, name, tag=tag, hub=hub)


def rollback_recorded(folder: Path, *, hub: PromptHub | None = None) -> str:
    """Take back what a run pushed; returns the commit that is in use now, "" where the tag was deleted.

    A tag moves back to its earlier commit. Without a tag, the earlier prompt becomes a new commit on top.

    Raises:
        UsageError: The run pushed nothing, or has been rolled back.
        ConflictError: The tag or the head is no longer the run's commit.
    """
    pushes = _standing(read_events(folder / _JOURNAL))
    if not pushes:
        msg = "this run has no push to take back"
        raise UsageError(msg, where=f"run {folder.name}", mend="`promptopt show` lists what a run pushed.")
    hub = hub or PromptHub()
    baseline = dated(read_events(folder / _JOURNAL), RunStarted)[0].event.seed_candidate_id
    stands = ""
    for target, push in pushes.items():
        stands = _undo(hub, hub.address(target), push, folder.name)
        where = f"{target}:{','.join(push.tags)}" if push.tags else target
        record_moves(folder, [RolledBack(actor="rollback", target=where, commit=stands, candidate_id=baseline)])
    return stands


def tags_before(folder: Path, tag: str, *, hub: PromptHub | None = None) -> dict[str, str | None]:
    """The commit that `tag` is on now, for each prompt that the run pushed; None where the tag is not there."""
    hub = hub or PromptHub()
    found: dict[str, str | None] = {}
    for target in _standing(read_events(folder / _JOURNAL)):
        found[target] = hub.tags(hub.address(target)).get(tag)
    return found


def is_tagged(folder: Path, tag: str, *, hub: PromptHub | None = None) -> bool:
    """Whether `tag` is on every commit that the run pushed, whoever put it there."""
    pushes = _standing(read_events(folder / _JOURNAL))
    now = tags_before(folder, tag, hub=hub)
    return bool(pushes) and all(now[target] == push.commit for target, push in pushes.items())


def promote_recorded(
    folder: Path, tag: str, before: Mapping[str, str | None], *, hub: PromptHub | None = None
) -> dict[str, str]:
    """Move a further tag to what a run pushed. Repeating it is safe.

    Args:
        folder: The run's folder.
        tag: The tag, as "production".
        before: Where the tag was for each prompt, as `tags_before` gave it: a rollback goes back there.
        hub: The workspace's prompts; None connects with the LANGSMITH_* settings.

    Returns:
        The commit by prompt.

    Raises:
        UsageError: The run pushed nothing, or was rolled back.
        ConflictError: The tag was moved meanwhile.
    """
    hub, pushes = hub or PromptHub(), _standing(read_events(folder / _JOURNAL))
    if not pushes:
        msg = "there is no push of this run to promote"
        raise UsageError(msg, where=f"run {folder.name}", mend="It was rolled back, or never pushed.")
    best = RunRecord.from_events(read_events(folder / _JOURNAL)).best_id
    for target, push in pushes.items():
        place = hub.address(target)
        now = hub.tags(place).get(tag)
        if now not in {before.get(target), push.commit}:
            msg = f"the tag {tag!r} of {place.name!r} was moved by somebody else meanwhile"
            raise ConflictError(msg, mend="Nothing was changed. Move the tag in LangSmith if you still want to.")
        if (commit := hub.commit_at(Address(place.owner, place.name, push.commit))) is None:
            raise hub.conflict(place, None)
        hub.move_tag(place, tag, commit)
        if tag not in push.tags:
            previous = before.get(target)
            moved = Tagged(
                actor="loop", target=f"{target}:{tag}", commit=push.commit, candidate_id=best, previous=previous
            )
            record_moves(folder, [moved])
    return {target: push.commit for target, push in pushes.items()}


def withdraw_recorded(folder: Path, *, hub: PromptHub | None = None) -> None:
    """Take back a push with all its tags, and put the former prompt on top, so that a later run can push again.

    Repeating it is safe.

    Raises:
        ConflictError: A tag was moved by somebody else meanwhile.
    """
    hub, events = hub or PromptHub(), read_events(folder / _JOURNAL)
    if _standing(events):
        rollback_recorded(folder, hub=hub)
    for line in dated(read_events(folder / _JOURNAL), Pushed):
        place = hub.address(line.event.target)
        head, ours = hub.commit_at(place), hub.commit_at(Address(place.owner, place.name, line.event.commit or ""))
        if ours is None or head is None or head.hash != ours.hash or ours.parent is None:
            continue
        former = hub.commit_at(Address(place.owner, place.name, ours.parent))
        if former is not None:
            message = f"promptopt run {folder.name}: rolled back"
            hub.commit(place, former.manifest, parent=head, message=message)


def commits_of(folder: Path, *, hub: PromptHub | None = None) -> dict[str, tuple[str | None, str]]:
    """The parent and the commit of what a run pushed, by prompt, also after a rollback."""
    hub = hub or PromptHub()
    found: dict[str, tuple[str | None, str]] = {}
    for line in dated(read_events(folder / _JOURNAL), Pushed):
        place = hub.address(line.event.target)
        ours = hub.commit_at(Address(place.owner, place.name, line.event.commit or ""))
        found[line.event.target] = (ours.parent if ours else None, line.event.commit or "")
    return found


def recorded_prompts(folder: Path) -> tuple[PromptSet, PromptSet]:
    """The prompts a recorded run began with, and its winner."""
    record = RunRecord.from_events(read_events(folder / _JOURNAL))
    return _prompts(record, record.seed_id), _prompts(record, record.best_id)


def _push(winner: Winner, name: str, tag: str | None, hub: PromptHub | None) -> str:
    hub = hub or PromptHub()
    pairs = winner.changed()
    address = hub.address(name)
    tag = tag or (address.ref if address.ref != "latest" else None)
    plain = name.partition(":")[0]
    commit = ""
    for old, new in pairs:
        suffix = f"-{new.name}" if len(winner.best) > 1 else ""
        place = Address(address.owner, address.name + suffix)
        commit = _push_one(hub, place, (old, new), winner, tag, plain + suffix)
    return commit


def _push_one(
    hub: PromptHub, place: Address, pair: tuple[Prompt, Prompt], winner: Winner, tag: str | None, target: str
) -> str:
    new, head = pair[1], hub.commit_at(place)
    manifest, parent = manifest_of(_template(new, head)), _parent(hub, place, head, pair)
    pushed = hub.commit(place, manifest, parent=parent, message=winner.message)
    made = pushed.commit
    # Each event is written right after its request, so that a rollback also works when the next request fails.
    moves: list[Moved] = [Pushed(actor="push", target=target, commit=made.hash, candidate_id=winner.best.id)]
    record_moves(winner.folder, moves)
    if tag is not None:
        before = hub.move_tag(place, tag, made)
        where = f"{target}:{tag}"
        moved = Tagged(actor="push", target=where, commit=made.hash, candidate_id=winner.best.id, previous=before)
        record_moves(winner.folder, [moved])
    return made.hash


def _parent(hub: PromptHub, place: Address, head: Commit | None, pair: tuple[Prompt, Prompt]) -> Commit | None:
    """The head, when it is the prompt the run began with (or ends with). Raises ConflictError for any other."""
    if head is None:
        return None
    stands = template_in(head)
    if stands is not None and _texts(to_prompt(stands, name="hub")) in list(map(_texts, pair)):
        return head
    raise hub.conflict(place, head)


def _template(prompt: Prompt, head: Commit | None) -> BasePromptTemplate[Any]:
    """The prompt as a template of the head's own kind: schema, partials and few-shot blocks stay."""
    like = template_in(head) if head is not None else None
    if like is None:
        return build_template(prompt)
    now = to_prompt(like, name=prompt.name)
    if now.roles != prompt.roles:
        return build_template(prompt)
    found = []
    for a, b in zip(now.messages, prompt.messages, strict=True):
        found.append(replace(a, template=b.template))
    texts = tuple(found)
    try:
        return from_prompt(replace(now, messages=texts), like=like)
    except PromptError:
        return build_template(prompt)


def _texts(prompt: Prompt) -> list[tuple[str, str]]:
    return [(m.role, m.template) for m in prompt.messages]


def _prompts(record: RunRecord, candidate: str) -> PromptSet:
    """A candidate's prompts; nothing is bound in them, because a registry keeps no values of variables."""
    return PromptSet(tuple(replace(p, partials=()) for p in record.candidates[candidate].prompts))


def _message(run_id: str, test: Sequence[MetricEntry], edits: Sequence[FinalEdit]) -> str:
    """The commit's message: the result of the primary metric, then each edit with its reason."""
    lines = [f"promptopt run {run_id}"]
    primary = next((entry for entry in test if entry.role == "primary"), next(iter(test), MetricEntry()))
    if isinstance(primary.baseline, float) and isinstance(primary.best, float):
        change = f"{primary.difference or 0.0:+.3f}, n={primary.n}"
        lines.append(f"{primary.metric}: {primary.baseline:.3f} -> {primary.best:.3f} ({change})")
    for edit in edits[:_EDITS_QUOTED]:
        lines.append(f"- {_quoted(edit.old)} -> {_quoted(edit.new)}: {edit.reason}")
    if len(edits) > _EDITS_QUOTED:
        lines.append(f"- and {len(edits) - _EDITS_QUOTED} more")
    return "\n".join(lines)


def _quoted(text: str, limit: int = 60) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit else flat[: limit - 1] + "…")


@dataclass
class _Push:
    """A push that was not rolled back: its commit, and the commit that each tag was on before."""

    commit: str
    tags: dict[str, str | None] = field(default_factory=dict)


def _standing(events: Iterable[Mapping[str, Any]]) -> dict[str, _Push]:
    """Pushes by target that no rollback has undone."""
    found: dict[str, _Push] = {}
    for line in dated(events, Moved):
        move = line.event
        target, _, tag = move.target.partition(":")
        if isinstance(move, Pushed):
            kept = found.get(target)
            found[target] = _Push(move.commit or "", dict(kept.tags) if kept and kept.commit == move.commit else {})
        elif isinstance(move, Tagged) and target in found and found[target].commit == move.commit:
            found[target].tags.setdefault(tag, move.previous)
        elif isinstance(move, RolledBack):
            found.pop(target, None)
    return found


def _undo(hub: PromptHub, place: Address, push: _Push, run_id: str) -> str:
    ours = hub.commit_at(Address(place.owner, place.name, push.commit))
    if ours is None:
        raise hub.conflict(place, None)
    if push.tags:
        return _untag(hub, place, push, ours)
    head, before = hub.commit_at(place), ours.parent and hub.commit_at(Address(place.owner, place.name, ours.parent))
    if not before:
        msg = f"the run's commit is the first of prompt {place.name!r}, so there is nothing to go back to"
        raise UsageError(msg, mend="Delete the prompt in LangSmith if it should not be there.")
    if head is None or (head.hash != ours.hash and not head.same(before.manifest)):
        raise hub.conflict(place, head)
    message = f"promptopt run {run_id}: rolled back"
    return hub.commit(place, before.manifest, parent=head, message=message).commit.hash


def _untag(hub: PromptHub, place: Address, push: _Push, ours: Commit) -> str:
    now, stands = hub.tags(place), ""
    for tag, before in push.tags.items():
        if now.get(tag) not in {ours.hash, before}:  # `before`: an earlier rollback failed half-way
            msg = f"the tag {tag!r} of {place.name!r} was moved by somebody else meanwhile"
            raise ConflictError(msg, mend="Nothing was changed. Move the tag in LangSmith if you still want to.")
    for tag, before in push.tags.items():
        if before is None:
            hub.drop_tag(place, tag)
            continue
        commit = hub.commit_at(Address(place.owner, place.name, before))
        if commit is None:
            raise hub.conflict(place, None)
        hub.move_tag(place, tag, commit)
        stands = commit.hash
    return stands
