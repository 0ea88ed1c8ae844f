"""Reads a conversation of the steps: what is asked for, in which form, about which prompt and rows.

A request is recognised by the wording of the meta-prompt files themselves, as any model would recognise it. Its
examples are read as cases: input text, expected label and given label, in terms of the prompt's manual.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.offline.instructions import read
from langchain_promptopt.offline.manual import TOKEN, is_dull, stem, stems
from langchain_promptopt.offline.task import judge
from langchain_promptopt.steps.line_protocol import is_example, unlined
from langchain_promptopt.steps.metaprompts import metaprompt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.offline.manual import Place, TaskManual
    from langchain_promptopt.steps.propose import Goal

RequestKind: TypeAlias = Literal[
    "reasons", "inspect", "line", "quote", "echo", "index", "slots", "reply", "global", "induce", "summarise"
]
Turns: TypeAlias = Sequence[tuple[str, str]]

_FILES: Mapping[str, RequestKind] = {
    "gradient.apo": "reasons",
    "gradient.apo-one": "reasons",
    "gradient.pe2": "inspect",
    "identify.line-ask": "line",
    "identify.quote": "quote",
    "identify.echo": "echo",
    "identify.index": "index",
    "propose.slots": "slots",
    "propose.reply": "reply",
    "global.edit": "global",
    "induce": "induce",
    "summarise": "summarise",
}
_GOALS: tuple[Goal, ...] = ("edit", "generate", "paraphrase", "shorten")
_INSERTIONS = (
    "identify.insertions",
    "identify.line-insertions",
    "identify.echo-insertions",
    "identify.index-insertions",
)
_TAG = re.compile(r"<(edit[\w-]*)>", re.I)


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row as the conversation shows it."""

    id: str
    inputs: Mapping[str, Any]
    expected: Any
    answer: Any = None


@dataclass(frozen=True)
class Request:
    """What the last request of a conversation wants, and all it may be answered from."""

    kind: RequestKind
    prompt: str
    errors: tuple[ShownRow, ...] = ()
    correct: tuple[ShownRow, ...] = ()
    examples: tuple[ShownRow, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    feedback: str = ""
    goal: Goal = "edit"
    reasons: int = 1
    k_max: int = 5
    w_max: int | None = 5
    whole_lines: bool = False
    insertions: bool = False
    allowance: int | None = None
    cap: int | None = None
    tag: str = "edit"
    slots: tuple[Place, ...] = ()
    numbered: str = ""
    frozen: tuple[Place, ...] = ()
    """Where the prompt must stay word for word."""
    tries: tuple[str, ...] = ()
    """Earlier replies to this very request that could not be used."""


@cache
def longest_stretch(name: str) -> str:
    """The longest stretch of a meta-prompt between its places."""
    parts = re.split(r"\$\{?\w+\}?", metaprompt(name))
    return on_one_line(max(parts, key=len))


def on_one_line(text: str) -> str:
    """The text with single blanks in place of all white space."""
    return " ".join(text.split())


def _asks(name: str, text: str) -> bool:
    return longest_stretch(name) in text


def understand(turns: Turns) -> Request | None:
    """The request of a conversation of (role, text) pairs; None when it is none of the known ones."""
    asked = _last_request(turns)
    if asked is None:
        return None
    at, kind = asked
    text = turns[at][1]
    told = on_one_line(text)
    opening = "\n\n".join(t for role, t in turns[: at + 1] if role == "human" and not is_example(t))
    prompt = section_body(opening, "prompt") or unlined(section_body(opening, "lines") or "")
    tag, slots = (
        _slots(section_body(text, "marked") or "", prompt) if kind in {"slots", "reply"} else (_tag_of(told), ())
    )
    limit = _after(told, "allowance")
    tries = tuple(t for role, t in turns[at + 1 :] if role == "ai")
    return Request(
        kind=kind,
        prompt=prompt,
        errors=_rows(opening, "errors"),
        correct=_rows(opening, "correct"),
        examples=_rows(opening, "examples"),
        history=tuple(objects_in(section_body(opening, "history") or "")),
        feedback="\n".join((section_body(opening, "feedback") or "", *_said(turns[:at]))).strip(),
        goal=_goal(told),
        reasons=number_in(r"Give (\d+)", told) or 1,
        k_max=number_in(r"at most (\d+) (?:objects|marks|changes)|marks?: at most (\d+)", told) or 5,
        w_max=number_in(r"(?:has at most|each around at most) (\d+)", told),
        whole_lines=_asks("identify.lines", told),
        insertions=any(_asks(name, told) for name in _INSERTIONS),
        allowance=limit,
        cap=_after(told, "global.cap"),
        tag=tag,
        slots=slots,
        numbered=section_body(text, "numbered") or "",
        frozen=_places_of(sections(text, "frozen"), prompt),
        tries=tries,
    )


def _last_request(turns: Turns) -> tuple[int, RequestKind] | None:
    for at in reversed(range(len(turns))):
        kind = _kind(turns[at])
        if kind is not None:
            return at, kind
    return None


def _kind(turn: tuple[str, str]) -> RequestKind | None:
    if turn[0] != "human" or is_example(turn[1]):
        return None
    told = on_one_line(turn[1])
    for name, kind in _FILES.items():
        if _asks(name, told):
            return kind
    return None


def _goal(told: str) -> Goal:
    for goal in _GOALS:
        if _asks(f"propose.goal-{goal}", told) or _asks(f"global.goal-{goal}", told):
            return goal
    return "edit"


def _said(turns: Turns) -> list[str]:
    """Replies to earlier requests for reasons."""
    found: list[str] = []
    for (role, asked), (_, reply) in pairwise(turns):
        if role == "human" and _kind((role, asked)) in {"reasons", "inspect"}:
            found.append(reply)
    return found


def section_body(text: str, name: str) -> str | None:
    r"""The body of the first section `name`; its tag may carry a suffix so that the body cannot close it.

    >>> section_body("x\n<prompt>\nBe brief.\n</prompt>", "prompt")
    'Be brief.'
    """
    found = re.search(_section_pattern(name), text, re.S | re.M)
    return found.group(2) if found else None


def sections(text: str, name: str) -> list[str]:
    """The bodies of all sections `name`."""
    return [found.group(2) for found in re.finditer(_section_pattern(name), text, re.S | re.M)]


def _section_pattern(name: str) -> str:
    return rf"^<({name}(?:-[0-9a-f]{{6}})*)>\n(.*?)\n</\1>"


def _places_of(parts: list[str], prompt: str) -> tuple[Place, ...]:
    places = []
    for part in parts:
        if (at := prompt.find(part)) >= 0:
            places.append((at, at + len(part)))
    return tuple(sorted(places))


def objects_in(body: str) -> list[Mapping[str, Any]]:
    """The JSON objects among the lines of a section; other lines are left out."""
    out: list[Mapping[str, Any]] = []
    for line in body.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            out.append(value)
    return out


def _rows(text: str, name: str) -> tuple[ShownRow, ...]:
    rows = []
    for value in objects_in(section_body(text, name) or ""):
        inputs = value.get("inputs")
        rows.append(
            ShownRow(
                id=str(value.get("id", "")),
                inputs=inputs if isinstance(inputs, dict) else {"input": inputs},
                expected=value.get("expected"),
                answer=value.get("answer"),
            )
        )
    return tuple(rows)


def number_in(pattern: str, told: str) -> int | None:
    """The first number that a group of the pattern found; None where the pattern does not occur."""
    found = re.search(pattern, told)
    return int(next(filter(None, found.groups()))) if found else None


def _after(told: str, name: str) -> int | None:
    """The number a one-sentence meta-prompt was filled with."""
    spelled = re.escape(on_one_line(metaprompt(name))).replace(r"\ ", " ")
    return number_in(re.sub(r"\\\$\w+", r"(\\d+)", spelled), told)


def _tag_of(told: str) -> str:
    """The tag the echo form is asked to use; the prompt itself may hold tags too."""
    ahead = on_one_line(metaprompt("identify.echo")).partition("<$tag>")[0][-40:]
    found = re.search(re.escape(ahead) + _TAG.pattern, told)
    return found.group(1) if found else "edit"


def _slots(marked: str, prompt: str) -> tuple[str, tuple[Place, ...]]:
    """The tag in use and the marked places, as offsets of the unmarked prompt."""
    for tag in dict.fromkeys(_TAG.findall(marked)):
        out: list[Place] = []
        plain, opened = "", None
        for piece in re.split(rf"(</?{re.escape(tag)}>)", marked, flags=re.I):
            if piece.lower() == f"<{tag.lower()}>":
                opened = len(plain)
            elif piece.lower() == f"</{tag.lower()}>" and opened is not None:
                out.append((opened, len(plain)))
                opened = None
            else:
                plain += piece
        if plain == prompt:
            return tag, tuple(out)
    return "edit", ()


# The rows of a request as cases


@dataclass(frozen=True, slots=True)
class Case:
    """One row: `expected` and `given` are labels of the manual (-1 where there is none)."""

    id: str
    text: str
    expected: int
    given: int
    answer: str
    wanted: str

    @property
    def misput(self) -> bool:
        """The right label in a wrong form."""
        return self.expected >= 0 and self.given == self.expected and self.answer != self.wanted


@dataclass(frozen=True)
class RequestEvidence:
    """What a request teaches: the prompt as read, the rows to mend and the rows to keep."""

    prompt: str
    manual: TaskManual
    errors: tuple[Case, ...]
    kept: tuple[Case, ...]

    @property
    def all(self) -> tuple[Case, ...]:
        """Every row shown."""
        return (*self.errors, *self.kept)


def evidence_of(request: Request) -> RequestEvidence:
    """The request's rows as cases. Format examples count as errors where a reader of the prompt would err."""
    manual = read(request.prompt)
    errors = _labelled(request.errors, request.prompt, manual)
    kept = _labelled(request.correct, request.prompt, manual)
    for case in _labelled(request.examples, request.prompt, manual):
        right = label_given(manual, case.text) == case.expected
        (kept if right else errors).append(case)
    return RequestEvidence(request.prompt, manual, tuple(errors), tuple(kept))


def _labelled(rows: Sequence[ShownRow], prompt: str, manual: TaskManual) -> list[Case]:
    """Cases of the rows whose expected answer is a label of the manual."""
    cases = [_case(row, prompt, manual) for row in rows]
    return [c for c in cases if c.expected >= 0]


def label_given(manual: TaskManual, text: str) -> int:
    """The label a reader of the manual gives, -1 for none."""
    judgement = judge(manual, text)
    return -1 if judgement is None else judgement.label


def _case(row: ShownRow, prompt: str, manual: TaskManual) -> Case:
    shown = []
    for k, v in row.inputs.items():
        if re.search(rf"\{{\s*{re.escape(str(k))}\b", prompt):
            shown.append(v)
    text = "\n".join(map(_plain, shown or row.inputs.values()))
    wanted, answer = leaves(row.expected), leaves(row.answer)
    expected = _first_label(wanted, manual)
    given = _first_label(answer, manual)
    return Case(
        id=row.id,
        text=text,
        expected=expected,
        given=given if given >= 0 else label_given(manual, text),
        answer=answer[0].strip() if answer else "",
        wanted=wanted[0].strip() if wanted else "",
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(leaves(value))


def leaves(value: Any) -> list[str]:
    """All leaves of a value as texts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        found: list[str] = []
        for v in value:
            found.extend(leaves(v))
        return found
    return [] if value is None else [str(value)]


def _first_label(texts: Iterable[str], manual: TaskManual) -> int:
    names = [_bare(label.name) for label in manual.labels]
    for text in texts:
        folded = _bare(text)
        if folded in names:
            return names.index(folded)
    for text in texts:
        inside = [i for i, n in enumerate(names) if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", _bare(text))]
        if inside:
            return max(inside, key=lambda i: len(names[i]))
    return -1


def _bare(text: str) -> str:
    """A label without its spelling: case, underscores, quotes and closing marks."""
    return " ".join(text.replace("_", " ").strip(" .!\"'`\n").casefold().split())


_ENOUGH = 6
_PLAIN = 0.8
_COMMON = frozenset(
    map(
        stem,
        """
    time times day days week weeks month months year years today yesterday tomorrow morning evening night hour hours
    minute minutes ago monday tuesday wednesday thursday friday saturday sunday january february march april may june
    july august september october november december last first second third next one two three four five ten many much
    lot few half whole old new good great nice bad better best right wrong big small long short same different sure
    possible really never always often already again soon later since because anyone everybody somebody nobody people
    man woman father mother wife husband daughter son friend colleague company home office school team name number
    come comes came take takes took give gives gave see saw seen know knew think thought say says said tell told ask
    asked try tried look looked find found keep kept put let start started use used using work works worked show shows
    back away way thing place part end happen happened please help understand able become seem seems mean believe
    """.split(),  # noqa: SIM905 - a readable word list
    )
)
"""Words so common in any text that they rarely tell labels apart; they are a second choice, not forbidden."""


def telling_words(case: Case, evidence: RequestEvidence, spent: frozenset[str]) -> list[str]:
    """Words of the row that speak for its expected label, the best first.

    Words are left out that other shown rows use under other labels, that the label's line has
    already, or whose addition has not paid before (`spent`).

    Args:
        case: The example that is wrong.
        evidence: All examples shown.
        spent: Stems of words whose addition did not help.

    Returns:
        At most `_ENOUGH` words, in lower case.
    """
    manual = evidence.manual
    own = manual.names[case.expected].union(*(cue.stems for cue in manual.labels[case.expected].cues))
    elsewhere = _stems_of(c for c in evidence.all if c.expected != case.expected)
    fellows: Counter[str] = Counter()
    for c in evidence.all:
        if c.expected == case.expected and c.id != case.id:
            fellows.update(set(stems(c.text)))
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
    found: set[str] = set()
    for c in cases:
        found.update(stems(c.text))
    return frozenset(found)


def _spoken_outside_labels(evidence: RequestEvidence) -> frozenset[str]:
    """Words the prompt uses of itself: they belong to the setting, not to a label."""
    text, at, out = evidence.prompt, 0, []
    for label in sorted(evidence.manual.labels, key=lambda one: one.line):
        out.append(text[at : label.line[0]])
        at = max(at, label.line[1])
    out.append(text[at:])
    return frozenset(stems("\n".join(out)))
