"""Instructions inferred from examples alone, and what a history of attempts shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from langchain_promptopt.offline.cases import leaves
from langchain_promptopt.offline.words import TOKEN, is_dull, stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.offline.conversation import Row

_CUES = 5


def induced(rows: Sequence[Row]) -> str:
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
    shared = Counter(w for counted in words.values() for w in counted)
    lines = []
    for label, counted in words.items():
        best = sorted(counted, key=lambda w: (shared[w], -counted[w], -len(w), w))[:_CUES]
        lines.append(f"- {label}: {', '.join(best)}" if best else f"- {label}")
    return "\n".join(["Decide which label fits.", "", "## Labels", *lines, "", "Answer with the label only."])


def _spoken(text: str) -> set[str]:
    return {w.lower() for w in TOKEN.findall(text) if not is_dull(stem(w)) and len(w) > 2}


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
