"""Budgets in canonical order: what a piece of work may cost is claimed before it starts.

Claims are made in a fixed order from figures that are settled, so the same run stops at the same
place whatever the concurrency; the ledger's check before each call is the hard stop behind them
(product 10.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from langchain_promptopt._runtime.ledger import Ledger
    from langchain_promptopt.types import Outcome, Usage


class Spending:
    """Claims on what is left of a budget."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._calls_per_cell = 1
        self._cell_tokens = 0
        self._cell_usd = 0.0
        self._test_cells = 0

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
            raise ConfigError(msg, mend="Raise budget.calls, use fewer test rows, or lower gate.repeats.")

    def learn(self, outcomes: list[Outcome]) -> None:
        """What a row of this chain takes, seen on the baseline; the test's share grows to that."""
        if self.learn_cost(outcomes):
            # one call a row is reserved already
            more = (self._calls_per_cell - 1) * self._test_cells
            self._ledger.reserve_test(more, self._cell_tokens * self._test_cells, self._cell_usd * self._test_cells)

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
        return next((n for n in range(cells, 0, -1) if self.claim(step, cells=n)), 0)

    def _optimizer_cost(self, calls: int) -> tuple[int, float]:
        """Expected tokens and money of optimizer calls, from those already settled."""
        seen: Usage | None = self._ledger.by_role.get("optimizer")
        if seen is None or not seen.calls:
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
