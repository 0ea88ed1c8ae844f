"""What is wrong with a config, in words: file, line, key, value, what was expected, the nearest key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from langchain_promptopt.errors import ConfigError

Key: TypeAlias = tuple[str, ...]

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text in quotes",
    "tuple": "a list",
    "too": "a list of two numbers",
    "dict": "a table",
    "model": "a table",
}
_SHOWN = 80


@dataclass
class Origins:
    """Where each setting came from: the file with its line, a variable, or a flag."""

    file: str
    text: str
    outside: dict[Key, str] = field(default_factory=dict)

    def of(self, key: Key) -> str:
        """The place to look for `key`."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.outside:
                return self.outside[key[:length]]
        line = _line_of(self.text, key)
        return f"{self.file}:{line}" if line else self.file


def _line_of(text: str, key: Key) -> int | None:
    """The line that sets `key`, found the way people write TOML: a section header, then the name."""
    section: Key = ()
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        here: Key = ()
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            section = here = _parts(header[1])
        elif name := re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""", line):
            here = (*section, *_parts(name[1]))
        if here and key[: len(here)] == here and (best is None or len(here) > best[0]):
            best = len(here), number
    return best[1] if best else None


def _parts(dotted: str) -> Key:
    return tuple(a or b or c for a, b, c in re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*\.?""", dotted))


def refusal(error: ValidationError, data: Mapping[str, Any], origins: Origins, model: type[BaseModel]) -> ConfigError:
    """One ConfigError for everything pydantic found."""
    found: dict[Key, tuple[str, str]] = {}
    for item in error.errors(include_url=False):
        key = _known_part(item["loc"], data)
        found.setdefault(key, _described(key, item, model))
    (first, (what, mend)), *rest = found.items()
    more = "".join(f"\n  also: {said} ({origins.of(key)}). {hint}".rstrip() for key, (said, hint) in rest)
    return ConfigError(what, where=origins.of(first), mend=mend + more, keys=[".".join(key) for key in found])


def _known_part(loc: tuple[int | str, ...], data: Any) -> Key:
    """The part of pydantic's location that a user wrote; the rest are names of union members."""
    out: list[str] = []
    for part in loc:
        if isinstance(data, Mapping) and (part in data or not out):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, Mapping) and part == loc[-1]:
            data = None
        else:
            break
        out.append(str(part))
    return tuple(out)


def _described(key: Key, item: Any, model: type[BaseModel]) -> tuple[str, str]:
    name = ".".join(key)
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}", nearest(key, model)
    if item["loc"][-1] == "[key]":
        return f"unknown key {name!r}", f"Known here: {_expected(item)}."
    if item["type"] == "missing":
        return f"{name} is missing", "Add it."
    shown = repr(item["input"])
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    return f"{name} is {shown}, expected {_expected(item)}", ""


def _expected(item: Any) -> str:
    context = item.get("ctx", {})
    bounds = {"greater_than": ("more than", "gt"), "greater_than_equal": ("at least", "ge")}
    bounds |= {"less_than": ("less than", "lt"), "less_than_equal": ("at most", "le")}
    if item["type"] in bounds:
        words, limit = bounds[item["type"]]
        return f"{words} {context[limit]:g}"
    if item["type"] == "literal_error":
        return str(context["expected"])
    return _EXPECTED.get(item["type"].split("_")[0], str(item["msg"]))


def nearest(key: Key, model: type[BaseModel]) -> str:
    """A sentence with the key that was probably meant, and what there is where nothing is near.

    A right name in the wrong section is found first.
    """
    sections = _sections(model)
    options = sections.get(key[0], ()) if len(key) > 1 else tuple(sections)
    dotted = {".".join((key[0], o)) if len(key) > 1 else o for o in options}
    elsewhere = {f"{section}.{name}" for section, names in sections.items() for name in names if name == key[-1]}
    close = difflib.get_close_matches(".".join(key), sorted(dotted), n=1, cutoff=0.75) or sorted(elsewhere)[:1]
    close = close or difflib.get_close_matches(".".join(key), sorted(dotted or sections), n=1, cutoff=0.0)
    return f"Did you mean {close[0]!r}? Known here: {', '.join(options or sections)}."


def _sections(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(info.annotation.model_fields)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        else ()
        for name, info in model.model_fields.items()
    }
