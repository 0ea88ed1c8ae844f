"""The central values: prompt, span, edit, example, outcome, candidate, trajectory. All frozen.

Identity comes from content: two candidates with the same text are one candidate, so
caching, deduplication and resuming need no bookkeeping.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._text.document import Document, Piece
from langchain_promptopt._text.rejection import Range as Range  # noqa: TC001 - re-exported for everybody above
from langchain_promptopt._text.rejection import Rejection as Rejection  # noqa: TC001
from langchain_promptopt._text.templates import Template, TemplateFormat, parse_template
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Split: TypeAlias = Literal["train", "dev", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "val", "test")
ScopeName: TypeAlias = Literal["global", "section", "message", "spans", "random_spans", "fixed_spans"]
Outcomes: TypeAlias = Literal["improved", "inconclusive", "no_gain", "budget", "interrupted"]


def content_hash(value: object, length: int = 16) -> str:
    """Hex digest of the canonical JSON of `value`.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one message template, in code points, end exclusive. Empty is an insertion point."""

    prompt: str
    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement of `old` at `span` by `new`; `reason` and `example_ids` say why."""

    span: Span
    old: str
    new: str
    reason: str = ""
    example_ids: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The edit as journal, report and machine output show it."""
        return {
            "prompt": self.span.prompt,
            "message": self.span.message,
            "start": self.span.start,
            "end": self.span.end,
            "old": self.old,
            "new": self.new,
            "reason": self.reason,
            "example_ids": list(self.example_ids),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Edit:
        """The inverse of `as_json`."""
        span = Span(data["prompt"], data["message"], data["start"], data["end"])
        return cls(span, data["old"], data["new"], data.get("reason", ""), tuple(data.get("example_ids", ())))


@dataclass(frozen=True)
class Message:
    """One message of a prompt: its role and template source.

    `template_format` "literal" marks a message object that is no template: all text, no
    variables. `frozen` ranges are the user's; atoms (variables, blocks, brace escapes) are
    frozen always. `editable=False` freezes all of it (placeholders, tool and few-shot blocks).
    """

    role: str
    template: str
    template_format: TemplateFormat = "f-string"
    frozen: tuple[Range, ...] = ()
    editable: bool = True

    @cached_property
    def parsed(self) -> Template:
        """Text and atoms of the template. Raises PromptError where it does not parse."""
        return parse_template(self.template, self.template_format)

    def spliced(self, edits: Iterable[tuple[int, int, str]]) -> Message:
        """This message with the ranges replaced; frozen ranges move along."""
        ordered = sorted(edits)
        text, at, out = self.template, 0, []
        for start, end, new in ordered:
            if start < at:
                msg = f"edits overlap at character {start}"
                raise PromptError(msg)
            out += [text[at:start], new]
            at = end
        out.append(text[at:])
        moved = tuple((_moved(a, ordered), _moved(b, ordered, closing=True)) for a, b in self.frozen)
        return replace(self, template="".join(out), frozen=moved)


def _moved(offset: int, edits: list[tuple[int, int, str]], *, closing: bool = False) -> int:
    """Where `offset` of the old text stands after `edits`, none of which cover it."""
    shift = 0
    for start, end, new in edits:
        if end < offset or (end == offset and not (closing and start == end)):
            shift += len(new) - (end - start)
    return offset + shift


@dataclass(frozen=True)
class Prompt:
    """A chat or string prompt: named, with ordered messages. `partials` are already-bound variables."""

    name: str
    messages: tuple[Message, ...]
    source: str = ""
    partials: tuple[str, ...] = ()
    kind: Literal["chat", "string"] = "chat"

    @property
    def template_format(self) -> TemplateFormat:
        """The format of the first message that is a template."""
        formats = [m.template_format for m in self.messages if m.template_format != "literal"]
        return formats[0] if formats else "literal"

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Sorted names a caller must supply, partials left out."""
        names = {name for m in self.messages for name in m.parsed.variables}
        return tuple(sorted(names - set(self.partials)))

    @cached_property
    def signature(self) -> tuple[tuple[str, ...], ...]:
        """Per message the raw atoms in order: what VARS keeps."""
        return tuple(m.parsed.signature for m in self.messages)

    def as_json(self) -> dict[str, Any]:
        """The prompt as `run.started` and `proposed` carry it."""
        return {
            "name": self.name,
            "source": self.source,
            "template_format": self.template_format,
            "messages": [
                {"role": m.role, "template": m.template}
                | ({} if m.template_format == self.template_format else {"template_format": m.template_format})
                for m in self.messages
            ],
            "variables": list(self.variables),
        }


@dataclass(frozen=True)
class PromptSet:
    """All prompts of a candidate, by name, in a fixed order."""

    prompts: tuple[Prompt, ...]

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, name: str) -> Prompt:
        for prompt in self.prompts:
            if prompt.name == name:
                return prompt
        raise KeyError(name)

    @cached_property
    def id(self) -> str:
        """Hash of names, formats, roles, templates and partial names (product contract 10.5)."""
        return content_hash(
            [
                [p.name, [[m.role, m.template_format, m.template] for m in p.messages], sorted(p.partials)]
                for p in self.prompts
            ]
        )

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Sorted names over all prompts."""
        return tuple(sorted({v for p in self.prompts for v in p.variables}))

    @cached_property
    def document(self) -> Document:
        """All messages laid end to end for marking and alignment; offsets map back to spans."""
        pieces = [
            Piece(
                prompt=p.name,
                message=i,
                role=m.role,
                text=m.template,
                frozen=((0, len(m.template)),) if not m.editable else (*m.frozen, *m.parsed.atom_ranges),
                template_format=m.template_format,
            )
            for p in self.prompts
            for i, m in enumerate(p.messages)
        ]
        return Document(tuple(pieces))

    def text_at(self, span: Span) -> str:
        """The template text under `span`."""
        return self[span.prompt].messages[span.message].template[span.start : span.end]

    def apply(self, edits: Iterable[Edit]) -> PromptSet:
        """The child these edits make. The only place where a child's text is built.

        Raises PromptError when an edit's `old` is not what stands there.
        """
        by_message: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        for edit in edits:
            if self.text_at(edit.span) != edit.old:
                msg = f"the text at {edit.span.start}-{edit.span.end} is not {edit.old!r}"
                raise PromptError(msg, where=f"prompt {edit.span.prompt!r}, message {edit.span.message}")
            key = (edit.span.prompt, edit.span.message)
            by_message.setdefault(key, []).append((edit.span.start, edit.span.end, edit.new))
        return PromptSet(
            tuple(
                replace(
                    p,
                    messages=tuple(
                        m.spliced(by_message[p.name, i]) if (p.name, i) in by_message else m
                        for i, m in enumerate(p.messages)
                    ),
                )
                for p in self.prompts
            )
        )

    def as_json(self) -> list[dict[str, Any]]:
        """All prompts as events carry them."""
        return [p.as_json() for p in self.prompts]


@dataclass(frozen=True)
class Candidate:
    """A full set of prompts and where it came from. Equal prompts are one candidate."""

    prompts: PromptSet
    step: int = 0
    origin: str = "seed"
    scope: ScopeName | None = None
    parents: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    salt: str = ""
    """What else tells two candidates apart: the model, when two models are compared on one prompt."""

    @property
    def id(self) -> str:
        """Content hash of the prompts."""
        return content_hash([self.prompts.id, self.salt]) if self.salt else self.prompts.id


@dataclass(frozen=True)
class Example:
    """One row. `outputs` are the reference outputs; `group` keeps related rows in one split and cluster."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    note: str | None = None

    @property
    def cluster(self) -> str:
        """What the gate treats as one independent unit."""
        return self.group if self.group is not None else self.id


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
        """The inverse of `as_json`; None is no usage."""
        return cls(**data) if data else cls()


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One evaluation: which candidate on which example of which split, for the how many-th time."""

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

    @property
    def dropped(self) -> bool:
        """True when infrastructure failed: no score, never a zero."""
        return self.failure is not None and not self.failure.scored_zero


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


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the optimizer model (or a human) said about a candidate's errors."""

    text: str
    example_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """One scored row as the optimizer sees it: what went in, what was wanted, what came out."""

    example_id: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    output: Any
    score: float
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Evidence for one proposal: rows that went wrong, rows that went right."""

    errors: tuple[Shown, ...] = ()
    correct: tuple[Shown, ...] = ()
    formats: tuple[Shown, ...] = ()

    @property
    def example_ids(self) -> tuple[str, ...]:
        """Ids of all rows shown."""
        return tuple(s.example_id for s in (*self.errors, *self.correct, *self.formats))


@dataclass(frozen=True, slots=True)
class Remembered:
    """A past attempt chosen for the proposer; `similarity` to the current one where it was the reason."""

    attempt: Attempt
    similarity: float | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many words (or spans) a proposal may change, and whether that is told, checked, or both. None is no limit."""

    words: int | None = None
    stated: bool = False
    enforced: bool = False
    temperature: float | None = None
    spans: int | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """One child before the guards. `leak` is the share of fixed text the reply did not keep."""

    prompts: PromptSet
    edits: tuple[Edit, ...]
    leak: float | None = None
    raw: str = ""


@dataclass(frozen=True)
class Workpiece:
    """A proposal in the making. Each step Runnable takes one and returns it with something added.

    `turns` is the conversation with the optimizer model so far, as (role, text) pairs; `spans`
    None means the whole editable text. `stalled` counts the steps since the best score last rose.
    `astray` says that marks so far have helped no more than chance would; `remarks` are failure
    signatures that refuse nothing (spec 1.6): rule and detail.
    """

    prompts: PromptSet
    batch: Batch = Batch()
    feedback: Feedback | None = None
    memory: tuple[Remembered, ...] = ()
    allowance: Allowance = Allowance()
    turns: tuple[tuple[str, str], ...] = ()
    spans: tuple[Span, ...] | None = None
    span_reasons: tuple[str, ...] = ()
    tagged: str = ""
    children: int = 1
    stalled: int = 0
    astray: bool = False
    drafts: tuple[Draft, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    remarks: tuple[Rejection, ...] = ()
