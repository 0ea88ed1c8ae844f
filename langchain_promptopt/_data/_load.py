"""`load_data`: everything about the rows is settled here, before anything is paid for."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from langchain_promptopt._data._files import describe_source, gather
from langchain_promptopt._data._rows import Columns, Raw, Reader
from langchain_promptopt._data._splits import (
    KeptSplits,
    Placed,
    Sorting,
    Splits,
    as_named,
    as_sent,
    carve_dev,
    carve_val,
    repeat_notes,
    with_ids,
    without_leaks,
    without_repeats,
)
from langchain_promptopt._langchain.reading import names_read
from langchain_promptopt.errors import DataError, did_you_mean
from langchain_promptopt.evaluators import is_built_in, normal_form
from langchain_promptopt.gate import Openings
from langchain_promptopt.gate.openings import part_read
from langchain_promptopt.ports import DataSet
from langchain_promptopt.types import SPLITS, Example, MustPass, Note, Reading, RowUse, content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langchain_promptopt._data._files import Source
    from langchain_promptopt.evaluators import Evaluator

MAX_UNUSABLE = 0.1
"""Share of rows that may be unusable before loading is refused (product 10.3)."""
MIN_CLUSTERS = 6
"""Test clusters below which no gate is possible (product 10.1)."""
_MIN_UNSPLIT = 15
"""Rows without splits of which the test's share reaches `MIN_CLUSTERS`."""
_SHOWN = 5


@dataclass(frozen=True)
class Inspected:
    """Rows checked one by one: what is usable, and what is wrong with the others."""

    rows: tuple[Placed, ...]
    problems: tuple[dict[str, Any], ...]
    notes: tuple[Note, ...]
    total: int
    spare: tuple[str, ...] = ()
    """Columns that no setting names."""


def load_data(  # noqa: PLR0913 - the facade of this package; each is a setting of [data]
    data: Any,
    *,
    columns: Columns = Columns(),  # noqa: B008 - frozen and empty
    splits: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    skip_bad_lines: bool = False,
    variables: Sequence[str] | None = None,
    remote: Callable[[str], Iterable[Any]] | None = None,
    use: RowUse = RowUse(),  # noqa: B008 - the same
    openings: Openings | None = None,
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
        use: What the prompts read of a row, and whether reference outputs are asked for.
        openings: The record of openings of the test rows; how rows without splits were first split is kept beside it.

    Raises:
        DataError: Nothing to read, broken files, more than a tenth of the rows unusable, leaks,
            ids used twice.
    """
    source = describe_source(data)
    gathered = gather(data, source, splits, skip_bad_lines=skip_bad_lines, remote=remote)
    seen = inspect_rows(gathered.rows, columns=columns, variables=variables, use=use)
    _enough(seen, source)
    _has_splits(seen, columns, source)
    kept_splits = KeptSplits(openings or Openings(None))
    sorting = kept_splits.sorting([placed.row.example for placed in seen.rows], use.readings)
    rows = [Placed(placed.row, sorting) for placed in seen.rows]
    told_once: list[str] = []
    if source.kind == "project":  # traffic repeats itself: what is asked a hundred times is one example
        rows, told_once = without_repeats(rows)
    named, notes = as_named(rows, splits, drop_leaks=drop_leaks)
    kept, dropped = without_leaks(named, drop_leaks=drop_leaks)
    final = with_ids(kept)
    repeated = repeat_notes(final)
    from_train, carved = carve_dev(final), carve_val(final)
    by_hash = any(note.kind == "split_by_hash" for note in notes)
    told = [*told_once, *dropped, *repeated, *_blurred(final, sorting), *_size_notes(final, carved, by_hash=by_hash)]
    if from_train:
        told.append(f"dev: {from_train} examples taken from train by hash, as the data has no dev split")
    ordered: dict[str, tuple[Example, ...]] = {}
    for name in SPLITS:
        if name in final:
            ordered[name] = tuple(p.row.example for p in final[name])
    more = [Note("data", text) for text in told]
    return DataSet(
        ordered,
        source.name,
        version_of(ordered),
        seen.problems,
        (*gathered.notes, *seen.notes, *notes, *more),
        use=use,
        split_by=_split_by(sorting) if by_hash or carved or from_train else None,
        spare=seen.spare,
        made=_made(ordered, by_hash=by_hash, dev=from_train, val=carved),
    )


def _made(splits: Iterable[str], *, by_hash: bool, dev: int, val: int) -> dict[str, str]:
    """How each split was made that the data does not name; `dev` and `val` are rows moved there."""
    made = dict.fromkeys(splits, "by hash") if by_hash else {}
    return made | ({"dev": "from train"} if dev else {}) | ({"val": "from dev"} if val else {})


def _split_by(sorting: Sorting) -> Reading | None:
    """What rows were split by here; None where version 0.1 had split them first."""
    return None if sorting.first_format else sorting.split_by or sorting.readings[0]


def keep_splits(data: DataSet, openings: Openings) -> None:
    """Record how rows without splits of their own were split, so that a prompt that reads others moves none of them."""
    if data.split_by is not None:
        KeptSplits(openings).keep(data.examples, data.split_by)


def references_needed(evaluators: Iterable[Evaluator]) -> bool:
    """Whether an evaluator asks for reference outputs: one of ours, or one whose `reference_outputs` must be given."""
    return any(is_built_in(e.origin) or _asks(e.origin, "reference_outputs") for e in evaluators)


def unused_columns(data: DataSet, evaluators: Iterable[Evaluator]) -> tuple[str, ...]:
    """Row columns that no setting names and no prompt or evaluator reads, in the order of the rows."""
    inputs: set[str] = set()
    for e in data.examples:
        inputs.update(e.inputs)
    looked_at = _read_by(evaluators)
    if looked_at is None:
        return ()
    found: list[str] = []
    for name in data.spare:
        in_prompts = name in inputs and any(reading.reads(name) for reading in data.use.readings)
        if name not in looked_at and not in_prompts:
            found.append(name)
    return tuple(found)


def _read_by(evaluators: Iterable[Evaluator]) -> frozenset[str] | None:
    """The inputs that evaluators read, or None where one may read the whole row."""
    found: frozenset[str] = frozenset()
    for evaluator in evaluators:
        if is_built_in(evaluator.origin):
            continue
        parameters = _parameters(evaluator.origin)
        if parameters is None or parameters.keys() - _NARROW:
            return None
        read = names_read(evaluator.origin, "inputs") if "inputs" in parameters else frozenset()
        if read is None:
            return None
        found |= read | {path.partition(".")[0] for path in read}
    return found


_NARROW = frozenset({"inputs", "outputs", "reference_outputs"})
"""Parameters of an evaluator by which it sees a part of the row."""


def _parameters(evaluator: Any) -> Mapping[str, inspect.Parameter] | None:
    try:
        found = inspect.signature(evaluator).parameters
    except (TypeError, ValueError):
        return None
    starred = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    return None if any(p.kind in starred for p in found.values()) else found


def _asks(evaluator: Any, parameter: str) -> bool:
    """Whether a function must be given `parameter` and uses it."""
    found = (_parameters(evaluator) or {}).get(parameter)
    return (
        found is not None
        and found.default is inspect.Parameter.empty
        and names_read(evaluator, parameter) != frozenset()
    )


def examples_of(data: DataSet) -> dict[str, dict[str, Any]]:
    """Inputs and expected outputs by example id, for showing rows beside verdicts."""
    return {e.id: {"inputs": dict(e.inputs), "expected": dict(e.outputs)} for e in data.examples}


def rows_in_order(data: DataSet, splits: Sequence[str] = SPLITS) -> Iterator[Example]:
    """The examples of these splits, one split after the other; a split that the data lacks has none."""
    for split in splits:
        yield from data[split]


def different_inputs(data: DataSet, splits: Sequence[str], most: int) -> list[dict[str, Any]]:
    """The first inputs that differ of these splits: an input that comes again shows nothing new.

    Args:
        data: The examples.
        splits: The splits, in order.
        most: How many at most.
    """
    found: dict[str, dict[str, Any]] = {}
    for example in rows_in_order(data, splits):
        found.setdefault(content_hash(example.inputs), dict(example.inputs))
        if len(found) == most:
            break
    return list(found.values())


def inspect_rows(
    rows: Sequence[Any],
    *,
    columns: Columns,
    variables: Sequence[str] | None = None,
    use: RowUse = RowUse(),  # noqa: B008 - frozen and empty
) -> Inspected:
    """Check rows one by one, without a limit on how many may be unusable.

    Args:
        rows: Raw rows.
        columns: Which column is what.
        variables: Inputs that every row must have.
        use: What the prompts read, and whether reference outputs are asked for.
    """
    reader = Reader(columns, variables, use)
    usable: list[Placed] = []
    problems: list[dict[str, Any]] = []
    for position, given in enumerate(rows):
        raw = given if isinstance(given, Raw) else Raw(position, given)
        row, found = reader.read(raw)
        if row is not None:
            usable.append(Placed(row))
        line = {} if raw.line is None else {"line": raw.line}
        for p in found:
            problems.append({"row": raw.row, "split": raw.split, "field": p.field, "problem": p.problem, **line})
    notes = []
    if reader.guessed:
        ins, outs = (", ".join(reader.guessed[side]) or "none" for side in ("inputs", "outputs"))
        notes.append(Note("columns", f"no columns were named: inputs are {ins}; the reference is {outs}"))
    notes += [Note("columns", text) for text in reader.chats]
    unusable = len(rows) - len(usable)
    if unusable:
        told = f"{unusable} of {len(rows)} examples cannot be scored and {'is' if unusable == 1 else 'are'} left out"
        notes.append(Note("unused", f"{told}: {_told(problems)}"))
    return Inspected(tuple(usable), tuple(problems), tuple(notes), len(rows), tuple(reader.spare))


def version_of(splits: Mapping[str, Sequence[Example]]) -> str:
    """A hash over all rows used, so that a run knows which data decided it."""
    rows = []
    for name, examples in splits.items():
        for e in examples:
            rows.append([name, e.id, e.inputs, e.outputs, e.group, *([e.note] if e.note else [])])
    return "sha256:" + content_hash(rows, 64)


_TAG_LISTS = ("tags", "tag")
_SPLIT_LISTS = ("split", "dataset_split")
_NO = frozenset({"", "0", "false", "no", "n", "none", "null"})


def must_pass_of(data: DataSet, tag: str) -> MustPass:
    """The examples that carry a tag: a true metadata value or column of that name, one of their `tags`, or a split.

    Raises:
        DataError: No example carries it; the message names the nearest tag there is.
    """
    found: dict[str, tuple[str, ...]] = {}
    for split, rows in data.splits.items():
        if ids := tuple(e.id for e in rows if _carries(e, tag)):
            found[split] = ids
    if not found:
        known = sorted(set(chain.from_iterable(map(_tags_of, data.examples))))
        msg = f"no example carries the tag {tag!r}, which must_pass names"
        there = f"Tags of these examples: {', '.join(known[:_SHOWN])}." if known else ""
        mend = f'Write it into metadata, as {{"{tag}": true}} or {{"tags": ["{tag}"]}}.'
        raise DataError(msg, where=data.source, mend=f"{did_you_mean(tag, known)}{there or mend}")
    return MustPass(tag, found)


def tag_columns(tag: str) -> tuple[str, ...]:
    """Columns that `must_pass` reads."""
    return (tag, *_TAG_LISTS)


def _carries(example: Example, tag: str) -> bool:
    value = example.metadata.get(tag, example.inputs.get(tag))
    if isinstance(value, str):
        return value.strip().lower() not in _NO
    if isinstance(value, bool | int | float):
        return value == value and bool(value)  # NaN, an empty cell of a table, is not itself
    return tag in _tags_of(example)


def _tags_of(example: Example) -> set[str]:
    """The tags and further splits that an example lists."""
    found: set[str] = set()
    for name in (*_TAG_LISTS, *_SPLIT_LISTS):
        given = example.metadata.get(name, example.inputs.get(name) if name in _TAG_LISTS else None)
        if isinstance(given, str):
            found.update(map(str.strip, re.split("[,;|]", given)))
        elif isinstance(given, list | tuple | set):
            found.update(str(part).strip() for part in given)
    return found - {*SPLITS, ""}


def _enough(seen: Inspected, source: Source) -> None:
    """Refuse data of which too much is unusable, naming rows and fields."""
    bad = seen.total - len(seen.rows)
    if bad <= MAX_UNUSABLE * seen.total:
        return
    msg = f"{bad} of {seen.total} examples ({bad / seen.total:.0%}) cannot be used: {_told(seen.problems)}"
    raise DataError(
        msg,
        where=source.name,
        mend="Repair these examples or the column names; up to a tenth is left out and reported.",
        problems=list(seen.problems),
        usable=[placed.row.position for placed in seen.rows],
    )


def _has_splits(seen: Inspected, columns: Columns, source: Source) -> None:
    """Refuse a split column that no example has a value in: a split by hash is not what was asked for."""
    if columns.split is None or not seen.rows or any(placed.row.wanted for placed in seen.rows):
        return
    msg = f"no example has a value in the split column {columns.split!r}"
    mend = "Correct the name, or leave it out: then examples are split by a hash."
    raise DataError(msg, where=source.name, mend=mend)


def _told(problems: Sequence[Mapping[str, Any]]) -> str:
    """The first different problems with field and position, each said once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for p in problems:
        line = f" (line {p['line']})" if "line" in p else ""
        place = f"{p['split'] or ''} example {p['row']}{line}".strip()
        alike.setdefault((p["field"], p["problem"]), []).append(place)
    listed = []
    for (name, problem), places in islice(alike.items(), _SHOWN):
        more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        listed.append(f"{', '.join(places[:_SHOWN])}{more}: {f'`{name}` ' if name else ''}{problem}")
    rest = f"; and {len(alike) - _SHOWN} more problems" if len(alike) > _SHOWN else ""
    return "; ".join(listed) + rest


_NEARLY_ALL = 0.9
"""Share of rows with a value of their own at which a column looks like a number of the row, not a part of it."""


def _blurred(splits: Splits, sorting: Sorting) -> list[str]:
    """Notes for columns and fields that make repeated rows look different, where it is not known that they are read."""
    reading = sorting.readings[0]
    parts = [part_read(placed.row.example.inputs, reading) for placed in chain.from_iterable(splits.values())]
    if reading.paths is not None and _are_flat(parts, frozenset(reading.paths)):
        return []  # each field is read
    rows = []
    for part in parts:
        fields = dict(_fields(as_sent(part)))
        rows.append({path: content_hash(normal_form(values)) for path, values in fields.items()})
    said = []
    for path in dict.fromkeys(chain.from_iterable(rows)):
        if reading.paths is not None and path in reading.paths:
            continue
        values = {row.get(path) for row in rows}
        alike = _alike_without(path, rows)
        if len(values) >= _NEARLY_ALL * len(rows) and alike:
            rest = f"if it is not {path!r}, name the inputs it reads with `inputs`"
            said.append(
                f"{alike} examples differ from others only in {path!r} and count as independent, because it is not"
                f" known what the chain reads; {rest}"
            )
    return said


def _are_flat(rows: Iterable[Mapping[str, Any]], paths: frozenset[str]) -> bool:
    """Whether rows have fields of these names alone, and none of them has fields of its own."""
    return all(paths.issuperset(row) and _FLAT.issuperset(map(type, row.values())) for row in rows)


_FLAT = frozenset({str, int, float, bool, type(None)})


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """What stands in each field of a value; the members of a list are one field, as in `messages[].text`."""
    inside: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        inside = [(f"{path}.{name}" if path else str(name), member) for name, member in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        inside = [(f"{path}[]", member) for member in value]
    if not inside:
        yield path, [value]
        return
    found: dict[str, list[Any]] = {}
    for at, member in inside:
        for field, values in _fields(member, at):
            found.setdefault(field, []).extend(values)
    yield from found.items()


_TELLING = 0.25
"""Distinct rests, as a share of rows, from which the fields beside a nested one tell rows apart, not their kind."""


def _alike_without(path: str, rows: Sequence[Mapping[str, str]]) -> int:
    """How many rows of several fields are like another one when this field is left out."""
    rest: Counter[frozenset[tuple[str, str]]] = Counter()
    for row in rows:
        if len(row) > 1:
            rest[frozenset((k, v) for k, v in row.items() if k != path)] += 1
    if ("." in path or "[" in path) and len(rest) < _TELLING * len(rows):
        return 0
    return sum(n for n in rest.values() if n > 1)


def _size_notes(splits: Splits, carved: int, *, by_hash: bool) -> list[str]:
    total = sum(map(len, splits.values()))
    sizes = {name: len(splits[name]) for name in SPLITS if name in splits}
    notes = [", ".join(f"{name} {n} examples ({n / total:.0%})" for name, n in sizes.items())]
    if carved:
        notes.append(f"val: {carved} examples carved from dev by hash")
    needed = f"at least {MIN_CLUSTERS} independent test examples are needed"
    if by_hash and total < _MIN_UNSPLIT:
        needed = f"at least {_MIN_UNSPLIT} examples without splits are needed, so that {MIN_CLUSTERS} come to the test"
    clusters = len({p.row.example.cluster for p in splits.get("test", ())})
    if "test" not in splits:
        notes.append(f"{needed}: there is no test split, so no gate is possible")
    elif clusters < MIN_CLUSTERS:
        notes.append(f"{needed}: test has {clusters} independent example(s) or group(s), so no gate is possible")
    return notes
