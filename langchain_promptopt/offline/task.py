"""The offline task model: a small program that really follows the prompt it is given."""

from __future__ import annotations

import asyncio
import hashlib
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_promptopt.offline.forms import put
from langchain_promptopt.offline.inputs import separate
from langchain_promptopt.offline.judging import Judgement, judge
from langchain_promptopt.offline.reading import read
from langchain_promptopt.offline.words import TOKEN, count_words, stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    from langchain_promptopt.offline.manual import Manual

_NO_LABELS = "I cannot tell: the instructions name no answers to choose from."


def text_of(message: BaseMessage) -> str:
    """The text of a message, content blocks joined."""
    content = message.content
    return content if isinstance(content, str) else str(message.text)


def result_of(model: str, messages: Sequence[BaseMessage], reply: str) -> ChatResult:
    """A reply with the usage and served model that real providers report; a word counts as a token."""
    spent, made = sum(count_words(text_of(m)) for m in messages), count_words(reply)
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

    def _noisy(self, chosen: int, manual: Manual, instructions: str, data: str) -> int:
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
        return result_of(self.model_name, messages, self.answer([(m.type, text_of(m)) for m in messages]))

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


def _because(manual: Manual, judgement: Judgement, data: str) -> str:
    """The words of the input that decided, as a sentence."""
    label = judgement.label
    known = {
        s
        for r, _ in judgement.fired
        if manual.rules[r].label == label
        for t in manual.rules[r].triggers
        for s in t.stems
    }
    known |= {s for s, held in manual.words.items() if any(i == label and w > 0 for i, w in held)}
    words = list(dict.fromkeys(w for w in TOKEN.findall(data) if stem(w) in known))[:4]
    return "Reason: the text says " + ", ".join(words) + "." if words else "Reason: nothing in the text decides."
