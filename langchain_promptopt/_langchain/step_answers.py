"""What each step of an app said during one evaluation, by the prompt that its model was sent.

An app with several prompts, or one whose model calls tools, can go wrong at any of its steps, and its answer does not
tell at which. `StepNotes` listens to calls of models and tools and notes what came back. A call belongs to the prompts
whose rendered text it was sent: that holds in parallel branches, in graphs and in conversations that go on, where the
order of renderings tells nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks.base import BaseCallbackHandler

from langchain_promptopt._langchain.wire import texts_of
from langchain_promptopt._runtime.redact import message_of
from langchain_promptopt._runtime.usage import with_handler
from langchain_promptopt.types import StepAnswer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._langchain.overlay import Overlay


class noted:  # noqa: N801 - a block; as a class, because every evaluation passes one and a generator costs more
    """A block whose steps are noted, also where it raises; it gives the config to evaluate with.

    One prompt says nothing beside the app's own answer, unless tools are called: then nothing is added.

    Args:
        overlay: Of the evaluation.
        names: Names of the prompts by live object (by id).
        config: Of the evaluation.
        answers: What each step said is added to it; None notes nothing.
    """

    __slots__ = ("_answers", "_config", "_names", "_notes", "_overlay")

    def __init__(
        self,
        overlay: Overlay,
        names: Mapping[int, str],
        config: RunnableConfig | None,
        answers: list[StepAnswer] | None,
    ) -> None:
        self._overlay, self._names, self._config, self._answers = overlay, names, config, answers

    def __enter__(self) -> RunnableConfig | None:
        if self._answers is None:
            return self._config
        made: list[tuple[Any, Any]] = []
        self._overlay.made = made
        self._notes = StepNotes(self._names, made)
        return with_handler(self._config or {}, self._notes)

    def __exit__(self, *_: object) -> None:
        if self._answers is None:
            return
        found = self._notes.answers()
        if len(self._names) > 1 or any(step.kind == "tool" for step in found):
            self._answers += found


@dataclass(slots=True, eq=False)
class _Open:
    """A step that has begun; `answers` is filled when it ends."""

    kind: Literal["prompt", "tool"]
    name: str
    arguments: Any = None
    answers: list[Any] = field(default_factory=list)
    """Empty until the step ends."""


class StepNotes(BaseCallbackHandler):
    """Notes the steps of one evaluation.

    Runs inline, and listens to models and tools only, so that chains run as they do without it.

    Args:
        names: Names of the prompts by live object (by id).
        made: What these rendered so far; it grows while the evaluation runs.
    """

    run_inline = True

    def __init__(self, names: Mapping[int, str], made: Sequence[tuple[Any, Any]]) -> None:
        self._names = names
        self._made = made
        self._lock = threading.Lock()
        self._steps: list[_Open] = []
        self._open: dict[UUID, _Open] = {}

    @property
    def ignore_chain(self) -> bool:
        """Chains only pass on what their steps say."""
        return True

    ignore_retriever = ignore_chain

    def answers(self) -> list[StepAnswer]:
        """The steps that have ended, in the order in which they began."""
        with self._lock:
            ended = [step for step in self._steps if step.answers]
        found = []
        for step in ended:
            said = step.answers[0] if len(step.answers) == 1 else step.answers
            found.append(StepAnswer(step.kind, step.name, said, step.arguments))
        return found

    # LangChain's calls

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        messages: list[list[Any]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """A chat model is about to be called.

        Args:
            serialized: Not used.
            messages: What it is sent.
            run_id: The call's id.
            **kwargs: LangChain's own; the id of the run around it is used.
        """
        self._asked(run_id, messages, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        prompts: list[str],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """A completion model is about to be called.

        Args:
            serialized: Not used.
            prompts: What it is sent.
            run_id: The call's id.
            **kwargs: LangChain's own; the id of the run around it is used.
        """
        self._asked(run_id, prompts, kwargs)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """The call is answered.

        Args:
            response: All replies of the call.
            run_id: The call's id.
            **kwargs: Not used.
        """
        replies = []
        for generations in response.generations:
            for one in generations:
                replies.append(answer_of(getattr(one, "message", None) or one.text))
        self._ended(run_id, replies)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """The call failed, so nothing was said.

        Args:
            error: Not used.
            run_id: The call's id.
            **kwargs: Not used.
        """
        self._ended(run_id, [])

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool is about to be called.

        Args:
            serialized: The tool as LangChain serializes it; its name is read from there.
            input_str: Its arguments as one text.
            run_id: The call's id.
            **kwargs: LangChain's own; `inputs` has the arguments by name.
        """
        inputs = kwargs.get("inputs")
        name = str((serialized or {}).get("name") or kwargs.get("name") or "")
        self._begin(run_id, _Open("tool", name, answer_of(input_str if inputs is None else inputs)))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """The tool has given its result.

        Args:
            output: The result.
            run_id: The call's id.
            **kwargs: Not used.
        """
        self._ended(run_id, [answer_of(output)])

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """The tool raised: that is its result.

        Args:
            error: What it raised.
            run_id: The call's id.
            **kwargs: Not used.
        """
        self._ended(run_id, [f"error: {message_of(error)}"])

    def _asked(self, run_id: UUID, sent: Any, kwargs: Mapping[str, Any]) -> None:
        with self._lock:
            around = self._open.get(kwargs.get("parent_run_id"))  # type: ignore[arg-type]  # None is no key
        if around is not None and around.kind == "prompt":
            return  # a model that asks another one and returns its reply
        self._begin(run_id, _Open("prompt", ", ".join(self._sent(texts_of(sent)))))

    def _begin(self, run_id: UUID, step: _Open) -> None:
        with self._lock:
            self._open[run_id] = step
            self._steps.append(step)

    def _ended(self, run_id: UUID, answers: list[Any]) -> None:
        with self._lock:
            step = self._open.pop(run_id, None)
            if step is not None:
                step.answers = answers

    def _sent(self, texts: Sequence[str]) -> list[str]:
        """Names of the prompts in these texts: those that are whole messages, else those that are parts of one."""
        whole, parts = set[str](), set[str]()
        for thing, made in list(self._made):
            name = self._names.get(id(thing))
            rendered = [text for text in texts_of(made) if text.strip()]
            if name is None or not rendered:
                continue
            if all(text in texts for text in rendered):
                whole.add(name)
            elif all(map(_part_of(texts), rendered)):
                parts.add(name)
        found = whole or parts
        return [name for name in self._names.values() if name in found]


def _part_of(texts: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text stands in one of these."""
    return lambda text: any(text in one for one in texts)
