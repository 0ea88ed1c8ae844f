"""Alignment of a text with what a model made of it, by tokens.

By rapidfuzz, which is bit-parallel: difflib would take minutes on long repetitive prompts. The
longest common subsequence finds most matches; above `_MANY` tokens Levenshtein, ten times faster,
takes over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from rapidfuzz.distance import Indel, Levenshtein, Opcodes

from langchain_promptopt._collections import present
from langchain_promptopt._text import Range, Rejection
from langchain_promptopt._text.document import normal_ranges
from langchain_promptopt._text.words import slices, solid_tokens, token_ranges

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from langchain_promptopt._text.tags import TaggedReply

LEAST_SIMILAR = 0.9
"""Below this an echo counts as another text (spec 1.4 step 2)."""


_MANY = 15_000


def _opcodes(left: Sequence[Hashable], right: Sequence[Hashable]) -> Opcodes:
    metric = Indel if max(len(left), len(right)) <= _MANY else Levenshtein
    found: Opcodes = metric.opcodes(left, right)
    return found


def match(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[int]:
    """For each item of `left` the index of its partner in `right`, or -1; partners keep the order."""
    out = [-1] * len(left)
    for op in _opcodes(left, right):
        if op.tag == "equal":
            out[op.src_start : op.src_end] = range(op.dest_start, op.dest_end)
    return out


def project(tagged: TaggedReply, text: str) -> tuple[Range, ...] | Rejection:
    """The tagged ranges as ranges of `text`, which the model was asked to repeat (spec 1.4 step 2).

    Talk before the first and after the last matched word is not held against the reply. Ranges of
    which nothing matched are dropped.
    """
    if tagged.text == text:
        return tagged.ranges
    theirs, ours = solid_tokens(tagged.text), solid_tokens(text)
    partner = match(slices(tagged.text, theirs), slices(text, ours))
    hits = [i for i, p in enumerate(partner) if p >= 0]
    spoken = hits[-1] - hits[0] + 1 if hits else 0
    similarity = 2 * len(hits) / max(1, len(ours) + spoken)
    if similarity < LEAST_SIMILAR:
        return Rejection("echo_differs", f"the prompt was not repeated word for word (similarity {similarity:.2f})")
    found = (_projected(r, theirs, ours, partner) for r in tagged.ranges)
    return tuple(present(found))


def _projected(mark: Range, theirs: Sequence[Range], ours: Sequence[Range], partner: Sequence[int]) -> Range | None:
    start, end = mark
    first = bisect_right(theirs, start, key=lambda t: t[1])
    last = bisect_left(theirs, end, key=lambda t: t[0])
    inside = [i for i in range(first, last) if partner[i] >= 0]
    if start == end:
        return _projected_point(start, theirs, ours, partner)
    if not inside:
        return None
    (a, _), (mine_a, _) = theirs[inside[0]], ours[partner[inside[0]]]
    (c, d), (mine_c, mine_d) = theirs[inside[-1]], ours[partner[inside[-1]]]
    return (mine_a + max(0, start - a), mine_d if end >= d else mine_c + end - c)


def _projected_point(at: int, theirs: Sequence[Range], ours: Sequence[Range], partner: Sequence[int]) -> Range | None:
    """After the token before it, else before the token behind it."""
    i = bisect_right(theirs, at, key=lambda t: t[1]) - 1
    if i >= 0 and theirs[i][1] <= at and partner[i] >= 0:
        return (ours[partner[i]][1],) * 2
    if 0 <= i + 1 < len(theirs) and partner[i + 1] >= 0:
        begin = ours[partner[i + 1]][0] + max(0, at - theirs[i + 1][0])
        return (begin, begin)
    return None


# Differences


def diff_edits(old: str, new: str, frozen: Sequence[Range] = ()) -> list[tuple[int, int, str]]:
    """Word-level replacements that turn `old` into `new` without touching frozen text.

    Where `new` keeps all frozen texts in order, splicing the edits into `old` gives `new`; where it
    lost one, the stretch around that text is left as it was.

    Args:
        old: The text that the offsets count in.
        new: The text to arrive at.
        frozen: Ranges of `old` that stay as they are.

    Returns:
        (start, end, new text) of each replacement, sorted by place.

    >>> diff_edits("Be brief and kind.", "Be very brief, kind.")
    [(3, 3, 'very '), (8, 12, ',')]
    """
    out: list[tuple[int, int, str]] = []
    for (start, end), part in _stretches(old, new, normal_ranges(frozen, len(old))):
        out += [(start + a, start + b, text) for a, b, text in _diff(old[start:end], part)]
    return out


def _stretches(old: str, new: str, frozen: tuple[Range, ...]) -> list[tuple[Range, str]]:
    """Editable stretches of `old`, each with what stands in its place in `new`."""
    out, at, seen, lost = list[tuple[Range, str]](), 0, 0, False
    for start, end in (*frozen, (len(old), len(old))):
        found = new.find(old[start:end], seen) if start < end else len(new)
        if found < 0:
            lost = True  # what stands around it in `new` cannot be told apart
            continue
        if not lost:
            out.append(((at, start), new[seen:found]))
        at, seen, lost = end, found + end - start, False
    return out


def _diff(old: str, new: str) -> list[tuple[int, int, str]]:
    ours, theirs = token_ranges(old), token_ranges(new)
    out: list[tuple[int, int, str]] = []
    for op in _opcodes(slices(old, ours), slices(new, theirs)):
        if op.tag == "equal":
            continue
        start, end = _extent(ours, op.src_start, op.src_end, len(old))
        a, b = _extent(theirs, op.dest_start, op.dest_end, len(new))
        if out and not old[out[-1][1] : start].strip():
            start, end, text = out[-1][0], end, out[-1][2] + old[out[-1][1] : start] + new[a:b]
            out[-1] = (start, end, text)
        else:
            out.append((start, end, new[a:b]))
    return out


def _extent(tokens: Sequence[Range], first: int, last: int, length: int) -> Range:
    """Characters of `tokens[first:last]`; an empty run is the place before token `first`."""
    start = tokens[first][0] if first < len(tokens) else length
    return (start, tokens[last - 1][1] if last > first else start)
