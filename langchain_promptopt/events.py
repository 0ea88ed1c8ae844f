"""The journal's events: frozen, one class a type. `as_json` gives the `data` of a line, `event_of` reads it back.

Field names are the contract of product section 5. Unknown types and fields are ignored, and a field that an older
record does not have is read as nothing: "", 0, an empty list or None.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, cast

from langchain_promptopt._collections import all_as_json, map_values
from langchain_promptopt.types import Cell, Edit, Failure, Outcome, PromptSet, Reason, Span, Stop, Usage
from langchain_promptopt.types.edits import FinalEdit, compose, differences, with_edits

if TYPE_CHECKING:
    from langchain_promptopt.types import Candidate, Rejection, Remembered, Workpiece

_SIMPLE = frozenset({str, int, float, bool, type(None)})
_TEXT = frozenset({str})


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that the search did not keep, and why."""

    candidate_id: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A past attempt that the proposer was shown; `similarity` to the current one where it was the reason."""

    candidate_id: str
    score: float | None = None
    similarity: float | None = None


def _plain(value: Any) -> Any:
    if type(value) in _SIMPLE:  # most of a journal, and far quicker than asking for abstract classes
        return value
    if type(value) is dict and not value:
        return {}
    if type(value) is dict and _SIMPLE.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value)):
        return {**value}
    if isinstance(value, Edit | PromptSet | Stop | Usage):
        return value.as_json()
    if isinstance(value, Dropped | Failure | Recalled | Span):
        kind: Any = type(value)
        return {name: _plain(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    return value


def spans_json(prompts: PromptSet, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Places with the text that stands there."""
    return [{**_plain(s), "text": prompts.text_at(s)} for s in spans]


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Field names of a dataclass."""
    return tuple(f.name for f in fields(kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base: `type` names the event, `as_json` is its `data`."""

    type: ClassVar[str] = ""
    paid: ClassVar[bool] = False
    """True when losing this line would mean paying for a call again: it is synced to disk."""

    def as_json(self) -> dict[str, Any]:
        """The `data` object of the journal line."""
        kind: Any = type(self)
        data = {}
        for name in _names(kind):
            value = getattr(self, name)
            data[name] = value if type(value) in _SIMPLE else _plain(value)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """Everything that decides the result, before the first paid call."""

    type: ClassVar[str] = "run.started"
    run_id: str
    version: str
    method: str
    recipe: Mapping[str, Any]
    seed: int
    gate: Mapping[str, Any]
    models: Mapping[str, str]
    evaluators: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    seed_candidate_id: str
    prompts: PromptSet
    config: Mapping[str, Any] = field(default_factory=dict)
    decides: Mapping[str, str] = field(default_factory=dict)
    """A hash of each thing that the run id is made of; none in records of version 0.1."""

    @property
    def evaluator_names(self) -> tuple[str, ...]:
        """Names of the evaluators; the first one decides where nothing else is said."""
        return tuple(evaluator["name"] for evaluator in self.evaluators)

    def setting(self, section: str, key: str) -> Any:
        """What `promptopt.toml` said when the run began; None where it said nothing, or the run had no such file.

        Args:
            section: Name of the table, as "data".
            key: Name in the table.
        """
        return (self.config.get(section) or {}).get(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Event):
    """One optimizer-model reply. `key` addresses it: step, parent, batch, k, purpose, try."""

    type: ClassVar[str] = "called"
    paid: ClassVar[bool] = True
    key: str
    role: str
    step: int
    reply: str
    usage: Usage
    model_served: str | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow(Event):
    """One evaluated cell. `output` is what the target returned."""

    type: ClassVar[str] = "scored"
    paid: ClassVar[bool] = True
    candidate_id: str
    split: str
    example_id: str
    repeat: int
    scores: Mapping[str, float]
    comments: Mapping[str, str]
    failure: Failure | None
    cached: bool
    usage: Usage
    model_served: str | None
    output: Any = None
    judge: Usage | None = None
    """The part of `usage` that evaluators' model calls took; None where they made none."""
    tries: int = 1
    rendered: Sequence[str] | None = None
    """Names of the prompts that the evaluation rendered; None is all of them."""
    steps: Sequence[Mapping[str, Any]] | None = None
    """What each step said, on train rows of apps with several prompts or with tools; left out where there is none."""

    def as_json(self) -> dict[str, Any]:
        """The `data` object of the journal line: its fields in their order, named here because most lines are such."""
        data = {
            "candidate_id": self.candidate_id,
            "split": self.split,
            "example_id": self.example_id,
            "repeat": self.repeat,
            "scores": _plain(self.scores),
            "comments": _plain(self.comments),
            "failure": None if self.failure is None else _plain(self.failure),
            "cached": self.cached,
            "usage": self.usage.as_json(),
            "model_served": self.model_served,
            "output": _plain(self.output),
            "judge": None if self.judge is None else self.judge.as_json(),
            "tries": self.tries,
            "rendered": None if self.rendered is None else _plain(self.rendered),
        }
        return data if self.steps is None else data | {"steps": _plain(self.steps)}

    @property
    def cell(self) -> Cell:
        """Which evaluation this is."""
        return Cell(self.candidate_id, self.split, self.example_id, self.repeat)

    @classmethod
    def of(cls, outcome: Outcome) -> ScoredRow:
        """The event of an outcome."""
        return cls(
            candidate_id=outcome.cell.candidate_id,
            split=outcome.cell.split,
            example_id=outcome.cell.example_id,
            repeat=outcome.cell.repeat,
            scores=outcome.scores,
            comments=outcome.comments,
            failure=outcome.failure,
            cached=outcome.cached,
            usage=outcome.usage,
            model_served=outcome.model_served,
            output=outcome.output,
            judge=outcome.judge if outcome.judge.calls else None,
            tries=outcome.tries,
            rendered=outcome.rendered,
            steps=all_as_json(outcome.steps) if outcome.steps else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """Mean score of a candidate on the rows of a split evaluated so far."""

    type: ClassVar[str] = "evaluated"
    candidate_id: str
    split: str
    n: int
    score: float
    failures: int
    cached: int
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven(Event):
    """A textual gradient, reasoning or human note about a candidate."""

    type: ClassVar[str] = "feedback"
    candidate_id: str
    text: str
    example_ids: tuple[str, ...]
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved(Event):
    """Past attempts shown to the proposer."""

    type: ClassVar[str] = "retrieved"
    candidate_id: str
    strategy: str
    items: tuple[Recalled, ...]
    step: int = 0

    @classmethod
    def of(cls, items: Sequence[Remembered], *, candidate_id: str, strategy: str, step: int) -> Retrieved:
        """The event of what a memory gave for a candidate.

        Args:
            items: What the memory gave, in display order.
            candidate_id: The candidate that the proposal starts from.
            strategy: Class name of the memory.
            step: Number of the step.
        """
        shown = []
        for r in items:
            shown.append(Recalled(r.attempt.candidate.id, r.attempt.score, r.similarity))
        return cls(candidate_id=candidate_id, strategy=strategy, items=tuple(shown), step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified(Event):
    """Places marked for editing. `tagged` is the prompt with the tags, as shown."""

    type: ClassVar[str] = "identified"
    candidate_id: str
    protocol: str
    spans: Sequence[Mapping[str, Any]]
    tagged: str
    step: int = 0

    @classmethod
    def of(cls, piece: Workpiece, spans: Sequence[Span], *, candidate_id: str, protocol: str, step: int) -> Identified:
        """The event of these places of a piece's prompts.

        Args:
            piece: The workpiece: its prompts, and the text with tags.
            spans: The marked places.
            candidate_id: The candidate that was marked.
            protocol: How the marks were asked for: "quote", "echo", "index" or "joined".
            step: Number of the step.
        """
        shown = spans_json(piece.prompts, spans)
        return cls(candidate_id=candidate_id, protocol=protocol, spans=shown, tagged=piece.tagged, step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(Event):
    """A child that passed the guards. `edits` refer to the parent's text."""

    type: ClassVar[str] = "proposed"
    parent_id: str
    candidate_id: str
    step: int
    scope: str
    edits: tuple[Edit, ...]
    prompts: PromptSet
    parents: tuple[str, ...] = ()
    enforce: str = "strict"
    leak: float | None = None
    part_of: str = ""
    """The candidate of whose edits these are a part: it was made to see which of them are needed."""

    @classmethod
    def of(cls, child: Candidate, *, parent_id: str, enforce: str = "strict", leak: float | None = None) -> Proposed:
        """The event of a candidate.

        Args:
            child: The candidate; its step and scope are the event's.
            parent_id: The candidate that its edits refer to.
            enforce: How strictly the spans were kept.
            leak: Share of fixed text that the reply did not keep.
        """
        return cls(
            parent_id=parent_id,
            candidate_id=child.id,
            step=child.step,
            scope=child.scope or "global",
            edits=child.edits,
            prompts=child.prompts,
            enforce=enforce,
            leak=leak,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """A reply or child that was refused, and the rule that refused it."""

    type: ClassVar[str] = "rejected"
    parent_id: str
    step: int
    rule: str
    detail: str

    @classmethod
    def of(cls, rejection: Rejection, *, parent_id: str, step: int) -> Rejected:
        """The event of a refusal.

        Args:
            rejection: The rule and its detail.
            parent_id: The candidate that the reply or child was made from.
            step: Number of the step; 0 for a seed.
        """
        return cls(parent_id=parent_id, step=step, rule=rejection.rule, detail=rejection.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected(Event):
    """What the search kept after a step, and why the rest was dropped."""

    type: ClassVar[str] = "selected"
    step: int
    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Event):
    """Something went wrong outside the method: an outage, a retry storm, a stop signature."""

    type: ClassVar[str] = "incident"
    role: str
    kind: str
    retryable: bool
    action: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """The test rows are opened now for a candidate. The time of its line marks this opening and no other."""

    type: ClassVar[str] = "opened"
    candidate_id: str
    rows: int
    attempt: int = 0
    """Void tests of the run before this one: each attempt is an opening of its own."""


def opening_key(candidate_id: str, attempt: int) -> str:
    """The key of an opening within its run.

    >>> opening_key("a1b2", 0), opening_key("a1b2", 1)
    ('a1b2', 'a1b2#1')
    """
    return f"{candidate_id}#{attempt}" if attempt else candidate_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested(Event):
    """The gate's table. The test split is sealed before this event."""

    __test__ = False  # pytest takes its name for that of a test class

    type: ClassVar[str] = "tested"
    metrics: Sequence[Mapping[str, Any]]
    verdict: str
    opening: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def void(self) -> bool:
        """Whether the test rows were opened without a verdict."""
        return self.verdict == "void"

    @property
    def lost(self) -> bool:
        """Whether the test is void and cannot go on: every void one but that which a budget ended."""
        return self.void and (self.reason is None or self.reason.kind != "budget")

    @property
    def reason(self) -> Reason | None:
        """Why the gate decided as it did; None where the record does not say."""
        said = self.detail.get("reason")
        if isinstance(said, str):  # as journals of 0.1 have it
            return Reason("", said) if said else None
        return Reason(said["kind"], said["detail"]) if said else None

    @property
    def unenforced(self) -> bool:
        """Whether a child on the way to the winner was not kept to its marked places."""
        return bool(self.detail.get("unenforced"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the gate found worth saying beside its verdict."""
        return tuple(self.detail.get("warnings", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Event):
    """Base of the four events about a prompt going somewhere."""

    actor: str
    target: str
    commit: str | None
    candidate_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Moved):
    """A candidate was written into a live chain or a file."""

    type: ClassVar[str] = "applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed(Moved):
    """A candidate was committed to a prompt registry."""

    type: ClassVar[str] = "pushed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged(Moved):
    """A registry tag was moved to a commit."""

    type: ClassVar[str] = "tagged"
    previous: str | None = None
    """The commit it stood on before: where a rollback puts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Moved):
    """A push or apply was undone."""

    type: ClassVar[str] = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The run is over; a second start with the same run id replays this."""

    type: ClassVar[str] = "run.finished"
    outcome: str
    exit_code: int
    best_candidate_id: str
    usage: Mapping[str, Any]
    stopped: Stop | None = None
    """Why the search ended; None where there was none (a comparison)."""
    error: Mapping[str, Any] | None = None
    """What ended a run whose outcome is "failed"."""

    @property
    def by_role(self) -> Mapping[str, Usage]:
        """What each role spent, as the ledger ended; empty where a record does not say."""
        spent: Mapping[str, Usage] = map_values(_usage, self.usage.get("by_role") or {})
        return spent

    @property
    def failure(self) -> str:
        """What a failed run ended with, without the texts of rows; "" for all others."""
        return str((self.error or {}).get("public", ""))

    @property
    def retryable(self) -> bool:
        """Whether a failed run can go on as it is: what failed was out of reach, not wrong."""
        return bool((self.error or {}).get("retryable"))


# ---------------------------------------------------------------- reading events back


def _usage(said: Mapping[str, Any] | None) -> Usage:
    """What calls used; a price that the record does not name is unknown."""
    if not said:
        return Usage()
    return Usage(
        said.get("calls") or 0,
        said.get("input_tokens") or 0,
        said.get("output_tokens") or 0,
        said.get("cache_read_tokens") or 0,
        said.get("usd"),
        said.get("seconds") or 0.0,
    )


def _stop(said: Mapping[str, Any] | str | None) -> Stop | None:
    if isinstance(said, str):  # as journals of 0.1 have it
        return Stop("custom", said) if said else None
    return Stop(said["kind"], said["detail"]) if said else None


def _failure(said: Mapping[str, Any] | None) -> Failure | None:
    return Failure(said["kind"], said.get("message", ""), bool(said.get("scored_zero"))) if said else None


def _dropped(said: Iterable[Mapping[str, Any]]) -> tuple[Dropped, ...]:
    return tuple(Dropped(one["candidate_id"], one.get("why", "")) for one in said)


def _recalled(said: Iterable[Mapping[str, Any]]) -> tuple[Recalled, ...]:
    return tuple(Recalled(one["candidate_id"], one.get("score"), one.get("similarity")) for one in said)


_Reader: TypeAlias = Callable[[Any], Any]
_BY_TYPE: Mapping[str, tuple[_Reader | None, Any]] = {
    "str": (None, ""),
    "int": (None, 0),
    "float": (None, 0.0),
    "bool": (bool, False),
    "Any": (None, None),
    "str | None": (None, None),
    "float | None": (None, None),
    "Mapping[str, Any]": (None, {}),
    "Mapping[str, float]": (None, {}),
    "Mapping[str, str]": (None, {}),
    "Mapping[str, Any] | None": (None, None),
    "Sequence[Mapping[str, Any]]": (None, ()),
    "Sequence[str] | None": (None, None),
    "Sequence[Mapping[str, Any]] | None": (None, None),
    "tuple[str, ...]": (tuple, ()),
    "tuple[Edit, ...]": (lambda said: tuple(map(Edit.from_json, said)), ()),
    "tuple[Dropped, ...]": (_dropped, ()),
    "tuple[Recalled, ...]": (_recalled, ()),
    "PromptSet": (PromptSet.from_json, PromptSet(())),
    "Failure | None": (_failure, None),
    "Usage": (_usage, Usage()),
    "Usage | None": (_usage, None),
    "Stop | None": (_stop, None),
}
"""By the declared type of a field: how its JSON becomes a value, and what stands for one that is not there."""


@cache
def _readers(kind: Any) -> tuple[tuple[str, _Reader | None, Any], ...]:
    """Name, reader and stand-in of each field of an event class."""
    found = []
    for f in fields(kind):
        read, nothing = _BY_TYPE[str(f.type)]
        found.append((f.name, read, nothing))
    return tuple(found)


EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    Called,
    ScoredRow,
    Evaluated,
    FeedbackGiven,
    Retrieved,
    Identified,
    Proposed,
    Rejected,
    Selected,
    Incident,
    Opened,
    Tested,
    Applied,
    Pushed,
    Tagged,
    RolledBack,
    RunFinished,
)
_KINDS: Mapping[str, type[Event]] = {kind.type: kind for kind in EVENTS}


def event_of(line: Mapping[str, Any]) -> Event | None:
    """The event of a journal's line: the inverse of `Event.as_json`. None for a type that is not known here.

    >>> event_of({"type": "opened", "data": {"candidate_id": "a1b2", "rows": 40, "new": "ignored"}})
    Opened(candidate_id='a1b2', rows=40, attempt=0)
    >>> event_of({"type": "from.the.future", "data": {}})
    """
    kind: Any = _KINDS.get(line["type"])
    if kind is None:
        return None
    data: Mapping[str, Any] = line["data"]
    values = {}
    for name, read, nothing in _readers(kind):
        value = data.get(name)
        if value is None:
            values[name] = nothing
        else:
            values[name] = value if read is None else read(value)
    event: Event = kind(**values)
    return event


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Dated(Generic[E]):
    """An event with the time of its line."""

    time: str
    event: E


def dated(lines: Iterable[Mapping[str, Any]], kind: type[E]) -> list[Dated[E]]:
    """The events of a class, those of its subclasses included, in the order of the journal.

    Args:
        lines: Lines as {"time", "type", "data"}.
        kind: The class.
    """
    wanted = {name for name, known in _KINDS.items() if issubclass(known, kind)}
    found: list[Dated[E]] = []
    for line in lines:
        if line["type"] in wanted:
            found.append(Dated(line.get("time", ""), cast("E", event_of(line))))
    return found


class EventTable:
    """The events of a journal by class, each kind in the order of the journal.

    Args:
        lines: Lines as {"type", "data"}; unknown types are left out.
    """

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self._by_kind: dict[type[Event], list[Event]] = defaultdict(list)
        for line in lines:
            event = event_of(line)
            if event is not None:
                self._by_kind[type(event)].append(event)

    def all(self, kind: type[E]) -> Sequence[E]:
        """The events of one class; a subclass is a kind of its own."""
        return cast("list[E]", self._by_kind.get(kind, []))

    def first(self, kind: type[E]) -> E | None:
        """The first event of a class; None where there is none."""
        return next(iter(self.all(kind)), None)

    def last(self, kind: type[E]) -> E | None:
        """The last event of a class; None where there is none."""
        return next(reversed(self.all(kind)), None)


# ---------------------------------------------------------------- candidates of a journal


def rebuild(events: EventTable) -> dict[str, PromptSet]:
    """Candidate id -> prompts, each made by splicing the recorded edits into its parent's text.

    The `prompts` of `proposed` are not read, except for candidates without a known parent (written from
    nothing by a seeding method). Raises DataError where an edit does not fit.
    """
    made: dict[str, PromptSet] = {}
    for started in events.all(RunStarted):
        made[started.seed_candidate_id] = started.prompts
    for child in events.all(Proposed):
        if child.candidate_id not in made:
            parent = made.get(child.parent_id)
            made[child.candidate_id] = child.prompts if parent is None else with_edits(parent, child.edits)
    return made


def journal_edits(events: EventTable, candidate_id: str) -> tuple[FinalEdit, ...]:
    """The edits between the baseline and a candidate, with the ids of the candidates each edit came through.

    Args:
        events: The events of the run.
        candidate_id: The candidate whose edits are wanted.
    """
    texts = rebuild(events)
    started = events.last(RunStarted)
    seed = "" if started is None else started.seed_candidate_id
    children: dict[str, Proposed] = {}
    for child in events.all(Proposed):
        children.setdefault(child.candidate_id, child)
    path: list[str] = []
    at = candidate_id
    while at != seed:
        if at not in children or at in path:  # the line breaks off
            return differences(texts[seed], texts[candidate_id], candidate_id)
        path.append(at)
        at = children[at].parent_id
    return compose(texts[seed], [(name, children[name].edits) for name in reversed(path)])


# ---------------------------------------------------------------- what may be shown


@dataclass(frozen=True, slots=True)
class TestRows:
    """Which lines about rows of split `test` may be shown: those of the test that came to a verdict.

    Rows of a void test, of one under way and of one that never ended are shown nowhere.
    """

    __test__ = False

    after: int = 0
    before: int = 0

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> TestRows:
        """Read the marks from a journal's lines, counted from 1."""
        after = before = 0
        for number, event in enumerate(events, start=1):
            tested = event_of(event) if event["type"] == Tested.type else None
            if not isinstance(tested, Tested):
                continue
            if tested.lost:
                after, before = number, 0
            elif not tested.void:
                before = number
        return cls(after, before)

    def shown(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same lines without what is to stay unseen."""
        for number, event in enumerate(events, start=1):
            sealed = event["type"] in _SEALED and event["data"].get("split") == "test"
            if not sealed or self.after < number < self.before:
                yield event


def shown_events(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A journal's lines without those about test rows that may not be shown."""
    known = list(events)
    return list(TestRows.of(known).shown(known))


_SEALED = frozenset({ScoredRow.type, Evaluated.type})
