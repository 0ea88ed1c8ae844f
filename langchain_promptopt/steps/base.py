"""What the steps share: input coercion, one traced span, one way to call the model."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.runnables.base import RunnableSerializable
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict

from langchain_promptopt._runtime.bridge import run_sync
from langchain_promptopt._runtime.spans import span
from langchain_promptopt.errors import PromptError
from langchain_promptopt.steps.metaprompts import fill, load
from langchain_promptopt.steps.views import opening
from langchain_promptopt.types import Batch, Feedback, Message, Prompt, PromptSet, Rejection, Shown, Workpiece

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable, RunnableConfig

_FIXED_TEMPERATURE = re.compile(r"(^|/)(o\d|gpt-5)")


def takes_temperature(model: object) -> bool:
    """Whether a sampling temperature may be sent to `model` (sent only where it is taken)."""
    name = str(getattr(model, "model_name", getattr(model, "model", "")))
    return "temperature" in getattr(type(model), "model_fields", {}) and not _FIXED_TEMPERATURE.search(name)


class Step(RunnableSerializable[Any, Workpiece]):
    """A model-calling step: `Workpiece` in, `Workpiece` with one thing added out.

    Also takes a prompt string, or a dict with `prompt` (str or list of (role, template)),
    `errors` and `correct` (dicts with inputs, expected, answer) and `feedback`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    run_name: ClassVar[str] = "step"

    model: Any
    temperature: float | None = None

    @property
    def name_in_traces(self) -> str:
        """The span's name (product contract, section 6)."""
        return self.run_name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Workpiece:  # noqa: A002
        """Run the step; see `ainvoke`."""
        return run_sync(lambda: self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Workpiece:  # noqa: A002, ARG002
        """Run the step as one traced span."""
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

    async def _say(self, piece: Workpiece, request: str, config: RunnableConfig) -> tuple[str, Workpiece]:
        """One turn: the request (after the opening, if this is the first) and the model's reply."""
        text = request if piece.turns else f"{opening(piece)}\n\n{request}"
        turns = (*(piece.turns or (("system", load("system")),)), ("human", text))
        kwargs = {"temperature": self.temperature} if self._sends_temperature() else {}
        message: AIMessage = await self.model.ainvoke(list(turns), config, **kwargs)
        reply = text_of(message)
        return reply, _with(piece, turns=(*turns, ("ai", reply)))

    def _sends_temperature(self) -> bool:
        return self.temperature is not None and takes_temperature(getattr(self.model, "inner", self.model))

    async def _say_again(self, piece: Workpiece, problem: str, config: RunnableConfig) -> tuple[str, Workpiece]:
        """A second try in the same conversation, with the concrete fault named."""
        again = self.model_copy(update={"model": second_try(self.model)})
        return await again._say(piece, fill("identify.retry", problem=problem), config)


def second_try(model: Any) -> Any:
    """The model for a second try: where it is addressed by the engine, its record says that it was one."""
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
        messages = tuple(Message(role, template, template_format) for role, template in prompt)
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
