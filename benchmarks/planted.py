"""The planted world: `python benchmarks/planted.py` runs every experiment and writes docs/benchmarks/planted.md.

Needs no model and no network. Names run some experiments only (then give another --out). A run that was
stopped goes on from --traces; delete that file after a change of code.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.planted_world.document import NAMES, measure, write
from benchmarks.planted_world.traces import Traces

OUT = Path("docs/benchmarks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"experiments, all when none is named: {', '.join(NAMES)}")
    parser.add_argument("--seeds", type=int, help="instead of each experiment's own number")
    parser.add_argument("--first-seed", type=int, default=0, help="tuning used the seeds from 1000 on")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--traces", type=Path, default=Path("benchmarks/results/traces.jsonl"))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown experiment {sorted(unknown)[0]!r}; known: {', '.join(NAMES)}")
    if options.names and options.out == OUT:
        parser.error("some experiments only: give --out, so that the full document stays")
    started = time.perf_counter()
    measured = measure(
        options.names or NAMES,
        Traces(options.traces, options.workers),
        lambda said: print(said, flush=True),
        first_seed=options.first_seed,
        seeds=options.seeds,
    )
    for path in write(measured, options.out, "python benchmarks/planted.py"):
        print(f"written: {path}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
