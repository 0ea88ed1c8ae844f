"""Outcomes a run knows, by candidate, split and row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from langchain_promptopt._engine.packing import Packer, figures_of, usage_of
from langchain_promptopt.types import Cell, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from langchain_promptopt._engine.packing import Figures

_Rows: TypeAlias = dict[str, bytes | Outcome]


_NONE: tuple[tuple[()], ...] = ((),) * 6


class Totals(NamedTuple):
    """What several rows add up to. `failures` has those that score 0 and those that are dropped."""

    failures: int
    cached: int
    usage: Usage


class Kept:
    """Each cell once. Rows of `train`, from which evidence is drawn, whole; of others the figures.

    A row of figures costs about 150 bytes, its name and its place in the table included; answers
    and comments are in the journal.

    Args:
        order: The rows of a split, in their order.
    """

    def __init__(self, order: Callable[[str], Iterable[str]]) -> None:
        self._order = order
        self._packer = Packer()
        self._parts: dict[tuple[str, str], list[_Rows]] = {}
        self._places: dict[str, dict[str, tuple[int, str]]] = {}

    def add(self, outcome: Outcome) -> None:
        """Keep what became of a cell; a later outcome of the same cell counts."""
        cell = outcome.cell
        repeats = self._parts.setdefault((cell.candidate_id, cell.split), [])
        while len(repeats) <= cell.repeat:
            repeats.append({})
        name = self._placed(cell.split)[cell.example_id][1]
        repeats[cell.repeat][name] = outcome if cell.split == "train" else self._packer.pack(outcome)

    def __contains__(self, cell: Cell) -> bool:
        repeats = self._parts.get((cell.candidate_id, cell.split), ())
        return cell.repeat < len(repeats) and cell.example_id in repeats[cell.repeat]

    def __getitem__(self, cell: Cell) -> Outcome:
        return self._whole(cell, self._parts[cell.candidate_id, cell.split][cell.repeat][cell.example_id])

    def count(self, candidate_id: str, split: str) -> int:
        """Outcomes known, repeats included."""
        return sum(map(len, self._parts.get((candidate_id, split), ())))

    def repeats(self, candidate_id: str, split: str) -> int:
        """How often rows were evaluated, at most."""
        return len(self._parts.get((candidate_id, split), ()))

    def ids(self, candidate_id: str, split: str) -> list[str]:
        """Rows with an outcome, in the split's order, whatever the order of replies."""
        repeats = self._parts.get((candidate_id, split), ())
        found = repeats[0].keys() if len(repeats) == 1 else {i for rows in repeats for i in rows}
        placed = self._placed(split)
        if len(found) == len(placed):
            return list(placed)
        return sorted(found, key=lambda i: placed[i])

    def outcomes(self, candidate_id: str, split: str, example_id: str) -> list[Outcome]:
        """What is known of one row, in the order of the repeats."""
        repeats = self._parts.get((candidate_id, split), ())
        return [
            self._whole(Cell(candidate_id, split, example_id, n), rows[example_id])
            for n, rows in enumerate(repeats)
            if example_id in rows
        ]

    def scores(self, candidate_id: str, split: str) -> Iterator[tuple[str, list[Mapping[str, float]]]]:
        """Rows in the split's order, each with its scores by repeat; a dropped one has none."""
        repeats = self._parts.get((candidate_id, split), ())
        for i in self.ids(candidate_id, split):
            found = [self._scores(rows[i]) for rows in repeats if i in rows]
            yield i, [scores for scores in found if scores]

    def totals(self, candidate_id: str, split: str, only: frozenset[str] | None = None) -> Totals:
        """Failures and usage of all rows known, or of `only` these, added up in the split's order."""
        repeats = self._parts.get((candidate_id, split), ())
        ids = [i for i in self.ids(candidate_id, split) if only is None or i in only]
        spent = [self._spent(rows[i]) for i in ids for rows in repeats if i in rows]
        calls, tokens_in, tokens_out, read, usd, seconds = zip(*(s[2] for s in spent), strict=True) if spent else _NONE
        usage = usage_of((sum(calls), sum(tokens_in), sum(tokens_out), sum(read), sum(usd), sum(seconds)))
        return Totals(sum(s[0] for s in spent), sum(s[1] for s in spent), usage)

    def _placed(self, split: str) -> dict[str, tuple[int, str]]:
        """Rows by id, with their place and the one string that stands for the id everywhere."""
        placed = self._places.get(split)
        if placed is None:
            placed = self._places[split] = {i: (n, i) for n, i in enumerate(self._order(split))}
        return placed

    def _whole(self, cell: Cell, row: bytes | Outcome) -> Outcome:
        return row if isinstance(row, Outcome) else self._packer.unpack(cell, row)

    def _scores(self, row: bytes | Outcome) -> Mapping[str, float]:
        if isinstance(row, Outcome):
            return {} if row.dropped else row.scores
        return self._packer.scores(row)

    def _spent(self, row: bytes | Outcome) -> tuple[bool, bool, Figures]:
        if isinstance(row, Outcome):
            return row.failure is not None, row.cached, figures_of(row.usage)
        return self._packer.spent(row)
