"""The built-in demo: support tickets written for this package, and a long prompt with some wrong rules."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def demo_rows() -> list[dict[str, Any]]:
    """Rows with `inputs`, `outputs` and `metadata` (id and split), in a fixed order."""
    text = (resources.files(__name__) / "tickets.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def demo_prompt() -> str:
    """The f-string prompt the demo starts from."""
    return (resources.files(__name__) / "prompt.txt").read_text("utf-8").rstrip("\n")
