"""What leaves no process: credentials, and what the user's `redact=` hides of the examples.

Credentials are removed from every message, event and trace. `RowRedaction` stands between the examples and all that is
kept, shown or sent to the optimizer model: journal, evaluation cache, reports, traces of our own. The chain and the
evaluators get the real example.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from langchain_promptopt._collections import members, without
from langchain_promptopt._imports import own_line
from langchain_promptopt._values import TOKEN
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.errors import PromptOptError
    from langchain_promptopt.types import Example, Outcome, StepAnswer

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


Redact: TypeAlias = Callable[[str], str]
"""What a user gives as `redact=`: the text as it may be kept, shown and sent to the optimizer model."""
_DEEPEST = 50
_OURS = "promptopt_"
"""Metadata of traces that this package writes: ids and step numbers."""
_MEND = "It takes a text and gives the text that may be kept and sent to the optimizer model."


@dataclass(frozen=True)
class RowRedaction:
    """One function of the user over every text of examples, answers and comments.

    Args:
        hook: The function.
    """

    hook: Redact
    _rows: dict[int, tuple[Example, Example]] = field(default_factory=dict, repr=False)

    def check(self, rows: Iterable[Example]) -> int:
        """Try the function on all examples, before anything is paid for; returns how many ids it would change.

        Raises:
            ConfigError: It raises, gives no text, or gives another text the second time.
        """
        changed = 0
        for n, row in enumerate(rows):
            shown = self.example(row)
            changed += self.text(row.id) != row.id
            if n == 0 and (self.value(row.inputs), self.value(row.outputs)) != (shown.inputs, shown.outputs):
                msg = "redact= gives another text each time it is asked"
                mend = "Make it give the same for the same text: a resumed run recognises its calls by what was sent."
                raise ConfigError(msg, where=f"example {row.id!r}", mend=mend)
        return changed

    def text(self, text: str, where: str = "") -> str:
        """One text as it may be kept.

        Raises:
            ConfigError: The function raises, or gives no text. What it was given is not in the message.
        """
        try:
            found: Any = self.hook(text)
        except Exception as error:  # noqa: BLE001 - code of the user
            line = own_line(error)
            place = "; ".join(filter(None, (line, where)))
            msg = f"redact= raised {type(error).__name__}"
            raise ConfigError(msg, where=place or "redact", mend=_MEND) from None
        if isinstance(found, str):
            return found
        if inspect.iscoroutine(found):
            found.close()
        msg = f"redact= gave {type(found).__name__} in place of a text"
        raise ConfigError(msg, where=where or "redact", mend=_MEND)

    def value(self, value: Any, where: str = "", depth: int = _DEEPEST) -> Any:
        """Any value with its texts and numbers as they may be kept; messages and other objects become their fields."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value, where)
        if depth == 0:
            return self.text(str(value), where)
        if isinstance(value, Mapping):
            return self._mapping(value, where, depth)
        if isinstance(value, list | tuple | AbstractSet):
            return [self.value(inner, where, depth - 1) for inner in value]
        dump = getattr(value, "model_dump", None)
        if callable(dump) and not isinstance(value, type):
            return self._mapping(dump(mode="json"), where, depth)
        if is_dataclass(value) and not isinstance(value, type):
            return self._mapping(members(value), where, depth)
        plain = str(value)
        kept = self.text(plain, where)
        return value if kept == plain else kept

    def _mapping(self, value: Mapping[Any, Any], where: str, depth: int) -> dict[Any, Any]:
        """The names of fields stay; keys that are no names are texts of the example as well."""
        out: dict[Any, Any] = {}
        for key, inner in value.items():
            name = self.text(key, where) if isinstance(key, str) and not key.isidentifier() else key
            while name in out:  # two keys that the function makes equal
                name = f"{name}*"
            out[name] = self.value(inner, where, depth - 1)
        return out

    def example(self, example: Example) -> Example:
        """The example as it may be kept; its id and group are what the run knows it by, so they stay."""
        known = self._rows.get(id(example))
        if known is None or known[0] is not example:
            where = f"example {example.id!r}"
            shown = replace(
                example,
                inputs=self.value(example.inputs, where),
                outputs=self.value(example.outputs, where),
                metadata=self.value(example.metadata, where),
                note=None if example.note is None else self.text(example.note, where),
                attachments={},
            )
            known = self._rows[id(example)] = (example, shown)
        return known[1]

    def outcome(self, outcome: Outcome) -> Outcome:
        """The outcome as it may be kept: answer, comments and the message of a failure."""
        where = f"example {outcome.cell.example_id!r}"
        failure = outcome.failure
        return replace(
            outcome,
            output=self.value(outcome.output, where),
            comments={key: self.text(text, where) for key, text in outcome.comments.items()},
            failure=None if failure is None else replace(failure, message=self.text(failure.message, where)),
            steps=tuple(map(partial(self._step, where), outcome.steps)),
        )

    def _step(self, where: str, step: StepAnswer) -> StepAnswer:
        return step.map(lambda value: self.value(value, where))

    def traced(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs, outputs or metadata of a traced run as they may be kept; what this package says of itself stays."""
        mine = {}
        for name, value in values.items():
            if str(name).startswith(_OURS):
                mine[name] = value
        return {**self.value(without(values, mine)), **mine}

    def error(self, error: PromptOptError) -> None:
        """Take texts of examples out of an error's message; what to do about it stays as it is."""
        if not isinstance(error, ConfigError):
            error.retell(self.text)
