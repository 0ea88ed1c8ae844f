"""A5. Which text may change."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from langchain_promptopt._text.spans import SpanLimits, legalise
from langchain_promptopt._text.words import word_limit, word_ranges
from langchain_promptopt.recipe import at_least, within
from langchain_promptopt.steps.base import spans_of, tagged
from langchain_promptopt.steps.diagnosis import IdentifyTokens
from langchain_promptopt.steps.metaprompts import MetaPrompts
from langchain_promptopt.types import Allowance, PromptSet, Rejection, ScopeName, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.protocols import Ask, Scope


@dataclass(frozen=True)
class Global:
    """The whole editable text may change."""

    @property
    def name(self) -> ScopeName:
        """Its name in events."""
        return "global"

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:  # noqa: ARG002
        """No spans: everything may change."""
        return piece


@dataclass(frozen=True)
class Spans:
    """LPO: the optimizer model marks the words to blame; only they may change.

    `w_max` words a span, `k_max` spans, `f_max` of the editable words in all. A word
    allowance counted in spans lowers `k_max`. Where marks have
    helped no more than chance, the next ones may be `widen` times as long (1.6); 1 never widens.
    """

    protocol: Literal["line", "quote", "echo", "index"] = "line"
    w_max: int | None = 5
    k_max: int = 5
    f_max: float = 0.5
    insertions: bool = True
    whole_lines: bool = True
    retries: int = 1
    temperature: float = 0.0
    widen: int = 2

    def __post_init__(self) -> None:
        for name, value, least in (("w_max", self.w_max, 1), ("k_max", self.k_max, 1), ("widen", self.widen, 1)):
            if value is not None:
                at_least(f"scope.{name}", value, least)
        at_least("scope.retries", self.retries, 0)
        within("scope.f_max", self.f_max, 0.0, 1.0)

    @property
    def name(self) -> ScopeName:
        """Its name in events."""
        return "spans"

    def limits(self, most: int | None = None, *, astray: bool = False) -> SpanLimits:
        """The bounds on size and number."""
        k_max = self.k_max if most is None else max(1, min(self.k_max, most))
        w_max = self.w_max * self.widen if astray and self.w_max is not None else self.w_max
        return SpanLimits(w_max, k_max, self.f_max, self.insertions, self.whole_lines)

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with the marked spans; none skips the proposal."""
        step = IdentifyTokens(
            model=ask.runnable(),
            protocol=self.protocol,
            limits=self.limits(piece.allowance.spans, astray=ask.turn.astray),
            retries=self.retries,
            temperature=self.temperature,
            metaprompts=MetaPrompts(ask.metaprompts),
        )
        return await step.ainvoke(piece, ask.config)


@dataclass(frozen=True)
class RandomSpans:
    """A control for LPO: as many spans as it may mark, chosen at random."""

    w_max: int = 5
    k_max: int = 5
    protocol: Literal["random"] = "random"

    @property
    def name(self) -> ScopeName:
        """Its name in events."""
        return "random_spans"

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """Random stretches of editable words."""
        document = piece.prompts.document
        rng = ask.rng("spans")
        words = word_ranges(document.text)
        size = word_limit(document.text, self.w_max)
        starts = rng.sample(range(len(words)), min(2 * self.k_max, len(words)))
        ranges = []
        for i in starts:
            ranges.append((words[i][0], words[min(i + rng.randint(1, size), len(words)) - 1][1]))
        return _marked(piece, ranges, SpanLimits(self.w_max, self.k_max, 1.0, whole_lines=False))


@dataclass(frozen=True)
class FixedSpans:
    """The same flat ranges at every step, moved along with edits by their quoted text (`oracle_spans` in the bench).

    A quote that is no longer in the prompt is left out.
    """

    quotes: tuple[str, ...]
    protocol: Literal["fixed"] = "fixed"

    @property
    def name(self) -> ScopeName:
        """Its name in events."""
        return "fixed_spans"

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:  # noqa: ARG002
        """The places of the quotes in the current text."""
        text = piece.prompts.document.text
        ranges = []
        for quote in self.quotes:
            at = text.find(quote)
            if at >= 0:
                ranges.append((at, at + len(quote)))
        return _marked(piece, ranges, SpanLimits(None, max(1, len(ranges)), 1.0))


@dataclass(frozen=True)
class Sections:
    """APO: only the text under these headers may change (ProTeGi's task section).

    Without a matching header the first section, or the whole text where there are none.
    """

    headers: tuple[str, ...] = ("task", "instruction", "rules")
    protocol: Literal["headers"] = "headers"

    @property
    def name(self) -> ScopeName:
        """Its name in events."""
        return "section"

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:  # noqa: ARG002
        """The bodies of the chosen sections; None (global) for a prompt without headers."""
        found = sections_of(piece.prompts.document.text)
        if not found:
            return piece
        wanted = [body for title, body in found if self._chosen(title)]
        first = found[0][1]
        return _marked(piece, wanted or [first], SpanLimits(None, 50, 1.0))

    def _chosen(self, title: str) -> bool:
        return any(h in title.casefold() for h in self.headers)


_HEADER = re.compile(r"(?m)^#{1,6}[ \t]+(\S.*)$")


def sections_of(text: str) -> list[tuple[str, tuple[int, int]]]:
    r"""Title and body range of each Markdown section, in order.

    >>> sections_of("# Task\nSort.\n# Output\nOne word.")
    [('Task', (7, 13)), ('Output', (22, 31))]
    """
    heads = list(_HEADER.finditer(text))
    ends = [m.start() for m in heads[1:]] + [len(text)] * bool(heads)
    found: list[tuple[str, tuple[int, int]]] = []
    for m, end in zip(heads, ends, strict=True):
        found.append((m.group(1), (min(m.end() + 1, end), end)))
    return found


@dataclass(frozen=True)
class Alternating:
    """Local, and one global step after every `every` steps without gain: a plateau may need restructuring (1.6)."""

    inner: Scope = field(default_factory=Spans)
    every: int = 3

    @property
    def name(self) -> ScopeName:
        """The inner scope's name; a global step is named by the engine."""
        return self.inner.name

    @property
    def protocol(self) -> str:
        """The inner scope's protocol."""
        return str(getattr(self.inner, "protocol", self.inner.name))

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The inner scope, or None for global on a plateau."""
        if ask.turn.stalled and ask.turn.stalled % self.every == 0:
            return piece
        return await self.inner.resolve(piece, ask)


@dataclass(frozen=True)
class Hedged:
    """Local; from `after` steps without gain on, every `every`-th proposal of a parent rewrites the whole prompt.

    A whole rewrite is not bound by the word allowance of the local steps. Small models write none that can be used:
    after `give_up` of them, and not one that could, no more are asked for.
    """

    inner: Scope = field(default_factory=Spans)
    after: int = 1
    every: int = 4
    give_up: ClassVar[int] = 3

    @property
    def name(self) -> ScopeName:
        """The inner scope's name; a global proposal is named by the engine."""
        return self.inner.name

    @property
    def protocol(self) -> str:
        """The inner scope's protocol."""
        return str(getattr(self.inner, "protocol", self.inner.name))

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The inner scope, or None for global where it is this proposal's turn."""
        due = ask.turn.stalled >= self.after and ask.turn.batch % self.every == self.every - 1
        if due and ask.turn.unusable < self.give_up:
            return replace(piece, allowance=Allowance())
        return await self.inner.resolve(piece, ask)


def _marked(piece: Workpiece, ranges: Sequence[tuple[int, int]], limits: SpanLimits) -> Workpiece:
    """The piece with these flat ranges as spans, made legal."""
    prompts: PromptSet = piece.prompts
    document = prompts.document
    legal = legalise(ranges, document.text, document.frozen, limits)
    spans = spans_of(prompts, legal)
    refused = () if spans else (Rejection("no_legal_span", "no range is editable"),)
    shown = tagged(prompts, spans)[0] if spans else document.text
    reasons = ("",) * len(spans)
    return replace(piece, spans=spans, span_reasons=reasons, tagged=shown, rejections=(*piece.rejections, *refused))


def spans_for(words: int | None, w_max: int) -> int | None:
    """How many spans of `w_max` words a word budget allows (lpo-gpo: ceil(B_t / 5))."""
    return None if words is None else max(1, math.ceil(words / w_max))
