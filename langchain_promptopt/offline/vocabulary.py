"""Which words of an input tell its label from the others, judged by the rows and the prompt shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from langchain_promptopt.offline.words import TOKEN, is_dull, stem, stems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.offline.cases import Case, Evidence

_ENOUGH = 6
_PLAIN = 0.8
_COMMON = frozenset(
    stem(w)
    for w in """
    time times day days week weeks month months year years today yesterday tomorrow morning evening night hour hours
    minute minutes ago monday tuesday wednesday thursday friday saturday sunday january february march april may june
    july august september october november december last first second third next one two three four five ten many much
    lot few half whole old new good great nice bad better best right wrong big small long short same different sure
    possible really never always often already again soon later since because anyone everybody somebody nobody people
    man woman father mother wife husband daughter son friend colleague company home office school team name number
    come comes came take takes took give gives gave see saw seen know knew think thought say says said tell told ask
    asked try tried look looked find found keep kept put let start started use used using work works worked show shows
    back away way thing place part end happen happened please help understand able become seem seems mean believe
    """.split()  # noqa: SIM905 - a readable word list
)
"""Words so common in any text that they rarely tell labels apart; they are a second choice, not forbidden."""


def telling_words(case: Case, evidence: Evidence, spent: frozenset[str]) -> list[str]:
    """Words of the row that speak for its expected label, the best first.

    Words are left out that other shown rows use under other labels, that the label's line has
    already, or whose addition has not paid before (`spent`).
    """
    manual = evidence.manual
    own = manual.names[case.expected] | {s for c in manual.labels[case.expected].cues for s in c.stems}
    elsewhere = _stems_of(c for c in evidence.all if c.expected != case.expected)
    alike = [c for c in evidence.all if c.expected == case.expected and c.id != case.id]
    fellows = Counter(s for c in alike for s in set(stems(c.text)))
    general = _spoken_outside_labels(evidence)
    scored: dict[str, tuple[float, str]] = {}
    for at, found in enumerate(TOKEN.finditer(case.text)):
        word = found.group()
        s = stem(word)
        if is_dull(s) or s in own or s in elsewhere or s in spent or (len(s) < 3 and s.isascii()):
            continue
        taken = sum(1 for i, w in manual.words.get(s, ()) if i != case.expected and w > 0)
        value = (
            -_PLAIN * (s in _COMMON)
            + 2.0 * fellows[s]
            - 0.8 * taken
            - 0.7 * (s in general)
            + min(len(word), 8) / 8
            - 0.01 * at
        )
        if s not in scored:
            scored[s] = (value, word.lower())
    ranked = sorted(scored.values(), key=lambda v: (-v[0], v[1]))
    return [word for _, word in ranked[:_ENOUGH]]


def _stems_of(cases: Iterable[Case]) -> frozenset[str]:
    return frozenset(s for c in cases for s in stems(c.text))


def _spoken_outside_labels(evidence: Evidence) -> frozenset[str]:
    """Words the prompt uses of itself: they belong to the setting, not to a label."""
    text, at, out = evidence.prompt, 0, []
    for label in sorted(evidence.manual.labels, key=lambda one: one.line):
        out.append(text[at : label.line[0]])
        at = max(at, label.line[1])
    out.append(text[at:])
    return frozenset(stems("\n".join(out)))
