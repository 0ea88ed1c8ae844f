"""A8. How many children, and which are kept before scoring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from langchain_promptopt._text.spans import shifted
from langchain_promptopt.protocols import Screening
from langchain_promptopt.recipe import at_least
from langchain_promptopt.types import Attempt, Batch, Candidate, Draft, Edit, Span, Workpiece
from langchain_promptopt.types.edits import compose, kept_apart
from langchain_promptopt.types.prompts import replacements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from langchain_promptopt.protocols import Ask, Refinement, Trial
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

    @property
    def screening(self) -> int:
        """Children go to dev untried."""
        return 0

    @property
    def earns(self) -> bool:
        """No edit is tried by itself."""
        return False

    def screened(self, trials: Sequence[Trial]) -> Screening:
        """All of them."""
        return Screening(tuple(t.candidate for t in trials))

    async def augment(self, piece: Workpiece, refine: Refinement, ask: Ask) -> Workpiece:  # noqa: ARG002
        """No paraphrases."""
        return piece

    def prune(self, fresh: Sequence[Candidate], parent: Attempt, rng: Random) -> tuple[Candidate, ...]:  # noqa: ARG002
        """All of them."""
        return tuple(fresh)


@dataclass(frozen=True)
class Screened(PerParent):
    """Children face the rows they were made from; edits of those that helped are joined (docs/design/004-robust.md).

    A good local edit rights the very rows that asked for it: on them its effect is near one, on
    all of dev near a hundredth. So a handful of train rows tells good from bad proposals; with
    `each`, an edit without which no won row is lost is taken out. Only the joined child (and the
    `singles` best of the others) see dev at all.
    """

    rows: int = 6
    singles: int = 0
    least_gain: float = 1.0
    each: bool = True

    @property
    def screening(self) -> int:
        """Rows of its evidence that a child must face."""
        return self.rows

    @property
    def earns(self) -> bool:
        """Whether each edit has to earn its place."""
        return self.each

    def screened(self, trials: Sequence[Trial]) -> Screening:
        """Those that won rows, best first; of two or more the edits that stand apart are joined.

        A whole rewrite goes on only where it won more rows than every local child did.
        """
        good = sorted((t for t in trials if t.gain >= self.least_gain), key=lambda t: -t.gain)
        local = [t.candidate for t in good if t.candidate.scope != "global"]
        best = max((t.gain for t in good if t.candidate.scope != "global"), default=0.0)
        whole = [t.candidate for t in good if t.candidate.scope == "global" and t.gain > best]
        joined = kept_apart(e for c in local for e in c.edits)
        if len(local) < 2 or len(joined) <= len(local[0].edits):
            return Screening((*local[: 1 + self.singles], *whole[:1]))
        return Screening((*local[: self.singles], *whole[:1]), (joined,))


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
        """Paraphrases of each draft, and once per parent of the parent itself."""
        again = replace(cast("Refine", refine), goal="paraphrase", temperature=self.temperature)
        out = piece
        first_of_parent = ask.place[2:4] == (0, 0)  # place is (step, parent, batch, reason, ...)
        for i, draft in enumerate((*piece.drafts, *([None] if first_of_parent else []))):
            start = _start(piece, draft, self.q)
            done = await again.propose(start, ask.at(i))
            made = done.drafts if draft is None else tuple(_after(piece, draft, d) for d in done.drafts)
            out = replace(out, drafts=(*out.drafts, *made), rejections=(*out.rejections, *done.rejections))
        return out

    def prune(self, fresh: Sequence[Candidate], parent: Attempt, rng: Random) -> tuple[Candidate, ...]:  # noqa: ARG002
        """A random `keep` of them, in their order (A2)."""
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
    """Where the text of `span` stands after `edits` of the same parent."""
    here = replacements(edits).get((span.prompt, span.message), [])
    start, end = shifted((span.start, span.end), here)
    return replace(span, start=start, end=end)


def _after(piece: Workpiece, draft: Draft, paraphrase: Draft) -> Draft:
    """A paraphrase of a draft, told as edits of the draft's parent."""
    told = [[e.as_json() for e in d.edits] for d in (draft, paraphrase)]
    composed = compose(piece.prompts.as_json(), [("rewrite", told[0]), ("paraphrase", told[1])])
    return replace(paraphrase, edits=tuple(e.as_edit() for e in composed))
