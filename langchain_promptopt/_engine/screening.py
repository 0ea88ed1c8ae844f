"""Children tried on the rows they were made from, and their edits joined: cheap, before any dev row is spent."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt._engine.line import Line, made_from
from langchain_promptopt._engine.tasks import together
from langchain_promptopt.events import Identified
from langchain_promptopt.protocols import Trial
from langchain_promptopt.steps.base import tagged
from langchain_promptopt.types import Attempt, Candidate, Draft, Edit, Workpiece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.spending import Spending


@dataclass
class Screen:
    """The trials of one step."""

    run: Run
    evaluations: Evaluations
    spending: Spending
    step: int

    async def passed(self, fresh: Sequence[Candidate], plan: Sequence[tuple[Attempt, list[Line]]]) -> list[Candidate]:
        """What goes on to dev: children that helped on their own evidence, and joined ones."""
        by_parent: defaultdict[str, list[Candidate]] = defaultdict(list)
        for child in fresh:
            by_parent[child.parents[0]].append(child)
        out: list[Candidate] = []
        for parent, lines in plan:
            children = by_parent[parent.candidate.id]
            rows = {c.id: self._rows(c, lines) for c in children}
            paid = [c for c in children if self.spending.claim(self.step, cells=len(rows[c.id]))]
            tried = await together(self._trial(parent, c, rows[c.id]) for c in paid)
            if self.run.recipe.proposals.earns:
                tried = [await self._earned(lines[0], t) for t in tried]
            screening = self.run.recipe.proposals.screened(tried)
            for edits in screening.joined:
                self._say_joined(parent, edits)
                out += self._joined(lines[0], edits)
            out += screening.kept
        return out

    def _rows(self, child: Candidate, lines: Sequence[Line]) -> list[str]:
        """The errors a child was made from, then the rows shown beside them that must stay right."""
        errors = list(dict.fromkeys(i for e in child.edits for i in e.example_ids))
        beside = (
            s.example_id
            for b in (line.batch for line in lines)
            for s in b.correct
            if {*errors} & {e.example_id for e in b.errors}
        )
        train = self.run.examples("train")
        return [i for i in dict.fromkeys((*errors, *beside)) if i in train][: self.run.recipe.proposals.screening]

    async def _trial(self, parent: Attempt, child: Candidate, rows: Sequence[str]) -> Trial:
        await self.evaluations.ensure(child, "train", rows)
        before, after = (self.evaluations.primary(c, "train") for c in (parent.candidate, child))
        return Trial(child, _of(before, rows), _of(after, rows))

    def _say_joined(self, parent: Attempt, edits: tuple[Edit, ...]) -> None:
        """The places of several identifications together: the record then shows where the joined child may differ."""
        spans = [
            {
                "prompt": e.span.prompt,
                "message": e.span.message,
                "start": e.span.start,
                "end": e.span.end,
                "text": e.old,
            }
            for e in edits
        ]
        shown, _tag = tagged(parent.candidate.prompts, tuple(e.span for e in edits))
        self.run.emit(
            Identified(candidate_id=parent.candidate.id, protocol="joined", spans=spans, tagged=shown, step=self.step)
        )

    async def _earned(self, line: Line, trial: Trial) -> Trial:
        """The trial of the child without the edits that no won row needs."""
        child = trial.candidate
        won = [i for i, s in trial.after.items() if s > trial.before.get(i, s)]
        if child.scope == "global" or len(child.edits) < 2 or not won or trial.gain <= 0:
            return trial
        needed = [e for e in child.edits if await self._needs(line, trial, e, won)]
        if not needed or len(needed) == len(child.edits):
            return trial
        lean = self._joined(line, tuple(needed))
        return replace(trial, candidate=lean[0]) if lean else trial

    async def _needs(self, line: Line, trial: Trial, edit: Edit, won: Sequence[str]) -> bool:
        """Whether a won row is lost again without this edit; yes where the budget cannot tell."""
        without = self._joined(line, tuple(e for e in trial.candidate.edits if e is not edit))
        if not without or not self.spending.claim(self.step, cells=len(won)):
            return True
        await self.evaluations.ensure(without[0], "train", won)
        scores = self.evaluations.primary(without[0], "train")
        return sum(trial.after[i] - scores[i] for i in won if i in scores) > 0

    def _joined(self, line: Line, edits: tuple[Edit, ...]) -> list[Candidate]:
        """The child that all these edits make together, under the same guards as any other."""
        prompts = line.parent.candidate.prompts
        spans = tuple(e.span for e in edits)
        draft = Draft(prompts.apply(edits), edits, 0.0)
        piece = Workpiece(prompts, batch=line.batch, allowance=line.allowance, spans=spans, drafts=(draft,))
        return made_from(self.run, line, piece)


def _of(scores: Mapping[str, float], rows: Sequence[str]) -> dict[str, float]:
    return {i: scores[i] for i in rows if i in scores}
