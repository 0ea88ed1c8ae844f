"""Strategies, one file an axis (A1 to A14, and the trials A8b); every option can be imported from here.

Names load on first use, so that importing one strategy does not load all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_promptopt.strategies.control import Cosine, Fixed, Linear, NoControl
    from langchain_promptopt.strategies.evidence import (
        ErrorBatches,
        ErrorGroups,
        FormatExamples,
        NoEvidence,
        RandomBatches,
    )
    from langchain_promptopt.strategies.guards import OnlyShorter, Standard
    from langchain_promptopt.strategies.memory import (
        HashedEmbeddings,
        Importance,
        NoMemory,
        Recency,
        Relevance,
        Summary,
        TopByScore,
        TopEdits,
    )
    from langchain_promptopt.strategies.proposals import (
        Gradient,
        NoFeedback,
        Paraphrased,
        PerParent,
        Reasoning,
        Refine,
        Shorten,
    )
    from langchain_promptopt.strategies.scope import (
        Alternating,
        FixedSpans,
        Global,
        Hedged,
        RandomSpans,
        Sections,
        Spans,
    )
    from langchain_promptopt.strategies.scoring import (
        AsMeasured,
        Bandit,
        FullDev,
        Lazy,
        NotWorse,
        Race,
        SuccessiveHalving,
        SuccessiveRejects,
    )
    from langchain_promptopt.strategies.seeding import Earlier, Induction, Manual
    from langchain_promptopt.strategies.selection import (
        Beam,
        BestDev,
        BestVal,
        Elitist,
        Epochs,
        FreeWalk,
        Greedy,
        PairedGate,
        Pool,
        Shortest,
        Steps,
        Trim,
    )
    from langchain_promptopt.strategies.trials import KeepRight, NoTrials, OwnEvidence

_HOMES = {
    "Alternating": "scope",
    "AsMeasured": "scoring",
    "Bandit": "scoring",
    "Beam": "selection",
    "BestDev": "selection",
    "BestVal": "selection",
    "Cosine": "control",
    "Earlier": "seeding",
    "Elitist": "selection",
    "Epochs": "selection",
    "ErrorBatches": "evidence",
    "ErrorGroups": "evidence",
    "Fixed": "control",
    "FixedSpans": "scope",
    "FormatExamples": "evidence",
    "FreeWalk": "selection",
    "FullDev": "scoring",
    "Global": "scope",
    "Gradient": "proposals",
    "Greedy": "selection",
    "HashedEmbeddings": "memory",
    "Hedged": "scope",
    "Importance": "memory",
    "Induction": "seeding",
    "KeepRight": "trials",
    "Lazy": "scoring",
    "Linear": "control",
    "Manual": "seeding",
    "NoControl": "control",
    "NoEvidence": "evidence",
    "NoFeedback": "proposals",
    "NoMemory": "memory",
    "NoTrials": "trials",
    "NotWorse": "scoring",
    "OnlyShorter": "guards",
    "OwnEvidence": "trials",
    "PairedGate": "selection",
    "Paraphrased": "proposals",
    "PerParent": "proposals",
    "Pool": "selection",
    "Race": "scoring",
    "RandomBatches": "evidence",
    "RandomSpans": "scope",
    "Reasoning": "proposals",
    "Recency": "memory",
    "Refine": "proposals",
    "Relevance": "memory",
    "Sections": "scope",
    "Shorten": "proposals",
    "Shortest": "selection",
    "Spans": "scope",
    "Standard": "guards",
    "Steps": "selection",
    "SuccessiveHalving": "scoring",
    "SuccessiveRejects": "scoring",
    "Summary": "memory",
    "TopByScore": "memory",
    "TopEdits": "memory",
    "Trim": "selection",
}

__all__ = [
    "Alternating",
    "AsMeasured",
    "Bandit",
    "Beam",
    "BestDev",
    "BestVal",
    "Cosine",
    "Earlier",
    "Elitist",
    "Epochs",
    "ErrorBatches",
    "ErrorGroups",
    "Fixed",
    "FixedSpans",
    "FormatExamples",
    "FreeWalk",
    "FullDev",
    "Global",
    "Gradient",
    "Greedy",
    "HashedEmbeddings",
    "Hedged",
    "Importance",
    "Induction",
    "KeepRight",
    "Lazy",
    "Linear",
    "Manual",
    "NoControl",
    "NoEvidence",
    "NoFeedback",
    "NoMemory",
    "NoTrials",
    "NotWorse",
    "OnlyShorter",
    "OwnEvidence",
    "PairedGate",
    "Paraphrased",
    "PerParent",
    "Pool",
    "Race",
    "RandomBatches",
    "RandomSpans",
    "Reasoning",
    "Recency",
    "Refine",
    "Relevance",
    "Sections",
    "Shorten",
    "Shortest",
    "Spans",
    "Standard",
    "Steps",
    "SuccessiveHalving",
    "SuccessiveRejects",
    "Summary",
    "TopByScore",
    "TopEdits",
    "Trim",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
