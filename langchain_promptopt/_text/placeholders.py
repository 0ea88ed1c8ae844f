"""What reads as a variable or code mark in text that need not be a valid template: a model's reply."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_promptopt._text.templates import TemplateFormat

_FSTRING = re.compile(r"\{\{|\}\}|(\{[ \t]{0,4}[^\W\d]\w{0,100}[ \t]{0,4}(?:![rsa])?(?::[^{}\n]{0,40})?\})")
_DOUBLE = re.compile(r"(\{\{\{[^{}\n]{1,200}\}\}\}|\{\{[^{}\n]{1,200}\}\}|\{%[^%\n]{0,300}%\})")


def placeholders(text: str, template_format: TemplateFormat | None) -> tuple[str, ...]:
    """Raw placeholders in order; nothing for literal text or when no format is known.

    >>> placeholders('{{"a": 1}} {q} { q }', "f-string"), placeholders("{a} {{b}}", "mustache")
    (('{q}', '{ q }'), ('{{b}}',))
    """
    if template_format is None or template_format == "literal":
        return ()
    pattern = _FSTRING if template_format == "f-string" else _DOUBLE
    return tuple(found for found in pattern.findall(text) if found)
