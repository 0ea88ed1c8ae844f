"""Rendering templates on rows, without a model, to find what would fail before it is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.leaves import chooses_examples
from langchain_promptopt._langchain.prompts import template_errors
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.prompts.base import BasePromptTemplate


def render_all(name: str, template: BasePromptTemplate[Any], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Render one prompt on labelled rows.

    A template that lets a selector choose its few-shot examples is only checked for missing
    values: choosing may call a paid embedding model.

    Raises:
        PromptError: Naming prompt, row and variable.
    """
    refusals = template_errors()
    alone = template.input_variables[0] if len(template.input_variables) == 1 else None
    dry = chooses_examples(template)
    for label, row in rows:
        missing = sorted(set(template.input_variables) - row.keys())
        if missing:
            msg = f"{label} has no value for the variable {missing[0]!r}"
            mend = f'Map a column to it: inputs = {{ {missing[0]} = "column" }}; the row has {", ".join(sorted(row))}.'
            raise PromptError(msg, where=f"prompt {name!r}", mend=mend, variable=missing[0])
        if dry:
            continue
        try:
            template.format_prompt(**row)
        except refusals as error:
            named = f" with the variable {alone!r}" if alone else ""
            msg = f"the prompt does not render on {label}{named}: {type(error).__name__}: {error}"
            raise PromptError(msg, where=f"prompt {name!r}") from error
