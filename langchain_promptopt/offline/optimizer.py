"""The offline optimizer model: derives its edits from the errors and the prompt it is shown.

`offline_model` is what the model spec "offline" stands for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import replace
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from langchain_core.language_models.chat_models import BaseChatModel

from langchain_promptopt._collections import ids_of
from langchain_promptopt._text.words import slices
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.offline.conversation import Request, Turns, evidence_of, understand
from langchain_promptopt.offline.fixes import (
    ChangeLimits,
    Fix,
    MarkedPlace,
    MarkLimits,
    Material,
    Mood,
    Patch,
    as_changes,
    as_echo,
    as_numbers,
    as_quotes,
    explorations,
    marks_of,
    patched,
    ranked_fixes,
    repairs,
)
from langchain_promptopt.offline.manual import stems
from langchain_promptopt.offline.rewriting import careless, condensed, induced, rephrased, summarised
from langchain_promptopt.offline.task import OfflineTaskModel, chat_result, message_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from langchain_promptopt.offline.manual import Place

_LOST = "I only help to improve prompts, and found no request that I know."


class OfflineOptimizerModel(BaseChatModel):
    """Answers the optimizer's requests by a small program: it finds which words of the prompt misled, and mends them.

    It reads the prompt as the offline task model does, sees examples only where a request shows them, and
    tries its fixes on those examples without a call. Its scores say nothing about real models.

    Args:
        model_name: What `response_metadata` reports.
        carelessness: How much a rewrite of the whole prompt re-words and drops, 0 to 1.
        latency: Seconds an asynchronous call waits, to look like a network.
        seed: Varies choices between equally good fixes; also taken for one call as `bind(seed=...)`.
    """

    model_name: str = "offline-optimizer"
    carelessness: float = 0.5
    latency: float = 0.0
    seed: int = 0

    @property
    def _llm_type(self) -> str:
        return "promptopt-offline-optimizer"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "carelessness": self.carelessness, "seed": self.seed}

    def answer(self, turns: Turns, seed: int | str | None = None) -> str:
        """The reply to (role, text) pairs: the whole model without any wrapping."""
        request = understand(turns)
        if request is None:
            return _LOST
        address = f"{self.seed if seed is None else seed}\x00{_shown(request)}"
        return _Reply(request, Mood(request.feedback, address), self.carelessness).text()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of the interface
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - part of the interface
        **kwargs: Any,
    ) -> ChatResult:
        turns = [(m.type, message_text(m)) for m in messages]
        return chat_result(self.model_name, messages, self.answer(turns, kwargs.get("seed")))

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


def _shown(request: Request) -> str:
    """What a choice may depend on: the same in every turn of one conversation."""
    rows = "".join(ids_of((*request.errors, *request.correct, *request.examples)))
    past = f"{request.history} {request.allowance}" if request.kind == "global" else ""
    material = "\x00".join((request.prompt, rows, past, *request.tries))
    return hashlib.sha256(material.encode("utf-8", "surrogatepass")).hexdigest()


class _Reply:
    """One reply in the making."""

    def __init__(self, request: Request, mood: Mood, carelessness: float) -> None:
        self.request = request
        self.mood = mood
        self.carelessness = carelessness
        self.rng = Random(mood.address)
        pointing = request.kind in {"line", "quote", "echo", "index"}
        self.material = Material(
            evidence_of(request),
            slots=_open_places(request),
            insertions=request.kind == "global" or request.insertions,
            spent=_spent(request),
            marks=MarkLimits(request.w_max, request.whole_lines) if pointing else None,
        )

    def text(self) -> str:
        """The reply in the form asked for."""
        match self.request.kind:
            case "reasons":
                return self.reasons()
            case "inspect":
                return self.inspection()
            case "line" | "quote" | "echo" | "index":
                return self.pointed()
            case "slots":
                return self.filled()
            case "reply":
                return patched(self.request.prompt, self.slot_patches().values())
            case "global":
                return f"<START>\n{self.rewritten()}\n<END>"
            case "induce":
                return f"<START>\n{induced(self.request.examples)}\n<END>"
            case "summarise":
                return summarised(self.request.history)

    def fixes(self, limits: ChangeLimits | None = None) -> tuple[Fix, ...]:
        """The fixes this reply stands for."""
        bounds = limits or ChangeLimits(words=self.request.allowance)
        found = repairs(self.material, self.mood, bounds)
        generates = self.request.goal == "generate" and not self.material.evidence.errors
        return found or (explorations(self.material, self.mood, bounds) if generates else ())

    def reasons(self) -> str:
        """One reason a line: the chosen fixes first, then the next best of each row."""
        found = dict.fromkeys(f.reason for f in self.fixes())
        ranked = []
        for case in self.material.evidence.errors:
            ranked.append(ranked_fixes(case, self.material, self.mood))
        for depth in range(max(map(len, ranked), default=0)):
            found |= dict.fromkeys(fixes[depth].reason for fixes in ranked if depth < len(fixes))
        lines = list(found)[: self.request.reasons] or ["The prompt does not describe these examples."]
        return "\n".join(f"- {line}" for line in lines)

    def inspection(self) -> str:
        """Row by row, then what should change."""
        manual, lines = self.material.evidence.manual, []
        for case in self.material.evidence.errors:
            right = manual.labels[case.expected].name
            lines.append(
                f'Example {case.id}: No, "{case.answer}" is wrong, "{right}" is expected. The prompt must change.'
            )
        for case in self.material.evidence.kept:
            lines.append(f'Example {case.id}: Yes. The prompt need not change for "{case.answer}".')
        summary = " ".join(f.reason for f in self.fixes()) or "No words of the prompt explain these examples."
        return "\n".join([*lines, "", summary])

    def pointed(self) -> str:
        """The marks, in the protocol asked for."""
        request = self.request
        fixes = self.fixes(ChangeLimits(places=request.k_max, words=request.allowance))
        marks = marks_of(request.prompt, fixes, request.k_max) or self._expected_lines()
        if request.kind == "line":
            return self._changed(fixes, marks)
        if request.kind == "quote":
            return as_quotes(request.prompt, marks)
        if request.kind == "echo":
            return as_echo(request.prompt, marks, request.tag)
        return as_numbers(request.numbered, request.prompt, marks)

    def _changed(self, fixes: Sequence[Fix], marks: Sequence[MarkedPlace]) -> str:
        """The marked places with their new texts, in one reply."""
        self.request = replace(self.request, slots=tuple(sorted(m.place for m in marks)))
        return as_changes(self.request.prompt, [(p, _reason(p, fixes)) for p in self.slot_patches().values()])

    def _expected_lines(self) -> list[MarkedPlace]:
        """Where to look when no fix was found: the last word of an expected label's line."""
        manual, out = self.material.evidence.manual, []
        expected = dict.fromkeys(c.expected for c in self.material.evidence.all)
        wanted = expected or dict.fromkeys(range(len(manual.labels)))
        for label in wanted:
            end = max(manual.labels[label].body[1], manual.labels[label].place[1])
            start = max(self.request.prompt.rfind(" ", 0, end) + 1, manual.labels[label].line[0])
            out.append(MarkedPlace((start, end), f'"{manual.labels[label].name}" may be described too thinly.'))
        self.rng.shuffle(out)
        return out[:1]

    def slot_patches(self) -> dict[int, Patch]:
        """New text by slot number, for the slots that change."""
        request, prompt = self.request, self.request.prompt
        fixes = self.fixes()
        patches: list[Patch] = []
        for f in fixes:
            patches.extend(f.patches)
        out: dict[int, Patch] = {}
        for n, (start, end) in enumerate(request.slots, 1):
            mine = []
            for p in patches:
                if start <= p.start and p.end <= end:
                    mine.append(Patch(p.start - start, p.end - start, p.new))
            patches = [p for p in patches if not (start <= p.start and p.end <= end)]
            if mine:
                out[n] = Patch(start, end, patched(prompt[start:end], mine))
        if not out:
            for n, (start, end) in enumerate(request.slots, 1):
                other = rephrased(prompt[start:end], self.rng, 1.0)
                if other != prompt[start:end]:
                    out[n] = Patch(start, end, other)
        return out

    def filled(self) -> str:
        """The JSON object of the slots protocol."""
        fixes = self.fixes()
        out = {}
        for n, patch in self.slot_patches().items():
            out[str(n)] = {"new": patch.new, "reason": _reason(patch, fixes)}
        if not out and self.request.slots:
            out["1"] = {"new": self.request.prompt[slice(*self.request.slots[0])], "reason": "nothing better is known"}
        return json.dumps(out, ensure_ascii=False)

    def rewritten(self) -> str:
        """The whole prompt with the fixes made, in somewhat other words."""
        request = self.request
        mended = patched(request.prompt, list(chain.from_iterable(f.patches for f in self.fixes())))
        keeps_meaning = request.goal == "paraphrase"
        frozen = "\n".join(slices(request.prompt, request.frozen))
        told = mended
        if not (keeps_meaning and frozen) and request.goal != "shorten":
            rate = self._loss()
            told = rephrased(mended, self.rng, 0.5) if keeps_meaning else careless(mended, self.rng, rate, frozen)
        return told if request.cap is None else condensed(told, request.cap, frozen)

    def _loss(self) -> float:
        """A tight word allowance leaves less room for losses."""
        allowance = self.request.allowance
        return self.carelessness if allowance is None else self.carelessness * min(1.0, allowance / 100)


def _reason(patch: Patch, fixes: Sequence[Fix]) -> str:
    """Why the place of the patch changes: the reasons of the fixes inside it."""
    reasons = []
    for fix in fixes:
        if any(patch.start <= p.start and p.end <= patch.end for p in fix.patches):
            reasons.append(fix.reason)
    return " ".join(reasons)


def _open_places(request: Request) -> tuple[Place, ...] | None:
    """Where text may change; None is everywhere."""
    if request.kind in {"slots", "reply"}:
        return request.slots
    if not request.frozen:
        return None
    starts = [0, *(b for _, b in request.frozen)]
    return tuple(zip(starts, [*(a for a, _ in request.frozen), len(request.prompt)], strict=True))


def _spent(request: Request) -> frozenset[str]:
    """Words whose addition brought nothing before, by the history of edits."""
    out: set[str] = set()
    for item in request.history:
        gain, new, old = item.get("gain"), item.get("new"), item.get("old")
        if isinstance(gain, int | float) and gain <= 0 and isinstance(new, str) and isinstance(old, str):
            out |= set(stems(new)) - set(stems(old))
    return frozenset(out)


# ---------------------------------------------------------------- the model spec "offline"

Role: TypeAlias = Literal["task", "optimizer", "judge"]


def offline_model(role: Role) -> BaseChatModel:
    r"""The offline model for a role. A judge follows its prompt as the task model does.

    >>> offline_model("task").invoke("Answer red or blue.\nText: a red rose").content
    'red'
    """
    if role not in get_args(Role):
        msg = f"unknown role {role!r}"
        raise ConfigError(msg, mend=f"Offline models exist for {', '.join(get_args(Role))}.")
    if role == "optimizer":
        return OfflineOptimizerModel()
    return OfflineTaskModel(model_name=f"offline-{role}")


def label_prompt(labels: Sequence[str], *, variable: str) -> str:
    """A plain f-string prompt that lists `labels`, each described by nothing but the words of its name.

    >>> print(label_prompt(["warm_red", "blue"], variable="text"))
    Decide which label fits the text.
    <BLANKLINE>
    ## Labels
    - warm_red: warm red
    - blue: blue
    <BLANKLINE>
    ## Output
    Answer with the label only, exactly as it is written above.
    <BLANKLINE>
    Text: {text}
    """
    if not variable.isidentifier():
        msg = f"{variable!r} cannot be a variable of an f-string prompt"
        raise ConfigError(msg, mend="Give the name of the input column, for example 'question'.")
    noun = variable.replace("_", " ")
    listed = "\n".join(f"- {_escaped(name)}: {_escaped(_spoken(name))}" for name in labels)
    return (
        f"Decide which label fits the {noun}.\n\n## Labels\n{listed}\n\n## Output\n"
        f"Answer with the label only, exactly as it is written above.\n\n{noun.capitalize()}: {{{variable}}}"
    )


def _spoken(name: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_\-/?]+", " ", name)).split()).lower()


def _escaped(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")
