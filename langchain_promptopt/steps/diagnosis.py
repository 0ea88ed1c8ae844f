"""What is wrong with a prompt, in words and in places.

`TextualGradient` tells why rows went wrong (APO, PE2) and what earlier attempts have shown (GPO).
`IdentifyTokens` marks the words that the errors point to (LPO step 1, algorithms 1.3-1.4).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import starmap
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from langchain_promptopt._text.document import editable_words, normal_ranges
from langchain_promptopt._text.spans import SpanLimits, find_quote, framed, index_ranges, legalise, numbered, project
from langchain_promptopt._text.tags import parse_tags, pick_tag, strip_wrapping
from langchain_promptopt._text.words import count_words, is_unspaced, word_limit
from langchain_promptopt.events import spans_json
from langchain_promptopt.steps.base import (
    Step,
    core_range,
    find_json,
    limits_line,
    lined,
    opening,
    rejected,
    section,
    spans_of,
    tagged,
    takes_schema,
)
from langchain_promptopt.steps.line_protocol import SCHEMA, Mark, likely_section, parse_lines, texts_at
from langchain_promptopt.steps.metaprompts import names
from langchain_promptopt.types import Feedback, PromptSet, Rejection, Workpiece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig


_SENTENCE = 120
"""Tokens of one sentence, with room; small models say it again and again until a reply is cut."""


def reasons_of(reply: str) -> tuple[str, ...]:
    r"""One reason per list item; a reply without a list is one reason.

    >>> reasons_of("- too vague\n- wrong rule")
    ('too vague', 'wrong rule')
    """
    lines = list(map(str.strip, reply.split("\n")))
    items = []
    for line in lines:
        if line[:1] in {"-", "*", "•"}:
            items.append(line.lstrip("-*• ").strip())
    found = tuple(filter(None, items))
    return found or ((reply.strip(),) if reply.strip() else ())


class TextualGradient(Step):
    """Ask why the examples went wrong; adds `feedback`.

    Args:
        model: The optimizer model.
        variant: "apo" asks for `reasons` reasons (APO); "pe2" asks PE2's questions for each example first.
        reasons: How many reasons "apo" asks for.
        temperature: 0.0 as in PE2; sent only where the model takes it.
    """

    run_name: ClassVar[str] = "textual_gradient"
    variant: Literal["apo", "pe2"] = "apo"
    reasons: int = 1
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        request = self._request(piece)
        if self._is_one_sentence and piece.batch.errors and not piece.turns and takes_schema(self.model):
            # without an example, the small models behind such endpoints say of every line that it is wrong
            texts = self.metaprompts
            example = f"{texts.text('example')}\n\n{request}"
            request = "\n\n".join(filter(None, (opening(piece, texts), likely_section(piece, texts), request)))
            piece = self._after_example(piece, example, "gradient.example-reply")
        reply, out = await self._say(piece, request, config)
        return replace(out, feedback=Feedback(reply.strip(), piece.batch.error_ids))

    @property
    def _is_one_sentence(self) -> bool:
        return self.variant == "apo" and self.reasons == 1

    def _enough(self, piece: Workpiece) -> int:
        if self._is_one_sentence:
            return _SENTENCE
        asked = self.reasons if self.variant == "apo" else len(piece.batch.errors or piece.batch.formats)
        return 100 + 150 * asked

    def _request(self, piece: Workpiece) -> str:
        if self.variant == "apo":
            return self.metaprompts.fill(self._metaprompt_names()[0], n=self.reasons)
        rows = piece.batch.errors or piece.batch.formats
        asked = [self.metaprompts.fill("gradient.pe2-row", id=s.example_id) for s in rows]
        return self.metaprompts.fill("gradient.pe2", questions="\n".join(asked))

    def _metaprompt_names(self) -> tuple[str, ...]:
        if self.variant == "apo":
            # small models that are asked for a list go on with it until the reply is cut
            if self._is_one_sentence:
                return ("gradient.apo-one", "example", "gradient.example-reply", "identify.line-likely")
            return ("gradient.apo",)
        return ("gradient.pe2", "gradient.pe2-row")

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        feedback = out.feedback or Feedback("")
        return {"feedback": feedback.text, "example_ids": list(feedback.example_ids)}


class SummariseTrajectory(Step):
    """Adds the summary of `memory` as `feedback`."""

    run_name: ClassVar[str] = "summarise_trajectory"
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        reply, out = await self._say(piece, self.metaprompts.fill("summarise"), config)
        return replace(out, feedback=Feedback(reply.strip()))

    def _metaprompt_names(self) -> tuple[str, ...]:
        return ("summarise",)

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        return {"summary": out.feedback.text if out.feedback else ""}


# ---------------------------------------------------------------- which words the errors point to

Protocol: TypeAlias = Literal["line", "quote", "echo", "index"]

_INSERTIONS: Mapping[Protocol, str] = {
    "line": "identify.line-insertions",
    "quote": "identify.insertions",
    "echo": "identify.echo-insertions",
    "index": "identify.index-insertions",
}

_TELLING = 10
"""Words a prompt must have before a share of them means anything."""


def parse_quotes(reply: str, prompts: PromptSet) -> tuple[Mark, ...] | Rejection:
    """Marks of a quote-protocol reply; quotes that the prompt does not hold are left out."""
    items = find_json(reply, list)
    if items is None:
        return Rejection("no_json", "the reply holds no JSON list")
    marks = []
    for item in items:
        if isinstance(item, dict) and (m := _quote_mark(item, prompts)) is not None:
            marks.append(m)
    return tuple(marks) if marks or not items else Rejection("quote_not_found", "the prompt holds none of the quotes")


def _quote_mark(item: dict[str, Any], prompts: PromptSet) -> Mark | None:
    document = prompts.document
    quote, after, reason = (str(item.get(k) or "") for k in ("quote", "after", "reason"))
    wanted = quote or after
    if not wanted.strip():
        return None
    occurrence = item.get("occurrence")
    nth = occurrence if isinstance(occurrence, int) and occurrence > 0 else 1
    for low, high in _places(item, prompts):
        found = find_quote(document.text[low:high], wanted, nth, ())
        if found is not None:
            start, end = low + found[0], low + found[1]
            return Mark(start, end, reason) if quote else Mark(end, end, reason)
    return None


def _places(item: dict[str, Any], prompts: PromptSet) -> list[tuple[int, int]]:
    """Where to look: the named message first, then all of them (models miscount messages)."""
    document, named = prompts.document, item.get("message")
    bounds = []
    for p, at in zip(document.pieces, document.starts, strict=True):
        bounds.append((at, at + len(p.text)))
    first = [b for b, p in zip(bounds, document.pieces, strict=True) if p.message == named]
    return first + [b for b in bounds if b not in first]


def parse_echo(reply: str, prompts: PromptSet, tag: str) -> tuple[Mark, ...] | Rejection:
    """Marks of an echo-protocol reply, projected onto the original text.

    Args:
        reply: The prompt again, with tags.
        prompts: The prompts that were shown.
        tag: Name of the tag, without brackets.

    Returns:
        The marks, or a rejection where the reply cannot be matched with the text.
    """
    found = project(parse_tags(strip_wrapping(reply), tag), prompts.document.text)
    return found if isinstance(found, Rejection) else tuple(starmap(Mark, found))


def parse_index(reply: str, prompts: PromptSet) -> tuple[Mark, ...] | Rejection:
    """Marks of an index-protocol reply: numbered words, so the text cannot be corrupted."""
    items = find_json(reply, list)
    if items is None:
        return Rejection("no_json", "the reply holds no JSON list")
    document, marks = prompts.document, []
    for item in items:
        if isinstance(item, dict):
            for start, end in index_ranges(document.text, document.frozen, [item]):
                marks.append(Mark(start, end, str(item.get("reason") or "")))
    return tuple(marks) if marks or not items else Rejection("index_out_of_range", "no number names a word")


def lawful(marks: Sequence[Mark], prompts: PromptSet, limits: SpanLimits) -> tuple[tuple[Mark, ...], Rejection | None]:
    """Marks made legal (1.4 steps 3-6), with the reason of the mark each came from.

    Args:
        marks: Places that the model named.
        prompts: The prompts that were shown.
        limits: Bounds on number and size of spans.

    Returns:
        The marks, and why there are none where there were some.
    """
    document = prompts.document
    ranges = legalise([(m.start, m.end) for m in marks], document.text, document.frozen, limits)
    out = []
    for start, end in ranges:
        reasons = []
        for m in marks:
            if m.reason and m.start <= end and start <= m.end:
                reasons.append(m.reason)
        out.append(Mark(start, end, "; ".join(dict.fromkeys(reasons))))
    problem = None if out or not marks else Rejection("no_legal_span", "every mark was too long or on fixed text")
    return tuple(out), problem


def marked_share(marks: Sequence[Mark], prompts: PromptSet) -> float:
    """Share of the editable words that are under a mark; 0 for a prompt too short for a share to mean anything."""
    document = prompts.document
    words = editable_words(document.text, normal_ranges(document.frozen, len(document.text)))
    under = 0
    for start, end in words:
        if any(m.start <= start and end <= m.end for m in marks):
            under += 1
    return under / len(words) if len(words) > _TELLING else 0.0


class IdentifyTokens(Step):
    """Mark the words to blame; adds `spans` of the original text, their reasons and the tagged prompt.

    Args:
        model: The optimizer model.
        protocol: "line" (line number, old and new words: one reply marks and rewrites), "quote" (JSON quotes),
            "echo" (the paper: the prompt again, with tags), "index" (word numbers).
        limits: Bounds on size and number of spans.
        retries: Further tries with the fault named.
        temperature: 0.0; sent only where the model takes it.
        metaprompts: Texts of yours by the name of the meta-prompt that each replaces; see `get_prompts`.
    """

    run_name: ClassVar[str] = "identify_tokens"
    protocol: Protocol = "line"
    limits: SpanLimits = SpanLimits()
    retries: int = 1
    temperature: float | None = 0.0

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        tag = pick_tag(piece.prompts.document.text)
        reply, out = await self._first(piece, tag, config)
        for left in range(self.retries, -1, -1):
            marks = self._parse(reply, piece, tag)
            legal, problem = ((), marks) if isinstance(marks, Rejection) else lawful(marks, piece.prompts, self.limits)
            out = self._remarked(out, marks)
            if legal:
                return self._found(out, legal, () if isinstance(marks, Rejection) else marks)
            problem = problem or Rejection("no_marks", "nothing was marked")
            out = rejected(out, problem)
            if left:
                reply, out = await self._say_again(out, problem.detail, config)
        return replace(out, spans=(), span_reasons=(), tagged=piece.prompts.document.text)

    async def _first(self, piece: Workpiece, tag: str, config: RunnableConfig) -> tuple[str, Workpiece]:
        """The first turn. What is the same in every request stands in front, so that prefix caches hit."""
        request = self._request(piece, tag)
        if self.protocol != "line":
            return await self._say(piece, request, config)
        texts, shown = self.metaprompts, section("lines", lined(piece.prompts.document.text))
        if piece.turns:
            text = f"The current prompt with its lines numbered:\n{shown}"
        else:
            text = opening(piece, texts, numbered=True)
        example = f"{texts.text('identify.line')}\n\n{texts.text('identify.line-example')}\n\n{request}"
        parts = filter(None, (text, likely_section(piece, texts, numbered=True), request))
        begun = self._after_example(piece, example, "identify.line-reply")
        return await self._say(begun, "\n\n".join(parts), config, schema=SCHEMA)

    def _repeated(self, piece: Workpiece) -> int:
        return count_words(piece.prompts.document.text) if self.protocol == "echo" else 0

    def _remarked(self, piece: Workpiece, marks: tuple[Mark, ...] | Rejection) -> Workpiece:
        """Marks over most of the prompt are local in name only (spec 1.6); trimming them is worth a remark."""
        share = 0.0 if isinstance(marks, Rejection) else marked_share(marks, piece.prompts)
        if self.limits.w_max is None or share <= self.limits.f_max:
            return piece
        detail = f"{share:.0%} of the editable words were marked, {self.limits.f_max:.0%} are allowed; trimmed"
        return replace(piece, remarks=(*piece.remarks, Rejection("effectively_global", detail)))

    def _found(self, piece: Workpiece, legal: tuple[Mark, ...], marks: Sequence[Mark]) -> Workpiece:
        prompts = piece.prompts
        spans = spans_of(prompts, self._framed(prompts, [(m.start, m.end) for m in legal]))
        shown, _tag = tagged(prompts, spans)
        texts = texts_at(marks, prompts.document.text, [core_range(prompts, s) for s in spans])
        reasons = tuple(m.reason for m in legal)
        return replace(
            piece,
            spans=spans,
            span_reasons=reasons,
            span_texts=texts if any(t is not None for t in texts) else (),
            tagged=shown,
        )

    def _framed(self, prompts: PromptSet, ranges: list[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Whole lines with list mark and line break, so that a rule can go without leaving its mark behind."""
        document = prompts.document
        if not self.limits.allows_lines(document.text):
            return ranges
        bounds = []
        for p, at in zip(document.pieces, document.starts, strict=True):
            bounds.append((at, at + len(p.text)))
        return framed(ranges, document.text, bounds, document.frozen)

    def _parse(self, reply: str, piece: Workpiece, tag: str) -> tuple[Mark, ...] | Rejection:
        prompts = piece.prompts
        if self.protocol == "line":
            return parse_lines(reply, prompts, self.limits, piece.batch.errors)
        if self.protocol == "quote":
            return parse_quotes(reply, prompts)
        return parse_echo(reply, prompts, tag) if self.protocol == "echo" else parse_index(reply, prompts)

    def _request(self, piece: Workpiece, tag: str) -> str:
        text, limits = piece.prompts.document.text, self.limits
        unit = "characters" if is_unspaced(text) else "words"
        values: dict[str, Any] = {
            "k_max": limits.k_max,
            "w_max": "any number of words" if limits.w_max is None else f"{word_limit(text, limits.w_max)} {unit}",
            "whole_lines": self.metaprompts.text("identify.lines") + " " if limits.allows_lines(text) else "",
            "insertions": self._insertions(tag) if limits.insertions else "",
        }
        if self.protocol == "echo":
            values["tag"] = tag
        if self.protocol == "index":
            values["numbered"] = section("numbered", numbered(text, piece.prompts.document.frozen))
        if self.protocol == "line":
            asked = self.metaprompts.fill("identify.line-ask", **values).rstrip()
            return f"{asked} {limits_line(piece, self.metaprompts)}".rstrip()
        return self.metaprompts.fill(f"identify.{self.protocol}", **values).rstrip()

    def _insertions(self, tag: str) -> str:
        return self.metaprompts.fill(_INSERTIONS[self.protocol], tag=tag)

    def _metaprompt_names(self) -> tuple[str, ...]:
        own = [name for name in names() if name.startswith(f"identify.{self.protocol}")]
        return (*own, "identify.lines", _INSERTIONS[self.protocol])

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        spans = spans_json(out.prompts, out.spans or ())
        return {"tagged": out.tagged, "spans": spans, **super()._trace_outputs(out)}
