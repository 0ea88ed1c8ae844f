"""A9. Which drafts become candidates: LOCAL and VARS always, then length, lint, novelty, word allowance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._text.lint import lint, lint_answers
from langchain_promptopt._text.spans import kept_outside
from langchain_promptopt._text.templates import same_code
from langchain_promptopt._text.words import count_words, word_limit, words_changed
from langchain_promptopt.recipe import at_least
from langchain_promptopt.strategies.proposals import effective_cap
from langchain_promptopt.types import Draft, PromptSet, Rejection
from langchain_promptopt.types.prompts import replacements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_promptopt.protocols import GuardContext
    from langchain_promptopt.types import Example, Prompt


@dataclass(frozen=True)
class Standard:
    """Text changes only at the edits, variables stay, and a child has at most `cap` words (None: no limit).

    These are the guards of spec 1.4 and 5.4; PE2's cap is 50.

    A parent longer than the cap bounds its children by its own length instead, so that long production
    prompts can be edited under presets made for short ones.
    """

    cap: int | None = None

    def __post_init__(self) -> None:
        if self.cap is not None:
            at_least("guards.cap", self.cap, 1)

    def check(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        """The first rule that refuses, or None.

        Args:
            parent: The prompts that the draft was made from.
            draft: The child's prompts and the edits that make it.
            context: What else a rule may look at: scope, allowance, known candidates, rows.
        """
        return (
            self._local(parent, draft)
            or self._vars(parent, draft)
            or self._novel(draft, context)
            or self._length(parent, draft)
            or self._allowance(parent, draft, context)
            or self._lint(parent, draft, context)
        )

    def _local(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        """A child is its parent with the edits spliced in: what lies between the edits is the parent's own text.

        The two texts are compared stretch by stretch. To apply the edits again and compare the results would
        prove nothing: an error of `apply` would be on both sides.
        """
        changed = replacements(draft.edits)
        same = list(map(_frame, parent)) == list(map(_frame, draft.prompts))
        if not same or not all(parent.has(*place) for place in changed):
            return Rejection("local", "the candidate has other prompts or messages than its parent")
        for old, new in zip(parent, draft.prompts, strict=True):
            for i, (before, after) in enumerate(zip(old.messages, new.messages, strict=True)):
                if not kept_outside(before.template, changed.get((old.name, i), ()), after.template):
                    return Rejection("local", "text outside the edits differs from the parent")
        return None

    def _vars(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        """The same template code in every message; a child that does not even parse is refused, too."""
        for old, new in zip(parent, draft.prompts, strict=True):
            for before, after in zip(old.messages, new.messages, strict=True):
                refusal = same_code(before.parsed, after.template)
                if refusal is not None:
                    return Rejection("vars", f"prompt {old.name!r}: {refusal.rule}: {refusal.detail}")
        return None

    def _novel(self, draft: Draft, context: GuardContext) -> Rejection | None:
        return Rejection("known", "this prompt was tried before") if draft.prompts.id in context.known_ids else None

    def _length(self, parent: PromptSet, draft: Draft) -> Rejection | None:
        if self.cap is None:
            return None
        after, limit = count_words(draft.prompts.document.text), effective_cap(parent.document.text, self.cap)
        return Rejection("too_long", f"{after} words, {limit} allowed") if after > limit else None

    def _allowance(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        allowance, text = context.piece.allowance, parent.document.text
        if not allowance.enforced or allowance.words is None:
            return None
        changed, most = words_changed(text, draft.prompts.document.text), word_limit(text, allowance.words)
        return Rejection("over_allowance", f"{changed} words changed, {most} allowed") if changed > most else None

    def _lint(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        shown = frozenset(context.piece.batch.example_ids)
        text, new_texts = parent.document.text, [e.new for e in draft.edits]
        allowance = context.piece.allowance
        unseen = (_said(e) for e in context.examples if e.id not in shown)
        found = lint(
            text,
            draft.prompts.document.text,
            new_texts,
            examples=[_said(e) for e in context.examples if e.id in shown],
            others=unseen,
            budget_words=allowance.words if allowance.stated else None,
        )
        return found[0] if found else lint_answers(new_texts, text, _answers(context.examples))


@dataclass(frozen=True)
class OnlyShorter(Standard):
    """As Standard, and a child must have fewer tokens than its parent."""

    def check(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        """The first rule that refuses, or None.

        Args:
            parent: The prompts that the draft was made from.
            draft: The child's prompts and the edits that make it.
            context: What else a rule may look at: scope, allowance, known candidates, rows.
        """
        before, after = parent.tokens, draft.prompts.tokens
        if after >= before:
            return Rejection("not_shorter", f"about {after} tokens, the parent has {before}")
        return super().check(parent, draft, context)


def _frame(prompt: Prompt) -> tuple[object, ...]:
    """What of a prompt no edit reaches: everything but the text of its messages."""
    return prompt.name, prompt.kind, prompt.partials, [(m.role, m.template_format) for m in prompt.messages]


def _said(example: Example) -> str:
    """The inputs of a row as one text."""
    return " ".join(map(str, example.inputs.values()))


def _answers(examples: Sequence[Example]) -> Iterator[str]:
    """Reference answers as text: strings anywhere in the expected outputs."""
    stack: list[object] = [e.outputs for e in examples]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
