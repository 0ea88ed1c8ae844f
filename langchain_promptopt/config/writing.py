"""Writing a `promptopt.toml` a person can read: values first, every setting explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_promptopt.config.models import Config


def toml_text(values: Mapping[str, Mapping[str, Any]]) -> str:
    """A commented config file with `values` set, section -> key -> value.

    >>> toml_text({"optimize": {"seed": 3}}).splitlines()[2:]
    ['[optimize]', 'seed = 3                                        # of all randomness']
    """
    out = ["# Settings of promptopt. `promptopt check` tries them without spending anything.", ""]
    for section, keys in values.items():
        model: Any = Config.model_fields[section].annotation
        out.append(f"[{section}]")
        for key, value in keys.items():
            line = f"{key} = {toml_value(value)}"
            about = model.model_fields[key].description
            out.append(f"{line:<47} # {about}" if about else line)
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def toml_value(value: Any) -> str:
    r"""One value in TOML.

    >>> toml_value({"ticket": 'the "text"', "n": [1, True]})
    '{ ticket = "the \\"text\\"", n = [1, true] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(str(k))} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(v) for v in value)}]"
    if isinstance(value, int | float):
        return repr(value)
    return _text(str(value))


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, DEL excepted
