"""The two streams: the answer goes to stdout; remarks and the progress of a run go to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias

import typer

from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.report.privacy import visible
from langchain_promptopt.report.record import simulated_roles
from langchain_promptopt.report.wording import money, number, points, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.text import Text

    from langchain_promptopt.events import Event
    from langchain_promptopt.ports import Observer

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help='A run id or its beginning, a folder, or "latest".')
]

Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Do it although the gate did not pass.")]


def ensure_text() -> None:
    """A terminal that cannot show a character gets a question mark, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


_answers: list[TextIO] = []
"""The stream of the machine answer while everything else that is printed goes to stderr."""


@contextmanager
def answer_alone() -> Iterator[None]:
    """Keep stdout for the answer: chains, models and evaluators, and programs they start, may print what they like."""
    sys.stdout.flush()
    with _set_apart() as stream:
        _answers.append(stream)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _answers.pop()


@contextmanager
def _set_apart() -> Iterator[TextIO]:
    """The process's own stdout under another number, and number 1 pointing to stderr meanwhile."""
    try:
        if sys.stdout.fileno() != 1:
            raise OSError
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # captured or closed: then only what Python prints is kept apart
        yield sys.stdout
        return
    stream = os.fdopen(kept, "w", encoding="utf-8", errors="replace")
    try:
        yield stream
    finally:
        with suppress(OSError):  # the reader has left
            stream.flush()
        os.dup2(kept, 1)
        with suppress(OSError):
            stream.close()


def answer_stream() -> TextIO:
    """Where the answer goes."""
    return _answers[-1] if _answers else sys.stdout


def log_is_public() -> bool:
    """Whether what is printed becomes a workflow's log, which is read by more people than the rows are."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def print_json(data: Any) -> None:
    """One JSON document. ASCII only, so that no pipe and no locale can spoil it."""
    out = answer_stream()
    out.write(json.dumps(data, indent=2, default=str) + "\n")
    out.flush()


def print_view(view: RenderableType) -> None:
    """Something drawn by `report.terminal`; a plain `str` is printed as it is, without markup."""
    if isinstance(view, str):
        answer_stream().write(view if view.endswith("\n") else view + "\n")
        return
    console_for(sys.stdout).print(view, soft_wrap=False)


def print_prose(text: str) -> None:
    """Sentences for people, broken at the width of the terminal."""
    from rich.text import Text

    print_view(Text(visible(text)))


def console_for(stream: TextIO) -> Console:
    """A console as wide as its terminal, or as COLUMNS says; never wider. Pipes get 110 columns."""
    from rich.console import Console

    # Rich takes 80 columns for a pipe; no window there is that narrow.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 110
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def print_exact(text: str) -> None:
    """Text that another program reads byte for byte, such as a patch."""
    out = answer_stream()
    out.flush()
    out.buffer.write(text.encode("utf-8", "surrogatepass"))
    out.buffer.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> None:
    """Print a table of values from outside.

    Args:
        columns: The heads of the columns.
        rows: One value a column each.
        numbers: Indices of the columns that are aligned to the right, from 0.
    """
    from langchain_promptopt.report.terminal import table_view

    print_view(table_view(columns, rows, numbers))


def note(text: str) -> None:
    """A remark for people, on stderr."""
    sys.stderr.write(visible(text) + "\n")


def said(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a short answer: one sentence, or the object.

    Args:
        data: The answer for `--json`.
        text: The answer for people.
        as_json: Whether `--json` was given.
    """
    if as_json:
        print_json(data)
    else:
        print_view(visible(text))


@dataclass(frozen=True)
class Expected:
    """Rows that are likely to be scored in the search, rows of the test (both sides), and the most steps.

    `races` says whether candidates see as many rows as it takes, each its own number of them.
    """

    search: int
    test: int
    steps: int
    races: bool = False

    def share(self, searched: int, tested: int, *, testing: bool) -> float:
        """How much is done; the test's part does not count before the test begins.

        Args:
            searched: Rows scored in the search so far.
            tested: Rows of the test scored so far, both sides counted.
            testing: Whether the test has begun.

        Returns:
            A share from 0 to 1.
        """
        done = self.search + min(tested, self.test) if testing else min(searched, self.search)
        return done / max(1, self.search + self.test)


def expected_of(started: Mapping[str, Any]) -> Expected | None:
    """What is to be expected of a run; None for a comparison, or a method whose strategies are not ours."""
    from langchain_promptopt._runtime.estimate import estimate_calls
    from langchain_promptopt.strategies.cost import Sizes, shape_of
    from langchain_promptopt.strategies.registry import load

    if "optimizer" not in started.get("models", {}):
        return None
    rows = started["data"].get("splits", {})
    sizes = Sizes(
        train=rows.get("train", 0),
        dev=rows.get("dev", 0),
        val=rows.get("val", 0),
        test=rows.get("test", 0),
        repeats=started.get("gate", {}).get("repeats") or 1,
    )
    try:
        shape = shape_of(load(started["recipe"]), sizes)
    except PromptOptError:
        return None
    likely = estimate_calls(shape).likely
    limit = (started.get("config", {}).get("budget") or {}).get("search_calls")
    search = likely.search if limit is None else min(limit, likely.search)
    return Expected(search, likely.evaluations["test"], shape.steps, shape.races)


_WIDTH = 24
"""Characters of the bar."""


@dataclass
class Tally:
    """What the events so far add up to. Scores of held-out rows are left out until the test is decided."""

    seed_id: str = ""
    step: int = 0
    phase: str = "baseline"
    calls: int = 0
    usd: float | None = 0.0
    base: float | None = None
    best: float | None = None
    free: tuple[str, ...] = ()
    searched: int = 0
    tested: int = 0
    expected: Expected | None = None
    races: bool = False
    """Whether candidates see as many rows as it takes, each its own number of them."""
    weights: dict[str, float] = field(default_factory=dict)
    """What decides: the weight of each metric."""
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    """Scores on search rows, by candidate and example."""
    lead: tuple[float, int] | None = None
    """In a race: how far the leader is before the baseline, and on how many rows both were scored."""
    retries: int = 0
    told: set[tuple[str, str]] = field(default_factory=set)
    """Incidents that were said once."""

    def take(self, kind: str, data: dict[str, Any]) -> str | None:
        """Count one event; returns a line worth saying, if it is."""
        handlers: dict[str, Callable[[dict[str, Any]], str | None]] = {
            "run.started": self._run_started,
            "scored": self._scored,
            "called": self._called,
            "evaluated": self._evaluated,
            "selected": self._selected,
            "incident": self._incident,
            "tested": self._tested,
        }
        return handlers[kind](data) if kind in handlers else None

    def line(self) -> str:
        """The state in one line."""
        retries = f"  {number(self.retries)} retried" if self.retries else ""
        return f"{self.phase}  {self._score()}  {number(self.calls)} calls  {self._cost()}{retries}"

    @property
    def share(self) -> float | None:
        """How much of the run is likely to be done; None where that cannot be known."""
        testing = self.phase == "test"
        return None if self.expected is None else self.expected.share(self.searched, self.tested, testing=testing)

    def _score(self) -> str:
        if self.races:
            if self.lead is None:
                return "no score yet" if self.base is None else "no candidate ahead yet"
            return f"leader {signed(self.lead[0])} points on {self.lead[1]} rows so far"
        if self.best is None or self.base is None:
            return "no score yet" if self.best is None else f"best {points(self.best)}"
        return f"best {points(self.best)} ({signed(self.best - self.base)})"

    def _cost(self) -> str:
        return "cost unknown" if self.usd is None else money(self.usd)

    def _run_started(self, data: dict[str, Any]) -> str:
        self.seed_id = data["seed_candidate_id"]
        self.free = simulated_roles(data)
        self.expected = expected_of(data)
        self.races = self.expected is not None and self.expected.races
        gate, names = data.get("gate") or {}, [e["name"] for e in data.get("evaluators", ())]
        primary = gate.get("primary") or next(iter(names), "")
        self.weights = dict(gate.get("weights") or {}) or {primary: 1.0}
        splits = ", ".join(f"{name} {n}" for name, n in data["data"].get("splits", {}).items())
        return f"run {data['run_id']}: {data['method']} on {data['data'].get('source', '?')} ({splits})"

    def _spend(self, role: str, usage: dict[str, Any]) -> None:
        self.calls += usage.get("calls", 0)
        usd = 0.0 if role in self.free else usage.get("usd")
        self.usd = None if usd is None or self.usd is None else self.usd + usd

    def _scored(self, data: dict[str, Any]) -> str | None:
        if not data.get("cached"):
            self._spend("task", data.get("usage") or {"usd": 0})
            if data["split"] == "test":
                self.tested += 1
            else:
                self.searched += 1
        if data["split"] == "test":
            self.phase = "test"
        elif self.races and data["split"] == "dev" and data.get("scores"):
            scores, total = data["scores"], sum(self.weights.values())
            value = sum(weight * scores.get(name, 0.0) for name, weight in self.weights.items()) / total
            self.rows.setdefault(data["candidate_id"], {})[data["example_id"]] = value
        return None

    def _called(self, data: dict[str, Any]) -> str | None:
        self._spend(data["role"], data.get("usage") or {"usd": 0})
        self.step = max(self.step, data.get("step", 0))
        self.phase = self._step(self.step) if self.step else self.phase
        return None

    def _step(self, step: int) -> str:
        return f"step {step}" if self.expected is None else f"step {step} of {self.expected.steps}"

    def _evaluated(self, data: dict[str, Any]) -> str | None:
        if data["split"] != "dev":
            return None
        score, n, candidate = data["score"], data["n"], data["candidate_id"]
        if candidate == self.seed_id:
            first = self.base is None
            self.base = score
            self.best = score if self.best is None else max(self.best, score)
            return f"baseline {points(score)} on {n} search rows" if first else None
        if not self.races and (self.best is None or score > self.best):
            self.best = score
            return f"new best {points(score)} (candidate {candidate[:8]})"
        return None

    def _selected(self, data: dict[str, Any]) -> str:
        self.step = max(self.step, data["step"])
        if self.races:
            # Each candidate has seen other rows, so absolute scores cannot be compared: only gains on common rows.
            gains = [self._gain(candidate) for candidate in data.get("kept", ()) if candidate != self.seed_id]
            self.lead = max((gain for gain in gains if gain is not None), default=None)
        line = f"step {data['step']} done: {self.line().partition('  ')[2]}"
        more = self.expected is None or self.step < self.expected.steps
        self.phase = self._step(self.step + 1) if more else "choosing"
        return line

    def _gain(self, candidate: str) -> tuple[float, int] | None:
        """How much better than the baseline, and on how many common rows."""
        own, base = self.rows.get(candidate, {}), self.rows.get(self.seed_id, {})
        common = own.keys() & base.keys()
        return (sum(own[e] - base[e] for e in common) / len(common), len(common)) if common else None

    def _incident(self, data: dict[str, Any]) -> str | None:
        """What went wrong outside the method, once for each kind; steps of the method are in the report."""
        if data["role"] == "method":
            return None
        again = bool(data["retryable"] and re.search(r"\btr(y|ied|ying)\b", data["action"]))
        self.retries += again
        key = (data["role"], data["kind"])
        if key in self.told:
            return None
        self.told.add(key)
        detail = f" ({data['detail']})" if data.get("detail") else ""
        action = "trying again; retries are counted" if again else data["action"]
        return f"{data['role']}: {data['kind'].replace('_', ' ')}; {action}{detail}"

    def _tested(self, data: dict[str, Any]) -> str:
        return f"test decided: {data['verdict'].replace('_', ' ')}"


class Watcher:
    """An observer that tallies and says.

    Args:
        say: Gets the lines to keep.
        show: Gets the state line and the share done.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        show: Callable[[str, float | None], None] | None = None,
    ) -> None:
        self._tally = Tally()
        self._say = say
        self._show = show

    def on_event(self, event: Event) -> None:
        """Take one event."""
        data = event.as_json()
        line = self._tally.take(event.type, data)
        if line is not None:
            self._say(visible(line))
        if self._show is not None:
            self._show(visible(self._tally.line()), self._tally.share)


@contextmanager
def watching() -> Iterator[list[Observer]]:
    """Observers for one run; the live bar is gone afterwards."""
    if not sys.stderr.isatty():
        yield [Watcher(_write)]
        return
    from rich.live import Live
    from rich.text import Text

    start = time.monotonic()
    with Live(Text("starting"), console=console_for(sys.stderr), refresh_per_second=8, transient=True) as live:

        def show(line: str, share: float | None) -> None:
            minutes, seconds = divmod(int(time.monotonic() - start), 60)
            live.update(bar(share) + Text(f"{line}  {minutes}:{seconds:02}", style="cyan", overflow="ellipsis"))

        yield [Watcher(lambda line: live.console.print(Text(line, style="dim")), show)]


def bar(share: float | None) -> Text:
    """The bar with its share, or a sign that something runs where no share is known."""
    from rich.text import Text

    if share is None:
        return Text("⏵ ", style="cyan")
    full = round(share * _WIDTH)
    return Text("━" * full, style="green") + Text("─" * (_WIDTH - full), style="dim") + Text(f" {share:4.0%}  ")


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
