"""The held-out paired decision: pure given rows, apart from the record of openings."""

from __future__ import annotations

from langchain_promptopt.gate.openings import FILE_NAME as OPENINGS_FILE
from langchain_promptopt.gate.openings import Opening, Openings, RowMark, row_hash
from langchain_promptopt.gate.pairs import Missing, PairedRow, Pairs, Serving, pair_outcomes
from langchain_promptopt.gate.planning import (
    Chance,
    Feasibility,
    clean_sweep_possible,
    feasibility,
    minimum_detectable_effect,
    power,
    rows_needed,
)
from langchain_promptopt.gate.statistics import Comparison, alpha_at, exceeds
from langchain_promptopt.gate.verdict import Decision, GateVerdict, TestEntry, decide, deciding_metrics
from langchain_promptopt.types import Reason

__all__ = [
    "OPENINGS_FILE",
    "Chance",
    "Comparison",
    "Decision",
    "Feasibility",
    "GateVerdict",
    "Missing",
    "Opening",
    "Openings",
    "PairedRow",
    "Pairs",
    "Reason",
    "RowMark",
    "Serving",
    "TestEntry",
    "alpha_at",
    "clean_sweep_possible",
    "decide",
    "deciding_metrics",
    "exceeds",
    "feasibility",
    "minimum_detectable_effect",
    "pair_outcomes",
    "power",
    "row_hash",
    "rows_needed",
]
