"""Kill runs at seeded points of the journal, resume them, and count at the server what was paid twice.

    python benchmarks/kill_campaign.py               # 200 kills, 100 power cuts, 20 full disks: some minutes
    python benchmarks/kill_campaign.py --kills 20

Each run optimizes a small task over HTTP against a loopback server, in a forked child that kills
itself (SIGKILL) right after its n-th journal line. Prints one Markdown table; exit code 1 when a
resumed run differs from the uninterrupted one, or a journaled reply was paid for again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["LANGSMITH_TRACING"] = "false"

from tests.support.killing import Recovered, Whole, cut_at, full_disk_at, killed_at, whole
from tests.support.online import server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.openai_server import OpenAIServer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--full", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with server(delay=0.002, record=0) as up, tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        plain = whole(base / "whole", up)
        rng = random.Random(given.seed)
        size = sum(map(len, plain.lines))
        lines, sizes = range(1, len(plain.lines)), range(1, size)
        print(f"\nuninterrupted: {plain.requests} calls, {len(plain.lines)} journal lines, {size:,} bytes\n")
        print(
            "| what happened | runs | same result | journaled replies paid again | calls paid twice: most, mean | s |"
        )
        print("|---|---|---|---|---|---|")
        sound = [
            campaign(
                "kill -9 after a journal line", killed_at, rng.choices(lines, k=given.kills), up, plain, base / "k"
            ),
            campaign("power cut at a byte", cut_at, rng.choices(sizes, k=given.cuts), up, plain, base / "c"),
            campaign(
                "disk full at a byte", full_disk_at, rng.choices(range(2000, size), k=given.full), up, plain, base / "f"
            ),
        ]
    return 0 if all(sound) else 1


def campaign(
    name: str,
    disaster: Callable[[int, Path, OpenAIServer, Whole], Recovered],
    points: list[int],
    up: OpenAIServer,
    plain: Whole,
    base: Path,
) -> bool:
    started, found = time.perf_counter(), []
    for i, point in enumerate(points):
        found.append(disaster(point, base / str(i), up, plain))
        if not found[-1].sound(plain):
            tell(name, point, found[-1], plain)
    twice = [max(0, f.paid_twice(plain)) for f in found] if name.startswith("kill") else [0] * len(found)
    same = sum(f.same and f.whole for f in found)
    again = sum(max(0, f.asked_after - (plain.requests - f.journaled)) for f in found)
    mean = sum(twice) / max(1, len(twice))
    row = (
        name,
        len(found),
        same,
        again,
        f"{max(twice, default=0)}, {mean:.1f}",
        f"{time.perf_counter() - started:.0f}",
    )
    print("| " + " | ".join(map(str, row)) + " |", flush=True)
    return all(f.sound(plain) for f in found)


def tell(name: str, point: int, found: Recovered, plain: Whole) -> None:
    """Where a recovered run differs, and what went wrong on its way, for looking into it."""
    differs = {k: (v, found.facts[k]) for k, v in plain.facts.items() if found.facts[k] != v}
    events = [json.loads(line) for line in found.journal.read_bytes().splitlines()]
    incidents = [e["data"] for e in events if e["type"] == "incident"]
    asked = f"{found.asked_before} asked before, {found.journaled} journaled, {found.asked_after} asked after"
    print(f"{name} at {point}: {asked}; differs: {differs}; incidents: {incidents}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
