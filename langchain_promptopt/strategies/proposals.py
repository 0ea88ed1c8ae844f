"""A3, A7 and A8. What is said about the evidence, how children are written, and how many of them.

`refine` adapts to the scope of the piece; paraphrases of A8 are written by it, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from langchain_promptopt._text.document import normal_ranges
from langchain_promptopt._text.spans import removable, shifted
from langchain_promptopt._text.words import count_words, word_limit
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.recipe import at_least, within
from langchain_promptopt.steps.base import spans_of
from langchain_promptopt.steps.diagnosis import TextualGradient, reasons_of
from langchain_promptopt.steps.metaprompts import MetaPrompts
from langchain_promptopt.steps.propose import GlobalProposal, LocalProposal
from langchain_promptopt.types import Attempt, Batch, Candidate, Draft, Edit, Feedback, Rejection, Span, Workpiece
from langchain_promptopt.types.edits import compose
from langchain_promptopt.types.prompts import replacements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from langchain_promptopt.protocols import Ask, Refinement
    from langchain_promptopt.types import PromptSet, Workpiece


@dataclass(frozen=True)
class NoFeedback:
    """No feedback: the proposal sees the evidence alone."""

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:  # noqa: ARG002
        """The piece as it is."""
        return (piece,)


@dataclass(frozen=True)
class Gradient:
    """A textual gradient: why the rows went wrong (APO). Each of several reasons leads to a proposal of its own."""

    reasons: int = 1
    temperature: float = 0.0

    def __post_init__(self) -> None:
        at_least("feedback.reasons", self.reasons, 1)

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:
        """One piece per reason, all after the same turn; none when there are no errors to explain (A5)."""
        if not piece.batch.errors:
            return ()
        step = TextualGradient(
            model=ask.runnable(),
            variant="apo",
            reasons=self.reasons,
            temperature=self.temperature,
            metaprompts=MetaPrompts(ask.metaprompts),
        )
        out = await step.ainvoke(piece, ask.config)
        if self.reasons == 1 or out.feedback is None:
            return (out,)
        ids = out.feedback.example_ids
        found: list[Workpiece] = []
        for r in reasons_of(out.feedback.text)[: self.reasons]:
            found.append(replace(out, feedback=Feedback(r, ids)))
        return tuple(found)


@dataclass(frozen=True)
class Reasoning:
    """PE2's first step: a question list for each row, then what should change."""

    temperature: float = 0.0

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:
        """The piece with feedback and the turn that gave it."""
        step = TextualGradient(
            model=ask.runnable(), variant="pe2", temperature=self.temperature, metaprompts=MetaPrompts(ask.metaprompts)
        )
        return (await step.ainvoke(piece, ask.config),)


# ---------------------------------------------------------------- A7. How children are written

_GROWTH = 1.25
"""A prompt already over the cap may grow to this multiple of its own length."""


def effective_cap(text: str, cap: int) -> int:
    """Words a child of `text` may have: the cap, or for a prompt already over it a quarter more than it has.

    The caps of the papers were made for prompts of a sentence; a long production prompt is edited, not condensed.
    """
    limit, words = word_limit(text, cap), count_words(text)
    return limit if words <= limit else int(words * _GROWTH)


@dataclass(frozen=True)
class Refine:
    """The optimizer model writes new text for the marked spans, or for the whole prompt where none are marked.

    `cap` is the most words a child may have; it is stated to global proposals and checked by the guards.
    """

    goal: Literal["edit", "generate", "paraphrase"] = "edit"
    protocol: Literal["slots", "reply"] = "slots"
    enforce: Literal["strict", "audit", "off"] = "strict"
    temperature: float = 0.7
    cap: int | None = None
    leak_max: float = 0.3

    async def propose(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with drafts."""
        temperature = piece.allowance.temperature if piece.allowance.temperature is not None else self.temperature
        if piece.spans is None:
            cap = None if self.cap is None else effective_cap(piece.prompts.document.text, self.cap)
            whole = GlobalProposal(
                model=ask.runnable(),
                goal=self.goal,
                cap=cap,
                temperature=temperature,
                metaprompts=MetaPrompts(ask.metaprompts),
            )
            return await whole.ainvoke(piece, ask.config)
        local = LocalProposal(
            model=ask.runnable(),
            goal=self.goal,
            protocol=self.protocol,
            enforce=self.enforce,
            temperature=temperature,
            leak_max=self.leak_max,
            metaprompts=MetaPrompts(ask.metaprompts),
        )
        return await local.ainvoke(piece, ask.config)


_LEFT_OUT = "left out to see whether any answer needs it"
"""The reason of an edit that takes text out without a model."""


_FEWER_WORDS = "said in fewer words"
"""The reason of an edit that a rewrite makes."""


@dataclass(frozen=True)
class Shorten:
    """A shorter prompt: the first proposal of a parent is a rewrite in fewer words, the others leave text out.

    The optimizer model writes the rewrite, with at most `share` of the words. What is left out is a run of lines
    and sentences, drawn at random: of `largest` of all of them in the first two steps, then of half as many after
    every two steps, down to one. It asks no model, and no message is left empty.
    """

    share: float = 0.8
    largest: float = 0.25
    temperature: float = 0.7

    def __post_init__(self) -> None:
        within("refine.share", self.share, 0.0, 1.0)
        within("refine.largest", self.largest, 0.0, 1.0)

    async def propose(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with one draft, or with the reason why there is none."""
        if ask.turn.batch == 0:
            cap = max(1, int(count_words(piece.prompts.document.text) * self.share))
            model = ask.runnable()
            texts = MetaPrompts(ask.metaprompts)
            whole = GlobalProposal(
                model=model, goal="shorten", cap=cap, temperature=self.temperature, metaprompts=texts
            )
            made = await whole.ainvoke(piece, ask.config)
            return replace(made, drafts=tuple(_with_reason(d, _FEWER_WORDS) for d in made.drafts))
        return self._without(piece, ask)

    def _without(self, piece: Workpiece, ask: Ask) -> Workpiece:
        document = piece.prompts.document
        units = removable(document.text, document.frozen)
        step = int(ask.place[0]) if ask.place else 1
        size = max(1, int(len(units) * self.largest) >> ((step - 1) // 2))
        blocks = [units[i : i + size] for i in range(0, len(units), size)]
        # the proposals of one parent take different blocks, so their order may not depend on the proposal
        order = rng_at(ask.seed, "shorten", *ask.place[:2]).sample(range(len(blocks)), len(blocks))
        for number in order[(ask.turn.batch - 1) :: max(1, len(blocks))]:
            draft = _left_out(piece.prompts, blocks[number])
            if draft is not None:
                return replace(piece, drafts=(*piece.drafts, draft))
        refused = Rejection("nothing_to_leave_out", "no sentence is left that could be taken out")
        return replace(piece, rejections=(*piece.rejections, refused))


def _with_reason(draft: Draft, reason: str) -> Draft:
    return replace(draft, edits=tuple(replace(e, reason=e.reason or reason) for e in draft.edits))


def _left_out(prompts: PromptSet, units: Sequence[tuple[int, int]]) -> Draft | None:
    """The draft without these stretches; None where a message would have no words left."""
    spans = spans_of(prompts, normal_ranges(units, len(prompts.document.text)))
    edits = tuple(Edit(s, prompts.text_at(s), "", _LEFT_OUT) for s in spans)
    child = prompts.apply(edits)
    for before, after in zip(prompts.messages, child.messages, strict=True):
        if before.template.strip() and not after.template.strip():
            return None
    return Draft(child, edits, None)


# ---------------------------------------------------------------- A8. How many children, and which are kept


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
    """APO's expansion: every rewrite, and the parent itself, gets `q` paraphrases; at most `keep` go on.

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
    blank = replace(piece, batch=Batch(), feedback=None, turns=(), drafts=(), rejections=(), children=q, span_texts=())
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
    composed = compose(piece.prompts, [("rewrite", draft.edits), ("paraphrase", paraphrase.edits)])
    return replace(paraphrase, edits=tuple(e.as_edit() for e in composed))
