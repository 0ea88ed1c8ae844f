"""What a chain is beside its prompts, as a hash that is the same in every process."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.prompts.base import BasePromptTemplate
from pydantic import BaseModel

from langchain_promptopt._langchain.discover import walk
from langchain_promptopt._langchain.models import model_id
from langchain_promptopt._langchain.templates import concrete_type, read_leaves
from langchain_promptopt.evaluators._resolve import hash_of, plain
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from langchain_promptopt._langchain.target import ChainTarget


def chain_identity(target: ChainTarget) -> str:
    """A hash of the chain's parts in their places: models, functions with their code, classes with their settings.

    The target's own prompts count as places only, for what they say is the candidate's identity. Two
    chains that do the same by different code are two; an object's state that is no declared field
    (a connection, a cache) does not count, and no address does.
    """
    slots = {id(found.template) for found in target.places.values()}
    return content_hash([[path, _part(thing, slots)] for path, thing in walk(target.chain)])


def _part(thing: Any, slots: set[int]) -> Any:
    kind = concrete_type(thing)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if id(thing) in slots:
        return "prompt"
    if isinstance(thing, BaseLanguageModel):
        return model_id(thing)
    if isinstance(thing, BasePromptTemplate):  # one that the run leaves as it is
        return [name, *(f"{message.role}: {message.template}" for message in read_leaves(thing))]
    if inspect.isroutine(thing):
        return hash_of(thing, {})
    return [name, {field: plain(getattr(thing, field, None)) for field in _declared(thing)}]


def _declared(thing: Any) -> list[str]:
    if isinstance(thing, BaseModel):
        return list(type(thing).model_fields)
    return [field.name for field in fields(thing)] if is_dataclass(thing) else []
