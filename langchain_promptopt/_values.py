"""Values by their content: one JSON form and one hash, the same in every process.

Equal values share them and different ones do not, whatever they are: sets, arrays, tables, dataclasses, paths.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

TEXTUAL = (date, time, timedelta, timezone, Decimal, Fraction, UUID, PurePath)
"""Types whose text is their value."""


_LONGEST = 10_000
"""Bits of the longest whole number that is written as JSON has it."""


def content_hash(value: object, length: int = 16) -> str:
    """Hex digest of a value's content, the same in every process.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    >>> content_hash({"tags": {"x", "y"}}) == content_hash({"tags": {"y", "x"}})
    True
    """
    return hashlib.sha256(as_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def canonical(value: Any) -> Any:
    """`value` as JSON that equal values share and different values do not.

    Plain JSON stays as it is. Sets lose their order, bytes and arrays (numpy, pandas and what converts
    to them) become a digest of their content, dataclasses and other objects their type and state.
    """
    if isinstance(value, int) and value.bit_length() > _LONGEST:  # Python refuses to print it
        return {"int": hex(value)}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [canonical(member) for member in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(as_json, value))}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": _digest(bytes(value))}
    return _special(value)


def type_name(kind: type[Any]) -> str:
    """Module and qualified name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def as_json(value: Any) -> str:
    """Canonical JSON of a value."""
    try:  # nearly all values are JSON already, and the encoder is fast
        return _dumped(value)
    except (TypeError, ValueError):  # keys that are no text, or of several types; numbers of thousands of digits
        return _dumped(canonical(value))


_dumped = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=canonical).encode


def _mapping(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(key, str) for key in value):
        return {key: canonical(member) for key, member in value.items()}
    return {"mapping": sorted([as_json(key), as_json(member)] for key, member in value.items())}


def _special(value: Any) -> Any:
    """What is no JSON: values by their content, other objects by type and state."""
    if isinstance(value, Enum):
        return {"enum": f"{type_name(type(value))}.{value.name}"}
    if isinstance(value, TEXTUAL):
        return str(value)
    if is_array(value):
        return _array(value)
    if is_dataclass(value) and not isinstance(value, type):
        state: Any = {}
        for field in fields(value):
            state[field.name] = getattr(value, field.name, None)
    else:
        state = getattr(value, "__dict__", None) or printed(value)
    return {"object": type_name(type(value)), "state": canonical(state)}


def printed(value: Any) -> Any:
    """The state of an object without attributes: its printed form, unless that is an address."""
    text = repr(value)
    return "" if "0x" in text else text


def is_array(value: Any) -> bool:
    """Whether a value is an array or a table of numpy, pandas, or what converts to them."""
    return "numpy" in sys.modules and hasattr(type(value), "__array__")


def _array(value: Any) -> Any:
    """An array or a table by its numbers."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.generic):
        return canonical(value.item())
    if hasattr(value, "columns") and hasattr(value, "iloc"):  # a table
        columns = []
        for i, name in enumerate(value.columns):
            columns.append([canonical(name), canonical(value.iloc[:, i])])
        return {"table": columns, "index": canonical(value.index)}
    found = numpy.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if found.dtype.hasobject:
        content: Any = [canonical(member) for member in found.ravel().tolist()]
    else:
        content = _digest(numpy.ascontiguousarray(found).tobytes())
    index = {"index": canonical(value.index)} if hasattr(value, "iloc") else {}
    if isinstance(value, numpy.ma.MaskedArray):
        index = {"mask": canonical(numpy.ma.getmaskarray(value))}
    return {"array": content, "type": found.dtype.str, "shape": list(found.shape), **index}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Keys, passwords and tokens, which are no part of a value.

_LONGEST_SECRET = 4096

_KEY_RUN = re.compile(r"[A-Za-z0-9]{16,}")
"""The random part of a key. Names such as `hf_summarize_v2` have none."""
_WORDS = re.compile(r"[A-Za-z]?[a-z]*(?:[-_][a-z]+)*|[A-Z]+(?:[-_][A-Z]+)*")
_SECRET_VALUE = re.compile(r"(?i)(?:(?:basic|bearer|digest|token)\s+)?\S+|[\w.-]+=[^\s;]*(?:;\s*[\w.-]+=[^\s;]*)*;?")
_SECRET_NAME = re.compile(
    r"(?i)passw(?:or)?d|secret|credential|authorization|cookie|(?:api|access|private|signing|subscription)[_-]?key"
    r"|(?:access|api|auth|bearer|hf|hub|refresh)[_-]?token"
)
TOKEN = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk|hf|ghp|gho|ghu|ghs|ghr|glpat|lsv2|ls__|tvly|pcsk|npm|pypi|xox[abprs])[-_][A-Za-z0-9_\-*.]{6,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{10,}|\bAIza[A-Za-z0-9_\-]{20,}|\bA[KS]IA[A-Z0-9]{12,}|\beyJ[A-Za-z0-9_\-.]{20,}"
)
"""What the keys of services look like."""
_USERINFO = re.compile(r"://[^/\s:@]{0,200}:[^/\s@]{1,200}@")


def is_secret(name: str, value: Any) -> bool:
    """Whether a value is a password or a key by its name and its look: words, sentences and code are none."""
    if not _SECRET_NAME.search(name):
        return False
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(text, str) and bool(_SECRET_VALUE.fullmatch(text)) and not _WORDS.fullmatch(text)


def keyless(text: str) -> str:
    """Text without what looks like a key, and without the password of an address."""
    return _USERINFO.sub("://", TOKEN.sub(_without_key, text)) if len(text) < _LONGEST_SECRET else text


def _without_key(found: re.Match[str]) -> str:
    return "" if _KEY_RUN.search(found[0]) else found[0]
