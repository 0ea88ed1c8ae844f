"""Tags against planted faults: which marks stood on a fault, and which faults were marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt.testing.planted_text import units_of

if TYPE_CHECKING:
    from langchain_promptopt.bench.planted import StepWatch, Watch
    from langchain_promptopt.testing.planted import World


def faulty_ranges(world: World, text: str) -> list[tuple[int, int]]:
    """Where the faults of a text stand: wrong values, stray topics, garbled words, the wrong frame."""
    out = []
    for unit in units_of(text):
        truth = world.truth.get(unit.topic)
        if unit.poison:
            out.append(unit.poisoned)
        elif unit.decoy and not unit.topic:
            out.append(unit.place(unit.decoy))
        elif truth is not None and unit.value and unit.value != truth:
            out.append(unit.place(unit.value))
        if unit.old_frame:
            out.append(unit.place("ledger"))
    return out


def tag_quality(world: World, search: StepWatch, watch: Watch) -> tuple[float | None, float | None]:
    """Precision and recall of all marks of a run; None without any mark or fault."""
    prompts = {a.candidate.id: a.candidate.prompts for a in search.standing.trajectory}
    hits = marks = found = there = 0
    for event in watch.identified:
        data: Any = event
        if data.candidate_id not in prompts or data.protocol == "joined":
            continue
        faults = faulty_ranges(world, prompts[data.candidate_id].document.text)
        spans = [(s["start"], s["end"]) for s in data.spans if s["end"] > s["start"]]
        marks += len(spans)
        hits += sum(any(a < d and c < b for c, d in faults) for a, b in spans)
        there += len(faults)
        found += sum(any(a < d and c < b for a, b in spans) for c, d in faults)
    return (hits / marks if marks else None), (found / there if there else None)
