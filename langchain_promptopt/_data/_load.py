"""Which row belongs to which split: as the data says, else by hash of input and group, so relabelling moves nothing.

`load_data`: everything about the data is settled here, before anything is paid for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._data._files import SUFFIXES, Raw, Source, describe_source, near, read_file
from langchain_promptopt._data._rows import Columns, Reader, repeat_notes, with_ids, without_leaks
from langchain_promptopt.errors import DataError, UnavailableError, UsageError
from langchain_promptopt.evaluators import normal_form
from langchain_promptopt.ports import DataSet
from langchain_promptopt.types import SPLITS, Example, Note, Split, content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def as_named(
    rows: Sequence[Placed], splits: Mapping[str, str] | None, *, drop_leaks: bool
) -> tuple[Splits, list[Note]]:
    """Rows by the split each names, or by hash where none does; with notes.

    Raises DataError for rows in two splits, and for names that are none of ours.
    """
    seen = Counter(name for placed in rows for name in placed.row.wanted)
    if splits is None and not seen.keys() - UNSPLIT:
        return by_hash(rows), [Note("split_by_hash", "unsplit data: split by hash of input and group")]
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
    notes = [_left_out(name, n) for name, n in left_out.items()]
    return {name: found[name] for name in SPLITS if name in found}, notes


def _left_out(split: str, n: int) -> Note:
    rows, where = ("1 row", "is") if n == 1 else (f"{n} rows", "are")
    of, which = (f"split {split!r}", "it") if split else ("no split", "theirs")
    return Note("unused", f"{rows} of {of} {where} not used; name {which} in `splits` to use them")


def _only_one(placed: Placed, wanted: set[Split], *, drop_leaks: bool) -> Split:
    latest = max(wanted, key=SPLITS.index)
    if len(wanted) > 1 and not drop_leaks:
        msg = f"row {placed.row.position} is in several splits: {', '.join(sorted(wanted))}"
        mend = "Take it out of all but one, or use drop_leaks, which keeps it in the last of train, dev, val, test."
        raise DataError(msg, where=f"id {placed.row.example.id}", mend=mend)
    return latest


# ------------------------------------------------------------ `load_data`: everything about the data is settled he

MAX_UNUSABLE = 0.1
"""Share of rows that may be unusable before loading is refused (product 10.3)."""
MIN_CLUSTERS = 6
"""Test clusters below which no gate is possible (product 10.1)."""
_SHOWN = 5


@dataclass
class Gathered:
    """Raw rows of a source, with what was noticed while reading them."""

    rows: list[Raw] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, path: Path, split: str | None, *, skip_bad_lines: bool) -> None:
        """Read a file into these rows."""
        found = read_file(path, skip_bad_lines=skip_bad_lines)
        if found.skipped_lines:
            lines = ", ".join(map(str, found.skipped_lines))
            self.notes.append(Note("unused", f"{path.name}: skipped broken line(s) {lines}"))
        self.rows += [Raw(r.row, r.value, r.line, split) for r in found.rows]
        if found.splits:
            self.rows += [Raw(i, v, None, name) for name, rows in found.splits.items() for i, v in enumerate(rows)]


@dataclass(frozen=True)
class Inspected:
    """Rows checked one by one: what is usable, and what is wrong with the others."""

    rows: tuple[Placed, ...]
    problems: tuple[dict[str, Any], ...]
    notes: tuple[Note, ...]
    total: int


def load_data(  # noqa: PLR0913 - the facade of this room; each is a setting of [data]
    data: Any,
    *,
    columns: Columns = Columns(),  # noqa: B008 - frozen and empty
    splits: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    skip_bad_lines: bool = False,
    variables: Sequence[str] | None = None,
    remote: Callable[[str], Iterable[Any]] | None = None,
) -> DataSet:
    """Rows by split, checked.

    Args:
        data: What `describe_source` understands.
        columns: Which column is what; rows shaped {inputs, outputs, metadata} need none.
        splits: Our split name to the data's.
        drop_leaks: Remove from train, dev and val what is also in test, instead of refusing.
        skip_bad_lines: Leave broken lines of JSONL files out and report them.
        variables: Inputs that every row must have: the prompts' variables.
        remote: Reads a LangSmith dataset by name, id or URL.

    Raises:
        DataError: Nothing to read, broken files, more than a tenth of the rows unusable, leaks,
            ids used twice.
    """
    source = describe_source(data)
    gathered = _gather(data, source, splits, skip_bad_lines=skip_bad_lines, remote=remote)
    seen = inspect_rows(gathered.rows, columns=columns, variables=variables)
    _enough(seen, source)
    named, notes = as_named(seen.rows, splits, drop_leaks=drop_leaks)
    kept, dropped = without_leaks(named, drop_leaks=drop_leaks)
    final = with_ids(kept)
    repeated = repeat_notes(final)
    carved = carve_val(final)
    told = [Note("data", text) for text in (*dropped, *repeated, *_size_notes(final, carved))]
    notes = [*gathered.notes, *seen.notes, *notes, *told]
    ordered: dict[str, tuple[Example, ...]] = {
        name: tuple(p.row.example for p in final[name]) for name in SPLITS if name in final
    }
    return DataSet(ordered, source.name, version_of(ordered), seen.problems, tuple(notes))


def examples_of(data: DataSet) -> dict[str, dict[str, Any]]:
    """Inputs and expected outputs by example id, for showing rows beside verdicts."""
    return {
        e.id: {"inputs": dict(e.inputs), "expected": dict(e.outputs)} for rows in data.splits.values() for e in rows
    }


def inspect_rows(rows: Sequence[Any], *, columns: Columns, variables: Sequence[str] | None = None) -> Inspected:
    """Check rows one by one, without a limit on how many may be unusable."""
    reader = Reader(columns, variables)
    usable: list[Placed] = []
    problems: list[dict[str, Any]] = []
    for position, given in enumerate(rows):
        raw = given if isinstance(given, Raw) else Raw(position, given)
        row, found = reader.read(raw)
        if row is not None:
            usable.append(Placed(row))
        line = {} if raw.line is None else {"line": raw.line}
        problems += [{"row": raw.row, "split": raw.split, "field": p.field, "problem": p.problem} | line for p in found]
    notes = []
    if reader.guessed:
        ins, outs = (", ".join(reader.guessed[side]) or "none" for side in ("inputs", "outputs"))
        notes.append(Note("data", f"no columns were named: inputs are {ins}; the reference is {outs}"))
    unusable = len(rows) - len(usable)
    if unusable:
        told = f"{unusable} of {len(rows)} rows cannot be scored and {'is' if unusable == 1 else 'are'} left out"
        notes.append(Note("unused", f"{told}: {_told(problems)}"))
    return Inspected(tuple(usable), tuple(problems), tuple(notes), len(rows))


def version_of(splits: Mapping[str, Sequence[Example]]) -> str:
    """A hash over all rows used, so that a run knows which data decided it."""
    rows = [
        [name, e.id, e.inputs, e.outputs, e.group, *([e.note] if e.note else [])]
        for name, examples in splits.items()
        for e in examples
    ]
    return "sha256:" + content_hash(rows, 64)


def _gather(
    data: Any,
    source: Source,
    splits: Mapping[str, str] | None,
    *,
    skip_bad_lines: bool,
    remote: Callable[[str], Iterable[Any]] | None,
) -> Gathered:
    found = Gathered()
    if source.remote:
        if remote is None:
            msg = f"{source.name!r} is no file or folder here, so it is taken as a LangSmith dataset"
            raise DataError(msg, where=f"looked in {Path.cwd()}", mend="Correct the path, or configure LangSmith.")
        found.rows += [Raw(i, value) for i, value in enumerate(_remote(source, remote))]
    elif source.path is not None and source.kind == "folder":
        _folder(found, source.path, splits, skip_bad_lines=skip_bad_lines)
    elif source.path is not None:
        found.add(source.path, None, skip_bad_lines=skip_bad_lines)
    else:
        _in_memory(found, _from_hub(source) if source.kind == "hf" else data, skip_bad_lines=skip_bad_lines)
    if not found.rows:
        msg = f"{source.name!r} has no rows"
        raise DataError(msg, mend="Give at least one row.", reason="no rows")
    return found


def _remote(source: Source, remote: Callable[[str], Iterable[Any]]) -> Iterable[Any]:
    """LangSmith's rows; an error about a bare name says first that no such file is here."""
    try:
        return list(remote(source.name))
    except UsageError as error:
        if source.kind == "name":
            error.amend(
                before=f"{source.name!r} is no file or folder here, so it is taken as a LangSmith dataset: ",
                after=f"If a path was meant, it starts in {Path.cwd()}.{near(Path(source.name))}",
            )
        raise


def _folder(found: Gathered, folder: Path, splits: Mapping[str, str] | None, *, skip_bad_lines: bool) -> None:
    """A file for each split: train.jsonl, dev.csv, test.parquet ..."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    stems = [p.stem for p in files]
    names = name_map(splits, stems)
    twice = {s for s in stems if stems.count(s) > 1 and s in names}
    if twice:
        same = ", ".join(p.name for p in files if p.stem == min(twice))
        msg = f"the split `{min(twice)}` has several files: {same}"
        raise DataError(msg, where=str(folder), mend="Keep one.")
    used = [p for p in files if p.stem in names]
    if not used:
        wanted = ", ".join(f"{s}.jsonl" for s in ("train", "dev", "test"))
        msg = f"the folder has no file for a split; it holds {', '.join(p.name for p in files) or 'no data files'}"
        raise DataError(msg, where=str(folder), mend=f"Name them {wanted}, or give the names in `splits`.")
    for path in used:
        found.add(path, path.stem, skip_bad_lines=skip_bad_lines)
    ignored = ", ".join(p.name for p in files if p not in used)
    if ignored:
        found.notes.append(Note("unused", f"not used: {ignored}"))


def _in_memory(found: Gathered, data: Any, *, skip_bad_lines: bool) -> None:
    if not isinstance(data, Mapping):
        found.rows += [Raw(i, value) for i, value in enumerate(data)]
        return
    for name, rows in data.items():
        if isinstance(rows, str | Path):
            found.add(Path(rows).expanduser(), str(name), skip_bad_lines=skip_bad_lines)
        elif isinstance(rows, Mapping) or not isinstance(rows, Iterable):
            msg = f"split {name!r} is a {type(rows).__name__}, not a list of rows"
            raise DataError(msg, mend="Give rows, or a path, for each split.")
        else:
            found.rows += [Raw(i, value, None, str(name)) for i, value in enumerate(rows)]


def _from_hub(source: Source) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(source.name, source.config)
    except ConnectionError as error:
        msg = f"the Hugging Face hub is out of reach for {source.name!r}: {error}"
        raise UnavailableError(msg, role="data") from error
    except (OSError, ValueError) as error:
        msg = f"{source.name!r} cannot be loaded from the Hugging Face hub: {error}"
        raise DataError(msg, mend="Check owner, name and config (hf:owner/name:config).") from error


def _enough(seen: Inspected, source: Source) -> None:
    """Refuse data of which too much is unusable, naming rows and fields."""
    bad = seen.total - len(seen.rows)
    if bad <= MAX_UNUSABLE * seen.total:
        return
    msg = f"{bad} of {seen.total} rows ({bad / seen.total:.0%}) cannot be used: {_told(seen.problems)}"
    raise DataError(
        msg,
        where=source.name,
        mend="Repair these rows or the column names; up to a tenth is left out and reported.",
        problems=list(seen.problems),
        usable=[placed.row.position for placed in seen.rows],
    )


def _told(problems: Sequence[Mapping[str, Any]]) -> str:
    """The first problems with position and field."""
    listed = []
    for p in problems[:_SHOWN]:
        line = f" (line {p['line']})" if "line" in p else ""
        about = f"`{p['field']}` " if p["field"] else ""
        listed.append(f"{p['split'] or ''} row {p['row']}{line}: {about}{p['problem']}".strip())
    rest = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(listed) + rest


def _size_notes(splits: Splits, carved: int) -> list[str]:
    total = sum(map(len, splits.values()))
    notes = [", ".join(f"{n} {len(rows)} rows ({len(rows) / total:.0%})" for n, rows in splits.items())]
    if carved:
        notes.append(f"val: {carved} rows carved from dev by hash")
    if "test" in splits:
        clusters = len({p.row.example.cluster for p in splits["test"]})
        if clusters < MIN_CLUSTERS:
            notes.append(
                f"test has {clusters} independent row(s) or group(s), below {MIN_CLUSTERS}: no gate is possible"
            )
    else:
        notes.append("there is no test split: no gate is possible")
    return notes
