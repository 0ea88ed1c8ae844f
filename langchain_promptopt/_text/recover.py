"""From the whole prompt as a model sent it back to the new text of each span (spec 1.4).

Nothing of the reply's fixed text is ever taken: the replacements go into the parent's own bytes.
First the fixed stretches are looked for as they are, white space aside; where that is not
unambiguous, tokens are aligned and a span is accepted only between two matched neighbours.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._text.fitting import fit, strip_talk
from langchain_promptopt._text.placeholders import placeholders
from langchain_promptopt._text.reading import Frame, Reading, unusable
from langchain_promptopt._text.rejection import Range, Rejection
from langchain_promptopt._text.squeeze import Squeezed
from langchain_promptopt._text.tags import Tagged, parse_tags, strip_wrapping
from langchain_promptopt._text.words import solid_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._text.templates import TemplateFormat

LEAK_MAX = 0.3
"""Share of lost fixed text above which a reply is refused (spec 1.5)."""
_MANY = 100
"""More tags than this are compared pair by pair no longer."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """New text of each span. `kept` are indices of spans the reply did not let us read; they stay as they are.

    `leak` is the share of fixed tokens the reply did not keep, `exact` whether all of it was found.
    """

    replacements: tuple[str, ...]
    leak: float = 0.0
    kept: tuple[int, ...] = ()
    exact: bool = False


def recover(
    reply: str,
    text: str,
    spans: Sequence[Range],
    frozen: Sequence[Range] = (),
    tag: str = "edit",
    template_format: TemplateFormat | None = None,
) -> Recovered | Rejection:
    """Read the replacements of `spans` out of a reply that repeats `text` with changes.

    Args:
        reply: What the model sent: with or without tags, fenced, with talk around, as JSON.
        text: The parent's flat text.
        spans: Sorted, disjoint, outside frozen text.
        frozen: Ranges of `text` nobody may change; variables are among them.
        tag: The tag shown to the model; "" when none was.
        template_format: How variables are written; without it the frozen text is asked.

    >>> recover("Be kind, {name}.", "Be brief, {name}.", [(3, 8)], [(10, 16)])
    Recovered(replacements=('kind',), leak=0.0, kept=(), exact=True)
    """
    if not reply.strip():
        return Rejection("empty_reply", "the reply is empty")
    body = strip_wrapping(reply, keep=text)
    if not body.strip():
        return Rejection("empty_reply", "the reply holds nothing but thinking")
    frame = Frame(text, tuple(spans), tuple(frozen), template_format)
    inner = _unwrap_json(body, frame, tag)
    return _recover(body, frame, tag) if inner is None else inner


def _recover(body: str, frame: Frame, tag: str) -> Recovered | Rejection:
    tagged = parse_tags(body, tag)
    if len(tagged.ranges) > len(frame.spans):
        detail = f"{len(tagged.ranges)} marked places came back for {len(frame.spans)}: choosing is a guess"
        return Rejection("duplicate_span", detail)
    found = _moved(tagged, frame) or _by_tags(tagged, frame) or _from_text(tagged, frame)
    if isinstance(found, Rejection):
        return found
    for new in found.replacements:
        for name in placeholders(new, frame.format):
            if name not in frame.inside:
                return Rejection("new_variable", f"{name!r} would be a variable in the new text")
    return found


def _from_text(tagged: Tagged, frame: Frame) -> Recovered | Rejection:
    """The reply read without its tags."""
    said = strip_talk(tagged.text, frame.text, *frame.weak_ends)
    exact = None if tagged.unclosed else _exactly(said, frame)
    return exact or _by_alignment(Reading(said, frame), unclosed=tagged.unclosed > 0)


# ------------------------------------------------------------------ wrappers


_PROMPT_KEYS = ("prompt", "new_prompt", "improved_prompt", "template", "text", "content")


def _unwrap_json(body: str, frame: Frame, tag: str) -> Recovered | Rejection | None:
    """The reading of the one string in a JSON reply that is the prompt; None when the reply is no JSON."""
    bare = body.strip()
    if not bare.startswith(("{", "[", '"')) or bare[:1] == frame.text.lstrip()[:1]:
        return None
    try:
        value = json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return _recover(value, frame, tag)
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    results = {str(k): _recover(v, frame, tag) for k, v in members if isinstance(v, str) and v.strip()}
    read = {k: r for k, r in results.items() if isinstance(r, Recovered)}
    choices = [pool[k] for pool in (read, results) for k in _PROMPT_KEYS if k in pool]
    if len(read) == 1:
        return next(iter(read.values()))
    return choices[0] if choices else Rejection("no_slot", "no single field of the JSON reply holds the prompt")


# ------------------------------------------------------------------ tags that came back


def _around(tagged: Tagged) -> list[str]:
    """The reply's text before, between and after its tags."""
    cuts = [0, *(at for r in tagged.ranges for at in r), len(tagged.text)]
    return [tagged.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


def _by_tags(tagged: Tagged, frame: Frame) -> Recovered | None:
    """What stands in the tags, when they are as many as the spans and the text around them is the parent's."""
    if not frame.spans or tagged.unclosed or len(tagged.ranges) != len(frame.spans):
        return None
    ours, theirs = ([" ".join(part.split()) for part in parts] for parts in (frame.fixed, _around(tagged)))
    if not (theirs[0].endswith(ours[0]) and theirs[-1].startswith(ours[-1]) and theirs[1:-1] == ours[1:-1]):
        return None
    pairs = zip(frame.spans, tagged.ranges, strict=True)
    return Recovered(tuple(fit(tagged.text[a:b], frame.text, span) for span, (a, b) in pairs), exact=True)


def _moved(tagged: Tagged, frame: Frame) -> Rejection | None:
    """Refuse tags whose surroundings came back in another order: it is unclear which span is which."""
    if len(tagged.ranges) != len(frame.spans) or not 2 <= len(frame.spans) <= _MANY:
        return None
    theirs = [_bag(part) for part in _around(tagged)]
    for i, ours in enumerate(_bag(f) for f in frame.fixed):
        if not ours or _share(ours, theirs[i]) >= 0.5:
            continue
        elsewhere = [j for j, bag in enumerate(theirs) if j != i and _share(ours, bag) >= 0.7]
        if elsewhere:
            return Rejection("order", f"the fixed text before mark {i + 1} came back before mark {elsewhere[0] + 1}")
    return None


def _bag(text: str) -> Counter[str]:
    return Counter(text[a:b] for a, b in solid_tokens(text) if text[a].isalnum())


def _share(ours: Counter[str], theirs: Counter[str]) -> float:
    return (ours & theirs).total() / ours.total()


# ------------------------------------------------------------------ without tags


def _exactly(said: str, frame: Frame) -> Recovered | None:
    """Anchors found one after the other, by plain search; None where one is missing or stands twice."""
    reply = Squeezed(said)
    anchors = [" ".join(f.split()) for f in frame.fixed]
    edges = _first_and_last(reply.text, anchors)
    if edges is None:
        return None
    at, stop = edges
    cuts = [at]
    for anchor in anchors[1:-1]:
        found = reply.text.find(anchor, at, stop)
        if found < 0 or reply.text.find(anchor, found + 1, stop) >= 0:
            return None
        at = found + len(anchor)
        cuts += [found, at]
    cuts.append(stop)
    pairs = zip(frame.spans, zip(cuts[::2], cuts[1::2], strict=True), strict=True)
    raws = [(span, said[reply.source(a) : reply.source(b)]) for span, (a, b) in pairs]
    return Recovered(tuple(fit(raw, frame.text, span) for span, raw in raws), exact=True)


def _first_and_last(reply: str, anchors: list[str]) -> tuple[int, int] | None:
    """Where the changed part of the squeezed reply begins and ends."""
    if len(anchors) < 2:
        return None
    first, last = anchors[0], anchors[-1]
    begin = 0 if reply.startswith(first) else reply.find(first)
    if begin < 0 or (begin > 0 and reply.find(first, begin + 1) >= 0):
        return None
    at = begin + len(first)
    bare = reply.rstrip()
    end = len(bare) - len(last) if bare.endswith(last) else reply.rfind(last)
    if end < at or (end + len(last) < len(bare) and reply.find(last, at) != end):
        return None
    return (at, end if last else len(reply))


def _by_alignment(reading: Reading, *, unclosed: bool) -> Recovered | Rejection:
    """Aligned tokens: a span counts only between two matched neighbours, else it stays as it is."""
    refusal = unusable(reading, unclosed=unclosed)
    if refusal is not None:
        return refusal
    frame = reading.frame
    taken = [(span, reading.replacement(span)) for span in frame.spans]
    kept = tuple(i for i, (_, new) in enumerate(taken) if new is None)
    if len(kept) == len(taken):
        return Rejection("no_slot", "no span stands between fixed text that came back")
    if reading.leak > LEAK_MAX:
        return Rejection("leak", f"{reading.leak:.0%} of the fixed text did not come back")
    texts = (frame.text[s[0] : s[1]] if new is None else fit(new, frame.text, s) for s, new in taken)
    return Recovered(tuple(texts), reading.leak, kept)
