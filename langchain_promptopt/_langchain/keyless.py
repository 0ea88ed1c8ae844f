"""Models made without their key, for all that can be said before a call."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_promptopt.errors import CredentialsError

NO_KEY = "promptopt-without-key"
"""Stands in the place of the key; a model that has it must not be called."""
_missing: ContextVar[list[CredentialsError] | None] = ContextVar("promptopt_missing_keys", default=None)


@contextmanager
def without_keys() -> Iterator[list[CredentialsError]]:
    """A block in which a model by name is made although its key is not set; what is missing is in the list.

    Blocks inside share the outermost one's list. Nothing in the block may call a model.
    """
    outer = _missing.get()
    if outer is not None:
        yield outer
        return
    found: list[CredentialsError] = []
    token = _missing.set(found)
    try:
        yield found
    finally:
        _missing.reset(token)


def note_missing(error: CredentialsError) -> bool:
    """Keep the error for later; False where it has to be raised now."""
    found = _missing.get()
    if found is None:
        return False
    found.append(error)
    return True


def has_no_key(model: Any) -> bool:
    """Whether this model was made without its key."""
    key = getattr(model, "openai_api_key", None)
    return isinstance(key, SecretStr) and key.get_secret_value() == NO_KEY
