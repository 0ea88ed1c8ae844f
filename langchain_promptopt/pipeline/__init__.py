"""From a configuration to a run: what the command line, orchestrators and `run_step` share."""

from langchain_promptopt.pipeline.demo import demo_task
from langchain_promptopt.pipeline.prepare import Prepared, Survey, prepare, survey
from langchain_promptopt.pipeline.remote import push_run, rollback_run
from langchain_promptopt.pipeline.shards import Shards, evaluate_cells
from langchain_promptopt.pipeline.step import compare_step, run_step

__all__ = [
    "Prepared",
    "Shards",
    "Survey",
    "compare_step",
    "demo_task",
    "evaluate_cells",
    "prepare",
    "push_run",
    "rollback_run",
    "run_step",
    "survey",
]
