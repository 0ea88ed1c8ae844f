"""A text with every white space run as one blank, and the way back to the original offsets."""

from __future__ import annotations

import re
from bisect import bisect_right

_BLANKS = re.compile(r"\s+")


class Squeezed:
    """`text` is the squeezed form; `source` turns its offsets into those of the original.

    >>> s = Squeezed("a  b")
    >>> s.text, s.source(s.text.index("b"))
    ('a b', 3)
    """

    def __init__(self, original: str) -> None:
        parts, at, length = list[str](), 0, 0
        self._narrow, self._wide = [0], [0]
        for run in _BLANKS.finditer(original):
            parts += [original[at : run.start()], " "]
            length += run.start() - at + 1
            at = run.end()
            self._narrow.append(length)
            self._wide.append(at)
        self.text = "".join((*parts, original[at:]))

    def source(self, offset: int) -> int:
        """Original offset of a squeezed one; the blank of a run stands at the run's beginning."""
        i = bisect_right(self._narrow, offset) - 1
        return self._wide[i] + offset - self._narrow[i]
