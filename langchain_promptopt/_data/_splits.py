"""Which row belongs to which split: as the data says, else by hash of input and group, so relabelling moves nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import normal_form
from langchain_promptopt.types import SPLITS, Split, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt._data._rows import Row

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.3), ("dev", 0.3), ("test", 0.4))  # product 10.1
VAL_FROM = 100
"""Rows of dev from which `val` is carved (product 2)."""
UNSPLIT = frozenset({"base"})
"""LangSmith's name for rows nobody put into a split."""


@dataclass(frozen=True)
class Placed:
    """A row with the hash that equal-looking inputs share."""

    row: Row

    @cached_property
    def input_key(self) -> str:
        """Hash of the normalised inputs."""
        return content_hash(normal_form(self.row.example.inputs))

    @property
    def group_key(self) -> str | None:
        """Hash of the group, where there is one."""
        group = self.row.example.group
        return None if group is None else content_hash(["group", group])


Splits = dict[Split, list[Placed]]


def _unit(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but `key` and what it is for."""
    digest = hashlib.sha256(f"{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def clusters_of(rows: Iterable[Placed]) -> list[list[Placed]]:
    """Rows joined by equal inputs or by group, directly or through others; in order of first appearance."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    listed = list(rows)
    for row in listed:
        if row.group_key is not None:
            parent[root(row.input_key)] = root(row.group_key)
    found: dict[str, list[Placed]] = {}
    for row in listed:
        found.setdefault(root(row.input_key), []).append(row)
    return list(found.values())


def _cluster_key(cluster: Iterable[Placed]) -> str:
    return min(row.group_key or row.input_key for row in cluster)


def by_hash(rows: Sequence[Placed]) -> Splits:
    """Train, dev and test by hash: a cluster is never cut, and references play no part."""
    splits: Splits = {name: [] for name, _ in SHARES}
    chosen: dict[int, Split] = {}
    for cluster in clusters_of(rows):
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


def carve_val(splits: Splits) -> int:
    """Move half of dev (rounded up to whole clusters) to val where dev is large enough; how many rows moved."""
    dev = splits.get("dev", [])
    if splits.get("val") or len(dev) < VAL_FROM:
        return 0
    moved: list[Placed] = []
    for cluster in sorted(clusters_of(dev), key=lambda c: _unit("val", _cluster_key(c))):
        if 2 * len(moved) >= len(dev):  # spec 6.1: at least half
            break
        moved += cluster
    ids = {id(row) for row in moved}
    splits["val"] = [row for row in dev if id(row) in ids]
    splits["dev"] = [row for row in dev if id(row) not in ids]
    return len(moved)


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
            raise DataError(msg, mend="A row may serve one purpose only.")
        found[theirs] = next(name for name in SPLITS if name == ours)
    return found


def as_named(rows: Sequence[Placed], splits: Mapping[str, str] | None, *, drop_leaks: bool) -> tuple[Splits, list[str]]:
    """Rows by the split each names, or by hash where none does; with notes.

    Raises DataError for rows in two splits, and for names that are none of ours.
    """
    seen = Counter(name for placed in rows for name in placed.row.wanted)
    if splits is None and not seen.keys() - UNSPLIT:
        return by_hash(rows), ["unsplit data: split by hash of input and group"]
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
        msg = f"no row is in a split of ours; the data has {', '.join(seen)}"
        raise DataError(msg, mend='Name them, e.g. splits = { train = "train", dev = "validation", test = "test" }.')
    notes = [
        f"{n} {'row' if n == 1 else 'rows'} of {f'split {name!r}' if name else 'no split'} "
        f"{'is' if n == 1 else 'are'} not used; name {'it' if name else 'theirs'} in `splits` to use them"
        for name, n in left_out.items()
    ]
    return {name: found[name] for name in SPLITS if name in found}, notes


def _only_one(placed: Placed, wanted: set[Split], *, drop_leaks: bool) -> Split:
    latest = max(wanted, key=SPLITS.index)
    if len(wanted) > 1 and not drop_leaks:
        msg = f"row {placed.row.position} is in several splits: {', '.join(sorted(wanted))}"
        mend = "Take it out of all but one, or use drop_leaks, which keeps it in the last of train, dev, val, test."
        raise DataError(msg, where=f"id {placed.row.example.id}", mend=mend)
    return latest
