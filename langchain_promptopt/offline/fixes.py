"""Small changes of a prompt that turn a wrong example right, the marks they need, and the choice among them.

A fix is chosen by trying it on the examples shown: it corrects what is wrong, keeps what is right and changes little.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt._text.spans import splice
from langchain_promptopt.offline.conversation import Case, label_given, telling_words
from langchain_promptopt.offline.instructions import read
from langchain_promptopt.offline.manual import Place, Rule, count_spaced, moved, stems
from langchain_promptopt.offline.task import DOUBT, Judgement, judge
from langchain_promptopt.steps.line_protocol import anchored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_promptopt.offline.conversation import RequestEvidence
    from langchain_promptopt.offline.manual import TaskManual

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
    return splice(text, [(p.start, p.end, p.new) for p in patches])


def collide(patches: Sequence[Patch], others: Sequence[Patch]) -> bool:
    """Whether any two overlap, or insert at one place."""
    for a in patches:
        for b in others:
            if (a.start < b.end and b.start < a.end) or (a.start, a.end) == (b.start, b.end):
                return True
    return False


def fitted(text: str, patches: Sequence[Patch], slots: Sequence[Place] | None) -> tuple[Patch, ...] | None:
    """The patches, each slid to lie inside a place that may change; None when one cannot.

    Args:
        text: The prompt.
        patches: Changes of it.
        slots: Places that may change; None for all of the prompt.

    >>> fitted('"a", "b".', [Patch(3, 8, "")], [(1, 7)])
    (Patch(start=2, end=7, new=''),)
    """
    if slots is None:
        return tuple(patches)
    out: list[Patch] = []
    for patch in patches:
        found = _slide_into(slots, text, patch)
        if found is None:
            return None
        out.append(found)
    return tuple(out)


def _slide_into(slots: Sequence[Place], text: str, patch: Patch) -> Patch | None:
    for same in _equals(text, patch):
        if any(a <= same.start and same.end <= b for a, b in slots):
            return same
    return None


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
    return sum(max(count_spaced(text[p.start : p.end]), count_spaced(p.new)) for p in patches)


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
    """Take out a rule: its line with its list mark where it is alone there, else the sentence.

    Args:
        text: The prompt.
        line: The line of the rule, without its list mark.
        sentence: The rule itself.
    """
    if text[line[0] : sentence[0]].strip() or text[sentence[1] : line[1]].strip():
        start = sentence[0] - 1 if text[sentence[0] - 1 : sentence[0]] == " " else sentence[0]
        return Patch(start, sentence[1], "")
    return Patch(*sentence, "")


def more_triggers(text: str, rule: Rule, words: Sequence[str]) -> Patch:
    """Add triggers to a rule's list, in the quotes it uses.

    Args:
        text: The prompt.
        rule: The rule whose list grows.
        words: The new triggers.
    """
    start, end = rule.triggers[-1].place
    quote = re.match(r"[\"“«`']?", text[start:end])
    opener = quote.group() if quote and rule.triggers[-1].exact else ""
    closer = {"“": "”", "«": "»"}.get(opener, opener)
    return Patch(end, end, "".join(f", {opener}{w}{closer}" for w in words))


def more_cues(
    text: str, manual: TaskManual, label: int, words: Sequence[str], slots: Sequence[Place] | None
) -> Patch | None:
    """Add cue words to a label's line: at its end, or where the slots allow it inside the line.

    Args:
        text: The prompt.
        manual: The prompt as read.
        label: Index of the label in `manual.labels`.
        words: The new cues.
        slots: Places that may change; None for all of the prompt.

    Returns:
        The change, or None where no slot allows it.
    """
    known = manual.labels[label]
    start, end = known.body
    joint = ": " if end <= start or not text[start:end].strip() else ", "
    if joint == ": " and text[known.place[1] : known.place[1] + 1] == ":":
        joint = " "
    at = end if end > start else known.place[1]
    if slots is not None and not any(a <= at <= b for a, b in slots):
        inside = []
        for a, b in slots:
            if max(start, known.place[1]) <= b <= known.line[1] and a >= known.line[0]:
                inside.append(b)
        if not inside:
            return None
        at = max(inside)
    tail = "" if at >= end or text[at : at + 1] in ",.;)\n" else ","
    return Patch(at, at, joint + ", ".join(words) + tail)


def like_rule(text: str, rule: Rule, name: str, words: Sequence[str]) -> str:
    """A new rule in the wording of an old one, with other words and another label.

    Args:
        text: The prompt.
        rule: The rule to take as a model.
        name: The label the new rule gives.
        words: Its triggers.
    """
    first, last = rule.triggers[0].place, rule.triggers[-1].place
    quoted = " or ".join(f'"{w}"' for w in words)
    changes = [Patch(first[0], last[1], quoted), Patch(*rule.target, name)]
    shifted = []
    for p in changes:
        shifted.append(Patch(p.start - rule.sentence[0], p.end - rule.sentence[0], p.new))
    return patched(text[slice(*rule.sentence)], shifted)


# From patches to marks

_WORD = re.compile(r"[\w'’\-]+")
_NEAR = 40
_HEADER = re.compile(r"^\[(?:prompt .+, )?message (\d+): [\w-]+\]$", re.M)
_NUMBERED = re.compile(r"\[(\d+)\](?=\S)")


@dataclass(frozen=True, slots=True)
class MarkLimits:
    """How much may be marked: words a mark, or a whole line where lines are allowed."""

    w_max: int | None
    whole_lines: bool


@dataclass(frozen=True, slots=True)
class MarkedPlace:
    """A place to point at, and why."""

    place: Place
    reason: str


def touched_words(text: str, patch: Patch) -> Place:
    """The whole words a patch touches; for an insertion the word before it.

    >>> from langchain_promptopt.offline.fixes import Patch
    >>> touched_words("red, blue", Patch(3, 9, "")), touched_words("red, blue", Patch(9, 9, ", sky"))
    ((0, 9), (5, 9))
    """
    start, end = patch.start, patch.end
    floor = text.rfind("\n", 0, start) + 1 if start == end or text[start - 1 : start] != "\n" else start
    before = [m.start() for m in _WORD.finditer(text, floor, start)]
    touches = start > floor and not text[start - 1].isspace()
    if before and (touches or start == end):
        start = before[-1]
    blank_behind = patch.start < end and text[end - 1].isspace()
    following = _WORD.search(text, end, end + _NEAR) if blank_behind else None
    if following is not None and "\n" not in text[end : following.end()]:
        end = following.end()  # a mark ends with a word, and the blank must be inside it
    tail = re.compile(r"[\w'’\-]*").match(text, end)
    if tail is not None and end > patch.start and text[end - 1 : end].isalnum():
        end = tail.end()
    if not text[start:end].strip() and start == end:
        return start, end
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def markable(text: str, patch: Patch, limits: MarkLimits | None) -> bool:
    """Whether the place a patch needs may be marked.

    Args:
        text: The prompt.
        patch: The change.
        limits: Most words of a mark; None for no limit.
    """
    if limits is None or limits.w_max is None:
        return True
    start, end = touched_words(text, patch)
    if len(_WORD.findall(text[start:end])) <= limits.w_max:
        return True
    return limits.whole_lines and _is_line(text, start, end)


def _is_line(text: str, start: int, end: int) -> bool:
    before = text[text.rfind("\n", 0, start) + 1 : start]
    stop = text.find("\n", end)
    after = text[end : stop if stop >= 0 else len(text)]
    return not _WORD.search(after) and re.fullmatch(r"\s*(?:[-*+•–]|\(?\w{1,3}[.)])?\s*", before) is not None


def marks_of(text: str, fixes: Sequence[Fix], k_max: int) -> list[MarkedPlace]:
    """The places of all patches, in order of the fixes, at most `k_max`, none overlapping.

    Args:
        text: The prompt.
        fixes: The fixes, most important first.
        k_max: Most marks.
    """
    out: list[MarkedPlace] = []
    for fix in fixes:
        for patch in sorted(fix.patches):
            place = touched_words(text, patch)
            taken = [m.place for m in out]
            free = all(place[1] <= start or end <= place[0] for start, end in taken)
            if free and len(out) < k_max and place not in taken:
                out.append(MarkedPlace(place, fix.reason))
    return out


def as_quotes(text: str, marks: Sequence[MarkedPlace]) -> str:
    """The JSON list of the quote form."""
    items = []
    for mark in marks:
        number, low, high = _message_at(text, mark.place[0])
        start, end = mark.place
        item: dict[str, object] = {"message": number, "quote": text[start:end]}
        if start == end:
            item["after"] = text[max(low, start - 40) : start].rsplit("\n", 1)[-1].strip()
        else:
            item["occurrence"] = _occurrence(text[low:high], start - low, text[start:end])
        items.append(item | {"reason": mark.reason})
    return json.dumps(items, ensure_ascii=False)


def as_changes(text: str, patches: Iterable[tuple[Patch, str]]) -> str:
    """The JSON object of the line form, from patches and the reason for each.

    Args:
        text: The prompt.
        patches: Each patch with its reason.
    """
    items = []
    for patch, reason in patches:
        line, start, end = anchored(text, patch.start, patch.end)
        new = patched(text[start:end], [Patch(patch.start - start, patch.end - start, patch.new)])
        items.append({"why": reason, "line": line, "old": text[start:end], "new": new})
    return json.dumps({"changes": items}, ensure_ascii=False)


def _message_at(text: str, at: int) -> tuple[int, int, int]:
    """Number and bounds of the message around `at`."""
    if _HEADER.match(text) is None:
        return 0, 0, len(text)
    number, low, high = 0, 0, len(text)
    for header in _HEADER.finditer(text):
        if header.start() > at:
            high = header.start() - 1
            break
        number, low = int(header.group(1)), header.end() + 1
    return number, low, high


def _occurrence(body: str, at: int, quote: str) -> int:
    places = [m.start() for m in re.finditer(re.escape(quote), body)]
    return places.index(at) + 1 if at in places else 1


def as_echo(text: str, marks: Sequence[MarkedPlace], tag: str) -> str:
    """The prompt again with tags around the marks.

    Args:
        text: The prompt.
        marks: Disjoint marks, in any order.
        tag: Name of the tag.
    """
    out, at = [], 0
    for mark in sorted(marks, key=lambda m: m.place):
        start, end = mark.place
        out += [text[at:start], f"<{tag}>", text[start:end], f"</{tag}>"]
        at = end
    return "".join([*out, text[at:]])


def as_numbers(numbered: str, text: str, marks: Sequence[MarkedPlace]) -> str:
    """The JSON list of the index form, by the numbers that stand before the words.

    Args:
        numbered: The prompt with a number before each word that may change.
        text: The same without numbers.
        marks: Marks in offsets of `text`.
    """
    words = _numbered_words(numbered, text)
    items = []
    for mark in marks:
        start, end = mark.place
        inside = [n for n, at in words if start <= at < end]
        if inside:
            items.append({"first": inside[0], "last": inside[-1], "reason": mark.reason})
    return json.dumps(items, ensure_ascii=False)


def _numbered_words(numbered: str, text: str) -> list[tuple[int, int]]:
    """(number, offset in the plain text) of each numbered word; marks that are the text's own are skipped."""
    out: list[tuple[int, int]] = []
    at, plain, expected = 0, 0, 1
    for found in _NUMBERED.finditer(numbered):
        if int(found.group(1)) != expected:
            continue
        plain += found.start() - at
        at = found.end()
        out.append((expected, plain))
        expected += 1
    return out if plain <= len(text) else []


# Fixes for one wrong example

_MOST_CUES = 3


@dataclass(frozen=True)
class Material:
    """What the fixes of all rows are made from."""

    evidence: RequestEvidence
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


def fixes_for(case: Case, material: Material) -> list[Fix]:
    """Fixes for one row, several ways of each kind; which of them help is found out by trying."""
    if case.misput:
        return list(_form_fixes(case, material))
    judgement = judge(material.evidence.manual, case.text)
    if judgement is None:
        return []
    words = telling_words(case, material.evidence, material.spent)
    out: list[Fix] = []
    for r, met in judgement.fired:
        out.extend(_rule_fixes(case, material, r, met, words))
    out += _cue_fixes(case, material, judgement, words)
    out += _own_rule_fixes(case, material, words)
    out += _fallback_fixes(case, material, judgement)
    return out


def _rule_fixes(case: Case, material: Material, r: int, met: Sequence[int], words: Sequence[str]) -> Iterator[Fix]:
    rule = material.evidence.manual.rules[r]
    helps = rule.label == case.expected
    if helps != rule.never:
        return
    quoted = ", ".join(_shown(material, rule.triggers[t].place) for t in met)
    kind = "against" if rule.never else "for"
    blame = f'Example {case.id}: {quoted} in the rule {kind} "{material.name(rule.label)}"'
    wanted = f'"{material.name(case.expected)}" is expected'
    if not rule.never:
        kin = _akin(rule, met, case, material)
        because = f"{blame} decides, but {wanted}: the rule names the wrong label."
        yield Fix("relabel", (Patch(*rule.target, material.name(case.expected)),), because, 0.5 if kin else -0.1)
    fewer = without_trigger(rule, met)
    if fewer is not None:
        because = f"{blame} misleads, {wanted}: take it out of that rule."
        yield Fix("drop_trigger", fewer, because, 0.15)
        yield from _with_cues(case, material, fewer, words, because, 0.1)
    gone = line_removal(material.prompt, rule.line, rule.sentence)
    because = f"{blame} is wrong, {wanted}: drop the rule."
    yield Fix("drop_rule", (gone,), because, -0.25)
    yield from _with_cues(case, material, (gone,), words, because, -0.3)
    if not rule.never and words and not rule.exceptions and "mention" in material.prompt[slice(*rule.sentence)]:
        end = rule.sentence[1] - (material.prompt[rule.sentence[1] - 1] in ".!;")
        because = f'{blame} goes too far, {wanted}: it should not hold for "{words[0]}".'
        yield Fix("except", (Patch(end, end, f' unless it mentions "{words[0]}"'),), because, -0.05)


def _akin(rule: Rule, met: Sequence[int], case: Case, material: Material) -> bool:
    """Whether the rule's words sound like the expected label's own name."""
    name = material.evidence.manual.names[case.expected]
    heard: set[str] = set()
    for t in met:
        heard.update(rule.triggers[t].stems)
    for a in name:
        for b in heard:
            if a == b or (len(a) > 3 and len(b) > 3 and (a.startswith(b) or b.startswith(a))):
                return True
    return False


def _with_cues(
    case: Case, material: Material, patches: tuple[Patch, ...], words: Sequence[str], because: str, promise: float
) -> Iterator[Fix]:
    for n in range(1, min(2, len(words)) + 1):
        cue = more_cues(material.prompt, material.evidence.manual, case.expected, words[:n], material.slots)
        if cue is not None:
            said = ", ".join(f'"{w}"' for w in words[:n])
            yield Fix(
                "both", (*patches, cue), f'{because} "{material.name(case.expected)}" lacks {said}.', promise - 0.05 * n
            )


def _cue_fixes(case: Case, material: Material, judgement: Judgement, words: Sequence[str]) -> Iterator[Fix]:
    manual = material.evidence.manual
    name = material.name(case.expected)
    for n in range(1, min(_MOST_CUES, len(words)) + 1):
        cue = more_cues(material.prompt, manual, case.expected, words[:n], material.slots)
        if cue is not None:
            said = ", ".join(f'"{w}"' for w in words[:n])
            because = f'Example {case.id}: the line of "{name}" lacks {said}; "{material.name(case.given)}" won.'
            yield Fix("add_cues", (cue,), because, 0.3 - 0.08 * n)
    yield from _misleading_cues(case, material, judgement)


def _misleading_cues(case: Case, material: Material, judgement: Judgement) -> Iterator[Fix]:
    """Take a word out of the line of the label that won by it."""
    winner = material.evidence.manual.labels[judgement.label]
    if judgement.label == case.expected:
        return
    present = set(stems(case.text))
    for cue in winner.cues:
        if len(cue.stems) == 1 and cue.weight > 0 and cue.stems[0] in present:
            place = moved(cue.place, winner.body[0])
            word = _shown(material, place)
            right = material.name(case.expected)
            because = f'Example {case.id}: {word} in the line of "{winner.name}" misleads, "{right}" is expected.'
            yield Fix("drop_cue", (_cue_removal(material.prompt, winner.body, place),), because, 0.0)


def _cue_removal(text: str, body: Place, place: Place) -> Patch:
    """The cue with the comma before it, when it is a list item of its own."""
    before = text[body[0] : place[0]].rstrip()
    alone = text[place[1] : place[1] + 1] in {",", ".", ";", "\n", ""}
    if before.endswith(",") and alone:
        return Patch(body[0] + len(before) - 1, place[1], "")
    if place[0] == body[0] and text[place[1] : place[1] + 2] == ", ":
        return Patch(place[0], place[1] + 2, "")
    return Patch(*place, "")


def _own_rule_fixes(case: Case, material: Material, words: Sequence[str]) -> Iterator[Fix]:
    """A rule of its own for the expected label: longer list, or a new line worded like an old one."""
    if not words:
        return
    manual, name = material.evidence.manual, material.name(case.expected)
    own = [r for r in manual.rules if r.label == case.expected and not r.never and not r.needs_all]
    because = f'Example {case.id}: the rules do not say that "{words[0]}" means "{name}".'
    for rule in own[:2]:
        for n in (1, 2):
            yield Fix("add_trigger", (more_triggers(material.prompt, rule, words[:n]),), because, 0.12 - 0.05 * n)
    models = []
    for r in manual.rules:
        if not r.never and not r.exceptions and all(t.exact for t in r.triggers):
            models.append(r)
    if models and not own and material.insertions:
        last = models[-1]
        mark = material.prompt[material.prompt.rfind("\n", 0, last.line[0]) + 1 : last.line[0]]
        line = f"\n{mark}{like_rule(material.prompt, last, name, words[:2])}"
        yield Fix("new_rule", (Patch(last.line[1], last.line[1], line),), because, -0.1)


def _fallback_fixes(case: Case, material: Material, judgement: Judgement) -> Iterator[Fix]:
    """Another label for inputs nothing fits, when this row fell through to the wrong one."""
    fallback = material.evidence.manual.fallback
    lost = not judgement.rule_points and max(judgement.overlap.values(), default=0.0) < DOUBT
    if fallback is not None and lost and judgement.label == fallback.label != case.expected:
        because = (
            f'Example {case.id}: nothing fits; "{fallback.sentence}" sends it to "{material.name(fallback.label)}".'
        )
        yield Fix("fallback", (Patch(*fallback.target, material.name(case.expected)),), because, -0.2)


def _form_fixes(case: Case, material: Material) -> Iterator[Fix]:
    """The label is right but put wrongly: drop what the prompt says about the form."""
    for trait, place in material.evidence.manual.form.places.items():
        if trait != "only":
            said = _shown(material, place)
            because = (
                f"Example {case.id}: the label is right, but {said} makes the form wrong; {case.wanted!r} is expected."
            )
            yield Fix("form", (Patch(*place, "exactly as listed"),), because, 0.4)


def _shown(material: Material, place: Place) -> str:
    said = material.prompt[slice(*place)].strip("\"'`“”«» ")
    return f'"{said}"'


# Choosing among fixes

_BROKEN, _PER_WORD, _TOLD, _TASTE = 1.5, 0.03, 3.0, 0.25
_TRIED = 14
_HARMLESS = frozenset({"add_cues", "add_trigger"})
_HOPEFUL = _HARMLESS | {"both"}
"""Kinds that may help other rows even where they do not turn the row at hand."""


@dataclass(frozen=True)
class ChangeLimits:
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


def ranked_fixes(case: Case, material: Material, mood: Mood) -> list[Fix]:
    """The lawful fixes of one row, the most promising first.

    Args:
        case: The example.
        material: What fixes are made from, and where they may go.
        mood: What decides between equals.

    Returns:
        At most `_TRIED` fixes.
    """
    lawful = []
    for fix in fixes_for(case, material):
        patches = fitted(material.prompt, fix.patches, material.slots)
        if patches is not None and all(markable(material.prompt, p, material.marks) for p in patches):
            lawful.append(replace(fix, patches=patches))
    return sorted(lawful, key=lambda f: -(f.promise + mood.sway(f)))[:_TRIED]


def repairs(material: Material, mood: Mood, limits: ChangeLimits) -> tuple[Fix, ...]:
    """At most one fix for each wrong row, together within the limits.

    Args:
        material: What fixes are made from, and where they may go.
        mood: What decides between equals.
        limits: Most places and words that may change.
    """
    chosen: list[Fix] = []
    for case in material.evidence.errors:
        patches: list[Patch] = []
        for f in chosen:
            patches.extend(f.patches)
        if not case.misput and chosen and _right(material, patches, [case]):
            continue
        best = _best(case, material, mood, limits, patches)
        if best is not None:
            chosen.append(best)
    return tuple(chosen)


def explorations(material: Material, mood: Mood, limits: ChangeLimits) -> tuple[Fix, ...]:
    """Cues to try when no row shown is wrong: words of a right row, where they break nothing shown.

    Args:
        material: What fixes are made from, and where they may go.
        mood: What decides between equals.
        limits: Most places and words that may change.

    Returns:
        One fix, or none.
    """
    before = _right(material, (), material.evidence.all)
    found = []
    for case in material.evidence.kept:
        found += [f for f in ranked_fixes(case, material, mood) if f.kind in _HARMLESS]
    for fix in sorted(found, key=lambda f: -mood.sway(f)):
        if not _too_much(material.prompt, fix.patches, limits) and before <= _right(
            material, fix.patches, material.evidence.all
        ):
            return (fix,)
    return ()


def _best(case: Case, material: Material, mood: Mood, limits: ChangeLimits, patches: list[Patch]) -> Fix | None:
    before = _right(material, patches, material.evidence.all)
    best, best_value = None, float("-inf")
    for fix in ranked_fixes(case, material, mood):
        together = [*patches, *fix.patches]
        if collide(fix.patches, patches) or _too_much(material.prompt, together, limits):
            continue
        after = _right(material, together, material.evidence.all)
        mended = len(after - before) + (1.0 if case.misput else 0.0)
        value = mended - _BROKEN * len(before - after) - _PER_WORD * cost(material.prompt, fix.patches) + fix.promise
        value += mood.sway(fix)
        if value > best_value and (mended or fix.kind in _HOPEFUL):
            best, best_value = fix, value
    return best if best_value > 0 else None


def _too_much(prompt: str, patches: Sequence[Patch], limits: ChangeLimits) -> bool:
    if limits.places is not None and len(patches) > limits.places:
        return True
    return limits.words is not None and cost(prompt, patches) > limits.words


def _right(material: Material, patches: Sequence[Patch], cases: Sequence[Case]) -> frozenset[int]:
    """Which rows a reader of the patched prompt gets right."""
    manual = read(patched(material.prompt, patches)) if patches else material.evidence.manual
    names = [label.name for label in manual.labels]
    wanted = material.evidence.manual.labels
    found = set()
    for i, case in enumerate(cases):
        got = label_given(manual, case.text)
        if got >= 0 and names[got] == wanted[case.expected].name:
            found.add(i)
    return frozenset(found)
