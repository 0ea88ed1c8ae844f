"""The store of a run without a folder, and the face both stores share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt.events import opening_key
from langchain_promptopt.store.lines import cell_of, encode, mark_of, now, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_promptopt.events import Event
    from langchain_promptopt.types import Cell, Outcome


class Record(Protocol):
    """A Store that also answers what a resumed run asks."""

    @property
    def calls(self) -> Mapping[str, Mapping[str, Any]]:
        """Data of `called` events by key; the first of a key counts."""
        ...

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell; the last of a cell counts."""
        ...

    @property
    def opened(self) -> Mapping[str, str]:
        """The mark of the opening of the test rows, by candidate: a record that is another has another."""
        ...

    @property
    def replayed(self) -> int:
        """Events that were already there when they were appended again."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the run had come to its verdict when the record was opened."""
        ...

    @property
    def voided(self) -> int:
        """Tests that were void when the record was opened, those apart that a budget ended."""
        ...

    def append(self, event: Event) -> None:
        """Add one event; on return it survives the death of this process."""
        ...

    def again(self, cell: Cell) -> None:
        """The row of this cell is used by a resumed run; nothing is written."""
        ...

    def events(self) -> Iterator[Mapping[str, Any]]:
        """All lines so far as {"seq", "time", "type", "data"}."""
        ...

    def flush(self) -> None:
        """Return once everything appended would survive a power cut."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


class MemoryStore:
    """Keeps the lines a Journal would write; they die with the process."""

    replayed = 0
    recovered = 0
    finished = False
    voided = 0
    damaged: tuple[str, ...] = ()
    version = ""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._calls: dict[str, Mapping[str, Any]] = {}
        self._cells: dict[Cell, Outcome] = {}
        self.opened: dict[str, str] = {}

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def calls(self) -> Mapping[str, Mapping[str, Any]]:
        """Data of `called` events by key."""
        return self._calls

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell."""
        return self._cells

    def append(self, event: Event) -> None:
        """Add one event."""
        time = now()
        line = encode(len(self._lines) + 1, time, event.type, event.as_json())
        self._lines.append(line)
        if event.type not in {"called", "scored", "opened"}:
            return
        data = json.loads(line)["data"]
        if event.type == "opened":
            key = opening_key(data["candidate_id"], data["attempt"])
            self.opened.setdefault(key, mark_of(time, data["candidate_id"]))
        elif event.type == "called":
            self._calls.setdefault(data["key"], data)
        else:
            self._cells[cell_of(data)] = outcome_of(data)

    def again(self, cell: Cell) -> None:
        """Nothing to do: what is here was written by this process."""

    def events(self) -> Iterator[Mapping[str, Any]]:
        """All lines so far."""
        return (json.loads(line) for line in tuple(self._lines))

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
