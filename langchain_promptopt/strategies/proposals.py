"""A8. How many children, and which are kept before scoring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from langchain_promptopt._text.spans import shifted
from langchain_promptopt.recipe import at_least
from langchain_promptopt.types import Attempt, Batch, Candidate, Draft, Edit, Span, Workpiece
from langchain_promptopt.types.edits import compose
from langchain_promptopt.types.prompts import replacements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from langchain_promptopt.protocols import Ask, Refinement
    from langchain_promptopt.strategies.refine import Refine


@dataclass(frozen=True)
class PerParent:
    """m batches per parent and k children per batch (PE2: m=4, k=1); all are scored."""

    m: int = 4
    k: int = 1

    def __post_init__(self) -> None:
        at_least("proposals.m", self.m, 1)
        at_least("proposals.k", self.k, 1)

    @property
    def per_parent(self) -> int:
        """Batches m per parent."""
        return self.m

    @property
    def per_call(self) -> int:
        """Children k per batch."""
        return self.k

    @property
    def keeps_all(self) -> bool:
        """Nothing is pruned."""
        return True

    async def augment(self, piece: Workpiece, refine: Refinement, ask: Ask) -> Workpiece:  # noqa: ARG002
        """No paraphrases.

        Args:
            piece: The proposal, with the drafts written so far.
            refine: Not used.
            ask: Not used.
        """
        return piece

    def prune(self, fresh: Sequence[Candidate], parent: Attempt, rng: Random) -> tuple[Candidate, ...]:  # noqa: ARG002
        """All of them.

        Args:
            fresh: Children of one parent that were not tried before.
            parent: Not used.
            rng: Not used.
        """
        return tuple(fresh)


@dataclass(frozen=True)
class Paraphrased(PerParent):
    """APO's expansion: every rewrite, and the parent itself, gets `q` paraphrases; at most `keep` go on (spec 3.2).

    `m` groups x `k` rewrites x (1 + q) + q children before the cut: 14 by default (A1). Local
    scopes paraphrase the text of the spans alone, so that LOCAL holds.
    """

    q: int = 2
    keep: int = 8
    temperature: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("proposals.q", self.q, 0)
        at_least("proposals.keep", self.keep, 1)

    @property
    def keeps_all(self) -> bool:
        """At most `keep` go on."""
        return False

    async def augment(self, piece: Workpiece, refine: Refinement, ask: Ask) -> Workpiece:
        """Paraphrases of each draft, and once per parent of the parent itself.

        Args:
            piece: The proposal, with the drafts written so far.
            refine: The recipe's strategy for writing children (A7).
            ask: Calls the optimizer model at an address of this proposal, and draws randomness there.
        """
        again = replace(cast("Refine", refine), goal="paraphrase", temperature=self.temperature)
        out = piece
        for i, draft in enumerate((*piece.drafts, *([None] if ask.turn.first_of_parent else []))):
            start = _start(piece, draft, self.q)
            done = await again.propose(start, ask.at(i))
            made = done.drafts if draft is None else tuple(_after(piece, draft, d) for d in done.drafts)
            out = replace(out, drafts=(*out.drafts, *made), rejections=(*out.rejections, *done.rejections))
        return out

    def prune(self, fresh: Sequence[Candidate], parent: Attempt, rng: Random) -> tuple[Candidate, ...]:  # noqa: ARG002
        """A random `keep` of them, in their order (A2).

        Args:
            fresh: Children of one parent that were not tried before.
            parent: Not used.
            rng: Randomness of this step and this parent.
        """
        if len(fresh) <= self.keep:
            return tuple(fresh)
        chosen = set(rng.sample(range(len(fresh)), self.keep))
        return tuple(c for i, c in enumerate(fresh) if i in chosen)


def _start(piece: Workpiece, draft: Draft | None, q: int) -> Workpiece:
    """A fresh piece for paraphrasing the parent or a draft: no evidence, no conversation, the same area."""
    blank = replace(piece, batch=Batch(), feedback=None, turns=(), drafts=(), rejections=(), children=q)
    if draft is None:
        return blank
    spans = None if piece.spans is None else tuple(_moved(s, draft.edits) for s in piece.spans)
    return replace(blank, prompts=draft.prompts, spans=spans)


def _moved(span: Span, edits: Sequence[Edit]) -> Span:
    """The place of the text of `span` after `edits` of the same parent."""
    here = replacements(edits).get((span.prompt, span.message), [])
    start, end = shifted((span.start, span.end), here)
    return replace(span, start=start, end=end)


def _after(piece: Workpiece, draft: Draft, paraphrase: Draft) -> Draft:
    """A paraphrase of a draft, as edits of the draft's parent."""
    first, second = ([e.as_json() for e in d.edits] for d in (draft, paraphrase))
    composed = compose(piece.prompts.as_json(), [("rewrite", first), ("paraphrase", second)])
    return replace(paraphrase, edits=tuple(e.as_edit() for e in composed))
