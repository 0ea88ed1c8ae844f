"""Chooses fixes by trying them on the rows shown: mend what is wrong, keep what is right, change little."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt.offline.cases import Case, answered
from langchain_promptopt.offline.fixes import Bench, fixes_for
from langchain_promptopt.offline.marks import markable
from langchain_promptopt.offline.patches import Fix, Patch, collide, cost, fitted, patched
from langchain_promptopt.offline.reading import read

if TYPE_CHECKING:
    from collections.abc import Sequence

_BROKEN, _PER_WORD, _TOLD, _TASTE = 1.5, 0.03, 3.0, 0.25
_TRIED = 14
_HARMLESS = frozenset({"add_cues", "add_trigger"})
_HOPEFUL = _HARMLESS | {"both"}
"""Kinds that may help other rows even where they do not turn the row at hand."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what may be changed in one go. None is no bound."""

    places: int | None = None
    words: int | None = None


@dataclass(frozen=True)
class Mood:
    """What sways a choice between equals: what was said before, and the address of this call."""

    feedback: str = ""
    address: str = ""

    def sway(self, fix: Fix) -> float:
        """A fix that the feedback calls for comes first; the rest is taste, fixed by the address."""
        digest = hashlib.sha256(
            f"{self.address}\x00{fix.kind}\x00{fix.reason}".encode("utf-8", "surrogatepass")
        ).digest()
        return (_TOLD if fix.reason in self.feedback else 0.0) + _TASTE * digest[0] / 255


def ranked_fixes(case: Case, bench: Bench, mood: Mood) -> list[Fix]:
    """The lawful fixes of one row, the most promising first."""
    lawful = []
    for fix in fixes_for(case, bench):
        patches = fitted(bench.prompt, fix.patches, bench.slots)
        if patches is not None and all(markable(bench.prompt, p, bench.marks) for p in patches):
            lawful.append(replace(fix, patches=patches))
    return sorted(lawful, key=lambda f: -(f.promise + mood.sway(f)))[:_TRIED]


def repairs(bench: Bench, mood: Mood, limits: Limits) -> tuple[Fix, ...]:
    """At most one fix for each wrong row, together within the limits."""
    chosen: list[Fix] = []
    for case in bench.evidence.errors:
        patches = [p for f in chosen for p in f.patches]
        if not case.misput and chosen and _right(bench, patches, [case]):
            continue
        best = _best(case, bench, mood, limits, patches)
        if best is not None:
            chosen.append(best)
    return tuple(chosen)


def explorations(bench: Bench, mood: Mood, limits: Limits) -> tuple[Fix, ...]:
    """Cues to try when no row shown is wrong: words of a right row, where they break nothing shown."""
    before = _right(bench, (), bench.evidence.all)
    found = [f for case in bench.evidence.kept for f in ranked_fixes(case, bench, mood) if f.kind in _HARMLESS]
    for fix in sorted(found, key=lambda f: -mood.sway(f)):
        if not _too_much(bench.prompt, fix.patches, limits) and before <= _right(
            bench, fix.patches, bench.evidence.all
        ):
            return (fix,)
    return ()


def _best(case: Case, bench: Bench, mood: Mood, limits: Limits, patches: list[Patch]) -> Fix | None:
    before = _right(bench, patches, bench.evidence.all)
    best, best_value = None, float("-inf")
    for fix in ranked_fixes(case, bench, mood):
        together = [*patches, *fix.patches]
        if collide(fix.patches, patches) or _too_much(bench.prompt, together, limits):
            continue
        after = _right(bench, together, bench.evidence.all)
        mended = len(after - before) + (1.0 if case.misput else 0.0)
        value = mended - _BROKEN * len(before - after) - _PER_WORD * cost(bench.prompt, fix.patches) + fix.promise
        value += mood.sway(fix)
        if value > best_value and (mended or fix.kind in _HOPEFUL):
            best, best_value = fix, value
    return best if best_value > 0 else None


def _too_much(prompt: str, patches: Sequence[Patch], limits: Limits) -> bool:
    if limits.places is not None and len(patches) > limits.places:
        return True
    return limits.words is not None and cost(prompt, patches) > limits.words


def _right(bench: Bench, patches: Sequence[Patch], cases: Sequence[Case]) -> frozenset[int]:
    """Which rows a reader of the patched prompt gets right."""
    manual = read(patched(bench.prompt, patches)) if patches else bench.evidence.manual
    names = [label.name for label in manual.labels]
    wanted = bench.evidence.manual.labels
    found = set()
    for i, case in enumerate(cases):
        got = answered(manual, case.text)
        if got >= 0 and names[got] == wanted[case.expected].name:
            found.add(i)
    return frozenset(found)
