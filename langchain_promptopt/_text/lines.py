"""Whole lines and list items: a rule that is taken out takes its list mark and its line with it.

A span over all words of a line is widened to its *frame*: list mark, text and line break. What is
shown to a model and comes back from it is the text alone, the *core*; an empty core removes the
frame, any other stands in the old frame again. A span that is not such a line has no frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import regex

from langchain_promptopt._text.ranges import subtract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._text.rejection import Range

BULLET = regex.compile(r"\s*+(?:[-*+•–]|\(?\d{1,3}[.):]|\(?[A-Za-z][.)])\s++")
_MARGIN = regex.compile(r"[^\S\r\n]*+(?:(?:[-*+•–]|\(?\d{1,3}[.):]|\(?[A-Za-z][.)])[^\S\r\n]++)?+")
_BREAK = regex.compile(r"\r?\n")


def framed(ranges: Sequence[Range], text: str, bounds: Sequence[Range], frozen: Sequence[Range]) -> tuple[Range, ...]:
    r"""The ranges, those over whole lines widened to their frames, wherever all of a frame may change.

    Args:
        ranges: Lawful spans, sorted.
        text: The flat text.
        bounds: Where each message begins and ends in it; a frame stays inside one.
        frozen: What may not change.

    >>> framed([(2, 11)], "- Be brief\n- Be kind\n", [(0, 22)], [])
    ((2, 11),)
    >>> framed([(2, 10)], "- Be brief\n- Be kind\n", [(0, 21)], [])
    ((0, 11),)
    """
    out: list[Range] = []
    for start, end in ranges:
        low, high = next(((a, b) for a, b in bounds if a <= start and end <= b), (start, end))
        wide = _frame(text, start, end, low, high)
        after = [s for s, _ in ranges if s >= end and (s, _) != (start, end)]
        free = wide is not None and subtract(*wide, frozen) == [wide]
        if wide is None or not free or (out and wide[0] < out[-1][1]) or (after and wide[1] > min(after)):
            out.append((start, end))
        else:
            out.append(wide)
    return tuple(out)


def unframed(text: str) -> tuple[str, str, str]:
    r"""What stands before the core of a span's text, the core, and what stands behind it.

    >>> unframed("- Be brief.\n"), unframed("Be brief."), unframed("\n2. Be kind.")
    (('- ', 'Be brief.', '\n'), ('', 'Be brief.', ''), ('\n2. ', 'Be kind.', ''))
    """
    lead, tail = _BREAK.match(text), _BREAK.search(text, pos=max(0, len(text.rstrip("\r\n"))))
    if lead is None and (tail is None or tail.end() != len(text)):
        return "", text, ""
    at = lead.end() if lead is not None else 0
    margin = _MARGIN.match(text, at)
    start = margin.end() if margin is not None else at
    stop = len(text) if lead is not None or tail is None else tail.start()
    core = text[start:stop]
    return text[:start], core.rstrip(), core[len(core.rstrip()) :] + text[stop:]


def reframed(old: str, core: str) -> str:
    """The text of a span whose core became `core`: nothing at all where nothing is left of it."""
    before, was, after = unframed(old)
    if not before + after:
        return core
    if not core.strip():
        return ""
    margin = before.lstrip("\r\n").strip()
    kept = core.strip("\r\n")
    if margin and not was.startswith(margin) and kept.lstrip().startswith(f"{margin} "):
        kept = kept.lstrip()[len(margin) + 1 :]  # the model repeated the list mark that stays anyway
    return f"{before}{kept}{after}"


def _frame(text: str, start: int, end: int, low: int, high: int) -> Range | None:
    """The frame of a range that holds all words of its lines; None where it does not."""
    first = max(low, text.rfind("\n", 0, start) + 1)
    stop = text.find("\n", end, high)
    last = high if stop < 0 else stop
    margin = _MARGIN.match(text, first, last)
    if start == end or margin is None or not start <= margin.end() < end or text[end:last].strip():
        return None
    if stop >= 0:
        return first, stop + 1
    if first > low:
        return first - 1 - (text[max(low, first - 2) : first] == "\r\n"), last
    return None
