"""Whole runs, search and gate, in worlds where nothing can be gained: how often does one end as improved?

    python benchmarks/whole_runs.py                      # 100 runs a world, some minutes
    python benchmarks/whole_runs.py --runs 10 --series 2

Each run is a call of `optimize` as users make it, with its own record of openings. In a series the same
rows are opened by 30 runs with 30 seeds and one record, and the series counts when any of them ends as
improved. The optimizer always finds words to change; the task model never reads them, or obeys
meaningless labels. Prints one Markdown table; exit code 1 when a line breaks its promise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["LANGSMITH_TRACING"] = "false"

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from benchmarks.gate_simulation import ALPHA, FIRST, wilson
from langchain_promptopt import Gate, optimize
from langchain_promptopt.errors import DataError
from langchain_promptopt.testing.scripted import ScriptedModel

PROMPT = "You sort the words you are given. Look at each word with care. Answer with one label only.\nWord: {word}"
WORDS = [
    "order",
    "arrange",
    "judge",
    "label",
    "rank",
    "group",
    "check",
    "read",
    "weigh",
    "view",
    "mark",
    "tell",
    "name",
    "note",
]
LABELS = ("animal", "stone", "plant", "metal")
NIGHTS = 30


@dataclass(frozen=True)
class World:
    """How the task model answers and how answers are scored, both drawn from a seed."""

    name: str
    task: Callable[[Random], Callable[[Any], str]]
    evaluator: Callable[[Random], Any]
    gate: Gate
    group: int = 1
    nights: int = 1


def coin(rng: Random) -> Callable[[Any], str]:
    """Right with a chance that belongs to the row; the prompt is not read."""

    def answer(messages: Any) -> str:
        row = str(messages[-1].text).rpartition("Word: ")[2]
        chance = Random(row).betavariate(0.8, 0.5)
        return "right" if rng.random() < chance else "wrong"

    return answer


def reader(rng: Random) -> Callable[[Any], str]:
    """A label that depends on every byte of the prompt, and means nothing."""
    salt = rng.random()
    return lambda messages: Random(f"{salt}{messages[-1].text}").choice(LABELS)


def is_right(_: Random) -> Any:
    def right(outputs: dict[str, Any]) -> bool:
        return str(next(iter(outputs.values()))) == "right"

    return right


def exact(_: Random) -> Any:
    return "exact_match"


def noisy(rng: Random) -> Any:
    """A judge of a quality that nothing changes, in steps of a hundredth."""

    def judged(inputs: dict[str, Any]) -> float:
        quality = Random(inputs["word"]).uniform(0.3, 0.7)
        return round(min(1.0, max(0.0, quality + rng.gauss(0, 0.2))), 2)

    return judged


def worlds() -> Iterator[World]:
    """All of them."""
    yield World("inert change, binary", coin, is_right, Gate())
    yield World("inert change, groups of 4, 3 repeats", coin, is_right, Gate(repeats=3), group=4)
    yield World("shuffled labels", reader, exact, Gate())
    yield World("noisy judge, continuous", coin, noisy, Gate())
    yield World(f"series of {NIGHTS} on one test set, inert change", coin, is_right, Gate(), nights=NIGHTS)
    yield World(f"series of {NIGHTS} on one test set, shuffled labels", reader, exact, Gate(), nights=NIGHTS)


def tinker(rng: Random) -> Callable[[Any], str]:
    """An optimizer that always finds a word to change."""

    def reply(messages: Any) -> str:
        request = str(messages[-1].text)
        if "JSON list" in request:
            quote = rng.choice([w for w in ("sort", "Look", "care", "given", *WORDS) if w in str(messages)] or ["word"])
            return json.dumps([{"message": 0, "quote": quote, "occurrence": 1, "reason": "unclear"}])
        if "JSON object" in request:
            return json.dumps({"1": {"new": f"{rng.choice(WORDS)} {rng.choice(WORDS)}", "reason": "clearer"}})
        return "- the wording is unclear"

    return reply


def rows(rng: Random, group: int) -> list[dict[str, Any]]:
    out = []
    for split, n in (("train", 12), ("dev", 16), ("test", 60)):
        for i in range(n):
            metadata = {"id": f"{split}-{i}", "split": split, "thread": f"{split}-{i // group}"}
            word = f"{split}-{i}-{rng.randrange(10**9)}"
            out.append({"inputs": {"word": word}, "outputs": {"answer": rng.choice(LABELS)}, "metadata": metadata})
    return out


def whole_run(world: World, data: list[dict[str, Any]], seed: str, openings: Path) -> tuple[bool, bool]:
    """One call of `optimize`: whether it ended as improved, and whether it had another prompt to test."""
    rng = Random(f"{world.name}/{seed}")
    task = ScriptedModel(fn=world.task(rng), model_name="task")
    try:
        result = optimize(
            ChatPromptTemplate.from_template(PROMPT) | task | StrOutputParser(),
            data=data,
            evaluators=[world.evaluator(rng)],
            method="lpo-pe2",
            optimizer_model=ScriptedModel(fn=tinker(rng), model_name="optimizer"),
            gate=world.gate,
            columns={"word": "word"} if world.group == 1 else _grouped(),
            seed=rng.randrange(2**31),
            runs_dir=None,
            openings=openings,
            apply="never",
        )
    except DataError as error:  # a baseline that is all right or all wrong on dev
        print(f"{world.name}/{seed}: {error}", file=sys.stderr)
        return False, False
    return result.outcome == "improved", result.best.id != result.baseline.id


def _grouped() -> Any:
    from langchain_promptopt._data import Columns

    return Columns(inputs={"word": "word"}, group="thread")


def series(world: World, seed: int) -> tuple[bool, int]:
    """Whether any run of the series ended as improved, and how many had something to test."""
    data = rows(Random(f"{world.name}/{seed}"), world.group)
    with tempfile.TemporaryDirectory() as folder:
        found = [whole_run(world, data, f"{seed}/{n}", Path(folder) / "openings.jsonl") for n in range(world.nights)]
    return any(improved for improved, _ in found), sum(changed for _, changed in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs of each world")
    parser.add_argument("--series", type=int, default=20, help="series of 30 runs of each world that has them")
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    given = parser.parse_args()
    print("\n| world | whole runs | had a new prompt to test | improved | promised | kept | s |")
    print("|---|---|---|---|---|---|---|")
    sound = True
    for world in worlds():
        if given.only not in world.name:
            continue
        started, times = time.perf_counter(), given.runs if world.nights == 1 else given.series
        found = [series(world, i) for i in range(times)]
        passed, changed = sum(improved for improved, _ in found), sum(n for _, n in found)
        promise = FIRST if world.nights == 1 else ALPHA
        low, high = wilson(passed, times)
        kept = low <= promise
        seen = f"{passed} of {times}: {passed / times * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f})"
        seconds = time.perf_counter() - started
        print(
            f"| {world.name} | {times * world.nights} | {changed} | {seen} | <= {promise * 100:.1f} % |"
            f" {'yes' if kept else 'NO'} | {seconds:.0f} |",
            flush=True,
        )
        sound = sound and kept
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
