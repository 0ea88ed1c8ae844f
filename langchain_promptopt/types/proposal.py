"""A proposal in the making: evidence, memory, allowance, drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt._text import Rejection
    from langchain_promptopt.types.outcomes import Attempt, StepAnswer
    from langchain_promptopt.types.prompts import Edit, PromptSet, Span


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
    steps: tuple[StepAnswer, ...] = ()
    """What each step said, for apps with several prompts or with tools."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Evidence for one proposal: rows that went wrong, rows that went right."""

    errors: tuple[Shown, ...] = ()
    correct: tuple[Shown, ...] = ()
    formats: tuple[Shown, ...] = ()

    @property
    def example_ids(self) -> tuple[str, ...]:
        """Ids of all rows shown."""
        return _ids((*self.errors, *self.correct, *self.formats))

    @property
    def error_ids(self) -> tuple[str, ...]:
        """Ids of the rows that went wrong."""
        return _ids(self.errors)

    @property
    def correct_ids(self) -> tuple[str, ...]:
        """Ids of the rows that went right."""
        return _ids(self.correct)


def _ids(rows: Sequence[Shown]) -> tuple[str, ...]:
    return tuple(s.example_id for s in rows)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A past attempt chosen for the proposer; `similarity` to the current one where it was the reason."""

    attempt: Attempt
    similarity: float | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many words (or spans) a proposal may change; whether this is stated, checked, or both. None: no limit."""

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

    `turns` is the conversation with the optimizer model so far, as (role, text) pairs; `spans` None means the
    whole editable text; `span_texts` are new texts that came with the marks, or nothing. `remarks` are failure
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
    span_texts: tuple[str | None, ...] = ()
    tagged: str = ""
    children: int = 1
    drafts: tuple[Draft, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    remarks: tuple[Rejection, ...] = ()
