"""The user's objects by what they say and do, the same in every process.

`canonical` turns any value into JSON that depends on its content alone: sets have no order, arrays
count with all their numbers, and no memory address enters.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

_TEXTUAL = (date, time, timedelta, Decimal, Fraction, UUID, PurePath)
"""Types whose text is their value."""


def content_hash(value: object, length: int = 16) -> str:
    """Hex digest of a value's content, the same in every process.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    >>> content_hash({"tags": {"x", "y"}}) == content_hash({"tags": {"y", "x"}})
    True
    """
    return hashlib.sha256(_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def canonical(value: Any) -> Any:
    """`value` as JSON that equal values share and different values do not.

    Plain JSON stays as it is. Sets lose their order, bytes and arrays (numpy, pandas and what converts
    to them) become a digest of their content, dataclasses and other objects their type and state.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [canonical(member) for member in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(_json, value))}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": _digest(bytes(value))}
    return _special(value)


def type_name(kind: type[Any]) -> str:
    """Module and qualified name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _json(value: Any) -> str:
    try:  # nearly all values are JSON already, and the encoder is fast
        return _dumped(value)
    except TypeError:  # keys that are no text, or of several types
        return _dumped(canonical(value))


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=canonical)


def _mapping(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(key, str) for key in value):
        return {key: canonical(member) for key, member in value.items()}
    return {"mapping": sorted([_json(key), _json(member)] for key, member in value.items())}


def _special(value: Any) -> Any:
    """What is no JSON: values by their content, other objects by type and state."""
    if isinstance(value, Enum):
        return {"enum": f"{type_name(type(value))}.{value.name}"}
    if isinstance(value, _TEXTUAL):
        return str(value)
    if (array := _array(value)) is not None:
        return array
    if is_dataclass(value) and not isinstance(value, type):
        state: Any = {field.name: getattr(value, field.name, None) for field in fields(value)}
    else:
        state = getattr(value, "__dict__", None) or _stated(value)
    return {"object": type_name(type(value)), "state": canonical(state)}


def _stated(value: Any) -> Any:
    """The state of an object without attributes: how it tells itself, unless that is an address."""
    text = repr(value)
    return "" if " at 0x" in text else text


def _array(value: Any) -> Any:
    """An array or a table by its numbers; None for what is neither."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(type(value), "__array__"):
        return None
    if isinstance(value, numpy.generic):
        return canonical(value.item())
    if hasattr(value, "columns") and hasattr(value, "index"):  # a table
        columns = [[canonical(name), canonical(value.iloc[:, i])] for i, name in enumerate(value.columns)]
        return {"table": columns, "index": canonical(value.index)}
    found = numpy.asarray(value)
    if found.dtype.hasobject:
        content: Any = [canonical(member) for member in found.ravel().tolist()]
    else:
        content = _digest(numpy.ascontiguousarray(found).tobytes())
    index = {"index": canonical(value.index)} if hasattr(value, "index") and hasattr(value, "iloc") else {}
    return {"array": content, "type": found.dtype.str, "shape": list(found.shape), **index}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
