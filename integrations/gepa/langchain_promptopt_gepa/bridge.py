"""GEPA searches; this package proposes and decides.

`LocalEdits` is a proposer as GEPA calls it: component texts and a reflective dataset go in, new component texts come
out. It marks the words that the examples point to and rewrites only these. `through_gate` takes what GEPA found to the
held-out test.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import IdentifyTokens, LocalProposal, compare
from langchain_promptopt.errors import DataError
from langchain_promptopt.types import Message, Prompt, PromptSet

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from langchain_promptopt import Result

_log = logging.getLogger(__name__)

Candidate: TypeAlias = Mapping[str, str]
Record: TypeAlias = Mapping[str, Any]
"""One entry of GEPA's reflective dataset: Inputs, Generated Outputs, Feedback, and what an adapter adds."""

_SCORE = re.compile(r"got a score of (True|False|-?[\d.]+(?:e-?\d+)?)")  # DSPy's, where a metric gives no feedback
_WANTED = re.compile(r"The correct answer is '(.*?)'", re.DOTALL)  # the default evaluator of GEPA
_RIGHT = "The generated response is correct."
_VARIABLE = re.compile(r"\{+\s*[A-Za-z_][\w.]*\s*\}+")


@dataclass(frozen=True)
class ProposedEdit:
    """One edit that was proposed: the component, the words before and after, and why."""

    component: str
    old: str
    new: str
    reason: str


def row_of(record: Record) -> dict[str, Any]:
    """A record of a reflective dataset as the steps read it.

    "score" and "Expected" are taken where an adapter gives them. Otherwise score and expected answer are read from the
    feedback that GEPA's default evaluator and DSPy's default write; an example whose score is not known counts as one
    that went wrong.

    >>> row_of({"Inputs": "6 * 7", "Generated Outputs": "42", "Feedback": "It got a score of 1.0."})["score"]
    1.0
    """
    feedback = str(record.get("Feedback", ""))
    score = record.get("score", record.get("Score"))
    if score is None:
        score = _score_in(feedback)
    expected = record.get("Expected")
    if expected is None:
        wanted = _WANTED.search(feedback)
        expected = {"answer": wanted[1]} if wanted else {}
    return {
        "inputs": record.get("Inputs", {}),
        "expected": expected,
        "answer": record.get("Generated Outputs"),
        "score": float(score),
        "comment": feedback,
    }


def _score_in(feedback: str) -> float:
    """The score that a feedback tells; 0 where it tells none."""
    said = _SCORE.search(feedback)
    if said is None:
        return float(feedback.startswith(_RIGHT))
    return float(said[1] == "True") if said[1] in ("True", "False") else float(said[1].rstrip("."))


class LocalEdits:
    """A proposer for GEPA that changes a few words and keeps the rest of a component byte for byte.

    Give it as `custom_candidate_proposer=` of `gepa.optimize`, or as `instruction_proposer=` of `dspy.GEPA`.

    Args:
        model: The optimizer model.
        frozen: Texts inside the components that stay as they are. Names in braces, as `{ticket}`, stay in any case.
        row: Reads a record of the reflective dataset; see `row_of`.
        steps: The steps to run in place of `IdentifyTokens(model=model) | LocalProposal(model=model)`.
        template_format: "f-string", "mustache" or "jinja2" where components are templates: then no new variable may
            come in, and braces that the model writes are escaped. "literal" for plain text.
        perfect_score: The score from which an example counts as right, as in `gepa.optimize`.

    Attributes:
        edits: All edits proposed so far.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        frozen: Sequence[str] = (),
        row: Callable[[Record], dict[str, Any]] = row_of,
        steps: Runnable[Any, Any] | None = None,
        template_format: Any = "literal",
        perfect_score: float = 1.0,
    ) -> None:
        self.steps = steps if steps is not None else IdentifyTokens(model=model) | LocalProposal(model=model)
        self.row = row
        self.frozen = tuple(frozen)
        self.template_format = template_format
        self.perfect_score = perfect_score
        self.edits: list[ProposedEdit] = []

    def __call__(
        self,
        candidate: Candidate,
        reflective_dataset: Mapping[str, Sequence[Record]],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        """New texts of the components.

        Args:
            candidate: The texts of all components by name.
            reflective_dataset: What was seen, by component.
            components_to_update: The components that may change.

        Returns:
            The new text of each component for which there is a lawful edit; the others keep their text.
        """
        changed = {}
        for name in components_to_update:
            new = self._rewritten(name, candidate[name], reflective_dataset.get(name, ()))
            if new is not None:
                changed[name] = new
        return changed

    def _rewritten(self, name: str, text: str, records: Sequence[Record]) -> str | None:
        errors, correct = [], []
        for number, record in enumerate(records, 1):
            row = {"id": str(number), **self.row(record)}
            (correct if row["score"] >= self.perfect_score else errors).append(row)
        if not errors:
            return None
        message = Message("system", text, self.template_format, frozen=_places(text, self.frozen))
        prompts = PromptSet((Prompt(name, (message,)),))
        done = self.steps.invoke({"prompt": prompts, "errors": errors, "correct": correct})
        if not done.drafts:
            refusals = "; ".join(f"{r.rule}: {r.detail}" for r in done.rejections)
            _log.warning("no lawful edit of component %r; it keeps its text (%s)", name, refusals)
            return None
        draft = done.drafts[0]
        self.edits += [ProposedEdit(name, e.old, e.new, e.reason) for e in draft.edits]
        new: str = draft.prompts[name].messages[0].template
        return new


def _places(text: str, frozen: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Where the frozen texts and the names in braces stand."""
    found = [m.span() for m in _VARIABLE.finditer(text)]
    for part in frozen:
        found += [(m.start(), m.end()) for m in re.finditer(re.escape(part), text)]
    return tuple(sorted(found))


def system_prompt(candidate: Candidate) -> ChatPromptTemplate:
    """The prompt that GEPA's `DefaultAdapter` builds: the first component as system message, then `{input}`."""
    from langchain_core.messages import SystemMessage

    return ChatPromptTemplate([SystemMessage(next(iter(candidate.values()))), ("human", "{input}")])


def task_lm(model: BaseChatModel) -> Callable[[Sequence[Mapping[str, str]]], str]:
    """A LangChain chat model as `task_lm=` of `gepa.optimize`."""

    def answered(messages: Sequence[Mapping[str, str]]) -> str:
        return str(model.invoke([(m["role"], m["content"]) for m in messages]).text)

    return answered


def through_gate(found: Any, build: Callable[[Candidate], Any] = system_prompt, **arguments: Any) -> Result:
    """Decide on held-out examples whether GEPA's best candidate beats its seed.

    Args:
        found: What `gepa.optimize` returned.
        build: Makes a prompt template or a chain of a candidate's texts.
        **arguments: As for `compare`: data (the test split, which GEPA has not seen), evaluators, task_model, gate ...

    Returns:
        The Result of `compare`: outcome and test table.

    Raises:
        UsageError: Bad input, or GEPA's best candidate is its seed; nothing was paid for.
    """
    seed, best = found.candidates[0], found.candidates[found.best_idx]
    if seed == best:
        msg = "the best candidate that GEPA found is the one it began with"
        raise DataError(msg, mend="There is nothing to decide. Give GEPA more metric calls, or harder examples.")
    return compare(build(seed), build(best), **arguments)
