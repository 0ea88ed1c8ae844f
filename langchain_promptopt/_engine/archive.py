"""What a search knows at the end of a step: the attempts, the survivors and the leader.

The failure signatures of algorithms 1.6 are found or recorded here, each as an incident of role "method".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import TYPE_CHECKING

from langchain_promptopt.events import Dropped, Incident, Selected
from langchain_promptopt.protocols import PartialScoring
from langchain_promptopt.types import attempts_by_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt.types import Attempt, Candidate, Rejection, Stop, StopKind

PAIRS = 20
"""Children by marks, each paired with its parent, before their mean gain counts as evidence (spec 1.6)."""

_ANSWERS = {"tag_leak": "marks stripped", "effectively_global": "marks trimmed"}
_STOPS: dict[StopKind, str] = {"overfitting": "overfitting", "saturated": "dev_saturated", "plateau": "plateau"}
"""Ends that are failure signatures, as incidents call them."""


def method_incident(kind: str, action: str, detail: str) -> Incident:
    """An incident of the method itself: nothing is broken, something is noteworthy.

    Args:
        kind: What was noticed, for example "plateau" (spec 1.6).
        action: What is done about it.
        detail: One sentence with the figures.
    """
    return Incident(role="method", kind=kind, retryable=False, action=action, detail=detail)


def report_remarks(run: Run, remarks: Iterable[Rejection]) -> None:
    """Report what a step noticed and corrected by itself."""
    for r in remarks:
        run.emit(method_incident(r.rule, _ANSWERS.get(r.rule, "noted"), r.detail))


def report_stop(run: Run, stop: Stop) -> None:
    """Report an end that is a failure signature (overfitting, saturation, plateau), or the budget's."""
    if stop.kind == "budget":
        run.emit(Incident(role="engine", kind="budget", retryable=True, action="stop search", detail=stop.detail))
    elif stop.kind in _STOPS:
        run.emit(method_incident(_STOPS[stop.kind], "stop search", stop.detail))


def report_global_step(run: Run, step: int, stalled: int) -> None:
    """Report that a local method takes a global step, once a step whichever proposal comes first.

    Args:
        run: The run.
        step: Number of the step.
        stalled: Steps since the best score last rose.
    """
    if ("global", step) not in run.state.reported:
        run.state.reported.add(("global", step))
        detail = f"step {step}: no gain for {stalled} {'step' if stalled == 1 else 'steps'}"
        run.emit(method_incident("plateau", "one global step", detail))


def marks_astray(trajectory: Sequence[Attempt]) -> str | None:
    """Why marks count as no better than chance: enough children by marks, and no gain over their parents on average."""
    gains = []
    for a in trajectory:
        if a.candidate.scope == "spans" and a.candidate.parents and a.n:
            gains.append(a.gain)
    if len(gains) < PAIRS or sum(gains) > 0:
        return None
    return f"{len(gains)} children by marks gained {sum(gains) / len(gains):+.3f} on average"


def report_astray(run: Run, why: str | None) -> bool:
    """Whether marks went astray; the first time, this is reported."""
    if why is not None and ("astray", 0) not in run.state.reported:
        run.state.reported.add(("astray", 0))
        run.emit(method_incident("irrelevant_tags", "wider marks", why))
    return why is not None


@dataclass
class Archive:
    """Attempts of one search. `best` holds the leader after each step, the baseline's step first."""

    run: Run
    trajectory: list[Attempt] = field(default_factory=list)
    kept: tuple[Attempt, ...] = ()
    best: list[Attempt] = field(default_factory=list)
    dropped: list[dict[str, str]] = field(default_factory=list)
    """Candidates that did not survive the last step, and why."""
    remembered: dict[str, dict[Candidate, float]] = field(default_factory=dict)
    """Children that trials remember, with their gains, by parent."""
    refused: dict[str, str] = field(default_factory=dict)
    """Candidates of this step that were not compared, and why."""
    _met: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of a leader and the one before it that were measured again."""

    def begin(self, first: Attempt, seeds: Sequence[Attempt]) -> None:
        """The baseline and the candidates beside it; `seeds` may hold the baseline again, measured further."""
        # of two attempts of one candidate the later one counts: it has seen more rows
        self.trajectory = list(attempts_by_id((first, *seeds)).values())
        left = sorted((a for a in self.trajectory if not a.out), key=lambda a: -a.score)
        self._choose(left)
        self.best = left[:1]
        self._compare_with(left[0])

    @property
    def leader(self) -> Attempt:
        """The best so far."""
        return self.best[-1]

    @property
    def stalled(self) -> int:
        """Steps since the leader last changed for a better one."""
        # some rules let a weaker attempt lead (FreeWalk): that is no gain
        gains = []
        for i, a in enumerate(self.best):
            if i == 0 or a.score > self.best[i - 1].score:
                gains.append(i)
        return len(self.best) - 1 - gains[-1]

    def rival(self, *, idle: bool) -> Attempt | None:
        """The leader before this one, to be measured again where few rows decided and nothing was gained since.

        `idle` says that there is nothing else to do. Each pair is measured again once; `admit` notes it.
        """
        # luck on a few rows can make a leader; once it has seen every row there is nothing to check
        before = [a for a in self.best if a.candidate.id != self.leader.candidate.id]
        scoring = self.run.recipe.scoring
        if not before or not isinstance(scoring, PartialScoring) or self.leader.n >= len(self.run.data["dev"]):
            return None
        due = idle or self.stalled >= scoring.still
        return before[-1] if due and self._pair(before[-1]) not in self._met else None

    def _pair(self, rival: Attempt) -> tuple[str, str]:
        return self.leader.candidate.id, rival.candidate.id

    def admit(self, scored: Sequence[Attempt], t: int, rival: Attempt | None = None) -> None:
        """Take the attempts of step `t`, and those measured further; decide which stay and which leads.

        Args:
            scored: Attempts with their scores after this step; known ones replace what is stored.
            t: Number of the step, from 1.
            rival: The earlier leader that was measured again beside this one; None in most steps.
        """
        if rival is not None:
            self._met.add(self._pair(rival))
        at = {a.candidate.id: i for i, a in enumerate(self.trajectory)}
        fresh = []
        for attempt in scored:
            measured = self._with_gain(attempt)
            if measured.candidate.id in at:
                self.trajectory[at[measured.candidate.id]] = measured
            else:
                fresh.append(measured)
        # a rival that was measured again may take the lead back, so it competes with the fresh attempts
        met = [self.trajectory[at[rival.candidate.id]]] if rival is not None else []
        old = {a.candidate.id: self.trajectory[at[a.candidate.id]] for a in (*self.kept, *met)}
        self.trajectory += fresh
        selection = self.run.recipe.search.admit(tuple(old.values()), fresh, t, self.run.recipe.incumbent)
        self._choose(selection.kept)
        leader = self.trajectory[at[self.leader.candidate.id]]
        for challenger in sorted([*fresh, *met], key=lambda a: -a.score):
            if self.run.recipe.incumbent.accepts(challenger, leader):
                leader = challenger
        self.best.append(leader)
        self._compare_with(leader)
        left_out = {**self.refused, **selection.dropped}
        self.dropped = [{"candidate_id": i, "why": why} for i, why in left_out.items()]
        dropped = tuple(starmap(Dropped, left_out.items()))
        self.run.emit(Selected(step=t, kept=tuple(a.candidate.id for a in self.kept), dropped=dropped))

    def _compare_with(self, leader: Attempt) -> None:
        """Bring all scores on the leader's scale: attempts may have seen different rows."""
        self.trajectory = list(self.run.recipe.scoring.comparable(self.trajectory, leader))
        by_id = attempts_by_id(self.trajectory)
        self.best = [by_id[a.candidate.id] for a in self.best]
        self.kept = tuple(by_id[a.candidate.id] for a in self.kept)

    def _choose(self, kept: Sequence[Attempt]) -> None:
        """The survivors, the first of them marked as the one the search goes on from."""
        lead = kept[0].candidate.id if kept else None
        self.trajectory = [replace(a, chosen=True) if a.candidate.id == lead else a for a in self.trajectory]
        by_id = attempts_by_id(self.trajectory)
        self.kept = tuple(by_id[a.candidate.id] for a in kept)

    def _with_gain(self, attempt: Attempt) -> Attempt:
        parents = []
        for a in self.trajectory:
            if a.candidate.id in attempt.candidate.parents:
                parents.append(a)
        if not parents:
            return attempt
        # paired: rows differ more in difficulty than prompts do in quality
        shared = [i for i in attempt.by_example if i in parents[0].by_example]
        gain = sum(attempt.by_example[i] - parents[0].by_example[i] for i in shared) / len(shared) if shared else 0.0
        return replace(attempt, gain=gain)
