"""From runs of production to a prompt that a person approves, watched on its first day, taken back where it is worse.

`advance` does what is due and returns; a scheduler calls it as often as it likes. The state is one file, written
before and after every step, and every step can be repeated: the harvest is a file, the run is replayed from its
journal, and commits and tags are looked up before they are made again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from filelock import FileLock, Timeout

from langchain_promptopt._collections import all_as_json
from langchain_promptopt._engine.search import NOTHING_TO_IMPROVE
from langchain_promptopt._langsmith.production import NO_ROWS, Window
from langchain_promptopt._langsmith.publish import (
    commits_of,
    is_tagged,
    promote_recorded,
    tags_before,
    withdraw_recorded,
)
from langchain_promptopt.errors import BudgetSpent, ConfigError, DataError, UsageError
from langchain_promptopt.optimizer.comparison import TOO_FEW
from langchain_promptopt.pipeline.agreement import refuse_unmeasured
from langchain_promptopt.pipeline.harvesting import harvest
from langchain_promptopt.pipeline.prepare import NEEDED, prepare, start
from langchain_promptopt.store.folder import OWN_FOLDER, private_dir, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.ports import Observer

LoopStage: TypeAlias = Literal[
    "idle", "harvesting", "harvested", "proposed", "approved", "promoted", "watching",
    "withdrawing", "rejecting", "no_gain", "kept", "rolled_back", "rejected",
]  # fmt: skip
CLOSED: frozenset[LoopStage] = frozenset({"idle", "no_gain", "kept", "rolled_back", "rejected"})
"""Steps after which a new night may begin."""
_NIGHTS_KEPT = 100
_STATE = "state.json"
_ROWS = "rows.jsonl"


@dataclass
class LoopState:
    """Where the loop is.

    Attributes:
        step: The last step that was done; the names ending in "ing" are steps that were begun.
        since: When it was done.
        facts: What this night knows: window, run, commits, times, verdicts.
        history: How earlier nights ended, oldest first.
    """

    step: LoopStage = "idle"
    since: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The state for programs."""
        return {"version": 1, **asdict(self)}


class Delivery(Protocol):
    """Where a proposal lies until a person approves it, and how it goes into use and out again."""

    def is_promoted(self) -> bool:
        """Whether a person has put it into use already."""
        ...

    def before(self) -> Mapping[str, str | None]:
        """What is in use now; noted with the proposal, so that `withdraw` can go back to it."""
        ...

    def promote(self, before: Mapping[str, str | None]) -> None:
        """Put it into use. Repeating it is safe."""
        ...

    def withdraw(self) -> None:
        """Put the former prompt into use again. Repeating it is safe."""
        ...

    def sides(self) -> tuple[str, str]:
        """The former and the proposed prompt, by names that `compare` takes."""
        ...


@dataclass(frozen=True)
class TagDelivery:
    """A LangSmith prompt: proposed by the tag that the run moved, put into use by a second one."""

    folder: Path
    tag: str
    fallback: str = ""

    def is_promoted(self) -> bool:
        """Whether the second tag is on the run's commit."""
        return is_tagged(self.folder, self.tag)

    def before(self) -> Mapping[str, str | None]:
        """The commit that the second tag is on."""
        return tags_before(self.folder, self.tag)

    def promote(self, before: Mapping[str, str | None]) -> None:
        """Move the second tag."""
        promote_recorded(self.folder, self.tag, before)

    def withdraw(self) -> None:
        """Move the tags back and commit the former prompt on top."""
        withdraw_recorded(self.folder)

    def sides(self) -> tuple[str, str]:
        """The commit below the run's, and the run's."""
        target, (parent, commit) = next(iter(commits_of(self.folder).items()))
        name = target if "/" in target else f"-/{target}"
        return (f"{name}:{parent}" if parent else self.fallback), f"{name}:{commit}"


@dataclass(frozen=True)
class FileDelivery:
    """A prompt file: proposed as a patch for a pull request, in use once the file holds the new text."""

    folder: Path
    file: Path
    part: str = ""

    def is_promoted(self) -> bool:
        """Whether the file holds the new text: the pull request was merged."""
        from langchain_promptopt._files.rewrite import holds

        old, new = self._pair()
        return holds(self.file, new, old, self.part) and not holds(self.file, old, new, self.part)

    def before(self) -> Mapping[str, str | None]:
        """Nothing: the run knows the former text."""
        return {}

    def promote(self, before: Mapping[str, str | None]) -> None:  # noqa: ARG002 - tags need it
        """Write the new text, unless it is there."""
        self._write(forward=True)

    def withdraw(self) -> None:
        """Write the former text, unless it is there."""
        self._write(forward=False)

    def sides(self) -> tuple[str, str]:
        """Copies of the file with the former and the new text, beside the run's record."""
        from langchain_promptopt._files.rewrite import write_to_file

        old, new = self._pair()
        paths = []
        for name, wanted, other in (("former", old, new), ("new", new, old)):
            copy = self.folder / f"{name}{self.file.suffix}"
            shutil.copyfile(self.file, copy)
            if self.is_promoted() is (name == "former"):
                write_to_file(copy, other, wanted, self.part)
            paths.append(f"{copy}#{self.part}" if self.part else str(copy))
        return paths[0], paths[1]

    def patch(self) -> str:
        """The proposal as `git apply` takes it."""
        from langchain_promptopt._files.rewrite import patch_for_file

        return patch_for_file(self.file, *self._pair(), part=self.part)

    def _write(self, *, forward: bool) -> None:
        from langchain_promptopt._files.rewrite import write_to_file

        old, new = self._pair() if forward else reversed(self._pair())
        if self.is_promoted() is not forward:
            write_to_file(self.file, old, new, self.part)

    def _pair(self) -> tuple[Any, Any]:
        from langchain_promptopt._langsmith.publish import recorded_prompts

        (old,), (new,) = recorded_prompts(self.folder)
        return old, new


@dataclass
class Loop:
    """The loop of one configuration.

    Args:
        config: Names project, prompt, evaluators and models; `[loop]` says what is promoted and how long it is watched.
        now: Gives the time.
        trust_judge: Let a judge decide whatever its agreement with people is.
        observers: Watchers of the runs.
    """

    config: Config
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    trust_judge: bool = False
    observers: Sequence[Observer] = ()
    state: LoopState = field(default_factory=LoopState, init=False)

    @property
    def folder(self) -> Path:
        """Where state and examples lie: `.promptopt/loop`, or beside the runs where those were moved."""
        runs = self.config.runs_dir
        return runs.parent / "loop" if runs.parent.name == OWN_FOLDER else runs / ".loop"

    def read(self) -> LoopState:
        """The state as it was written last. Raises ConfigError where the file cannot be read."""
        path = self.folder / _STATE
        if not path.is_file():
            return LoopState()
        try:
            data = json.loads(path.read_text("utf-8"))
            return LoopState(data["step"], data["since"], data["facts"], data["history"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"the state of the loop cannot be read: {type(error).__name__}"
            mend = "Repair it, or delete it to begin anew; prompts and tags are not touched by that."
            raise ConfigError(msg, where=str(path), mend=mend) from None

    def advance(self, *, approve: bool | None = None) -> LoopState:
        """Do what is due, and return where the loop is then.

        Args:
            approve: A person's answer to the proposal; None is none. False takes a promoted prompt back, too.

        Raises:
            UsageError: There is nothing to approve or reject, settings are missing, or a judge may not decide.
            ConflictError: Somebody else has moved the prompt or its tags.
            UnavailableError: Models or LangSmith are out of reach; the next call goes on.
        """
        private_dir(self.folder)
        try:
            with FileLock(self.folder / "lock", timeout=0):
                self.state = self.read()
                self._answered(approve=approve)
                if self.state.step in CLOSED and approve is None:
                    self._begin()
                while (work := self._WORK.get(self.state.step)) is not None and work(self):
                    pass
                return self.state
        except Timeout:
            msg = "another process is at work on this loop"
            raise UsageError(msg, where=str(self.folder), mend="Wait until it has ended.") from None

    def _move(self, step: LoopStage, **facts: Any) -> bool:
        """Write a step down. What is written is what a later call begins with."""
        state = self.state
        state.step, state.since = step, self.now().isoformat()
        state.facts |= facts
        if step in CLOSED:
            state.history = [*state.history, {"ended": step, "time": state.since, **state.facts}][-_NIGHTS_KEPT:]
        write_whole(self.folder / _STATE, json.dumps(state.as_json(), indent=2, default=str) + "\n")
        return True

    def _answered(self, *, approve: bool | None) -> None:
        if approve is None:
            return
        allowed = {"proposed"} if approve else {"proposed", "promoted"}
        if self.state.step not in allowed:
            msg = f"there is nothing to {'approve' if approve else 'reject'}: the loop is at {self.state.step!r}"
            raise UsageError(msg, where=str(self.folder / _STATE), mend="`promptopt loop --status` shows where it is.")
        self._move("approved" if approve else "rejecting")

    def _begin(self) -> None:
        """A new night, where its window holds time that the last one did not."""
        self.config.require(*NEEDED)
        if self.config.task.prompt is None:
            msg = "the loop proposes a new text of a prompt, and the task is a chain in code"
            mend = "Name the prompt the chain reads (task.prompt, a file or a LangSmith prompt) and its task.model."
            raise ConfigError(msg, where="task.prompt", mend=mend)
        Window.of(self.config.loop.watch, None, self.now())
        window = Window.of(self.config.data.window, self.config.data.as_of, self.now())
        last = self.state.history[-1]["window"].partition("/")[2] if self.state.history else ""
        if last and datetime.fromisoformat(last) >= window.end:
            return
        self.state.facts = {}
        self._move("harvesting", window=f"{window.start.isoformat()}/{window.end.isoformat()}")

    def _harvest(self) -> bool:
        config, facts = self.config, self.state.facts
        try:
            found = harvest(_reading(config, facts["window"]), self.folder / _ROWS, retire=config.loop.retire)
        except DataError as error:
            if error.facts.get("reason") != NO_ROWS:
                raise
            return self._move("no_gain", outcome="no rows", reason=error.what)
        return self._move("harvested", harvest=found.as_json() | {"notes": list(found.notes)})

    def _optimize(self) -> bool:
        config = _on_rows(self.config, self.folder / _ROWS)
        loop = self.config.loop
        measured = refuse_unmeasured(config, loop.people, loop.min_agreement, trust=self.trust_judge)
        try:
            result = start(config).optimize(self.observers)
        except (BudgetSpent, DataError) as error:
            if isinstance(error, DataError) and error.facts.get("reason") != NOTHING_TO_IMPROVE:
                raise
            outcome = "budget" if isinstance(error, BudgetSpent) else NOTHING_TO_IMPROVE
            return self._move("no_gain", outcome=outcome, reason=error.what, run_id=error.facts.get("run_id"))
        told = {"outcome": result.outcome, "run_id": result.run_id, "test": _told(result)}
        told["agreement"] = all_as_json(measured)
        if result.outcome != "improved" or not result.gate_passed:
            return self._move("no_gain", **told)
        told["report"] = str(self._run(result.run_id) / "report.html")
        delivery = self._delivery(result.run_id)
        if isinstance(delivery, FileDelivery):
            write_whole(self.folder / "proposal.patch", delivery.patch())
            told["patch"] = str(self.folder / "proposal.patch")
        # What is in use is noted now: once a person has moved the tag, nobody could say where it was.
        return self._move("proposed", edits=len(result.edits), before=dict(delivery.before()), **told)

    def _wait_for_approval(self) -> bool:
        return self._delivery().is_promoted() and self._move("approved")

    def _promote(self) -> bool:
        self._delivery().promote(self.state.facts["before"])
        return self._move("promoted", promoted=self.now().isoformat())

    def _wait_for_the_watch(self) -> bool:
        promoted = datetime.fromisoformat(self.state.facts["promoted"])
        length = Window.of(self.config.loop.watch, promoted.isoformat(), self.now())
        end = promoted + (length.end - length.start)
        if self.now() < end:
            return False
        return self._move("watching", watched=f"{promoted.isoformat()}/{end.isoformat()}")

    def _watch(self) -> bool:
        """Ask the gate whether the former prompt is better on rows that came after the promotion."""
        facts = self.state.facts
        rows = self.folder / f"watch-{facts['run_id']}.jsonl"
        try:
            harvest(_reading(self.config, facts["watched"]), rows, split="test")
        except DataError as error:
            if error.facts.get("reason") != NO_ROWS:
                raise
            return self._move("kept", watch={"outcome": "no rows", "reason": error.what})
        former, new = self._delivery().sides()
        config = _on_rows(self.config, rows)
        config = config.model_copy(update={"output": config.output.model_copy(update={"push": None, "tag": None})})
        try:
            result = prepare(config).compare(new, former, observers=self.observers)
        except DataError as error:
            if error.facts.get("reason") != TOO_FEW:
                raise
            return self._move("kept", watch={"outcome": "inconclusive", "reason": error.what})
        watch = {"outcome": result.outcome, "run_id": result.run_id, "test": _told(result)}
        worse = result.outcome == "improved"  # the former prompt wins against the one in use
        return self._move("withdrawing" if worse else "kept", watch=watch)

    def _withdraw(self) -> bool:
        self._delivery().withdraw()
        return self._move("rolled_back")

    def _reject(self) -> bool:
        self._delivery().withdraw()
        return self._move("rejected")

    _WORK = {  # noqa: RUF012 - a table of methods, never changed
        "harvesting": _harvest,
        "harvested": _optimize,
        "proposed": _wait_for_approval,
        "approved": _promote,
        "promoted": _wait_for_the_watch,
        "watching": _watch,
        "withdrawing": _withdraw,
        "rejecting": _reject,
    }
    """What is done at each step; False waits."""

    def _run(self, run_id: str) -> Path:
        return self.config.runs_dir / run_id

    def _delivery(self, run_id: str | None = None) -> Delivery:
        config, folder = self.config, self._run(run_id or self.state.facts["run_id"])
        if config.output.push is not None:
            return TagDelivery(folder, config.loop.promote, config.task.prompt or "")
        found = config.prompt_file(config.task.prompt or "")
        if found is None:
            msg = f"a prompt in LangSmith is proposed there, and output.push is not set ({config.task.prompt})"
            raise ConfigError(msg, where="output.push", mend='Set output.push = "owner/name".')
        return FileDelivery(folder, *found)


def _reading(config: Config, window: str) -> Config:
    """The configuration with a fixed window."""
    return config.model_copy(update={"data": config.data.model_copy(update={"window": window, "as_of": None})})


def _on_rows(config: Config, rows: Path) -> Config:
    """The configuration on harvested examples: their columns are the prompt's variables already."""
    plain: dict[str, Any] = {"inputs": {}, "outputs": (), "id": None, "note": None, "splits": {}, "source": str(rows)}
    plain |= dict.fromkeys(("split", "window", "as_of", "filter", "sample", "limit", "reference"))
    plain["group"] = "group" if config.data.group is not None else None
    output = {"tag": config.output.tag or ("staging" if config.output.push is not None else None)}
    langsmith = {"queues": (), "issues": False, "insights": None, "write_splits": False, "experiments": False}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=plain),
            "output": config.output.model_copy(update=output),
            "langsmith": config.langsmith.model_copy(update=langsmith),
        }
    )


def _told(result: Result) -> list[dict[str, Any]]:
    """The gate's figures, the deciding metric first."""
    names = ("metric", "baseline", "best", "difference", "p_value", "n", "verdict")
    rows = []
    for row in result.as_json()["test"]:
        rows.append({name: row.get(name) for name in names})
    return rows
