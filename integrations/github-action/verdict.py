"""The answers of `promptopt compare` for all prompts of a pull request: one outcome, one comment, one exit code."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ORDER = ("improved", "no_gain", "inconclusive", "worse", "budget", "interrupted", "failed")
MARKER = "<!-- promptopt-gate -->"
ANNOTATION = "::error title=promptopt::"
LIMIT = 65_000
_SHORTENED = "\n… shortened; the whole report is in the job summary.\n"
_REFUSED = {"worse": {"worse"}, "not-improved": {"worse", "no_gain", "inconclusive"}, "never": set[str]()}


@dataclass(frozen=True)
class Decided:
    """What `promptopt compare` said about one file."""

    path: str
    code: int
    answer: dict[str, Any]
    text: str

    @property
    def outcome(self) -> str:
        """The outcome; "worse" where the whole interval of the deciding metric lies below zero, or a guard broke."""
        table = self.answer["test"]
        interval = table[0].get("interval") if table else None
        fell = bool(interval) and interval[1] is not None and interval[1] < 0
        broke = any(entry.get("role") == "guard" and entry.get("verdict") == "broken" for entry in table)
        return "worse" if fell or broke else str(self.answer["outcome"])


def publish(decided: Sequence[Decided], comment: Path) -> None:
    """Write comment, job summary and outputs."""
    parts = [_titled(one) for one in decided] or ["\n\nNo prompt was touched.\n"]
    comment.parent.mkdir(parents=True, exist_ok=True)
    comment.write_text(MARKER + "".join(fitted(parts, LIMIT - len(MARKER))), encoding="utf-8")
    write_summary("".join(parts).strip() + "\n")
    worst = max((d.outcome for d in decided), key=_badness, default="unchanged")
    write_output("outcome", worst)
    write_output("compared", str(len(decided)))


def exit_code(decided: Sequence[Decided], fail_on: str) -> int:
    """What could not be decided fails the step with its own code; what was refused fails it with 3."""
    broken = [one.code for one in decided if one.code not in (0, 3)]
    if broken:
        return broken[0]
    refused = [one for one in decided if one.outcome in _REFUSED[fail_on]]
    for one in refused:
        print(ANNOTATION + escaped(f"{one.path}: {one.outcome}, see the job summary"), flush=True)
    return 3 if refused else 0


def _badness(outcome: str) -> int:
    return ORDER.index(outcome) if outcome in ORDER else len(ORDER)


def _titled(one: Decided) -> str:
    return f"\n\n**Prompt {code_span(one.path)}**{one.text.removeprefix(MARKER)}"


def fitted(parts: Sequence[str], limit: int) -> list[str]:
    """The parts, whole blocks cut from the end of the longest until all of them fit."""
    sizes = sorted(map(_size, parts))
    left, share = limit, limit
    for number, size in enumerate(sizes):  # what short parts leave over goes to the long ones
        share = left // (len(sizes) - number)
        if size > share:
            break
        left -= size
    return [part if _size(part) <= share else _cut(part, share) for part in parts]


def _cut(part: str, limit: int) -> str:
    room = limit - _size(_SHORTENED)
    while part and _size(part) > room:
        part = part.rstrip("\n").rpartition("\n\n")[0]
    return part + "\n" + _SHORTENED


def _size(text: str) -> int:
    """Length in UTF-16 units, as the strictest reader counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def failure_text(message: str) -> str:
    """The comment of a step that did not come to a report."""
    return f"{MARKER}\n\n## ❌ promptopt: failed\n\n{code_span(message[:3000])}\n"


def code_span(text: str) -> str:
    """Text from outside, such as a file name, as Markdown that it cannot leave."""
    flat = re.sub(r"[\s\x00-\x1f]+", " ", text.encode("utf-8", "replace").decode()).replace("`", "'")
    return f"`{flat.strip() or '?'}`"


def escaped(text: str) -> str:
    """Text as the data of a workflow command."""
    printable = text.encode("utf-8", "replace").decode()
    return printable.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def write_output(name: str, value: str) -> None:
    """One of our own words as a step output; the last line of a name counts."""
    _append("GITHUB_OUTPUT", f"{name}={value}\n")


def write_summary(text: str) -> None:
    """Append to the job summary."""
    _append("GITHUB_STEP_SUMMARY", text)


def _append(variable: str, text: str) -> None:
    with open(os.environ.get(variable) or os.devnull, "a", encoding="utf-8") as out:
        out.write(text)
