"""Values from rows as text for display."""

from __future__ import annotations

import json
from typing import Any


def as_text(value: Any) -> str:
    """A row's value for people: texts as they are, a single field by itself, the rest as JSON.

    >>> as_text({"label": "billing"}), as_text({"a": 1, "b": None}), as_text(None)
    ('billing', '{"a": 1, "b": null}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        return as_text(next(iter(value.values())))
    return json.dumps(value, ensure_ascii=False, default=str)
