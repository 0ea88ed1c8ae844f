"""Runs against a server that fails 30 % of all calls, each kind of fault by itself and all mixed.

    python benchmarks/fault_campaign.py            # three seeds a kind
    python benchmarks/fault_campaign.py --seeds 1

Prints one Markdown table; exit code 1 when a run's final result is not the fault-free run's, or the
ledger does not count the calls the server saw. Pauses pass in virtual time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["LANGSMITH_TRACING"] = "false"

from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.retry import RetryPolicy
from tests.support.faults import PASSING, FaultPlan
from tests.support.online import run, server

KINDS = (*PASSING, "hang", "mixed")
HUNG = 4.0  # real seconds after which a call has hung; much less, and a busy machine hangs by itself


def one(kind: str, rate: float, seed: int) -> tuple[Any, int, int]:
    """The result of a run under faults, how many there were, and the calls the server saw."""
    kinds = PASSING if kind == "mixed" else (kind,)
    plan = FaultPlan(rate=rate, kinds=kinds, seed=seed, retry_after="2")
    hung = kind == "hang"
    settings: dict[str, Any] = (
        {"policy": RetryPolicy(base=0.001, cap=0.001, timeout=HUNG)}
        if hung
        else {"policy": RetryPolicy(timeout=None), "clock": FakeClock()}
    )
    with server(faults=plan) as up:
        result = run(up.base_url, max_concurrency=16, **settings)
        return result, len(plan.fired), up.count


def decided(result: Any) -> tuple[Any, ...]:
    return result.outcome, result.test, result.best.id, [e.as_json() for e in result.edits]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    given = parser.parse_args()
    plain = decided(one("500", 0.0, 0)[0])
    print(f"\n| fault, {given.rate:.0%} of calls | runs | same final result | faults | ledger counts all calls | s |")
    print("|---|---|---|---|---|---|")
    sound = True
    for kind in given.kinds:
        started = time.perf_counter()
        found = [one(kind, given.rate, seed) for seed in range(given.seeds)]
        same = sum(decided(result) == plain for result, _, _ in found)
        counted = sum(result.usage["calls"] == calls for result, _, calls in found)
        faults = sum(fired for _, fired, _ in found)
        print(
            f"| {kind} | {len(found)} | {same} | {faults} | {counted} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )
        sound = sound and same == counted == len(found)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
