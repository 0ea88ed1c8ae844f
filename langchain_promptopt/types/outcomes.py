"""Rows, what became of them, and what that cost; scored candidates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._collections import map_values

if TYPE_CHECKING:
    from langchain_promptopt.types.prompts import Candidate

Split: TypeAlias = Literal["train", "dev", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "val", "test")
Outcomes: TypeAlias = Literal["improved", "inconclusive", "no_gain", "budget", "interrupted"]
"""How a run ends; a failure raises, and is recorded as "failed"."""

StopKind: TypeAlias = Literal[
    "steps", "budget", "plateau", "overfitting", "saturated", "few_errors", "nothing_left", "custom"
]


NoteKind: TypeAlias = Literal["unused", "split_by_hash", "columns", "data", "prompt", "method", "judge", "gate"]
"""`unused`: something of the user's input has no effect. `split_by_hash`: the splits were made here. `columns`: which
columns are read without a setting."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know. Programs look at `kind`; `text` is for reading only and may change."""

    kind: NoteKind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a search ended.

    Args:
        kind: What programs decide by. "budget" is the run's own budget; a Stopping of your own says "custom".
        detail: A sentence for people, without a full stop; nothing in the package reads it.
    """

    kind: StopKind
    detail: str

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "detail": self.detail}


ReasonKind: TypeAlias = Literal[
    "shown",
    "not_worse",
    "worse",
    "not_shown",
    "small_against_a_failure",
    "guard_not_shown",
    "guard_broken",
    "must_pass_broken",
    "must_pass_not_shown",
    "below_worth",
    "only_by_dropped_rows",
    "too_few_rows",
    "model_changed",
    "scores_lost_unequally",
    "evaluator_raised_on_one_side",
    "not_rendered",
    "budget",
    "",
]
"""`small_against_a_failure`: too few examples to rule out that some fail outright and undo the gain."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the gate decided as it did.

    Args:
        kind: What programs decide by; "" where a journal of version 0.1 has none.
        detail: For people, without a full stop; nothing in the package reads it.
    """

    kind: ReasonKind
    detail: str

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "detail": self.detail}


@dataclass(frozen=True)
class Example:
    """One row. `outputs` are the reference outputs; `group` keeps related rows in one split and cluster."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    note: str | None = None
    attachments: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Files of a LangSmith example, for evaluators that ask for them; they are no part of the row's identity."""

    @property
    def cluster(self) -> str:
        """What the gate treats as one independent unit."""
        return self.group if self.group is not None else self.id


_NAMED = 5
"""Examples that a sentence names."""


def name_examples(ids: Sequence[str]) -> str:
    """Examples as a sentence names them: some by their ids, the rest as a number.

    >>> name_examples(["a", "b", "c", "d", "e", "f"])
    'examples a, b, c, d, e and 1 more'
    """
    shown = ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
    return f"example{'s' if len(ids) > 1 else ''} {shown}"


ABSENT: Any = object()
"""What `value_at` gives where there is nothing: None may be a value."""
_INDEX = re.compile(r"\[(-?\d+)\]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a chain reads of a row's inputs: two rows that agree in it are one row.

    Args:
        paths: Names of inputs, or dotted paths into nested ones. None where it is not known, so that all count.
        printed: Those nested paths that a template prints, where a missing field would show as nothing.
    """

    paths: tuple[str, ...] | None = None
    printed: tuple[str, ...] = ()

    def of(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `inputs` that is read, by path; all of it where nothing of it is there.

        >>> Reading(("mail.body", "lang")).of({"mail": {"body": "hi", "id": 7}, "n": 3})
        {'mail.body': 'hi'}
        """
        if self.paths is None:
            return dict(inputs)
        found = {}
        for path in self.paths:
            if (value := value_at(inputs, path)) is not ABSENT:
                found[path] = value
        return found or dict(inputs)

    def reads(self, name: str) -> bool:
        """Whether the input `name`, or a field of it, is read."""
        return self.paths is None or any(path == name or path.startswith(f"{name}.") for path in self.paths)


def value_at(place: Any, path: str) -> Any:
    """The value at a path of names and list positions, or ABSENT; a key with dots is taken before a path.

    >>> value_at({"messages": [{"content": "hi"}]}, "messages[0].content")
    'hi'
    >>> value_at({"messages": [{"content": "hi"}]}, "messages.-1.content")
    'hi'
    """
    if isinstance(place, Mapping) and path in place:
        return place[path]
    for part in _INDEX.sub(r".\1", path).removeprefix(".").split("."):
        if isinstance(place, Mapping):
            place = place.get(part, ABSENT)
        elif isinstance(place, list | tuple) and re.fullmatch(r"-?\d+", part):
            place = place[int(part)] if -len(place) <= int(part) < len(place) else ABSENT
        else:
            place = getattr(place, part, ABSENT) if part in getattr(type(place), "model_fields", ()) else ABSENT
        if place is ABSENT:
            return ABSENT
    return place


@dataclass(frozen=True)
class RowUse:
    """What a run does with its rows.

    Args:
        readings: What the prompts read of a row: one reading, or those of both sides of a comparison.
        references: Whether an evaluator asks for reference outputs.
        attachments: Whether an evaluator asks for attachments of the examples.
    """

    readings: tuple[Reading, ...] = (Reading(),)
    references: bool = True
    attachments: bool = False

    @property
    def printed(self) -> tuple[str, ...]:
        """Nested fields that a prompt shows, and would show as nothing where they are missing."""
        return tuple(dict.fromkeys(chain.from_iterable(reading.printed for reading in self.readings)))

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the record of a run."""
        paths: list[list[str] | None] = []
        for reading in self.readings:
            if reading.paths is None:
                paths.append(None)
            else:
                paths.append(list(reading.paths))
        return {"reads": paths, "references": self.references}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RowUse:
        """The inverse of `as_json`, as far as rows are told apart by it; an older record has the defaults."""
        readings = tuple(Reading(None if p is None else tuple(p)) for p in data.get("reads") or ())
        return cls(readings or (Reading(),), bool(data.get("references", True)))


@dataclass(frozen=True, slots=True)
class Usage:
    """What calls cost. `usd` is None where a price is unknown."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            self.seconds + other.seconds,
        )

    def __sub__(self, part: Usage) -> Usage:
        known = None if self.usd is None else max(0.0, self.usd - (part.usd or 0.0))
        return Usage(
            self.calls - part.calls,
            self.input_tokens - part.input_tokens,
            self.output_tokens - part.output_tokens,
            self.cache_read_tokens - part.cache_read_tokens,
            known,
            max(0.0, self.seconds - part.seconds),
        )

    def as_json(self) -> dict[str, Any]:
        """Numbers by name."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "usd": self.usd,
            "seconds": round(self.seconds, 6),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Usage:
        """The inverse of `as_json`; None is no usage. Raises ValueError or TypeError for what no call can use."""
        if not data:
            return _NOTHING
        usage = cls(**data)
        seconds, usd = usage.seconds, 0.0 if usage.usd is None else usage.usd
        whole = True
        for count in (usage.calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens):
            whole = whole and type(count) is int and 0 <= count < _MOST
        if not whole or not 0 <= seconds < _MOST or not 0 <= usd < _MOST:  # a NaN is within nothing
            msg = f"no call can have used {data!r:.120}"
            raise ValueError(msg)
        return usage


_NOTHING = Usage()
_MOST = 2**53
"""More than any run uses, and the largest whole number that JSON keeps everywhere."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One evaluation: which candidate on which example of which split, and which repeat (from 0)."""

    candidate_id: str
    split: str
    example_id: str
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell has no ordinary score. `scored_zero` when the prompt is to blame, else the row is dropped."""

    kind: str
    message: str
    scored_zero: bool = False


class ByModel(dict[str, Any]):
    """The answers of a program under several task models, by name; a Failure where it failed under one of them."""


BY_MODEL = "promptopt_task_model"
"""The key in a run's metadata that holds the name of its task model."""


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """What one step of an app said on the way to its answer.

    Args:
        kind: "prompt" is a call of a model, "tool" a call of a tool.
        name: The prompt that the model was sent, several joined by commas, or "" where it was sent none of the app's
            prompts; the tool's own name.
        answer: What came back, as plain values.
        arguments: What the tool was called with.
    """

    kind: Literal["prompt", "tool"]
    name: str
    answer: Any
    arguments: Any = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, as the optimizer model is shown them.

        >>> StepAnswer("tool", "search", "3 hits", {"query": "refund"}).as_json()
        {'tool': 'search', 'arguments': {'query': 'refund'}, 'result': '3 hits'}
        """
        if self.kind == "tool":
            return {"tool": self.name, "arguments": self.arguments, "result": self.answer}
        return {"prompt": self.name or None, "answer": self.answer}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepAnswer:
        """The inverse of `as_json`."""
        if "tool" in data:
            return cls("tool", data["tool"], data.get("result"), data.get("arguments"))
        return cls("prompt", data.get("prompt") or "", data.get("answer"))

    def of_model(self, name: str) -> StepAnswer:
        """The step of an evaluation under one of several task models, with the model's name at its answer."""
        return replace(self, answer={name: self.answer})

    def map(self, change: Callable[[Any], Any]) -> StepAnswer:
        """The step with its values changed; its name stays."""
        return replace(self, answer=change(self.answer), arguments=change(self.arguments))


_MOST_STEPS, _LONGEST_STEP = 12, 500
"""Steps of an evaluation that are kept, and code points of one value."""
CUT = " characters left out ...]"
"""Ends the note that stands where the middle of a value was."""


def shortened_steps(steps: Sequence[StepAnswer]) -> tuple[StepAnswer, ...]:
    """Steps as they are kept: the middle of a long value is cut out, and of many steps those in the middle.

    >>> shortened_steps([StepAnswer("prompt", "notes", "ab" * 300)])[0].answer[245:290]
    'babab [... 100 characters left out ...] ababa'
    """
    kept = steps
    if len(steps) > _MOST_STEPS:
        half, left = _MOST_STEPS // 2, len(steps) - _MOST_STEPS
        note = StepAnswer("prompt", "", f"[... {left} steps left out ...]")
        kept = [*steps[:half], note, *steps[-half:]]
    return tuple(step.map(_cut) for step in kept)


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _LONGEST_STEP:
        return value
    half = _LONGEST_STEP // 2
    return f"{text[:half]} [... {len(text) - 2 * half}{CUT} {text[-half:]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cell. `scores` is empty for a dropped row."""

    cell: Cell
    scores: Mapping[str, float]
    output: Any = None
    comments: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    model_served: str | None = None
    cached: bool = False
    judge: Usage = field(default_factory=Usage)
    """The part of `usage` that evaluators' own model calls took."""
    tries: int = 1
    """Target calls it took, failed ones included."""
    rendered: tuple[str, ...] | None = None
    """Names of the prompts that were rendered; None is all of them."""
    steps: tuple[StepAnswer, ...] = ()
    """What each step said, in the order in which they began, for apps with several prompts or with tools."""

    @property
    def dropped(self) -> bool:
        """True when infrastructure failed: no score, never a zero."""
        return self.failure is not None and not self.failure.scored_zero


FULL = 1.0 - 1e-9
"""A score from here on is the full one; means of floats may miss 1 by a little."""


@dataclass(frozen=True, slots=True)
class MustPass:
    """The examples that no candidate may get wrong where the baseline gets them right.

    Args:
        tag: What marks them.
        ids: Their ids by split.
    """

    tag: str
    ids: Mapping[str, tuple[str, ...]]

    def of(self, split: str) -> tuple[str, ...]:
        """Those of one split, in its order."""
        return self.ids.get(split, ())

    def as_json(self) -> list[Any]:
        """Plain values, for the run id."""
        return [self.tag, map_values(list, self.ids)]


BREAKS = "wrong, which must pass"
"""How the reason ends for which a candidate that breaks one of them is dropped."""


def broken(wanted: Iterable[str], before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, ...]:
    """Of the `wanted` examples, those with the full score before and a lower one after.

    An example without a score on a side is none of them.

    Args:
        wanted: Ids of the examples.
        before: Deciding scores of the baseline by example id.
        after: Those of the candidate.

    >>> broken(["a", "b", "c"], {"a": 1.0, "b": 1.0, "c": 0.5}, {"a": 1.0, "b": 0.5, "c": 0.0})
    ('b',)
    """
    return tuple(i for i in wanted if before.get(i, 0.0) >= FULL > after.get(i, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEntry:
    """One metric of a test as records and answers carry it; what an older record does not say is None.

    The gate's own `TestEntry` says what each number means.
    """

    metric: str = "score"
    role: str = ""
    baseline: float | None = None
    best: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    n: int | None = None
    clusters: int | None = None
    wins: int | None = None
    losses: int | None = None
    verdict: str = ""
    opening: int | None = None
    alpha: float | None = None
    margin: float | None = None
    """What the difference had to exceed; below 0 where a fall was allowed."""
    rows_needed: int | None = None
    by_example: MetricEntry | None = None
    """Means and wins over single examples, where these come in groups."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> MetricEntry:
        """The entry of a table, as JSON.

        >>> MetricEntry.of({"metric": "em", "interval": [0.1, None], "moon": "full"})
        MetricEntry(metric='em', ...)
        """
        said = {f.name: data[f.name] for f in fields(cls) if data.get(f.name) is not None}
        said["metric"] = str(data.get("metric") or data.get("name") or data.get("key") or "score")
        if "interval" in said:
            low, high = said["interval"][:2]
            said["interval"] = None if low is None or high is None else (low, high)
        if "by_example" in said:
            said["by_example"] = cls.of(said["by_example"])
        return cls(**said)

    @property
    def in_groups(self) -> bool:
        """Whether the test counted groups of examples and not single ones."""
        return self.clusters is not None and self.clusters != self.n


@dataclass(frozen=True)
class Attempt:
    """A candidate with its search score. `by_example` maps example id to the primary score (mean over repeats)."""

    candidate: Candidate
    score: float
    by_example: Mapping[str, float] = field(default_factory=dict)
    feedback: str = ""
    gain: float = 0.0
    chosen: bool = False
    """Whether the search once went on from it (GPO's history holds these alone)."""
    out: bool = False
    """Whether a race dropped it before it had seen all rows; its score is then no score to rank by."""

    @property
    def n(self) -> int:
        """Rows behind the score."""
        return len(self.by_example)


Trajectory: TypeAlias = tuple[Attempt, ...]


def attempts_by_id(attempts: Iterable[Attempt]) -> dict[str, Attempt]:
    """Attempts by the id of their candidate; of several of one candidate the last counts."""
    return {attempt.candidate.id: attempt for attempt in attempts}


def candidates_by_id(attempts: Iterable[Attempt]) -> dict[str, Candidate]:
    """The candidates of attempts by their ids."""
    return {attempt.candidate.id: attempt.candidate for attempt in attempts}
