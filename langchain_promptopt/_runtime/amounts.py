"""What the ledger adds up: sums of usage, and amounts of what a budget limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from langchain_promptopt._runtime.prices import to_pico, to_usd
from langchain_promptopt.types import Usage


class Limits(Protocol):
    """The budget's fields, whatever class carries them (recipe.Budget does). None is no limit."""

    @property
    def usd(self) -> float | None: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def calls(self) -> int | None: ...
    @property
    def search_calls(self) -> int | None: ...
    @property
    def seconds(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Amount:
    """What a piece of work needs, or has used. `usd` is in picodollars."""

    calls: int = 0
    tokens: int = 0
    usd: int = 0
    search_calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.usd + other.usd,
            self.search_calls + other.search_calls,
        )

    def __sub__(self, other: Amount) -> Amount:
        return self + Amount(-other.calls, -other.tokens, -other.usd, -other.search_calls)


@dataclass(slots=True)
class Tally:
    """Sums of one role or step; `unpriced` when some call has no known price."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    pico: int = 0
    unpriced: bool = False
    micros: int = 0

    def add(self, usage: Usage) -> None:
        """Add one usage."""
        self.calls += usage.calls
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read_tokens += usage.cache_read_tokens
        self.unpriced = self.unpriced or usage.usd is None
        self.pico += to_pico(usage.usd) if usage.usd else 0
        self.micros += round(usage.seconds * 1_000_000)

    def join(self, other: Tally) -> None:
        """Add what another adds up to."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_read_tokens += other.cache_read_tokens
        self.unpriced = self.unpriced or other.unpriced
        self.pico += other.pico
        self.micros += other.micros

    def usage(self) -> Usage:
        """The sums."""
        return Usage(
            self.calls,
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            None if self.unpriced else to_usd(self.pico),
            self.micros / 1_000_000,
        )


def amount_of(usage: Usage, searched: int) -> Amount:
    """The budgeted amount of a usage; `searched` target calls of it were the search's."""
    pico = 0 if usage.usd is None else to_pico(usage.usd)
    return Amount(usage.calls, usage.input_tokens + usage.output_tokens, pico, searched)


def larger(a: Amount, b: Amount) -> Amount:
    """The larger of each number."""
    return Amount(
        max(a.calls, b.calls), max(a.tokens, b.tokens), max(a.usd, b.usd), max(a.search_calls, b.search_calls)
    )
