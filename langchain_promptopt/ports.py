"""The five ports to the outside: where rows come from, cells run, a run is kept, watched and published.

Each has a conformance class in `langchain_promptopt.testing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_promptopt.types import RowUse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain_promptopt.events import Event
    from langchain_promptopt.types import Candidate, Cell, Example, Note, Outcome, PromptSet, Reading


@dataclass(frozen=True)
class DataSet:
    """Rows by split, and what was noticed while loading them.

    Attributes:
        splits: Rows by split.
        source: Where they come from, for messages and reports.
        as_of: Their version: LangSmith's, else a hash.
        problems: What is wrong with rows that were left out.
        notes: What a user should know about them.
        use: What the prompts read of a row; rows are compared by that alone.
        split_by: The reading by which rows were split here; None where the data gives the splits.
        spare: Columns that no setting names: only a prompt or an evaluator can make use of them.
        made: How splits that the data does not name were made, by split: "by hash", "from train", "from dev".
    """

    splits: Mapping[str, tuple[Example, ...]]
    source: str
    as_of: str | None = None
    problems: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[Note, ...] = ()
    use: RowUse = field(default_factory=RowUse)
    split_by: Reading | None = None
    spare: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, split: str) -> tuple[Example, ...]:
        return self.splits.get(split, ())

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples of all splits, one split after the other."""
        found: list[Example] = []
        for rows in self.splits.values():
            found.extend(rows)
        return tuple(found)


class ExampleSource(Protocol):
    """Port 1. Where rows come from."""

    def load(self) -> DataSet:
        """All rows, checked. Raises DataError with position and field."""
        ...


@dataclass(frozen=True)
class Job:
    """A cell with what is needed to run it anywhere."""

    cell: Cell
    candidate: Candidate
    example: Example


@runtime_checkable
class Executor(Protocol):
    """Port 2. Runs cells: here, in threads, or on other machines."""

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run every job, in any order, calling `done` once for each as soon as it is known."""
        ...


class Store(Protocol):
    """Port 3. The append-only record of a run."""

    def append(self, event: Event) -> None:
        """Add one event; on return it survives the death of this process."""
        ...

    def events(self) -> Iterable[Mapping[str, Any]]:
        """All lines so far as {"seq", "time", "type", "data"}."""
        ...


class Observer(Protocol):
    """Port 4. Watches; cannot steer."""

    def on_event(self, event: Event) -> None:
        """Called after the event was stored. Exceptions are logged once and ignored."""
        ...


class PromptSink(Protocol):
    """Port 5. Where a winner is published."""

    def push(self, prompts: PromptSet, *, message: str, parent: str | None, tag: str | None) -> str:
        """Commit the prompts and return the commit.

        Args:
            prompts: The prompts to commit.
            message: The commit message.
            parent: The commit that must be the head; None where the prompt is new.
            tag: Name to set on the new commit; None for none.

        Raises:
            ConflictError: `parent` is not the head.
        """
        ...
