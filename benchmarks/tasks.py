"""Paper tasks with a model: `python benchmarks/tasks.py --model offline --folder DATA banking77 clinc150`.

Takes any model spec. Rows come from `--folder` (<task>/train.jsonl ...) or, for all but wsc and webnlg, from the hub.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from langchain_promptopt.bench.running import as_markdown, run_bench

PAPER_TASKS = (
    "gsm8k",
    "multiarith",
    "bbh/navigate",
    "bbh/movie_recommendation",
    "bbh/object_counting",
    "bbh/word_sorting",
    "mmlu/college_physics",
    "wsc",
    "webnlg",
    "banking77",
    "clinc150",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(PAPER_TASKS))
    parser.add_argument("--model", help='"offline" (labels only) or "provider:name"; without it nothing is run')
    parser.add_argument("--optimizer")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    options = parser.parse_args()
    found = run_bench(
        options.tasks,
        options.method or ["robust", "lpo-apo", "lpo-pe2", "pe2", "gpo"],
        seeds=options.seeds,
        search_calls=options.budget,
        model=options.model,
        optimizer=options.optimizer,
        folder=options.folder,
    )
    print(as_markdown(found))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
