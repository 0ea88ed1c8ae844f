"""Journals as a run would write them, made for tests of reports and verbs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from langchain_promptopt.types import Edit, PromptSet
from langchain_promptopt.types.edits import with_edits

SYSTEM = """You sort messages of the shop's customers.

## Labels
- billing: money that was taken, invoices, double charges
- delivery: parcels that are late, lost or broken
- account: log in, password, e-mail address

## Rules
1. Read the whole message before you answer.
2. A message about a refund is always billing.
3. If two labels fit, take the first one in the list.
4. Answer with one label in JSON, for example {{"label": "billing"}}.

## Tone
The customer never sees your answer, so be short.
"""
HUMAN = "{ticket}"


def ident(value: object) -> str:
    """A stand-in for a content hash."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def edit(
    text: str, old: str, new: str, reason: str = "", rows: tuple[str, ...] = (), message: int = 0
) -> dict[str, Any]:
    """An edit of the first place where `old` stands in `text`."""
    start = text.index(old)
    return {
        "prompt": "main", "message": message, "start": start, "end": start + len(old),
        "old": old, "new": new, "reason": reason, "example_ids": list(rows),
    }  # fmt: skip


def usage(calls: int = 1, given: int = 300, taken: int = 12, usd: float | None = 0.0001) -> dict[str, Any]:
    """Usage as events carry it."""
    return {
        "calls": calls, "input_tokens": given, "output_tokens": taken,
        "cache_read_tokens": 0, "usd": usd, "seconds": 0.1,
    }  # fmt: skip


class Journal:
    """Collects events; `lines` are what a reader of the journal sees."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def add(self, event: str, /, **data: Any) -> None:
        """One event."""
        seq = len(self.lines)
        time = f"2026-11-21T09:{seq // 60 % 60:02}:{seq % 60:02}Z"
        self.lines.append({"seq": seq, "time": time, "type": event, "data": data})

    def start(self, system: str = SYSTEM, human: str = HUMAN, **changes: Any) -> tuple[str, list[dict[str, Any]]]:
        """`run.started`; returns the baseline's id and prompts."""
        messages = [{"role": "system", "template": system}, {"role": "human", "template": human}]
        prompts = [
            {
                "name": "main",
                "source": "my_app.chain:chain",
                "template_format": "f-string",
                "messages": messages,
                "variables": ["ticket"],
            }
        ]
        data: dict[str, Any] = {
            "run_id": "c0ffee12ab34cd56", "version": "0.1.0", "method": "lpo-pe2", "recipe": {}, "seed": 0,
            "gate": {"primary": "exact_match", "weights": {}, "alpha": 0.05},
            "models": {"task": "openai:gpt-4o-mini", "optimizer": "openai:gpt-4o"},
            "evaluators": [{"name": "exact_match", "hash": "1"}],
            "data": {"source": "support-triage", "as_of": None, "splits": {"train": 60, "dev": 60, "test": 80}},
            "seed_candidate_id": ident(prompts), "prompts": prompts,
        }  # fmt: skip
        self.add("run.started", **(data | changes))
        return ident(prompts), prompts

    def propose(
        self, parent: tuple[str, list[dict[str, Any]]], step: int, *edits: dict[str, Any], scope: str = "spans"
    ) -> tuple[str, list[dict[str, Any]]]:
        """`proposed`; returns the child's id and prompts."""
        made = with_edits(PromptSet.from_json(parent[1]), [Edit.from_json(e) for e in edits])
        prompts = []
        for old, new in zip(parent[1], made, strict=True):
            texts = zip(old["messages"], new.messages, strict=True)
            prompts.append(old | {"messages": [m | {"template": after.template} for m, after in texts]})
        child = ident(prompts)
        self.add(
            "proposed",
            parent_id=parent[0],
            candidate_id=child,
            step=step,
            scope=scope,
            edits=list(edits),
            prompts=prompts,
        )
        return child, prompts

    def score(
        self, candidate: str, split: str, values: list[float], outputs: list[Any] | None = None, **more: Any
    ) -> None:
        """`scored` for each row and `evaluated` for all."""
        for i, value in enumerate(values):
            data: dict[str, Any] = {
                "candidate_id": candidate, "split": split, "example_id": f"{split}-{i}", "repeat": 0,
                "scores": {"exact_match": value}, "comments": {}, "failure": None, "cached": False,
                "usage": usage(), "model_served": None, "output": outputs[i] if outputs else None,
            }  # fmt: skip
            self.add("scored", **{**data, **more})
        mean = sum(values) / len(values)
        self.add(
            "evaluated",
            candidate_id=candidate,
            split=split,
            n=len(values),
            score=mean,
            failures=0,
            cached=0,
            usage=usage(len(values)),
        )


def improved_run(**changes: Any) -> list[dict[str, Any]]:
    """A finished run of two steps whose winner passed the gate."""
    journal = Journal()
    seed = journal.start(**changes)
    text = seed[1][0]["messages"][0]["template"]
    journal.score(seed[0], "dev", [1, 0, 0, 1, 0, 1, 0, 1, 0, 1])
    journal.add("called", key="1/p/0", role="optimizer", step=1, reply="...", usage=usage(1, 900, 200, 0.004))
    first = journal.propose(
        seed, 1,
        edit(text, "is always billing", "is billing only when money was taken",
             "Three messages ask where a refunded parcel is; they are about delivery.",
             ("train-3", "train-9", "train-17")),
    )  # fmt: skip
    other = journal.propose(seed, 1, edit(text, "so be short", "so be brief", "Shorter answers."))
    journal.add("rejected", parent_id=seed[0], step=1, rule="VARS", detail="lost {ticket}")
    journal.add("rejected", parent_id=seed[0], step=1, rule="VARS", detail="new variable {answer}")
    journal.add("rejected", parent_id=seed[0], step=1, rule="unchanged", detail="")
    journal.score(first[0], "dev", [1, 1, 0, 1, 0, 1, 0, 1, 1, 1])
    journal.score(other[0], "dev", [1, 0, 0, 1, 0, 1, 0, 1, 0, 1])
    journal.add("selected", step=1, kept=[first[0]], dropped=[{"candidate_id": other[0], "why": "score"}])
    current = first[1][0]["messages"][0]["template"]
    second = journal.propose(
        first, 2,
        edit(current, "only when money was taken", "only when money was taken or is missing",
             "A refund that never arrived is a money problem.", ("train-21",)),
        edit(current, "the first one in the list", "the one the customer asks to be solved",
             "List order sent password questions with an invoice number to billing.", ("train-4", "train-30")),
    )  # fmt: skip
    journal.score(second[0], "dev", [1, 1, 1, 1, 0, 1, 0, 1, 1, 1])
    journal.add("selected", step=2, kept=[second[0], first[0]], dropped=[])
    journal.add("incident", role="task", kind="rate_limit", retryable=True, action="waited 2 s and tried again")
    old, new = [1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]
    names = {0: "delivery", 1: "billing"}
    journal.score(seed[0], "test", old, [names[v] for v in old])
    journal.score(second[0], "test", new, [names[v] for v in new])
    journal.add(
        "tested",
        metrics=[
            {
                "metric": "exact_match", "baseline": 0.583, "best": 0.917, "difference": 0.333,
                "interval": [0.08, 0.58], "p_value": 0.031, "n": 12, "clusters": 12, "wins": 5, "losses": 1,
                "verdict": "improved", "minimum_detectable_effect": 0.3, "opening": 1,
            }
        ],
        verdict="improved", opening=1, detail={},
    )  # fmt: skip
    spent = {"task": usage(64, 19200, 768, 0.0064), "optimizer": usage(9, 8100, 1800, 0.036)}
    journal.add(
        "run.finished", outcome="improved", exit_code=0, best_candidate_id=second[0],
        usage={"calls": 73, "tokens": 29868, "usd": 0.0424, "by_role": spent},
    )  # fmt: skip
    return journal.lines


def rows_of(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Inputs and reference outputs for every scored example of a journal."""
    ids = {e["data"]["example_id"] for e in lines if e["type"] == "scored"}
    return {
        i: {"inputs": {"ticket": f"Where is my refund? ({i})"}, "outputs": {"label": "billing"}} for i in sorted(ids)
    }


def keep_improved_run(folder: Path, run_id: str) -> None:
    """Write the journal of `improved_run` where a command in `folder` looks for the run."""
    home = folder / ".promptopt" / "runs" / run_id
    home.mkdir(parents=True)
    lines = [{**line, "seq": i} for i, line in enumerate(improved_run(), start=1)]
    (home / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
