"""How many rows a run will score, for the progress bar: the closed forms of the estimate, read from `run.started`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import PromptOptError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        """How much is done, from 0 to 1; the test's part is never shown before it begins."""
        done = self.search + min(tested, self.test) if testing else min(searched, self.search)
        return done / max(1, self.search + self.test)


def expected_of(started: Mapping[str, Any]) -> Expected | None:
    """What is to be expected of a run; None for a comparison, or a method whose strategies are not ours."""
    from langchain_promptopt._runtime.estimate import estimate_calls
    from langchain_promptopt.strategies.registry import load
    from langchain_promptopt.strategies.shape import Sizes, shape_of

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
