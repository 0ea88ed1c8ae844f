"""Counts every call of every role and keeps the run within its budget.

Two rules, for two purposes:

* `reserve` decides what is *planned*. The engine asks in canonical order and releases when a step
  is done. While reservations are open, what is paid meanwhile changes no answer; so the same run
  is cut off at the same place whatever the concurrency (product 10.9).
* `flight` guards what is *started*, whatever was planned. Calls in flight count as made, so
  `calls` and `search_calls` are kept exactly; tokens and money of a call are known when it ends,
  so they are exceeded at most by the calls in flight (product 7.5).

The test's share is reserved first and out of the search's reach. Money is summed in whole
picodollars, so totals do not depend on the order of replies.

`Spending` makes the engine's claims, in a fixed order and from figures that are settled. So the same run stops at
the same place whatever the concurrency; `flight` is the hard stop behind it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt._runtime.prices import PriceTable, to_pico, to_usd, without_tier
from langchain_promptopt.errors import BudgetSpent, ConfigError, PriceError
from langchain_promptopt.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.usage import UsageCollector

    pass
    from langchain_promptopt.types import Outcome


class BudgetLimits(Protocol):
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

    def add(self, usage: Usage, pico: int, micros: int) -> None:
        """Add one usage.

        Args:
            usage: Its calls and tokens, and whether its price is known.
            pico: Its price in picodollars.
            micros: Its time in microseconds.
        """
        self.calls += usage.calls
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read_tokens += usage.cache_read_tokens
        self.unpriced = self.unpriced or usage.usd is None
        self.pico += pico
        self.micros += micros

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


def whole_of(usage: Usage) -> tuple[int, int]:
    """Price in picodollars and time in microseconds: sums of whole numbers do not depend on their order."""
    return to_pico(usage.usd) if usage.usd else 0, round(usage.seconds * 1_000_000)


def amount_of(usage: Usage, searched: int) -> Amount:
    """The budgeted amount of a usage; `searched` target calls of it were the search's."""
    pico = 0 if usage.usd is None else to_pico(usage.usd)
    return Amount(usage.calls, usage.input_tokens + usage.output_tokens, pico, searched)


def larger(a: Amount, b: Amount) -> Amount:
    """The larger of each number."""
    return Amount(
        max(a.calls, b.calls), max(a.tokens, b.tokens), max(a.usd, b.usd), max(a.search_calls, b.search_calls)
    )


_NOTHING = Amount()


class Ledger:
    """The run's one account.

    Args:
        budget: The limits; see `BudgetLimits`.
        prices: Where prices come from.
        clock: For `seconds`.
        elapsed: Seconds that earlier processes of the same run already used.
    """

    def __init__(self, budget: BudgetLimits, prices: PriceTable, clock: Clock, *, elapsed: float = 0.0) -> None:
        self._budget = budget
        self._prices = prices
        self._clock = clock
        self._start = clock.time() - elapsed
        self._paused: float | None = None
        self._limit = {
            "calls": budget.calls,
            "tokens": budget.tokens,
            "usd": None if budget.usd is None else to_pico(budget.usd),
            "search_calls": budget.search_calls,
        }
        self._has_limits = any(limit is not None for limit in self._limit.values())
        self._total = Tally()
        self._by_role: defaultdict[str, Tally] = defaultdict(Tally)
        self._by_step: defaultdict[int, Tally] = defaultdict(Tally)
        self._search_calls = 0
        self._lock = threading.Lock()
        # What is in flight for the test is kept twice: it uses up the test's share, which the search must leave free.
        self._flying = _NOTHING
        self._flying_test = _NOTHING
        self._test = _NOTHING
        self._test_paid = _NOTHING
        self._aside = _NOTHING
        self._open: set[str | int] = set()
        self._held = _NOTHING
        self._settled = _NOTHING

    def charge(
        self,
        role: str,
        step: int,
        model_id: str,
        usage_metadata: Mapping[str, Any] | None,
        *,
        split: str | None = None,
        seconds: float = 0.0,
    ) -> Usage:
        """Price one call and record it.

        Args:
            role: "task", "optimizer" or "judge".
            step: The step's number; 0 is before the first.
            model_id: The model its price is looked up by.
            usage_metadata: langchain-core's token counts; None where the reply had none.
            split: The split the call was for, if any.
            seconds: How long it took.

        Returns:
            What was recorded.
        """
        usage = self.priced(model_id, usage_metadata, seconds=seconds)
        self.record(role, step, usage, split=split)
        return usage

    def priced(
        self, model_id: str, usage_metadata: Mapping[str, Any] | None, *, calls: int = 1, seconds: float = 0.0
    ) -> Usage:
        """Price calls without recording them.

        Args:
            model_id: The model its price is looked up by.
            usage_metadata: langchain-core's token counts of all these calls; None where there are none.
            calls: Number of calls.
            seconds: How long they took.
        """
        meta = usage_metadata or {}
        details = meta.get("input_token_details") or {}
        tokens_in, tokens_out = int(meta.get("input_tokens") or 0), int(meta.get("output_tokens") or 0)
        read, write = int(details.get("cache_read") or 0), int(details.get("cache_creation") or 0)
        price = self._prices.price(model_id)
        usd = None if price is None else to_usd(price.cost(tokens_in, tokens_out, read, write))
        return Usage(calls, tokens_in, tokens_out, read, usd, seconds)

    def require_known(self, usage: Usage, role: str, *, unmetered: bool = False) -> None:
        """Refuse what a budget cannot count; what was paid stays recorded.

        Args:
            usage: What was just recorded.
            role: Whose calls it was.
            unmetered: Whether some reply did not say how many tokens it used.

        Raises:
            PriceError: A money budget is set, and the price or the tokens are unknown.
            ConfigError: A token budget is set, and the tokens are unknown.
        """
        if self._budget.usd is not None and usage.usd is None:
            why = "its model has no price, or reported no usage"
            msg = f"budget.usd is set, but the cost of a {role} call is unknown: {why}"
            raise PriceError(msg, mend="Give the price of every model, or drop budget.usd.", role=role)
        if self._budget.tokens is not None and unmetered:
            msg = f"budget.tokens is set, but a {role} call did not say how many tokens it used"
            mend = "Have the model report its usage (stream_usage=True where it streams), or set budget.calls instead."
            raise ConfigError(msg, mend=mend, role=role)

    def record(self, role: str, step: int, usage: Usage, *, split: str | None = None, cells: int | None = None) -> None:
        """Add usage of a call made now, or replayed from a journal.

        Args:
            role: "task", "optimizer" or "judge".
            step: The step's number; 0 is before the first.
            usage: What was used.
            split: The split it was for; usage on "test" is taken from the test's share.
            cells: Number of evaluations of role "task"; None is one. Other roles have none.
        """
        pico, micros = whole_of(usage)
        searched = 0
        if role == "task" and split != "test":
            searched = 1 if cells is None else cells
        with self._lock:  # a thread of the chain may end after its cell
            for tally in (self._total, self._by_role[role], self._by_step[step]):
                tally.add(usage, pico, micros)
            self._search_calls += searched
            if split == "test":
                self._test_paid += amount_of(usage, searched)

    @property
    def total(self) -> Usage:
        """Everything so far."""
        return self._total.usage()

    @property
    def by_role(self) -> dict[str, Usage]:
        """Usage of "task", "optimizer" and "judge"."""
        return {role: tally.usage() for role, tally in sorted(self._by_role.items())}

    @property
    def by_step(self) -> dict[int, Usage]:
        """Usage by step; 0 is before the first."""
        return {step: tally.usage() for step, tally in sorted(self._by_step.items())}

    @property
    def search_calls(self) -> int:
        """Target calls of the search alone."""
        return self._search_calls

    @property
    def seconds(self) -> float:
        """Wall time of the run, earlier processes included."""
        now = self._clock.time() if self._paused is None else self._paused
        return now - self._start

    def pause(self) -> None:
        """Stop the clock of `seconds` until `go_on`."""
        if self._paused is None:
            self._paused = self._clock.time()

    def go_on(self) -> None:
        """Start the clock of `seconds` again after `pause`."""
        if self._paused is not None:
            self._start += self._clock.time() - self._paused
            self._paused = None

    @property
    def limited(self) -> bool:
        """Whether the budget limits what calls cost: money, tokens or their number."""
        return any(self._limit[name] is not None for name in ("usd", "tokens", "calls"))

    def as_json(self) -> dict[str, Any]:
        """`usage` of `run.finished` and of machine output."""
        total = self.total
        by_role = {role: usage.as_json() for role, usage in self.by_role.items()}
        by_step = {str(step): usage.as_json() for step, usage in self.by_step.items()}
        return total.as_json() | {
            "tokens": total.input_tokens + total.output_tokens,
            "search_calls": self._search_calls,
            "by_role": by_role,
            "by_step": by_step,
        }

    def reserve(self, n_calls: int, est_tokens: int, est_usd: float, what: str | int, *, search_calls: int = 0) -> bool:
        """Reserve budget for one more piece of work, mostly a step.

        Args:
            n_calls: Calls of all roles.
            est_tokens: Estimated tokens of them.
            est_usd: Estimated cost in dollars.
            what: The work, by the name or step that `release` is called with.
            search_calls: Evaluations among the calls.

        Returns:
            False where it does not fit; then nothing is reserved.
        """
        wanted = Amount(n_calls, est_tokens, to_pico(est_usd), search_calls)
        if not self._fits(wanted):
            return False
        if not self._open:
            # Fixed for as long as reservations are open: whether a step fits must not depend on which calls are done.
            self._settled = self._used() - self._test_paid
        self._open.add(what)
        self._held += wanted
        return True

    def reserve_test(self, n_calls: int, est_tokens: int = 0, est_usd: float = 0.0) -> bool:
        """Add to the test's share, which the search cannot use.

        Args:
            n_calls: Calls of all roles.
            est_tokens: Estimated tokens of them.
            est_usd: Estimated cost in dollars.

        Returns:
            False where it does not fit; then nothing is reserved.
        """
        wanted = Amount(n_calls, est_tokens, to_pico(est_usd))
        if not self._fits(wanted):
            return False
        self._test += wanted
        return True

    def set_aside(self, wanted: Amount, first: Amount = _NOTHING) -> bool:
        """Keep this from the search for work after it, in place of what was kept before.

        Args:
            wanted: What is kept.
            first: What comes before it and must fit, too.

        Returns:
            False where it does not fit; then nothing is kept.
        """
        self._aside = _NOTHING
        fits = self._fits(wanted + first)
        if fits:
            self._aside = wanted
        return fits

    def release(self, what: str | int) -> None:
        """The work is done. Its reservation gives way to what it cost once no other is open either."""
        self._open.discard(what)
        if not self._open:
            self._held = _NOTHING

    def _fits(self, wanted: Amount) -> bool:
        planned = self._planned() + wanted
        return all(limit is None or getattr(planned, name) <= limit for name, limit in self._limit.items())

    def _planned(self) -> Amount:
        """What was paid before the open reservations, these, what is kept, and the test's share or its larger cost."""
        settled = self._settled if self._open else self._used() - self._test_paid
        return settled + self._held + self._aside + larger(self._test, self._test_paid)

    def _used(self) -> Amount:
        total = self._total
        return Amount(total.calls, total.input_tokens + total.output_tokens, total.pico, self._search_calls)

    @property
    def budgeted(self) -> bool:
        """Whether any limit was set."""
        return self._budget.seconds is not None or self._has_limits

    def exhausted(self, split: str | None = None, *, begun: bool = False, tokens: int = 0) -> str | None:
        """Why no further call may start now, or None. Only work on the test may use the test's share.

        Args:
            split: The split the work is for.
            begun: Whether the call belongs to an evaluation that has begun, which search_calls counts already.
            tokens: The most that the call may use, where that is known before it.
        """
        if self._budget.seconds is not None and self.seconds >= self._budget.seconds:
            return f"budget.seconds ({self._budget.seconds:g}) is used up"
        if not self._has_limits:
            return None
        testing = split == "test"
        # Unlike in `_fits`, calls in flight count here: several may ask before the first of them is paid.
        made, kept = self._used(), _NOTHING if testing else self._test_left() + self._aside
        used = made + self._flying + kept
        for name, limit in self._limit.items():
            if limit is None or (name == "search_calls" and (testing or begun)):
                continue
            if getattr(used, name) >= limit:
                return self._spent(name, limit, made, kept)
            if name == "tokens" and used.tokens + tokens > limit:
                return f"{self._spent(name, limit, made, kept)}, and the call may use {tokens}"
        return None

    def _spent(self, name: str, limit: int, made: Amount, kept: Amount) -> str:
        """The limit in words, with what was paid, is under way, and is kept for later."""

        def shown(amount: int) -> str:
            return f"{to_usd(amount) if name == 'usd' else amount:g}"

        paid, later, under_way = (getattr(amount, name) for amount in (made, kept, self._flying))
        what = "for the choice of edits, demonstrations and the test" if getattr(self._aside, name) else "for the test"
        if paid >= limit:
            return f"budget.{name} ({shown(limit)}) is used up"
        parts = [f"{shown(paid)} used"]
        parts += [f"{shown(under_way)} under way"] if under_way else []
        parts += [f"{shown(later)} kept {what}"] if later else []
        return f"budget.{name} ({shown(limit)}) leaves nothing for another call: {', '.join(parts)}"

    def _test_left(self) -> Amount:
        return larger(self._test - self._test_paid - self._flying_test, _NOTHING)

    def flight(self, role: str, split: str | None = None, *, calls: int = 1, tokens: int = 0) -> Flight:
        """A block that makes calls and records them at its end.

        Entering it raises BudgetSpent where the budget is used up; with 0 calls, the budget is first checked by
        `another`. Nothing may be awaited between recording and the end of the block, or the calls would count twice
        meanwhile.

        Args:
            role: "task", "optimizer" or "judge".
            split: The split the calls are for, if any.
            calls: Number of calls; `another` adds more.
            tokens: The most that the first of them may use, where that is known before it.
        """
        return Flight(self, role, split, calls, tokens)

    def remaining(self) -> dict[str, float]:
        """What is left of each limit that was set; of counts, without what is reserved."""
        planned = self._planned()
        left = {n: limit - getattr(planned, n) for n, limit in self._limit.items() if limit is not None}
        out: dict[str, float] = {n: max(0, v) for n, v in left.items()}
        if "usd" in out:
            out["usd"] = to_usd(int(out["usd"]))
        if self._budget.seconds is not None:
            out["seconds"] = max(0.0, self._budget.seconds - self.seconds)
        return out


class Flight:
    """Calls begun and not yet recorded; see `Ledger.flight`."""

    __slots__ = ("_begun", "_calls", "_ledger", "_mine", "_refused", "_role", "_split", "_tokens", "alive", "meter")

    def __init__(self, ledger: Ledger, role: str, split: str | None, calls: int, tokens: int) -> None:
        self._ledger = ledger
        self._role = role
        self._split = split
        self._calls = calls
        self._tokens = tokens
        self._begun = 0
        self._mine = _NOTHING
        self._refused: str | None = None
        self.meter: UsageCollector | None = None
        """What sees the attempt's calls, once it is made."""
        self.alive: Callable[[], None] | None = None
        """Called where a token or a reply comes."""

    def used(self, model: str | None) -> tuple[int, int]:
        """Calls begun and tokens used by this model, or by all."""
        if self.meter is None:
            return self._begun, 0
        uses = self.meter.collected.by_model
        chosen = [use for name, use in uses.items() if model is None or without_tier(name) == model]
        begun = max(self._begun, self.meter.collected.started)  # calls of other processes are known when they end
        calls = begun if model is None else sum(use.calls for use in chosen)
        return calls, sum(use.input_tokens + use.output_tokens for use in chosen)

    def __enter__(self) -> Flight:
        if self._calls:
            self._admit()
            self._add(Amount(calls=self._calls, search_calls=int(self._role == "task" and self._split != "test")))
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine is not _NOTHING:
            self._add(_NOTHING - self._mine)

    def another(self) -> None:
        """One call begins. The first `calls` are covered already; further ones raise BudgetSpent past the budget."""
        self._begun += 1
        if self._begun > self._calls:
            self._admit(begun=True)
            self._add(Amount(calls=1))

    def check(self) -> None:
        """Raise BudgetSpent where a call was not allowed to start: what came out without it must not be used."""
        if self._refused is not None:
            raise BudgetSpent(self._refused, mend="Raise it and resume.", role=self._role)

    def _admit(self, *, begun: bool = False) -> None:
        self._refused = self._ledger.exhausted(self._split, begun=begun, tokens=0 if begun else self._tokens)
        self.check()

    def _add(self, more: Amount) -> None:
        ledger = self._ledger
        if not ledger._has_limits:  # nobody asks what is in flight
            return
        with ledger._lock:  # a chain may make its calls in threads
            self._mine += more
            ledger._flying += more
            if self._split == "test":
                ledger._flying_test += more


# ---------------------------------------------------------------- the engine's claims


class Spending:
    """Claims on what is left of a budget.

    Args:
        ledger: The account.
        foreseen: What an optimizer call is taken to use before any was made; None is nothing.
    """

    def __init__(self, ledger: Ledger, foreseen: Usage | None = None) -> None:
        self._ledger = ledger
        self._foreseen = foreseen or Usage()
        self._calls_per_cell = 1
        self._cell_tokens = 0
        self._cell_usd = 0.0
        self._test_cells = 0
        self._aside: dict[str, int] = {}

    @property
    def reason(self) -> str | None:
        """Which limit is reached, by the hard check."""
        return self._ledger.exhausted()

    @property
    def limited(self) -> bool:
        """Whether a budget was set at all."""
        return self._ledger.budgeted

    def reserve_test(self, cells: int) -> None:
        """Set the test's share aside before the first call. Raises ConfigError when the budget cannot bear it."""
        self._test_cells = cells
        if not self._ledger.reserve_test(cells):
            left = self._ledger.remaining().get("calls", 0)
            msg = f"the budget of {left:g} calls cannot pay for the {cells} calls of the held-out test"
            raise ConfigError(msg, mend="Raise budget.calls, use fewer test examples, or lower gate.repeats.")

    def set_aside(self, what: str, cells: int, first: int = 0) -> None:
        """Keep as many evaluations from the search, for what follows it; where they do not fit, none for this.

        Args:
            what: The work they are for; what was kept for it before is given back.
            cells: Evaluations that are kept; 0 gives back what was kept.
            first: Evaluations before the search that must fit, too.
        """
        self._aside[what] = cells
        if not self._keep(first):
            self._aside[what] = 0
            self._keep()

    def _keep(self, first: int = 0) -> bool:
        cells = sum(self._aside.values())
        usd = to_pico(cells * self._cell_usd)
        wanted = Amount(cells * self._calls_per_cell, cells * self._cell_tokens, usd, cells)
        return self._ledger.set_aside(wanted, Amount(first, 0, 0, first))

    def learn(self, outcomes: list[Outcome]) -> None:
        """What a row of this chain takes, seen on the baseline; what is kept for later work grows to that."""
        if self.learn_cost(outcomes):
            # one call a row is reserved already
            more = (self._calls_per_cell - 1) * self._test_cells
            self._ledger.reserve_test(more, self._cell_tokens * self._test_cells, self._cell_usd * self._test_cells)
            self._keep()

    def learn_rival(self, outcomes: list[Outcome]) -> bool:
        """What a row of the prompt that is to be tested takes; half of the test's share grows to that.

        False where the budget cannot bear that test.
        """
        calls, tokens, usd = self._calls_per_cell, self._cell_tokens, self._cell_usd
        self.learn_cost(outcomes)
        half = self._test_cells // 2
        more = (self._calls_per_cell - calls, self._cell_tokens - tokens, self._cell_usd - usd)
        return self._ledger.reserve_test(half * more[0], half * more[1], half * more[2])

    def learn_cost(self, outcomes: list[Outcome]) -> bool:
        """What a row of this chain takes, for claims alone; False where nothing was paid for these rows."""
        paid = [o.usage for o in outcomes if not o.cached]
        if not paid:
            return False
        # the dearest row counts: a claim that is too low lets the hard stop end a step halfway
        self._calls_per_cell = max(1, self._calls_per_cell, *(u.calls for u in paid))
        self._cell_tokens = max(self._cell_tokens, *(u.input_tokens + u.output_tokens for u in paid))
        self._cell_usd = max(self._cell_usd, *(u.usd or 0.0 for u in paid))
        return True

    def claim(self, step: int | str, *, cells: int, optimizer_calls: int = 0) -> bool:
        """Set calls of this step aside; False when the budget cannot bear them.

        Args:
            step: Name of the claim, for `release`: a step, or what else pays.
            cells: Calls of the target, one a row and repeat.
            optimizer_calls: Calls of the optimizer model.
        """
        tokens, usd = self._optimizer_cost(optimizer_calls)
        return self._ledger.reserve(
            cells * self._calls_per_cell + optimizer_calls,
            cells * self._cell_tokens + tokens,
            cells * self._cell_usd + usd,
            step,
            search_calls=cells,
        )

    def claim_part(self, step: int, *, cells: int) -> int:
        """Set as many of `cells` target calls aside as the budget can bear; how many that is."""
        for n in range(cells, 0, -1):
            if self.claim(step, cells=n):
                return n
        return 0

    def _optimizer_cost(self, calls: int) -> tuple[int, float]:
        """Expected tokens and money of optimizer calls, from those already settled, or as foreseen."""
        seen = self._ledger.by_role.get("optimizer", self._foreseen)
        seen = seen if seen.calls else self._foreseen
        if not seen.calls:
            return 0, 0.0
        tokens = (seen.input_tokens + seen.output_tokens) * calls // seen.calls
        return tokens, (seen.usd or 0.0) * calls / seen.calls

    def release(self, step: int | str) -> None:
        """End the claims of a step: what they really cost is in the ledger by now."""
        self._ledger.release(step)


def book(ledger: Ledger, step: int, outcome: Outcome) -> None:
    """An outcome that was paid for elsewhere or earlier, on the ledger by role; a kept one cost nothing.

    Args:
        ledger: Where the usage is recorded.
        step: Number of the step that is running.
        outcome: What is known of the cell.
    """
    if outcome.cached:
        return
    # the usage of an outcome includes its judges', which have a role of their own
    split, judged = outcome.cell.split, outcome.judge.calls > 0
    task = outcome.usage - outcome.judge if judged else outcome.usage
    ledger.record("task", step, task, split=split, cells=outcome.tries)
    if judged:
        ledger.record("judge", step, outcome.judge, split=split)
