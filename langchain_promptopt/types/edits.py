"""Edits as values: applying them, and joining those of several steps into one.

A run's final edits lead from the baseline to the winner; each names the candidates (`lineage`) it came through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

from langchain_promptopt._text.align import diff_edits
from langchain_promptopt.errors import DataError, PromptError
from langchain_promptopt.types.prompts import Candidate, Edit, PromptSet, Span


def with_edits(prompts: PromptSet, edits: Sequence[Edit]) -> PromptSet:
    """The prompts with a journal's edits made; offsets count code points of the text before any of them.

    Raises DataError where an edit does not fit: the journal was changed after it was written.

    >>> from langchain_promptopt.types import Message, Prompt
    >>> prompts = PromptSet((Prompt("p", (Message("human", "Be brief. {q}"),)),))
    >>> edit = Edit(Span("p", 0, 3, 8), "brief", "exact")
    >>> with_edits(prompts, [edit])["p"].messages[0].template
    'Be exact. {q}'
    """
    mend = "The journal was changed after it was written."
    for edit in edits:
        span = edit.span
        if not prompts.has(span.prompt, span.message):
            msg = f"an edit names message {span.message} of prompt {span.prompt!r}, which the parent does not have"
            raise DataError(msg, where="journal")
        if prompts.text_at(span) != edit.old:
            msg = f"an edit does not fit the parent's text at {span.start}-{span.end}: {edit.old!r}"
            raise DataError(msg, where="journal", mend=mend)
    try:
        return prompts.apply(edits)
    except PromptError as error:
        raise DataError(error.what, where="journal", mend=mend) from None


def in_order(edits: Iterable[Edit]) -> list[Edit]:
    """Edits of one message as they follow each other in the text."""
    return sorted(edits, key=lambda e: (e.span.start, e.span.end, e.new))


@dataclass(frozen=True)
class FinalEdit:
    """One difference between baseline and final prompt, in the baseline's offsets.

    `lineage` holds the ids of the candidates that wrote it, oldest first; `reasons` what each said.
    """

    prompt: str
    message: int
    start: int
    end: int
    old: str
    new: str
    reasons: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All reasons as one text."""
        return " Then: ".join(self.reasons)

    @property
    def core(self) -> tuple[str, str, str, str]:
        """Kept head, removed, added, kept tail: the edit for the eye, whole words only."""
        head = _shared(self.old, self.new)
        tail = _shared(self.old[head:][::-1], self.new[head:][::-1])
        end_old, end_new = len(self.old) - tail, len(self.new) - tail
        return self.old[:head], self.old[head:end_old], self.new[head:end_new], self.old[end_old:]

    @property
    def span(self) -> Span:
        """Its place in the baseline."""
        return Span(self.prompt, self.message, self.start, self.end)

    def as_edit(self) -> Edit:
        """The edit without its history."""
        return Edit(self.span, self.old, self.new, self.reason, self.example_ids)

    def as_json(self) -> dict[str, Any]:
        """The edit as machine output shows it, `lineage` included."""
        return {**self.as_edit().as_json(), "lineage": list(self.lineage)}


def _shared(one: str, two: str) -> int:
    """Length of the common beginning, no word cut."""
    limit = min(len(one), len(two))
    n = next((i for i in range(limit) if one[i] != two[i]), limit)
    while n and one[n - 1].isalnum() and any(text[n : n + 1].isalnum() for text in (one, two)):
        n -= 1
    return n


@dataclass(frozen=True)
class _Piece:
    """A stretch of the current text and the range of baseline text it stands for."""

    text: str
    start: int
    end: int
    changed: bool = False
    reasons: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()


EditStep: TypeAlias = tuple[str, Sequence[Edit]]
"""A candidate id and the edits that made it from its parent."""


def overlap(one: Span, two: Span) -> bool:
    """Whether two spans share text, or insert at the same place."""
    if (one.prompt, one.message) != (two.prompt, two.message):
        return False
    return one.start == two.start or (one.start < two.end and two.start < one.end)


def touch(one: Span, two: Span) -> bool:
    """Whether nothing stands between two spans: they overlap or meet."""
    if (one.prompt, one.message) != (two.prompt, two.message):
        return False
    return one.start <= two.end and two.start <= one.end


def kept_apart(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Edits of one parent, those left out that overlap or touch an earlier one."""
    kept: list[Edit] = []
    for edit in edits:
        if not any(touch(edit.span, other.span) for other in kept):
            kept.append(edit)
    return tuple(kept)


def final_edits(baseline: Candidate, best: Candidate, known: Mapping[str, Candidate]) -> tuple[FinalEdit, ...]:
    """The edits between `baseline` and `best`, composed over all steps between them (product 10.13).

    Where `known` does not lead from one to the other (a candidate written from nothing), the edits are
    the difference of the two texts.

    Args:
        baseline: The prompts that the run started from.
        best: The candidate whose edits are wanted.
        known: Candidates of the run by id.

    Returns:
        The edits in offsets of the baseline, sorted by place.
    """
    chain: list[EditStep] = []
    at = best
    while at.id != baseline.id:
        if not at.parents or at.parents[0] not in {*known, baseline.id} or len(chain) > len(known):
            return differences(baseline.prompts, best.prompts, best.id)
        chain.append((at.id, at.edits))
        at = baseline if at.parents[0] == baseline.id else known[at.parents[0]]
    return compose(baseline.prompts, chain[::-1])


def compose(base: PromptSet, steps: Sequence[EditStep]) -> tuple[FinalEdit, ...]:
    """Edits of consecutive steps as edits of `base`. Edits that touch become one; what was taken back is gone.

    >>> from langchain_promptopt.types import Message, Prompt
    >>> base = PromptSet((Prompt("p", (Message("human", "a b c"),)),))
    >>> first, second = Edit(Span("p", 0, 0, 1), "a", "xx"), Edit(Span("p", 0, 5, 6), "c", "z")
    >>> [(e.start, e.old, e.new) for e in compose(base, [("1", [first]), ("2", [second])])]
    [(0, 'a', 'xx'), (4, 'c', 'z')]
    """
    found: list[FinalEdit] = []
    for prompt in base:
        name = prompt.name
        for i, message in enumerate(prompt.messages):
            for p in _pieces(message.template, name, i, steps):
                old = message.template[p.start : p.end]
                if p.changed and old != p.text:
                    found.append(FinalEdit(name, i, p.start, p.end, old, p.text, p.reasons, p.example_ids, p.lineage))
    return tuple(found)


def _pieces(template: str, name: str, message: int, steps: Sequence[EditStep]) -> list[_Piece]:
    pieces = [_Piece(template, 0, len(template))]
    for candidate_id, edits in steps:
        here = [e for e in edits if (e.span.prompt, e.span.message) == (name, message)]
        for edit in reversed(in_order(here)):
            pieces = _edited(pieces, edit, candidate_id)
    return pieces


def _edited(pieces: list[_Piece], edit: Edit, candidate_id: str) -> list[_Piece]:
    """The pieces after one edit of the current text. Later edits come first, so offsets still hold."""
    start, end = edit.span.start, edit.span.end
    before: list[_Piece] = []
    touched: list[_Piece] = []
    after: list[_Piece] = []
    at = 0
    for piece in pieces:
        stop = at + len(piece.text)
        if not _meets(piece, (at, stop), (start, end)):
            (before if stop <= start else after).append(piece)
        elif piece.changed:
            touched.append(piece)
        else:
            cut, stay = max(start, at) - at, min(end, stop) - at
            before += [_part(piece, 0, cut)] if cut else []
            touched.append(_part(piece, cut, stay))
            after += [_part(piece, stay, len(piece.text))] if stay < len(piece.text) else []
        at = stop
    return [*before, _merged(before, touched, edit, candidate_id), *after]


def _meets(piece: _Piece, place: tuple[int, int], edit: tuple[int, int]) -> bool:
    """Whether an edit reaches a piece. Changed pieces are swallowed at a touch: one place, one edit."""
    (at, stop), (start, end) = place, edit
    if piece.changed:
        return at <= end and start <= stop
    return at < end and start < stop  # an insertion inside kept text has at < start == end < stop


def _part(piece: _Piece, start: int, end: int) -> _Piece:
    return replace(piece, text=piece.text[start:end], start=piece.start + start, end=piece.start + end)


def _merged(before: list[_Piece], touched: list[_Piece], edit: Edit, candidate_id: str) -> _Piece:
    """One changed piece for everything the edit met."""
    text = "".join(p.text for p in touched)
    offset = edit.span.start - sum(len(p.text) for p in before)
    written = [p for p in touched if p.changed]
    here = before[-1].end if before else 0
    reasons = _union(*(p.reasons for p in written), (_sentences(edit.reason),))
    example_ids = _union(*(p.example_ids for p in written), edit.example_ids)
    lineage = _union(*(p.lineage for p in written), (candidate_id,))
    return _Piece(
        text=text[:offset] + edit.new + text[offset + edit.span.end - edit.span.start :],
        start=touched[0].start if touched else here,
        end=touched[-1].end if touched else here,
        changed=True,
        reasons=reasons,
        example_ids=example_ids,
        lineage=lineage,
    )


def _sentences(reason: str) -> str:
    """A reason without the sign of a list before it, its sentences one after the other.

    >>> _sentences("- too vague.; the rule is wrong.")
    'too vague. the rule is wrong.'
    """
    return reason.strip().removeprefix("- ").replace(".; ", ". ")


def _union(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """The items of all groups, each once, without empty ones."""
    return tuple(dict.fromkeys(filter(None, chain.from_iterable(groups))))


def differences(base: PromptSet, final: PromptSet, candidate_id: str) -> tuple[FinalEdit, ...]:
    """Word-level edits between two texts of the same prompts, without a history; () where messages do not pair up.

    Args:
        base: Prompts before.
        final: The same prompts after.
        candidate_id: Written into the `lineage` of each edit.
    """
    if _shape(base) != _shape(final):
        return ()
    found: list[FinalEdit] = []
    for old, new in zip(base, final, strict=True):
        for i, (before, after) in enumerate(zip(old.messages, new.messages, strict=True)):
            text = before.template
            for start, end, put in _changes(text, after.template):
                found.append(FinalEdit(old.name, i, start, end, text[start:end], put, lineage=(candidate_id,)))
    return tuple(found)


def _shape(prompts: PromptSet) -> list[tuple[str, int]]:
    return [(p.name, len(p.messages)) for p in prompts]


def _changes(old: str, new: str) -> list[tuple[int, int, str]]:
    """Word-level replacements; an empty text has no words to hold on to."""
    return diff_edits(old, new) if old else [(0, 0, new)] if new else []
