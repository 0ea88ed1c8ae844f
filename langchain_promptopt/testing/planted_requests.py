"""What a conversation of the steps asks for, read from the wording of the meta-prompt files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_promptopt.steps.base import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KINDS = {
    "gradient.apo": "reasons",
    "gradient.pe2": "reasons",
    "identify.quote": "quote",
    "propose.slots": "slots",
    "global.edit": "global",
    "induce": "induce",
    "summarise": "summary",
}
_GOALS = ("edit", "generate", "paraphrase")


@dataclass(frozen=True)
class Asked:
    """One request with the material it may be answered from."""

    kind: str
    goal: str
    prompt: str
    opening: str
    errors: tuple[Mapping[str, Any], ...]
    formats: tuple[Mapping[str, Any], ...]
    history: tuple[Mapping[str, Any], ...]
    reasoned: bool
    allowance: int | None
    cap: int | None
    k_max: int
    w_max: int | None
    marked: str


@cache
def _print_of(name: str) -> str:
    """The longest stretch of a meta-prompt between its places."""
    return max((_folded(p) for p in re.split(r"\$\{?\w+\}?", load(name))), key=len)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _kind(told: str) -> str | None:
    return next((kind for name, kind in _KINDS.items() if _print_of(name) in told), None)


def asked(turns: Sequence[tuple[str, str]]) -> Asked:
    """The last request that is known by its wording; a remark about a bad reply leads back to it."""
    human = [(text, _folded(text)) for role, text in turns if role in {"human", "user"}]
    at, kind = next(((i, k) for i in range(len(human) - 1, -1, -1) if (k := _kind(human[i][1])) is not None), (-1, ""))
    text, told = human[at]
    opening = human[0][0]
    return Asked(
        kind=kind,
        goal=next(
            (g for g in _GOALS for room in ("propose", "global") if _print_of(f"{room}.goal-{g}") in told), "edit"
        ),
        prompt=section(opening, "prompt"),
        opening=f"{section(opening, 'prompt')}\n{section(opening, 'errors')}\n{section(opening, 'examples')}",
        errors=_objects(section(opening, "errors")),
        formats=_objects(section(opening, "examples")),
        history=_objects(section(opening, "history")),
        reasoned=any(_kind(t) == "reasons" for _, t in human[:at]),
        allowance=_number(r"change at most (\d+) words", told),
        cap=_number(r"may have at most (\d+) words", told),
        k_max=_number(r"JSON list of at most (\d+) objects", told) or 5,
        w_max=_number(r"Each quote has at most (\d+) words", told),
        marked=section(text, "marked"),
    )


@cache
def _section_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"^<({name}(?:-[0-9a-f]{{6}})*)>\n(.*?)\n</\1>", re.S | re.M)


def section(text: str, name: str) -> str:
    """The body of a marked section, or nothing."""
    found = _section_pattern(name).search(text)
    return found.group(2) if found else ""


def _objects(body: str) -> tuple[Mapping[str, Any], ...]:
    values = (json.loads(line) for line in body.split("\n") if line.startswith("{"))
    return tuple(v for v in values if isinstance(v, dict))


def _number(pattern: str, told: str) -> int | None:
    found = re.search(pattern, told)
    return int(found.group(1)) if found else None


def slots_of(marked: str) -> list[tuple[int, int]]:
    """The marked places as offsets of the text without marks."""
    out, plain, opened = list[tuple[int, int]](), 0, 0
    for piece in re.split(r"(</?edit[\w-]*>)", marked):
        if piece.startswith("<edit"):
            opened = plain
        elif piece.startswith("</edit"):
            out.append((opened, plain))
        else:
            plain += len(piece)
    return out
