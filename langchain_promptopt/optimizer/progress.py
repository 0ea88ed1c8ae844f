"""How far a run is: what its events add up to, and where a person sees it.

In a terminal that is a bar, in a notebook one line that is replaced, elsewhere plain lines on stderr.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import present
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.events import Called, Evaluated, Incident, RunStarted, ScoredRow, Selected, Tested
from langchain_promptopt.report.privacy import spelled_out
from langchain_promptopt.report.record import simulated_roles
from langchain_promptopt.report.wording import money, number, points, signed, split_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_core.runnables import RunnableConfig
    from rich.text import Text

    from langchain_promptopt._engine.context import Emitter
    from langchain_promptopt.events import Event
    from langchain_promptopt.types import Usage


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


def expected_of(started: RunStarted) -> Expected | None:
    """What is to be expected of a run; None for a comparison, or a method whose strategies are not ours."""
    from langchain_promptopt.strategies.cost import Sizes, estimate_calls, shape_of
    from langchain_promptopt.strategies.registry import load

    if "optimizer" not in started.models:
        return None
    rows = started.data.get("splits") or {}
    sizes = Sizes(
        train=rows.get("train", 0),
        dev=rows.get("dev", 0),
        val=rows.get("val", 0),
        test=rows.get("test", 0),
        repeats=started.gate.get("repeats") or 1,
    )
    try:
        shape = shape_of(load(started.recipe), sizes)
    except PromptOptError:
        return None
    likely = estimate_calls(shape).likely
    limit = started.setting("budget", "search_calls")
    search = likely.search if limit is None else min(limit, likely.search)
    return Expected(search, likely.evaluations["test"], shape.steps, shape.races)


_WIDTH, _SHORT = 24, 8
"""Characters of the bar, and of that in a window of less than `_NARROW` columns."""
_NARROW = 100


_NEARLY_ALL = 0.9


@dataclass
class RunProgress:
    """What the events so far add up to. Scores of held-out examples are left out until the test is decided."""

    seed_id: str = ""
    step: int = 0
    phase: str = "baseline"
    calls: int = 0
    usd: float | None = 0.0
    base: float | None = None
    base_rows: int = 0
    """Search examples that the baseline was scored on. The best score is one on as many of them."""
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

    def take(self, event: Event) -> str | None:
        """Count one event; returns a line worth saying, if it is."""
        match event:
            case RunStarted():
                return self._begin(event)
            case ScoredRow():
                self._count_row(event)
            case Called():
                self._count_call(event)
            case Evaluated():
                return self._compare(event)
            case Selected():
                return self._end_step(event)
            case Incident():
                return self._report(event)
            case Tested():
                return f"test decided: {event.verdict.replace('_', ' ')}"
            case _:
                pass
        return None

    def line(self) -> str:
        """The state in one line."""
        retries = f"  {number(self.retries)} retried" if self.retries else ""
        return f"{self.phase}  {self._score()}  {number(self.calls)} calls  {self._cost()}{retries}"

    @property
    def share(self) -> float | None:
        """How much of the run is likely to be done; None where that cannot be known."""
        testing = self.phase == "test"
        return None if self.expected is None else self.expected.share(self.searched, self.tested, testing=testing)

    def as_json(self) -> dict[str, Any]:
        """The state as plain values: phase, step, share, calls, usd, baseline and best."""
        names = {"phase": self.phase, "step": self.step, "share": self.share, "calls": self.calls, "usd": self.usd}
        return {**names, "baseline": self.base, "best": self.best}

    def _score(self) -> str:
        if self.races:
            if self.lead is None:
                return "no score yet" if self.base is None else "no candidate ahead yet"
            return f"leader {signed(self.lead[0])} on {self.lead[1]} examples"
        if self.best is None or self.base is None:
            return "no score yet" if self.best is None else f"best {points(self.best)}"
        return f"best {points(self.best)} ({signed(self.best - self.base)})"

    def _cost(self) -> str:
        return "cost unknown" if self.usd is None else money(self.usd)

    def _begin(self, started: RunStarted) -> str:
        self.seed_id = started.seed_candidate_id
        self.free = simulated_roles(started)
        self.expected = expected_of(started)
        self.races = self.expected is not None and self.expected.races
        primary = started.gate.get("primary") or next(iter(started.evaluator_names), "")
        self.weights = dict(started.gate.get("weights") or {}) or {primary: 1.0}
        data = started.data
        return f"run {started.run_id}: {started.method} on {data.get('source', '?')} ({split_words(data)})"

    def _spend(self, role: str, usage: Usage) -> None:
        self.calls += usage.calls
        usd = 0.0 if role in self.free else usage.usd
        self.usd = None if usd is None or self.usd is None else self.usd + usd

    def _count_row(self, row: ScoredRow) -> None:
        if not row.cached:
            self._spend("task", row.usage)
            if row.split == "test":
                self.tested += 1
            else:
                self.searched += 1
        if row.split == "test":
            self.phase = "test"
        elif self.races and row.split == "dev" and row.scores:
            total = sum(self.weights.values())
            value = sum(weight * row.scores.get(name, 0.0) for name, weight in self.weights.items()) / total
            self.rows.setdefault(row.candidate_id, {})[row.example_id] = value

    def _count_call(self, call: Called) -> None:
        self._spend(call.role, call.usage)
        self.step = max(self.step, call.step)
        self.phase = self._step(self.step) if self.step else self.phase

    def _step(self, step: int) -> str:
        return f"step {step}" if self.expected is None else f"step {step} of {self.expected.steps}"

    def _compare(self, mean: Evaluated) -> str | None:
        """A candidate beside the baseline and the best so far."""
        if mean.split != "dev":
            return None
        score, candidate = mean.score, mean.candidate_id
        if candidate == self.seed_id:
            first = self.base is None
            self.base, self.base_rows = score, mean.n
            self.best = score if self.best is None else max(self.best, score)
            return f"baseline {points(score)} on {mean.n} search examples" if first else None
        whole = mean.n >= _NEARLY_ALL * self.base_rows  # some calls may have failed
        if whole and not self.races and (self.best is None or score > self.best):
            self.best = score
            return f"new best {points(score)} (candidate {candidate[:8]})"
        return None

    def _end_step(self, selected: Selected) -> str:
        self.step = max(self.step, selected.step)
        if self.races:
            # Each candidate has seen other rows, so absolute scores cannot be compared: only gains on common rows.
            gains = []
            for candidate in selected.kept:
                if candidate != self.seed_id:
                    gains.append(self._gain(candidate))
            self.lead = max(present(gains), default=None)
        line = f"step {selected.step} done: {self.line().partition('  ')[2]}"
        more = self.expected is None or self.step < self.expected.steps
        self.phase = self._step(self.step + 1) if more else "choosing"
        return line

    def _gain(self, candidate: str) -> tuple[float, int] | None:
        """How much better than the baseline, and on how many common rows."""
        own, base = self.rows.get(candidate, {}), self.rows.get(self.seed_id, {})
        common = own.keys() & base.keys()
        return (sum(own[e] - base[e] for e in common) / len(common), len(common)) if common else None

    def _report(self, incident: Incident) -> str | None:
        """What went wrong outside the method, once for each kind; steps of the method are in the report."""
        if incident.role == "method":
            return None
        if incident.role == "engine" and incident.kind == "budget":
            return f"the search ends: {incident.detail}" if incident.action == "stop search" else incident.detail
        again = bool(incident.retryable and re.search(r"\btr(y|ied|ying)\b", incident.action))
        self.retries += again
        key = (incident.role, incident.kind)
        if key in self.told:
            return None
        self.told.add(key)
        detail = f" ({incident.detail})" if incident.detail else ""
        action = "trying again; retries are counted" if again else incident.action
        return f"{incident.role}: {incident.kind.replace('_', ' ')}; {action}{detail}"


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
        self._tally = RunProgress()
        self._say = say
        self._show = show

    def on_event(self, event: Event) -> None:
        """Take one event."""
        line = self._tally.take(event)
        if line is not None:
            self._say(spelled_out(line))
        if self._show is not None:
            self._show(spelled_out(self._tally.line()), self._tally.share)


@contextmanager
def progress_shown(wanted: bool | None = None) -> Iterator[list[Watcher]]:  # noqa: FBT001 - the argument of `optimize`
    """Observers that show one run; a live bar is gone afterwards.

    Args:
        wanted: True shows it everywhere, False nowhere; None where a person looks: in a terminal or a notebook.
    """
    if wanted is False:
        yield []
    elif in_notebook():
        yield [_in_cell()]
    elif sys.stderr.isatty():
        with _live() as watcher:
            yield [watcher]
    else:
        yield [Watcher(_write)] if wanted else []


@contextmanager
def _live() -> Iterator[Watcher]:
    from rich.live import Live
    from rich.text import Text

    from langchain_promptopt.report.terminal import console_for

    start = time.monotonic()
    with Live(Text("starting"), console=console_for(sys.stderr), refresh_per_second=8, transient=True) as live:

        def show(line: str, share: float | None) -> None:
            # One line, cut at the edge: what a narrow window breaks into two is not taken away as a whole.
            state = Text(no_wrap=True, overflow="ellipsis", end="") + bar(share, short=live.console.width < _NARROW)
            live.update(state + Text(f"{line}  {_since(start)}", style="cyan"))

        yield Watcher(lambda line: live.console.print(Text(line, style="dim")), show)


def in_notebook() -> bool:
    """Whether this runs in a notebook: IPython with a kernel. A program without IPython does not load it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


_EVERY = 0.25
"""Seconds between two updates of a notebook's cell."""


def _in_cell() -> Watcher:
    """A watcher that replaces one line of a notebook's cell. No widget is needed."""
    from IPython.display import display

    start, last = time.monotonic(), [0.0]
    shown = display({"text/plain": "starting", "text/html": "starting"}, raw=True, display_id=True)

    def show(line: str, share: float | None) -> None:
        now = time.monotonic()
        if now - last[0] < _EVERY and share != 1.0:
            return
        last[0] = now
        meter = f'<progress max="1" value="{share:.3f}"></progress> ' if share is not None else ""
        text = f"{line}  {_since(start)}"
        shown.update({"text/plain": text, "text/html": f"{meter}<code>{escape(text)}</code>"}, raw=True)

    return Watcher(lambda _: None, show)


def _since(start: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - start), 60)
    return f"{minutes}:{seconds:02}"


def bar(share: float | None, *, short: bool = False) -> Text:
    """The bar with its share, or a sign that something runs where no share is known.

    Args:
        share: How much is done, from 0 to 1; None where that is not known.
        short: Whether the window is narrow.
    """
    from rich.text import Text

    if share is None:
        return Text("⏵ ", style="cyan")
    width = _SHORT if short else _WIDTH
    full = round(share * width)
    return Text("━" * full, style="green") + Text("─" * (width - full), style="dim") + Text(f" {share:4.0%}  ")


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


EVENT = "promptopt_progress"
"""Name of the custom events that `PromptOptimizer.astream_events` carries."""


@asynccontextmanager
async def progress_streamed(emitter: Emitter, config: RunnableConfig) -> AsyncIterator[None]:
    """Send the progress of a run to the callbacks of `config` as custom events, in order.

    Args:
        emitter: Shows the run's events.
        config: The config inside the run's span; without callbacks nothing is sent.
    """
    from langchain_core.callbacks import adispatch_custom_event

    waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def send() -> None:
        while (data := await waiting.get()) is not None:
            await adispatch_custom_event(EVENT, data, config=config)

    emitter.watch(Streamed(lambda data: loop.call_soon_threadsafe(waiting.put_nowait, data)))
    sender = asyncio.ensure_future(send())
    try:
        yield
    finally:
        loop.call_soon_threadsafe(waiting.put_nowait, None)
        await sender


class Streamed:
    """An observer that passes the state on whenever there is a line to say, a phase begins or another percent is done.

    Args:
        send: Gets the state as plain values, with the line.
    """

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._tally = RunProgress()
        self._send = send
        self._sent: tuple[str, int | None] = ("", None)

    def on_event(self, event: Event) -> None:
        """Take one event."""
        line = self._tally.take(event)
        share = self._tally.share
        now = self._tally.phase, None if share is None else int(100 * share)
        if line is not None or now != self._sent:
            self._sent = now
            self._send({**self._tally.as_json(), "line": spelled_out(line or self._tally.line())})
