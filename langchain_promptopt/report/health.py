"""How well the optimizer model obeyed, and which labels look wrong, read from the journal (spec 1.4, 5.4, 6.4)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt.report.rows import Scorer, cell_score

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CANDIDATES = 3
"""Candidates that must all fail a row before its label is doubted; fewer say little."""
_SECOND_TRY = re.compile(r"/\d+r:[^/]*$")
_MARKING = re.compile(r"/identify/\d+r?:[^/]*$")
_BY_MODEL = frozenset({"quote", "echo", "index"})
_NOTHING_NEW = frozenset({"no_op", "unchanged"})
_OBJECTION = re.compile(
    r"\b(?:expected|reference|gold|given|correct) (?:answers?|labels?|outputs?|values?)\b[^.\n]{0,60}?"
    r"\b(?:(?:is|are|seems?|looks?|appears?(?: to be)?|may be|might be|must be) (?:\w+ly )?"
    r"(?:wrong|incorrect|mistaken|inaccurate|questionable|ambiguous|mislabel\w*))"
    r"|\b(?:row|example|item|case|instance)\b[^.\n]{0,40}?\b(?:has|have|bears|carries) (?:a |an |the )?wrong label\b"
    r"|\bmis-?label+ed\b|\b(?:annotation|labell?ing) (?:error|mistake)s?\b|\bwrongly label+ed\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")


@dataclass(frozen=True)
class RuleRate:
    """How often a rule refused; `rate` is the share of all proposals."""

    rule: str
    count: int
    rate: float


@dataclass(frozen=True)
class SuspectRow:
    """A row whose label is in doubt: every candidate failed it, or the optimizer said that its label is wrong."""

    split: str
    example_id: str
    failed: int
    candidates: int
    objections: int = 0


@dataclass(frozen=True)
class Health:
    """Numbers of one run. A rate is None where nothing of the kind was asked.

    Attributes:
        proposals: Children made and refused.
        rules: Refusals by rule id.
        leak: Mean share of fixed text that replies did not keep.
        tag_validity: Share of marking replies that gave lawful spans.
        no_ops: Share of proposals that changed nothing.
        second_tries: Calls made because a first reply could not be used.
        calls: Optimizer calls in all.
        suspects: Rows whose label is in doubt.
        objections: Sentences in the feedback that call an expected answer wrong.
    """

    proposals: int = 0
    rules: tuple[RuleRate, ...] = ()
    leak: float | None = None
    tag_validity: float | None = None
    no_ops: float | None = None
    second_tries: int = 0
    calls: int = 0
    suspects: tuple[SuspectRow, ...] = ()
    objections: int = 0
    signatures: tuple[str, ...] = field(default=())
    """Failure signatures that were met, by kind."""

    def as_json(self) -> dict[str, Any]:
        """Plain values for machine output."""
        return asdict(self)


def health_of(events: Iterable[Mapping[str, Any]]) -> Health:
    """The health of a run, finished or not."""
    by_type: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        by_type[event["type"]].append(event["data"])
    refused = Counter(d["rule"] for d in by_type["rejected"])
    proposals = len(by_type["proposed"]) + refused.total()
    leaks = [d["leak"] for d in by_type["proposed"] if d.get("leak") is not None]
    keys = [d["key"] for d in by_type["called"] if d.get("role", "optimizer") == "optimizer"]
    said = [(d["text"], tuple(d["example_ids"])) for d in by_type["feedback"]]
    objections = _objections(said)
    methods = [d["kind"] for d in by_type["incident"] if d["role"] == "method"]
    return Health(
        proposals=proposals,
        rules=tuple(RuleRate(rule, n, n / proposals) for rule, n in refused.most_common()),
        leak=sum(leaks) / len(leaks) if leaks else None,
        tag_validity=_tag_validity(keys, by_type["identified"]),
        no_ops=sum(refused[r] for r in _NOTHING_NEW) / proposals if proposals else None,
        second_tries=sum(_SECOND_TRY.search(k) is not None for k in keys),
        calls=len(keys),
        suspects=_suspects(by_type, objections),
        objections=sum(len(_objecting(text)) for text, _ in said),
        signatures=tuple(dict.fromkeys(methods)),
    )


def _tag_validity(keys: Sequence[str], identified: Sequence[Mapping[str, Any]]) -> float | None:
    asked = sum(_MARKING.search(k) is not None for k in keys)
    lawful = sum(d["protocol"] in _BY_MODEL and bool(d["spans"]) for d in identified)
    return min(1.0, lawful / asked) if asked else None


def _objecting(text: str) -> list[str]:
    return [s for s in _SENTENCE.findall(text) if _OBJECTION.search(s)]


def _objections(said: Sequence[tuple[str, tuple[str, ...]]]) -> Counter[str]:
    """Objections by row: the rows a sentence names, else all rows the feedback is about."""
    out: Counter[str] = Counter()
    for text, ids in said:
        for sentence in _objecting(text):
            named = [i for i in ids if re.search(rf"(?<!\w){re.escape(i)}(?!\w)", sentence)]
            out.update(named or ids)
    return out


def _suspects(by_type: Mapping[str, list[Mapping[str, Any]]], objections: Counter[str]) -> tuple[SuspectRow, ...]:
    """Search rows that three candidates or more were tried on and none got anything right, or that were objected to."""
    started = by_type["run.started"]
    if not started:
        return ()
    scorer = Scorer.of(started[0])
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for data in by_type["scored"]:
        value = cell_score(data, scorer) if data["split"] in {"train", "dev"} else None
        if value is not None:
            scores[data["split"], data["example_id"]][data["candidate_id"]] = value
    out = []
    for (split, example_id), by_candidate in sorted(scores.items()):
        failed, n = sum(v <= 0.0 for v in by_candidate.values()), len(by_candidate)
        doubted = objections[example_id] if split == "train" else 0
        if (failed == n and n >= _CANDIDATES) or doubted:
            out.append(SuspectRow(split, example_id, failed, n, doubted))
    return tuple(sorted(out, key=lambda s: (-s.objections, -s.candidates, s.split, s.example_id)))
