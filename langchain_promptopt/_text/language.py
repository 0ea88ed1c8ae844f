"""A coarse answer to "which script and language is this", enough to see that a prompt left its own.

Function words decide between languages in Latin letters; where they are few there is no answer,
and no answer never refuses anything.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from langchain_promptopt._text.words import word_ranges

_SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Tamil",
    "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Georgian",
    "Armenian", "Ethiopic", "Hangul", "Hiragana", "Katakana", "Han",
)  # fmt: skip
_LETTERS = regex.compile("|".join(rf"(?P<{s}>\p{{{s}}}++)" for s in _SCRIPTS))
_NO_SPACES = frozenset({"Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"})
_CODE = regex.compile(r"\{\{\{?[^{}]*+\}{2,3}|\{%[^%]*+%\}|\{#[^#]*+#\}|\{[^{}\s]*+\}|</?[A-Za-z][^<>]*+>")


def without_code(text: str) -> str:
    """`text` with template code and markup blanked, so that their letters do not count."""
    bare: str = _CODE.sub(" ", text)
    return bare


def script_letters(text: str) -> dict[str, int]:
    """Letters by script; a character of a script without spaces weighs two."""
    return dict(_script_letters(text))


@lru_cache(maxsize=1024)
def _script_letters(text: str) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for found in _LETTERS.finditer(text):
        script = found.lastgroup or ""
        counts[script] = counts.get(script, 0) + len(found.group()) * (2 if script in _NO_SPACES else 1)
    return tuple(counts.items())


@lru_cache(maxsize=1024)
def dominant_script(text: str) -> str:
    """Name of the script most letters are in, "" without letters. Kana make it "Japanese".

    >>> dominant_script("Antworte {question} kurz."), dominant_script("質問に短く答えてください。")
    ('Latin', 'Japanese')
    """
    counts = script_letters(without_code(text))
    kana = counts.pop("Hiragana", 0) + counts.pop("Katakana", 0)
    if kana * 10 > counts.get("Han", 0):  # hardly any Japanese sentence has less kana than that
        counts["Japanese"] = kana + counts.pop("Han", 0)
    else:
        counts["Han"] = counts.get("Han", 0) + kana
    best = max(counts, key=lambda s: (counts[s], s))
    return best if counts[best] else ""


_FUNCTION_WORDS = {
    "en": "the and of to is are you that for with this not be from or as it if in on by an your what must should",
    "de": "der die das und ist nicht ein eine den mit für auf dem des sie wenn oder als auch zu im von bei wird nur",
    "fr": "le la les des et est une un du que dans pour pas avec sur ne ce vous qui ou au par si votre être aux cette",
    "es": "el los las del y es una un que en para con por no se su lo si como más o al esta debe sea este son",
    "it": "il lo gli della di e è una un che per con non in si del le nel se più o dei come sono questo deve alla",
    "pt": "o os as da do e é uma um que em para com não se na no por ou mais ao como dos das seu você deve",
    "nl": "de het een en is van niet dat te met voor op zijn als of in die je wordt bij aan ook geen moet naar",
    "sv": "och att är en ett inte det som på för med av den till om eller kan ska från du har vid ej dig",
    "pl": "i w nie na jest się do że to z jak lub oraz dla od po czy przez tylko jeśli być są o tym",
    "tr": "ve bir bu için ile değil de da olarak çok daha ne gibi ya her olan veya en sadece eğer mi",
}
_VOCABULARY = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_FEWEST_HITS = 4


@lru_cache(maxsize=1024)
def guess_language(text: str) -> str:
    """Code of a language in Latin letters when its function words clearly lead, else "".

    >>> guess_language("Lies die Frage genau und gib nur die Zahl an, wenn sie nicht fehlt.")
    'de'
    """
    bare = without_code(text).lower()
    words = [bare[a:b] for a, b in word_ranges(bare)]
    hits = sorted(((sum(w in known for w in words), name) for name, known in _VOCABULARY.items()), reverse=True)
    (best, language), (second, _) = hits[:2]
    return language if best >= _FEWEST_HITS and best >= 2 * second else ""
