"""ROUGE-L as an F measure over words; scripts without blanks count by character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_promptopt.evaluators._normal import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
)


def words(text: str) -> list[str]:
    """The words a score counts: case folded, punctuation left out.

    >>> words("The cat's 猫.")
    ['the', 'cat', 's', '猫']
    """
    return _WORD.findall(folded(text))


def rouge_l_f(reply: str, reference: str) -> float:
    """F1 of the longest common subsequence of words. Texts without a word score 0 unless both have none.

    >>> rouge_l_f("the cat sat", "the black cat sat")
    0.8571428571428571
    """
    from rapidfuzz.distance import LCSseq

    ours, theirs = words(reply), words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs))


def mean_rouge_l(reply: str, references: Sequence[str]) -> float:
    """The mean over all references, as GPO scores WebNLG; the maximum is another number."""
    return sum(rouge_l_f(reply, reference) for reference in references) / len(references)
