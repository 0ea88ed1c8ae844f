"""What a report shows of examples: where the new prompt does better or worse, and where an edit is."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import takewhile
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.types import told, told_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.events import RunStarted, ScoredRow
    from langchain_promptopt.types.edits import FinalEdit


Status: TypeAlias = Literal["worse", "better", "wrong", "right", "dropped"]
"""Of an example: "wrong" and "right" are the same before and after; "dropped" has no score on one side."""


@dataclass(frozen=True)
class Scorer:
    """One number from a row's scores: the primary metric, or the weighted mean."""

    primary: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def score(self, scores: Mapping[str, float]) -> float | None:
        """The deciding score; None where the row has none."""
        if self.weights:
            found = {}
            for name, weight in self.weights.items():
                if name in scores:
                    found[name] = weight
            total = sum(found.values())
            return sum(scores[n] * w for n, w in found.items()) / total if total else None
        if self.primary is not None:
            return scores.get(self.primary)
        return next(iter(scores.values()), None)

    @classmethod
    def of(cls, started: RunStarted) -> Scorer:
        """What `run.started` says decides."""
        first = next(iter(started.evaluator_names), None)
        return cls(started.gate.get("primary") or first, started.gate.get("weights") or {})


@dataclass(frozen=True)
class Side:
    """What one prompt did on one row, averaged over repeats."""

    score: float | None
    output: Any = None
    comment: str = ""
    failure: str = ""


@dataclass(frozen=True)
class ComparedRow:
    """One example under both prompts. `inputs` and `expected` are None where the rows were not given."""

    example_id: str
    split: str
    before: Side
    after: Side
    inputs: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] | None = None

    @property
    def change(self) -> float:
        """After minus before; 0 where one side was dropped."""
        if self.before.score is None or self.after.score is None:
            return 0.0
        return self.after.score - self.before.score

    @property
    def status(self) -> Status:
        """What became of the example under the new prompt."""
        if self.before.score is None or self.after.score is None:
            return "dropped"
        if self.change:
            return "better" if self.change > 0 else "worse"
        return "right" if self.after.score >= 1 else "wrong"

    def as_json(self) -> dict[str, Any]:
        """Plain values; inputs and reference have a key each, as `inputs.NAME` and `expected.NAME`."""
        texts = {"inputs": self.inputs or {}, "expected": self.expected or {}}
        columns = {}
        for kind, values in texts.items():
            for name, value in values.items():
                columns[f"{kind}.{name}"] = value
        return {
            "example_id": self.example_id,
            "split": self.split,
            "status": self.status,
            "score_before": self.before.score,
            "score_after": self.after.score,
            **columns,
            "output_before": self.before.output,
            "output_after": self.after.output,
        }


@dataclass(frozen=True)
class ComparedRows:
    """The paired rows of a split."""

    split: str
    all: tuple[ComparedRow, ...]

    def without_text(self) -> ComparedRows:
        """The same rows by id and score alone."""

        def bare(row: ComparedRow) -> ComparedRow:
            before, after = (replace(side, output=None, comment="", failure="") for side in (row.before, row.after))
            return ComparedRow(row.example_id, row.split, before, after)

        return ComparedRows(self.split, tuple(map(bare, self.all)))

    @property
    def better(self) -> tuple[ComparedRow, ...]:
        """Largest gain first."""
        ranked = sorted(self.all, key=lambda row: (-row.change, row.example_id))
        return tuple(takewhile(lambda row: row.change > 0, ranked))

    @property
    def worse(self) -> tuple[ComparedRow, ...]:
        """Largest loss first."""
        ranked = sorted(self.all, key=lambda row: (row.change, row.example_id))
        return tuple(takewhile(lambda row: row.change < 0, ranked))

    @property
    def same(self) -> int:
        """Rows without a difference."""
        return len(self.all) - len(self.better) - len(self.worse)


@dataclass(frozen=True)
class AnswerCost:
    """What one answer costs on average under a prompt."""

    input_tokens: float
    output_tokens: float
    usd: float | None
    n: int


def latest_cells(rows: Iterable[ScoredRow]) -> list[ScoredRow]:
    """One row for each cell; a later line replaces an earlier one."""
    latest = {}
    for row in rows:
        # A tuple, as `row.cell` would be slower to make: there may be 100,000 rows.
        latest[row.candidate_id, row.split, row.example_id, row.repeat] = row
    return list(latest.values())


def paired_rows(
    cells: Iterable[ScoredRow],
    pair: tuple[str, str],
    split: str,
    scorer: Scorer,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
) -> ComparedRows:
    """Rows of a split that both candidates were run on.

    Args:
        cells: The rows of the run, as `latest_cells` gives them.
        pair: Ids of the old and the new candidate.
        split: "train", "dev", "val" or "test".
        scorer: Makes one number of a cell's scores.
        examples: Inputs and expected outputs by example id; None leaves the texts out.
    """
    sides: dict[str, dict[str, list[ScoredRow]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell.split == split and cell.candidate_id in pair:
            sides[cell.example_id][cell.candidate_id].append(cell)
    known = examples or {}
    rows = []
    for example_id, found in sides.items():
        if all(map(found.get, pair)):
            rows.append(
                ComparedRow(
                    example_id,
                    split,
                    _side(found[pair[0]], scorer),
                    _side(found[pair[1]], scorer),
                    _told(known.get(example_id, {}).get("inputs")),
                    _expected(known.get(example_id, {})),
                )
            )
    return ComparedRows(split, tuple(rows))


def _expected(example: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return _told(example.get("outputs", example.get("expected")))


def _told(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if values is None else told_fields(values)


def _side(cells: Sequence[ScoredRow], scorer: Scorer) -> Side:
    scores = []
    failure = ""
    for cell in cells:
        score = cell_score(cell, scorer)
        if score is not None:
            scores.append(score)
        if cell.failure is not None and not failure:
            failure = f"{cell.failure.kind}: {cell.failure.message}"
    shown = cells[0]
    comments = "; ".join(f"{name}: {text}" for name, text in shown.comments.items() if text)
    return Side(fmean(scores) if scores else None, told(shown.output), comments, failure)


def cell_score(cell: ScoredRow, scorer: Scorer) -> float | None:
    """What a cell counts: 0 where the prompt is to blame for a failure, None where the row was dropped."""
    if cell.failure is not None:
        return 0.0 if cell.failure.scored_zero else None
    return scorer.score(cell.scores)


def answer_cost(cells: Iterable[ScoredRow], candidate_id: str, split: str) -> AnswerCost | None:
    """Mean tokens and money of one answer, over the cells that were really run.

    Args:
        cells: The rows of the run; failed and cached ones do not count.
        candidate_id: The candidate that answered.
        split: The split to look at.

    Returns:
        The means; None where no cell of these was run.
    """
    used = []
    for cell in cells:
        if cell.candidate_id == candidate_id and cell.split == split and cell.usage.calls > 0 and cell.failure is None:
            used.append(cell.usage)
    if not used:
        return None
    prices = [usage.usd for usage in used if usage.usd is not None]
    usd = fmean(prices) if len(prices) == len(used) else None
    tokens_in = fmean(usage.input_tokens for usage in used)
    tokens_out = fmean(usage.output_tokens for usage in used)
    return AnswerCost(tokens_in, tokens_out, usd, len(used))


_HEADING = re.compile(r"^#{1,6}[ \t]+(.*\S)[ \t]*$", re.MULTILINE)
_BEFORE, _AFTER = 72, 40
"""Characters of the line shown on either side of a change."""


@dataclass(frozen=True)
class EditPlace:
    """The surroundings of an edit: kept text on its line, what goes and what comes between it.

    Args:
        line: Line in the message's template, from 1.
        heading: The Markdown heading above, or "".
        left: Kept text before, shortened at its start.
        removed: What goes.
        added: What comes.
        right: Kept text behind, shortened at its end.
    """

    line: int
    heading: str
    left: str
    removed: str
    added: str
    right: str

    @property
    def title(self) -> str:
        """The place in words."""
        return f"line {self.line}" + (f', under "{self.heading}"' if self.heading else "")


def edit_place(template: str, edit: FinalEdit) -> EditPlace:
    """The place of an edit in `template`, the baseline's text of its message."""
    head, removed, added, tail = edit.core
    start, end = edit.start + len(head), edit.end - len(tail)
    at_line = start == 0 or template[start - 1] == "\n"
    if at_line and removed.endswith("\n") and (not added or added.endswith("\n")):  # the next line is not concerned
        removed, added, end = removed.removesuffix("\n"), added.removesuffix("\n"), end - 1
    elif removed.startswith("\n") and not added:  # the last line
        removed, start = removed.removeprefix("\n"), start + 1
    left = template[template.rfind("\n", 0, start) + 1 : start]
    stop = template.find("\n", end)
    right = template[end : stop if stop >= 0 else len(template)]
    above = [m.group(1) for m in _HEADING.finditer(template, 0, start)]
    return EditPlace(
        line=template.count("\n", 0, start) + 1,
        heading=above[-1] if above else "",
        left=_ending(left),
        removed=removed,
        added=added,
        right=_beginning(right),
    )


def _ending(text: str) -> str:
    return text if len(text) <= _BEFORE else "… " + text[-_BEFORE:].partition(" ")[2].lstrip()


def _beginning(text: str) -> str:
    return text if len(text) <= _AFTER else text[:_AFTER].rpartition(" ")[0].rstrip() + " …"
