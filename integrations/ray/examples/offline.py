"""The built-in demo with its evaluations on Ray workers: `python offline.py FOLDER`; no key, no network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ray
from langchain_promptopt_ray import ray_workers

from langchain_promptopt import run_step
from langchain_promptopt.offline import demo_prompt, demo_rows


def job(folder: Path) -> dict[str, Any]:
    """Write prompt and a quarter of the rows into `folder`; returns the configuration that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompt.txt").write_text(demo_prompt(), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in demo_rows()[::4])
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    return {
        "task": {"prompt": "prompt.txt", "model": "offline", "freeze": ["## Refund policy"]},
        "data": {"source": "rows.jsonl"},
        "evaluate": {"evaluators": ["exact_match"]},
        "optimize": {"model": "offline", "method": "lpo-pe2"},
    }


def run(folder: Path) -> dict[str, Any]:
    """The run on two actors of the cluster that `ray.init` has joined."""
    config = job(folder)
    with ray_workers(config, root=folder, count=2, num_cpus=0.5) as workers:
        return run_step(config, root=folder, shards=workers)


def main() -> None:
    """Start a cluster on this machine and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    ray.init(num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, _node_ip_address="127.0.0.1")
    answer = run(given.folder)
    print(answer["outcome"], answer["run_id"], answer["usage"]["calls"], "calls")


if __name__ == "__main__":
    main()
