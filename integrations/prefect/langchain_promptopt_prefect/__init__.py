"""Prompt optimization as a Prefect flow: scheduled, resumable, with its report as artifacts."""

from langchain_promptopt_prefect.artifacts import publish
from langchain_promptopt_prefect.flows import evaluate_shard, optimize_flow, serve, step
from langchain_promptopt_prefect.states import StepFailed, StepUnavailable, checked

__all__ = ["StepFailed", "StepUnavailable", "checked", "evaluate_shard", "optimize_flow", "publish", "serve", "step"]
