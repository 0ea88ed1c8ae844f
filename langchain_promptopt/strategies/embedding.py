"""The default embedding for relevance: hashed words and letter runs. No download, no key, the same everywhere."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from langchain_promptopt._text.words import word_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        return [self.embed_query(t) for t in texts]


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
    norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / norm) if norm else 0.0
