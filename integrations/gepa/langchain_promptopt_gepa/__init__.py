"""Both ways between GEPA and langchain-promptopt: local edits as GEPA's proposer, GEPA's results through the gate."""

from langchain_promptopt_gepa.bridge import LocalEdits, ProposedEdit, row_of, system_prompt, task_lm, through_gate

__all__ = ["LocalEdits", "ProposedEdit", "row_of", "system_prompt", "task_lm", "through_gate"]
