"""The candidates of a run as a report shows them: scores by step, and what each edit and each prompt adds.

What an edit adds is measured where the run scored a prompt with and without it. Otherwise the steps that made it tell,
which may have made others at the same time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import map_values
from langchain_promptopt.report.rows import ComparedRows, Scorer, paired_rows
from langchain_promptopt.types.edits import FinalEdit, compose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt.events import ScoredRow
    from langchain_promptopt.types import Edit, PromptSet


@dataclass(frozen=True)
class Tried:
    """One candidate: where it came from, how it scored in the search, what became of it."""

    id: str
    parent_id: str | None
    step: int
    scope: str
    edits: tuple[Edit, ...]
    prompts: PromptSet
    score: float | None = None
    n: int = 0
    dropped_why: str = ""
    part_of: str = ""
    """The candidate of whose edits these are a part: it was made to see which of them are needed."""


@dataclass(frozen=True)
class Effect:
    """What one step of the search changed on the search rows, and the final edits that it made together."""

    made: Tried
    together: tuple[int, ...]
    rows: ComparedRows


@dataclass(frozen=True)
class StepScore:
    """A step of the search: scores of its new candidates, and the best so far."""

    step: int
    scores: tuple[float, ...]
    best: float


def uneven(candidates: Mapping[str, Tried]) -> bool:
    """Whether scores are means over different numbers of rows: a mean over few rows may be high by luck."""
    return len({tried.n for tried in candidates.values() if tried.score is not None}) > 1


def course(candidates: Mapping[str, Tried], leads: Mapping[int, str]) -> tuple[StepScore, ...]:
    """Scores by step, the baseline as step 0, each with the best so far; where scores are uneven, with the leader's.

    Args:
        candidates: All that were tried, by id.
        leads: The candidate that the search went on from, by step.
    """
    by_step: dict[int, list[float]] = defaultdict(list)
    for tried in candidates.values():
        if tried.score is not None:
            by_step[tried.step].append(tried.score)
    follow = leads if uneven(candidates) else {}
    out: list[StepScore] = []
    for step in sorted({*by_step, *follow}):
        scores = tuple(by_step[step])
        leader = candidates.get(follow.get(step, ""))
        led = None if leader is None else leader.score
        before = [s.best for s in out[-1:]]
        best = max([*scores, *before]) if led is None else led
        out.append(StepScore(step, scores, best))
    return tuple(out)


@dataclass(frozen=True)
class LeftOut:
    """The same prompt without and with one edit, on the search rows.

    Args:
        rows: Old is without the edit.
        others: Edits that both have. The winner may have fewer: those that add nothing are taken out at the end.
    """

    rows: ComparedRows
    others: int


def effects(
    edits: Sequence[FinalEdit], candidates: Mapping[str, Tried], cells: Sequence[ScoredRow], scorer: Scorer
) -> dict[int, tuple[Effect, ...]]:
    """For each final edit, by its number, what the steps that made it changed on the search rows.

    Args:
        edits: The winner's, in order; the first has number 1.
        candidates: All that were tried, by id.
        cells: The rows of the run, as `latest_cells` gives them.
        scorer: Makes one number of a cell's scores.
    """
    made_by: dict[str, list[int]] = defaultdict(list)
    for number, edit in enumerate(edits, start=1):
        for candidate_id in edit.lineage:
            made_by[candidate_id].append(number)
    out: dict[int, list[Effect]] = defaultdict(list)
    for candidate_id, numbers in made_by.items():
        tried = candidates.get(candidate_id)
        if tried is None or tried.parent_id is None:
            continue
        rows = paired_rows(cells, (tried.parent_id, candidate_id), "dev", scorer)
        for number in numbers:
            out[number].append(Effect(tried, tuple(numbers), rows))
    return map_values(tuple, out)


def left_out(
    edits: Sequence[FinalEdit],
    candidates: Mapping[str, Tried],
    pair: tuple[str, str],
    cells: Sequence[ScoredRow],
    scorer: Scorer,
) -> dict[int, LeftOut]:
    """For each final edit that some prompt was scored with and without, what it adds there; by its number.

    Args:
        edits: The winner's, in order; the first has number 1.
        candidates: All that were tried, by id.
        pair: Ids of the baseline and of the winner.
        cells: The rows of the run, as `latest_cells` gives them.
        scorer: Makes one number of a cell's scores.
    """
    known = _Sides(candidates, pair[0], cells, scorer)
    found: dict[int, LeftOut] = {}
    for whole in known.wholes(pair[1]):
        made = known.edits(whole)
        for number, edit in enumerate(edits, start=1):
            others = [e for e in made if not _same(e, edit)]
            if number in found or len(others) != len(made) - 1:
                continue
            rows = known.rows(others, whole)
            if rows.all:
                found[number] = LeftOut(rows, len(others))
    return found


def by_prompt(
    names: Sequence[str],
    edits: Sequence[FinalEdit],
    candidates: Mapping[str, Tried],
    pair: tuple[str, str],
    cells: Sequence[ScoredRow],
    scorer: Scorer,
) -> tuple[dict[str, Any], ...]:
    """What the edits of each prompt add on the search rows.

    `measured` says how: "all" where no other prompt was edited; "left_out" where the winner was scored without them;
    "alone" where they were scored without those of other prompts; "steps" where the steps that made them changed
    nothing else, as the sum of these; "" where none of these was run, or there is no edit. A part of the winner that
    pruning ran on the examples that the edits decided counts as equal on the winner's other ones.

    Args:
        names: The prompts that could be edited.
        edits: The winner's.
        candidates: All that were tried, by id.
        pair: Ids of the baseline and of the winner.
        cells: The rows of the run, as `latest_cells` gives them.
        scorer: Makes one number of a cell's scores.

    Returns:
        For each prompt its name, the number of its edits, the difference of the mean scores, n, examples better and
        worse, and `measured`.
    """
    known, steps = _Sides(candidates, pair[0], cells, scorer), effects(edits, candidates, cells, scorer)
    found = []
    for name in names:
        own = [e for e in edits if e.prompt == name]
        others = [e for e in edits if e.prompt != name]
        how = ""
        rows: list[ComparedRows] = []
        if own:
            numbers = {n for n, e in enumerate(edits, start=1) if e.prompt == name}
            ways = {
                "left_out" if others else "all": [known.rows(others, pair[1])],
                "alone": [known.rows((), known.made(own))],
                "steps": _alone(numbers, steps),
            }
            for way, parts in ways.items():
                if not how and parts and all(one.all for one in parts):
                    how, rows = way, parts
        gain = _gain(rows)
        if how == "left_out":
            # the winner's parts ran only where its edits decided something: elsewhere nothing changes
            n = max(gain["n"], len(known.rows((), pair[1]).all))
            gain |= {"difference": gain["difference"] * gain["n"] / n, "n": n}
        found.append({"prompt": name, "edits": len(own), **gain, "measured": how})
    return tuple(found)


def _gain(parts: Sequence[ComparedRows]) -> dict[str, Any]:
    if not parts:
        return {"difference": None, "n": 0, "better": 0, "worse": 0}
    difference, better, worse = 0.0, 0, 0
    for rows in parts:
        difference += fmean(row.change for row in rows.all)
        better += len(rows.better)
        worse += len(rows.worse)
    n = min(len(rows.all) for rows in parts)
    return {"difference": difference, "n": n, "better": better, "worse": worse}


def _alone(numbers: set[int], steps: Mapping[int, tuple[Effect, ...]]) -> list[ComparedRows]:
    """Rows of the steps that made these final edits; none where a step made another one, too, or was not scored."""
    made: dict[str, Effect] = {}
    for number in sorted(numbers):
        for effect in steps.get(number, ()):
            made[effect.made.id] = effect
    if any(not numbers.issuperset(effect.together) for effect in made.values()):
        return []
    return [effect.rows for effect in made.values()]


def _same(one: FinalEdit, other: FinalEdit) -> bool:
    return (one.span, one.new) == (other.span, other.new)


class _Sides:
    """Finds the scored candidates that have some edits of the baseline, and no others.

    Args:
        candidates: All that were tried, by id.
        seed: The baseline's id.
        cells: The rows of the run, as `latest_cells` gives them.
        scorer: Makes one number of a cell's scores.
    """

    def __init__(self, candidates: Mapping[str, Tried], seed: str, cells: Sequence[ScoredRow], scorer: Scorer) -> None:
        self._candidates = candidates
        self._seed = seed
        self._cells = [cell for cell in cells if cell.split == "dev"]
        self._scorer = scorer

    def wholes(self, best: str) -> list[str]:
        """The winner, and before it what its last edits were taken out of."""
        whole = self._candidates[best].part_of
        return [best, *([whole] if whole in self._candidates else [])]

    def edits(self, candidate_id: str) -> tuple[FinalEdit, ...]:
        """The edits between the baseline and a candidate; none where a step between them is not known."""
        chain: list[tuple[str, Sequence[Edit]]] = []
        at = self._candidates[candidate_id]
        while at.id != self._seed:
            chain.append((at.id, at.edits))
            parent = self._candidates.get(at.parent_id or "")
            if parent is None or len(chain) > len(self._candidates):
                return ()
            at = parent
        return compose(self._prompts, chain[::-1])

    def made(self, edits: Iterable[FinalEdit]) -> str:
        """The id of the baseline with these edits."""
        return self._prompts.apply([e.as_edit() for e in edits]).id

    def rows(self, edits: Iterable[FinalEdit], whole: str) -> ComparedRows:
        """Search rows of the baseline with these edits against those of another candidate."""
        return paired_rows(self._cells, (self.made(edits), whole), "dev", self._scorer)

    @property
    def _prompts(self) -> PromptSet:
        return self._candidates[self._seed].prompts
