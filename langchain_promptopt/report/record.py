"""What a run did, as one frozen value read from its journal; every report is drawn from this.

It holds the course of the search, and how well the optimizer model obeyed (spec 1.4, 5.4, 6.4).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.errors import DataError
from langchain_promptopt.events import (
    Applied,
    Called,
    Dated,
    Evaluated,
    EventTable,
    FeedbackGiven,
    Identified,
    Incident,
    Moved,
    Proposed,
    Pushed,
    Recalled,
    Rejected,
    Retrieved,
    RolledBack,
    RunFinished,
    RunStarted,
    ScoredRow,
    Selected,
    Tested,
    dated,
    journal_edits,
    rebuild,
    shown_events,
)
from langchain_promptopt.report.candidates import (
    Effect,
    LeftOut,
    StepScore,
    Tried,
    by_prompt,
    course,
    effects,
    left_out,
    uneven,
)
from langchain_promptopt.report.rows import (
    AnswerCost,
    ComparedRows,
    EditPlace,
    Scorer,
    answer_cost,
    cell_score,
    edit_place,
    latest_cells,
    paired_rows,
)
from langchain_promptopt.types import BREAKS, MetricEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.types import PromptSet, Reason, Stop, Usage
    from langchain_promptopt.types.edits import FinalEdit


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


def health_of(events: EventTable) -> Health:
    """The health of a run, finished or not."""
    refused = Counter(r.rule for r in events.all(Rejected))
    proposed = events.all(Proposed)
    proposals = len(proposed) + refused.total()
    rules = []
    for rule, n in refused.most_common():
        rules.append(RuleRate(rule, n, n / proposals))
    leaks = [p.leak for p in proposed if p.leak is not None]
    keys = []
    for call in events.all(Called):
        if call.role in {"optimizer", ""}:  # a record of before there were embeddings names no role
            keys.append(call.key)
    said = events.all(FeedbackGiven)
    objections = _objections(said)
    objected = sum(len(_objecting(feedback.text)) for feedback in said)
    no_ops = sum(refused[r] for r in _NOTHING_NEW)
    signatures: list[str] = []
    for incident in events.all(Incident):
        if incident.role == "method" and incident.kind not in {*signatures, "demos"}:  # that is a note
            signatures.append(incident.kind)
    return Health(
        proposals=proposals,
        rules=tuple(rules),
        leak=sum(leaks) / len(leaks) if leaks else None,
        tag_validity=_tag_validity(keys, events.all(Identified)),
        no_ops=no_ops / proposals if proposals else None,
        second_tries=len(list(filter(_SECOND_TRY.search, keys))),
        calls=len(keys),
        suspects=_suspects(events, objections),
        objections=objected,
        signatures=tuple(signatures),
    )


def _tag_validity(keys: Sequence[str], identified: Sequence[Identified]) -> float | None:
    asked = len(list(filter(_MARKING.search, keys)))
    lawful = 0
    for marked in identified:
        lawful += marked.protocol in _BY_MODEL and bool(marked.spans)
    return min(1.0, lawful / asked) if asked else None


def _objecting(text: str) -> list[str]:
    return list(filter(_OBJECTION.search, _SENTENCE.findall(text)))


def _objections(said: Sequence[FeedbackGiven]) -> Counter[str]:
    """Objections by row: the rows a sentence names, else all rows the feedback is about."""
    found: Counter[str] = Counter()
    for feedback in said:
        for sentence in _objecting(feedback.text):
            named = []
            for i in feedback.example_ids:
                if re.search(rf"(?<!\w){re.escape(i)}(?!\w)", sentence):
                    named.append(i)
            found.update(named or feedback.example_ids)
    return found


def _suspects(events: EventTable, objections: Counter[str]) -> tuple[SuspectRow, ...]:
    """Search rows that three candidates or more were tried on and none got anything right, or that were objected to."""
    started = events.first(RunStarted)
    if started is None:
        return ()
    scorer = Scorer.of(started)
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in events.all(ScoredRow):
        value = cell_score(row, scorer) if row.split in {"train", "dev"} else None
        if value is not None:
            scores[row.split, row.example_id][row.candidate_id] = value
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
class EditedMessage:
    """One message of the baseline with the final edits in it, in order."""

    prompt: str
    index: int
    role: str
    template: str
    edits: tuple[tuple[int, FinalEdit], ...]
    """Number of the edit in the report (from 1), and the edit."""


@dataclass(frozen=True)
class Tradeoff:
    """A candidate by what it scores and what it costs.

    Attributes:
        candidate_id: The candidate.
        step: The step that made it; 0 is the prompt of the start.
        score: On the dev examples that the prompt of the start was run on as well: its mean, plus the mean difference;
            from 0 to 1.
        n: How many examples these are.
        tokens: About how many tokens the prompts have.
        usd: What an answer on a dev example costs; None where a price is unknown.
        front: Whether no other candidate is at least as good in all three and better in one.
        baseline: Whether it is the prompt of the start.
        best: Whether it is the prompt that was chosen.
        prompts: The texts.
    """

    candidate_id: str
    step: int
    score: float
    n: int
    tokens: int
    usd: float | None
    front: bool = True
    baseline: bool = False
    best: bool = False
    prompts: PromptSet | None = field(default=None, repr=False)

    def beats(self, other: Tradeoff) -> bool:
        """Whether it is at least as good as another one in score, length and cost, and better in one of them."""
        mine, theirs = [-self.score, float(self.tokens)], [-other.score, float(other.tokens)]
        if self.usd is not None and other.usd is not None:
            mine.append(self.usd)
            theirs.append(other.usd)
        pairs = list(zip(mine, theirs, strict=True))
        as_good = all(a <= b + 1e-9 for a, b in pairs)
        return as_good and any(a < b - 1e-9 for a, b in pairs)

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the texts."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "prompts"}


@dataclass(frozen=True)
class Destination:
    """Where the winner went: a live chain, a file (`applied`) or a registry (`pushed`)."""

    kind: Literal["applied", "pushed"]
    target: str
    undone: bool = False
    """Whether it was reverted or rolled back since."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.kind == "applied" and self.target != "chain"


@dataclass(frozen=True)
class RunRecord:
    """A run, finished or not. Make it with `from_events`."""

    started: RunStarted
    candidates: Mapping[str, Tried]
    cells: Sequence[ScoredRow]
    rejections: tuple[RuleCount, ...]
    incidents: tuple[Incident, ...]
    usage: tuple[RoleUsage, ...]
    tested: Tested | None
    finished: RunFinished | None
    moves: tuple[Dated[Moved], ...]
    best_id: str
    edits: tuple[FinalEdit, ...]
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    damaged: tuple[str, ...] = ()
    """Candidates whose recorded text is not what parent and edits make."""
    leads: Mapping[int, str] = field(default_factory=dict)
    """The candidate that the search went on from after each step."""
    retrieved: Mapping[str, tuple[Recalled, ...]] = field(default_factory=dict)
    """Candidate -> earlier attempts that the proposer was shown with it."""
    replayed: bool = False
    """Whether this is shown in place of a run: a verdict that was there already."""
    written: tuple[str, ...] = ()
    """Files that the winner was written to just now."""

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where the winner went, each place once and as it stands now."""
        found: dict[str, Destination] = {}
        for move in self.moves:
            event = move.event
            if isinstance(event, Applied):
                found[event.target] = Destination("applied", event.target)
            elif isinstance(event, Pushed):
                found[event.target] = Destination("pushed", event.target)
            elif isinstance(event, RolledBack):
                target = event.target if event.target in found else event.target.partition(":")[0]
                if target in found:
                    found[target] = replace(found[target], undone=True)
        return tuple(found.values())

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
        shown = shown_events(raw)
        known = EventTable(shown)
        started = known.first(RunStarted)
        if started is None:
            msg = "the journal has no run.started line"
            raise DataError(msg, where="journal", mend="The run ended before it began; start it again.")
        candidates, damaged = _candidates(known, started)
        finished = known.last(RunFinished)
        best_id = _best(candidates, started, finished)
        spent = EventTable(raw) if len(raw) > len(shown) else known  # what is not shown was paid for all the same
        leads = {s.step: s.kept[0] for s in known.all(Selected) if s.kept}
        retrieved = {r.candidate_id: r.items for r in known.all(Retrieved)}
        return cls(
            started=started,
            candidates=candidates,
            cells=latest_cells(known.all(ScoredRow)),
            rejections=_rule_counts(known),
            incidents=tuple(known.all(Incident)),
            usage=_usage(started, finished, spent),
            tested=known.last(Tested),
            finished=finished,
            moves=tuple(dated(shown, Moved)),
            best_id=best_id,
            edits=journal_edits(known, best_id),
            examples=examples or {},
            health=health_of(known),
            damaged=damaged,
            leads=leads,
            retrieved=retrieved,
        )

    @property
    def run_id(self) -> str:
        """Hash of what decides the result."""
        return self.started.run_id

    @property
    def seed_id(self) -> str:
        """The baseline's id."""
        return self.started.seed_candidate_id

    @property
    def outcome(self) -> str | None:
        """How the run ended; None while it has not."""
        return None if self.finished is None else self.finished.outcome

    @property
    def stopped(self) -> Stop | None:
        """Why the search ended; None while it has not, and for a comparison."""
        return None if self.finished is None else self.finished.stopped

    @property
    def error(self) -> str:
        """What a failed run ended with, without the texts of rows; "" for all others."""
        return "" if self.finished is None else self.finished.failure

    @property
    def retryable(self) -> bool:
        """Whether a failed run can go on as it is: what failed was out of reach, not wrong."""
        return self.finished is not None and self.finished.retryable

    @property
    def unenforced(self) -> bool:
        """Whether a child on the way to the winner was not kept to its marked places: nothing applies by itself."""
        return self.tested is not None and self.tested.unenforced

    @cached_property
    def metrics(self) -> tuple[MetricEntry, ...]:
        """The gate's table, the primary first; empty before the test."""
        return () if self.tested is None else tuple(map(MetricEntry.of, self.tested.metrics))

    @property
    def void(self) -> bool:
        """Whether the test rows were opened without a verdict."""
        return self.tested is not None and self.tested.void

    @property
    def reason(self) -> Reason | None:
        """Why the gate decided as it did; None before the test."""
        return None if self.tested is None else self.tested.reason

    @property
    def simulated(self) -> tuple[str, ...]:
        """Roles that the built-in offline programs played."""
        return simulated_roles(self.started)

    @property
    def total(self) -> RoleUsage:
        """All roles together."""
        return _role("all", self.usage)

    @cached_property
    def rows(self) -> Mapping[str, ComparedRows]:
        """Paired rows of baseline and best by split, the held-out ones first."""
        scorer, pair = Scorer.of(self.started), (self.seed_id, self.best_id)
        splits = ("test", "val", "dev") if self.seed_id != self.best_id else ()
        found = {}
        for split in splits:
            rows = paired_rows(self.cells, pair, split, scorer, self.examples)
            if rows.all:
                found[split] = rows
        return found

    @cached_property
    def steps(self) -> tuple[StepScore, ...]:
        """Search scores by step, the baseline as step 0."""
        return course(self.candidates, self.leads)

    @property
    def uneven(self) -> bool:
        """Whether search scores are of different numbers of rows."""
        return uneven(self.candidates)

    @cached_property
    def costs(self) -> tuple[AnswerCost, AnswerCost] | None:
        """Cost of one answer before and after, on the held-out examples where there are some."""
        for split in ("test", "val", "dev"):
            old = answer_cost(self.cells, self.seed_id, split)
            new = answer_cost(self.cells, self.best_id, split)
            if old and new:
                return old, new
        return None

    @cached_property
    def messages(self) -> tuple[EditedMessage, ...]:
        """The baseline's messages with the numbered final edits."""
        changes: dict[tuple[str, int], list[tuple[int, FinalEdit]]] = defaultdict(list)
        for number, edit in enumerate(self.edits, start=1):
            changes[edit.prompt, edit.message].append((number, edit))
        changed = {name for name, _ in changes}
        found: list[EditedMessage] = []
        for prompt in self.started.prompts:
            if prompt.idle and prompt.name not in changed:
                continue
            for i, message in enumerate(prompt.messages):
                here = tuple(changes[prompt.name, i])
                found.append(EditedMessage(prompt.name, i, message.role, message.template, here))
        return tuple(found)

    @cached_property
    def effects(self) -> Mapping[int, tuple[Effect, ...]]:
        """For each final edit, by its number, what the steps that made it changed on the search rows."""
        return effects(self.edits, self.candidates, self.cells, Scorer.of(self.started))

    @cached_property
    def left_out(self) -> Mapping[int, LeftOut]:
        """For the final edits that were measured so, what the winner does without them on the search rows."""
        return left_out(self.edits, self.candidates, (self.seed_id, self.best_id), self.cells, Scorer.of(self.started))

    @cached_property
    def by_prompt(self) -> tuple[dict[str, Any], ...]:
        """What the edits of each prompt add on the search rows; empty for an app with one prompt, or without edits."""
        names = [p.name for p in self.started.prompts if not p.idle]
        if len(names) < 2 or not self.edits:
            return ()
        pair = (self.seed_id, self.best_id)
        return by_prompt(names, self.edits, self.candidates, pair, self.cells, Scorer.of(self.started))

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

    def place(self, edit: FinalEdit) -> EditPlace:
        """The place of a final edit in the baseline."""
        return edit_place(self.started.prompts[edit.prompt].messages[edit.message].template, edit)

    @cached_property
    def words(self) -> tuple[int, int, int]:
        """Words of the baseline, words of the best, words changed (product 10.14)."""
        old = _texts(self.candidates[self.seed_id].prompts)
        new = _texts(self.candidates[self.best_id].prompts)
        if len(old) == len(new):
            changed = sum(map(words_changed, old, new))
        else:
            changed = words_changed("\n".join(old), "\n".join(new))
        return sum(map(count_words, old)), sum(map(count_words, new)), changed

    @cached_property
    def pareto(self) -> tuple[Tradeoff, ...]:
        """Score against length and cost: candidates that none beats in all of them, the best score first.

        The prompt of the start and the chosen one are always there. Candidates that broke an example of `must_pass`,
        and those that no dev example was scored on, are not. Empty where there was no search.
        """
        found = self._tradeoffs()
        shown = []
        for t in found:
            front = not any(other.beats(t) for other in found)
            if front or t.baseline or t.best:
                shown.append(replace(t, front=front))
        return tuple(sorted(shown, key=lambda t: (-t.score, t.tokens, t.step)))

    def _tradeoffs(self) -> list[Tradeoff]:
        scorer, scores = Scorer.of(self.started), defaultdict[str, dict[str, float]](dict)
        for cell in self.cells:
            value = cell_score(cell, scorer) if cell.split == "dev" else None
            if value is not None:
                scores[cell.candidate_id][cell.example_id] = value
        before = scores[self.seed_id]
        found: list[Tradeoff] = []
        for tried in self.candidates.values():
            # examples differ in difficulty, and a race shows each candidate other ones: only differences compare
            gains = [s - before[i] for i, s in scores[tried.id].items() if i in before]
            some = len(scores[tried.id]) < len(scores[tried.part_of]) and tried.id != self.best_id
            if tried.part_of and some:  # run on the examples that the edits decided, which speak for themselves alone
                continue
            if tried.score is None or not gains or tried.dropped_why.endswith(BREAKS):
                continue
            cost = answer_cost(self.cells, tried.id, "dev")
            estimate = sum(before.values()) / len(before) + sum(gains) / len(gains)
            found.append(
                Tradeoff(
                    tried.id,
                    tried.step,
                    min(1.0, max(0.0, estimate)),  # the gain on a few examples may reach past the end of the scale
                    len(gains),
                    tried.prompts.tokens,
                    None if cost is None else cost.usd,
                    baseline=tried.id == self.seed_id,
                    best=tried.id == self.best_id,
                    prompts=tried.prompts,
                )
            )
        return found

    @cached_property
    def by_model(self) -> tuple[dict[str, Any], ...]:
        """One prompt over several task models: the deciding metric of each, old and new, on the examples both answered.

        On the test examples where they were opened, else on dev. Empty for a run with one task model.
        """
        primary = Scorer.of(self.started).primary
        metrics: dict[str, None] = {}
        for c in self.cells:
            metrics |= dict.fromkeys(key for key in c.scores if key.startswith(f"{primary}@"))
        for split in ("test", "dev"):
            found = []
            for metric in metrics:
                first = self._means(self.seed_id, split, metric)
                second = self._means(self.best_id, split, metric)
                shared = [i for i in first if i in second]
                if shared:
                    old = fmean(first[i] for i in shared)
                    new = fmean(second[i] for i in shared)
                    line = {"model": metric.partition("@")[2], "metric": primary, "split": split, "baseline": old}
                    found.append(line | {"best": new, "difference": new - old, "n": len(shared)})
            if found:
                return tuple(found)
        return ()

    def _means(self, candidate_id: str, split: str, metric: str) -> dict[str, float]:
        """Mean scores of a candidate by example id."""
        found = defaultdict[str, list[float]](list)
        for c in self.cells:
            if c.candidate_id == candidate_id and c.split == split and metric in c.scores:
                found[c.example_id].append(c.scores[metric])
        return {i: sum(values) / len(values) for i, values in found.items()}

    @cached_property
    def tokens(self) -> tuple[int, int]:
        """About how many tokens the prompts of the baseline and of the best have."""
        return self.candidates[self.seed_id].prompts.tokens, self.candidates[self.best_id].prompts.tokens


_OFFLINE = re.compile(r"(Offline\w*Model:)?offline\b")


def simulated_roles(started: RunStarted) -> tuple[str, ...]:
    """Roles that the built-in offline programs play in a run; they cost nothing."""
    return tuple(role for role, model in started.models.items() if _OFFLINE.match(str(model)))


def _texts(prompts: PromptSet) -> list[str]:
    return [message.template for message in prompts.messages]


def _candidates(events: EventTable, started: RunStarted) -> tuple[dict[str, Tried], tuple[str, ...]]:
    """All that was tried, by id, and the ids of those whose recorded text is not what their edits make."""
    texts = rebuild(events)
    scores: dict[str, tuple[float, int]] = {}
    for mean in events.all(Evaluated):
        if mean.split == "dev":
            scores[mean.candidate_id] = (mean.score, mean.n)
    why: dict[str, str] = {}
    for selected in events.all(Selected):
        for dropped in selected.dropped:
            why[dropped.candidate_id] = dropped.why
    seed = started.seed_candidate_id
    found = {seed: Tried(seed, None, 0, "seed", (), texts[seed], *scores.get(seed, (None, 0)))}
    damaged = []
    for child in events.all(Proposed):
        name = child.candidate_id
        if name in found:
            continue
        score, n = scores.get(name, (None, 0))
        found[name] = Tried(
            name,
            child.parent_id or None,
            child.step,
            child.scope,
            child.edits,
            texts[name],
            score,
            n,
            why.get(name, ""),
            child.part_of,
        )
        if _texts(texts[name]) != _texts(child.prompts):
            damaged.append(name)
    return found, tuple(damaged)


def _best(candidates: Mapping[str, Tried], started: RunStarted, finished: RunFinished | None) -> str:
    if finished is not None and finished.best_candidate_id in candidates:
        return finished.best_candidate_id
    best, highest = started.seed_candidate_id, None
    for tried in candidates.values():
        # The baseline comes first and only a higher score takes its place, so a tie changes nothing.
        if tried.score is not None and not tried.part_of and (highest is None or tried.score > highest):
            best, highest = tried.id, tried.score
    return best


def _rule_counts(events: EventTable) -> tuple[RuleCount, ...]:
    rejected = events.all(Rejected)
    counts = Counter(r.rule for r in rejected)
    total = len(rejected) + len(events.all(Proposed))
    examples = {}
    for r in reversed(rejected):
        examples[r.rule] = r.detail
    found: list[RuleCount] = []
    for rule, n in counts.most_common():
        found.append(RuleCount(rule, n, n / total, examples[rule]))
    return tuple(found)


def _usage(started: RunStarted, finished: RunFinished | None, events: EventTable) -> tuple[RoleUsage, ...]:
    """By role as the ledger ended, or added up from the calls of an unfinished run; what is simulated costs nothing."""
    spent: dict[str, list[Usage]] = defaultdict(list)
    if finished is not None and finished.by_role:
        for role, usage in finished.by_role.items():
            spent[role].append(usage)
    else:
        for call in events.all(Called):
            spent[call.role].append(call.usage)
        for cell in latest_cells(events.all(ScoredRow)):
            if not cell.cached:
                spent["task"].append(cell.usage)
    simulated = simulated_roles(started)
    found: list[RoleUsage] = []
    for role, usages in spent.items():
        used = _role(role, usages)
        found.append(replace(used, usd=0.0) if role in simulated else used)
    return tuple(found)


def _role(role: str, usages: Sequence[Usage | RoleUsage]) -> RoleUsage:
    calls = tokens_in = tokens_out = read = 0
    for u in usages:
        calls += u.calls
        tokens_in += u.input_tokens
        tokens_out += u.output_tokens
        read += u.cache_read_tokens
    prices = [u.usd for u in usages if u.usd is not None]
    usd = sum(prices) if len(prices) == len(usages) else None
    return RoleUsage(role, calls, input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=read, usd=usd)
