r"""Where a reply announces its answer: "####", "\boxed", "the answer is", "Answer:" and their translations."""

from __future__ import annotations

import re

_NOUN = r"(?:answers?|respuesta|respostas?|réponse|risposta|antwort|ответ|الإجابة|الجواب|答案|答え|정답)"
_VERB = r"(?:(?:is|are|es|est|ist|lautet|é|è|هي|هو)\b|[:=\uff1a]|是|为|為|は|은)"
# One class between noun and verb and one bounded bracket: no nested repetition to run away on model text.
_CUE = re.compile(rf"####|\\boxed\b|{_NOUN}(?:\s?\([^()\n]{{0,40}}\))?[\s*_\"'`]*{_VERB}", re.IGNORECASE)
_SOMETHING = re.compile(r"\w|[()\[\]{}<>+\-$€£¥]")


def after_cue(text: str) -> str | None:
    """The text after the last cue that is followed by something, or None without a cue.

    >>> after_cue("The answer is 7. No, the answer is 8.")
    ' 8.'
    """
    last = next((i for i in range(len(text) - 1, -1, -1) if _SOMETHING.match(text, i)), -1)
    ends = [found.end() for found in _CUE.finditer(text) if found.end() <= last]
    return text[ends[-1] :] if ends else None
