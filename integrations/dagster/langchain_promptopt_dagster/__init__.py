"""Prompt optimization as a Dagster asset: its gate as an asset check, on a schedule, resumable."""

from langchain_promptopt_dagster.assets import gate_check, nightly, optimized_prompt

__all__ = ["gate_check", "nightly", "optimized_prompt"]
