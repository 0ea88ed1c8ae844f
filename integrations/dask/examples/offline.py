"""The built-in demo with its evaluations on Dask workers: `python offline.py FOLDER`; no key, no network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from langchain_promptopt_dask import dask_workers

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


def run(client: Client, folder: Path) -> dict[str, Any]:
    """The run on one actor for each worker of the cluster."""
    config = job(folder)
    with dask_workers(client, config, root=folder) as workers:
        return run_step(config, root=folder, shards=workers)


def main() -> None:
    """Start a cluster on this machine and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1") as cluster, Client(cluster) as client:
        answer = run(client, given.folder)
    print(answer["outcome"], answer["run_id"], answer["usage"]["calls"], "calls")


if __name__ == "__main__":
    main()
