"""From a configuration to a run: what the command line, orchestrators and `run_step` share."""

from langchain_promptopt._langsmith.publish import push_recorded as push_run
from langchain_promptopt._langsmith.publish import rollback_recorded as rollback_run
from langchain_promptopt.pipeline.prepare import Prepared, demo_task, prepare
from langchain_promptopt.pipeline.shards import Shards, evaluate_cells
from langchain_promptopt.pipeline.step import compare_step, run_step

__all__ = [
    "Prepared",
    "Shards",
    "compare_step",
    "demo_task",
    "evaluate_cells",
    "prepare",
    "push_run",
    "rollback_run",
    "run_step",
]
