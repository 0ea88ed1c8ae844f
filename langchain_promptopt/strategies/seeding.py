"""A1. Where the first candidates come from.

Edits of an earlier run may be among them, on a prompt that may have changed since: those whose text is still there
are tried first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt._collections import by_id
from langchain_promptopt._text.document import overlaps
from langchain_promptopt.errors import PromptError
from langchain_promptopt.steps.metaprompts import MetaPrompts
from langchain_promptopt.steps.propose import InduceInstruction
from langchain_promptopt.types import Batch, Candidate, Edit, Example, Shown, Span, Workpiece
from langchain_promptopt.types.edits import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.protocols import Ask, Seeding
    from langchain_promptopt.recipe import Recipe
    from langchain_promptopt.types import PromptSet


@dataclass(frozen=True)
class Manual:
    """The search starts from the user's own prompt alone."""

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:  # noqa: ARG002
        """No further candidates.

        Args:
            seed: Not used.
            train: Not used.
            ask: Not used.
        """
        return ()


@dataclass(frozen=True)
class Induction:
    """APE: infer the instruction from examples. Induced text replaces the editable text of one message.

    `subsets` draws of `demos` train rows, `each` instructions from every draw.
    """

    subsets: int = 5
    demos: int = 5
    each: int = 10
    temperature: float = 0.9

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:
        """At most subsets x each candidates, duplicates left out.

        Args:
            seed: The user's own prompt.
            train: All rows of the train split.
            ask: Calls the optimizer model, and draws randomness.
        """
        found: dict[str, Candidate] = {}
        for i in range(self.subsets):
            rows = ask.rng("demos", i).sample(list(train), min(self.demos, len(train)))
            formats = tuple(Shown(e.id, e.inputs, e.outputs, None, 0.0) for e in rows)
            step = InduceInstruction(
                model=ask.at(i).runnable(), temperature=self.temperature, metaprompts=MetaPrompts(ask.metaprompts)
            )
            piece = Workpiece(seed.prompts, batch=Batch(formats=formats), children=self.each)
            out = await step.ainvoke(piece, ask.config)
            ask.refused(out.rejections)
            for draft in out.drafts:
                made = Candidate(
                    draft.prompts, origin="induction", scope="global", parents=(seed.id,), edits=draft.edits
                )
                found.setdefault(made.id, made)
        return tuple(found.values())


@dataclass(frozen=True)
class Earlier:
    """Edits found by an earlier run, before what `inner` gives: each alone, then all together.

    `edits` are edits of the seed as JSON texts, so that a recipe with them is still plain data.
    """

    inner: Seeding = Manual()
    edits: tuple[str, ...] = ()

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:
        """Candidates made of the edits, duplicates left out, and the inner seeds after them.

        Args:
            seed: The user's own prompt.
            train: All rows of the train split.
            ask: Calls the optimizer model, and draws randomness.
        """
        known = [Edit.from_json(json.loads(text)) for text in self.edits]
        groups = [(edit,) for edit in known] + ([tuple(known)] if len(known) > 1 else [])
        made = []
        for group in groups:
            made.append(
                Candidate(seed.prompts.apply(group), origin="earlier", scope="spans", parents=(seed.id,), edits=group)
            )
        rest = await self.inner.seeds(seed, train, ask)
        return tuple(by_id((*made, *rest)).values())


# ---------------------------------------------------------------- edits of an earlier run

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
        if span.prompt not in prompts.names or span.message >= len(prompts[span.prompt].messages):
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
    end = max(span.end, span.start + 1)  # an insertion counts as one character
    if not message.editable or overlaps(held, span.start, end):
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
    for earlier in past:
        edit = earlier.placed(prompts)
        if edit is not None and not any(overlap(edit.span, other.span) for other in chosen):
            chosen.append(edit)
    remark = f"{len(chosen)} of {len(past)} edits of the earlier run still fit this prompt and are tried first"
    if not chosen:
        return recipe, (remark,)
    texts = tuple(json.dumps(e.as_json(), sort_keys=True, ensure_ascii=False) for e in chosen)
    return replace(recipe, seeding=Earlier(recipe.seeding, texts)), (remark,)
