"""Evaluations of a run on the workers of a Dask cluster."""

from langchain_promptopt_dask.workers import DaskWorker, dask_workers

__all__ = ["DaskWorker", "dask_workers"]
