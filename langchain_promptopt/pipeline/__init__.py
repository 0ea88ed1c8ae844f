"""From a configuration to a run: what the command line, orchestrators and `run_step` share."""

from langchain_promptopt._langsmith.publish import push_recorded as push_run
from langchain_promptopt._langsmith.publish import rollback_recorded as rollback_run
from langchain_promptopt.optimizer.remote import WorkerLost, Workers
from langchain_promptopt.pipeline.delivering import TEST_COLUMNS, run_reference
from langchain_promptopt.pipeline.orchestration import CellWorker, Shards, compare_step, evaluate_cells, run_step
from langchain_promptopt.pipeline.prepare import Prepared, demo_task, prepare

__all__ = [
    "TEST_COLUMNS",
    "CellWorker",
    "Prepared",
    "Shards",
    "WorkerLost",
    "Workers",
    "compare_step",
    "demo_task",
    "evaluate_cells",
    "prepare",
    "push_run",
    "rollback_run",
    "run_reference",
    "run_step",
]
