"""What could be changed in the prompt so that one wrong row comes out right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.offline.judging import DOUBT, Judgement, judge
from langchain_promptopt.offline.manual import Place, Rule, moved
from langchain_promptopt.offline.patches import (
    Fix,
    Patch,
    like_rule,
    line_removal,
    more_cues,
    more_triggers,
    without_trigger,
)
from langchain_promptopt.offline.vocabulary import telling_words
from langchain_promptopt.offline.words import stems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_promptopt.offline.cases import Case, Evidence
    from langchain_promptopt.offline.marks import MarkLimits

_MOST_CUES = 3


@dataclass(frozen=True)
class Bench:
    """What the fixes of all rows are made from."""

    evidence: Evidence
    slots: tuple[Place, ...] | None = None
    insertions: bool = True
    spent: frozenset[str] = frozenset()
    marks: MarkLimits | None = None
    """Bounds on what may be marked, when the fixes must be pointed at first."""

    @property
    def prompt(self) -> str:
        """The text to mend."""
        return self.evidence.prompt

    def name(self, label: int) -> str:
        """A label as the prompt writes it."""
        return self.evidence.manual.labels[label].name if label >= 0 else "no label"


def fixes_for(case: Case, bench: Bench) -> list[Fix]:
    """Fixes for one row, several ways of each kind; which of them help is found out by trying."""
    if case.misput:
        return list(_form_fixes(case, bench))
    judgement = judge(bench.evidence.manual, case.text)
    if judgement is None:
        return []
    words = telling_words(case, bench.evidence, bench.spent)
    out = [f for r, met in judgement.fired for f in _rule_fixes(case, bench, r, met, words)]
    out += _cue_fixes(case, bench, judgement, words)
    out += _own_rule_fixes(case, bench, words)
    out += _fallback_fixes(case, bench, judgement)
    return out


def _rule_fixes(case: Case, bench: Bench, r: int, met: Sequence[int], words: Sequence[str]) -> Iterator[Fix]:
    rule = bench.evidence.manual.rules[r]
    helps = rule.label == case.expected
    if helps != rule.never:
        return
    quoted = ", ".join(_shown(bench, rule.triggers[t].place) for t in met)
    kind = "against" if rule.never else "for"
    blame = f'Row {case.id}: {quoted} in the rule {kind} "{bench.name(rule.label)}"'
    wanted = f'"{bench.name(case.expected)}" is expected'
    if not rule.never:
        kin = _akin(rule, met, case, bench)
        because = f"{blame} decides, but {wanted}: the rule names the wrong label."
        yield Fix("relabel", (Patch(*rule.target, bench.name(case.expected)),), because, 0.5 if kin else -0.1)
    fewer = without_trigger(rule, met)
    if fewer is not None:
        because = f"{blame} misleads, {wanted}: take it out of that rule."
        yield Fix("drop_trigger", fewer, because, 0.15)
        yield from _with_cues(case, bench, fewer, words, because, 0.1)
    gone = line_removal(bench.prompt, rule.line, rule.sentence)
    because = f"{blame} is wrong, {wanted}: drop the rule."
    yield Fix("drop_rule", (gone,), because, -0.25)
    yield from _with_cues(case, bench, (gone,), words, because, -0.3)
    if not rule.never and words and not rule.exceptions and "mention" in bench.prompt[slice(*rule.sentence)]:
        end = rule.sentence[1] - (bench.prompt[rule.sentence[1] - 1] in ".!;")
        because = f'{blame} goes too far, {wanted}: it should not hold for "{words[0]}".'
        yield Fix("except", (Patch(end, end, f' unless it mentions "{words[0]}"'),), because, -0.05)


def _akin(rule: Rule, met: Sequence[int], case: Case, bench: Bench) -> bool:
    """Whether the rule's words sound like the expected label's own name."""
    name = bench.evidence.manual.names[case.expected]
    heard = {s for t in met for s in rule.triggers[t].stems}
    return any(
        a == b or (len(a) > 3 and len(b) > 3 and (a.startswith(b) or b.startswith(a))) for a in name for b in heard
    )


def _with_cues(
    case: Case, bench: Bench, patches: tuple[Patch, ...], words: Sequence[str], because: str, promise: float
) -> Iterator[Fix]:
    for n in range(1, min(2, len(words)) + 1):
        cue = more_cues(bench.prompt, bench.evidence.manual, case.expected, words[:n], bench.slots)
        if cue is not None:
            said = ", ".join(f'"{w}"' for w in words[:n])
            yield Fix(
                "both", (*patches, cue), f'{because} "{bench.name(case.expected)}" lacks {said}.', promise - 0.05 * n
            )


def _cue_fixes(case: Case, bench: Bench, judgement: Judgement, words: Sequence[str]) -> Iterator[Fix]:
    manual = bench.evidence.manual
    name = bench.name(case.expected)
    for n in range(1, min(_MOST_CUES, len(words)) + 1):
        cue = more_cues(bench.prompt, manual, case.expected, words[:n], bench.slots)
        if cue is not None:
            said = ", ".join(f'"{w}"' for w in words[:n])
            because = f'Row {case.id}: the line of "{name}" does not speak of {said}; "{bench.name(case.given)}" won.'
            yield Fix("add_cues", (cue,), because, 0.3 - 0.08 * n)
    yield from _misleading_cues(case, bench, judgement)


def _misleading_cues(case: Case, bench: Bench, judgement: Judgement) -> Iterator[Fix]:
    """Take a word out of the line of the label that won by it."""
    winner = bench.evidence.manual.labels[judgement.label]
    if judgement.label == case.expected:
        return
    present = set(stems(case.text))
    for cue in winner.cues:
        if len(cue.stems) == 1 and cue.weight > 0 and cue.stems[0] in present:
            place = moved(cue.place, winner.body[0])
            word = _shown(bench, place)
            right = bench.name(case.expected)
            because = f'Row {case.id}: {word} in the line of "{winner.name}" misleads, "{right}" is expected.'
            yield Fix("drop_cue", (_cue_removal(bench.prompt, winner.body, place),), because, 0.0)


def _cue_removal(text: str, body: Place, place: Place) -> Patch:
    """The cue with the comma before it, when it is a list item of its own."""
    before = text[body[0] : place[0]].rstrip()
    alone = text[place[1] : place[1] + 1] in {",", ".", ";", "\n", ""}
    if before.endswith(",") and alone:
        return Patch(body[0] + len(before) - 1, place[1], "")
    if place[0] == body[0] and text[place[1] : place[1] + 2] == ", ":
        return Patch(place[0], place[1] + 2, "")
    return Patch(*place, "")


def _own_rule_fixes(case: Case, bench: Bench, words: Sequence[str]) -> Iterator[Fix]:
    """A rule of its own for the expected label: longer list, or a new line worded like an old one."""
    if not words:
        return
    manual, name = bench.evidence.manual, bench.name(case.expected)
    own = [r for r in manual.rules if r.label == case.expected and not r.never and not r.needs_all]
    because = f'Row {case.id}: the rules do not say that "{words[0]}" means "{name}".'
    for rule in own[:2]:
        for n in (1, 2):
            yield Fix("add_trigger", (more_triggers(bench.prompt, rule, words[:n]),), because, 0.12 - 0.05 * n)
    models = [r for r in manual.rules if not r.never and not r.exceptions and all(t.exact for t in r.triggers)]
    if models and not own and bench.insertions:
        last = models[-1]
        mark = bench.prompt[bench.prompt.rfind("\n", 0, last.line[0]) + 1 : last.line[0]]
        line = f"\n{mark}{like_rule(bench.prompt, last, name, words[:2])}"
        yield Fix("new_rule", (Patch(last.line[1], last.line[1], line),), because, -0.1)


def _fallback_fixes(case: Case, bench: Bench, judgement: Judgement) -> Iterator[Fix]:
    """Another label for inputs nothing fits, when this row fell through to the wrong one."""
    fallback = bench.evidence.manual.fallback
    lost = not judgement.rule_points and max(judgement.overlap.values(), default=0.0) < DOUBT
    if fallback is not None and lost and judgement.label == fallback.label != case.expected:
        because = f'Row {case.id}: nothing fits, and "{fallback.sentence}" sends it to "{bench.name(fallback.label)}".'
        yield Fix("fallback", (Patch(*fallback.target, bench.name(case.expected)),), because, -0.2)


def _form_fixes(case: Case, bench: Bench) -> Iterator[Fix]:
    """The label is right but put wrongly: drop what the prompt says about the form."""
    for trait, place in bench.evidence.manual.form.places.items():
        if trait != "only":
            said = _shown(bench, place)
            because = (
                f"Row {case.id}: the label is right, but {said} makes the form wrong; {case.wanted!r} is expected."
            )
            yield Fix("form", (Patch(*place, "exactly as listed"),), because, 0.4)


def _shown(bench: Bench, place: Place) -> str:
    said = bench.prompt[slice(*place)].strip("\"'`“”«» ")
    return f'"{said}"'
