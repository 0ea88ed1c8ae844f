"""Writing a template's new state into the live object, and taking it back byte for byte."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.prompts.message import BaseMessagePromptTemplate
from pydantic import BaseModel

from langchain_promptopt._langchain.leaves import concrete_type
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WRITING = threading.RLock()
_PARTS = (BasePromptTemplate, BaseMessagePromptTemplate, BaseMessage)


def write_back(dst: BasePromptTemplate[Any], src: BasePromptTemplate[Any]) -> None:
    """Give the live object `dst` the state of `src`, in one assignment.

    Attributes are never assigned one by one: that leaves the variables stale, and the cached
    serialization that traces show.

    Raises:
        PromptError: The two are of different types.
    """
    if concrete_type(dst) is not concrete_type(src):
        msg = f"a {concrete_type(src).__name__} cannot be written into a {concrete_type(dst).__name__}"
        raise PromptError(msg)
    state = {name: value for name, value in src.__dict__.items() if name in concrete_type(src).model_fields}
    object.__setattr__(dst, "__pydantic_fields_set__", set(src.model_fields_set))
    object.__setattr__(dst, "__dict__", state)


class Snapshot:
    """All state of some objects, nested message templates and containers included.

    Objects keep their identity: restoring puts the very same values back into them, so sharing
    is as it was, and so are caches.
    """

    def __init__(self, *roots: Any) -> None:
        self._states: list[tuple[Any, Any, set[str] | None]] = []
        self._seen: set[int] = set()
        for root in roots:
            self._keep(root)

    def _keep(self, thing: Any) -> None:
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        if isinstance(thing, _PARTS):
            self._states.append((thing, dict(thing.__dict__), set(thing.model_fields_set)))
            children: Sequence[Any] = list(thing.__dict__.values())
        elif isinstance(thing, dict):
            self._states.append((thing, dict(thing), None))
            children = list(thing.values())
        elif isinstance(thing, list):
            self._states.append((thing, list(thing), None))
            children = thing
        else:
            return
        for child in children:
            self._keep(child)

    def restore(self) -> None:
        """Put everything back. May be called again."""
        with _WRITING:
            for thing, state, fields_set in self._states:
                if isinstance(thing, BaseModel):
                    object.__setattr__(thing, "__pydantic_fields_set__", set(fields_set or ()))
                    object.__setattr__(thing, "__dict__", dict(state))
                elif isinstance(thing, dict):
                    thing.clear()
                    thing.update(state)
                else:
                    thing[:] = state


def write_all(pairs: Sequence[tuple[BasePromptTemplate[Any], BasePromptTemplate[Any]]]) -> Snapshot:
    """Write several templates, all or none; the result restores what was there before."""
    before = Snapshot(*(dst for dst, _ in pairs))
    with _WRITING:
        try:
            for dst, src in pairs:
                write_back(dst, src)
        except PromptError:
            before.restore()
            raise
    return before
