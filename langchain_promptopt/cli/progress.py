"""Watching a run: a live line where stderr is a terminal, plain lines elsewhere. Only ever on stderr."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt.report.record import simulated_roles
from langchain_promptopt.report.visible import visible
from langchain_promptopt.report.wording import money, number, points, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_promptopt.events import Event
    from langchain_promptopt.protocols import Observer


@dataclass
class Tally:
    """What the events so far add up to. Held-out rows count as calls only; their scores are nobody's business yet."""

    seed_id: str = ""
    step: int = 0
    phase: str = "baseline"
    calls: int = 0
    usd: float | None = 0.0
    base: float | None = None
    best: float | None = None
    free: tuple[str, ...] = ()

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
        score = f"best {points(self.best)}" if self.best is not None else "no score yet"
        gain = f" ({signed(self.best - self.base)})" if self.best is not None and self.base is not None else ""
        return f"{self.phase}  {score}{gain}  {number(self.calls)} calls  {self._cost()}"

    def _cost(self) -> str:
        return "cost unknown" if self.usd is None else money(self.usd)

    def _run_started(self, data: dict[str, Any]) -> str:
        self.seed_id = data["seed_candidate_id"]
        self.free = simulated_roles(data)
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
            self.phase = "test"
        return None

    def _called(self, data: dict[str, Any]) -> str | None:
        self._spend(data["role"], data.get("usage") or {"usd": 0})
        self.step = max(self.step, data.get("step", 0))
        self.phase = f"step {self.step}" if self.step else self.phase
        return None

    def _evaluated(self, data: dict[str, Any]) -> str | None:
        if data["split"] != "dev":
            return None
        score = data["score"]
        if data["candidate_id"] == self.seed_id:
            first = self.base is None
            self.base = score
            self.best = score if self.best is None else max(self.best, score)
            return f"baseline {points(score)} on {data['n']} search rows" if first else None
        if self.best is None or score > self.best:
            self.best = score
            return f"new best {points(score)} (candidate {data['candidate_id'][:8]})"
        return None

    def _selected(self, data: dict[str, Any]) -> str:
        self.step = max(self.step, data["step"])
        return f"step {data['step']} done: {self.line().partition('  ')[2]}"

    def _incident(self, data: dict[str, Any]) -> str:
        detail = f" ({data['detail']})" if data.get("detail") else ""
        return f"incident: {data['role']}: {data['kind']}; {data['action']}{detail}"

    def _tested(self, data: dict[str, Any]) -> str:
        return f"test decided: {data['verdict'].replace('_', ' ')}"


class Watcher:
    """An observer that tallies and says; `show` gets the state line, `say` the lines worth keeping."""

    def __init__(self, say: Callable[[str], None], show: Callable[[str], None] | None = None) -> None:
        self._tally = Tally()
        self._say = say
        self._show = show

    def on_event(self, event: Event) -> None:
        """Take one event."""
        line = self._tally.take(event.type, event.as_json())
        if line is not None:
            self._say(visible(line))
        if self._show is not None:
            self._show(visible(self._tally.line()))


@contextmanager
def watching() -> Iterator[list[Observer]]:
    """Observers for one run; the live line is gone afterwards."""
    if not sys.stderr.isatty():
        yield [Watcher(_write)]
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False)
    start = time.monotonic()
    with Live(Text("starting"), console=console, refresh_per_second=8, transient=True) as live:

        def show(line: str) -> None:
            minutes, seconds = divmod(int(time.monotonic() - start), 60)
            live.update(Text(f"⏵ {line}  {minutes}:{seconds:02}", style="cyan"))

        yield [Watcher(lambda line: live.console.print(Text(line, style="dim")), show)]


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
