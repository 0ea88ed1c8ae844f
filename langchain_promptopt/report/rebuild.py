"""From the journal alone: every candidate's text, made again from its parent and edits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_promptopt.errors import DataError

Prompts: TypeAlias = Sequence[Mapping[str, Any]]
"""Prompts as `run.started` and `proposed` carry them."""


def rebuild(events: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Candidate id -> prompts, each made by splicing the recorded edits into its parent's text.

    The `prompts` field of `proposed` is not read, except for candidates without a known parent
    (written from nothing by a seeding method). Raises DataError where an edit does not fit.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        data = event["data"]
        if event["type"] == "run.started":
            made[data["seed_candidate_id"]] = [dict(p) for p in data["prompts"]]
        elif event["type"] == "proposed" and data["candidate_id"] not in made:
            parent = made.get(data["parent_id"])
            made[data["candidate_id"]] = (
                [dict(p) for p in data["prompts"]] if parent is None else splice(parent, data["edits"])
            )
    return made


def splice(prompts: Prompts, edits: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`prompts` with the edits made; offsets count code points of the text before any of them.

    >>> prompt = {"name": "p", "messages": [{"role": "human", "template": "Be brief. {q}"}]}
    >>> edit = {"prompt": "p", "message": 0, "start": 3, "end": 8, "old": "brief", "new": "exact"}
    >>> splice([prompt], [edit])[0]["messages"][0]["template"]
    'Be exact. {q}'
    """
    by_message: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for edit in edits:
        by_message[edit["prompt"], edit["message"]].append(edit)
    out = []
    for prompt in prompts:
        messages = [
            {**m, "template": _spliced(m["template"], by_message.pop((prompt["name"], i), []))}
            for i, m in enumerate(prompt["messages"])
        ]
        out.append({**prompt, "messages": messages})
    if by_message:
        name, message = next(iter(by_message))
        msg = f"an edit names message {message} of prompt {name!r}, which the parent does not have"
        raise DataError(msg, where="journal")
    return out


def in_order(edits: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Edits of one message as they follow each other in the text."""
    return sorted(edits, key=lambda e: (e["start"], e["end"], e["new"]))


def _spliced(text: str, edits: list[Mapping[str, Any]]) -> str:
    out, at = [], 0
    for edit in in_order(edits):
        start, end = edit["start"], edit["end"]
        if start < at or end > len(text) or text[start:end] != edit["old"]:
            msg = f"an edit does not fit the parent's text at {start}-{end}: {edit['old']!r}"
            raise DataError(msg, where="journal", mend="The journal was changed after it was written.")
        out += [text[at:start], edit["new"]]
        at = end
    return "".join([*out, text[at:]])
