"""A2. Which rows a proposal is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._collections import parted
from langchain_promptopt.types import Batch, Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random
    from typing import TypeAlias

    Before: TypeAlias = Mapping[str, tuple[float, ...]] | None


def failed(shown: Shown) -> bool:
    """Whether the row counts as an error."""
    return shown.score < 1.0


@dataclass(frozen=True)
class NoEvidence:
    """The prompt alone (APE's paraphrase; blind tags)."""

    def wanted(self, ids: Sequence[str], rng: Random, before: Before = None) -> tuple[str, ...]:  # noqa: ARG002
        """No outcomes are needed.

        Args:
            ids: Not used.
            rng: Not used.
            before: Not used.
        """
        return ()

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:  # noqa: ARG002
        """Empty batches, one per proposal.

        Args:
            rows: Not used.
            bare: Not used.
            m: How many batches are asked for.
            rng: Not used.
        """
        return (Batch(),) * m


@dataclass(frozen=True)
class ErrorBatches:
    """Batches of errors on train rows (PE2: hard negatives); `correct` adds rows that must stay right.

    Batches differ from each other while there are enough errors. Without any error there is no batch,
    so no optimizer call is made (A5).

    With `sample` only some rows are run: that many for a prompt without a past; later the rows that
    its ancestors failed, and `fresh` rows that none was run on. Rows that failed `give_up` times in the
    line come last: their label may be wrong, but where several rules are missing a row fails
    until the last of them is found.
    """

    size: int = 2
    correct: int = 0
    sample: int | None = None
    fresh: int = 12
    give_up: int = 3

    def wanted(self, ids: Sequence[str], rng: Random, before: Before = None) -> tuple[str, ...]:
        """All train rows (found once per parent and cached, PE2), or a sample that depends on the scores known so far.

        Args:
            ids: Ids of all train rows, in their order.
            rng: Randomness of this step and this parent.
            before: Train scores by row id: the parent's, then those of its ancestors, nearest first. None where none
                is known.
        """
        if self.sample is None:
            return tuple(ids)
        known = before or {}
        unseen = [i for i in ids if i not in known]
        new = rng.sample(unseen, min(self.fresh if known else self.sample, len(unseen)))
        failing = [i for i in ids if i in known and known[i][0] < 1.0]
        worth = []
        for i in failing:
            if sum(s < 1.0 for s in known[i]) < self.give_up:
                worth.append(i)
        pool = worth if len(worth) >= self.size else failing
        old = rng.sample(pool, min(max(0, self.sample - len(new)), len(pool)))
        return tuple((*old, *new))

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:  # noqa: ARG002
        """Up to m batches; errors are drawn without replacement, and all anew when they run out.

        Args:
            rows: Train rows the parent was run on, with its answers and scores.
            bare: Not used.
            m: How many batches are asked for.
            rng: Randomness of this step and this parent.
        """
        errors, right = parted(rows, failed)
        if not errors:
            return ()
        deck: list[Shown] = []
        out = []
        for _ in range(m):
            if len(deck) < min(self.size, len(errors)):
                deck = rng.sample(errors, len(errors))
            hand, deck = deck[: self.size], deck[self.size :]
            keep = rng.sample(right, min(self.correct, len(right)))
            out.append(Batch(errors=tuple(hand), correct=tuple(keep)))
        return tuple(out)


@dataclass(frozen=True)
class ErrorGroups:
    """APO: predictions on a minibatch of `minibatch` rows, then groups of at most `size` errors."""

    size: int = 4
    minibatch: int = 64

    def wanted(self, ids: Sequence[str], rng: Random, before: Before = None) -> tuple[str, ...]:  # noqa: ARG002
        """The step's minibatch for this parent.

        Args:
            ids: Ids of all train rows, in their order.
            rng: Randomness of this step and this parent.
            before: Not used.
        """
        return tuple(rng.sample(list(ids), min(self.minibatch, len(ids))))

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:  # noqa: ARG002
        """The groups, each drawn from all errors of the minibatch; none without errors (A5).

        Args:
            rows: Train rows the parent was run on, with its answers and scores.
            bare: Not used.
            m: How many batches are asked for.
            rng: Randomness of this step and this parent.
        """
        errors = list(filter(failed, rows))
        if not errors:
            return ()
        found: list[Batch] = []
        for _ in range(m):
            found.append(Batch(errors=tuple(rng.sample(errors, min(self.size, len(errors))))))
        return tuple(found)


@dataclass(frozen=True)
class RandomBatches:
    """Random rows without outcomes, drawn anew for each proposal (OPRO's exemplars)."""

    size: int = 3

    def wanted(self, ids: Sequence[str], rng: Random, before: Before = None) -> tuple[str, ...]:  # noqa: ARG002
        """No outcomes are needed.

        Args:
            ids: Not used.
            rng: Not used.
            before: Not used.
        """
        return ()

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:  # noqa: ARG002
        """Fresh draws.

        Args:
            rows: Not used.
            bare: All train rows, without answers.
            m: How many batches are asked for.
            rng: Randomness of this step and this parent.
        """
        found: list[Batch] = []
        for _ in range(m):
            found.append(Batch(formats=tuple(rng.sample(list(bare), min(self.size, len(bare))))))
        return tuple(found)


@dataclass(frozen=True)
class FormatExamples:
    """The same few rows at every step, only to show the task (GPO: 3); no train row is ever run (G9)."""

    size: int = 3

    def wanted(self, ids: Sequence[str], rng: Random, before: Before = None) -> tuple[str, ...]:  # noqa: ARG002
        """No outcomes are needed.

        Args:
            ids: Not used.
            rng: Not used.
            before: Not used.
        """
        return ()

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:  # noqa: ARG002
        """The first rows in their order, m times.

        Args:
            rows: Not used.
            bare: All train rows, without answers.
            m: How many batches are asked for.
            rng: Not used.
        """
        return (Batch(formats=tuple(bare[: self.size])),) * m
