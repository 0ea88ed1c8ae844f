"""LPO step 2 and its global twin: new text for the marked places, or for the whole prompt.

Children are made only by splicing into the parent's own text (LOCAL and VARS hold by construction).
`enforce="audit"` takes the reply as it is, as the paper does, and records the leak. `InduceInstruction` is APE:
the instruction is inferred from inputs and expected answers (spec 3.1).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from langchain_promptopt._collections import all_as_json
from langchain_promptopt._text.lint import check_replacement
from langchain_promptopt._text.recover import Recovered, recover
from langchain_promptopt._text.spans import diff_edits, reframed, unframed
from langchain_promptopt._text.tags import parse_tags, pick_tag, strip_wrapping
from langchain_promptopt._text.templates import check_new_text
from langchain_promptopt._text.words import count_words, pad_insertion, slices
from langchain_promptopt.steps.base import (
    Step,
    between_markers,
    core_range,
    find_json,
    limits_line,
    opening,
    rejected,
    rows,
    second_try,
    section,
    slot_texts,
    spans_of,
    tagged,
    takes_schema,
)
from langchain_promptopt.steps.line_protocol import likely_section
from langchain_promptopt.steps.metaprompts import metaprompt, names
from langchain_promptopt.types import Draft, Edit, PromptSet, Rejection, Span, Workpiece

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._text.templates import TemplateFormat
    from langchain_promptopt.steps.metaprompts import MetaPrompts

Goal: TypeAlias = Literal["edit", "generate", "paraphrase", "shorten"]
Enforce: TypeAlias = Literal["strict", "audit", "off"]

_HOTTER = 0.3
_HOTTEST = 1.0
"""The highest temperature every provider takes."""


def edits_from_texts(
    prompts: PromptSet,
    spans: tuple[Span, ...],
    texts: dict[int, tuple[str, str]],
    example_ids: tuple[str, ...],
    *,
    bounded: bool,
) -> tuple[tuple[Edit, ...], tuple[Rejection, ...]]:
    """Edits of slot texts by span index; refused and unchanged slots keep their text and are counted.

    With `bounded` a replacement's length is limited by the span's (spec 1.4); global proposals are
    limited by their cap instead.

    Args:
        prompts: The parent's prompts.
        spans: The places that may change.
        texts: New text and reason by the index of its span, from 0.
        example_ids: Rows that the edits are made for.
        bounded: Whether a replacement's length is limited by its span's.

    Returns:
        The edits, and a rejection for each text that was refused.
    """
    edits, refused = [], []
    for i, (raw, reason) in sorted(texts.items()):
        span, old = spans[i], prompts.text_at(spans[i])
        new = _new_text(prompts, span, old, raw, bounded=bounded)
        if isinstance(new, Rejection):
            refused.append(new)
        elif new != old:
            edits.append(Edit(span, old, new, reason, example_ids))
    return tuple(edits), tuple(refused)


def _new_text(prompts: PromptSet, span: Span, old: str, raw: str, *, bounded: bool) -> str | Rejection:
    core = unframed(old)[1] if bounded else old
    if raw == core:
        return old
    template = prompts[span.prompt].messages[span.message].parsed
    refusal = check_replacement(core, raw, bounded=bounded)
    if refusal is not None:
        return refusal
    # an insertion brings its own separating blanks (spec 1.4)
    new = raw if span.start != span.end else pad_insertion(template.source, span.start, raw)
    source = check_new_text(new, template)
    return reframed(old, source) if bounded and not isinstance(source, Rejection) else source


class ProposalStep(Step):
    """Base of the two proposals: k children, each from a reply of its own."""

    goal: Goal = "edit"
    temperature: float | None = 0.7

    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        out = piece
        for _ in range(piece.children):
            child, after = await self._child_or_hotter(piece if out is piece else replace(piece, span_texts=()), config)
            out = replace(
                out,
                turns=after.turns,
                rejections=(*out.rejections, *after.rejections[len(piece.rejections) :]),
                remarks=(*out.remarks, *after.remarks[len(piece.remarks) :]),
            )
            if child is not None:
                out = replace(out, drafts=(*out.drafts, child))
        return out

    async def _child_or_hotter(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        """A child; a reply that changes nothing is asked for once more at a higher temperature (spec 1.6)."""
        child, after = await self._child(piece, config)
        no_op = child is None and after.rejections[-1:] and after.rejections[-1].rule == "no_op"
        if not no_op or self.temperature is None or self.temperature >= _HOTTEST or not self._sends_temperature():
            return child, after
        piece = replace(piece, span_texts=())
        hot = self.model_copy(
            update={"temperature": min(_HOTTEST, self.temperature + _HOTTER), "model": second_try(self.model)}
        )
        again, later = await hot._child(piece, config)
        refused = (*after.rejections, *later.rejections[len(piece.rejections) :])
        return again, replace(later, rejections=refused)

    @abstractmethod
    async def _child(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        """One child, or None with the refusals on the piece."""

    def _repeated(self, piece: Workpiece) -> int:
        return count_words(piece.prompts.document.text)

    def _draft(
        self, piece: Workpiece, edits: tuple[Edit, ...], refused: tuple[Rejection, ...], leak: float | None, raw: str
    ) -> tuple[Draft | None, Workpiece]:
        for refusal in refused:
            piece = rejected(piece, refusal)
        if not edits:
            return None, piece if refused else rejected(piece, Rejection("no_op", "the reply changes nothing"))
        return Draft(piece.prompts.apply(edits), edits, leak, raw), piece

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        drafts = []
        for d in out.drafts:
            drafts.append({"edits": all_as_json(d.edits), "leak": d.leak})
        return {"edits": drafts[0]["edits"] if len(drafts) == 1 else drafts, **super()._trace_outputs(out)}


class LocalProposal(ProposalStep):
    """Rewrite the marked places only; adds `drafts`.

    Args:
        model: The optimizer model.
        protocol: "slots" (JSON, invariant by construction) or "reply" (the paper: the whole prompt again).
        goal: "edit" answers the errors, "generate" aims past the history, "paraphrase" keeps the meaning,
            "shorten" says it in fewer words.
        enforce: "strict" splices into the original; "audit" and "off" take a reply as it is.
        leak_max: Above this share of lost fixed text a reply is asked for again as slots.
    """

    run_name: ClassVar[str] = "local_proposal"
    protocol: Literal["slots", "reply"] = "slots"
    enforce: Enforce = "strict"
    leak_max: float = 0.3

    async def _child(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        if not piece.spans:
            return None, rejected(piece, Rejection("no_spans", "nothing is marked; run IdentifyTokens first"))
        if self.protocol == "slots" and self.goal == "edit" and piece.span_texts:
            child, after = self._as_marked(piece)
            if child is not None:
                return child, after
            piece = replace(after, span_texts=())
        if self.protocol == "slots":
            return await self._by_slots(piece, config)
        request, tag = self._reply_request(piece)
        reply, out = await self._say(piece, request, config)
        if self.enforce != "strict":
            return self._as_it_is(out, reply, tag)
        found = _read(reply, piece, tag)
        if isinstance(found, Rejection):
            return await self._by_slots(rejected(out, found), config)
        if found.leak > self.leak_max:
            return await self._by_slots(
                rejected(out, Rejection("leak", f"{found.leak:.2f} of the fixed text is lost")), config
            )
        texts = {i: (new, "") for i, new in enumerate(found.replacements)}
        return self._finish(out, texts, found.leak, reply)

    def _as_marked(self, piece: Workpiece) -> tuple[Draft | None, Workpiece]:
        """The child of the texts that came with the marks: no further call."""
        texts = {i: (new, "") for i, new in enumerate(piece.span_texts) if new is not None}
        return self._finish(piece, texts, 0.0, piece.turns[-1][1] if piece.turns else "")

    async def _by_slots(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        spans = piece.spans or ()
        reply, out = await self._say(piece, self._slots_request(piece), config)
        texts = slot_texts(reply, len(spans))
        if isinstance(texts, Rejection):
            reply, out = await self._say_again(rejected(out, texts), texts.detail, config)
            texts = slot_texts(reply, len(spans))
            if isinstance(texts, Rejection):
                return None, rejected(out, texts)
        return self._finish(out, {n - 1: item for n, item in texts.items()}, 0.0, reply)

    def _finish(
        self, piece: Workpiece, texts: dict[int, tuple[str, str]], leak: float, raw: str
    ) -> tuple[Draft | None, Workpiece]:
        known = dict(enumerate(piece.span_reasons))
        texts, piece = _untagged(piece, texts)
        reasons = {}
        for i, (new, why) in texts.items():
            reasons[i] = (new, why or known.get(i, "") or (piece.feedback.text if piece.feedback else ""))
        ids = piece.batch.error_ids or piece.batch.example_ids
        edits, refused = edits_from_texts(piece.prompts, piece.spans or (), reasons, ids, bounded=True)
        return self._draft(piece, edits, refused, leak, raw)

    def _as_it_is(self, piece: Workpiece, reply: str, tag: str) -> tuple[Draft | None, Workpiece]:
        """The reply as the child, leak recorded; variables must still be the same."""
        text = parse_tags(strip_wrapping(reply), tag).text
        edits = whole_text_edits(piece, text)
        if isinstance(edits, Rejection):
            return None, rejected(piece, edits)
        found = _read(reply, piece, tag)
        leak = 1.0 if isinstance(found, Rejection) else found.leak
        return self._draft(piece, edits, (), leak, reply)

    def _metaprompt_names(self) -> tuple[str, ...]:
        return (f"propose.{self.protocol}", "propose.slots", f"propose.goal-{self.goal}")

    def _slots_request(self, piece: Workpiece) -> str:
        marked, _tag = tagged(piece.prompts, piece.spans or ())
        return self.metaprompts.fill(
            "propose.slots",
            marked=section("marked", marked),
            slots="\n".join(_slot_line(i, s, piece) for i, s in enumerate(piece.spans or (), 1)),
            goal=self.metaprompts.fill(f"propose.goal-{self.goal}"),
            allowance=limits_line(piece, self.metaprompts),
        )

    def _reply_request(self, piece: Workpiece) -> tuple[str, str]:
        marked, tag = tagged(piece.prompts, piece.spans or ())
        goal, allowance = self.metaprompts.fill(f"propose.goal-{self.goal}"), limits_line(piece, self.metaprompts)
        return self.metaprompts.fill(
            "propose.reply", tag=tag, marked=section("marked", marked), goal=goal, allowance=allowance
        ), tag


def format_of(prompts: PromptSet) -> TemplateFormat | None:
    """How variables are written in all of the prompts; None where formats are mixed."""
    formats = {m.template_format for m in prompts.messages} - {"literal"}
    return next(iter(formats)) if len(formats) == 1 else None if formats else "literal"


def _read(reply: str, piece: Workpiece, tag: str) -> Recovered | Rejection:
    """The new text of each span out of a reply that repeats the prompt."""
    document = piece.prompts.document
    ranges = [core_range(piece.prompts, s) for s in piece.spans or ()]
    return recover(reply, document.text, ranges, document.frozen, tag, format_of(piece.prompts))


def _untagged(piece: Workpiece, texts: dict[int, tuple[str, str]]) -> tuple[dict[int, tuple[str, str]], Workpiece]:
    """Slot texts without the marks that were shown; that they came back is remarked on (spec 1.6, tag leakage)."""
    tag = pick_tag(piece.prompts.document.text)
    bare = {}
    for i, (new, why) in texts.items():
        bare[i] = (parse_tags(new, tag).text, why)
    leaked = sum(bare[i][0] != texts[i][0] for i in texts)
    remark = Rejection("tag_leak", f"marks were taken out of {leaked} of {len(texts)} new texts")
    return bare, replace(piece, remarks=(*piece.remarks, remark)) if leaked else piece


def _slot_line(number: int, span: Span, piece: Workpiece) -> str:
    old = unframed(piece.prompts.text_at(span))[1]
    if old:
        return f"{number} (message {span.message}): {json.dumps(old, ensure_ascii=False)}"
    before = piece.prompts[span.prompt].messages[span.message].template[: span.start][-60:]
    return f"{number} (message {span.message}), empty place after {json.dumps(before, ensure_ascii=False)}"


def _keep(prompts: PromptSet, texts: MetaPrompts) -> str:
    """The sentence that names the user's frozen text, or nothing."""
    inside, whole = list[str](), list[str]()  # stretches of editable messages first, then whole messages
    for message in prompts.messages:
        if message.editable:
            inside += slices(message.template, message.frozen)
        elif message.role != "placeholder":
            whole.append(message.template)
    fixed = [section("frozen", t) for t in (*inside, *whole) if t.strip()]
    return texts.fill("global.keep", frozen="\n".join(fixed)) if fixed else ""


def whole_text_edits(piece: Workpiece, text: str) -> tuple[Edit, ...] | Rejection:
    """The edits that turn the parent into `text`: word-level differences outside frozen text."""
    prompts, document = piece.prompts, piece.prompts.document
    ranges = document.editable
    found = recover(text, document.text, ranges, document.frozen, "", format_of(prompts))
    if isinstance(found, Rejection):
        return found
    if found.kept:  # part of a rewrite is not the rewrite
        return Rejection("unreadable", f"{len(found.kept)} of {len(ranges)} stretches could not be read")
    small: list[tuple[int, int, str]] = []
    for (start, end), new in zip(ranges, found.replacements, strict=True):
        small += [(start + a, start + b, n) for a, b, n in diff_edits(document.text[start:end], new, ())]
    spans = spans_of(prompts, [(a, b) for a, b, _ in small])
    reason = piece.feedback.text if piece.feedback else ""
    texts = {i: (n, reason) for i, (_, _, n) in enumerate(small)}
    ids = piece.batch.error_ids or piece.batch.example_ids
    edits, refused = edits_from_texts(prompts, spans, texts, ids, bounded=False)
    return refused[0] if refused else edits


WHOLE_PROMPT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"why": {"type": "string"}, "prompt": {"type": "string"}},
    "required": ["why", "prompt"],
    "additionalProperties": False,
}
"""The JSON schema of a reply that holds the whole prompt."""


def whole_prompt(reply: str, prompts: PromptSet) -> str | Rejection:
    """The new prompt out of a reply: the field of a JSON object, or what stands between the markers.

    A prompt that comes back as it was shown, in its section and with the rows after it, is taken out of the section.

    Args:
        reply: The model's reply.
        prompts: The prompts that were shown.
    """
    value = find_json(reply, dict) if strip_wrapping(reply).lstrip().startswith("{") else None
    found = value.get("prompt") if value is not None else None
    text = found if isinstance(found, str) and found.strip() else between_markers(reply)
    if isinstance(text, Rejection) or "<prompt>" in prompts.document.text:
        return text
    inside = _IN_SECTION.match(text)
    return inside.group(1) if inside else text


_IN_SECTION = re.compile(r"\s*<prompt>\n?(.*?)\s*(?:</prompt>.*)?\Z", re.S)


def _copied(text: str, piece: Workpiece) -> Rejection | None:
    """Refuse a prompt that holds a sentence of the worked example, which is about another prompt."""
    example = json.loads(metaprompt("global.example-reply"))["prompt"]
    for sentence in re.split(r"(?<=\.)\s+", example):
        if sentence in text and sentence not in piece.prompts.document.text:
            return Rejection("copied", f"{sentence!r} is copied from the worked example, which is about another prompt")
    return None


class GlobalProposal(ProposalStep):
    """Rewrite the whole prompt; adds `drafts` whose edits are the word-level difference.

    Args:
        model: The optimizer model.
        goal: "edit", "generate", "paraphrase" or "shorten".
        cap: Most words the new prompt may have; stated to the model, checked by the guards.
    """

    run_name: ClassVar[str] = "global_proposal"
    cap: int | None = None

    async def _child(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        reply, out = await self._first(piece, config)
        text = whole_prompt(reply, piece.prompts)
        if isinstance(text, Rejection):  # one retry, then drop; never the whole reply instead (GPO's trap)
            reply, out = await self._say_again(rejected(out, text), text.detail, config, schema=self._schema())
            text = whole_prompt(reply, piece.prompts)
        copied = _copied(text, piece) if isinstance(text, str) and self._shows_example() else None
        edits = text if isinstance(text, Rejection) else copied or whole_text_edits(piece, text)
        if isinstance(edits, Rejection):
            return None, rejected(out, edits)
        return self._draft(out, edits, (), None, reply)

    async def _first(self, piece: Workpiece, config: RunnableConfig) -> tuple[str, Workpiece]:
        """The first turn. A model that takes a schema is shown a worked example and the lines most likely at fault."""
        request = self._request(piece)
        if not self._shows_example():
            return await self._say(piece, request, config, schema=self._schema())
        example = f"{self.metaprompts.text('example')}\n\n{self._asked(self._form())}"
        parts = filter(None, (self._shown(piece), likely_section(piece, self.metaprompts), request))
        begun = self._after_example(piece, example, "global.example-reply")
        return await self._say(begun, "\n\n".join(parts), config, schema=self._schema())

    def _shows_example(self) -> bool:
        return self.goal == "edit" and self._schema() is not None

    def _shown(self, piece: Workpiece) -> str:
        if piece.turns:
            return f"The current prompt:\n{section('prompt', piece.prompts.document.text)}"
        return opening(piece, self.metaprompts)

    def _schema(self) -> Mapping[str, Any] | None:
        """The schema of the reply, where the model takes one."""
        return WHOLE_PROMPT if takes_schema(self.model) else None

    def _request(self, piece: Workpiece) -> str:
        return self._asked(
            self._form(),
            allowance=limits_line(piece, self.metaprompts),
            cap=self.metaprompts.fill("global.cap", cap=self.cap) if self.cap is not None else "",
            keep=_keep(piece.prompts, self.metaprompts),
        )

    def _form(self) -> str:
        """What the reply is to look like."""
        if self._schema() is None:
            return self.metaprompts.text("global.reply")
        form = self.metaprompts.text("global.reply-json")
        return f"{self.metaprompts.text('global.copy')} {form}" if self._shows_example() else form

    def _asked(self, reply: str, allowance: str = "", cap: str = "", keep: str = "") -> str:
        goal = self.metaprompts.fill(f"global.goal-{self.goal}")
        return self.metaprompts.fill("global.edit", goal=goal, allowance=allowance, cap=cap, keep=keep, reply=reply)

    def _metaprompt_names(self) -> tuple[str, ...]:
        own = [name for name in names() if name.startswith(("global.reply", "global.example-reply", "global.copy"))]
        return (
            "global.edit",
            f"global.goal-{self.goal}",
            "global.cap",
            "global.keep",
            "example",
            *own,
            "identify.line-likely",
        )


class InduceInstruction(ProposalStep):
    """Write a new instruction from `batch.formats` alone; it takes the place of the longest editable stretch."""

    run_name: ClassVar[str] = "induce_instruction"
    temperature: float | None = 0.9

    async def _child(self, piece: Workpiece, config: RunnableConfig) -> tuple[Draft | None, Workpiece]:
        ranges = piece.prompts.document.editable
        target = _instruction(piece.prompts, max(ranges, key=lambda r: r[1] - r[0]))
        start = Workpiece(piece.prompts, turns=(("system", self.metaprompts.text("system")),))
        examples = section("examples", rows(piece.batch.formats, answered=False))
        request = self.metaprompts.fill("induce", examples=examples)
        reply, out = await self._say(start, request, config)
        text = between_markers(reply)
        if isinstance(text, Rejection):
            return self._draft(piece, (), (text,), None, reply)
        old = piece.prompts.document.text[target[0] : target[1]]
        new = old[: len(old) - len(old.lstrip())] + text.strip() + old[len(old.rstrip()) :]
        spans = spans_of(piece.prompts, [target])
        ids = piece.batch.example_ids
        edits, refused = edits_from_texts(piece.prompts, spans, {0: (new, "induced from examples")}, ids, bounded=False)
        return self._draft(out, edits, refused, None, reply)

    def _metaprompt_names(self) -> tuple[str, ...]:
        return ("induce",)


def _instruction(prompts: PromptSet, stretch: tuple[int, int]) -> tuple[int, int]:
    """The stretch without its last line where a variable follows: "Question: " belongs to the variable."""
    start, end = stretch
    text = prompts.document.text
    cut = text.rfind("\n", start, end)
    return (start, cut) if end < len(text) and text[start:cut].strip() and cut > start else stretch
