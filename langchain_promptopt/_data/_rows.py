"""From a raw row to an Example, or to a list of what is wrong with it. Nothing is filled in.

What is noticed about rows taken together: leaks, repeats, conflicting references, repeated ids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import ANSWER_NAMES
from langchain_promptopt.types import Example, Split, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_promptopt._data._files import Raw
    from langchain_promptopt._data._load import Placed, Splits

_OWN = ("inputs", "outputs", "metadata", "id", "split", "reference_outputs")
_MISSING = object()


@dataclass(frozen=True)
class Columns:
    """Which column is what. Names may be dotted paths into nested rows.

    Args:
        inputs: Prompt variable to column. None takes the row's own `inputs`, or all other columns.
        outputs: Reference columns, or reference name to column.
        id: The column with the row's id.
        group: The column that keeps related rows together (a thread, a customer).
        note: The column with a person's remark for the optimizer; rows may carry it as `note` anyway.
    """

    inputs: Mapping[str, str] | None = None
    outputs: Sequence[str] | Mapping[str, str] | None = None
    id: str | None = None
    group: str | None = None
    note: str | None = None

    @property
    def output_columns(self) -> dict[str, str] | None:
        """Reference name to column."""
        if self.outputs is None:
            return None
        if isinstance(self.outputs, Mapping):
            return dict(self.outputs)
        names = [self.outputs] if isinstance(self.outputs, str) else self.outputs
        return {name.rpartition(".")[2]: name for name in names}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row."""

    field: str
    problem: str


@dataclass(frozen=True)
class Row:
    """A usable row, with where it stood and which split it asks for."""

    example: Example
    position: int
    wanted: tuple[str, ...]
    line: int | None = None
    has_id: bool = False


@dataclass
class Reader:
    """Turns raw rows into rows, remembering which columns were guessed so that it can be said."""

    columns: Columns
    variables: Sequence[str] | None = None
    guessed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, raw: Raw) -> tuple[Row | None, list[Problem]]:
        """The row, or None and what is wrong with it."""
        value = _as_mapping(raw.value)
        if value is None:
            return None, [Problem("", f"a row is a mapping, this is a {type(raw.value).__name__}")]
        if isinstance(raw.value, Example):
            example, missing = raw.value, list[Problem]()
        else:
            example, missing = self._example(value)
        problems = list(missing)
        problems += _input_problems(example.inputs, self.variables, self.columns.inputs)
        problems += _output_problems(example.outputs, value, required=self.columns.output_columns)
        problems = _first_by_field(problems)
        if problems:
            return None, problems
        wanted = (raw.split,) if raw.split is not None else _wanted_splits(value, example.metadata)
        has_id = bool(example.id)
        if not has_id:
            example = _with_id(example, content_hash(example.inputs))
        return Row(example, raw.row, wanted, raw.line, has_id), []

    def _example(self, value: Mapping[str, Any]) -> tuple[Example, list[Problem]]:
        shaped = _is_shaped(value)
        inputs, missing_inputs = self._inputs(value, shaped=shaped)
        outputs, missing_outputs = self._outputs(value, shaped=shaped)
        metadata = _metadata(value, shaped=shaped, used=self._used())
        given = _lookup(value, self.columns.id) if self.columns.id else value.get("id")
        given = metadata.get("id") if is_blank(given) and not self.columns.id else given
        group = _lookup(value, self.columns.group) if self.columns.group else None
        problems = [*missing_inputs, *missing_outputs]
        if self.columns.id and is_blank(given):
            problems.append(Problem("id", f"column {self.columns.id!r} is missing or empty"))
        if self.columns.group and is_blank(group):
            problems.append(Problem("group", f"column {self.columns.group!r} is missing or empty"))
        note = _lookup(value, self.columns.note) if self.columns.note else value.get("note") if shaped else None
        example = Example(
            "" if is_blank(given) else str(given),
            inputs,
            outputs,
            metadata,
            None if is_blank(group) else str(group),
            None if is_blank(note) else str(note),
        )
        return example, problems

    def _inputs(self, value: Mapping[str, Any], *, shaped: bool) -> tuple[dict[str, Any], list[Problem]]:
        if self.columns.inputs is not None:
            return _mapped(value, self.columns.inputs, "inputs")
        if not shaped:
            return {name: value[name] for name in self._guess(value)["inputs"] if name in value}, []
        if not isinstance(given := value.get("inputs"), Mapping):
            return {}, [Problem("inputs", _no_mapping(given))]
        return dict(given), []

    def _outputs(self, value: Mapping[str, Any], *, shaped: bool) -> tuple[dict[str, Any], list[Problem]]:
        named = self.columns.output_columns
        if named is not None:
            return _mapped(value, named, "outputs")
        if not shaped:
            return {name: value[name] for name in self._guess(value)["outputs"] if name in value}, []
        given = _reference(value)
        if not isinstance(given, Mapping):
            return {}, [Problem("outputs", _no_mapping(given))]
        return dict(given), []

    def _used(self) -> set[str]:
        """Columns that serve as inputs or references."""
        named = [*(self.columns.inputs or {}).values(), *(self.columns.output_columns or {}).values()]
        return {*named, *(name for side in self.guessed.values() for name in side)}

    def _guess(self, value: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Inputs and outputs of flat rows, decided by the first one and used for all."""
        if not self.guessed:
            names = [str(name) for name in value if name not in {"id", "split", "metadata", self.columns.id}]
            outputs = self.columns.output_columns or {}
            found = [n for n in ANSWER_NAMES if n in names] if not outputs else []
            if not outputs and len(found) != 1:
                msg = f"which columns are inputs and which is the reference? There are {', '.join(names) or 'none'}"
                raise DataError(msg, mend='Say it, e.g. inputs = { ticket = "text" } and outputs = ["label"].')
            taken = {*found, *outputs.values(), self.columns.group, self.columns.note}
            inputs = [n for n in names if n not in taken and (self.variables is None or n in self.variables)]
            self.guessed = {"inputs": tuple(inputs), "outputs": tuple(found)}
        return self.guessed


def is_blank(value: Any) -> bool:
    r"""Whether a value says nothing: absent, None, NaN, or text without a visible character. 0 and False say something.

    >>> is_blank(float("nan")), is_blank("  \n"), is_blank(0)
    (True, True, False)
    """
    if value is None or value is _MISSING:
        return True
    if isinstance(value, str):
        return not value.strip("\ufeff\u200b\u200c\u200d\u2060 \t\r\n\f\v\u00a0\u3000")
    return isinstance(value, float) and math.isnan(value)


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A row as a mapping; examples (ours, LangSmith's) are read by their attributes."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "inputs") and hasattr(value, "outputs"):
        return {n: getattr(value, n, None) for n in ("id", "inputs", "outputs", "metadata")}
    return None


def _no_mapping(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}, not a mapping"


def _is_shaped(value: Mapping[str, Any]) -> bool:
    return any(isinstance(value.get(n), Mapping) for n in ("inputs", "outputs", "reference_outputs"))


def _reference(value: Mapping[str, Any]) -> Any:
    return value["outputs"] if value.get("outputs") is not None else value.get("reference_outputs")


def _lookup(value: Mapping[str, Any], path: str) -> Any:
    """The value at `path`: in the row, else in its inputs, outputs or metadata; a name with dots first as it is."""
    places = [value, *(value[n] for n in ("inputs", "outputs", "metadata") if isinstance(value.get(n), Mapping))]
    for place in places:
        if path in place:
            return place[path]
        found: Any = place
        for part in path.split("."):
            found = found.get(part, _MISSING) if isinstance(found, Mapping) else _MISSING
        if found is not _MISSING:
            return found
    return _MISSING


def _mapped(value: Mapping[str, Any], columns: Mapping[str, str], side: str) -> tuple[dict[str, Any], list[Problem]]:
    found = {name: _lookup(value, path) for name, path in columns.items()}
    problems = [
        Problem(f"{side}.{name}", f"column {columns[name]!r} is missing; there are {', '.join(map(str, value))}")
        for name, item in found.items()
        if item is _MISSING
    ]
    return {name: item for name, item in found.items() if item is not _MISSING}, problems


def _metadata(value: Mapping[str, Any], *, shaped: bool, used: set[str]) -> dict[str, Any]:
    given = value.get("metadata")
    kept = dict(given) if isinstance(given, Mapping) else {}
    if not shaped:
        kept |= {k: v for k, v in value.items() if k not in used and k not in _OWN}
    return kept


def _wanted_splits(value: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits a row names: metadata.split, LangSmith's dataset_split (several), or `split` beside inputs."""
    for given in (metadata.get("split"), metadata.get("dataset_split"), value.get("split")):
        if isinstance(given, str) and given.strip():
            return (given.strip(),)
        if isinstance(given, list | tuple) and given:
            return tuple(str(s) for s in given)
    return ()


def _input_problems(
    inputs: Mapping[str, Any], variables: Sequence[str] | None, mapped: Mapping[str, str] | None
) -> list[Problem]:
    needed = list(variables) if variables is not None else list(mapped or ())
    problems = [Problem(f"inputs.{n}", "missing or empty") for n in needed if _unusable(inputs.get(n))]
    if not inputs and not needed:
        problems.append(Problem("inputs", "empty"))
    elif inputs and all(is_blank(v) for v in inputs.values()) and not problems:
        problems.append(Problem(f"inputs.{next(iter(inputs))}", "every input is empty"))
    return problems + _broken_text(inputs, "inputs")


def _unusable(value: Any) -> bool:
    """An empty text may be meant (no context); nothing at all would be sent as the word None."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _output_problems(
    outputs: Mapping[str, Any], value: Mapping[str, Any], *, required: Mapping[str, str] | None
) -> list[Problem]:
    if not outputs:
        return [Problem("outputs", "missing" if _reference(value) is None else "empty")]
    if required is not None:
        names = [n for n in required if n in outputs]
    elif "answer" in outputs:
        names = ["answer"]
    else:
        names = list(outputs) if all(_no_reference(v) for v in outputs.values()) else []
    found = [
        Problem(f"outputs.{n}", "empty: there is nothing to compare with") for n in names if _no_reference(outputs[n])
    ]
    return found + _broken_text(outputs, "outputs")


def _no_reference(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return not value or any(is_blank(v) for v in value)
    return is_blank(value)


def _broken_text(values: Mapping[str, Any], side: str) -> list[Problem]:
    """Half of a surrogate pair cannot be sent to any model."""
    return [
        Problem(f"{side}.{name}", "holds half of a surrogate pair (a broken \\u escape)")
        for name, value in values.items()
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)
    ]


def _first_by_field(problems: list[Problem]) -> list[Problem]:
    """One problem a field; a missing whole hides its parts."""
    seen: dict[str, Problem] = {}
    for problem in problems:
        whole = problem.field.partition(".")[0]
        if whole not in seen:
            seen.setdefault(problem.field, problem)
    return list(seen.values())


def _with_id(example: Example, row_id: str) -> Example:
    return Example(row_id, example.inputs, example.outputs, example.metadata, example.group, example.note)


# ------------------------------------------------------------ What is noticed about rows taken together: leaks, re

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
