"""The offline task model: a small program that really follows the prompt it is given.

It applies a `TaskManual` to one input: rules first, then the overlap of words with each label's line.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_promptopt.offline.instructions import put, read, separate
from langchain_promptopt.offline.manual import TOKEN, count_spaced, is_dull, stem, stems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    from langchain_promptopt.offline.manual import Rule, TaskManual, Trigger

DOUBT = 0.45
"""Overlap below this is too weak to stand against a stated fallback."""
_MORE_TRIGGERS = 0.25
_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """The chosen label, the rules that fired (with the triggers met), and the overlap by label."""

    label: int
    fired: tuple[tuple[int, tuple[int, ...]], ...]
    overlap: dict[int, float]
    rule_points: dict[int, float]


def judge(manual: TaskManual, data: str) -> Judgement | None:
    """What the manual's reader answers for `data`; None where the manual names no labels."""
    if not manual.labels:
        return None
    sequence = stems(data)
    fired = _fired(manual, sequence)
    points = _points(manual, fired)
    barred = {manual.rules[r].label for r, _ in fired if manual.rules[r].never}
    overlap = _overlap(manual, sequence)
    return Judgement(_choose(manual, points, overlap, barred), fired, overlap, points)


def _choose(manual: TaskManual, points: dict[int, float], overlap: dict[int, float], barred: set[int]) -> int:
    def strength(i: int) -> tuple[float, float, int]:
        return points.get(i, 0.0), round(overlap.get(i, 0.0), 9), -i

    open_labels = [i for i in {*points, *overlap} if i not in barred]
    best = max(open_labels, key=strength, default=None)
    fallback = None if manual.fallback is None else manual.fallback.label
    if best is None or (points.get(best, 0.0) <= 0 and overlap.get(best, 0.0) <= 0):
        if fallback is not None:
            return fallback
        return next((i for i in range(len(manual.labels)) if i not in barred), 0)
    weak = points.get(best, 0.0) <= 0 and overlap.get(best, 0.0) < DOUBT
    return fallback if weak and fallback is not None else best


def _fired(manual: TaskManual, sequence: list[str]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    met: dict[int, set[int]] = {}
    present = set(sequence)
    for at, s in enumerate(sequence):
        for r, t in manual.triggers.get(s, ()):
            if _meets(manual.rules[r].triggers[t], sequence, at, present):
                met.setdefault(r, set()).add(t)
    fired = []
    for r, ts in sorted(met.items()):
        if _holds(manual.rules[r], ts, sequence, present):
            fired.append((r, tuple(sorted(ts))))
    return tuple(fired)


def _meets(trigger: Trigger, sequence: list[str], at: int, present: set[str]) -> bool:
    if trigger.exact:
        return tuple(sequence[at : at + len(trigger.stems)]) == trigger.stems
    return present.issuperset(trigger.stems)


def _holds(rule: Rule, met: set[int], sequence: list[str], present: set[str]) -> bool:
    if rule.needs_all and len(met) < len(rule.triggers):
        return False
    for exception in rule.exceptions:
        for at, s in enumerate(sequence):
            if s == exception.stems[0] and _meets(exception, sequence, at, present):
                return False
    return True


def _points(manual: TaskManual, fired: tuple[tuple[int, tuple[int, ...]], ...]) -> dict[int, float]:
    points: dict[int, float] = {}
    positive = [(r, ts) for r, ts in fired if not manual.rules[r].never]
    if manual.order and positive:
        positive = positive[:1] if manual.order == "first" else positive[-1:]
    for r, ts in positive:
        label = manual.rules[r].label
        points[label] = points.get(label, 0.0) + 1 + _MORE_TRIGGERS * (len(ts) - 1)
    return points


def _overlap(manual: TaskManual, sequence: list[str]) -> dict[int, float]:
    totals: dict[int, float] = {}
    words, phrases = manual.words, manual.phrases
    lively = [s for s in sequence if not is_dull(s)]
    present = set(lively)
    for s in dict.fromkeys(lively):
        for i, weight in words.get(s, ()):
            totals[i] = totals.get(i, 0.0) + weight
    met: dict[tuple[int, tuple[str, ...]], float] = {}
    for source in (sequence, lively):
        for i, phrase, weight in _phrases_in(source, phrases):
            met[i, phrase] = weight
    for (i, _), weight in met.items():
        totals[i] = totals.get(i, 0.0) + weight
    for i in totals:
        name = manual.names[i]
        totals[i] += _COVERAGE * len(name & present) / len(name)
    return totals


def _phrases_in(
    source: list[str], phrases: Mapping[str, tuple[tuple[int, tuple[str, ...], float], ...]]
) -> Iterator[tuple[int, tuple[str, ...], float]]:
    """Phrases whose words stand together, with the function words between them or without."""
    for at, s in enumerate(source):
        for i, phrase, weight in phrases.get(s, ()):
            if tuple(source[at : at + len(phrase)]) == phrase:
                yield i, phrase, weight


# The offline task model

_NO_LABELS = "I cannot tell: the instructions name no answers to choose from."


def message_text(message: BaseMessage) -> str:
    """The text of a message, content blocks joined."""
    content = message.content
    return content if isinstance(content, str) else str(message.text)


def chat_result(model: str, messages: Sequence[BaseMessage], reply: str) -> ChatResult:
    """A reply with the usage and served model that real providers report; a word counts as a token.

    Args:
        model: Name of the served model.
        messages: The request.
        reply: The text of the reply.
    """
    spent, made = sum(count_spaced(message_text(m)) for m in messages), count_spaced(reply)
    message = AIMessage(
        content=reply,
        usage_metadata={"input_tokens": spent, "output_tokens": made, "total_tokens": spent + made},
        response_metadata={"model_name": model, "finish_reason": "stop"},
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


class OfflineTaskModel(BaseChatModel):
    """Follows prompts that sort a text under labels: reads labels, cues, rules and answer form, then decides.

    It knows nothing but the prompt, so a wrong rule makes it wrong and a better one makes it right.
    Its scores say nothing about real models.

    Args:
        model_name: What `response_metadata` reports.
        noise: Share of answers replaced by another label; the same prompt, input and `seed` give the same answer.
        seed: Varies the noise.
        latency: Seconds an asynchronous call waits, to look like a network.
    """

    model_name: str = "offline-task"
    noise: float = 0.0
    seed: int = 0
    latency: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "promptopt-offline-task"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "noise": self.noise, "seed": self.seed}

    def answer(self, messages: Sequence[tuple[str, str]]) -> str:
        """The reply to (role, text) pairs: the whole model without any wrapping."""
        instructions, data = separate(messages)
        manual = read(instructions)
        judgement = judge(manual, data)
        if judgement is None:
            return _NO_LABELS
        chosen = self._noisy(judgement.label, manual, instructions, data)
        return put(manual.labels[chosen].name, manual.form, lambda: _because(manual, judgement, data))

    def _noisy(self, chosen: int, manual: TaskManual, instructions: str, data: str) -> int:
        if self.noise <= 0 or len(manual.labels) < 2:
            return chosen
        digest = hashlib.sha256(f"{self.seed}\x00{instructions}\x00{data}".encode("utf-8", "surrogatepass")).hexdigest()
        draw = Random(digest)
        if draw.random() >= self.noise:
            return chosen
        return draw.choice([i for i in range(len(manual.labels)) if i != chosen])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of the interface
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - part of the interface
        **kwargs: Any,  # noqa: ARG002 - part of the interface
    ) -> ChatResult:
        return chat_result(self.model_name, messages, self.answer([(m.type, message_text(m)) for m in messages]))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - part of the interface
        **kwargs: Any,
    ) -> ChatResult:
        if self.latency > 0:
            await asyncio.sleep(self.latency)
        return self._generate(messages, stop, None, **kwargs)


def _because(manual: TaskManual, judgement: Judgement, data: str) -> str:
    """The words of the input that decided, as a sentence."""
    label = judgement.label
    known: set[str] = set()
    for r, _ in judgement.fired:
        rule = manual.rules[r]
        if rule.label == label:
            known.update(*(trigger.stems for trigger in rule.triggers))
    for s, held in manual.words.items():
        if any(i == label and w > 0 for i, w in held):
            known.add(s)
    words = list(dict.fromkeys(w for w in TOKEN.findall(data) if stem(w) in known))[:4]
    return "Reason: the text says " + ", ".join(words) + "." if words else "Reason: nothing in the text decides."
