"""Where an edit stands, for the eye: its line, the heading above, and the line before and after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_promptopt.report.lineage import FinalEdit

_HEADING = re.compile(r"^#{1,6}[ \t]+(.*\S)[ \t]*$", re.MULTILINE)
_BEFORE, _AFTER = 72, 40
"""Characters of the line shown on either side of a change."""


@dataclass(frozen=True)
class Place:
    """The surroundings of an edit: kept text on its line, what goes and what comes between it.

    Args:
        line: Line in the message's template, from 1.
        heading: The Markdown heading above, or "".
        left: Kept text before, shortened at its start.
        removed: What goes.
        added: What comes.
        right: Kept text behind, shortened at its end.
    """

    line: int
    heading: str
    left: str
    removed: str
    added: str
    right: str

    @property
    def title(self) -> str:
        """The place in words."""
        return f"line {self.line}" + (f', under "{self.heading}"' if self.heading else "")


def place_of(template: str, edit: FinalEdit) -> Place:
    """Where in `template`, the baseline's text of its message, an edit stands."""
    head, removed, added, tail = edit.core
    start, end = edit.start + len(head), edit.end - len(tail)
    at_line = start == 0 or template[start - 1] == "\n"
    if at_line and removed.endswith("\n") and (not added or added.endswith("\n")):  # the next line is not concerned
        removed, added, end = removed.removesuffix("\n"), added.removesuffix("\n"), end - 1
    elif removed.startswith("\n") and not added:  # the last line
        removed, start = removed.removeprefix("\n"), start + 1
    left = template[template.rfind("\n", 0, start) + 1 : start]
    stop = template.find("\n", end)
    right = template[end : stop if stop >= 0 else len(template)]
    above = [m.group(1) for m in _HEADING.finditer(template, 0, start)]
    return Place(
        line=template.count("\n", 0, start) + 1,
        heading=above[-1] if above else "",
        left=_ending(left),
        removed=removed,
        added=added,
        right=_beginning(right),
    )


def _ending(text: str) -> str:
    return text if len(text) <= _BEFORE else "… " + text[-_BEFORE:].partition(" ")[2].lstrip()


def _beginning(text: str) -> str:
    return text if len(text) <= _AFTER else text[:_AFTER].rpartition(" ")[0].rstrip() + " …"
