"""All presets beside other optimizers in both worlds: `python -m benchmarks.worlds.standings --seeds 5`.

Every method gets the same calls of the task model and proposals of the same optimizer model. Rows go to
`benchmarks/results/worlds.jsonl`, seed by seed; what stands there is not run again. `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.worlds.peers import PEERS, run_peer, version_of
from benchmarks.worlds.run import WORLDS, run
from langchain_promptopt.bench.planted import bootstrap, mean
from langchain_promptopt.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OUT = Path(__file__).parents[1] / "results" / "worlds.jsonl"
BUDGETS = (500, 1000, 2000)
DEFAULT = "robust"
KEY = ("world", "method", "budget", "seed")


def kept(path: Path) -> list[dict[str, Any]]:
    """The rows of earlier runs."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def wanted(methods: Sequence[str], seeds: Sequence[int], budgets: Sequence[int]) -> Iterator[tuple[str, str, int, int]]:
    """World, method, calls and seed of each run; all methods of a seed come before the next seed.

    Args:
        methods: Presets and peers.
        seeds: Seeds of the worlds.
        budgets: Search calls.
    """
    for seed in seeds:
        for world in sorted(WORLDS):
            for budget in budgets:
                for method in methods:
                    yield world, method, budget, seed


def measured(world: str, method: str, budget: int, seed: int) -> dict[str, Any]:
    """One run as a row.

    Args:
        world: Name of the world.
        method: A preset or a peer.
        budget: Most calls of the task model in the search.
        seed: Decides the world and every draw.
    """
    if method not in PEERS:
        return run(world, method, budget, seed)._asdict()
    return run_peer(WORLDS[world](seed), method, budget) | dict(zip(KEY, (world, method, budget, seed), strict=True))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: the mean over the seeds that every method has, with its interval, best first at the most calls."""
    return "\n\n".join(_of_world(rows, world) for world in sorted({r["world"] for r in rows}))


def _of_world(rows: Sequence[dict[str, Any]], world: str) -> str:
    found = {tuple(r[k] for k in KEY[1:]): r for r in rows if r["world"] == world}
    methods = {m for m, _, _ in found}
    shared = [s for s in sorted({s for *_, s in found}) if all((m, b, s) in found for m in methods for b in BUDGETS)]
    some = [found[DEFAULT, BUDGETS[0], s] for s in shared]
    start, top = (mean([r[name] for r in some]) for name in ("start", "ceiling"))
    head = [f"`{world}`: {len(shared)} seeds, start {start:.3f}, ceiling {top:.3f}", ""]
    head.append("| method | " + " | ".join(f"{b:,} calls" for b in BUDGETS) + " | optimizer calls | task calls |")
    head.append("|---|" + "---|" * (len(BUDGETS) + 2))
    order = sorted(methods, key=lambda m: -mean([found[m, BUDGETS[-1], s]["best"] for s in shared]))
    lines = head + [_line(method, found, shared) for method in order]
    lines += ["", f"`{DEFAULT}` minus the other, seed by seed:", ""]
    lines += ["| other | " + " | ".join(f"{b:,} calls" for b in BUDGETS) + " |", "|---|" + "---|" * len(BUDGETS)]
    lines += [_difference(method, found, shared) for method in order if method in PEERS]
    return "\n".join(lines)


def _difference(method: str, found: dict[tuple[Any, ...], dict[str, Any]], seeds: Sequence[int]) -> str:
    cells = []
    for budget in BUDGETS:
        over = bootstrap([found[DEFAULT, budget, s]["best"] - found[method, budget, s]["best"] for s in seeds])
        cells.append(f"{over.mean:+.3f} [{over.low:+.3f}, {over.high:+.3f}]")
    return f"| {version_of(method)} | {' | '.join(cells)} |"


def _line(method: str, found: dict[tuple[Any, ...], dict[str, Any]], seeds: Sequence[int]) -> str:
    cells, asked, taken = [], [], []
    for budget in BUDGETS:
        runs = [found[method, budget, s] for s in seeds]
        over = bootstrap([r["best"] for r in runs])
        cells.append(f"{over.mean:.3f} [{over.low:.3f}, {over.high:.3f}]")
        asked.append(f"{mean([r['optimizer_calls'] for r in runs]):,.0f}")
        taken.append(f"{mean([r['calls'] for r in runs]):,.0f}")
    name = f"**{version_of(method)}**" if method in PEERS else f"`{method}`"
    return f"| {name} | {' | '.join(cells)} | {' / '.join(asked)} | {' / '.join(taken)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted({*PRESETS, *PEERS})
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    parser.add_argument("--seeds", type=int, default=10, help="seeds 1 to this one")
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--out", type=Path, default=OUT, help="JSON lines; a run that stands there is not made again")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--more", nargs="*", type=Path, default=[], help="further files of rows for the table")
    asked = parser.parse_args(arguments)
    rows = kept(asked.out)
    if asked.table:
        every = [row for path in (asked.out, *asked.more) for row in kept(path)]
        print(table([r for r in every if r["method"] in asked.methods]))
        return
    done = {tuple(r[k] for k in KEY) for r in rows}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for place in wanted(asked.methods, range(1, asked.seeds + 1), asked.budgets):
        if place in done:
            continue
        row = measured(*place)
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
