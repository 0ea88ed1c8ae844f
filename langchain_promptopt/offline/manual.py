"""What a reader takes from a prompt: labels with their cues, rules, and how to put the answer.

Everything keeps its place in the text it was read from, so that a diagnosis can point at words.

The lines of a prompt: headings, list items, and the lines that define labels.

Reads rules out of sentences: a condition, and the label it calls for or forbids.

Reads how the answer is to be put, and puts it so.

Reads instructions into a `Manual`: which labels, which rules, which form. Never sees a row.

Tells a rendered prompt's instructions from the row's input, without knowing any variable.

The input is data: rules, labels or tags in it are never followed. The template's own words
come first, so the earliest sign of an input counts, and closing signs are sought from the end.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.offline.words import TOKEN, is_dull, stem, stems, topical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    pass
    from collections.abc import Callable, Sequence

Place: TypeAlias = tuple[int, int]


def moved(place: Place, by: int) -> Place:
    """`place`, `by` characters further on."""
    return place[0] + by, place[1] + by


@dataclass(frozen=True, slots=True)
class Cue:
    """A word or phrase of a label's line, placed from where the description begins. `weight` below 0 speaks against."""

    stems: tuple[str, ...]
    place: Place
    weight: float


@dataclass(frozen=True, slots=True)
class Label:
    """A possible answer: its name as written, its whole line, and the description with its cues."""

    name: str
    place: Place
    line: Place
    body: Place
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Words a rule waits for. `exact` phrases must stand together, others anywhere."""

    stems: tuple[str, ...]
    place: Place
    exact: bool = True

    def moved(self, by: int) -> Trigger:
        """The trigger as it stands `by` characters further on."""
        return Trigger(self.stems, moved(self.place, by), self.exact)


@dataclass(frozen=True, slots=True)
class Rule:
    """If a trigger is met (and no exception), answer `label`; with `never`, do not."""

    label: int
    target: Place
    line: Place
    sentence: Place
    triggers: tuple[Trigger, ...]
    exceptions: tuple[Trigger, ...] = ()
    never: bool = False
    needs_all: bool = False

    def moved(self, by: int) -> Rule:
        """The rule as it stands `by` characters further on."""
        return replace(
            self,
            target=moved(self.target, by),
            line=moved(self.line, by),
            sentence=moved(self.sentence, by),
            triggers=tuple(t.moved(by) for t in self.triggers),
            exceptions=tuple(t.moved(by) for t in self.exceptions),
        )


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is put. `places` are the words that asked for each trait."""

    case: Literal["", "upper", "lower"] = ""
    json_key: str = ""
    reason: bool = False
    quoted: bool = False
    sentence: bool = False
    prefix: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The label for inputs nothing else fits, and where the text names it."""

    label: int
    target: Place
    sentence: str


Order: TypeAlias = Literal["", "first", "last"]


@dataclass(frozen=True)
class Manual:
    """Instructions, read. The indexes are derived once, so that an answer costs microseconds."""

    labels: tuple[Label, ...]
    rules: tuple[Rule, ...]
    form: Form
    order: Order
    fallback: Fallback | None
    words: Mapping[str, tuple[tuple[int, float], ...]]
    """Stem -> (label, weight) for single-word cues."""
    phrases: Mapping[str, tuple[tuple[int, tuple[str, ...], float], ...]]
    """First stem -> (label, stems, weight) for phrases that must stand together."""
    names: tuple[frozenset[str], ...]
    """Topical stems of each label's name."""
    triggers: Mapping[str, tuple[tuple[int, int], ...]]
    """First stem -> (rule, trigger)."""


# ------------------------------------------------------------ The lines of a prompt: headings, list items, and the

_HEADING = re.compile(
    r"^\s*(?:#{1,6}\s+(?P<a>.+?)|\*\*(?P<b>[^*]{1,60})\*\*:?|(?P<c>[A-Z][^.!?:]{0,60}):|(?P<d>\[[^\]]+\]))\s*$"
)
_UNDERLINE = re.compile(r"={3,}$|-{3,}$")
_LABEL_TITLE = re.compile(
    r"\b(?:label|categor|class|intent|topic|option|queue|tag|department|answers)(?:y|ies|es|s)?\b", re.I
)
_ITEM = re.compile(r"^\s*(?:[-*•–+]|\d{1,3}[.)]|\([a-zA-Z0-9]\))\s+")
_PAIR = re.compile(
    r"^[`\"'*_]*(?P<name>[^\s:`\"'*(][^:`\"*()=\n]{0,60}?)[`\"'*_]*\s*"
    r"(?::\s|\s[—–=-]{1,2}\s|\s*—\s*|(?=\s\()|:?$)\s*(?P<body>.*)$"
)
_RULE_START = re.compile(
    r"^(?:if|when|whenever|never|use|answer|do|don't|choose|pick|mentions?|anything|always|prefer|note|treat)\b", re.I
)
_INLINE = re.compile(
    r"(?:\b(?:labels?|categories|classes|intents|topics|options|tags|queues)\b[^:\n.]{0,60}:"
    r"|\bone of(?:\s+(?:these|the following|the))?(?:\s+\w+){0,2}?\s*:"
    r"|\b(?:one of|choose (?:from|between|among)|either)\b"
    r"|\b(?:classify|sort|label|tag|categori[sz]e|assign|answer|reply|respond|mark)\b[^:.\n]{0,60}?\b(?:as|into|to|with|in)\b:?"
    r"|\b(?:answer|reply|respond|say)\b)"
    r"[ \t]+(?P<list>[^\n]+)",
    re.I,
)
_SPLIT = re.compile(r"\s*(?:,\s*(?:or|and)\s+|[,|/;]|\bor\b|\band\b)\s*", re.I)
_NAME = re.compile(r"^[`\"'*“(]*([^\s`\"'*“”(){}<>:]+(?:[ \t][^\s`\"'*“”(){}<>:]+){0,2})[`\"'*”)]*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the text, without its list mark."""

    start: int
    end: int
    text: str
    item: bool
    heading: str | None
    section: str


@dataclass(frozen=True, slots=True)
class Pair:
    """`name` and description of a line that defines a label."""

    name: str
    place: Place
    body: Place
    line: Line


def lines_of(text: str) -> list[Line]:
    """All lines that are not blank, each with the heading it stands under."""
    out: list[Line] = []
    at, section = 0, ""
    for raw in text.split("\n"):
        start, at = at, at + len(raw) + 1
        stripped = raw.strip()
        if not stripped:
            continue
        begin = start + len(raw) - len(raw.lstrip())
        if out and _UNDERLINE.match(stripped) and out[-1].heading is None and not out[-1].item:
            section = out[-1].text
            out[-1] = replace(out[-1], heading=section, section=section)
            continue
        found = _HEADING.match(raw)
        if found is not None:
            section = next(g for g in found.groups() if g)
            out.append(Line(begin, begin + len(stripped), stripped, item=False, heading=section, section=section))
            continue
        mark = _ITEM.match(raw)
        if mark is not None:
            begin = start + mark.end()
        end = start + len(raw.rstrip())
        out.append(Line(begin, end, text[begin:end], item=mark is not None, heading=None, section=section))
    return out


def label_pairs(text: str, lines: list[Line]) -> list[Pair]:
    """The lines that define labels: under a heading that says so, else listed in a sentence, else a run of pairs."""
    candidates = [p for p in map(_pair, lines) if p is not None]
    titled = [p for p in candidates if _LABEL_TITLE.search(p.line.section) and p.line.item]
    titled = titled or [p for p in candidates if _LABEL_TITLE.search(p.line.section) and p.body[1] > p.body[0]]
    if len(titled) > 1:
        return _distinct(titled)
    inline = _inline(text, lines)
    if inline:
        named = {p.name.casefold() for p in inline}
        described = [p for p in candidates if p.name.casefold() in named and p.line.item]
        covered = {p.name.casefold() for p in described}
        return _distinct([p for p in inline if p.name.casefold() not in covered] + described if described else inline)
    return _longest_run(lines, [p for p in candidates if p.line.item and p.body[1] > p.body[0]])


def _pair(line: Line) -> Pair | None:
    if line.heading is not None or _RULE_START.match(line.text):
        return None
    found = _PAIR.match(line.text)
    if found is None or len(found["name"].split()) > 4:
        return None
    name = found["name"].rstrip(" .,;")
    at = line.start + found.start("name")
    end = line.start + len(line.text[: found.end("body")].rstrip(" .;,"))
    body = line.start + found.start("body")
    return Pair(name, (at, at + len(name)), (body, max(body, end)), line)


def _distinct(pairs: list[Pair]) -> list[Pair]:
    seen: set[str] = set()
    return [p for p in pairs if not (p.name.casefold() in seen or seen.add(p.name.casefold()))]  # type: ignore[func-returns-value]  # set.add as a memo


def _longest_run(lines: list[Line], pairs: list[Pair]) -> list[Pair]:
    place = {id(line): i for i, line in enumerate(lines)}
    runs: list[list[Pair]] = []
    for pair in pairs:
        at = place[id(pair.line)]
        if runs and place[id(runs[-1][-1].line)] == at - 1:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    best = max(runs, key=len, default=[])
    return _distinct(best) if len(best) > 1 else []


def _inline(text: str, lines: list[Line]) -> list[Pair]:
    """Labels listed inside a sentence, as in "one of: red, green or blue"."""
    best: list[Pair] = []
    for line in lines:
        for found in _openings(line.text):
            pairs = _listed(text, line, line.start + found.start("list"), found["list"])
            if len(pairs) > max(1, len(best)):
                best = pairs
    return best


def _openings(line: str) -> Iterator[re.Match[str]]:
    """Every beginning of a list, also one inside another ("answer with one of: ...")."""
    found = _INLINE.search(line)
    while found is not None:
        yield found
        found = _INLINE.search(line, found.start() + 1)


def _listed(text: str, line: Line, at: int, listing: str) -> list[Pair]:
    listing = re.split(
        r"(?<=[\w\"'`)])[.;!?](?:\s|$)|\s[—–]\s|\b(?:only|depending|according|and nothing else|without)\b", listing
    )[0]
    pairs = []
    for piece in _SPLIT.split(listing):
        found = _NAME.match(piece.strip())
        if found is None:
            if piece.strip():
                break
            continue
        start = text.find(found.group(1), at)
        name = found.group(1).rstrip(".,;:")
        at = start + len(name)
        pairs.append(Pair(name, (start, at), (at, at), line))
    return _distinct(pairs)


# ------------------------------------------------------------ Reads rules out of sentences: a condition, and the l

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


# ------------------------------------------------------------ Reads how the answer is to be put, and puts it so

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


def find_form(text: str, lines: list[Line]) -> Form:
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
    return Form(
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
    hits = sorted((m.start(), name, m) for name, pattern in _TRAITS for m in pattern.finditer(line))
    return tuple(
        (name, at, m.end(), not _NEGATED.search(line[:at]), m["prefix"] if name == "prefix" else "")
        for at, name, m in hits
    )


def put(answer: str, form: Form, because: Callable[[], str]) -> str:
    """`answer` in that form; `because` gives the reason where one is asked for.

    >>> put("red", Form(case="upper", json_key="colour"), lambda: "")
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


# ------------------------------------------------------------ Reads instructions into a `Manual`: which labels, wh

_NAME_WEIGHT, _CUE_WEIGHT, _PAIR_WEIGHT, _AGAINST = 1.5, 1.0, 0.5, -1.5
_QUOTED_reading = re.compile(r"[\"“«`]([^\"”»`\n]{1,60})[\"”»`]")
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
    for quoted in _QUOTED_reading.finditer(body):
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


# ------------------------------------------------------------ Tells a rendered prompt's instructions from the row'

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
_HEADING_inputs = re.compile(rf"^#{{1,6}}[ \t]+(?:[\w'’]+[ \t]+){{0,2}}(?:{_NOUN})[ \t]*$", re.I | re.M)
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
    before = "\n".join(
        text for i, (role, text) in enumerate(messages) if i != at and role not in {"ai", "assistant", "tool"}
    )
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
    if "</" in text:
        found += [m.start() for m in _BLOCK.finditer(text, floor) if f"</{m.group(1)}>" in text[m.end() :]][:1]
    if not found:
        found = [m.end() for m in _HEADING_inputs.finditer(text, floor)][-1:] or _fences(text, floor)
    return min(found, default=None)


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
