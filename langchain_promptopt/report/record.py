"""What a run did, as one frozen value read from its journal; every report is drawn from this.

It holds the course of the search, and how well the optimizer model obeyed (spec 1.4, 5.4, 6.4).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.errors import DataError
from langchain_promptopt.events import shown_events
from langchain_promptopt.report.rows import (
    CallCost,
    Place,
    Rows,
    Scorer,
    call_cost,
    cell_score,
    latest_cells,
    paired_rows,
    place_of,
)
from langchain_promptopt.types import Stop
from langchain_promptopt.types.edits import FinalEdit, journal_edits, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


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
class Effect:
    """What one step of the search changed on the search rows, and the final edits that it made together."""

    made: Tried
    together: tuple[int, ...]
    rows: Rows


@dataclass(frozen=True)
class StepScore:
    """A step of the search: scores of its new candidates, and the best so far."""

    step: int
    scores: tuple[float, ...]
    best: float


def uneven(candidates: Mapping[str, Tried]) -> bool:
    """Whether scores are means over different numbers of rows: a mean over few rows may be high by luck."""
    return len({tried.n for tried in candidates.values() if tried.score is not None}) > 1


def course(candidates: Mapping[str, Tried], leads: Mapping[int, str]) -> tuple[StepScore, ...]:
    """Scores by step, the baseline as step 0, each with the best so far; where scores are uneven, with the leader's.

    Args:
        candidates: All that were tried, by id.
        leads: The candidate that the search went on from, by step.
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


_CANDIDATES = 3
"""Candidates that must all fail a row before its label is doubted; fewer say little."""
_SECOND_TRY = re.compile(r"/\d+r:[^/]*$")
_MARKING = re.compile(r"/identify/\d+r?:[^/]*$")
_BY_MODEL = frozenset({"line", "quote", "echo", "index"})
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
    keys = []
    for d in by_type["called"]:
        if d.get("role", "optimizer") == "optimizer":
            keys.append(d["key"])
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
            named = []
            for i in ids:
                if re.search(rf"(?<!\w){re.escape(i)}(?!\w)", sentence):
                    named.append(i)
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
class Reason:
    """Why the gate decided as it did: a kind, "" where an old journal has none, and a text for people."""

    kind: str
    detail: str


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
    retrieved: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Candidate -> earlier attempts that the proposer was shown with it: candidate_id, score, similarity."""
    replayed: bool = False
    """Whether this is shown in place of a run: a verdict that was there already."""
    written: tuple[str, ...] = ()
    """Files that the winner was written to just now."""

    @classmethod
    def from_events(
        cls, events: Iterable[Mapping[str, Any]], examples: Mapping[str, Mapping[str, Any]] | None = None
    ) -> RunRecord:
        """Read a journal.

        Args:
            events: Lines as {"seq", "time", "type", "data"}; unknown types are passed over.
            examples: Example id -> {"inputs", "outputs" (or "expected")} for display; the journal holds ids only.

        Raises:
            DataError: There is no `run.started`.
        """
        raw = list(events)
        known = shown_events(raw)
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
                for u in _usage(finished, by_type, latest_cells(raw))
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
            retrieved={d["candidate_id"]: tuple(d["items"]) for d in by_type["retrieved"]},
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
    def stopped(self) -> Stop | None:
        """Why the search ended; None while it has not, and for a comparison."""
        said = (self.finished or {}).get("stopped")
        if isinstance(said, str):  # as journals of 0.1 have it
            return Stop("custom", said) if said else None
        return Stop(said["kind"], said["detail"]) if said else None

    @property
    def error(self) -> str:
        """What a failed run ended with, without the texts of rows; "" for all others."""
        return str(((self.finished or {}).get("error") or {}).get("public", ""))

    @property
    def retryable(self) -> bool:
        """Whether a failed run can go on as it is: what failed was out of reach, not wrong."""
        return bool(((self.finished or {}).get("error") or {}).get("retryable"))

    @property
    def unenforced(self) -> bool:
        """Whether a child on the way to the winner was not kept to its marked places: nothing applies by itself."""
        return bool((self.tested or {}).get("detail", {}).get("unenforced"))

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """The gate's table, the primary first; empty before the test."""
        return self.tested["metrics"] if self.tested else ()

    @property
    def void(self) -> bool:
        """Whether the test rows were opened without a verdict."""
        return self.tested is not None and self.tested["verdict"] == "void"

    @property
    def reason(self) -> Reason | None:
        """Why the gate decided as it did; None before the test."""
        said = self.tested["detail"].get("reason") if self.tested else None
        if isinstance(said, str):  # as journals of 0.1 have it
            return Reason("", said) if said else None
        return Reason(said["kind"], said["detail"]) if said else None

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
        found = {}
        for split in splits:
            found[split] = paired_rows(self.cells, pair, split, scorer, self.examples)
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
        """Cost of one answer before and after, on the held-out examples where there are some."""
        for split in ("test", "val", "dev"):
            old, new = (call_cost(self.cells, i, split) for i in (self.seed_id, self.best_id))
            if old and new:
                return old, new
        return None

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The baseline's messages with the numbered final edits."""
        numbered = list(enumerate(self.edits, start=1))
        found: list[Message] = []
        for p in self.started["prompts"]:
            if not p.get("idle") or any(e.prompt == p["name"] for e in self.edits):
                for i, m in enumerate(p["messages"]):
                    found.append(
                        Message(
                            p["name"],
                            i,
                            m["role"],
                            m["template"],
                            tuple((n, e) for n, e in numbered if (e.prompt, e.message) == (p["name"], i)),
                        )
                    )
        return tuple(found)

    @cached_property
    def effects(self) -> Mapping[int, tuple[Effect, ...]]:
        """For each final edit, by its number, what the steps that made it changed on the search rows."""
        made_by: dict[str, list[int]] = defaultdict(list)
        for number, edit in enumerate(self.edits, start=1):
            for candidate_id in edit.lineage:
                made_by[candidate_id].append(number)
        scorer = Scorer.of(self.started)
        out: dict[int, list[Effect]] = defaultdict(list)
        for candidate_id, numbers in made_by.items():
            tried = self.candidates.get(candidate_id)
            if tried is None or tried.parent_id is None:
                continue
            rows = paired_rows(self.cells, (tried.parent_id, candidate_id), "dev", scorer)
            for number in numbers:
                out[number].append(Effect(tried, tuple(numbers), rows))
        return {number: tuple(found) for number, found in out.items()}

    @cached_property
    def line(self) -> frozenset[str]:
        """Ids of the best candidate and of those that it came from."""
        found: set[str] = set()
        at: str | None = self.best_id
        while at is not None and at in self.candidates and at not in found:
            found.add(at)
            at = self.candidates[at].parent_id
        return frozenset(found)

    def children(self, candidate_id: str) -> tuple[Tried, ...]:
        """The candidates that were made from this one, in the order of the journal."""
        return tuple(t for t in self.candidates.values() if t.parent_id == candidate_id)

    def place(self, edit: FinalEdit) -> Place:
        """The place of a final edit in the baseline."""
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
    found: list[str] = []
    for role, model in started.get("models", {}).items():
        if _OFFLINE.match(str(model)):
            found.append(role)
    return tuple(found)


_MOVES = ("applied", "pushed", "tagged", "rolled_back")


def _texts(prompts: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for p in prompts:
        for m in p["messages"]:
            found.append(m["template"])
    return found


def _candidates(
    events: Sequence[Mapping[str, Any]], by_type: Mapping[str, list[Mapping[str, Any]]]
) -> tuple[dict[str, Tried], tuple[str, ...]]:
    texts = rebuild(events)
    scores = {}
    for d in by_type["evaluated"]:
        if d["split"] == "dev":
            scores[d["candidate_id"]] = (d["score"], d["n"])
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
    examples = {}
    for d in reversed(by_type["rejected"]):
        examples[d["rule"]] = str(d.get("detail", ""))
    found: list[RuleCount] = []
    for rule, n in counts.most_common():
        found.append(RuleCount(rule, n, n / total, examples[rule]))
    return tuple(found)


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
    counts = {}
    for name in ("calls", "input_tokens", "output_tokens", "cache_read_tokens"):
        counts[name] = sum(u.get(name) or 0 for u in usages)
    return RoleUsage(role, **counts, usd=None if None in prices else sum(p for p in prices if p is not None))
