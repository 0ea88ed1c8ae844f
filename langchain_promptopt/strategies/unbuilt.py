"""Options of the field that are not built, by name, each with what to use instead (algorithms 5.2).

An option is finished when a preset or a bench row uses it; until then it is refused by name.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from langchain_promptopt.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

UNBUILT: dict[str, dict[str, str]] = {
    "seeding": {
        "empty": "Start from a short neutral prompt with seeding Manual.",
        "file": "Load the prompt yourself and give it as the task; `start_edits` takes edits of an earlier run.",
        "pool": "Run the search once for each start, or use Induction for many starts.",
    },
    "evidence": {
        "accumulative": "ErrorBatches shows errors; rows that every candidate fails are listed in `result.health`.",
        "mostwrong": "ErrorBatches shows errors; rows that every candidate fails are listed in `result.health`.",
    },
    "feedback": {
        "summar": "Gradient(reasons=n) follows each reason by itself.",
    },
    "memory": {
        "feedback": "Relevance, Recency, Importance and TopByScore remember prompts; TopEdits remembers edits.",
        "display": "Scores are shown as whole numbers from 0 to 100 (OPRO's 100 buckets).",
    },
    "scope": {
        "message": 'Freeze the other messages: freeze=["message:0", ...].',
        "fence": "FixedSpans(quotes=...) takes places by their text.",
    },
    "control": {
        "temperature": 'Cosine(unit="words") or unit="spans"; Refine(temperature=...) is fixed.',
    },
    "proposals": {
        "errorscore": "Paraphrased(keep=...) keeps a random share; Screened tries children on their own evidence.",
    },
    "scoring": {
        "sampledrejects": "SuccessiveRejects.",
        "ssr": "SuccessiveRejects.",
        "replicates": "The gate's `repeats` measures each side more than once.",
    },
    "search": {
        "pareto": "Beam with back-tracking keeps the best of all steps.",
        "evolution": "Beam with back-tracking; Screened joins edits of several children.",
        "genetic": "Beam with back-tracking; Screened joins edits of several children.",
        "banditover": "Beam expands the best of all steps.",
        "parentbandit": "Beam expands the best of all steps.",
        "mcts": "Beam with back-tracking.",
    },
    "incumbent": {"equal": "Elitist takes only a higher score, FreeWalk takes any, PairedGate asks for proof."},
    "stop": {
        "target": "Set a budget, or stop by hand: an interrupted run can be resumed.",
    },
    "final": {
        "onestandarderror": "BestVal breaks ties by length.",
        "simplest": "BestVal breaks ties by length.",
    },
}
"""Axis -> part of a name (letters and digits only) -> what to use instead."""

ELSEWHERE: dict[str, dict[str, str]] = {
    "feedback": {
        "errorsraw": "NoFeedback with ErrorBatches shows the errors as they are.",
        "scoreonly": "NoFeedback with a memory shows scores alone.",
        "human": "A row's `note` field is shown beside its answer.",
    },
    "memory": {"all": "Recency(k=...) with a large k shows everything."},
    "scope": {"user": "FixedSpans(quotes=...) takes places by their text; `freeze` keeps all others."},
    "control": {"perspan": "Spans(w_max=...) bounds each span; the schedules bound the total."},
    "refine": {
        "taggedtext": 'Refine(protocol="reply") takes the whole prompt back, "slots" takes JSON.',
        "paraphrase": 'Refine(goal="paraphrase").',
        "generate": 'Refine(goal="generate").',
        "edit": 'Refine(goal="edit").',
        "slotfill": 'Refine(protocol="slots").',
    },
    "proposals": {
        "lint": "The guards lint every child before it is scored.",
        "novel": "Known prompts are always refused; Paraphrased(keep=...) keeps a random share.",
    },
    "guards": {"off": 'Refine(enforce="audit") or "off" ends span enforcement; VARS is never given up.'},
    "scoring": {
        "ladder": "Race deals rows out in growing rungs.",
        "uniform": 'Bandit(rule="uniform").',
        "ucb": 'Bandit(rule="ucb") or rule="ucb-e".',
    },
    "incumbent": {"strict": "Elitist takes only a higher score."},
    "stop": {
        "budget": "Budgets belong to the run: Budget(search_calls=...), usd, tokens, seconds.",
        "plateau": "Steps(patience=...) and Epochs(patience=...) end on a plateau.",
        "saturation": "Steps and Epochs end when dev is saturated.",
        "gap": "Steps and Epochs end when dev runs away from val.",
    },
    "final": {
        "paired": "The gate is the paired test.",
        "reporttest": "The gate opens the test rows once.",
    },
}
"""The same for options that are a setting of a strategy, or are always on."""

METHODS: dict[str, str] = {
    "gepa": "It needs Pareto selection, which is not built; 'robust' is the nearest.",
    "protegi": "ProTeGi is 'apo'.",
    "textgrad": "'apo-pe2' uses one textual gradient a batch.",
    "mipro": "Demonstrations are not optimized; 'robust' edits instructions.",
    "miprov2": "Demonstrations are not optimized; 'robust' edits instructions.",
    "evoprompt": "Evolution is not built; 'ape-iter' varies the best prompts.",
    "promptbreeder": "Evolution is not built; 'ape-iter' varies the best prompts.",
    "lpo": "LPO is a change of scope: 'lpo-pe2', 'lpo-apo', 'lpo-gpo', or lpo(recipe).",
}
"""Methods people may ask for by a name that is no preset."""

_SLIP = 0.9
"""Names more alike than this are a slip of the finger."""
_PLAIN = re.compile(r"[^a-z0-9]")


def refuse_option(axis: str, got: str, known: Iterable[str]) -> RecipeError:
    """The error for a strategy name that is not there: unbuilt, misspelt, or of another axis."""
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1)
    plain = _PLAIN.sub("", got.lower())
    if not difflib.get_close_matches(got, names, n=1, cutoff=_SLIP):
        for table, verdict in ((UNBUILT, "is not built"), (ELSEWHERE, "is no strategy of its own")):
            for part, instead in table.get(axis, {}).items():
                if part in plain:
                    msg = f"the {axis} option {got!r} {verdict}"
                    return RecipeError(msg, mend=f"{instead} Known: {', '.join(names)}.")
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = f"unknown {axis} strategy {got!r}"
    return RecipeError(msg, mend=f"{hint}Known: {', '.join(names)}.")
