"""Where in the file each cell's line stands: all a journal keeps of its rows in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_promptopt.store.lines import decode, outcome_of
from langchain_promptopt.types import Cell, Outcome

_SIZE_BITS = 40


class Cells(Mapping[Cell, Outcome]):
    """Outcomes by cell, read from the file when asked for: 100,000 rows with long outputs stay small in memory.

    A place is one number (offset, size, and whether a resumed run has still to come by), and names
    are shared, so a cell costs about 100 bytes.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at: dict[tuple[str, str, int], dict[str, int]] = {}
        self._names: dict[str, str] = {}
        self._size = 0
        self.waiting = 0
        """Loaded lines that no resumed run has come by."""

    def note(self, cell: Cell, offset: int, size: int, *, loaded: bool = False) -> Mapping[str, Any] | None:
        """Remember the line of this cell; a later line of the same cell counts.

        Returns the data of the line that thereby counts no more, if a resumed run might still repeat it.
        """
        part = (cell.candidate_id, cell.split, cell.repeat)
        rows = self._at.get(part)
        if rows is None:
            rows = self._at[part] = {}
        name = self._names.setdefault(cell.example_id, cell.example_id)
        before = rows.get(name)
        rows[name] = (offset << _SIZE_BITS | size) << 1 | loaded
        self.waiting += loaded
        self._size += before is None
        if before is None or not before & 1:
            return None
        self.waiting -= 1
        return self._read(before)

    def loaded(self, cell: Cell) -> Mapping[str, Any] | None:
        """The data of this cell's line, if a resumed run has still to come by it."""
        place = self._place(cell)
        return self._read(place) if place is not None and place & 1 else None

    def pass_by(self, cell: Cell) -> bool:
        """A resumed run has come by the line of this cell; False where there is none or it had before."""
        place = self._place(cell)
        if place is None or not place & 1:
            return False
        self._at[cell.candidate_id, cell.split, cell.repeat][cell.example_id] = place & ~1
        self.waiting -= 1
        return True

    def _place(self, cell: Cell) -> int | None:
        rows = self._at.get((cell.candidate_id, cell.split, cell.repeat))
        return None if rows is None else rows.get(cell.example_id)

    def _read(self, place: int) -> Mapping[str, Any]:
        at = place >> 1
        line = os.pread(self._fd, at & ((1 << _SIZE_BITS) - 1), at >> _SIZE_BITS)
        data: Mapping[str, Any] = decode(line)["data"]
        return data

    def __getitem__(self, cell: Cell) -> Outcome:
        place = self._place(cell)
        if place is None:
            raise KeyError(cell)
        return outcome_of(self._read(place), cell)

    def get(self, cell: Cell, default: Any = None) -> Any:
        """The outcome of this cell, or `default`: most cells asked for are not there, and a raise is slow."""
        place = self._place(cell)
        return default if place is None else outcome_of(self._read(place), cell)

    def __contains__(self, cell: object) -> bool:
        return isinstance(cell, Cell) and self._place(cell) is not None

    def __iter__(self) -> Iterator[Cell]:
        for (candidate_id, split, repeat), rows in self._at.items():
            for example_id in rows:
                yield Cell(candidate_id, split, example_id, repeat)

    def __len__(self) -> int:
        return self._size
