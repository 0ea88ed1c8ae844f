"""Edits of an earlier run on a prompt that may have changed since: those whose text is still there are tried first."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt.errors import PromptError
from langchain_promptopt.strategies.seeding import Earlier
from langchain_promptopt.types import Edit, Span
from langchain_promptopt.types.edits import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.recipe import Recipe
    from langchain_promptopt.types import PromptSet

_AROUND = 24
"""Characters on each side by which an edit's place is recognised in a changed prompt."""


@dataclass(frozen=True)
class PastEdit:
    """An edit, the text it stood in, and the rows (as `recorded_rows` gives them) on which it was found."""

    edit: Edit
    template: str
    searched: frozenset[str] = frozenset()

    def placed(self, prompts: PromptSet) -> Edit | None:
        """The edit at its place in `prompts`; None where its text is gone, ambiguous or may not be touched."""
        span = self.edit.span
        if span.prompt not in {p.name for p in prompts} or span.message >= len(prompts[span.prompt].messages):
            return None
        start = self._found(prompts[span.prompt].messages[span.message].template)
        if start is None:
            return None
        moved = replace(self.edit, span=Span(span.prompt, span.message, start, start + len(self.edit.old)))
        return moved if _allowed(moved, prompts) else None

    def _found(self, text: str) -> int | None:
        """Where the old text is now: with its surroundings, else alone; None unless there is exactly one place."""
        span, old = self.edit.span, self.edit.old
        if text == self.template:
            return span.start
        head = self.template[max(0, span.start - _AROUND) : span.start]
        # An old text that occurs twice has no sure place: it is left out, not guessed.
        for before, wanted in ((len(head), head + old + self.template[span.end : span.end + _AROUND]), (0, old)):
            if wanted and text.count(wanted) == 1 and (before or old):
                return text.index(wanted) + before
        return None


def _allowed(edit: Edit, prompts: PromptSet) -> bool:
    """Whether the edit keeps frozen text and variables."""
    span = edit.span
    message = prompts[span.prompt].messages[span.message]
    held = (*message.frozen, *message.parsed.atom_ranges)
    if not message.editable or any(span.start < b and a < max(span.end, span.start + 1) for a, b in held):
        return False
    try:
        made = prompts.apply([edit])
        return all(a.signature == b.signature for a, b in zip(prompts, made, strict=True))
    except PromptError:
        return False


def with_past(recipe: Recipe, prompts: PromptSet, past: Sequence[PastEdit]) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe that tries the edits which still fit before anything else.

    Args:
        recipe: The recipe of this run.
        prompts: The prompts of now, which may differ from those of the earlier run.
        past: Edits of the earlier run.

    Returns:
        The recipe, and one remark that says how many edits fit; no remark where `past` is empty.
    """
    if not past:
        return recipe, ()
    chosen: list[Edit] = []
    for edit in (e for p in past if (e := p.placed(prompts)) is not None):
        if not any(overlap(edit.span, other.span) for other in chosen):
            chosen.append(edit)
    remark = f"{len(chosen)} of {len(past)} edits of the earlier run still fit this prompt and are tried first"
    if not chosen:
        return recipe, (remark,)
    texts = tuple(json.dumps(e.as_json(), sort_keys=True, ensure_ascii=False) for e in chosen)
    return replace(recipe, seeding=Earlier(recipe.seeding, texts)), (remark,)
