"""Prompts that live in plain code: `TRIAGE = tunable("Sort this: {text}", name="triage")`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.templates import FORMATS, TemplateFormat
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from langchain_core.prompts.prompt import PromptTemplate

_REGISTRY: dict[str, Tunable] = {}
_REGISTERING = threading.Lock()


class Tunable:
    """A named prompt in plain code. `format` and `text` follow the candidate under evaluation."""

    def __init__(self, text: str, *, name: str, template_format: TemplateFormat = "f-string") -> None:
        from langchain_core.prompts.prompt import PromptTemplate

        self.name = name
        self.template: PromptTemplate = PromptTemplate.from_template(text, template_format=template_format)  # type: ignore[arg-type]  # `tunable` refuses "literal"

    def _now(self, variables: dict[str, Any]) -> PromptTemplate:
        from langchain_promptopt._langchain.overlay import current

        found: PromptTemplate | None = current(self, variables)
        return self.template if found is None else found

    @property
    def text(self) -> str:
        """The template source."""
        return self._now({}).template

    def format(self, **variables: Any) -> str:
        """The text with its variables filled in."""
        return self._now(variables).format(**variables)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"tunable({self.template.template!r}, name={self.name!r})"


def tunable(text: str, *, name: str, template_format: TemplateFormat = "f-string") -> Tunable:
    """Register a prompt that lives in plain code, so that it can be optimized.

    The same text under the same name is the same object, so importing a module twice is fine.

    Args:
        text: The template source.
        name: How events, files and reports call it; unique in the program.
        template_format: f-string, mustache or jinja2.

    Raises:
        ConfigError: The name is taken by another text, or the format is unknown.
    """
    if template_format not in FORMATS or template_format == "literal":
        msg = f"{template_format!r} is not a template format"
        raise ConfigError(msg, where=f"tunable {name!r}", mend="Use f-string, mustache or jinja2.")
    with _REGISTERING:
        known = _REGISTRY.get(name)
        if known is None:
            known = _REGISTRY[name] = Tunable(text, name=name, template_format=template_format)
        elif (known.template.template, known.template.template_format) != (text, template_format):
            msg = f"two tunable prompts are named {name!r}"
            raise ConfigError(msg, mend="Give each its own name.")
        return known


def registered() -> tuple[Tunable, ...]:
    """All tunable prompts of this program, in order of registration."""
    return tuple(_REGISTRY.values())
