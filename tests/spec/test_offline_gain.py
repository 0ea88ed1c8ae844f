"""The offline models improve the demo and benchmark prompts from errors alone, whatever the labels are called."""

from __future__ import annotations

import json
import random
import re
import string

import pytest

from langchain_promptopt.gate.exact import sign_flip_p
from langchain_promptopt.offline import demo_prompt, demo_rows, label_prompt
from langchain_promptopt.offline.instructions import read
from tests.support.offline_loop import Task, hits, search
from tests.support.shared_data import shared


def demo_task(rename: dict[str, str] | None = None) -> Task:
    rows = demo_rows()
    splits = {
        split: tuple(
            (
                r["metadata"]["id"],
                r["inputs"]["ticket"],
                (rename or {}).get(r["outputs"]["label"], r["outputs"]["label"]),
            )
            for r in rows
            if r["metadata"]["split"] == split
        )
        for split in ("train", "dev", "test")
    }
    return Task(**splits, variable="ticket")


def renamed_prompt(rename: dict[str, str]) -> str:
    """The demo prompt with every label renamed where it stands as a label, and nowhere else."""
    names = "|".join(rename)
    return re.sub(
        rf"(?<=- )({names})(?=:)|(?<=answer )({names})\b", lambda m: rename[m.group()], demo_prompt(), flags=re.I
    )


def random_names(labels: set[str], seed: int) -> dict[str, str]:
    rng = random.Random(seed)
    return {label: "".join(rng.choices(string.ascii_lowercase, k=9)) for label in sorted(labels)}


def clear_gain(task: Task, prompt: str) -> tuple[float, float]:
    """Test accuracy before and after a search on train and dev; the paired gain is significant."""
    best = search(task, prompt)
    before, after = hits(task, prompt, "test"), hits(task, best, "test")
    p = sign_flip_p([float(b - a) for a, b in zip(before, after, strict=True)])
    assert p < 0.01, (sum(before), sum(after), best)
    return sum(before) / len(before), sum(after) / len(after)


def test_offline_gain_on_held_out_tickets():
    before, after = clear_gain(demo_task(), demo_prompt())
    assert 0.55 <= before <= 0.72
    assert after >= before + 0.1


@pytest.mark.parametrize("seed", [1, 2])
def test_offline_gain_stays_when_every_label_is_renamed(seed):
    rename = random_names({label for _, _, label in demo_task().train}, seed)
    prompt = renamed_prompt(rename)
    assert {label.name for label in read(prompt).labels} == set(rename.values())
    assert not re.search(rf"answer ({'|'.join(rename)})\b", prompt)
    _, after = clear_gain(demo_task(rename), prompt)
    assert after >= 0.7


def benchmark(folder: str, n_train: int, n: int) -> Task:
    base = shared(folder)
    if base is None:
        pytest.skip(f"the benchmark rows of {folder} are not on this machine")
    splits = {}
    for split in ("train", "dev", "test"):
        rows = [json.loads(line) for line in (base / f"{split}.jsonl").read_text("utf-8").splitlines()]
        chosen = random.Random(split).sample(rows, min(len(rows), n_train if split == "train" else n))
        splits[split] = tuple((r["metadata"]["id"], r["inputs"]["question"], r["outputs"]["answer"]) for r in chosen)
    return Task(**splits, variable="question")


@pytest.mark.parametrize("folder", ["banking77/main", "clinc150/small"])
def test_offline_models_run_on_benchmarks_far_above_chance_and_improve_on_dev(folder):
    task = benchmark(folder, 300, 300)
    base = shared(folder)
    labels = sorted(
        {json.loads(r)["outputs"]["answer"] for r in (base / "train.jsonl").read_text("utf-8").splitlines()}
    )
    prompt = label_prompt(labels, variable="question")
    before = hits(task, prompt, "dev")
    assert sum(before) / len(before) > 20 / len(labels)
    best = search(task, prompt, steps=2, beam=2, batches=2, errors=5)
    assert sum(hits(task, best, "dev")) > sum(before)
