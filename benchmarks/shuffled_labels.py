"""R6: shuffled labels must not pass the gate beyond its level: `python benchmarks/shuffled_labels.py --seeds 100`."""

from __future__ import annotations

import argparse

from langchain_promptopt.bench.shuffled import false_positives
from langchain_promptopt.presets import recipe_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=500)
    options = parser.parse_args()
    print(
        "| method | runs | prompt changed | passed the gate | level | P(so many or more) |\n|---|---|---|---|---|---|"
    )
    for method in options.method or ["robust", "lpo-pe2", "pe2", "gpo"]:
        f = false_positives(recipe_of(method), range(options.seeds), options.budget)
        print(f"| {method} | {f.runs} | {f.changed} | {f.passed} | {f.level:g} | {f.tail:.3f} |", flush=True)


if __name__ == "__main__":
    main()
