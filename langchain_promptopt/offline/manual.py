"""What a reader takes from a prompt: labels with their cues, rules, and how to put the answer.

Everything keeps its place in the text it was read from, so that a diagnosis can point at words. Lines are read
first (headings, list items, definitions of labels), then rules out of sentences: a condition, and the label it
calls for or forbids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_promptopt._collections import present

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Words as the offline models see them: tokens, a light stemmer, and words that carry no topic.

_CJK = "぀-ヿ㐀-鿿가-힯"
TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]+)*")
"""One word, or one character of a script without spaces."""

STOP = frozenset(
    """
    a an the this that these those there here it its i i'm i've i'd i'll me my mine we we're we've our ours us you your
    you're yours he she they them their his her him and or but nor so if then than as at by for from in into of off on
    onto out over to up down with without about above after again all also am any are aren't be because been before
    being both can could did didn't do does doesn't doing don't each few had has hasn't have haven't having how just
    let's more most much must no not now only other own please same shall should since some still such too under until
    very was wasn't were what when where whether which while who whom why will would wouldn't yet isn't can't cannot
    couldn't won't im ive dont cant didnt doesnt whats it's that's there's what's is get gets got getting go going
    want wants would like need needs one two ever even every else hi hello hey thanks thank dear regards make made
    """.split()  # noqa: SIM905 - a readable word list
)
"""Function words: they never tell one topic from another."""

READER = frozenset(
    """
    ticket tickets message messages text texts question questions customer customers user users person people writer
    mention mentions mentioned mentioning contain contains word words say says ask asks asking talk talks anything
    everything something someone thing things case cases kind related regarding concerning concern concerns label
    labels category answer use choose pick include includes including e.g eg etc example tell tells wish wants describe
    describes report reports complaint complaints complain complains query queries sentence input
    """.split()  # noqa: SIM905 - a readable word list
)
"""Words with which instructions speak about the input; they are no cues."""

_SUFFIXES = ("ations", "ation", "ments", "ment", "ings", "ing", "ed", "ly", "es", "s")
_DOUBLED = re.compile(r"([bdfglmnprt])\1$")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A rough common form of related words.

    >>> [stem(w) for w in ("Painting", "paints", "painted", "painter's", "sunny")]
    ['paint', 'paint', 'paint', 'painter', 'sun']
    """
    w = word.casefold().replace("’", "'").removesuffix("'s")
    if len(w) <= 3:
        return w
    for suffix in _SUFFIXES:
        if w.endswith(suffix) and len(w) - len(suffix) >= 3 and not w.endswith("ss"):
            w = w[: -len(suffix)]
            break
    if len(w) > 3 and w[-1] in "ey":
        w = w[:-1]
    return _DOUBLED.sub(r"\1", w) if len(w) > 3 else w


def stems(text: str) -> list[str]:
    """The stem of every word of `text`, in order."""
    return list(map(stem, TOKEN.findall(text)))


_DULL = frozenset(map(stem, STOP))
_DULL_READER = _DULL | frozenset(map(stem, READER))


def is_dull(stemmed: str, *, instruction: bool = False) -> bool:
    """Whether a stem carries no topic (in an `instruction` also the words about the input)."""
    return stemmed in (_DULL_READER if instruction else _DULL) or stemmed.isdigit()


def topical(text: str, *, instruction: bool = False) -> list[str]:
    """Stems that carry a topic, in order."""
    return [s for s in stems(text) if not is_dull(s, instruction=instruction)]


def count_spaced(text: str) -> int:
    """How many words `text` has, for usage numbers and word limits."""
    return len(text.split())


# What a reader takes from a prompt.

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
        exceptions = tuple(t.moved(by) for t in self.exceptions)
        return replace(
            self,
            target=moved(self.target, by),
            line=moved(self.line, by),
            sentence=moved(self.sentence, by),
            triggers=tuple(t.moved(by) for t in self.triggers),
            exceptions=exceptions,
        )


@dataclass(frozen=True, slots=True)
class AnswerForm:
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
class TaskManual:
    """Instructions, read. The indexes are derived once, so that an answer costs microseconds."""

    labels: tuple[Label, ...]
    rules: tuple[Rule, ...]
    form: AnswerForm
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
class LabelLine:
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
            section = next(filter(None, found.groups()))
            out.append(Line(begin, begin + len(stripped), stripped, item=False, heading=section, section=section))
            continue
        mark = _ITEM.match(raw)
        if mark is not None:
            begin = start + mark.end()
        end = start + len(raw.rstrip())
        out.append(Line(begin, end, text[begin:end], item=mark is not None, heading=None, section=section))
    return out


def label_pairs(text: str, lines: list[Line]) -> list[LabelLine]:
    """The lines that define labels: under a heading that says so, else listed in a sentence, else a run of pairs."""
    candidates = present(map(_pair, lines))
    below_title = [p for p in candidates if _LABEL_TITLE.search(p.line.section)]
    titled = [p for p in below_title if p.line.item]
    if not titled:
        titled = [p for p in below_title if p.body[1] > p.body[0]]
    if len(titled) > 1:
        return _distinct(titled)
    inline = _inline(text, lines)
    if inline:
        named = {p.name.casefold() for p in inline}
        described = [p for p in candidates if p.name.casefold() in named and p.line.item]
        covered = {p.name.casefold() for p in described}
        return _distinct([p for p in inline if p.name.casefold() not in covered] + described if described else inline)
    return _longest_run(lines, [p for p in candidates if p.line.item and p.body[1] > p.body[0]])


def _pair(line: Line) -> LabelLine | None:
    if line.heading is not None or _RULE_START.match(line.text):
        return None
    found = _PAIR.match(line.text)
    if found is None or len(found["name"].split()) > 4:
        return None
    name = found["name"].rstrip(" .,;")
    at = line.start + found.start("name")
    end = line.start + len(line.text[: found.end("body")].rstrip(" .;,"))
    body = line.start + found.start("body")
    return LabelLine(name, (at, at + len(name)), (body, max(body, end)), line)


def _distinct(pairs: list[LabelLine]) -> list[LabelLine]:
    seen: set[str] = set()
    return [p for p in pairs if not (p.name.casefold() in seen or seen.add(p.name.casefold()))]  # type: ignore[func-returns-value]  # set.add as a memo


def _longest_run(lines: list[Line], pairs: list[LabelLine]) -> list[LabelLine]:
    place = {id(line): i for i, line in enumerate(lines)}
    runs: list[list[LabelLine]] = []
    for pair in pairs:
        at = place[id(pair.line)]
        if runs and place[id(runs[-1][-1].line)] == at - 1:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    best = max(runs, key=len, default=[])
    return _distinct(best) if len(best) > 1 else []


def _inline(text: str, lines: list[Line]) -> list[LabelLine]:
    """Labels listed inside a sentence, as in "one of: red, green or blue"."""
    best: list[LabelLine] = []
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


def _listed(text: str, line: Line, at: int, listing: str) -> list[LabelLine]:
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
        pairs.append(LabelLine(name, (start, at), (at, at), line))
    return _distinct(pairs)


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
    spelled = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
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
    return tuple(present(found))


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
        phrase = tuple(stems(next(filter(None, found.groups()))))
        if phrase:
            quoted.append(Trigger(phrase, found.span()))
    return tuple(quoted) if quoted else _loose(text, start, end)


def _loose(text: str, start: int, end: int) -> tuple[Trigger, ...]:
    """Unquoted conditions: the topical words of each part between commas, "or" and "and"."""
    out, at = [], start
    for stop in [*(m.span() for m in _PIECE.finditer(text, start, end)), (end, end)]:
        words = []
        for w in TOKEN.finditer(text, at, stop[0]):
            if not is_dull(stem(w.group()), instruction=True):
                words.append(w)
        if words:
            unique = tuple(dict.fromkeys(stem(w.group()) for w in words))
            out.append(Trigger(unique, (words[0].start(), words[-1].end()), exact=False))
        at = stop[1]
    return tuple(out)


def _index(names: tuple[str, ...], name: str) -> int:
    folded = list(map(str.casefold, names))
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
