"""A4. Which past attempts the proposer may learn from, and in which order it sees them (GPO 2.3, OPRO 3.4).

The default embedding for relevance is hashed words and letter runs: no download, no key, the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from langchain_core.embeddings import Embeddings

from langchain_promptopt._text.words import word_ranges
from langchain_promptopt.errors import RecipeError
from langchain_promptopt.recipe import at_least
from langchain_promptopt.steps.diagnosis import SummariseTrajectory
from langchain_promptopt.steps.metaprompts import MetaPrompts
from langchain_promptopt.types import Attempt, Remembered, Trajectory, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.protocols import Ask

_SIZE = 512
_RUN = 4


class HashedEmbeddings(Embeddings):
    """Unit vectors whose cosine is high for texts that share words or parts of words.

    >>> e = HashedEmbeddings()
    >>> cosine(e.embed_query("think step by step"), e.embed_query("think step by step")) > 0.999
    True
    """

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return list(_vector(text))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of several texts."""
        return list(map(self.embed_query, texts))


@lru_cache(maxsize=4096)
def _vector(text: str) -> tuple[float, ...]:
    values = [0.0] * _SIZE
    for start, end in word_ranges(text):
        word = text[start:end].casefold()
        runs = [word[i : i + _RUN] for i in range(len(word) - _RUN + 1)] if len(word) > _RUN else []
        for feature, weight in [(word, 1.0), *((run, 0.5) for run in runs)]:
            digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            place = int.from_bytes(digest[:4], "big") % _SIZE
            values[place] += weight if digest[4] & 1 else -weight
    norm = math.sqrt(sum(v * v for v in values)) or 1.0
    return tuple(v / norm for v in values)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine similarity as a plain float, whatever numbers the embedding gives; 0 for a zero vector."""
    norm = _length(a) * _length(b)
    if not norm:
        return 0.0
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / norm)


def _length(vector: Sequence[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))


Pool = Literal["chosen", "all"]


def pool_of(trajectory: Trajectory, pool: Pool) -> list[Attempt]:
    """Attempts the search went on from, or all that were fully scored; never the same prompt twice."""
    seen = {}
    for a in trajectory:
        if not a.out and (pool == "all" or a.chosen):
            seen[a.candidate.id] = a
    return list(seen.values())


@dataclass(frozen=True)
class NoMemory:
    """No earlier attempts are shown."""

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:  # noqa: ARG002
        """Nothing.

        Args:
            trajectory: Not used.
            around: Not used.
            ask: Not used.
        """
        return ()


@dataclass(frozen=True)
class Recency:
    """The last k, newest first (GPO code); scores play no part (G4)."""

    k: int = 3
    pool: Pool = "chosen"

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 1)

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:  # noqa: ARG002
        """At most k, newest first.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: Not used.
            ask: Not used.
        """
        found: list[Remembered] = []
        for a in reversed(pool_of(trajectory, self.pool)[-self.k :]):
            found.append(Remembered(a))
        return tuple(found)


@dataclass(frozen=True)
class Importance:
    """The k best by dev score, best first; may include the current prompt. Insertion order plays no part (G4)."""

    k: int = 3
    pool: Pool = "chosen"

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 1)

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:  # noqa: ARG002
        """At most k, best first; equal scores by id.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: Not used.
            ask: Not used.
        """
        order = sorted(pool_of(trajectory, self.pool), key=lambda a: (-a.score, a.candidate.id))
        return tuple(map(Remembered, order[: self.k]))


@dataclass(frozen=True)
class Relevance:
    """The current prompt and the k-1 past ones most similar to it (so k=3 retrieves two; GPO code).

    `order` "ascending" shows the most similar last and the current after it (paper);
    "current_first" shows the current first, then by falling similarity (code). Similarity is the
    cosine of embeddings: any LangChain `Embeddings`, or None for the built-in that needs no download.
    """

    k: int = 3
    order: Literal["ascending", "current_first"] = "ascending"
    pool: Pool = "chosen"
    embeddings: Embeddings | None = None

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 1)
        if self.embeddings is not None and not hasattr(self.embeddings, "aembed_documents"):
            msg = f"memory.embeddings must be a LangChain Embeddings, got {self.embeddings!r}"
            raise RecipeError(msg, mend="Give the object itself in Python: Relevance(embeddings=OpenAIEmbeddings()).")

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:
        """min(k, |H|) attempts, none twice (G3).

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: The attempt that the proposal starts from.
            ask: Calls the optimizer model at an address of this proposal, and draws randomness there.
        """
        if not trajectory:
            return ()
        here = around.candidate.id
        others = [a for a in pool_of(trajectory, self.pool) if a.candidate.id != here]
        if not others:
            return (Remembered(around, 1.0),)
        texts = [a.candidate.prompts.document.text for a in (around, *others)]
        if self.embeddings is None:
            vectors = HashedEmbeddings().embed_documents(texts)
        else:
            vectors = await ask.embed(self.embeddings, texts)
        scored = []
        for a, v in zip(others, vectors[1:], strict=True):
            scored.append(Remembered(a, cosine(vectors[0], v)))
        near = sorted(scored, key=lambda r: (-(r.similarity or 0.0), r.attempt.candidate.id))[: self.k - 1]
        current = Remembered(around, 1.0)
        return (current, *near) if self.order == "current_first" else (*reversed(near), current)


@dataclass(frozen=True)
class TopByScore:
    """OPRO: the best k over everything evaluated, shown by rising score; below `threshold` hidden.

    Where the threshold would hide all, the single best is shown.
    """

    k: int = 20
    threshold: float = 0.0

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 1)

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:  # noqa: ARG002
        """At most k, the best last (O1, O2).

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: Not used.
            ask: Not used.
        """
        order = sorted(pool_of(trajectory, "all"), key=lambda a: (a.score, a.candidate.id))
        shown = [a for a in order if a.score >= self.threshold][-self.k :] or order[-1:]
        return tuple(map(Remembered, shown))


@dataclass(frozen=True)
class TopEdits:
    """OPRO made local: the best k attempts that carry edits, by rising gain over their parents."""

    k: int = 20

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 1)

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:  # noqa: ARG002
        """At most k, the largest gain last.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: Not used.
            ask: Not used.
        """
        edited = [a for a in pool_of(trajectory, "all") if a.candidate.edits]
        order = sorted(edited, key=lambda a: (a.gain, a.candidate.id))
        return tuple(map(Remembered, order[-self.k :]))


@dataclass(frozen=True)
class Summary:
    """One model call at temperature 0 that condenses what was tried and how it scored (GPO's summarisation).

    GPO folds each step's attempt into the last summary; here all chosen attempts are condensed
    at once, so that the strategy stays without state.
    """

    k: int = 10
    temperature: float = 0.0

    def __post_init__(self) -> None:
        at_least("memory.k", self.k, 2)

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:
        """One item that carries the summary; nothing while only the seed is known.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: The attempt that the proposal starts from.
            ask: Calls the optimizer model at an address of this proposal, and draws randomness there.
        """
        past = pool_of(trajectory, "chosen")[-self.k :]
        if len(past) < 2:
            return ()
        step = SummariseTrajectory(
            model=ask.runnable(), temperature=self.temperature, metaprompts=MetaPrompts(ask.metaprompts)
        )
        piece = Workpiece(around.candidate.prompts, memory=tuple(map(Remembered, past)))
        out = await step.ainvoke(piece, ask.config)
        return (Remembered(around, None, out.feedback.text),) if out.feedback is not None else ()
