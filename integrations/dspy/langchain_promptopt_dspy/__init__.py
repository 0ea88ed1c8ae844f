"""Both ways between DSPy and langchain-promptopt: local edits for `dspy.GEPA`, DSPy's results through the gate."""

from langchain_promptopt_dspy.bridge import evaluator_of, informed, informed_row, local_edits, rows_of, through_gate
from langchain_promptopt_dspy.chain import ProgramChain
from langchain_promptopt_dspy.lm import langchain_lm

__all__ = [
    "ProgramChain",
    "evaluator_of",
    "informed",
    "informed_row",
    "langchain_lm",
    "local_edits",
    "rows_of",
    "through_gate",
]
