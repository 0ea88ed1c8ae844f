"""The demo as a prepared task: built-in tickets, a long prompt with some wrong rules, offline models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_promptopt.pipeline.prepare import Prepared, settings_from

if TYPE_CHECKING:
    from langchain_promptopt.config import Config

FROZEN = ("## Refund policy",)
METHOD = "lpo-pe2"
"""Used unless another is asked for: few and small edits, which is what a newcomer should see first."""


def demo_task(config: Config) -> Prepared:
    """The main job on built-in data; `config` gives seed, method and where records go."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

    prompt = ChatPromptTemplate.from_template(demo_prompt())
    settings = replace(
        settings_from(config),
        data=demo_rows(),
        evaluators=["exact_match"],
        optimizer_model="offline",
        task_model=None,
        freeze=FROZEN,
        method=config.optimize.method if "method" in config.optimize.model_fields_set else METHOD,
        apply="if_improved",
    )
    return Prepared(config, prompt | offline_model("task") | StrOutputParser(), settings)
