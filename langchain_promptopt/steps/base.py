"""What the steps share: how a workpiece is shown, how a reply is read, and the `Step` itself.

A reply is read without guessing: what does not fit is a `Rejection`, never an exception.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from langchain_core.runnables.base import RunnableSerializable
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, field_validator

from langchain_promptopt._collections import all_as_json, map_values
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.pace import is_near
from langchain_promptopt._runtime.tracing import span
from langchain_promptopt._text.spans import unframed
from langchain_promptopt._text.tags import insert_tags, pick_tag, strip_wrapping
from langchain_promptopt._text.words import abbreviated
from langchain_promptopt.errors import PromptError
from langchain_promptopt.steps.metaprompts import DEFAULT, MetaPrompts
from langchain_promptopt.types import (
    Batch,
    Feedback,
    Message,
    Prompt,
    PromptSet,
    Rejection,
    Remembered,
    Shown,
    Span,
    StepAnswer,
    Workpiece,
    told,
    told_fields,
)

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.prompts import BasePromptTemplate
    from langchain_core.runnables import Runnable, RunnableConfig


def section(name: str, body: str) -> str:
    r"""`body` between markers that cannot occur in it.

    >>> section("prompt", "Be brief.")
    '<prompt>\nBe brief.\n</prompt>'
    """
    tag = name
    while f"</{tag}>" in body.lower():
        tag = f"{name}-{hashlib.sha256((tag + body).encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return f"<{tag}>\n{body}\n</{tag}>"


_LONGEST_VALUE = 2_000
"""Code points of one value of a row that are shown; the middle of a longer one is cut out."""


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        half = _LONGEST_VALUE // 2
        return f"{abbreviated(value, half)} [... {len(value) - 2 * half} characters left out ...] {value[-half:]}"
    if isinstance(value, dict):
        return map_values(_short, value)
    if isinstance(value, list | tuple):
        return list(map(_short, value))
    return value


def _row(shown: Shown, *, answered: bool) -> str:
    inputs, expected = told_fields(shown.inputs), told_fields(shown.expected)
    row: dict[str, Any] = {"id": shown.example_id, "inputs": inputs, "expected": expected}
    if answered and shown.steps:
        row["steps"] = all_as_json(shown.steps)
    if answered:
        row |= {"answer": told(shown.output), "score": round(shown.score, 3)}
        if shown.comment:
            row["comment"] = shown.comment
    return json.dumps(map_values(_short, row), ensure_ascii=False, default=str)


def rows(shown: Sequence[Shown], *, answered: bool = True) -> str:
    """One JSON object a line; without `answered` only inputs and expected."""
    return "\n".join(_row(s, answered=answered) for s in shown)


_STEPS = (
    'In a row, "steps" lists in order what was said on the way to the answer: by the model that was sent the prompt of '
    "that name, and by tools. Look for the first step that went wrong: its prompt is the one to change."
)


def evidence_sections(piece: Workpiece) -> str:
    """The sections about rows that went wrong, right, or show the format."""
    parts = []
    if any(shown.steps for shown in (*piece.batch.correct, *piece.batch.errors)):
        parts.append(_STEPS)
    if piece.batch.correct:
        parts.append("Rows it got right, which must stay right:\n" + section("correct", rows(piece.batch.correct)))
    if piece.batch.errors:  # last: small models answer to what stands nearest to the request
        parts.append("Rows the prompt got wrong:\n" + section("errors", rows(piece.batch.errors)))
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
    lines = []
    for item in items:
        gain, score = round(100 * item.attempt.gain), round(100 * item.attempt.score)
        for edit in item.attempt.candidate.edits:
            shown = {"gain": gain, "score": score, "old": edit.old, "new": edit.new}
            lines.append(json.dumps(shown, ensure_ascii=False))
    return "\n".join(lines)


def past(piece: Workpiece) -> str:
    """The section about earlier attempts, edits where the attempts carry them."""
    if not piece.memory:
        return ""
    if any(m.attempt.candidate.edits for m in piece.memory) and piece.spans is not None:
        return "Earlier edits and what they did to the score (0-100):\n" + section("history", edit_memory(piece.memory))
    return "Earlier prompts and their scores (0-100):\n" + section("history", memory(piece.memory))


def lined(text: str) -> str:
    r"""The text with a number in front of each line.

    >>> print(lined("Be brief.\nBe kind."))
    1| Be brief.
    2| Be kind.
    """
    return "\n".join(f"{n}| {line}".rstrip() for n, line in enumerate(text.split("\n"), 1))


def opening(piece: Workpiece, texts: MetaPrompts = DEFAULT, *, numbered: bool = False) -> str:
    """Prompt, evidence, feedback and history: what the first turn of a conversation carries.

    Args:
        piece: The proposal in the making.
        texts: The meta-prompts in force.
        numbered: Whether the prompt is shown with a number in front of each line.
    """
    text = piece.prompts.document.text
    shown = "The current prompt with its lines numbered:\n" + section("lines", lined(text))
    parts = [texts.fill("task"), shown if numbered else "The current prompt:\n" + section("prompt", text)]
    parts += list(filter(None, (evidence_sections(piece), past(piece))))
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


def limits_line(piece: Workpiece, texts: MetaPrompts) -> str:
    """The sentence that states the word allowance, or nothing."""
    allowance = piece.allowance
    if allowance.words is None or not allowance.stated:
        return ""
    return texts.fill("allowance", words=allowance.words)


_TRIES = 50
"""How many opening brackets are tried before a reply counts as holding no JSON."""


_LONGEST_REPAIR = 20_000
"""Characters of a reply that is read a second time."""


def find_json(reply: str, kind: type) -> Any | None:
    """The first JSON value of `kind` (list or dict) in the reply, with any text around it.

    >>> find_json('Sure: [{"quote": "x"}] done', list)
    [{'quote': 'x'}]
    """
    text = strip_wrapping(reply)
    opener, decoder, at = ("[" if kind is list else "{"), json.JSONDecoder(strict=False), -1
    for _ in range(_TRIES):
        at = text.find(opener, at + 1)
        if at < 0:
            break
        try:
            value, _end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # a thousand brackets are no JSON either
            continue
        if isinstance(value, kind):
            return value
    return _repaired(text, opener, kind)


def _last_closing(text: str, start: int) -> int:
    """The last bracket that closes outside a quoted text; -1 where there is none."""
    found, inside, escaped = -1, False, False
    for at in range(max(0, start), len(text)):
        char = text[at]
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            inside = not inside
        elif char in "]}" and not inside:
            found = at
    return found


def _repaired(text: str, opener: str, kind: type) -> Any | None:
    """A second reading for JSON with small faults: single quotes, missing commas or closing brackets.

    A text that the end of the reply cuts is not read: half a text is no text.
    """
    at = text.find(opener)
    end = _last_closing(text, at)
    if at < 0 or end < 0 or len(text) > _LONGEST_REPAIR:
        return None
    import json_repair

    try:
        value = json_repair.loads(text[at : end + 1])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) and value else None


def between_markers(reply: str, start: str = "<START>", end: str = "<END>") -> str | Rejection:
    """The text between exactly one pair of markers; the line ends next to them are dropped (GPO format).

    A missing or doubled marker is a rejection: the whole reply is never taken instead.

    Args:
        reply: The model's reply.
        start: The marker before the text.
        end: The marker after it.
    """
    text = strip_wrapping(reply)
    if text.count(start) != 1 or text.count(end) != 1:
        return Rejection("markers", f"found {text.count(start)} {start} and {text.count(end)} {end}")
    a, b = text.index(start) + len(start), text.index(end)
    if b < a:
        return Rejection("markers", f"{end} comes before {start}")
    return text[a:b].strip("\r\n")


def slot_texts(reply: str, count: int) -> dict[int, tuple[str, str]] | Rejection:
    """Replacement and reason by slot number (from 1); unknown slots are a rejection."""
    value = find_json(reply, dict)
    if value is None:
        return Rejection("no_json", "the reply holds no JSON object")
    out: dict[int, tuple[str, str]] = {}
    for key, item in value.items():
        digits = "".join(c for c in str(key) if c.isdigit())
        if not digits or not 1 <= int(digits) <= count:
            return Rejection("unknown_slot", f"slot {key!r}; there are {count}")
        new, reason = (item, "") if isinstance(item, str) else _slot(item)
        if new is None:
            return Rejection("no_text", f"slot {key!r} has no text")
        out[int(digits)] = (new, reason)
    return out if out else Rejection("empty_reply", "no slot was filled")


def _slot(item: Any) -> tuple[str | None, str]:
    if isinstance(item, dict) and isinstance(item.get("new"), str):
        return item["new"], str(item.get("reason", ""))
    return None, ""


_FIXED_TEMPERATURE = re.compile(r"(^|/)(o\d|gpt-5)")


def takes_temperature(model: object) -> bool:
    """Whether a sampling temperature may be sent to `model` (sent only where it is taken)."""
    name = str(getattr(model, "model_name", getattr(model, "model", "")))
    return "temperature" in getattr(type(model), "model_fields", {}) and not _FIXED_TEMPERATURE.search(name)


_NEAR_LIMIT, _FAR_LIMIT = 1_000, 4_000


def reply_limit(model: Any, words: int = 0, short: int | None = None) -> dict[str, Any]:
    """The longest reply that may be asked for, so that no call writes until it is given up (product 11.15).

    Nothing for models that think in tokens of their own, for those whose owner set a limit, and for providers
    whose setting has another name. A model on this machine or network, which writes slowly, gets the lower limit.

    Args:
        model: The optimizer model, as the engine addresses it or bare.
        words: Words that the reply has to repeat, for rewrites of the whole prompt.
        short: Tokens that are enough for this kind of reply. Where replies come slowly it is the limit, unless the
            model's owner allows more than the usual, as for a model that thinks before it answers.
    """
    inner = getattr(model, "inner", model)
    name = str(getattr(inner, "model_name", ""))
    if getattr(inner, "_llm_type", "") not in _OPENAI or _FIXED_TEMPERATURE.search(name):
        return {}
    if getattr(inner, "use_responses_api", None):
        return {}
    own = getattr(inner, "max_tokens", None)
    host = urlsplit(str(getattr(inner, "openai_api_base", None) or "")).hostname
    near = bool(host and is_near(host))
    if near and short is not None and short < (own or _NEAR_LIMIT) <= _NEAR_LIMIT:
        return {"max_tokens": short}
    return {} if own is not None else {"max_tokens": (_NEAR_LIMIT if near else _FAR_LIMIT) + 3 * words}


_OPENAI = frozenset({"openai-chat", "azure-openai-chat"})


def structured(model: Any, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a call that ask an OpenAI-compatible endpoint for JSON of this schema; nothing for other models.

    Args:
        model: The optimizer model, as the engine addresses it; a bare model is asked in words alone.
        name: Name of the schema in the request.
        schema: A JSON schema in the strict form.
    """
    inner = getattr(model, "inner", None)
    if not getattr(model, "takes_schema", False) or getattr(inner, "use_responses_api", None):
        return {}
    if getattr(inner, "_llm_type", "") not in _OPENAI:
        return {}
    form = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    return {"extra_body": {**(getattr(inner, "extra_body", None) or {}), "response_format": form}}


def takes_schema(model: Any) -> bool:
    """Whether `model` is at an OpenAI-compatible endpoint that has not refused a JSON schema."""
    return bool(structured(model, "reply", {}))


class Step(RunnableSerializable[Any, Workpiece]):
    """A model-calling step: `Workpiece` in, `Workpiece` with one thing added out.

    Also takes a prompt string, or a dict with `prompt` (str or list of (role, template)),
    `errors` and `correct` (dicts with inputs, expected, answer) and `feedback`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    run_name: ClassVar[str] = "step"

    model: Any
    temperature: float | None = None
    metaprompts: MetaPrompts = DEFAULT

    @field_validator("metaprompts", mode="before")
    @classmethod
    def _own_metaprompts(cls, given: Any) -> MetaPrompts:
        return MetaPrompts.of(given)

    def get_prompts(self, config: RunnableConfig | None = None) -> list[BasePromptTemplate[Any]]:  # noqa: ARG002
        """The meta-prompts that this step may send, as LangChain prompts; `metadata["name"]` is what replaces one.

        Args:
            config: Not used; part of the Runnable interface.
        """
        names = ("system", "task", "allowance", "identify.retry", *self._metaprompt_names())
        return list(map(self.metaprompts.template, dict.fromkeys(names)))

    def _metaprompt_names(self) -> tuple[str, ...]:
        """Names of the meta-prompts that this step adds to those of every step."""
        return ()

    @property
    def name_in_traces(self) -> str:
        """The span's name (product contract, section 6)."""
        return self.run_name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Workpiece:  # noqa: A002
        """Run the step; see `ainvoke`.

        Args:
            input: A Workpiece, a prompt, or a dict with `prompt`; see the class.
            config: Callbacks, metadata and run name; None for none.
            **kwargs: Not used; part of the Runnable interface.

        Raises:
            PromptError: The input holds no prompt.
        """
        return run_sync(lambda: self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Workpiece:  # noqa: A002, ARG002
        """Run the step as one traced span.

        Args:
            input: A Workpiece, a prompt, or a dict with `prompt`; see the class.
            config: Callbacks, metadata and run name; None for none.
            **kwargs: Not used; part of the Runnable interface.

        Raises:
            PromptError: The input holds no prompt.
        """
        piece = as_workpiece(input)
        own = ensure_config(config)
        name = own.get("run_name") or self.name_in_traces
        async with span(own, name, self._trace_inputs(piece)) as (inner, end):
            out = await self._work(piece, inner)
            end(self._trace_outputs(out))
        return out

    @abstractmethod
    async def _work(self, piece: Workpiece, config: RunnableConfig) -> Workpiece:
        """The step itself."""

    def _trace_inputs(self, piece: Workpiece) -> dict[str, Any]:
        return {"prompt": piece.prompts.document.text, "example_ids": list(piece.batch.example_ids)}

    def _trace_outputs(self, out: Workpiece) -> dict[str, Any]:
        return {"rejections": [{"rule": r.rule, "detail": r.detail} for r in out.rejections]}

    async def _say(
        self,
        piece: Workpiece,
        request: str,
        config: RunnableConfig,
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> tuple[str, Workpiece]:
        """One turn: the request (after the opening, if this is the first) and the model's reply."""
        text = request if piece.turns else f"{opening(piece, self.metaprompts)}\n\n{request}"
        turns = (*(piece.turns or (("system", self.metaprompts.text("system")),)), ("human", text))
        kwargs: dict[str, Any] = {"temperature": self.temperature} if self._sends_temperature() else {}
        kwargs |= reply_limit(self.model, self._repeated(piece), self._enough(piece))
        if schema is not None:
            kwargs |= structured(self.model, type(self).__name__, schema)
        message: AIMessage = await self.model.ainvoke(list(turns), config, **kwargs)
        reply = text_of(message)
        return reply, _with(piece, turns=(*turns, ("ai", reply)))

    def _after_example(self, piece: Workpiece, request: str, reply: str) -> Workpiece:
        """The conversation with a worked example, which is about another prompt, before what is asked next.

        Args:
            piece: The proposal in the making.
            request: The example's request.
            reply: Name of the meta-prompt that is the reply to it.
        """
        texts = self.metaprompts
        start = piece.turns or (("system", texts.text("system")),)
        return _with(piece, turns=(*start, ("human", request), ("ai", texts.text(reply))))

    def _repeated(self, piece: Workpiece) -> int:  # noqa: ARG002 - for steps whose reply repeats the prompt
        """Words of the prompt that a reply has to repeat."""
        return 0

    def _enough(self, piece: Workpiece) -> int | None:  # noqa: ARG002 - for steps whose reply is short
        """Tokens that are enough for a reply; None where that depends on the prompt."""
        return None

    def _sends_temperature(self) -> bool:
        return self.temperature is not None and takes_temperature(getattr(self.model, "inner", self.model))

    async def _say_again(
        self,
        piece: Workpiece,
        problem: str,
        config: RunnableConfig,
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> tuple[str, Workpiece]:
        """A second try in the same conversation, with the concrete fault named."""
        again = self.model_copy(update={"model": second_try(self.model)})
        request = self.metaprompts.fill("identify.retry", problem=problem)
        return await again._say(piece, request, config, schema=schema)


def second_try(model: Any) -> Any:
    """The model for a second try: where the engine addresses it, the journal marks the call as a second try."""
    again = getattr(model, "again", None)
    return again() if callable(again) else model


def _with(piece: Workpiece, **changes: Any) -> Workpiece:
    from dataclasses import replace

    return replace(piece, **changes)


def text_of(message: Any) -> str:
    """The text of a model's reply, whatever content blocks it came in."""
    if isinstance(message, str):
        return message
    text = getattr(message, "text", None)
    if isinstance(text, str):
        return str(text)
    content = getattr(message, "content", message)
    return content if isinstance(content, str) else json.dumps(content, default=str)


def was_cut_off(message: Any) -> bool:
    """True when the reply ended at the length limit."""
    return (getattr(message, "response_metadata", None) or {}).get("finish_reason") == "length"


def as_workpiece(value: Any) -> Workpiece:
    """A `Workpiece` of what a caller may give to a step."""
    if isinstance(value, Workpiece):
        return value
    if isinstance(value, str):
        value = {"prompt": value}
    if isinstance(value, Prompt):
        value = {"prompt": PromptSet((value,))}
    if isinstance(value, PromptSet):
        value = {"prompt": value}
    if not isinstance(value, Mapping) or "prompt" not in value:
        msg = f"a step takes a prompt, a Workpiece or a dict with 'prompt', got {type(value).__name__}"
        raise PromptError(msg, mend='For example {"prompt": "Be brief. {question}", "errors": [...]}.')
    feedback = value.get("feedback")
    return Workpiece(
        prompts=_prompts(value["prompt"], value.get("template_format", "f-string")),
        batch=Batch(errors=_shown(value.get("errors", ())), correct=_shown(value.get("correct", ()))),
        feedback=Feedback(feedback) if isinstance(feedback, str) else feedback,
    )


def _prompts(prompt: Any, template_format: Any) -> PromptSet:
    if isinstance(prompt, PromptSet):
        return prompt
    if isinstance(prompt, str):
        prompt = [("human", prompt)]
    if isinstance(prompt, Sequence):
        found = []
        for role, template in prompt:
            found.append(Message(role, template, template_format))
        messages = tuple(found)
        return PromptSet((Prompt("main", messages),))
    msg = f"cannot read a prompt from {type(prompt).__name__}"
    raise PromptError(msg, mend="Give a string, or a list of (role, template) pairs.")


def _shown(rows: Sequence[Any]) -> tuple[Shown, ...]:
    out = []
    for i, row in enumerate(rows):
        if isinstance(row, Shown):
            out.append(row)
            continue
        inputs, expected = row.get("inputs", {}), row.get("expected", {})
        out.append(
            Shown(
                example_id=str(row.get("id", i)),
                inputs=inputs if isinstance(inputs, Mapping) else {"input": inputs},
                expected=expected if isinstance(expected, Mapping) else {"answer": expected},
                output=row.get("answer", row.get("output")),
                score=float(row.get("score", 0.0)),
                comment=str(row.get("comment", "")),
                steps=tuple(map(StepAnswer.from_json, row.get("steps", ()))),
            )
        )
    return tuple(out)


def rejected(piece: Workpiece, rejection: Rejection) -> Workpiece:
    """The piece with one more refusal recorded."""
    return _with(piece, rejections=(*piece.rejections, rejection))


def model_runnable(model: Any) -> Runnable[Any, Any]:
    """The model as given; steps accept chat models and addressed models alike."""
    runnable: Runnable[Any, Any] = model
    return runnable
