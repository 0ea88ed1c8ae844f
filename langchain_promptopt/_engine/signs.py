"""Failure signatures of algorithms 1.6, noticed while a search runs: each becomes an incident of role "method".

What is answered inside a strategy or a step (marks trimmed, marks stripped, one global step) is only
told here; what needs the archive (marks that help no more than chance) is found here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.events import Incident

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt.types import Attempt, Rejection

PAIRS = 20
"""Children by marks, each paired with its parent, before their mean gain says anything (spec 1.6)."""

_ANSWERS = {"tag_leak": "marks stripped", "effectively_global": "marks trimmed"}
_STOPS = {"overfitting": "overfitting", "dev is saturated": "dev_saturated", "plateau": "plateau"}


def method_incident(kind: str, action: str, detail: str) -> Incident:
    """An incident of the method itself: nothing is broken, something is noteworthy."""
    return Incident(role="method", kind=kind, retryable=False, action=action, detail=detail)


def tell_remarks(run: Run, remarks: Iterable[Rejection]) -> None:
    """What a step noticed and mended by itself."""
    for r in remarks:
        run.emit(method_incident(r.rule, _ANSWERS.get(r.rule, "noted"), r.detail))


def tell_stop(run: Run, reason: str) -> None:
    """A stop that is a failure signature: overfitting, saturation, plateau."""
    for begins, kind in _STOPS.items():
        if reason.startswith(begins):
            run.emit(method_incident(kind, "stop search", reason))


def tell_global_step(run: Run, step: int, stalled: int) -> None:
    """A local method that takes a global step, told once a step whichever proposal comes first."""
    if ("global", step) not in run.told:
        run.told.add(("global", step))
        detail = f"step {step}: no gain for {stalled} {'step' if stalled == 1 else 'steps'}"
        run.emit(method_incident("plateau", "one global step", detail))


def marks_astray(trajectory: Sequence[Attempt]) -> str | None:
    """Why marks count as no better than chance: enough children by marks, and no gain over their parents on average."""
    gains = [a.gain for a in trajectory if a.candidate.scope == "spans" and a.candidate.parents and a.n]
    if len(gains) < PAIRS or sum(gains) > 0:
        return None
    return f"{len(gains)} children by marks gained {sum(gains) / len(gains):+.3f} on average"


def tell_astray(run: Run, why: str | None) -> bool:
    """Whether marks went astray, told when that is first so."""
    if why is not None and ("astray", 0) not in run.told:
        run.told.add(("astray", 0))
        run.emit(method_incident("irrelevant_tags", "wider marks", why))
    return why is not None
