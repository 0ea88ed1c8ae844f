"""The planted world: `python benchmarks/planted.py presets --seeds 8 --out benchmarks/results`.

Without names it runs every experiment. Needs no model and no network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from langchain_promptopt.bench.experiments import EXPERIMENTS, presets_table
from langchain_promptopt.bench.planted_report import curves, run_experiment, speed_table, step_curves, table, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *EXPERIMENTS], help="experiments; all when none is named")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0, help="tuning used the seeds from 1000 on")
    parser.add_argument("--worlds", default="long,medium,short,rewrite", help="of the presets table")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for name in options.names or EXPERIMENTS:
        started = time.perf_counter()
        experiment = presets_table(tuple(options.worlds.split(","))) if name == "presets" else EXPERIMENTS[name]()
        lines = run_experiment(experiment, seeds, lambda said: print(said, flush=True))
        took = time.perf_counter() - started
        how = f"Seeds {seeds[0]}-{seeds[-1]}; planted world, no model; {took:.0f} s."
        said = f"# {experiment.title}\n\nFor: {experiment.says}. {how}\n\n{table(lines)}\n"
        if name == "local-global":
            said += f"\n## To reach the global host's final held-out score\n\n{speed_table(lines)}\n"
        plot = curves(lines, experiment.title) if name == "presets" else step_curves(lines, experiment.title)
        write(options.out, name, {".md": said, ".svg": plot}, lines)
        print(f"{name}: {took:.0f} s, written to {options.out}/{name}.md")


if __name__ == "__main__":
    main()
