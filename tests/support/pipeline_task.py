"""A small job for pipeline tests: tickets, a prompt with one wrong rule, and the config that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROMPT = """Choose the label of the message.

## Labels
- billing: invoice, charge, sum
- delivery: parcel, late
- account: password, log in

## Rules
- If the message mentions "refund", answer billing.

## Output
Answer with the label only.

Message: {ticket}"""
GOOD = PROMPT.replace('mentions "refund", answer billing', 'mentions "refund", answer delivery')
KINDS = (
    ("My invoice shows a wrong sum", "billing"),
    ("My parcel never came, refund it", "delivery"),
    ("My password is not accepted", "account"),
    ("My parcel is missing, I want a refund", "delivery"),
)


def rows(train: int = 8, dev: int = 8, test: int = 24, *, start: int = 0) -> list[dict[str, Any]]:
    """Every second row is wrong under PROMPT."""
    out = []
    for split, n in (("train", train), ("dev", dev), ("test", test)):
        for i in range(start, start + n):
            text, label = KINDS[i % len(KINDS)]
            name = f"{split}-{i}"
            out.append(
                {
                    "inputs": {"ticket": f"{text}, case {name}"},
                    "outputs": {"label": label},
                    "metadata": {"id": name, "split": split},
                }
            )
    return out


def write_task(folder: Path, prompt: str = PROMPT, data: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Prompt and rows as files in `folder`, and the configuration that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompt.txt").write_text(prompt)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data or rows()))
    return {
        "task": {"prompt": "prompt.txt", "model": "offline"},
        "data": {"source": "rows.jsonl"},
        "evaluate": {"evaluators": ["exact_match"]},
        "optimize": {"model": "offline", "method": "lpo-pe2"},
    }
