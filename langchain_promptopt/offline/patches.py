"""Small changes of a prompt's text, and where they may stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.offline.words import count_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_promptopt.offline.manual import Manual, Place, Rule

_SLIDE = 3


@dataclass(frozen=True, slots=True, order=True)
class Patch:
    """Put `new` in place of `start`-`end`; an empty range inserts."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Patches that belong together, the reason for them, and how promising they look before trying."""

    kind: str
    patches: tuple[Patch, ...]
    reason: str
    promise: float = 0.0


def patched(text: str, patches: Iterable[Patch]) -> str:
    """`text` with all patches made at once.

    >>> patched("red or blue", [Patch(7, 11, "green"), Patch(0, 0, "not ")])
    'not red or green'
    """
    out, at = [], 0
    for patch in sorted(patches):
        out += [text[at : patch.start], patch.new]
        at = patch.end
    return "".join([*out, text[at:]])


def collide(patches: Sequence[Patch], others: Sequence[Patch]) -> bool:
    """Whether any two overlap, or insert at one place."""
    return any(
        (a.start < b.end and b.start < a.end) or (a.start, a.end) == (b.start, b.end) for a in patches for b in others
    )


def fitted(text: str, patches: Sequence[Patch], slots: Sequence[Place] | None) -> tuple[Patch, ...] | None:
    """The patches, each slid to lie inside a place that may change; None when one cannot.

    >>> fitted('"a", "b".', [Patch(3, 8, "")], [(1, 7)])
    (Patch(start=2, end=7, new=''),)
    """
    if slots is None:
        return tuple(patches)
    out = [
        next((q for q in _equals(text, p) if any(a <= q.start and q.end <= b for a, b in slots)), None) for p in patches
    ]
    return None if any(p is None for p in out) else tuple(p for p in out if p is not None)


def _equals(text: str, patch: Patch) -> Iterator[Patch]:
    """The patch, and others with the same effect a few characters to the left or right."""
    yield patch
    if patch.new and patch.start != patch.end:
        return
    for step in (-1, 1):
        start, end, new = patch.start, patch.end, patch.new
        for _ in range(_SLIDE):
            edge = start - 1 if step < 0 else end
            turned = (new or text[start:end])[-1 if step < 0 else 0 :][:1]
            if not 0 <= edge < len(text) or text[edge] != turned:
                break
            start, end = start + step, end + step
            if new:
                new = turned + new[:-1] if step < 0 else new[1:] + turned
            yield Patch(start, end, new)


def cost(text: str, patches: Iterable[Patch]) -> int:
    """Words that change, at most."""
    return sum(max(count_words(text[p.start : p.end]), count_words(p.new)) for p in patches)


def without_trigger(rule: Rule, met: Iterable[int]) -> tuple[Patch, ...] | None:
    """Take triggers out of a rule's list; None when none would be left."""
    drop, places = set(met), [t.place for t in rule.triggers]
    keep = [i for i in range(len(places)) if i not in drop]
    if not keep:
        return None
    out, i = [], 0
    while i < len(places):
        if i not in drop:
            i += 1
            continue
        last = i
        while last + 1 in drop:
            last += 1
        if i:
            out.append(Patch(places[i - 1][1], places[last][1], ""))
        else:
            out.append(Patch(places[0][0], places[last + 1][0], ""))
        i = last + 1
    return tuple(out)


def line_removal(text: str, line: Place, sentence: Place) -> Patch:
    """Take out a rule: its line with its list mark where it is alone there, else the sentence."""
    if text[line[0] : sentence[0]].strip() or text[sentence[1] : line[1]].strip():
        start = sentence[0] - 1 if text[sentence[0] - 1 : sentence[0]] == " " else sentence[0]
        return Patch(start, sentence[1], "")
    return Patch(*sentence, "")


def more_triggers(text: str, rule: Rule, words: Sequence[str]) -> Patch:
    """Add triggers to a rule's list, in the quotes it uses."""
    start, end = rule.triggers[-1].place
    quote = re.match(r"[\"“«`']?", text[start:end])
    opener = quote.group() if quote and rule.triggers[-1].exact else ""
    closer = {"“": "”", "«": "»"}.get(opener, opener)
    return Patch(end, end, "".join(f", {opener}{w}{closer}" for w in words))


def more_cues(
    text: str, manual: Manual, label: int, words: Sequence[str], slots: Sequence[Place] | None
) -> Patch | None:
    """Add cue words to a label's line: at its end, or where the slots allow it inside the line."""
    known = manual.labels[label]
    start, end = known.body
    joint = ": " if end <= start or not text[start:end].strip() else ", "
    if joint == ": " and text[known.place[1] : known.place[1] + 1] == ":":
        joint = " "
    at = end if end > start else known.place[1]
    if slots is not None and not any(a <= at <= b for a, b in slots):
        inside = [b for a, b in slots if max(start, known.place[1]) <= b <= known.line[1] and a >= known.line[0]]
        if not inside:
            return None
        at = max(inside)
    tail = "" if at >= end or text[at : at + 1] in ",.;)\n" else ","
    return Patch(at, at, joint + ", ".join(words) + tail)


def like_rule(text: str, rule: Rule, name: str, words: Sequence[str]) -> str:
    """A new rule in the wording of an old one, with other words and another label."""
    first, last = rule.triggers[0].place, rule.triggers[-1].place
    quoted = " or ".join(f'"{w}"' for w in words)
    changes = [Patch(first[0], last[1], quoted), Patch(*rule.target, name)]
    shifted = [Patch(p.start - rule.sentence[0], p.end - rule.sentence[0], p.new) for p in changes]
    return patched(text[slice(*rule.sentence)], shifted)
