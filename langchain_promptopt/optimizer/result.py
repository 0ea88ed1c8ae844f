"""What a run gives back: the verdict, the edits, and ways to use or undo them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from langchain_promptopt._engine.engine import Verdict
    from langchain_promptopt._langsmith.publish import Winner
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.report.record import Health
    from langchain_promptopt.types import Edit, PromptSet, Stop


@dataclass
class Result:
    """The end of a run (product contract, sections 3 and 4).

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
    outcome: str
    exit_code: int
    test: list[dict[str, Any]]
    edits: tuple[Edit, ...]
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
    summary: list[dict[str, Any]] = field(default_factory=list)
    """What summary evaluators say, by metric and split: baseline, best and n. It decides nothing."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Pages about this run in LangSmith, by what they show."""
    events: Callable[[], Iterable[Mapping[str, Any]]] = field(default=tuple, repr=False)
    judged: Callable[[Sequence[int]], Result] | None = field(default=None, repr=False)
    data: DataSet | None = field(default=None, repr=False)
    """The rows of the run; reports show their texts."""
    _written: list[Any] = field(default_factory=list, repr=False)

    def as_json(self) -> dict[str, Any]:
        """The machine output of product section 4."""
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "run_id": self.run_id,
            "replayed": self.replayed,
            "prompts": self.best.as_json(),
            "test": self.test,
            "summary": self.summary,
            "edits": [e.as_json() for e in self.edits],
            "usage": dict(self.usage),
            "health": self.health.as_json(),
            "warnings": list(self.warnings),
            "applied": self.applied,
            "stopped": self.stopped.as_json() if self.stopped else None,
            "links": dict(self.links),
            "error": None,
        }

    @property
    def health(self) -> Health:
        """Refusals by rule, obedience of the optimizer model, rows whose label is in doubt: read from the record."""
        from langchain_promptopt.report.record import health_of

        return health_of(self.events())

    def select(self, keep: Sequence[int]) -> Result:
        """Only these edits (by index), judged again on the search rows; the gate is not passed by a part.

        Raises ConfigError for an unknown index or a result read back from disk.
        """
        bad = [i for i in keep if not 0 <= i < len(self.edits)]
        if bad:
            msg = f"there is no edit {bad[0]}; there are {len(self.edits)}, counted from 0"
            raise ConfigError(msg)
        if self.judged is None:
            msg = "this result is not attached to its chain and data any more"
            raise ConfigError(msg, mend="Call select on the result that optimize() returned.")
        return self.judged(keep)

    def apply(self, chain: Any, *, force: bool = False) -> None:
        """Write the best prompts into a live chain, all or nothing; `revert` undoes it byte for byte.

        Raises UsageError without a passed gate, unless `force=True`.
        """
        if not self.gate_passed and not force:
            msg = f"the gate did not pass (outcome {self.outcome!r}), so nothing proves these edits"
            raise UsageError(msg, mend="Pass force=True to apply them all the same.")
        from langchain_promptopt._langchain.target import write_into

        self._written.append(write_into(chain, self.best))
        self.applied = True

    def revert(self, chain: Any = None) -> None:  # noqa: ARG002 - what was written remembers where
        """Undo what this result applied, last first, byte for byte."""
        while self._written:
            self._written.pop().restore()
        self.applied = False

    def save(self, folder: str | Path) -> Path:
        """Write the best prompts to a folder that `load_prompts(chain, folder)` reads."""
        from langchain_promptopt._files.saved import save_prompts

        save_prompts(self.best, Path(folder))
        return Path(folder)

    def report(self, path: str | Path, *, show_rows: bool = False) -> Path:
        """Write the report: HTML, or Markdown or JUnit by the file's ending.

        HTML shows the rows' texts. Markdown, which is read by more people, shows them with `show_rows`.
        """
        from langchain_promptopt._data import examples_of
        from langchain_promptopt.report.render import write_report

        examples = None if self.data is None else examples_of(self.data)
        return write_report(list(self.events()), Path(path), examples=examples, show_rows=show_rows)

    def push(self, name: str, *, tag: str | None = None, force: bool = False) -> str:
        """Commit the best prompts to LangSmith under `name` and move `tag` to the commit."""
        if not self.gate_passed and not force:
            msg = f"the gate did not pass (outcome {self.outcome!r}), so nothing proves these edits"
            raise UsageError(msg, mend="Pass force=True to push them all the same.")
        from langchain_promptopt._langsmith.publish import push

        return push(self.winner(), name, tag=tag)

    def winner(self) -> Winner:
        """What `push` commits."""
        from langchain_promptopt._langsmith.publish import winner_of

        prompts = self.baseline, self.best
        return winner_of(self.run_id, prompts, self.test, [e.as_json() for e in self.edits], self.folder)


def table_of(verdict: Verdict | None) -> list[dict[str, Any]]:
    """The gate's entries as plain values."""
    return [dict(m) for m in verdict.metrics] if verdict is not None else []
