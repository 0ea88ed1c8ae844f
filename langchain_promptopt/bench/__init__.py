"""How good the methods are: the planted world without any model, and benchmark tasks with one."""

from langchain_promptopt.bench.running import run_bench

__all__ = ["run_bench"]
