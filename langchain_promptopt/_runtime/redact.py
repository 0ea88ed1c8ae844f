"""Credentials removed from every message, event and trace that leaves the process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from langchain_promptopt._objects import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIDDEN = "[hidden]"
_LONGEST = 500
_SHORTEST_SECRET = 8

# Every pattern is one character class under one quantifier after a fixed prefix: linear on any text.
_NAMED = re.compile(
    r"""(?i)((?:api[ _-]?key|(?:proxy-)?authorization|(?:access|auth)[_-]?token|secret(?:[_-]?key)?|passw(?:or)?d"""
    r"""|x-[a-z0-9-]{0,30}key)(?: provided)?\\{0,4}["']?\s?[:=]\s?+\\{0,4}+["']?+(?:bearer |basic |token )?+)"""
    r"""(?!\[hidden\])[^\s"'\\,;&}\])]+"""
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(\s)[A-Za-z0-9+/=_\-.~*]{6,}")
_USERINFO = re.compile(r"(://)[^/\s:@]{0,200}:[^/\s@]{1,200}@")
_QUERY = re.compile(
    r"(?i)([?&;](?:code|sid|pwd|auth|session|sig|[a-z0-9_.\-]{0,40}(?:key|token|secret|password|signature|credential))=)"
    r"(?!\[hidden\])[^&;#\s\"'<>)\]}]+"
)
_COOKIE = re.compile(r"""(?i)(\b(?:set-)?cookie\\{0,4}["']?\s?[:=]\s?+\\{0,4}+["']?+)(?!\[hidden\])[^"'\\\r\n}\]]+""")
_SECRET_NAME = re.compile(r"(?i)(?:key|token|secret|password|credentials?)$")


_kept_secret: set[str] = set()
"""Credentials of the run's models, of any shape."""


def keep_secret(values: Iterable[str]) -> None:
    """Have `redact` hide these values anywhere in a text, until the process ends. Values under 8 characters are not."""
    _kept_secret.update(value for value in values if len(value) >= _SHORTEST_SECRET)


def redact(text: str) -> str:
    """`text` without keys, tokens, authorization values and passwords in addresses.

    Values of environment variables with a secret's name, and credentials of the run's models, are removed anywhere
    in the text, so keys of an unknown shape are removed too.

    >>> redact("Incorrect API key provided: sk-abcdef123456. Authorization: Bearer abc.def-123")
    'Incorrect API key provided: [hidden] Authorization: Bearer [hidden]'
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name) and value in text:
            text = text.replace(value, _HIDDEN)
    for value in tuple(_kept_secret):
        text = text.replace(value, _HIDDEN)
    text = _USERINFO.sub(rf"\1{_HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{_HIDDEN}", text)
    text = _COOKIE.sub(rf"\1{_HIDDEN}", text)
    text = _NAMED.sub(rf"\1{_HIDDEN}", text)
    text = _SCHEME.sub(rf"\1\2{_HIDDEN}", text)
    return TOKEN.sub(_HIDDEN, text)


def public_url(text: str) -> str:
    """An address without user, password, query and fragment; any other text as it is.

    >>> public_url("https://me:pw@host.example:8/v1?key=x"), public_url("rows.jsonl")
    ('https://host.example:8/v1', 'rows.jsonl')
    """
    if "://" not in text:
        return text
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def message_of(error: BaseException) -> str:
    r"""The error in one redacted line of bounded length; never its headers or request.

    >>> message_of(ValueError("no\nnumber"))
    'ValueError: no number'
    """
    text = str(error)[: 20 * _LONGEST]
    flat = " ".join(redact(text).split())
    name = type(error).__name__
    shown = flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"
    return f"{name}: {shown}" if shown else name
