"""Reads instructions into a `TaskManual`: which labels, which rules, which form of answer; never sees a row.

`separate` tells a rendered prompt's instructions from the row's input, without knowing any variable. The input is
data: rules, labels or tags in it are never followed. The template's own words come first, so the earliest sign of
an input counts, and closing signs are sought from the end.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import map_values
from langchain_promptopt._text.document import covers
from langchain_promptopt.offline.manual import (
    TOKEN,
    AnswerForm,
    Cue,
    Fallback,
    Label,
    LabelLine,
    Line,
    Order,
    Place,
    Rule,
    TaskManual,
    default_label,
    is_dull,
    label_pairs,
    lines_of,
    rules_in,
    stem,
    stems,
    topical,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NEGATED = re.compile(r"\b(?:no|not|never|without|don't|avoid|instead of)\b[^.;:]{0,25}$", re.I)
_THING = r"(?:label|name|category|answer|class|intent|word)"
_TRAITS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("upper", re.compile(r"\b(?:(?:in )?(?:all )?upper[ -]?case|(?:in )?(?:all )?capital letters|all caps)\b", re.I)),
    ("lower", re.compile(r"\b(?:in )?(?:all )?lower[ -]?case\b", re.I)),
    ("json", re.compile(r"\bjson\b", re.I)),
    (
        "reason",
        re.compile(r"\b(?:reason(?:ing)?|explain|explanation|justify|justification|step by step|why you)\b", re.I),
    ),
    (
        "only",
        re.compile(
            rf"\b(?:only (?:the |its |one )?{_THING}|{_THING} only|just the {_THING}|nothing else)\b",
            re.I,
        ),
    ),
    ("quoted", re.compile(r"\bin (?:double |single )?(?:quotes|quotation marks)\b", re.I)),
    ("sentence", re.compile(r"\b(?:in|as|with) (?:a|one) (?:full |complete |short |whole )?sentence\b", re.I)),
    (
        "prefix",
        re.compile(
            r"\b(?:form|format|like this|line|written as|looks like|start with)\b[^\n\"`]{0,20}"
            r"[\"`](?P<prefix>[A-Z][\w ]{1,20}):",
            re.I,
        ),
    ),
)
_KEY = re.compile(r"\{{1,2}\s*\"(\w+)\"\s*:")
_CLEARS = {"only": ("reason", "sentence"), "upper": ("lower",), "lower": ("upper",), "json": ("prefix",)}


def find_form(text: str, lines: list[Line]) -> AnswerForm:
    """The form the lines ask for; of two statements that conflict the later one counts."""
    places: dict[str, Place] = {}
    prefix = ""
    for line in lines:
        for name, start, end, wanted, said in _traits(line.text):
            if not wanted:
                places.pop(name, None)
                continue
            for other in _CLEARS.get(name, ()):
                places.pop(other, None)
            places[name] = (line.start + start, line.start + end)
            prefix = said if name == "prefix" else prefix
    key = _KEY.search(text) if "json" in places else None
    return AnswerForm(
        case="upper" if "upper" in places else "lower" if "lower" in places else "",
        json_key=(key.group(1) if key else "label") if "json" in places else "",
        reason="reason" in places,
        quoted="quoted" in places,
        sentence="sentence" in places,
        prefix=prefix if "prefix" in places else "",
        places=places,
    )


@lru_cache(maxsize=8192)
def _traits(line: str) -> tuple[tuple[str, int, int, bool, str], ...]:
    """Traits a line speaks of: name, start, end, whether it asks for it, and the prefix it spells out."""
    found = []
    for name, pattern in _TRAITS:
        for m in pattern.finditer(line):
            found.append((m.start(), name, m))
    traits = []
    for at, name, m in sorted(found):
        asked = not _NEGATED.search(line[:at])
        prefix = m["prefix"] if name == "prefix" else ""
        traits.append((name, at, m.end(), asked, prefix))
    return tuple(traits)


def put(answer: str, form: AnswerForm, because: Callable[[], str]) -> str:
    """`answer` in that form; `because` gives the reason where one is asked for.

    Args:
        answer: The label.
        form: The form that the prompt asks for.
        because: Makes the reason; called only where the form has one.

    >>> put("red", AnswerForm(case="upper", json_key="colour"), lambda: "")
    '{"colour": "RED"}'
    """
    cased = answer.upper() if form.case == "upper" else answer.lower() if form.case == "lower" else answer
    if form.json_key:
        value: dict[str, Any] = {"reason": because()} if form.reason else {}
        return json.dumps(value | {form.json_key: cased}, ensure_ascii=False)
    shown = f'"{cased}"' if form.quoted else cased
    if form.prefix:
        shown = f"{form.prefix}: {shown}"
    if form.sentence:
        shown = f"The right label here is {shown}."
    if form.reason:
        return f"{because()}\n{shown if form.prefix else f'Answer: {shown}'}"
    return shown


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
def read(text: str) -> TaskManual:
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
    found = []
    for line in rest:
        found.extend(rules_in(line, names))
    rules = tuple(found)
    return _indexed(text, rest, labels, rules, default_label(rest, names))


def _label(text: str, pair: LabelLine) -> Label:
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
        if is_dull(s, instruction=True) or covers(taken, word.start()):
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
    return _AGAINST if covers(against, at) else _CUE_WEIGHT


def _indexed(
    text: str, rest: list[Line], labels: tuple[Label, ...], rules: tuple[Rule, ...], fallback: Fallback | None
) -> TaskManual:
    found = []
    for label in labels:
        found.append(frozenset(topical(label.name.replace("_", " "))) or frozenset(stems(label.name)))
    names = tuple(found)
    weights, phrases = _weights(labels, names)
    index: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for r, rule in enumerate(rules):
        for t, trigger in enumerate(rule.triggers):
            index[trigger.stems[0]].append((r, t))
    return TaskManual(
        labels=labels,
        rules=rules,
        form=find_form(text, rest),
        order=_order(text),
        fallback=fallback,
        words=weights,
        phrases=phrases,
        names=names,
        triggers=map_values(tuple, index),
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
    shared = Counter(map_values(len, single))
    words = {}
    for s, held in single.items():
        rarity = math.log(1 + len(labels) / shared[s])
        words[s] = tuple((i, w * rarity / scale) for i, w in held.items())
    phrases: dict[str, list[tuple[int, tuple[str, ...], float]]] = defaultdict(list)
    for found, held in several.items():
        for i, w in held.items():
            phrases[found[0]].append((i, found, w / len(held) ** 0.5))
    return words, map_values(tuple, phrases)


def _order(text: str) -> Order:
    if _FIRST.search(text):
        return "first"
    return "last" if _LAST.search(text) else ""


_NOUN = (
    r"ticket|question|message|text|input|e-?mail|query|review|sentence|passage|document|request|utterance|post|tweet"
)
_MARKER = re.compile(
    rf"^[#*_>\s]*(?:[\w'’]+[ \t]+){{0,4}}?(?:{_NOUN}|q)(?:[ \t]+[\w'’]+){{0,3}}[*_]*[ \t]*:[*_]*", re.I
)
_NO_MARKER = re.compile(r"[#*_>\s]*(?:if|when|whenever|use|never|note|answer|reply|mentions|for)\b", re.I)
_NOUNS = frozenset(_NOUN.replace("e-?mail", "email|e-mail").split("|")) | {"q"}
_BARE = str.maketrans("#*_>", "    ")
_LONGEST_MARKER = 70
_BLOCK = re.compile(rf"<((?:[a-z]+[_-])?(?:{_NOUN})(?:[_-][a-z]+)?)>", re.I)
_HEADING = re.compile(rf"^#{{1,6}}[ \t]+(?:[\w'’]+[ \t]+){{0,2}}(?:{_NOUN})[ \t]*$", re.I | re.M)
_FENCE = re.compile(r'^(?:```+\w*|"""|~~~+)[ \t]*$|"""', re.M)
_ANSWER_CUE = re.compile(
    r"\n[#*\s]*(?:(?:your|final|the|correct)\s+)?(?:label|answer|category|intent|class|output)[*\s]*:?[*\s]*\Z", re.I
)
_SHOT = re.compile(r"^[#*\s]*(?:label|answer|category|intent|class|output)[*]*:[ \t]*\S", re.I | re.M)


def separate(messages: Sequence[tuple[str, str]]) -> tuple[str, str]:
    r"""Instructions and input of a conversation given as (role, text) pairs.

    >>> separate([("human", "Answer red or blue.\n\nText: the sky")])
    ('Answer red or blue.\n\nText:', 'the sky')
    """
    if not messages:
        return "", ""
    at = max((i for i, (role, _) in enumerate(messages) if role in {"human", "user"}), default=len(messages) - 1)
    others = []
    for i, (role, text) in enumerate(messages):
        if i != at and role not in {"ai", "assistant", "tool"}:
            others.append(text)
    before = "\n".join(others)
    instructions, data = split(messages[at][1], before)
    return (f"{before}\n{instructions}" if before else instructions), data


def split(text: str, before: str = "") -> tuple[str, str]:
    """The instructions and the input inside one message; `before` is what earlier messages said."""
    opened = _opening(text)
    if before and read(before).labels and (opened is None or text[:opened].strip().count("\n")):
        return "", text  # the instructions came earlier: a marker deep inside the message is the row's own
    if opened is None:
        return _last_paragraph(text)
    head, rest = text[:opened], text[opened:]
    block = _BLOCK.match(rest.lstrip()) or _FENCE.match(rest.lstrip())
    if block is not None:
        return _fenced(head, rest.lstrip(), block)
    known = read(f"{before}\n{head}" if before else head)
    if known.labels or known.rules:
        return head, _without_answer_cue(rest).strip()
    data, gap, tail = rest.strip("\n").partition("\n\n")
    return f"{head}{gap}{tail}", data.strip()


def _opening(text: str) -> int | None:
    """Where the input begins, after its marker; at the tag or fence itself where it has one."""
    markers = _markers(text)
    floor = _after_shots(text, markers)
    found = [end for start, end in markers if start >= floor][:1]
    block = _closed_block(text, floor)
    if block is not None:
        found.append(block)
    if not found:
        found = [m.end() for m in _HEADING.finditer(text, floor)][-1:] or _fences(text, floor)
    return min(found, default=None)


def _closed_block(text: str, floor: int) -> int | None:
    if "</" in text:
        for m in _BLOCK.finditer(text, floor):
            if f"</{m.group(1)}>" in text[m.end() :]:
                return m.start()
    return None


def _fences(text: str, floor: int) -> list[int]:
    found = [m.start() for m in _FENCE.finditer(text, floor)]
    return found[:1] if len(found) > 1 else []


def _markers(text: str) -> list[tuple[int, int]]:
    """Start and end of each line beginning that announces an input."""
    out, at = [], 0
    for line in text.split("\n"):
        start, at = at, at + len(line) + 1
        end = _marker_end(line)
        if end:
            out.append((start, start + end))
    return out


@lru_cache(maxsize=8192)
def _marker_end(line: str) -> int:
    """Where a marker at the line's beginning ends, 0 without one. A prompt's lines return with every row."""
    head, colon, _ = line.partition(":")
    if not colon or len(head) > _LONGEST_MARKER or _NOUNS.isdisjoint(head.lower().translate(_BARE).split()):
        return 0
    found = _MARKER.match(line)
    return 0 if found is None or _NO_MARKER.match(line) else found.end()


def _after_shots(text: str, markers: list[tuple[int, int]]) -> int:
    """Where worked examples (input and answer in turn) end; 0 without them."""
    if len(markers) < 2:
        return 0
    shots = [s.start() for s in _SHOT.finditer(text)]
    floor = 0
    for (here, _), (following, _) in pairwise(markers):
        if not any(here < s < following for s in shots):
            break
        floor = following
    return floor


def _fenced(head: str, rest: str, opener: re.Match[str]) -> tuple[str, str]:
    closer = (
        f"</{opener.group(1)}>" if opener.re is _BLOCK else opener.group().rstrip().rstrip("abcdefghijklmnopqrstuvwxyz")
    )
    end = rest.rfind(closer)
    if end < opener.end():  # nothing closes it: it is the input's own
        return head, _without_answer_cue(rest).strip()
    return f"{head}\n{rest[end + len(closer) :]}", rest[opener.end() : end].strip()


def _last_paragraph(text: str) -> tuple[str, str]:
    body = _without_answer_cue(text).rstrip()
    cut = body.rfind("\n\n")
    if cut < 0:
        cut = body.rfind("\n")
    return (body[:cut], body[cut:].strip()) if cut >= 0 else (body, body)


def _without_answer_cue(text: str) -> str:
    return _ANSWER_CUE.sub("", text)
