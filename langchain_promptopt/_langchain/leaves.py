"""Templates as a row of leaves: one per message, placeholder, few-shot part or opaque block.

Nested chat prompts are flattened. Reading and writing walk the leaves in the same order, so no
addresses are needed. Only leaf texts are ever replaced, always in new objects: `partial()` and
shallow copies share message templates with their siblings.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeVar, cast

from langchain_core.messages import BaseMessage, ChatMessage, get_buffer_string
from langchain_core.prompts.chat import (
    AIMessagePromptTemplate,
    BaseStringMessagePromptTemplate,
    ChatMessagePromptTemplate,
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    SystemMessagePromptTemplate,
)
from langchain_core.prompts.few_shot import FewShotChatMessagePromptTemplate, FewShotPromptTemplate
from langchain_core.prompts.few_shot_with_templates import FewShotPromptWithTemplates
from langchain_core.prompts.prompt import PromptTemplate
from pydantic import BaseModel

from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message

Model = TypeVar("Model", bound=BaseModel)

ROLES: tuple[tuple[type[Any], str], ...] = (
    (SystemMessagePromptTemplate, "system"),
    (HumanMessagePromptTemplate, "human"),
    (AIMessagePromptTemplate, "ai"),
)
_TEXT_MESSAGES = frozenset({"system", "human", "ai", "chat"})


def concrete_type(thing: object) -> type[Any]:
    """The class the user wrote: a slot class installed for a search stands for its base."""
    kind = type(thing)
    return cast("type[Any]", getattr(kind, "__promptopt_base__", kind))


def rebuilt(node: Model, **changes: Any) -> Model:
    """A new object of the concrete type of `node`, validated, with some fields changed.

    Validation runs on a bare instance, as pydantic's own `__init__` does, because subclasses
    of prompt templates have constructors of all shapes.
    """
    cls = concrete_type(node)
    fields = {name: _own(getattr(node, name)) for name in cls.model_fields} | changes
    new: Any = object.__new__(cls)
    cls.__pydantic_validator__.validate_python(fields, self_instance=new, by_name=True)
    object.__setattr__(new, "__pydantic_fields_set__", set(node.model_fields_set))
    if node.__pydantic_private__ is not None:
        object.__setattr__(new, "__pydantic_private__", dict(node.__pydantic_private__))
    return cast("Model", new)


def _own(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, dict | list) else value


def _opaque(role: str, names: Iterable[str], text: str = "") -> Message:
    """A frozen leaf: shown as it is where that is known, its variables always."""
    holes = " ".join(f"{{{name}}}" for name in sorted(set(names)))
    if not holes:
        return Message(role, text, "literal", editable=False)
    shown = text.replace("{", "{{").replace("}", "}}")
    return Message(role, f"{shown}\n{holes}" if shown else holes, "f-string", editable=False)


@singledispatch
def read_leaves(node: Any) -> Iterator[Message]:
    """The leaves of `node` in order. What we do not know is one frozen leaf."""
    yield _opaque("other", getattr(node, "input_variables", ()))


@singledispatch
def write_leaves(node: Any, texts: Iterator[str]) -> Any:
    """A new `node` whose leaves have the texts; takes as many texts as `read_leaves` gives leaves."""
    next(texts)
    return node


@read_leaves.register
def _(node: PromptTemplate) -> Iterator[Message]:
    yield Message("human", node.template, node.template_format)


@write_leaves.register
def _(node: PromptTemplate, texts: Iterator[str]) -> PromptTemplate:
    return rebuilt(node, template=next(texts))


@read_leaves.register
def _(node: ChatPromptTemplate) -> Iterator[Message]:
    for message in node.messages:
        yield from read_leaves(message)


@write_leaves.register
def _(node: ChatPromptTemplate, texts: Iterator[str]) -> ChatPromptTemplate:
    return rebuilt(node, messages=[write_leaves(message, texts) for message in node.messages])


@read_leaves.register
def _(node: MessagesPlaceholder) -> Iterator[Message]:
    yield Message("placeholder", f"{{{node.variable_name}}}", "f-string", editable=False)


@read_leaves.register
def _(node: BaseMessage) -> Iterator[Message]:
    role = node.role if isinstance(node, ChatMessage) else node.type
    if not isinstance(node.content, str):
        yield Message(role, json.dumps(node.content, ensure_ascii=False, default=str), "literal", editable=False)
        return
    editable = node.type in _TEXT_MESSAGES and not getattr(node, "tool_calls", None)
    yield Message(role, node.content, "literal", editable=editable)


@write_leaves.register
def _(node: BaseMessage, texts: Iterator[str]) -> BaseMessage:
    text = next(texts)
    return node.model_copy(update={"content": text}) if isinstance(node.content, str) else node


def _message_role(node: Any) -> str:
    if isinstance(node, ChatMessagePromptTemplate):
        return node.role
    return next((role for kind, role in ROLES if isinstance(node, kind)), "other")


def _read_message(node: Any) -> Iterator[Message]:
    role = _message_role(node)
    if isinstance(node.prompt, list):
        yield _multipart(role, node)
        return
    for message in read_leaves(node.prompt):
        yield replace(message, role=role) if message.role == "human" else message


def _write_message(node: Any, texts: Iterator[str]) -> Any:
    if isinstance(node.prompt, list):
        next(texts)
        return node
    return rebuilt(node, prompt=write_leaves(node.prompt, texts))


def _register(kind: type[Any]) -> None:
    read_leaves.register(kind, _read_message)
    write_leaves.register(kind, _write_message)


for _kind in (SystemMessagePromptTemplate, HumanMessagePromptTemplate, AIMessagePromptTemplate):
    _register(_kind)
_register(BaseStringMessagePromptTemplate)


def _multipart(role: str, node: Any) -> Message:
    """Text and image parts of one message: shown as text, frozen as a whole."""
    shown = "\n".join(p.template for p in node.prompt if isinstance(p, PromptTemplate))
    return _opaque(role, node.input_variables, shown)


@read_leaves.register
def _(node: FewShotChatMessagePromptTemplate) -> Iterator[Message]:
    def rows(examples: list[dict[str, Any]]) -> str:
        inner = node.example_prompt
        return get_buffer_string(
            [m for e in examples for m in inner.format_messages(**{k: e[k] for k in inner.input_variables})]
        )

    yield _examples(node, rows, node.input_variables)


@read_leaves.register
def _(node: FewShotPromptTemplate) -> Iterator[Message]:
    yield Message("human", node.prefix, node.template_format)
    yield _examples(node, lambda rows: node.example_separator.join(_each(node.example_prompt, rows)))
    yield Message("human", node.suffix, node.template_format)


@write_leaves.register
def _(node: FewShotPromptTemplate, texts: Iterator[str]) -> FewShotPromptTemplate:
    prefix, _, suffix = next(texts), next(texts), next(texts)
    return rebuilt(node, prefix=prefix, suffix=suffix)


@read_leaves.register
def _(node: FewShotPromptWithTemplates) -> Iterator[Message]:
    if node.prefix is not None:
        yield from read_leaves(node.prefix)
    yield _examples(node, lambda rows: node.example_separator.join(_each(node.example_prompt, rows)))
    yield from read_leaves(node.suffix)


@write_leaves.register
def _(node: FewShotPromptWithTemplates, texts: Iterator[str]) -> FewShotPromptWithTemplates:
    prefix = None if node.prefix is None else write_leaves(node.prefix, texts)
    next(texts)
    return rebuilt(node, prefix=prefix, suffix=write_leaves(node.suffix, texts))


def _each(template: PromptTemplate, rows: list[dict[str, Any]]) -> list[str]:
    return [template.format(**{k: row[k] for k in template.input_variables}) for row in rows]


def _examples(node: Any, render: Any, names: Iterable[str] = ()) -> Message:
    if node.examples is None:
        chooser = type(node.example_selector).__name__
        return _opaque("examples", names, f"(examples chosen at run time by {chooser})")
    try:
        return _opaque("examples", names, render(node.examples))
    except KeyError as error:
        msg = f"a few-shot example has no field {error}"
        raise PromptError(msg, where=type(node).__name__, mend="The chain would fail on it as well.") from error


def partial_names(node: Any) -> set[str]:
    """Names bound anywhere inside a template."""
    names = set(getattr(node, "partial_variables", None) or ())
    for part in (*getattr(node, "messages", ()), getattr(node, "prompt", None)):
        if isinstance(part, BaseModel):
            names |= partial_names(part)
    return names


def chooses_examples(node: Any) -> bool:
    """Whether rendering asks an example selector, which may call an embedding model."""
    if getattr(node, "example_selector", None) is not None:
        return True
    parts = (*getattr(node, "messages", ()), *(getattr(node, n, None) for n in ("prompt", "prefix", "suffix")))
    return any(chooses_examples(part) for part in parts if isinstance(part, BaseModel))
