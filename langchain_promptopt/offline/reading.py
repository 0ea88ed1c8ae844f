"""Reads instructions into a `Manual`: which labels, which rules, which form. Never sees a row."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import lru_cache

from langchain_promptopt.offline.forms import find_form
from langchain_promptopt.offline.layout import Line, Pair, label_pairs, lines_of
from langchain_promptopt.offline.manual import Cue, Fallback, Label, Manual, Order, Place, Rule
from langchain_promptopt.offline.rules import default_label, rules_in
from langchain_promptopt.offline.words import TOKEN, is_dull, stem, stems, topical

_NAME_WEIGHT, _CUE_WEIGHT, _PAIR_WEIGHT, _AGAINST = 1.5, 1.0, 0.5, -1.5
_QUOTED = re.compile(r"[\"“«`]([^\"”»`\n]{1,60})[\"”»`]")
_NOT = re.compile(r"\b(?:not|never|except|excluding|other than)\b[^.,;)\n]*", re.I)
_FIRST = re.compile(
    r"first (?:matching |fitting )?(?:rule|match|one)[^.\n]{0,40}\b(?:wins|counts|decides|applies)"
    r"|first rule that|stop at the first|in (?:this|the given) order",
    re.I,
)
_LAST = re.compile(
    r"(?:last|later) (?:matching )?(?:rules?|match)[^.\n]{0,40}\b(?:wins?|counts?|overrides?|decides?|beats?)\b",
    re.I,
)


@lru_cache(maxsize=1024)
def read(text: str) -> Manual:
    r"""What `text` instructs. The same text is read once.

    >>> manual = read('- red: fire, blood\n- blue: sea, sky\nIf the text mentions "sun", answer red.')
    >>> [label.name for label in manual.labels], len(manual.rules)
    (['red', 'blue'], 1)
    """
    lines = lines_of(text)
    pairs = label_pairs(text, lines)
    labels = tuple(_label(text, p) for p in pairs)
    own = {id(p.line) for p in pairs if p.body[1] > p.body[0] or p.line.item}
    rest = [line for line in lines if line.heading is None and id(line) not in own]
    names = tuple(label.name for label in labels)
    rules = tuple(r for line in rest for r in rules_in(line, names))
    return _indexed(text, rest, labels, rules, default_label(rest, names))


def _label(text: str, pair: Pair) -> Label:
    line = _whole(pair.line)
    return Label(pair.name, pair.place, line, pair.body, _cues(text[slice(*pair.body)]))


def _whole(line: Line) -> Place:
    return line.start, line.end


@lru_cache(maxsize=8192)
def _cues(body: str) -> tuple[Cue, ...]:
    """The cues of a description; descriptions return in many versions of a prompt."""
    against = [m.span() for m in _NOT.finditer(body)]
    out, taken = _quoted_cues(body, against)
    previous: tuple[str, int, int] | None = None
    for word in TOKEN.finditer(body):
        s = stem(word.group())
        if is_dull(s, instruction=True) or any(a <= word.start() < b for a, b in taken):
            continue
        sign = _sign(word.start(), against)
        out.append(Cue((s,), word.span(), sign))
        if previous is not None and sign > 0 and body[previous[2] : word.start()].isspace():
            out.append(Cue((previous[0], s), (previous[1], word.end()), _PAIR_WEIGHT))
        previous = (s, word.start(), word.end())
    return tuple(out)


def _quoted_cues(body: str, against: list[Place]) -> tuple[list[Cue], list[Place]]:
    """Quoted phrases count as they stand; also returns where they are."""
    out, taken = [], []
    for quoted in _QUOTED.finditer(body):
        found = tuple(stems(quoted.group(1)))
        if found:
            weight = _sign(quoted.start(), against) * (1 + _PAIR_WEIGHT * (len(found) - 1))
            out.append(Cue(found, quoted.span(), weight))
            taken.append(quoted.span())
    return out, taken


def _sign(at: int, against: list[Place]) -> float:
    return _AGAINST if any(a <= at < b for a, b in against) else _CUE_WEIGHT


def _indexed(
    text: str, rest: list[Line], labels: tuple[Label, ...], rules: tuple[Rule, ...], fallback: Fallback | None
) -> Manual:
    names = tuple(frozenset(topical(label.name.replace("_", " "))) or frozenset(stems(label.name)) for label in labels)
    weights, phrases = _weights(labels, names)
    index: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for r, rule in enumerate(rules):
        for t, trigger in enumerate(rule.triggers):
            index[trigger.stems[0]].append((r, t))
    return Manual(
        labels=labels,
        rules=rules,
        form=find_form(text, rest),
        order=_order(text),
        fallback=fallback,
        words=weights,
        phrases=phrases,
        names=names,
        triggers={k: tuple(v) for k, v in index.items()},
    )


def _weights(
    labels: tuple[Label, ...], names: tuple[frozenset[str], ...]
) -> tuple[dict[str, tuple[tuple[int, float], ...]], dict[str, tuple[tuple[int, tuple[str, ...], float], ...]]]:
    """Cues by stem, weighted by how few labels share them."""
    single: dict[str, dict[int, float]] = defaultdict(dict)
    several: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for i, label in enumerate(labels):
        for cue in label.cues:
            if len(cue.stems) == 1 and not is_dull(cue.stems[0]):
                held = single[cue.stems[0]]
                held[i] = cue.weight if cue.weight < 0 else max(held.get(i, 0.0), cue.weight)
            else:
                several[cue.stems][i] = cue.weight
        for s in names[i]:
            single[s][i] = _NAME_WEIGHT
        whole = tuple(topical(label.name.replace("_", " ")))
        if len(whole) > 1:
            several[whole][i] = max(several[whole].get(i, 0.0), 0.75)
    scale = math.log(1 + max(len(labels), 1))
    shared = Counter({s: len(held) for s, held in single.items()})
    words = {
        s: tuple((i, w * math.log(1 + len(labels) / shared[s]) / scale) for i, w in held.items())
        for s, held in single.items()
    }
    phrases: dict[str, list[tuple[int, tuple[str, ...], float]]] = defaultdict(list)
    for found, held in several.items():
        for i, w in held.items():
            phrases[found[0]].append((i, found, w / len(held) ** 0.5))
    return words, {k: tuple(v) for k, v in phrases.items()}


def _order(text: str) -> Order:
    if _FIRST.search(text):
        return "first"
    return "last" if _LAST.search(text) else ""
