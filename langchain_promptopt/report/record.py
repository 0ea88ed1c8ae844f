"""From the journal alone: every candidate's text, made again from its parent and edits.

Edits of several steps told as one: baseline to final, each with the steps it went through.

The course of a search: what was tried at each step, and who led after it.

Row by row: where the new prompt does better than the old one, and where worse.

How well the optimizer model obeyed, and which labels look wrong, read from the journal (spec 1.4, 5.4, 6.4).

Where an edit stands, for the eye: its line, the heading above, and the line before and after.

What a run did, as one frozen value read from its journal. Every report is drawn from this.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_promptopt._text.align import diff_edits
from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.errors import DataError
from langchain_promptopt.types import Candidate, Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterable

    pass

Prompts: TypeAlias = Sequence[Mapping[str, Any]]
"""Prompts as `run.started` and `proposed` carry them."""


def rebuild(events: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Candidate id -> prompts, each made by splicing the recorded edits into its parent's text.

    The `prompts` field of `proposed` is not read, except for candidates without a known parent
    (written from nothing by a seeding method). Raises DataError where an edit does not fit.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        data = event["data"]
        if event["type"] == "run.started":
            made[data["seed_candidate_id"]] = [dict(p) for p in data["prompts"]]
        elif event["type"] == "proposed" and data["candidate_id"] not in made:
            parent = made.get(data["parent_id"])
            made[data["candidate_id"]] = (
                [dict(p) for p in data["prompts"]] if parent is None else splice(parent, data["edits"])
            )
    return made


def splice(prompts: Prompts, edits: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`prompts` with the edits made; offsets count code points of the text before any of them.

    >>> prompt = {"name": "p", "messages": [{"role": "human", "template": "Be brief. {q}"}]}
    >>> edit = {"prompt": "p", "message": 0, "start": 3, "end": 8, "old": "brief", "new": "exact"}
    >>> splice([prompt], [edit])[0]["messages"][0]["template"]
    'Be exact. {q}'
    """
    by_message: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for edit in edits:
        by_message[edit["prompt"], edit["message"]].append(edit)
    out = []
    for prompt in prompts:
        messages = [
            {**m, "template": _spliced(m["template"], by_message.pop((prompt["name"], i), []))}
            for i, m in enumerate(prompt["messages"])
        ]
        out.append({**prompt, "messages": messages})
    if by_message:
        name, message = next(iter(by_message))
        msg = f"an edit names message {message} of prompt {name!r}, which the parent does not have"
        raise DataError(msg, where="journal")
    return out


def in_order(edits: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Edits of one message as they follow each other in the text."""
    return sorted(edits, key=lambda e: (e["start"], e["end"], e["new"]))


def _spliced(text: str, edits: list[Mapping[str, Any]]) -> str:
    out, at = [], 0
    for edit in in_order(edits):
        start, end = edit["start"], edit["end"]
        if start < at or end > len(text) or text[start:end] != edit["old"]:
            msg = f"an edit does not fit the parent's text at {start}-{end}: {edit['old']!r}"
            raise DataError(msg, where="journal", mend="The journal was changed after it was written.")
        out += [text[at:start], edit["new"]]
        at = end
    return "".join([*out, text[at:]])


# ------------------------------------------------------------ Edits of several steps told as one: baseline to fina


@dataclass(frozen=True)
class FinalEdit:
    """One difference between baseline and final prompt, in the baseline's offsets.

    `lineage` holds the ids of the candidates that wrote it, oldest first; `reasons` what each said.
    """

    prompt: str
    message: int
    start: int
    end: int
    old: str
    new: str
    reasons: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All reasons as one text."""
        return " Then: ".join(self.reasons)

    @property
    def core(self) -> tuple[str, str, str, str]:
        """Kept head, removed, added, kept tail: the edit for the eye, whole words only."""
        head = _shared(self.old, self.new)
        tail = _shared(self.old[head:][::-1], self.new[head:][::-1])
        end_old, end_new = len(self.old) - tail, len(self.new) - tail
        return self.old[:head], self.old[head:end_old], self.new[head:end_new], self.old[end_old:]

    def as_edit(self) -> Edit:
        """The edit without its history."""
        span = Span(self.prompt, self.message, self.start, self.end)
        return Edit(span, self.old, self.new, self.reason, self.example_ids)

    def as_json(self) -> dict[str, Any]:
        """The edit as machine output shows it, `lineage` included."""
        return {**self.as_edit().as_json(), "lineage": list(self.lineage)}


def _shared(one: str, two: str) -> int:
    """Length of the common beginning, no word cut."""
    limit = min(len(one), len(two))
    n = next((i for i in range(limit) if one[i] != two[i]), limit)
    while n and one[n - 1].isalnum() and any(text[n : n + 1].isalnum() for text in (one, two)):
        n -= 1
    return n


@dataclass(frozen=True)
class _Piece:
    """A stretch of the current text and the range of baseline text it stands for."""

    text: str
    start: int
    end: int
    changed: bool = False
    reasons: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()


Step: TypeAlias = tuple[str, Sequence[Mapping[str, Any]]]
"""A candidate id and the edits that made it from its parent."""


def final_edits(baseline: Candidate, best: Candidate, known: Mapping[str, Candidate]) -> tuple[Edit, ...]:
    """The edits between `baseline` and `best`, composed over all steps between them (product 10.13).

    `known` holds the candidates of the run by id. Where they do not lead from one to the other
    (a candidate written from nothing), the edits are the difference of the two texts.
    """
    chain: list[Step] = []
    at = best
    while at.id != baseline.id:
        if not at.parents or at.parents[0] not in {*known, baseline.id} or len(chain) > len(known):
            return tuple(e.as_edit() for e in differences(baseline.prompts.as_json(), best.prompts.as_json(), best.id))
        chain.append((at.id, [e.as_json() for e in at.edits]))
        at = baseline if at.parents[0] == baseline.id else known[at.parents[0]]
    return tuple(e.as_edit() for e in compose(baseline.prompts.as_json(), chain[::-1]))


def journal_edits(events: Iterable[Mapping[str, Any]], candidate_id: str) -> tuple[FinalEdit, ...]:
    """The same from a journal, with the ids of the candidates each edit came through."""
    lines = list(events)
    texts = rebuild(lines)
    seed, proposals = _proposals(lines)
    chain = _chain(seed, candidate_id, proposals)
    if chain is None:
        return differences(texts[seed], texts[candidate_id], candidate_id)
    return compose(texts[seed], [(i, proposals[i]["edits"]) for i in chain])


def compose(base: Prompts, steps: Sequence[Step]) -> tuple[FinalEdit, ...]:
    """Edits of consecutive steps as edits of `base`. Edits that touch become one; what was taken back is gone.

    >>> base = [{"name": "p", "messages": [{"role": "human", "template": "a b c"}]}]
    >>> def edit(start, end, old, new):
    ...     return {"prompt": "p", "message": 0, "start": start, "end": end, "old": old, "new": new}
    >>> [
    ...     (e.start, e.old, e.new)
    ...     for e in compose(base, [("1", [edit(0, 1, "a", "xx")]), ("2", [edit(5, 6, "c", "z")])])
    ... ]
    [(0, 'a', 'xx'), (4, 'c', 'z')]
    """
    return tuple(
        FinalEdit(
            prompt["name"], i, p.start, p.end, template[p.start : p.end], p.text, p.reasons, p.example_ids, p.lineage
        )
        for prompt in base
        for i, template in enumerate(m["template"] for m in prompt["messages"])
        for p in _pieces(template, prompt["name"], i, steps)
        if p.changed and template[p.start : p.end] != p.text
    )


def _pieces(template: str, name: str, message: int, steps: Sequence[Step]) -> list[_Piece]:
    pieces = [_Piece(template, 0, len(template))]
    for candidate_id, edits in steps:
        for edit in reversed(in_order(e for e in edits if e["prompt"] == name and e["message"] == message)):
            pieces = _edited(pieces, edit, candidate_id)
    return pieces


def _edited(pieces: list[_Piece], edit: Mapping[str, Any], candidate_id: str) -> list[_Piece]:
    """The pieces after one edit of the current text. Later edits come first, so offsets still hold."""
    start, end = edit["start"], edit["end"]
    before: list[_Piece] = []
    touched: list[_Piece] = []
    after: list[_Piece] = []
    at = 0
    for piece in pieces:
        stop = at + len(piece.text)
        if not _meets(piece, (at, stop), (start, end)):
            (before if stop <= start else after).append(piece)
        elif piece.changed:
            touched.append(piece)
        else:
            cut, stay = max(start, at) - at, min(end, stop) - at
            before += [_part(piece, 0, cut)] if cut else []
            touched.append(_part(piece, cut, stay))
            after += [_part(piece, stay, len(piece.text))] if stay < len(piece.text) else []
        at = stop
    return [*before, _merged(before, touched, edit, candidate_id), *after]


def _meets(piece: _Piece, place: tuple[int, int], edit: tuple[int, int]) -> bool:
    """Whether an edit reaches a piece. Changed pieces are swallowed at a touch: one place, one edit."""
    (at, stop), (start, end) = place, edit
    if piece.changed:
        return at <= end and start <= stop
    return at < end and start < stop  # an insertion inside kept text has at < start == end < stop


def _part(piece: _Piece, start: int, end: int) -> _Piece:
    return replace(piece, text=piece.text[start:end], start=piece.start + start, end=piece.start + end)


def _merged(before: list[_Piece], touched: list[_Piece], edit: Mapping[str, Any], candidate_id: str) -> _Piece:
    """One changed piece for everything the edit met."""
    text = "".join(p.text for p in touched)
    offset = edit["start"] - sum(len(p.text) for p in before)
    written = [p for p in touched if p.changed]
    here = before[-1].end if before else 0
    return _Piece(
        text=text[:offset] + edit["new"] + text[offset + edit["end"] - edit["start"] :],
        start=touched[0].start if touched else here,
        end=touched[-1].end if touched else here,
        changed=True,
        reasons=_union([*(p.reasons for p in written), (edit.get("reason", ""),)]),
        example_ids=_union([*(p.example_ids for p in written), tuple(edit.get("example_ids", ()))]),
        lineage=_union([*(p.lineage for p in written), (candidate_id,)]),
    )


def _union(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group if item))


def _proposals(events: Iterable[Mapping[str, Any]]) -> tuple[str, dict[str, Mapping[str, Any]]]:
    seed = ""
    proposals: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event["type"] == "run.started":
            seed = event["data"]["seed_candidate_id"]
        elif event["type"] == "proposed":
            proposals.setdefault(event["data"]["candidate_id"], event["data"])
    return seed, proposals


def _chain(seed: str, candidate_id: str, proposals: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Candidate ids from the baseline's first child to `candidate_id`; None where the line breaks off."""
    chain: list[str] = []
    while candidate_id != seed:
        if candidate_id not in proposals or candidate_id in chain:
            return None
        chain.append(candidate_id)
        candidate_id = proposals[candidate_id]["parent_id"]
    return chain[::-1]


def differences(base: Prompts, final: Prompts, candidate_id: str) -> tuple[FinalEdit, ...]:
    """Word-level edits between two texts of the same prompts, without a history; () where messages do not pair up."""
    if [(p["name"], len(p["messages"])) for p in base] != [(p["name"], len(p["messages"])) for p in final]:
        return ()
    return tuple(
        FinalEdit(old["name"], i, start, end, a["template"][start:end], text, lineage=(candidate_id,))
        for old, new in zip(base, final, strict=True)
        for i, (a, b) in enumerate(zip(old["messages"], new["messages"], strict=True))
        for start, end, text in _changes(a["template"], b["template"])
    )


def _changes(old: str, new: str) -> list[tuple[int, int, str]]:
    """Word-level replacements; an empty text has no words to hold on to."""
    return diff_edits(old, new) if old else [(0, 0, new)] if new else []


# ------------------------------------------------------------ The course of a search: what was tried at each step,


@dataclass(frozen=True)
class Tried:
    """One candidate: where it came from, how it scored in the search, what became of it."""

    id: str
    parent_id: str | None
    step: int
    scope: str
    edits: tuple[Mapping[str, Any], ...]
    prompts: Sequence[Mapping[str, Any]]
    score: float | None = None
    n: int = 0
    dropped_why: str = ""


@dataclass(frozen=True)
class StepScore:
    """A step of the search: scores of its new candidates, and the best so far."""

    step: int
    scores: tuple[float, ...]
    best: float


def uneven(candidates: Mapping[str, Tried]) -> bool:
    """Whether scores are of different numbers of rows: few lucky ones are then no best score."""
    return len({tried.n for tried in candidates.values() if tried.score is not None}) > 1


def course(candidates: Mapping[str, Tried], leads: Mapping[int, str]) -> tuple[StepScore, ...]:
    """Scores by step, the baseline as step 0, each with the best so far; where scores are uneven, with the leader's.

    Args:
        candidates: All that were tried, by id.
        leads: Who the search went on from after each step.
    """
    by_step: dict[int, list[float]] = defaultdict(list)
    for tried in candidates.values():
        if tried.score is not None:
            by_step[tried.step].append(tried.score)
    follow = leads if uneven(candidates) else {}
    out: list[StepScore] = []
    for step in sorted({*by_step, *follow}):
        scores = tuple(by_step[step])
        leader = candidates.get(follow.get(step, ""))
        best = max([*scores, *(s.best for s in out[-1:])]) if leader is None or leader.score is None else leader.score
        out.append(StepScore(step, scores, best))
    return tuple(out)


# ------------------------------------------------------------ Row by row: where the new prompt does better than th


@dataclass(frozen=True)
class Scorer:
    """One number from a row's scores: the primary metric, or the weighted mean."""

    primary: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def score(self, scores: Mapping[str, float]) -> float | None:
        """The deciding score; None where the row has none."""
        if self.weights:
            found = {name: weight for name, weight in self.weights.items() if name in scores}
            total = sum(found.values())
            return sum(scores[n] * w for n, w in found.items()) / total if total else None
        if self.primary is not None:
            return scores.get(self.primary)
        return next(iter(scores.values()), None)

    @classmethod
    def of(cls, started: Mapping[str, Any]) -> Scorer:
        """What `run.started` says decides."""
        gate = started.get("gate") or {}
        names = [e["name"] for e in started.get("evaluators") or []]
        return cls(gate.get("primary") or (names[0] if names else None), gate.get("weights") or {})


@dataclass(frozen=True)
class Side:
    """What one prompt did on one row, averaged over repeats."""

    score: float | None
    output: Any = None
    comment: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Row:
    """One example under both prompts. `inputs` and `expected` are None where the rows were not given."""

    example_id: str
    split: str
    before: Side
    after: Side
    inputs: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] | None = None

    @property
    def change(self) -> float:
        """After minus before; 0 where one side was dropped."""
        if self.before.score is None or self.after.score is None:
            return 0.0
        return self.after.score - self.before.score


@dataclass(frozen=True)
class Rows:
    """The paired rows of a split."""

    split: str
    all: tuple[Row, ...]

    def without_text(self) -> Rows:
        """The same rows by id and score alone."""

        def bare(row: Row) -> Row:
            before, after = (replace(side, output=None, comment="", failure="") for side in (row.before, row.after))
            return Row(row.example_id, row.split, before, after)

        return Rows(self.split, tuple(map(bare, self.all)))

    @property
    def better(self) -> tuple[Row, ...]:
        """Largest gain first."""
        return tuple(sorted((r for r in self.all if r.change > 0), key=lambda r: (-r.change, r.example_id)))

    @property
    def worse(self) -> tuple[Row, ...]:
        """Largest loss first."""
        return tuple(sorted((r for r in self.all if r.change < 0), key=lambda r: (r.change, r.example_id)))

    @property
    def same(self) -> int:
        """Rows without a difference."""
        return len(self.all) - len(self.better) - len(self.worse)


@dataclass(frozen=True)
class CallCost:
    """What one answer costs on average under a prompt."""

    input_tokens: float
    output_tokens: float
    usd: float | None
    n: int


def latest_cells(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The data of `scored` events, one for each cell; a later line replaces an earlier one."""
    cells = {}
    for event in events:
        if event["type"] == "scored":
            data = event["data"]
            cells[data["candidate_id"], data["split"], data["example_id"], data.get("repeat", 0)] = data
    return list(cells.values())


def paired_rows(
    cells: Iterable[Mapping[str, Any]],
    pair: tuple[str, str],
    split: str,
    scorer: Scorer,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
) -> Rows:
    """Rows of `split` that both candidates of `pair` (old, new) were run on."""
    sides: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell["split"] == split and cell["candidate_id"] in pair:
            sides[cell["example_id"]][cell["candidate_id"]].append(cell)
    known = examples or {}
    rows = [
        Row(
            example_id,
            split,
            _side(found[pair[0]], scorer),
            _side(found[pair[1]], scorer),
            known.get(example_id, {}).get("inputs"),
            _expected(known.get(example_id, {})),
        )
        for example_id, found in sides.items()
        if all(found.get(candidate) for candidate in pair)
    ]
    return Rows(split, tuple(rows))


def _expected(example: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = example.get("outputs", example.get("expected"))
    return found


def _side(cells: list[Mapping[str, Any]], scorer: Scorer) -> Side:
    scores = [s for cell in cells if (s := cell_score(cell, scorer)) is not None]
    shown = cells[0]
    failure = next((c["failure"] for c in cells if c.get("failure")), None)
    return Side(
        fmean(scores) if scores else None,
        shown.get("output"),
        "; ".join(f"{name}: {text}" for name, text in (shown.get("comments") or {}).items() if text),
        f"{failure['kind']}: {failure.get('message', '')}" if failure else "",
    )


def cell_score(cell: Mapping[str, Any], scorer: Scorer) -> float | None:
    """What a cell counts: 0 where the prompt is to blame for a failure, None where the row was dropped."""
    failure = cell.get("failure")
    if failure:
        return 0.0 if failure.get("scored_zero") else None
    return scorer.score(cell["scores"])


def call_cost(cells: Iterable[Mapping[str, Any]], candidate_id: str, split: str) -> CallCost | None:
    """Mean tokens and money of one answer, over the cells that were really run."""
    used = [c["usage"] for c in cells if c["candidate_id"] == candidate_id and c["split"] == split and _was_run(c)]
    if not used:
        return None
    prices = [u.get("usd") for u in used]
    return CallCost(
        fmean(u.get("input_tokens", 0) for u in used),
        fmean(u.get("output_tokens", 0) for u in used),
        None if None in prices else fmean(p for p in prices if p is not None),
        len(used),
    )


def _was_run(cell: Mapping[str, Any]) -> bool:
    return bool(cell.get("usage")) and cell["usage"].get("calls", 0) > 0 and not cell.get("failure")


# ------------------------------------------------------------ How well the optimizer model obeyed, and which label

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


# ------------------------------------------------------------ Where an edit stands, for the eye: its line, the hea

_HEADING = re.compile(r"^#{1,6}[ \t]+(.*\S)[ \t]*$", re.MULTILINE)
_BEFORE, _AFTER = 72, 40
"""Characters of the line shown on either side of a change."""


@dataclass(frozen=True)
class Place:
    """The surroundings of an edit: kept text on its line, what goes and what comes between it.

    Args:
        line: Line in the message's template, from 1.
        heading: The Markdown heading above, or "".
        left: Kept text before, shortened at its start.
        removed: What goes.
        added: What comes.
        right: Kept text behind, shortened at its end.
    """

    line: int
    heading: str
    left: str
    removed: str
    added: str
    right: str

    @property
    def title(self) -> str:
        """The place in words."""
        return f"line {self.line}" + (f', under "{self.heading}"' if self.heading else "")


def place_of(template: str, edit: FinalEdit) -> Place:
    """Where in `template`, the baseline's text of its message, an edit stands."""
    head, removed, added, tail = edit.core
    start, end = edit.start + len(head), edit.end - len(tail)
    at_line = start == 0 or template[start - 1] == "\n"
    if at_line and removed.endswith("\n") and (not added or added.endswith("\n")):  # the next line is not concerned
        removed, added, end = removed.removesuffix("\n"), added.removesuffix("\n"), end - 1
    elif removed.startswith("\n") and not added:  # the last line
        removed, start = removed.removeprefix("\n"), start + 1
    left = template[template.rfind("\n", 0, start) + 1 : start]
    stop = template.find("\n", end)
    right = template[end : stop if stop >= 0 else len(template)]
    above = [m.group(1) for m in _HEADING.finditer(template, 0, start)]
    return Place(
        line=template.count("\n", 0, start) + 1,
        heading=above[-1] if above else "",
        left=_ending(left),
        removed=removed,
        added=added,
        right=_beginning(right),
    )


def _ending(text: str) -> str:
    return text if len(text) <= _BEFORE else "… " + text[-_BEFORE:].partition(" ")[2].lstrip()


def _beginning(text: str) -> str:
    return text if len(text) <= _AFTER else text[:_AFTER].rpartition(" ")[0].rstrip() + " …"


# ------------------------------------------------------------ What a run did, as one frozen value read from its jo


@dataclass(frozen=True)
class RuleCount:
    """How often a rule refused a proposal; `rate` is the share of all proposals."""

    rule: str
    count: int
    rate: float
    example: str


@dataclass(frozen=True)
class RoleUsage:
    """What one role spent. `usd` is None where the price is unknown."""

    role: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    usd: float | None = 0.0


@dataclass(frozen=True)
class Message:
    """One message of the baseline with the final edits in it, in order."""

    prompt: str
    index: int
    role: str
    template: str
    edits: tuple[tuple[int, FinalEdit], ...]
    """Number of the edit in the report (from 1), and the edit."""


@dataclass(frozen=True)
class RunRecord:
    """A run, finished or not. Make it with `from_events`."""

    started: Mapping[str, Any]
    candidates: Mapping[str, Tried]
    cells: Sequence[Mapping[str, Any]]
    rejections: tuple[RuleCount, ...]
    incidents: tuple[Mapping[str, Any], ...]
    usage: tuple[RoleUsage, ...]
    tested: Mapping[str, Any] | None
    finished: Mapping[str, Any] | None
    moves: tuple[Mapping[str, Any], ...]
    best_id: str
    edits: tuple[FinalEdit, ...]
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    damaged: tuple[str, ...] = ()
    """Candidates whose recorded text is not what parent and edits make."""
    leads: Mapping[int, str] = field(default_factory=dict)
    """The candidate that the search went on from after each step."""

    @classmethod
    def from_events(
        cls, events: Iterable[Mapping[str, Any]], examples: Mapping[str, Mapping[str, Any]] | None = None
    ) -> RunRecord:
        """Read a journal.

        Args:
            events: Lines as {"seq", "time", "type", "data"}; unknown types are passed over.
            examples: Example id -> {"inputs", "outputs" (or "expected")} for display; the journal holds ids only.

        Raises DataError where there is no `run.started`.
        """
        known = list(events)
        by_type: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for event in known:
            by_type[event["type"]].append(event["data"])
        if not by_type["run.started"]:
            msg = "the journal has no run.started line"
            raise DataError(msg, where="journal", mend="The run ended before it began; start it again.")
        started = by_type["run.started"][0]
        cells = latest_cells(known)
        candidates, damaged = _candidates(known, by_type)
        finished = by_type["run.finished"][-1] if by_type["run.finished"] else None
        best_id = _best(candidates, started, finished)
        return cls(
            started=started,
            candidates=candidates,
            cells=cells,
            rejections=_rule_counts(by_type),
            incidents=tuple(by_type["incident"]),
            usage=tuple(
                replace(u, usd=0.0) if u.role in simulated_roles(started) else u
                for u in _usage(finished, by_type, cells)
            ),
            tested=by_type["tested"][-1] if by_type["tested"] else None,
            finished=finished,
            moves=tuple(
                {**e["data"], "type": e["type"], "time": e.get("time", "")} for e in known if e["type"] in _MOVES
            ),
            best_id=best_id,
            edits=journal_edits(known, best_id),
            examples=examples or {},
            health=health_of(known),
            damaged=damaged,
            leads={d["step"]: d["kept"][0] for d in by_type["selected"] if d["kept"]},
        )

    @property
    def run_id(self) -> str:
        """Hash of what decides the result."""
        return str(self.started["run_id"])

    @property
    def seed_id(self) -> str:
        """The baseline's id."""
        return str(self.started["seed_candidate_id"])

    @property
    def outcome(self) -> str | None:
        """How the run ended; None while it has not."""
        return str(self.finished["outcome"]) if self.finished else None

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """The gate's table, the primary first; empty before the test."""
        return self.tested["metrics"] if self.tested else ()

    @property
    def simulated(self) -> tuple[str, ...]:
        """Roles that the built-in offline programs played."""
        return simulated_roles(self.started)

    @property
    def total(self) -> RoleUsage:
        """All roles together."""
        return _role("all", [asdict(u) for u in self.usage])

    @cached_property
    def rows(self) -> Mapping[str, Rows]:
        """Paired rows of baseline and best by split, the held-out ones first."""
        scorer, pair = Scorer.of(self.started), (self.seed_id, self.best_id)
        splits = ("test", "val", "dev") if self.seed_id != self.best_id else ()
        found = {split: paired_rows(self.cells, pair, split, scorer, self.examples) for split in splits}
        return {split: rows for split, rows in found.items() if rows.all}

    @cached_property
    def steps(self) -> tuple[StepScore, ...]:
        """Search scores by step, the baseline as step 0."""
        return course(self.candidates, self.leads)

    @property
    def uneven(self) -> bool:
        """Whether search scores are of different numbers of rows."""
        return uneven(self.candidates)

    @cached_property
    def costs(self) -> tuple[CallCost, CallCost] | None:
        """Cost of one answer before and after, on the held-out rows where there are some."""
        for split in ("test", "val", "dev"):
            old, new = (call_cost(self.cells, i, split) for i in (self.seed_id, self.best_id))
            if old and new:
                return old, new
        return None

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The baseline's messages with the numbered final edits."""
        numbered = list(enumerate(self.edits, start=1))
        return tuple(
            Message(
                p["name"],
                i,
                m["role"],
                m["template"],
                tuple((n, e) for n, e in numbered if (e.prompt, e.message) == (p["name"], i)),
            )
            for p in self.started["prompts"]
            for i, m in enumerate(p["messages"])
        )

    def place(self, edit: FinalEdit) -> Place:
        """Where a final edit stands in the baseline."""
        prompt = next(p for p in self.started["prompts"] if p["name"] == edit.prompt)
        return place_of(prompt["messages"][edit.message]["template"], edit)

    @cached_property
    def words(self) -> tuple[int, int, int]:
        """Words of the baseline, words of the best, words changed (product 10.14)."""
        old, new = (_texts(self.candidates[i].prompts) for i in (self.seed_id, self.best_id))
        pairs = zip(old, new, strict=True) if len(old) == len(new) else [("\n".join(old), "\n".join(new))]
        changed = sum(words_changed(a, b) for a, b in pairs)
        return sum(map(count_words, old)), sum(map(count_words, new)), changed


_OFFLINE = re.compile(r"(Offline\w*Model:)?offline\b")


def simulated_roles(started: Mapping[str, Any]) -> tuple[str, ...]:
    """Roles of `run.started` that the built-in offline programs play; they cost nothing."""
    return tuple(role for role, model in started.get("models", {}).items() if _OFFLINE.match(str(model)))


_MOVES = ("applied", "pushed", "tagged", "rolled_back")


def _texts(prompts: Sequence[Mapping[str, Any]]) -> list[str]:
    return [m["template"] for p in prompts for m in p["messages"]]


def _candidates(
    events: Sequence[Mapping[str, Any]], by_type: Mapping[str, list[Mapping[str, Any]]]
) -> tuple[dict[str, Tried], tuple[str, ...]]:
    texts = rebuild(events)
    scores = {d["candidate_id"]: (d["score"], d["n"]) for d in by_type["evaluated"] if d["split"] == "dev"}
    dropped = {d["candidate_id"]: d.get("why", "") for data in by_type["selected"] for d in data["dropped"]}
    seed = by_type["run.started"][0]["seed_candidate_id"]
    out = {seed: Tried(seed, None, 0, "seed", (), texts[seed], *scores.get(seed, (None, 0)))}
    damaged = []
    for data in by_type["proposed"]:
        name = data["candidate_id"]
        if name in out:
            continue
        score, n = scores.get(name, (None, 0))
        out[name] = Tried(
            name,
            data["parent_id"] or None,
            data["step"],
            data["scope"],
            tuple(data["edits"]),
            texts[name],
            score,
            n,
            dropped.get(name, ""),
        )
        if _texts(texts[name]) != _texts(data["prompts"]):
            damaged.append(name)
    return out, tuple(damaged)


def _best(candidates: Mapping[str, Tried], started: Mapping[str, Any], finished: Mapping[str, Any] | None) -> str:
    seed = str(started["seed_candidate_id"])
    if finished and finished.get("best_candidate_id") in candidates:
        return str(finished["best_candidate_id"])
    scored = [t for t in candidates.values() if t.score is not None]
    # The baseline comes first and `max` keeps the first of equals, so a tie changes nothing.
    return max(scored, key=lambda t: t.score or 0.0).id if scored else seed


def _rule_counts(by_type: Mapping[str, list[Mapping[str, Any]]]) -> tuple[RuleCount, ...]:
    counts = Counter(d["rule"] for d in by_type["rejected"])
    total = len(by_type["rejected"]) + len(by_type["proposed"])
    examples = {d["rule"]: str(d.get("detail", "")) for d in reversed(by_type["rejected"])}
    return tuple(RuleCount(rule, n, n / total, examples[rule]) for rule, n in counts.most_common())


def _usage(
    finished: Mapping[str, Any] | None,
    by_type: Mapping[str, list[Mapping[str, Any]]],
    cells: Sequence[Mapping[str, Any]],
) -> tuple[RoleUsage, ...]:
    """By role as the ledger ended, or added up from the calls of an unfinished run."""
    by_role = (finished or {}).get("usage", {}).get("by_role")
    if by_role:
        return tuple(_role(role, [usage]) for role, usage in by_role.items())
    spent: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for data in by_type["called"]:
        spent[data["role"]].append(data["usage"])
    spent["task"] += [c["usage"] for c in cells if c.get("usage") and not c.get("cached")]
    return tuple(_role(role, usages) for role, usages in spent.items() if usages)


def _role(role: str, usages: Sequence[Mapping[str, Any]]) -> RoleUsage:
    prices = [u.get("usd") for u in usages]
    counts = {
        name: sum(u.get(name) or 0 for u in usages)
        for name in ("calls", "input_tokens", "output_tokens", "cache_read_tokens")
    }
    return RoleUsage(role, **counts, usd=None if None in prices else sum(p for p in prices if p is not None))
