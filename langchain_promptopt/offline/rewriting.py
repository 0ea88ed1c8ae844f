"""Whole-prompt rewrites with the losses such rewrites have, and instructions inferred from examples alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from langchain_promptopt.offline.conversation import leaves
from langchain_promptopt.offline.instructions import read
from langchain_promptopt.offline.manual import TOKEN, count_spaced, is_dull, stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from langchain_promptopt.offline.conversation import ShownRow
    from langchain_promptopt.offline.manual import Place, TaskManual

_OTHER_WORDS = (
    ("mentions", "contains"),
    ("mention of", "word"),
    ("when in doubt", "if unsure"),
    ("answer with", "reply with"),
    ("always", "in every case"),
    ("do not", "never"),
    ("must", "should"),
    ("decide", "determine"),
    ("read", "look at"),
    ("carefully", "closely"),
    ("choose", "pick"),
)
_VARIABLE = re.compile(r"\{[^{}\n]*\}")
_DROP, _REWORD, _FORGET = 0.35, 0.6, 0.25


def rephrased(text: str, rng: Random, rate: float) -> str:
    """Some phrases of instruction said in other words, case kept; variables are never touched.

    Args:
        text: The prompt.
        rng: Randomness of the choice.
        rate: Chance for each phrase to be replaced, 0 to 1.
    """
    out = text
    for old, new in _OTHER_WORDS:
        if rng.random() < rate:
            out = re.sub(rf"\b{old}\b", lambda m, new=new: _cased(m.group(), new), out, flags=re.I)  # type: ignore[misc]  # a default argument binds `new`
    return out


def _cased(old: str, new: str) -> str:
    return new.capitalize() if old[:1].isupper() else new


def careless(text: str, rng: Random, carelessness: float, frozen: str = "") -> str:
    """Re-words instructions and drops a sentence or a cue here and there, as whole rewrites do.

    Lines of `frozen` are repeated word for word.

    Args:
        text: The prompt.
        rng: Randomness of the losses.
        carelessness: How much is re-worded and dropped, 0 to 1.
        frozen: Text whose lines stay.
    """
    manual = read(text)
    kept = {label.line: label.body for label in manual.labels}
    fixed = [r.line for r in manual.rules]
    out, at = [], 0
    for line in text.split("\n"):
        start, at = at, at + len(line) + 1
        body = _body_in(kept, start, at)
        if body is not None:
            out.append(_with_fewer_cues(line, start, body, rng, carelessness))
        elif _VARIABLE.search(line) or line.startswith(("#", "[")) or not line.strip() or line in frozen:
            out.append(line)
        elif rng.random() >= _DROP * carelessness * (0.5 if _inside(fixed, start, at) else 1.0):
            out.append(rephrased(line, rng, _REWORD * carelessness))
    return "\n".join(out)


def _body_in(kept: dict[Place, Place], start: int, end: int) -> Place | None:
    return next((body for line, body in kept.items() if start <= line[0] < end), None)


def _inside(lines: list[Place], start: int, end: int) -> bool:
    return any(start <= a < end for a, _ in lines)


def _with_fewer_cues(line: str, start: int, body: Place, rng: Random, carelessness: float) -> str:
    low = body[0] - start
    pieces = line[low:].split(", ")
    if len(pieces) < 3:
        return line
    return line[:low] + ", ".join(p for i, p in enumerate(pieces) if i == 0 or rng.random() >= _FORGET * carelessness)


def condensed(text: str, cap: int, frozen: str = "") -> str:
    """About `cap` words: frozen lines, the variables, labels with their first cues, then rules while they fit.

    Args:
        text: The prompt.
        cap: Words to keep.
        frozen: Text whose lines stay.
    """
    if count_spaced(text) <= cap:
        return text
    manual = read(text)
    lines = text.split("\n")
    needed = [i for i, line in enumerate(lines) if _VARIABLE.search(line) or line.startswith("[") or line in frozen]
    chosen = dict.fromkeys(needed)
    room = cap - sum(count_spaced(lines[i]) for i in chosen)
    starts = _starts(lines)
    short = _short_labels(manual, lines, starts, room // 2)
    room -= sum(map(count_spaced, short.values()))
    for i in _worth(manual, lines, starts):
        if i not in chosen and i not in short and count_spaced(lines[i]) <= room:
            chosen[i] = None
            room -= count_spaced(lines[i])
    return "\n".join(short.get(i, lines[i]) for i in sorted({*chosen, *short}))


def _starts(lines: list[str]) -> list[int]:
    out, at = [], 0
    for line in lines:
        out.append(at)
        at += len(line) + 1
    return out


def _short_labels(manual: TaskManual, lines: list[str], starts: list[int], room: int) -> dict[int, str]:
    """Each label's line, cut to its share of the words."""
    out: dict[int, str] = {}
    share = max(2, room // max(1, len(manual.labels)))
    for label in manual.labels:
        i = max(n for n, start in enumerate(starts) if start <= label.line[0])
        words = lines[i].split(" ")
        out[i] = " ".join(words[: share + 1]).rstrip(",;") if len(words) > share + 1 else lines[i]
    return out


def _worth(manual: TaskManual, lines: list[str], starts: list[int]) -> list[int]:
    """Other lines: those on the answer's form first, then rules, then the rest."""
    form = [place[0] for place in manual.form.places.values()]
    rules = [r.line[0] for r in manual.rules]

    def rank(i: int) -> tuple[int, int]:
        start, end = starts[i], starts[i] + len(lines[i])
        if any(start <= at <= end for at in form):
            return 0, i
        if any(start <= at <= end for at in rules):
            return 1, i
        return 2, i

    return sorted((i for i in range(len(lines)) if lines[i].strip() and not lines[i].startswith("#")), key=rank)


# Instructions inferred from examples, and what a history of attempts shows

_CUES = 5


def induced(rows: Sequence[ShownRow]) -> str:
    """An instruction that would give these answers: the answers as labels, each with the words its rows share least.

    Without rows there is nothing to infer, and the instruction says only to answer.
    """
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        expected = leaves(row.expected)
        if expected:
            words[expected[0].strip()].update(_spoken(" ".join(leaves(row.inputs))))
    if not words:
        return "Answer the input."
    shared = Counter(chain.from_iterable(words.values()))
    lines = []
    for label, counted in words.items():
        best = sorted(counted, key=lambda w: (shared[w], -counted[w], -len(w), w))[:_CUES]
        lines.append(f"- {label}: {', '.join(best)}" if best else f"- {label}")
    return "\n".join(["Decide which label fits.", "", "## Labels", *lines, "", "Answer with the label only."])


def _spoken(text: str) -> set[str]:
    found: set[str] = set()
    for w in TOKEN.findall(text):
        if not is_dull(stem(w)) and len(w) > 2:
            found.add(w.lower())
    return found


def summarised(history: Sequence[Mapping[str, Any]]) -> str:
    """Which texts went with high scores and which with low ones, in at most three sentences."""
    scored = sorted((h for h in history if isinstance(h.get("score"), int | float)), key=lambda h: -h["score"])
    if not scored:
        return "Nothing has been tried yet."
    best, worst = scored[0], scored[-1]
    said = [f"The best attempt scored {best['score']}, the weakest {worst['score']}."]
    only = _spoken(_text(best)) - _spoken(_text(worst))
    lost = _spoken(_text(worst)) - _spoken(_text(best))
    if only:
        said.append(f"Only the best says {', '.join(sorted(only)[:_CUES])}.")
    if lost:
        said.append(f"Only the weakest says {', '.join(sorted(lost)[:_CUES])}.")
    return " ".join(said)


def _text(item: Mapping[str, Any]) -> str:
    return str(item.get("prompt") or item.get("new") or "")
