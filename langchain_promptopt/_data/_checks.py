"""What is noticed about rows taken together: leaks, repeats, conflicting references, repeated ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt.errors import DataError
from langchain_promptopt.types import Split, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_promptopt._data._splits import Placed, Splits

_SHOWN = 3
"""Pairs named in a message; all of them are in its facts."""


@dataclass(frozen=True)
class Pair:
    """Two rows that should not be where they are, and why: the same input, or the same group."""

    first: Placed
    second: Placed
    splits: tuple[Split, Split]
    reason: str = "input"

    def __str__(self) -> str:
        one, two = (f"{s} row {p.row.position}" for s, p in zip(self.splits, (self.first, self.second), strict=True))
        return f"{one} and {two}"

    @property
    def facts(self) -> dict[str, object]:
        """The pair for programs."""
        rows = [self.first.row.position, self.second.row.position]
        return {"rows": rows, "splits": list(self.splits), "reason": self.reason}


def _keys(placed: Placed) -> Iterator[tuple[str, str]]:
    yield "input", placed.input_key
    if placed.group_key is not None:
        yield "group", placed.group_key


def leaks(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Rows of other splits that share input or group with a test row, paired with the first such test row."""
    tested: dict[tuple[str, str], Placed] = {}
    for placed in splits.get("test", ()):
        for key in _keys(placed):
            tested.setdefault(key, placed)
    return [
        Pair(placed, tested[key], (name, "test"), key[0])
        for name, rows in splits.items()
        if name != "test"
        for placed in rows
        for key in list(_keys(placed))
        if key in tested
    ]


def without_leaks(splits: Splits, *, drop_leaks: bool) -> tuple[Splits, list[str]]:
    """The splits with leaking rows removed from train, dev and val. Raises DataError unless that was asked for."""
    pairs = leaks(splits)
    if not pairs:
        return splits, []
    if not drop_leaks:
        msg = f"{len(pairs)} leak(s) into test, same {' or '.join(sorted({p.reason for p in pairs}))}: {_some(pairs)}"
        mend = "Remove one of each pair, or use --drop-leaks (drop_leaks=True) to remove them from train and dev."
        raise DataError(msg, mend=mend, leaks=[p.facts for p in pairs])
    gone = {id(p.first) for p in pairs}
    kept: Splits = {name: [r for r in rows if id(r) not in gone] for name, rows in splits.items()}
    counts = {name: (len(rows), len(kept[name])) for name, rows in splits.items()}
    notes = [
        f"removed {before - after} row(s) of {name} that share input or group with test ({before} -> {after})"
        for name, (before, after) in counts.items()
        if after < before
    ]
    return kept, notes


def _some(pairs: Sequence[Pair]) -> str:
    rest = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return "; ".join(map(str, pairs[:_SHOWN])) + rest


def repeats(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Rows whose input occurred before, within a split or between splits."""
    first: dict[str, tuple[Split, Placed]] = {}
    found = []
    for name, rows in splits.items():
        for placed in rows:
            before = first.setdefault(placed.input_key, (name, placed))
            if before[1] is not placed:
                found.append(Pair(before[1], placed, (before[0], name)))
    return found


def conflicts(splits: Mapping[Split, Sequence[Placed]]) -> list[Pair]:
    """Repeats whose references differ."""
    return [pair for pair in repeats(splits) if _disagree(pair)]


def _disagree(pair: Pair) -> bool:
    one, two = pair.first.row.example.outputs, pair.second.row.example.outputs
    return content_hash(one) != content_hash(two)


def repeat_notes(splits: Mapping[Split, Sequence[Placed]]) -> list[str]:
    """What to tell about repeated inputs; nothing is removed for them."""
    torn: list[Pair] = []
    same: list[Pair] = []
    for pair in repeats(splits):
        (torn if _disagree(pair) else same).append(pair)
    notes = []
    if torn:
        notes.append(f"{len(torn)} conflict(s), same input with different references: {_some(torn)}; all are kept")
    if same:
        notes.append(f"{len(same)} repeated input(s): {_some(same)}; all are kept, and count as one cluster")
    return notes


def with_ids(splits: Splits) -> Splits:
    """Rows with ids of their own, equal inputs joined to one cluster. Raises DataError for given ids used twice."""
    used: dict[str, str] = {}
    counts = _counts(placed.input_key for rows in splits.values() for placed in rows)
    found: Splits = {}
    for name, rows in splits.items():
        found[name] = []
        for placed in rows:
            example, place = placed.row.example, f"{name} row {placed.row.position}"
            if placed.row.has_id and example.id in used:
                msg = f"the id {example.id!r} is used twice: {used[example.id]} and {place}"
                raise DataError(msg, mend="Give each row an id of its own, or none.")
            fresh = _unused(example.id, used)
            used[fresh] = place
            group = example.group
            if group is None and counts[placed.input_key] > 1:
                group = f"same-input-{placed.input_key}"
            changed = replace(example, id=fresh, group=group)
            found[name].append(replace(placed, row=replace(placed.row, example=changed)))
    return found


def _counts(keys: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts


def _unused(name: str, used: Mapping[str, str]) -> str:
    fresh, k = name, 1
    while fresh in used:
        k += 1
        fresh = f"{name}-{k}"
    return fresh
