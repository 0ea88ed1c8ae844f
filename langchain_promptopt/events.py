"""The journal's events: frozen, one class a type, `as_json` gives the `data` object.

Field names are the contract of product section 5; readers must ignore unknown types and fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_promptopt.types import Edit, Outcome, Span, Stop, Usage

if TYPE_CHECKING:
    from langchain_promptopt.types import Candidate, PromptSet, Rejection, Remembered, Workpiece

_SIMPLE = frozenset({str, int, float, bool, type(None)})


def _plain(value: Any) -> Any:
    if type(value) in _SIMPLE:  # most of a journal, and far quicker than asking for abstract classes
        return value
    if isinstance(value, Edit | Stop | Usage):
        return value.as_json()
    if isinstance(value, Span):
        return {"prompt": value.prompt, "message": value.message, "start": value.start, "end": value.end}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def spans_json(prompts: PromptSet, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Places with the text that stands there."""
    return [{**_plain(s), "text": prompts.text_at(s)} for s in spans]


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Field names of an event class."""
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
        return {name: _plain(getattr(self, name)) for name in _names(kind)}


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
    prompts: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    decides: Mapping[str, str] = field(default_factory=dict)
    """A hash of each thing that the run id is made of; none in records of version 0.1."""


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
    failure: Mapping[str, Any] | None
    cached: bool
    usage: Usage
    model_served: str | None
    output: Any = None
    judge: Usage | None = None
    """The part of `usage` that evaluators' model calls took; None where they made none."""
    tries: int = 1
    rendered: Sequence[str] | None = None
    """Names of the prompts that the evaluation rendered; None is all of them."""

    @classmethod
    def of(cls, outcome: Outcome) -> ScoredRow:
        """The event of an outcome."""
        f = outcome.failure
        return cls(
            candidate_id=outcome.cell.candidate_id,
            split=outcome.cell.split,
            example_id=outcome.cell.example_id,
            repeat=outcome.cell.repeat,
            scores=outcome.scores,
            comments=outcome.comments,
            failure=None if f is None else {"kind": f.kind, "message": f.message, "scored_zero": f.scored_zero},
            cached=outcome.cached,
            usage=outcome.usage,
            model_served=outcome.model_served,
            output=outcome.output,
            judge=outcome.judge if outcome.judge.calls else None,
            tries=outcome.tries,
            rendered=outcome.rendered,
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
    items: Sequence[Mapping[str, Any]]
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
            shown.append({"candidate_id": r.attempt.candidate.id, "score": r.attempt.score, "similarity": r.similarity})
        return cls(candidate_id=candidate_id, strategy=strategy, items=shown, step=step)


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
    prompts: Sequence[Mapping[str, Any]]
    parents: tuple[str, ...] = ()
    enforce: str = "strict"
    leak: float | None = None

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
            prompts=child.prompts.as_json(),
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
    dropped: Sequence[Mapping[str, str]]


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

    type: ClassVar[str] = "tested"
    metrics: Sequence[Mapping[str, Any]]
    verdict: str
    opening: int
    detail: Mapping[str, Any] = field(default_factory=dict)


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


def is_lost_look(tested: Mapping[str, Any]) -> bool:
    """Whether a `tested` event's test was void and cannot go on: every void one but that which a budget ended."""
    reason = tested.get("detail", {}).get("reason")
    return tested["verdict"] == "void" and not (isinstance(reason, Mapping) and reason.get("kind") == "budget")


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
            if event["type"] == "tested" and is_lost_look(event["data"]):
                after, before = number, 0
            elif event["type"] == "tested" and event["data"]["verdict"] != "void":
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


_SEALED = frozenset({"scored", "evaluated"})
