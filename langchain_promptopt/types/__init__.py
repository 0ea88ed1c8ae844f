"""The central values: prompt, span, edit, example, outcome, candidate, trajectory. All frozen.

Identity comes from content: two candidates with the same text are one candidate, so
caching, deduplication and resuming need no bookkeeping.
"""

from langchain_promptopt._objects import canonical, content_hash
from langchain_promptopt._text import Range, Rejection
from langchain_promptopt.types.outcomes import (
    ABSENT,
    BREAKS,
    FULL,
    SPLITS,
    Attempt,
    Cell,
    Example,
    Failure,
    MetricEntry,
    MustPass,
    Note,
    NoteKind,
    Outcome,
    Outcomes,
    Reading,
    RowUse,
    Split,
    Stop,
    StopKind,
    Trajectory,
    Usage,
    broken,
    value_at,
)
from langchain_promptopt.types.plain_value import answer_of
from langchain_promptopt.types.prompts import Candidate, Edit, Message, Prompt, PromptSet, ScopeName, Span
from langchain_promptopt.types.proposal import Allowance, Batch, Draft, Feedback, Remembered, Shown, Workpiece

__all__ = [
    "ABSENT",
    "BREAKS",
    "FULL",
    "SPLITS",
    "Allowance",
    "Attempt",
    "Batch",
    "Candidate",
    "Cell",
    "Draft",
    "Edit",
    "Example",
    "Failure",
    "Feedback",
    "Message",
    "MetricEntry",
    "MustPass",
    "Note",
    "NoteKind",
    "Outcome",
    "Outcomes",
    "Prompt",
    "PromptSet",
    "Range",
    "Reading",
    "Rejection",
    "Remembered",
    "RowUse",
    "ScopeName",
    "Shown",
    "Span",
    "Split",
    "Stop",
    "StopKind",
    "Trajectory",
    "Usage",
    "Workpiece",
    "answer_of",
    "broken",
    "canonical",
    "content_hash",
    "value_at",
]
