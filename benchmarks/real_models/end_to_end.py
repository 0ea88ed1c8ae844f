"""Whole runs with real models: `python -m benchmarks.real_models.end_to_end URL MODEL --task-url URL --task MODEL`.

One model proposes, one answers; the prompt is that of `tickets.py`, whose four wrong rules are known, or with `--data`
and `--prompt` one of your own for examples whose answer is a label. Each method and seed is one call of `optimize()`,
with the default gate. One JSON line a run goes to the file that `--out` names; runs that stand there already are not
made again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from benchmarks.real_models.tickets import RIGHT, WRONG, examples
from langchain_promptopt import Budget, optimize
from langchain_promptopt.settings import RetryPolicy


def right_label(outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> float:
    """1 where the first word of the answer is the label."""
    said = str(next(iter(outputs.values()))).strip().lower()
    first = said.split()[0].strip(".:,\"'*`()") if said else ""
    return float(first == reference_outputs["answer"].lower().strip("()"))


def endpoint(url: str, name: str, most: int, temperature: float | None = None) -> Any:
    """The model at an OpenAI-compatible address, with time for slow machines."""
    from langchain_openai import ChatOpenAI

    key = os.environ.get("REAL_MODELS_KEY", "none")
    limits: dict[str, Any] = {"max_tokens": most, "timeout": 900, "max_retries": 0}
    return ChatOpenAI(model=name, base_url=url, api_key=key, temperature=temperature, **limits)


def repaired_rules(text: str) -> int:
    """How many of the four wrong rules now read as in the right prompt, word for word."""
    wrong, right = WRONG.splitlines(), RIGHT.splitlines()
    changed = [line for line, old in zip(right, wrong, strict=True) if line != old]
    return sum(line in text for line in changed)


def splits_of(folder: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The examples of `tickets.py`, or those of `train.jsonl`, `dev.jsonl` and `test.jsonl` in a folder."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    if folder is None:
        for example in examples():
            splits[example["split"]].append({k: v for k, v in example.items() if k != "split"})
    else:
        for name, rows in splits.items():
            for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines():
                row = json.loads(line)
                rows.append({"inputs": row["inputs"], "outputs": row["outputs"]})
    return splits


def name_of(asked: argparse.Namespace) -> str:
    """What the examples are called in the table."""
    return asked.data.name if asked.data else "tickets"


def measure(asked: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """One run, and what a reader of the table needs of it."""
    template = ChatPromptTemplate.from_template(asked.prompt if asked.data else WRONG)
    chain = template | endpoint(asked.task_url, asked.task, 8, 0.0) | StrOutputParser()
    started = time.monotonic()
    result = optimize(
        chain,
        data=splits_of(asked.data),
        evaluators=[right_label],
        optimizer_model=endpoint(asked.url, asked.model, 500),
        method=method,
        seed=seed,
        budget=Budget(search_calls=asked.search_calls),
        apply="never",
        max_concurrency=1,
        limits={name: {"concurrency": 1} for name in (asked.model, asked.task)},  # a waiting call must not time out
        policy=RetryPolicy(timeout=900),
        runs_dir=asked.runs,
        openings=asked.runs / f"openings-{name_of(asked)}-{method}-{seed}.jsonl",
    )
    return {
        "data": name_of(asked),
        "optimizer": asked.model,
        "task": asked.task,
        "method": method,
        "seed": seed,
        "search_calls": asked.search_calls,
        "seconds": round(time.monotonic() - started),
        "repaired": None if asked.data else repaired_rules(str(result.prompt)),
        "result": result.as_json(),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the endpoint of the optimizer model, such as http://127.0.0.1:8081/v1")
    parser.add_argument("model", help="its name")
    parser.add_argument("--task-url", required=True, help="the endpoint of the model that answers")
    parser.add_argument("--task", required=True, help="its name")
    parser.add_argument("--data", type=Path, help="a folder with train.jsonl, dev.jsonl and test.jsonl")
    parser.add_argument("--prompt", help="the prompt for --data, with the names of its inputs in braces")
    parser.add_argument("--methods", nargs="+", default=["robust"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--search-calls", type=int, default=600, help="calls of the task model in the search")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of run records; a run that was stopped goes on"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; finished runs are not made again")
    asked = parser.parse_args()
    if (asked.data is None) != (asked.prompt is None):
        parser.error("--data and --prompt go together")
    done = set()
    if asked.out.exists():
        for line in map(json.loads, asked.out.read_text("utf-8").splitlines()):
            done.add((line.get("data", "tickets"), line["optimizer"], line["task"], line["method"], line["seed"]))
    for method in asked.methods:
        for seed in asked.seeds:
            if (name_of(asked), asked.model, asked.task, method, seed) in done:
                continue
            found = measure(asked, method, seed)
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found, ensure_ascii=False, default=str) + "\n")
            rules = "" if asked.data else f"{found['repaired']} of 4 rules, "
            print(f"{method} seed {seed}: {rules}{found['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
