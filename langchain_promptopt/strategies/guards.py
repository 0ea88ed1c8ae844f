"""A9. Which drafts become candidates: LOCAL and VARS always, then length, lint, novelty, word allowance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._text.guards import lint
from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.types import Draft, PromptSet, Rejection

if TYPE_CHECKING:
    from langchain_promptopt.protocols import GuardContext

_CAP_FLOOR = 1.25
"""A prompt already over the cap may still be edited while it does not grow past this share of itself."""


@dataclass(frozen=True)
class Standard:
    """The guards of algorithms 1.4 and 5.4. `cap` bounds a child's words (PE2: 50); None is no bound.

    A parent longer than the cap bounds its children by its own length instead, so that long production
    prompts can be edited under presets made for short ones.
    """

    cap: int | None = None

    def check(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        """The first rule that refuses, or None."""
        return (
            self._local(parent, draft)
            or self._vars(parent, draft)
            or self._novel(draft, context)
            or self._length(parent, draft)
            or self._allowance(parent, draft, context)
            or self._lint(parent, draft, context)
        )

    def _local(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        """A child is its parent with the edits spliced in, byte for byte."""
        if parent.apply(draft.edits).id != draft.prompts.id:
            return Rejection("local", "text outside the edits differs from the parent")
        return None

    def _vars(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        for old, new in zip(parent, draft.prompts, strict=True):
            if old.signature != new.signature or old.variables != new.variables:
                return Rejection("vars", f"prompt {old.name!r}: {old.variables} became {new.variables}")
        return None

    def _novel(self, draft: Draft, context: GuardContext) -> Rejection | None:
        return Rejection("known", "this prompt was tried before") if draft.prompts.id in context.known_ids else None

    def _length(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        if self.cap is None:
            return None
        before, after = count_words(parent.document.text), count_words(draft.prompts.document.text)
        limit = self.cap if before <= self.cap else int(before * _CAP_FLOOR)
        return Rejection("too_long", f"{after} words, {limit} allowed") if after > limit else None

    def _allowance(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        allowance = context.piece.allowance
        if not allowance.enforced or allowance.words is None:
            return None
        changed = words_changed(parent.document.text, draft.prompts.document.text)
        if changed > allowance.words:
            return Rejection("over_allowance", f"{changed} words changed, {allowance.words} allowed")
        return None

    def _lint(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        shown = {i for i in context.piece.batch.example_ids}
        examples = [" ".join(map(str, e.inputs.values())) for e in context.examples if e.id in shown]
        found = lint(
            parent.document.text,
            draft.prompts.document.text,
            [e.new for e in draft.edits],
            cap=None,
            examples=examples,
            budget_words=context.piece.allowance.words,
        )
        return found[0] if found else None
