"""How prompts, rows and past attempts are shown to the optimizer model: pure rendering.

Rows are one JSON object a line, so that nothing in a row can look like an instruction's markup.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.spans import unframed
from langchain_promptopt._text.tags import insert_tags, pick_tag
from langchain_promptopt._text.words import shorten
from langchain_promptopt.steps.metaprompts import fill, section
from langchain_promptopt.types import PromptSet, Remembered, Shown, Span, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_VALUE = 2_000
"""Code points of one value of a row that are shown; the middle of a longer one is cut out."""


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        half = _LONGEST_VALUE // 2
        return f"{shorten(value, half)} [... {len(value) - 2 * half} characters left out ...] {value[-half:]}"
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_short(v) for v in value]
    return value


def _row(shown: Shown, *, answered: bool) -> str:
    row: dict[str, Any] = {"id": shown.example_id, "inputs": dict(shown.inputs), "expected": dict(shown.expected)}
    if answered:
        row |= {"answer": shown.output, "score": round(shown.score, 3)}
        if shown.comment:
            row["comment"] = shown.comment
    return json.dumps({k: _short(v) for k, v in row.items()}, ensure_ascii=False, default=str)


def rows(shown: Sequence[Shown], *, answered: bool = True) -> str:
    """One JSON object a line; without `answered` only inputs and expected."""
    return "\n".join(_row(s, answered=answered) for s in shown)


def evidence(piece: Workpiece) -> str:
    """The sections about rows that went wrong, right, or show the format."""
    parts = []
    if piece.batch.errors:
        parts.append("Rows the prompt got wrong:\n" + section("errors", rows(piece.batch.errors)))
    if piece.batch.correct:
        parts.append("Rows it got right, which must stay right:\n" + section("correct", rows(piece.batch.correct)))
    if piece.batch.formats:
        parts.append("Rows that show the task:\n" + section("examples", rows(piece.batch.formats, answered=False)))
    return "\n\n".join(parts)


def memory(items: Sequence[Remembered]) -> str:
    """Past attempts in the order given, with integer scores 0-100 (G6)."""
    shown = []
    for item in items:
        if item.summary:
            shown.append(item.summary)
            continue
        attempt = item.attempt
        body: dict[str, Any] = {"score": round(100 * attempt.score), "prompt": attempt.candidate.prompts.document.text}
        shown.append(json.dumps(body, ensure_ascii=False))
    return "\n".join(shown)


def edit_memory(items: Sequence[Remembered]) -> str:
    """Past edits with the change of score they brought, one JSON object a line."""
    return "\n".join(
        json.dumps(
            {
                "gain": round(100 * item.attempt.gain),
                "score": round(100 * item.attempt.score),
                "old": e.old,
                "new": e.new,
            },
            ensure_ascii=False,
        )
        for item in items
        for e in item.attempt.candidate.edits
    )


def past(piece: Workpiece) -> str:
    """The section about earlier attempts, edits where the attempts carry them."""
    if not piece.memory:
        return ""
    if any(m.attempt.candidate.edits for m in piece.memory) and piece.spans is not None:
        return "Earlier edits and what they did to the score (0-100):\n" + section("history", edit_memory(piece.memory))
    return "Earlier prompts and their scores (0-100):\n" + section("history", memory(piece.memory))


def opening(piece: Workpiece) -> str:
    """Prompt, evidence, feedback and history: what the first turn of a conversation carries."""
    parts = [fill("task"), "The current prompt:\n" + section("prompt", piece.prompts.document.text)]
    parts += [p for p in (evidence(piece), past(piece)) if p]
    if piece.feedback is not None and piece.feedback.text:
        parts.append("What was found out about the errors:\n" + section("feedback", piece.feedback.text))
    return "\n\n".join(parts)


def flat_range(prompts: PromptSet, span: Span) -> tuple[int, int]:
    """The place of a span in the flat document."""
    document = prompts.document
    for piece, start in zip(document.pieces, document.starts, strict=True):
        if (piece.prompt, piece.message) == (span.prompt, span.message):
            return start + span.start, start + span.end
    raise KeyError(span)


def spans_of(prompts: PromptSet, ranges: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """Flat ranges as spans."""
    document = prompts.document
    out = []
    for start, end in ranges:
        i, a, b = document.locate(start, end)
        out.append(Span(document.pieces[i].prompt, document.pieces[i].message, a, b))
    return tuple(out)


def core_range(prompts: PromptSet, span: Span) -> tuple[int, int]:
    """The place in the flat document of what is shown of a span: its text without list mark and line break."""
    start, end = flat_range(prompts, span)
    before, _, after = unframed(prompts.text_at(span))
    return start + len(before), end - len(after)


def tagged(prompts: PromptSet, spans: Sequence[Span]) -> tuple[str, str]:
    """The document with the spans tagged, and the tag's name (a nonce where the text holds the literal tag)."""
    text = prompts.document.text
    tag = pick_tag(text)
    return insert_tags(text, [core_range(prompts, s) for s in spans], tag), tag


def limits_line(piece: Workpiece) -> str:
    """The sentence that states the word allowance, or nothing."""
    allowance = piece.allowance
    if allowance.words is None or not allowance.stated:
        return ""
    return fill("allowance", words=allowance.words)
