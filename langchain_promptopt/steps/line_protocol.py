"""The line protocol: one reply marks and rewrites, by line number, words to replace and new words (product 11.10).

A number and words from that line say where a change belongs without counting occurrences, and a reply that repeats
a whole line with one word changed is read as the change of that one word.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.document import subtract
from langchain_promptopt._text.spans import BULLET, diff_edits, find_quote, splice
from langchain_promptopt._text.words import count_words, word_limit
from langchain_promptopt.steps.base import find_json, section
from langchain_promptopt.steps.likely_lines import Confusion, confusions, goes_on, is_listed, likely_lines
from langchain_promptopt.steps.metaprompts import metaprompt
from langchain_promptopt.types import Rejection, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt._text.spans import SpanLimits
    from langchain_promptopt.steps.metaprompts import MetaPrompts
    from langchain_promptopt.types import PromptSet, Shown, Workpiece

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "changes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "line": {"type": "integer"},
                    "why": {"type": "string"},
                    "old": {"type": "string"},
                    "new": {"type": "string"},
                },
                "required": ["line", "why", "old", "new"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["changes"],
    "additionalProperties": False,
}
"""The JSON schema of a reply, in the form that every provider of structured output takes."""

_NUMBER = re.compile(r"^[ \t]*\d{1,5}\|[ \t]?", re.M)
_NUMBERED = re.compile(r"\s*(?:line\s*)?(\d{1,5})?\s*[|:.]?\s*(.*)", re.I | re.S)
_WORD = re.compile(r"\w+")
_ANSWER = re.compile(r'"answer": "([^"]+)"')
_OLD, _NEW, _WHY = ("old", "quote", "words"), ("new", "replacement"), ("why", "reason")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the flat document that the model named, why, and what is to stand there where it said so."""

    start: int
    end: int
    reason: str = ""
    new: str | None = None


def is_example(turn: str) -> bool:
    """Whether a turn of a conversation shows the worked example, which is about another prompt."""
    return any(metaprompt(name) in turn for name in ("identify.line-example", "example"))


def likely_section(piece: Workpiece, texts: MetaPrompts, *, numbered: bool = False) -> str:
    """The wrong examples with the lines that most likely led to them, as the optimizer model is shown them.

    Args:
        piece: The proposal in the making.
        texts: The meta-prompts in force.
        numbered: Whether the prompt is shown with a number in front of each line.

    Returns:
        Nothing where no line shares a word with the examples.
    """
    likely = likely_lines(piece.prompts, piece.batch)
    if not likely:
        return ""
    return texts.fill("identify.line-likely", likely=section("likely", likely if numbered else unlined(likely)))


def unlined(text: str) -> str:
    r"""The text without the numbers of `steps.base.lined`.

    >>> unlined("1| Be brief.\n2|\n3| Be kind.")
    'Be brief.\n\nBe kind.'
    """
    return _NUMBER.sub("", text)


def anchored(text: str, start: int, end: int) -> tuple[int, int, int]:
    r"""Number of the line of a range, and the shortest stretch around it that stands there once: for writing replies.

    A range over several lines is anchored in the first of them; its stretch is the range itself.

    Args:
        text: The flat text.
        start: Start of the range.
        end: End of the range, exclusive.

    >>> anchored("a b\nred or red", 11, 14)
    (2, 8, 14)
    """
    low, stop = text.rfind("\n", 0, start) + 1, text.find("\n", start)
    high = len(text) if stop < 0 else stop
    number = text.count("\n", 0, start) + 1
    while (end <= high and text.count(text[start:end], low, high) > 1) or start == end:
        left = max(low, text.rfind(" ", low, max(low, start - 1)) + 1)
        right = text.find(" ", end + 1, high)
        if left < start:
            start = left
        elif end < high:
            end = high if right < 0 else right
        else:
            break
    return number, start, end


def parse_lines(
    reply: str, prompts: PromptSet, limits: SpanLimits, errors: Sequence[Shown] = ()
) -> tuple[Mark, ...] | Rejection:
    """Marks of a line-protocol reply; a change whose words the prompt does not hold is left out.

    Args:
        reply: The model's reply.
        prompts: The prompts that were shown.
        limits: Bounds on the size of a span; a larger change is taken apart into its differences.
        errors: The examples that the reply is about; they tell whether "old" and "new" stand the wrong way round.

    Returns:
        The marks, or a rejection that names the line and the words of the first change that fits nowhere.
    """
    items = _items(reply)
    if items is None:
        return Rejection("no_json", 'the reply holds no JSON object with a list of "changes"')
    marks, problem = list[Mark](), Rejection("no_change", 'every "new" is the same as its "old"')
    answered = set[str]()
    for item in items:
        change = _forwards(item, prompts.document.text, errors)
        found, answers = _change(change, prompts, limits), _answers(change, errors)
        if not isinstance(found, Rejection):
            found = _harm(found, prompts.document.text, errors) or found
        if isinstance(found, Rejection):
            problem = found
        elif not answers & answered:
            marks += found
            answered |= answers
    return tuple(marks) if marks or not items else problem


def texts_at(marks: Sequence[Mark], text: str, places: Sequence[tuple[int, int]]) -> tuple[str | None, ...]:
    """The new text of each place, made of the changes that lie inside it; None where there is none.

    Args:
        marks: The changes of a reply.
        text: The flat text they were made for.
        places: Sorted, disjoint ranges of it.

    >>> texts_at([Mark(3, 8, new="kind")], "Be brief now.", [(0, 8), (9, 12)])
    ('Be kind', None)
    """
    out: list[str | None] = []
    for start, end in places:
        inside, at = list[tuple[int, int, str]](), start
        for mark in sorted(marks, key=lambda m: (m.start, m.end)):
            if mark.new is not None and at <= mark.start and mark.end <= end:
                inside.append((mark.start - start, mark.end - start, mark.new))
                at = mark.end
        out.append(splice(text[start:end], inside) if inside else None)
    return tuple(out)


def _items(reply: str) -> list[dict[str, Any]] | None:
    """The changes of a reply: a list under any name, a bare list, or a single change."""
    bare = re.search(r"[\[{]", reply)
    whole = find_json(reply, dict) if bare is None or bare.group() == "{" else None
    if whole is not None:
        lists = [v for v in whole.values() if isinstance(v, list)]
        if lists:
            return [i for i in lists[0] if isinstance(i, dict)]
        if any(k in whole for k in (*_OLD, *_NEW)):
            return [whole]
    found = find_json(reply, list)
    return None if found is None else [i for i in found if isinstance(i, dict)]


def _field(item: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((unlined(str(item[n])) for n in names if isinstance(item.get(n), str | int | float)), None)


def _forwards(item: Mapping[str, Any], text: str, errors: Sequence[Shown]) -> Mapping[str, Any]:
    """The change with "old" and "new" the right way round, and "old" the answer where "new" is the right answer.

    Small models turn them: they would replace the expected answer by the wrong one that was given, or name words that
    stand in the prompt as the new ones and words that stand nowhere as the old ones. Or they put the expected answer
    in the place of the condition that stands beside the wrong answer.
    """
    old, new = _field(item, _OLD) or "", _field(item, _NEW) or ""
    if not old.strip() or not new.strip():
        return item
    found = confusions(errors)
    expected = {_folded(confusion.expected) for confusion in found}
    given = {_folded(confusion.given) for confusion in found}
    backwards = _folded(old) in expected - given and _folded(new) in given - expected
    absent = find_quote(text, old) is None and find_quote(text, new) is not None
    if backwards or absent:
        return {**item, "old": new, "new": old}
    beside = _answer_beside(_line_of(item, text), old, new, found)
    return {**item, "old": beside} if beside else item


def _answers(item: Mapping[str, Any], errors: Sequence[Shown]) -> frozenset[str]:
    """The examples that a change answers for: those whose expected answer it puts there, none for other changes.

    Small models put the expected answer into every line they are shown. The same examples cannot blame several lines,
    and the first one named is the likeliest, so a change for examples that have one already is left out.
    """
    old, new = _folded(_field(item, _OLD) or ""), _folded(_field(item, _NEW) or "")
    ids = dict[bool, set[str]]({True: set(), False: set()})
    for confusion in confusions(errors):
        if confusion.given and new == _folded(confusion.expected):
            ids[_folded(confusion.given) in old] |= {shown.example_id for shown in confusion.examples}
    return frozenset(ids[True] or ids[False])


def _harm(marks: Sequence[Mark], text: str, errors: Sequence[Shown]) -> Rejection | None:
    """Why a change cannot help, whatever the examples: small models do both where they find no fault."""
    answers = {confusion.expected for confusion in confusions(errors)}
    for mark in marks:
        new = (mark.new or "").strip()
        low, high = text.rfind("\n", 0, mark.start) + 1, text.find("\n", mark.end)
        line = text[low : mark.start] + (mark.new or "") + text[mark.end : high if high >= 0 else len(text)]
        if mark.end > mark.start and new in answers and is_listed(line, new, new):
            return Rejection("answer_list", f"the list of answers would hold {new!r} twice: {line.strip()!r}")
        if _is_copied(new, text, errors):
            return Rejection("copied", f"{new!r} is copied from the worked example, which is about another prompt")
    return None


def _is_copied(new: str, text: str, errors: Sequence[Shown]) -> bool:
    """Whether a new text is an answer of the worked example that stands nowhere else in the request."""
    seen = " ".join([text, *(f"{told(s.inputs)} {told(s.expected)} {told(s.output)}" for s in errors)])
    theirs = {_folded(answer) for answer in _ANSWER.findall(metaprompt("identify.line-example"))}
    return _folded(new) in theirs - set(_WORD.findall(seen.casefold()))


def _line_of(item: Mapping[str, Any], text: str) -> str:
    number, lines = _line_number(item.get("line"), text), text.split("\n")
    return lines[number - 1] if number is not None and 1 <= number <= len(lines) else ""


def _answer_beside(line: str, old: str, new: str, found: Sequence[Confusion]) -> str:
    """The wrong answer that stands once in the line beside `old`, where `new` is the answer expected in its place."""
    if find_quote(line, old) is None or find_quote(line, new) is not None:
        return ""
    for confusion in found:
        wrong = confusion.given
        if wrong and _folded(new) == _folded(confusion.expected) and _folded(wrong) not in _folded(old):
            first = find_quote(line, wrong)
            if first is not None and find_quote(line, wrong, 2) == first:
                return wrong
    return ""


def _folded(value: Any) -> str:
    return str(value).strip().casefold()


def _change(item: Mapping[str, Any], prompts: PromptSet, limits: SpanLimits) -> list[Mark] | Rejection:
    text = prompts.document.text
    number = _line_number(item.get("line"), text)
    old, new, why = _field(item, _OLD), _field(item, _NEW), _field(item, _WHY) or ""
    after = _field(item, ("after",)) or ""
    if not (old or "").strip():
        place = _insertion_place(text, number, after)
        if place is None:
            return Rejection("line_not_found", f"line {item.get('line')} does not exist")
        at, line = place
        return [Mark(at, at, why, None if new is None else _as_item(new, line) if not after else new)]
    found = _find(text, old or "", number, item)
    if found is None:
        return Rejection("quote_not_found", _missing(text, old or "", number))
    return [Mark(*found, why)] if new is None else _smallest(prompts, found, new, why, limits)


def _line_number(value: Any, text: str) -> int | None:
    """The line a reply means: by its words where it copied them, else by its number, from 1."""
    found = _NUMBERED.match(str(value))
    copied = found.group(2).strip() if found else ""
    numbers = [n for n, line in enumerate(text.split("\n"), 1) if copied and line.strip() == copied]
    number = int(found.group(1)) if found and found.group(1) else None
    if numbers:
        return number if number in numbers else numbers[0]
    return number


def _starts(text: str) -> list[int]:
    return [0, *(m.end() for m in re.finditer("\n", text))]


def _find(text: str, old: str, number: int | None, item: Mapping[str, Any]) -> tuple[int, int] | None:
    """In the named line, else where the line is most like the reason given and near, else as the reply counts."""
    starts = _starts(text)
    if number is not None and 1 <= number <= len(starts):
        low = starts[number - 1]
        high = starts[number] if number < len(starts) else len(text)
        if (inside := find_quote(text[low:high], old)) is not None:
            return low + inside[0], low + inside[1]
        if number < len(starts) and goes_on(text[low:high].rstrip("\n"), text[high : high + 1]):
            return _find(text, old, number + 1, item)
    places, nth = list[tuple[int, int]](), 1
    while (place := find_quote(text, old, nth)) is not None and place not in places:
        places.append(place)
        nth += 1
    if not places:
        return None
    if number is None:
        asked = item.get("occurrence")
        return places[min(max(asked, 1), len(places)) - 1] if isinstance(asked, int) else places[0]
    told, lines = _words(_field(item, _WHY) or ""), text.split("\n")

    def distance(place: tuple[int, int]) -> tuple[int, int]:
        at = bisect_right(starts, place[0])
        return -len(told & _words(lines[at - 1])), abs(at - number)

    return min(places, key=distance)


def _words(text: str) -> set[str]:
    """Words that tell one line from another: those of four letters and more."""
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 3}


def _missing(text: str, old: str, number: int | None) -> str:
    lines = text.split("\n")
    if number is None or not 1 <= number <= len(lines):
        return f"no line of the prompt holds the words {old!r}"
    return f"line {number} does not hold the words {old!r}; it reads {lines[number - 1]!r}"


def _insertion_place(text: str, number: int | None, after: str) -> tuple[int, str] | None:
    """Where something is added: behind the quoted words, or at the end of the named line."""
    if after.strip():
        found = find_quote(text, after)
        return None if found is None else (found[1], "")
    lines = text.split("\n")
    if number is None or not 1 <= number <= len(lines):
        return None
    line = lines[number - 1]
    return _starts(text)[number - 1] + len(line.rstrip()), line


def _as_item(new: str, line: str) -> str:
    """What is added after a list item becomes an item of its own; after any other line it goes on in that line."""
    mark = BULLET.match(line)
    if mark is None:
        return new
    own = BULLET.match(new.strip())
    margin = re.sub(r"\d+", lambda n: str(int(n.group()) + 1), mark.group())
    return "\n" + margin + new.strip()[own.end() if own else 0 :]


def _smallest(
    prompts: PromptSet, place: tuple[int, int], new: str, why: str, limits: SpanLimits
) -> list[Mark] | Rejection:
    """The change without what it leaves as it is: one place where that is short enough, else each difference."""
    (start, end), document = place, prompts.document
    old = document.text[start:end]
    walls = [(max(a, start) - start, min(b, end) - start) for a, b in document.frozen if a < end and b > start]
    edits = diff_edits(old, new, walls)
    if not edits:
        return Rejection("no_change", f"the new words are the old words {old!r}; look at the other lines too")
    low, high = edits[0][0], edits[-1][1]
    most = None if limits.w_max is None else word_limit(document.text, limits.w_max)
    if subtract(low, high, walls) == [(low, high)] and (most is None or count_words(old[low:high]) <= most):
        middle = splice(old[low:high], [(a - low, b - low, n) for a, b, n in edits])
        edits = [(low, high, middle)]
    return [Mark(start + a, start + b, why, n) for a, b, n in edits]
