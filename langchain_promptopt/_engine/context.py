"""What a run works with, and the one place where events leave the engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from langchain_promptopt.events import ScoredRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt._engine.models import OptimizerModel
    from langchain_promptopt._runtime.ledger import Ledger
    from langchain_promptopt._runtime.tracing import Traces
    from langchain_promptopt.events import Event
    from langchain_promptopt.ports import DataSet, Executor, Observer
    from langchain_promptopt.recipe import Gate, Recipe
    from langchain_promptopt.types import Candidate, Cell, Example, Outcome, PromptSet, Rejection

_log = logging.getLogger("langchain_promptopt")


class Journal(Protocol):
    """A Store that can also say what it already holds, for replay."""

    def append(self, event: Event) -> None:
        """Add one event, or recognise it as replayed."""

    @property
    def calls(self) -> Mapping[str, Mapping[str, object]]:
        """Journaled optimizer replies by key."""

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Journaled outcomes by cell."""


@runtime_checkable
class Replayed(Protocol):
    """What a Journal whose `cells` were there before the run has besides."""

    def again(self, cell: Cell) -> None:
        """The journaled row of this cell is used: it counts as appended again, and nothing is written."""


@dataclass(frozen=True)
class Objective:
    """How several evaluator scores become the one number the search looks at."""

    primary: str | None
    weights: Mapping[str, float] = field(default_factory=dict)

    def value(self, scores: Mapping[str, float]) -> float:
        """The primary metric, or the weighted mean."""
        if self.weights:
            total = sum(self.weights.values())
            return sum(w * scores[m] for m, w in self.weights.items()) / total
        return scores[self.primary] if self.primary is not None else next(iter(scores.values()))


@dataclass
class Run:
    """Everything one run needs; built once, then only read (the archive lives in the loop)."""

    run_id: str
    recipe: Recipe
    seed: int
    gate: Gate
    data: DataSet
    baseline: Candidate
    objective: Objective
    journal: Journal
    executor: Executor
    optimizer: OptimizerModel
    ledger: Ledger
    renders: Callable[[PromptSet], Rejection | None]
    observers: Sequence[Observer] = ()
    max_failure_rate: float = 0.05
    test_open: bool = False
    step: int = 0
    traces: Traces = field(default_factory=dict)
    """Evaluation traces made by this process, by candidate and split; empty where nobody listens."""
    busy: int = 0
    """Pieces of work under way that need no outcomes: proposals being written."""
    told: set[tuple[str, int]] = field(default_factory=set)
    """Signatures that were told already, by kind and step."""
    _deaf: set[int] = field(default_factory=set)
    _by_id: dict[str, Mapping[str, Example]] = field(default_factory=dict)

    def emit(self, event: Event) -> None:
        """Store the event, then show it to the observers; an observer that raises is logged once and left out."""
        self.journal.append(event)
        self._show(event)

    def again(self, outcome: Outcome) -> None:
        """As `emit` for a row that came from the journal, so is there already."""
        if self._replayed is not None:
            self._replayed.again(outcome.cell)
        if self.observers:
            self._show(ScoredRow.of(outcome))

    @cached_property
    def _replayed(self) -> Replayed | None:
        return self.journal if isinstance(self.journal, Replayed) else None

    def _show(self, event: Event) -> None:
        for i, observer in enumerate(self.observers):
            if i in self._deaf:
                continue
            try:
                observer.on_event(event)
            except Exception:  # noqa: BLE001 - style H8: observers watch, they cannot stop a run
                self._deaf.add(i)
                _log.exception("observer %r raised and is not called again", observer)

    def examples(self, split: str) -> Mapping[str, Example]:
        """Rows of a split by id, in their order. The test split is sealed until the gate opens it (N6)."""
        if split == "test" and not self.test_open:
            from langchain_promptopt.errors import PromptOptError

            msg = "the test split was read before the gate opened it"
            raise PromptOptError(msg)
        known = self._by_id.get(split)
        if known is None:
            known = self._by_id[split] = {e.id: e for e in self.data[split]}
        return known
