"""The rows of a request as cases: input text, expected label, given label, in terms of the prompt's manual."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt.offline.judging import judge
from langchain_promptopt.offline.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.offline.conversation import Request, Row
    from langchain_promptopt.offline.manual import Manual


@dataclass(frozen=True, slots=True)
class Case:
    """One row: `expected` and `given` are labels of the manual (-1 where there is none)."""

    id: str
    text: str
    expected: int
    given: int
    answer: str
    wanted: str

    @property
    def misput(self) -> bool:
        """The right label in a wrong form."""
        return self.expected >= 0 and self.given == self.expected and self.answer != self.wanted


@dataclass(frozen=True)
class Evidence:
    """What a request teaches: the prompt as read, the rows to mend and the rows to keep."""

    prompt: str
    manual: Manual
    errors: tuple[Case, ...]
    kept: tuple[Case, ...]

    @property
    def all(self) -> tuple[Case, ...]:
        """Every row shown."""
        return (*self.errors, *self.kept)


def evidence_of(request: Request) -> Evidence:
    """The request's rows as cases. Format examples count as errors where a reader of the prompt would err."""
    manual = read(request.prompt)
    errors = [c for c in (_case(r, request.prompt, manual) for r in request.errors) if c.expected >= 0]
    kept = [c for c in (_case(r, request.prompt, manual) for r in request.correct) if c.expected >= 0]
    for row in request.examples:
        case = _case(row, request.prompt, manual)
        if case.expected >= 0:
            (kept if answered(manual, case.text) == case.expected else errors).append(case)
    return Evidence(request.prompt, manual, tuple(errors), tuple(kept))


def answered(manual: Manual, text: str) -> int:
    """The label a reader of the manual gives, -1 for none."""
    judgement = judge(manual, text)
    return -1 if judgement is None else judgement.label


def _case(row: Row, prompt: str, manual: Manual) -> Case:
    shown = [v for k, v in row.inputs.items() if re.search(rf"\{{\s*{re.escape(str(k))}\b", prompt)]
    text = "\n".join(_plain(v) for v in (shown or row.inputs.values()))
    wanted, answer = leaves(row.expected), leaves(row.answer)
    expected = _first_label(wanted, manual)
    given = _first_label(answer, manual)
    return Case(
        id=row.id,
        text=text,
        expected=expected,
        given=given if given >= 0 else answered(manual, text),
        answer=answer[0].strip() if answer else "",
        wanted=wanted[0].strip() if wanted else "",
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(leaves(value))


def leaves(value: Any) -> list[str]:
    """All leaves of a value as texts."""
    if isinstance(value, dict):
        return [t for v in value.values() for t in leaves(v)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in leaves(v)]
    return [] if value is None else [str(value)]


def _first_label(texts: Iterable[str], manual: Manual) -> int:
    names = [_folded(label.name) for label in manual.labels]
    for text in texts:
        folded = _folded(text)
        if folded in names:
            return names.index(folded)
    for text in texts:
        inside = [i for i, n in enumerate(names) if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", _folded(text))]
        if inside:
            return max(inside, key=lambda i: len(names[i]))
    return -1


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").strip(" .!\"'`\n").casefold().split())
