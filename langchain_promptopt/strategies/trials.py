"""A8b. Which children go on to dev: they are tried on train rows first, where the gain of a good edit is largest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from langchain_promptopt._collections import pick
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt.protocols import NoTrials
from langchain_promptopt.recipe import at_least
from langchain_promptopt.types.edits import kept_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.protocols import Family, TrainBench, Trials
    from langchain_promptopt.types import Batch, Candidate, Edit, Span

__all__ = ["KeepRight", "NoTrials", "OwnEvidence"]


@dataclass(frozen=True)
class KeepRight:
    """Only children that still get right what their batch showed as right, then the choice of `inner`."""

    inner: Trials = field(default_factory=NoTrials)

    def rows(self, batch: Batch) -> int:
        """The right rows of the batch, or what the inner trials need."""
        return max(len(batch.correct), self.inner.rows(batch))

    def passing(self, children: int) -> int:
        """As the inner trials."""
        return self.inner.passing(children)

    async def sift(self, family: Family, bench: TrainBench) -> tuple[Candidate, ...]:
        """The inner trials' choice among the children that broke nothing."""
        paid = []
        for batch, children in family:
            paid.append((batch, [c for c in children if bench.claim(len(batch.correct))]))
        kept = []
        for batch, children in paid:
            right = batch.correct_ids
            after = await together(bench.evaluate(c, right) for c in children)
            whole = [c for c, scores in zip(children, after, strict=True) if not _breaks(scores, batch, bench)]
            kept.append((batch, whole))
        return await self.inner.sift(kept, bench)


def _breaks(after: Mapping[str, float], batch: Batch, bench: TrainBench) -> bool:
    """Whether a right row of the batch got worse; the refusal is recorded."""
    right = {s.example_id: s.score for s in batch.correct}
    broken = [i for i in right if i in after and after[i] < right[i]]
    if broken:
        detail = f"{len(broken)} of {len(right)} examples that were right no longer are, the first is {broken[0]!r}"
        bench.refuse("regression", detail)
    return bool(broken)


@dataclass(frozen=True)
class Trial:
    """A child on the rows it was made from: the parent's scores and its own, by example id."""

    candidate: Candidate
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def gain(self) -> float:
        """Rows won minus rows lost."""
        return sum(self.after[i] - self.before[i] for i in self.after if i in self.before)

    @property
    def won(self) -> list[str]:
        """Rows that score higher than under the parent."""
        found: list[str] = []
        for i, score in self.after.items():
            if score > self.before.get(i, score):
                found.append(i)
        return found


@dataclass(frozen=True)
class OwnEvidence:
    """Children are run on the rows they were made from; helpful edits are joined (docs/design/004-robust.md).

    A good local edit rights the very rows that asked for it: on them its effect is near one, on
    all of dev near a hundredth. So a handful of train rows tells good from bad proposals. Only the
    joined child (and the `singles` best of the others) see dev at all.

    Args:
        most: Most train rows a child is tried on.
        singles: Children that go on beside the joined one.
        least_gain: Rows won minus rows lost that a child needs.
        each: Whether an edit without which no won row is lost is taken out.
        patience: From so many steps without gain on, every other step joins what won rows in the steps before, too.
    """

    most: int = 6
    singles: int = 0
    least_gain: float = 1.0
    each: bool = True
    patience: int = 3

    def __post_init__(self) -> None:
        at_least("trials.most", self.most, 1)

    def rows(self, batch: Batch) -> int:
        """The rows of the batch, at most `most`."""
        return min(self.most, len(batch.errors) + len(batch.correct))

    def passing(self, children: int) -> int:
        """One: the joined child, or the best."""
        return min(1, children)

    async def sift(self, family: Family, bench: TrainBench) -> tuple[Candidate, ...]:
        """Children that helped on their own evidence, the joined one last."""
        trials = await self._tried(family, bench)
        if self.each:
            trials = [await self._without_idle_edits(t, bench) for t in trials]
        late = bench.stalled - self.patience
        earlier = dict(bench.remembered) if late >= 0 and late % 2 == 0 else {}
        kept, joined = self.chosen(trials, earlier)
        for trial in trials:
            if trial.gain >= self.least_gain:
                bench.remember(trial.candidate, trial.gain)
        several = sum(t.gain >= self.least_gain for t in trials) + len(earlier)
        child = bench.join(joined, proposals=several) if joined else None
        if child is None and joined:  # tried before, or refused by a guard: the best new child goes on by itself
            best = max(trials, key=lambda t: t.gain, default=None)
            kept, _ = self.chosen([best] if best is not None else [])
        return (child, *kept) if child is not None else kept

    async def _tried(self, family: Family, bench: TrainBench) -> list[Trial]:
        """The trials the budget bears, in canonical order."""
        batches = [batch for batch, _ in family]
        children: list[Candidate] = []
        for _, made in family:
            children.extend(made)
        rows = {c.id: self._own(c, batches) for c in children}
        paid = [c for c in children if bench.claim(len(rows[c.id]))]
        after = await together(bench.evaluate(c, rows[c.id]) for c in paid)
        before = bench.known(bench.parent)
        found: list[Trial] = []
        for c, scores in zip(paid, after, strict=True):
            found.append(Trial(c, pick(before, rows[c.id]), scores))
        return found

    def _own(self, child: Candidate, batches: Sequence[Batch]) -> list[str]:
        """The errors a child was made from, then the rows shown beside them that must stay right."""
        errors = list(dict.fromkeys(chain.from_iterable(e.example_ids for e in child.edits)))
        beside: list[str] = []
        for batch in batches:
            if {*errors} & {*batch.error_ids}:
                beside += batch.correct_ids
        return list(dict.fromkeys((*errors, *beside)))[: self.most]

    async def _without_idle_edits(self, trial: Trial, bench: TrainBench) -> Trial:
        """The trial of the child without the edits that no won row needs."""
        child = trial.candidate
        if child.scope == "global" or len(child.edits) < 2 or not trial.won or trial.gain <= 0:
            return trial
        needed = tuple([e for e in child.edits if await self._needs(trial, e, bench)])
        if not needed or len(needed) == len(child.edits):
            return trial
        lean = bench.join(needed)
        return replace(trial, candidate=lean) if lean is not None else trial

    async def _needs(self, trial: Trial, edit: Edit, bench: TrainBench) -> bool:
        """Whether a won row is lost again without this edit; yes where the budget does not cover the check."""
        without = bench.join(tuple(e for e in trial.candidate.edits if e is not edit))
        if without is None or not bench.claim(len(trial.won)):
            return True
        scores = await bench.evaluate(without, trial.won)
        return sum(trial.after[i] - scores[i] for i in trial.won if i in scores) > 0

    def chosen(
        self, trials: Sequence[Trial], earlier: Mapping[Candidate, float] | None = None
    ) -> tuple[tuple[Candidate, ...], tuple[Edit, ...]]:
        """Children that go on as they are, and edits to join in a further child.

        Those that won rows, best first; of two or more the edits that do not touch are joined. A
        whole rewrite goes on only where it won more rows than every local child did.

        Args:
            trials: Those of this step.
            earlier: Children that won rows in earlier steps from the same parent, with their gains: dev rows
                did not tell them from it one by one, together they may.
        """
        good = sorted((t for t in trials if t.gain >= self.least_gain), key=lambda t: -t.gain)
        gains = {t.candidate: t.gain for t in good} | dict(earlier or {})
        local = [c for c in sorted(gains, key=lambda c: -gains[c]) if c.scope != "global"]
        best = max((gains[c] for c in local), default=0.0)
        whole = [t.candidate for t in good if t.candidate.scope == "global" and t.gain > best]
        joined = kept_apart(_with_joint_insertions(chain.from_iterable(c.edits for c in local)))
        if len(local) < 2 or joined == local[0].edits:
            return (*local[: 1 + self.singles], *whole[:1]), ()
        return (*local[: self.singles], *whole[:1]), joined


def _with_joint_insertions(edits: Iterable[Edit]) -> list[Edit]:
    """The edits; insertions of different texts at one place become one, so that two new rules both stay."""
    at: dict[Span, Edit] = {}
    out: list[Edit] = []
    for edit in edits:
        first = at.get(edit.span)
        if edit.old or first is None:
            at.setdefault(edit.span, edit)
            out.append(edit)
        elif edit.new.strip() not in first.new:
            ids = dict.fromkeys((*first.example_ids, *edit.example_ids))
            reason = "; ".join(dict.fromkeys(filter(None, (first.reason, edit.reason))))
            joint = replace(first, new=first.new + edit.new, reason=reason, example_ids=tuple(ids))
            out[out.index(first)] = at[edit.span] = joint
    return out
