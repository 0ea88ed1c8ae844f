"""What a run gives back: the verdict, the edits, and ways to use or undo them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import all_as_json, map_values
from langchain_promptopt.errors import ConfigError, ConflictError, UsageError, require
from langchain_promptopt.events import Applied, Moved, RolledBack, dated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from langchain_core.prompts.base import BasePromptTemplate

    from langchain_promptopt._langchain.conversion import Snapshot
    from langchain_promptopt._langsmith.publish import Winner
    from langchain_promptopt.gate import Decision
    from langchain_promptopt.optimizer.answer import Answer, Metric
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.report.record import Health, RunRecord, Tradeoff
    from langchain_promptopt.types import Outcomes, PromptSet, Reason, Stop
    from langchain_promptopt.types.edits import FinalEdit


@dataclass(frozen=True, eq=False)
class _Written:
    """A chain that a result was written into, and the texts it had before."""

    chain: Any
    before: Snapshot


@dataclass(frozen=True)
class _Kept:
    """Events that were read before the result was pickled."""

    events: tuple[Mapping[str, Any], ...]

    def __call__(self) -> tuple[Mapping[str, Any], ...]:
        return self.events


@dataclass(repr=False)
class Result:
    """The end of a run. A notebook shows it as a table of what changed; `pickle` keeps all but the chains.

    Attributes:
        run_id: Hash of what decides the result.
        outcome: "improved", "inconclusive", "no_gain", "budget" or "interrupted".
        exit_code: 0, 3, 4, 130 or 143.
        test: One entry a metric, the primary first; empty when the gate was not opened.
        edits: Baseline to best, with reasons and evidence.
        best: The winner's prompts (the baseline's when nothing won).
        baseline: The prompts the run started from.
        usage: Calls, tokens, money and seconds, in all and by role.
        folder: Where the journal is; None when it was kept in memory.
        replayed: True when a finished run was returned without paying again.
        warnings: What a reader of the verdict should know.
    """

    run_id: str
    outcome: Outcomes
    exit_code: int
    test: list[Metric]
    edits: tuple[FinalEdit, ...]
    best: PromptSet
    baseline: PromptSet
    usage: Mapping[str, Any]
    folder: Path | None = None
    replayed: bool = False
    warnings: tuple[str, ...] = ()
    gate_passed: bool = False
    applied: bool = False
    stopped: Stop | None = None
    """Why the search ended; None where there was no search."""
    reason: Reason | None = None
    """Why the gate decided as it did; None where the test examples were not opened."""
    summary: list[dict[str, Any]] = field(default_factory=list)
    """What summary evaluators say, by metric and split: baseline, best and n. It decides nothing."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Pages about this run in LangSmith, by what they show."""
    written: tuple[str, ...] = ()
    """Files that `save` wrote the winner to."""
    events: Callable[[], Iterable[Mapping[str, Any]]] = field(default=tuple, repr=False)
    judged: Callable[[Sequence[int]], Result] | None = field(default=None, repr=False)
    data: DataSet | None = field(default=None, repr=False)
    """The rows of the run; reports show their texts."""
    _written: list[_Written] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        from langchain_promptopt.report.wording import brief

        return f"<Result {brief(self.outcome, self.test, len(self.edits))}; run {self.run_id}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and each edit with its reason."""
        from langchain_promptopt.report.html import render_summary

        return render_summary(self._record())

    def __getstate__(self) -> dict[str, Any]:
        """All that can be pickled: the events as they are now, and no live chain."""
        return self.__dict__ | {"events": _Kept(tuple(self.events())), "judged": None, "_written": []}

    def _record(self) -> RunRecord:
        from langchain_promptopt._data import examples_of
        from langchain_promptopt.report.record import RunRecord

        record = RunRecord.from_events(self.events(), None if self.data is None else examples_of(self.data))
        return replace(record, replayed=self.replayed)

    @property
    def prompts(self) -> dict[str, BasePromptTemplate[Any]]:
        """The best prompts as new LangChain templates, by name. Text of your code becomes a template, too."""
        from langchain_promptopt._langchain.conversion import build_template

        return {prompt.name: build_template(prompt) for prompt in self.best}

    @property
    def prompt(self) -> BasePromptTemplate[Any]:
        """The best prompt as a new LangChain template, for a chain with one prompt.

        Raises:
            UsageError: The chain has several prompts.
        """
        if len(self.best.prompts) > 1:
            names = ", ".join(repr(prompt.name) for prompt in self.best)
            msg = f"the chain has several prompts: {names}"
            raise UsageError(msg, mend="Take one from result.prompts by its name.")
        return next(iter(self.prompts.values()))

    @property
    def rows(self) -> Any:
        """Each held-out example, then each dev example, that the old and the best prompt answered.

        Returns:
            A pandas DataFrame where pandas is installed, else a list of dicts.
        """
        rows = []
        for shown in self._record().rows.values():
            rows += all_as_json(shown.all)
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows)

    @property
    def by_model(self) -> tuple[dict[str, Any], ...]:
        """One prompt over `task_models`: model, metric, split, baseline, best, difference and n of each."""
        events = tuple(self.events())
        if not events:
            return ()
        from langchain_promptopt.report.record import RunRecord

        return RunRecord.from_events(events).by_model

    @property
    def by_prompt(self) -> tuple[dict[str, Any], ...]:
        """What the edits of each prompt of an app add on the dev examples: prompt, edits, difference, n, better, worse.

        `measured` says how: "all" (no other prompt was edited), "left_out" (the new prompts without these edits),
        "alone" (the old prompts with these edits), "steps" (the sum of the steps that made them), or "".
        """
        events = tuple(self.events())
        if not events:
            return ()
        from langchain_promptopt.report.record import RunRecord

        return RunRecord.from_events(events).by_prompt

    @property
    def pareto(self) -> tuple[Tradeoff, ...]:
        """Score against length and cost: the candidates that none beats in all three, on the dev examples.

        Each has `score`, `tokens`, `usd`, and its `prompts`. Only the chosen one has been tested.
        """
        events = tuple(self.events())
        if not events:
            return ()
        from langchain_promptopt.report.record import RunRecord

        return RunRecord.from_events(events).pareto

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints about this run."""
        return machine_answer(self).as_json()

    @property
    def health(self) -> Health:
        """Refusals by rule, obedience of the optimizer model, examples with a doubtful label: read from the record."""
        from langchain_promptopt.events import EventTable
        from langchain_promptopt.report.record import health_of

        return health_of(EventTable(self.events()))

    def select(self, keep: Sequence[int]) -> Result:
        """Only these edits, judged again on the search examples; the gate is not passed by a part of the edits.

        Args:
            keep: Numbers of edits, from 1 as reports and the command line count: edit 1 is `edits[0]`.

        Returns:
            A result that `apply` takes with `force=True`. It is paid from the run's own budget, and examples the
            run has evaluated are not asked for again; without a table where the budget does not reach.

        Raises:
            ConfigError: There is no edit of that number, or this result was read back from disk.
        """
        if self.judged is None:
            msg = "this result is not attached to its chain and data any more"
            raise ConfigError(msg, mend="Call select on the result that optimize() returned.")
        require("keep", keep, (list, tuple, set, frozenset, range), "result.select([1, 3]): numbers of edits, from 1")
        return self.judged(list(keep))

    def apply(self, chain: Any, *, force: bool = False) -> None:
        """Write the best prompts into a live chain, all or nothing; `revert` undoes it byte for byte.

        Args:
            chain: The chain, prompt or function that was optimized, or another one with the same prompts.
            force: Write also without a passed gate, and over a text that was changed since the run began.

        Raises:
            UsageError: The gate did not pass.
            ConflictError: The chain's text is not the text that the run started from.
            PromptError: The chain lacks a prompt, or its variables or roles differ.
        """
        require("force", force, bool, "force=True, or leave it out")
        if not force:
            self._require_proof("apply")
        self.write(chain, over=force)
        self._note_move([Applied(actor="apply", target="chain", commit=None, candidate_id=self.best.id)])

    def write(self, chain: Any, *, over: bool = False) -> None:
        """As `apply`, without asking whether the gate passed; `over` writes over a changed text."""
        from langchain_promptopt._langchain.discover import differing, write_into

        # A text that is already the new one is no conflict: writing again changes nothing.
        moved = set() if over else set(differing(chain, self.baseline)) & set(differing(chain, self.best))
        if moved:
            msg = f"the text of {_named(moved)} is not the text this run started from"
            mend = "Run again from the text of now, or use result.apply(chain, force=True) to write over it."
            raise ConflictError(msg, where=f"run {self.run_id}", mend=mend)
        self._written.append(_Written(chain, write_into(chain, self.best)))
        self.applied = True

    def revert(self, chain: Any = None, *, force: bool = False) -> None:
        """Undo what this result wrote into `chain`, or into every chain without one, byte for byte.

        Args:
            chain: Where to undo it; other chains keep what was applied to them.
            force: Undo also where the text was changed after it was applied; that change is lost.

        Raises:
            UsageError: This result is applied to other chains, but not to this one.
            ConflictError: The text was changed after it was applied; nothing was written.
        """
        from langchain_promptopt._langchain.discover import differing

        require("force", force, bool, "force=True, or leave it out")
        chosen = [w for w in self._written if chain is None or w.chain is chain]
        if self._written and not chosen:
            msg = "this result is not applied to this chain, but to another one"
            raise UsageError(msg, where=f"run {self.run_id}", mend="Give revert() the chain that apply() was given.")
        moved: set[str] = set()
        if not force:
            moved.update(*(differing(w.chain, self.best) for w in chosen))
        if moved:
            msg = f"the text of {_named(moved)} was changed after this result was applied"
            mend = "Undo that change first, or pass force=True to lose it."
            raise ConflictError(msg, where=f"run {self.run_id}", mend=mend)
        # Newest first: a chain that was written twice must get back its first text.
        for written in reversed(chosen):
            written.before.restore()
            self._written.remove(written)
        self.applied = bool(self._written)
        if chosen and not self.applied:
            self._note_move([RolledBack(actor="revert", target="chain", commit=None, candidate_id=self.baseline.id)])

    def _require_proof(self, verb: str) -> None:
        if not self.gate_passed:
            msg = f"the gate did not pass (outcome {self.outcome!r}), so nothing proves these edits"
            raise UsageError(msg, mend=f"Pass force=True to {verb} them all the same.")

    def save(self, folder: str | Path) -> Path:
        """Write the best prompts to a folder that `load_prompts(chain, folder)` reads."""
        from langchain_promptopt._files.layouts import save_prompts

        require("folder", folder, (str, Path), 'result.save("prompts/")')
        save_prompts(self.best.awake, Path(folder), self.baseline)
        shown = os.path.relpath(folder) if Path(folder).is_relative_to(Path.cwd()) else str(folder)
        files = [Path(shown, path.name).as_posix() for path in sorted(Path(folder).glob("*.json"))]
        self._note_move(Applied(actor="save", target=f, commit=None, candidate_id=self.best.id) for f in files)
        self.written = tuple(dict.fromkeys((*self.written, *files)))
        return Path(folder)

    def _note_move(self, moves: Iterable[Moved]) -> None:
        """Say in the record where the winner went, where it does not say so already."""
        from langchain_promptopt.store import record_moves

        if self.folder is None:
            return
        last = {move.event.target: move.event for move in dated(self.events(), Moved)}
        record_moves(self.folder, [move for move in moves if last.get(move.target) != move])

    def report(self, path: str | Path, *, show_rows: bool = False) -> Path:
        """Write the report: HTML, or Markdown or JUnit by the file's ending.

        HTML shows the examples' texts. Markdown, which is read by more people, shows them with `show_rows`.
        """
        from langchain_promptopt._data import examples_of
        from langchain_promptopt.report.render import write_report

        require("path", path, (str, Path), 'result.report("report.html")')
        examples = None if self.data is None else examples_of(self.data)
        return write_report(list(self.events()), Path(path), examples=examples, show_rows=show_rows)

    def push(self, name: str, *, tag: str | None = None, force: bool = False) -> str:
        """Commit the best prompts to LangSmith.

        Args:
            name: The prompt in LangSmith, "owner/name" or "name".
            tag: The commit tag that is moved to the new commit; None moves none.
            force: Push also without a passed gate.

        Returns:
            The hash of the commit.

        Raises:
            UsageError: The gate did not pass, or there is nothing to push.
            ConflictError: The prompt in LangSmith was changed meanwhile; nothing was written.
        """
        require("force", force, bool, "force=True, or leave it out")
        if not force:
            self._require_proof("push")
        from langchain_promptopt._langsmith.publish import push

        return push(self.winner(), name, tag=tag)

    def winner(self) -> Winner:
        """What `push` commits."""
        from langchain_promptopt._langsmith.publish import winner_of

        prompts = self.baseline, self.best
        return winner_of(self.run_id, prompts, self.test, self.edits, self.folder)


def _named(names: Iterable[str]) -> str:
    """Prompt names for a sentence."""
    found = sorted(names)
    return f"prompt {found[0]!r}" if len(found) == 1 else f"the prompts {', '.join(map(repr, found))}"


def table_of(verdict: Decision | None) -> list[Metric]:
    """The gate's entries as plain values."""
    from langchain_promptopt.optimizer.answer import table

    return table(verdict.metrics) if verdict is not None else []


def machine_answer(result: Result) -> Answer:
    """The machine answer about a run of this process."""
    from langchain_promptopt.optimizer.answer import Answer

    edits = all_as_json(result.edits)
    splits, made = ({}, {}) if result.data is None else (result.data.splits, result.data.made)
    return Answer(
        outcome=result.outcome,
        exit_code=result.exit_code,
        run_id=result.run_id,
        replayed=result.replayed,
        prompts=result.best.awake.as_json(),
        test=result.test,
        summary=result.summary,
        edits=edits,
        usage=dict(result.usage),
        health=result.health.as_json(),
        pareto=all_as_json(result.pareto),
        by_model=result.by_model,
        by_prompt=result.by_prompt,
        warnings=result.warnings,
        applied=result.applied,
        stopped=result.stopped.as_json() if result.stopped else None,
        reason=result.reason.as_json() if result.reason else None,
        splits=map_values(len, splits),
        splits_made=dict(made),
        links=dict(result.links),
        written=result.written,
    )
