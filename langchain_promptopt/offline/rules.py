"""Reads rules out of sentences: a condition, and the label it calls for or forbids."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_promptopt.offline.manual import Fallback, Place, Rule, Trigger, moved
from langchain_promptopt.offline.words import TOKEN, is_dull, stem, stems

if TYPE_CHECKING:
    from langchain_promptopt.offline.layout import Line

_VERB = (
    r"answer|use|choose|pick|label|assign|select|reply|say|return|output|classify|tag|mark|treat|file|route|send|put"
    r"|go(?:es)?|belongs?|counts?|means|is always|it is|it's|prefer|->|=>|→"
)
_FILLER = (
    r"(?:it|them|this|that|these|those|the|label|category|as|to|with|under|in|into|always|a|an|for|class|intent|queue"
    r"|tickets?|messages?|such)"
)
_NEVER = re.compile(r"\b(?:never|do not|don't|avoid|not)\b[^.,]{0,12}$", re.I)
_START = re.compile(r"\b(?:if|when|whenever|where|for|on|in case)\b", re.I)
_EXCEPT = re.compile(
    r"\b(?:unless|except(?:\s+(?:when|if|for|where))?|but not(?:\s+(?:if|when|for))?|and (?:does )?not"
    r"|not mention(?:ing|s)?)\b",
    re.I,
)
_DOUBT = re.compile(
    r"\b(?:in doubt|unsure|not sure|uncertain|unclear|nothing (?:else )?(?:fits|matches|applies)"
    r"|no (?:rule|label|category) (?:fits|matches|applies)|none (?:of|fits|matches|applies)"
    r"|otherwise|everything else|anything else|all others?|the rest|by default)\b",
    re.I,
)
_BOTH = re.compile(r"\bboth\b", re.I)
_QUOTED = re.compile(
    r"\"([^\"\n]{1,60})\"|“([^”\n]{1,60})”|«([^»\n]{1,60})»|`([^`\n]{1,60})`|(?<!\w)'([^'\n]{2,40})'(?!\w)"
)
_SENTENCE = re.compile(r"(?:\"[^\"\n]*\"|[^.!?;\"\n]|[.!?](?=[\w\"]))+[.!?;]?")
_PIECE = re.compile(r",|;|/|\bor\b|\band\b|\bas well as\b|\bbut\b", re.I)


@lru_cache(maxsize=256)
def _target(names: tuple[str, ...]) -> re.Pattern[str]:
    """A verb of answering, and close behind it a label's name."""
    spelled = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    return re.compile(
        rf"(?:\b|(?<=\s))(?P<verb>{_VERB})(?:\s+{_FILLER}){{0,4}}\s+[\"'`*“]*(?P<name>{spelled})(?!\w)", re.I
    )


def rules_in(line: Line, names: tuple[str, ...]) -> list[Rule]:
    """The rules of one line, sentence by sentence."""
    return [rule.moved(line.start) for rule in _rules_of(line.text, names)] if names else []


@lru_cache(maxsize=8192)
def _rules_of(text: str, names: tuple[str, ...]) -> tuple[Rule, ...]:
    """Rules placed from the line's beginning; lines return in many versions of a prompt."""
    found = (_rule(text, m.span(), names) for m in _SENTENCE.finditer(text))
    return tuple(rule for rule in found if rule is not None)


def _rule(text: str, sentence: Place, names: tuple[str, ...]) -> Rule | None:
    targets = list(_target(names).finditer(text, *sentence))
    if not targets or _DOUBT.search(text, *sentence):
        return None
    first = targets[0]
    ahead = text[sentence[0] : first.start()]
    never = bool(_NEVER.search(ahead))
    condition = (first.end(), sentence[1]) if _condition_follows(text, first.end(), sentence[1]) else None
    if condition is None:
        first = targets[-1]
        condition = (sentence[0], first.start())
        never = bool(_NEVER.search(text[sentence[0] : first.start()]))
    triggers, exceptions = _conditions(text, *condition)
    if condition[0] == sentence[0]:
        exceptions += _after_target(text, first.end(), sentence[1])
    if not triggers:
        return None
    return Rule(
        label=_index(names, first["name"]),
        target=first.span("name"),
        line=(0, len(text)),
        sentence=sentence,
        triggers=triggers,
        exceptions=exceptions,
        never=never,
        needs_all=bool(_BOTH.search(text, *condition)),
    )


def _condition_follows(text: str, start: int, end: int) -> bool:
    found = _START.search(text, start, min(end, start + 30))
    return found is not None and bool(_triggers(text, found.end(), end))


def _after_target(text: str, start: int, end: int) -> tuple[Trigger, ...]:
    """Exceptions that stand behind the label: "..., answer red unless it mentions "rose"."."""
    found = _EXCEPT.search(text, start, end)
    return _triggers(text, found.end(), end) if found else ()


def _conditions(text: str, start: int, end: int) -> tuple[tuple[Trigger, ...], tuple[Trigger, ...]]:
    found = _EXCEPT.search(text, start, end)
    if found is None:
        return _triggers(text, start, end), ()
    return _triggers(text, start, found.start()), _triggers(text, found.end(), end)


def _triggers(text: str, start: int, end: int) -> tuple[Trigger, ...]:
    quoted = []
    for found in _QUOTED.finditer(text, start, end):
        phrase = tuple(stems(next(g for g in found.groups() if g)))
        if phrase:
            quoted.append(Trigger(phrase, found.span()))
    return tuple(quoted) if quoted else _loose(text, start, end)


def _loose(text: str, start: int, end: int) -> tuple[Trigger, ...]:
    """Unquoted conditions: the topical words of each part between commas, "or" and "and"."""
    out, at = [], start
    for stop in [*(m.span() for m in _PIECE.finditer(text, start, end)), (end, end)]:
        words = [w for w in TOKEN.finditer(text, at, stop[0]) if not is_dull(stem(w.group()), instruction=True)]
        if words:
            unique = tuple(dict.fromkeys(stem(w.group()) for w in words))
            out.append(Trigger(unique, (words[0].start(), words[-1].end()), exact=False))
        at = stop[1]
    return tuple(out)


def _index(names: tuple[str, ...], name: str) -> int:
    folded = [n.casefold() for n in names]
    return folded.index(name.casefold())


def default_label(lines: list[Line], names: tuple[str, ...]) -> Fallback | None:
    """The label for inputs nothing else fits, where the text names one."""
    if not names:
        return None
    for line in lines:
        if _DOUBT.search(line.text) is None:
            continue
        for found in _SENTENCE.finditer(line.text):
            target = _target(names).search(line.text, *found.span())
            if target is not None and _DOUBT.search(found.group()):
                return Fallback(
                    _index(names, target["name"]), moved(target.span("name"), line.start), found.group().strip()
                )
    return None
