"""R6: shuffled labels must not pass the gate beyond its level: `python benchmarks/shuffled_labels.py --seeds 100`."""

from __future__ import annotations

import argparse

from benchmarks.planted_world.document import SHUFFLED_METHODS
from benchmarks.planted_world.shuffled import as_markdown, false_positives
from langchain_promptopt.presets import recipe_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=500)
    options = parser.parse_args()
    methods = options.method or SHUFFLED_METHODS
    print(as_markdown({m: false_positives(recipe_of(m), range(options.seeds), options.budget) for m in methods}))


if __name__ == "__main__":
    main()
