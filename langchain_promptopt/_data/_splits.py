"""Which row belongs to which split, and what is noticed about rows taken together: leaks, repeats, ids used twice.

A row is what the prompts read of it (`Reading`): two rows that agree in that are one row, whatever else they hold.
Rows go to a split as the data says, else by a hash of that and of the group, so that relabelling moves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import chain, starmap
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import map_values, parted, pick
from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import normal_form
from langchain_promptopt.gate.openings import locked_file, part_read, row_hash, value_keys
from langchain_promptopt.types import ROLES, SPLITS, Example, Note, Reading, Split, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt._data._rows import UsableRow
    from langchain_promptopt.gate import Openings

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.3), ("dev", 0.3), ("test", 0.4))  # product 10.1
VAL_FROM = 100
"""Rows of dev from which `val` is carved (product 2)."""
_ALSO: Mapping[Split, tuple[str, ...]] = {
    "train": ("training",),
    "dev": ("validation", "valid", "development", "eval", "evaluation", "val"),
    "val": (),
    "test": ("testing", "holdout", "held_out"),
}
"""What others call our splits, the likeliest first."""
DEV_FROM = 8
"""Train examples from which a part of them becomes dev, where the data has no dev split."""
UNSPLIT = frozenset({"base"})
"""LangSmith's name for rows that were put into no split."""
_SHOWN = 3
"""Pairs named in a message; all of them are in its facts."""


@dataclass(frozen=True)
class Sorting:
    """What makes two rows different.

    Args:
        readings: What the prompts read: one reading, or those of both sides of a comparison.
        split_by: The reading by which these rows were first split, where it is another one.
        first_format: Whether they were first split by version 0.1, which hashed all inputs with their names.
    """

    readings: tuple[Reading, ...] = (Reading(),)
    split_by: Reading | None = None
    first_format: bool = False


@dataclass(frozen=True)
class Placed:
    """A row with the hashes that decide whether it is the same as another."""

    row: UsableRow
    sorting: Sorting = field(default=Sorting(), repr=False)

    def named(self, name: str, group: str | None) -> Placed:
        """The same row under an id and a group; what is read of it stays, so its hashes are not made again."""
        changed = replace(self.row.example, id=name, group=group)
        made = replace(self, row=replace(self.row, example=changed))
        vars(made)["keys"] = self.keys
        return made

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """One hash for each reading: rows that share one of them are the same row to a prompt."""
        inputs = self.row.example.inputs
        parts = [part_read(inputs, reading) for reading in self.sorting.readings]
        return tuple(dict.fromkeys(content_hash(normal_form(as_sent(part))) for part in parts))

    @cached_property
    def split_key(self) -> str:
        """What a split by hash depends on: the values that are read, whatever their columns are called."""
        inputs = self.row.example.inputs
        if self.sorting.first_format:
            return content_hash(normal_form(inputs))
        return content_hash(value_keys(part_read(inputs, self.sorting.split_by or self.sorting.readings[0])))

    @cached_property
    def group_key(self) -> str | None:
        """Hash of the group, where there is one."""
        group = self.row.example.group
        return None if group is None else content_hash(["group", group])


def as_sent(value: Any) -> Any:
    """A value with its messages as a model gets them: one form for all ways to write them, and no ids."""
    if isinstance(value, dict):
        return map_values(as_sent, value)
    if isinstance(value, list | tuple):
        messages = list(map(_message, value))
        return [as_sent(v) if m is None else m for v, m in zip(value, messages, strict=True)]
    return value


def _message(value: Any) -> dict[str, Any] | None:
    """A message as fields, whether it is written as a dict, as (role, text) or as LangChain's object; else None."""
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], str):
        value = {"role": value[0], "content": value[1]}
    elif type(value).__module__.startswith("langchain_core.messages"):
        value = {name: getattr(value, name, None) for name in ("type", "content", "name", "tool_calls", "tool_call_id")}
    if not isinstance(value, dict) or "content" not in value:
        return None
    role = value.get("role", value.get("type"))
    if not isinstance(role, str) or (role not in ROLES and "role" not in value and role != "tool"):
        return None
    rest = {name: member for name, member in value.items() if name not in {"id", "role", "type"} and member}
    return rest | {"role": ROLES.get(role, role)}


Splits = dict[Split, list[Placed]]


def clusters_of(rows: Iterable[Placed], *, split_keys: bool = False) -> list[list[Placed]]:
    """Rows joined by what is read of them or by group, directly or through others; in order of first appearance.

    With `split_keys`, rows that an earlier prompt could not tell apart are joined too.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    listed = list(rows)
    for row in listed:
        more = [f"split/{row.split_key}"] if split_keys and not row.sorting.first_format else []
        more += [] if row.group_key is None else [row.group_key]
        for key in (*row.keys[1:], *more):
            parent[root(row.keys[0])] = root(key)
    found: dict[str, list[Placed]] = {}
    for row in listed:
        found.setdefault(root(row.keys[0]), []).append(row)
    return list(found.values())


# Which row goes to which split


def as_named(
    rows: Sequence[Placed], splits: Mapping[str, str] | None, *, drop_leaks: bool
) -> tuple[Splits, list[Note]]:
    """Rows by the split each names, or by hash where none does; with notes.

    Args:
        rows: All usable rows.
        splits: Our split name to the data's.
        drop_leaks: Keep a row of several splits in the last of them, instead of refusing it.

    Raises:
        DataError: A row is in two splits, or names none of ours.
    """
    seen = Counter(chain.from_iterable(placed.row.wanted for placed in rows))
    if splits is None and not seen.keys() - UNSPLIT:
        return by_hash(rows), [
            Note(
                "split_by_hash", "the data names no splits, so examples were split by a hash of their inputs and group"
            )
        ]
    names = name_map(splits, seen)
    found: Splits = {}
    left_out: Counter[str] = Counter()
    for placed in rows:
        wanted = {names[name] for name in placed.row.wanted if name in names}
        if not wanted:
            left_out[", ".join(placed.row.wanted)] += 1
            continue
        found.setdefault(_only_one(placed, wanted, drop_leaks=drop_leaks), []).append(placed)
    if not found:
        msg = f"no example is in a split of ours; the data has {', '.join(seen)}"
        raise DataError(msg, mend='Name them, e.g. splits = { train = "train", dev = "validation", test = "test" }.')
    notes = list(starmap(_left_out, left_out.items()))
    return pick(found, SPLITS), notes


def _left_out(split: str, n: int) -> Note:
    rows, where = ("1 example", "is") if n == 1 else (f"{n} examples", "are")
    of, which = (f"split {split!r}", "it") if split else ("no split", "theirs")
    return Note("unused", f"{rows} of {of} {where} not used; name {which} in `splits` to use them")


def _only_one(placed: Placed, wanted: set[Split], *, drop_leaks: bool) -> Split:
    latest = max(wanted, key=SPLITS.index)
    if len(wanted) > 1 and not drop_leaks:
        msg = f"example {placed.row.position} is in several splits: {', '.join(sorted(wanted))}"
        mend = "Take it out of all but one, or use drop_leaks, which keeps it in the last of train, dev, val, test."
        raise DataError(msg, where=f"id {placed.row.example.id}", mend=mend)
    return latest


def name_map(splits: Mapping[str, str] | None, seen: Iterable[str]) -> dict[str, Split]:
    """The data's split names to ours. Raises DataError for names that are not there."""
    if splits is None:
        return {name: name for name in SPLITS}
    there = list(seen)
    found: dict[str, Split] = {}
    for ours, theirs in splits.items():
        if ours not in SPLITS:
            close = get_close_matches(ours, SPLITS, n=1, cutoff=0)
            msg = f"there is no split `{ours}`"
            raise DataError(msg, mend=f"Ours are {', '.join(SPLITS)}; the nearest is `{close[0]}`." if close else "")
        if theirs not in there:
            close = get_close_matches(theirs, there, n=1)
            msg = f"the data has no split `{theirs}`; it has {', '.join(there) or 'none'}"
            raise DataError(msg, mend=f"Did you mean `{close[0]}`?" if close else "Correct `splits`.")
        if theirs in found:
            msg = f"`splits` gives `{theirs}` to both {found[theirs]} and {ours}"
            raise DataError(msg, mend="An example may serve one purpose only.")
        found[theirs] = next(name for name in SPLITS if name == ours)
    return found


def usual_names(seen: Sequence[str]) -> dict[str, Split]:
    """The data's split names to ours by what they usually mean, as a guess that a person reads before it is used.

    >>> usual_names(["train", "validation", "TEST", "other"])
    {'train': 'train', 'validation': 'dev', 'TEST': 'test'}

    Our own names stay; `val` is dev where nothing else is.
    """
    found: dict[str, Split] = {name: name for name in SPLITS if name in seen}
    for ours in SPLITS:
        if ours in found:
            continue
        for word in (ours, *_ALSO[ours]):
            same = [name for name in seen if name.casefold().replace("-", "_") == word]
            free = [name for name in same if found.get(name, "val") == "val"]
            if free:
                found[free[0]] = ours
                break
    return found


def is_split_name(text: str) -> bool:
    """Whether a text is a usual name of a split."""
    return text.casefold().replace("-", "_") in {*SPLITS, *chain.from_iterable(_ALSO.values())}


def by_hash(rows: Sequence[Placed]) -> Splits:
    """Train, dev and test by hash: a cluster is never cut, and references play no part."""
    splits: Splits = {name: [] for name, _ in SHARES}
    chosen: dict[int, Split] = {}
    for cluster in clusters_of(rows, split_keys=True):
        at, edge = _unit("split", _cluster_key(cluster)), 0.0
        name: Split = SHARES[-1][0]
        for candidate, share in SHARES:
            edge += share
            if at < edge:
                name = candidate
                break
        chosen |= {id(row): name for row in cluster}
    for row in rows:
        splits[chosen[id(row)]].append(row)
    return splits


def carve_dev(splits: Splits) -> int:
    """Move about half of train to dev where the data has no dev split; how many rows moved. Growing data moves none."""
    train = splits.get("train", [])
    if splits.get("dev") or len(train) < DEV_FROM:
        return 0
    kept: list[Placed] = []
    moved: list[Placed] = []
    for cluster in clusters_of(train, split_keys=True):
        to = moved if _unit("dev", _cluster_key(cluster)) < 0.5 else kept
        to += cluster
    if not kept or not moved:
        return 0
    splits["dev"], splits["train"] = _apart(train, moved)
    return len(moved)


def carve_val(splits: Splits) -> int:
    """Move half of dev (rounded up to whole clusters) to val where dev is large enough; how many rows moved."""
    dev = splits.get("dev", [])
    if splits.get("val") or len(dev) < VAL_FROM:
        return 0
    moved: list[Placed] = []
    clusters = clusters_of(dev, split_keys=True)
    for cluster in sorted(clusters, key=lambda c: _unit("val", _cluster_key(c))):
        if 2 * len(moved) >= len(dev):  # spec 6.1: at least half
            break
        moved += cluster
    splits["val"], splits["dev"] = _apart(dev, moved)
    return len(moved)


def _apart(rows: Sequence[Placed], moved: Sequence[Placed]) -> tuple[list[Placed], list[Placed]]:
    """The rows that were moved, and those that stay, in the order of the data."""
    ids = set(map(id, moved))
    return parted(rows, lambda row: id(row) in ids)


def _unit(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but `key` and what it is for."""
    digest = hashlib.sha256(f"{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _cluster_key(cluster: Iterable[Placed]) -> str:
    return min(row.group_key or row.split_key for row in cluster)


# The record of splits made here

LEAKS = "leaks"
"""The reason in the facts of the error about examples of the test that are elsewhere, too."""
SPLITS_FILE = "promptopt.splits.jsonl"
"""Beside the openings: what a prompt read when rows without splits were first split."""
_SKETCH = 64
"""Rows kept of each set, those of the smallest hashes: a set that has grown or lost some still holds most of them."""


@dataclass(frozen=True)
class KeptSplits:
    """Remembers how rows without splits of their own were first split, so that another prompt moves none of them."""

    openings: Openings

    @property
    def _path(self) -> Path | None:
        return None if self.openings.path is None else self.openings.path.with_name(SPLITS_FILE)

    def sorting(self, examples: Sequence[Example], readings: tuple[Reading, ...]) -> Sorting:
        """What makes these rows different: what the prompts read; they are split as they were the first time."""
        if self.openings.in_first_format(row_hash(e.inputs) for e in examples):
            return Sorting(readings, first_format=True)
        for reading, rows in self._lines():
            if not rows.isdisjoint(_sketched(examples, reading)):
                return Sorting(readings, None if reading == readings[0] else reading)
        return Sorting(readings)

    def keep(self, examples: Sequence[Example], reading: Reading) -> None:
        """Record the reading by which rows are split now, unless they were split before."""
        path = self._path
        if path is None:
            return
        found = sorted(_sketched(examples, reading))
        if any(not rows.isdisjoint(_sketched(examples, known)) for known, rows in self._lines()):
            return
        paths = None if reading.paths is None else list(reading.paths)
        line = json.dumps({"reads": paths, "rows": found[:_SKETCH]}, separators=(",", ":"))
        try:
            with locked_file(path) as file:
                file.write(line.encode() + b"\n")
        except OSError:  # a place that cannot be written: the openings say so, with what follows from it
            return

    def _lines(self) -> Iterator[tuple[Reading, frozenset[str]]]:
        try:
            text = self._path.read_text() if self._path is not None else ""
        except (OSError, UnicodeDecodeError):
            return
        for line in text.splitlines():
            try:
                data = json.loads(line)
                paths = data["reads"]
                yield Reading(None if paths is None else tuple(map(str, paths))), frozenset(map(str, data["rows"]))
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a crash: the rows are then split as they are read now


def _sketched(examples: Iterable[Example], reading: Reading) -> set[str]:
    found: set[str] = set()
    for e in examples:
        found.add(content_hash(value_keys(part_read(e.inputs, reading))))
    return found


# Leaks, repeats and ids


@dataclass(frozen=True)
class Pair:
    """Two rows that should not be where they are, and why: the same input, or the same group."""

    first: Placed
    second: Placed
    splits: tuple[Split, Split]
    reason: str = "input"

    def __str__(self) -> str:
        one, other = self.splits
        return f"{one} example {self.first.row.position} and {other} example {self.second.row.position}"

    @property
    def facts(self) -> dict[str, object]:
        """The pair for programs."""
        rows = [self.first.row.position, self.second.row.position]
        return {"rows": rows, "splits": list(self.splits), "reason": self.reason}


def _shared(placed: Placed) -> Iterator[tuple[str, str]]:
    yield from (("input", key) for key in placed.keys)
    if placed.group_key is not None:
        yield "group", placed.group_key


def leaks(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Rows of other splits that share input or group with a test row, paired with the first such test row."""
    tested: dict[tuple[str, str], Placed] = {}
    for placed in splits.get("test", ()):
        for key in _shared(placed):
            tested.setdefault(key, placed)
    others: list[tuple[Split, Placed]] = []
    for name, rows in splits.items():
        if name != "test":
            others.extend((name, placed) for placed in rows)
    found: dict[tuple[int, int, str], Pair] = {}
    for name, placed in others:
        for key in _shared(placed):
            if (twin := tested.get(key)) is not None:
                found.setdefault((id(placed), id(twin), key[0]), Pair(placed, twin, (name, "test"), key[0]))
    return list(found.values())


def without_leaks(splits: Splits, *, drop_leaks: bool) -> tuple[Splits, list[str]]:
    """The splits with leaking rows removed from train, dev and val. Raises DataError unless that was asked for."""
    pairs = leaks(splits)
    if not pairs:
        return splits, []
    if not drop_leaks:
        why = " or ".join(sorted({p.reason for p in pairs}))
        msg = (
            f"{len(pairs)} leak{'s' if len(pairs) > 1 else ''} into test, same {why}{_compared(pairs)}: {_some(pairs)}"
        )
        mend = "Remove one of each pair, or use --drop-leaks (drop_leaks=True) to remove them from train and dev."
        raise DataError(msg, mend=mend, reason=LEAKS, leaks=[p.facts for p in pairs])
    gone = {id(p.first) for p in pairs}
    kept: Splits = {}
    notes = []
    for name, rows in splits.items():
        kept[name] = [r for r in rows if id(r) not in gone]
        before, after = len(rows), len(kept[name])
        if after < before:
            lost = f"removed {before - after} example(s) of {name} that share input or group with test"
            notes.append(f"{lost} ({before} -> {after})")
    return kept, notes


def _compared(pairs: Sequence[Pair]) -> str:
    """What of the inputs was compared, where that is not all of them."""
    readings = pairs[0].first.sorting.readings
    same_input = any(p.reason == "input" for p in pairs)
    if not same_input or any(r.paths is None for r in readings):
        return ""
    paths = dict.fromkeys(chain.from_iterable(r.paths or () for r in readings))
    return f" (the prompts read {', '.join(paths)})"


def _some(pairs: Sequence[Pair]) -> str:
    rest = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return "; ".join(map(str, pairs[:_SHOWN])) + rest


def repeats(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Rows whose input occurred before, within a split or between splits."""
    first: dict[str, tuple[Split, Placed]] = {}
    found = []
    for name, rows in splits.items():
        for placed in rows:
            before = [first[key] for key in placed.keys if key in first]
            for key in placed.keys:
                first.setdefault(key, (name, placed))
            if before:
                found.append(Pair(before[0][1], placed, (before[0][0], name)))
    return found


def conflicts(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Repeats whose references differ."""
    return list(filter(_disagree, repeats(splits)))


def _disagree(pair: Pair) -> bool:
    one, two = pair.first.row.example.outputs, pair.second.row.example.outputs
    return content_hash(one) != content_hash(two)


def repeat_notes(splits: Mapping[Split, Sequence[Placed]]) -> list[str]:
    """Notes about repeated inputs; nothing is removed for them."""
    torn: list[Pair] = []
    same: list[Pair] = []
    for pair in repeats(splits):
        (torn if _disagree(pair) else same).append(pair)
    notes = []
    if torn:
        what = _compared(torn)
        notes.append(f"{len(torn)} conflict(s), same input with different references{what}: {_some(torn)}")
        notes[-1] += "; all are kept, and count as one cluster"
    if same:
        notes.append(f"{len(same)} repeated input(s){_compared(same)}: {_some(same)}")
        notes[-1] += "; all are kept, and count as one cluster"
    return notes


def without_repeats(rows: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """Each input once, with what to know of those left out; of repeats, the first with a reference is kept."""
    kept: dict[str, Placed] = {}
    chosen: set[int] = set()
    torn = 0
    for placed in sorted(rows, key=lambda p: not p.row.example.outputs):
        before = next((kept[key] for key in placed.keys if key in kept), None)
        for key in placed.keys:
            kept.setdefault(key, placed)
        if before is None:
            chosen.add(id(placed))
        elif placed.row.example.outputs:
            torn += _disagree(Pair(before, placed, ("train", "train")))
    gone = len(rows) - len(chosen)
    notes = [f"{gone} of {len(rows)} runs repeat the input of another and are left out"] if gone else []
    if torn:
        notes.append(f"{torn} of them had another reference than the one kept, which is the latest")
    return [placed for placed in rows if id(placed) in chosen], notes


def with_ids(splits: Splits) -> Splits:
    """Rows with ids of their own, repeated inputs joined to one cluster. Raises DataError for given ids used twice."""
    used: dict[str, str] = {}
    groups = _cluster_names(chain.from_iterable(splits.values()))
    found: Splits = {}
    for name, rows in splits.items():
        found[name] = []
        for placed in rows:
            example, place = placed.row.example, f"{name} example {placed.row.position}"
            if placed.row.has_id and example.id in used:
                msg = f"the id {example.id!r} is used twice: {used[example.id]} and {place}"
                raise DataError(msg, mend="Give each example an id of its own, or none.")
            fresh = _unused(example.id, used)
            used[fresh] = place
            found[name].append(placed.named(fresh, groups.get(id(placed), example.group)))
    return found


def _cluster_names(rows: Iterable[Placed]) -> dict[int, str]:
    """The cluster of each row that is joined to others by more than the group it names, by identity of the row."""
    found: dict[int, str] = {}
    for cluster in clusters_of(rows):
        groups = {placed.row.example.group for placed in cluster}
        if len(cluster) > 1 and (len(groups) > 1 or None in groups):
            name = f"same-input-{min(placed.keys[0] for placed in cluster)}"
            found |= {id(placed): name for placed in cluster}
    return found


def _unused(name: str, used: Mapping[str, str]) -> str:
    fresh, k = name, 1
    while fresh in used:
        k += 1
        fresh = f"{name}-{k}"
    return fresh
