"""Langfuse as the place where proven prompts are published."""

from langchain_promptopt_langfuse.sink import LangfusePrompts

__all__ = ["LangfusePrompts"]
