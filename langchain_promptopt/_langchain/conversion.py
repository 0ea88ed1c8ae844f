"""LangChain templates to our `Prompt` and back, and a template's new state written into the live object.

A template is read as a list of leaves: one for each message, placeholder, few-shot part or opaque block; nested
chat prompts are flattened. Reading and writing walk the leaves in the same order, so no addresses are needed.
Only the texts of leaves are replaced, always in new objects: `partial()` and shallow copies share message templates.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import BaseMessage, ChatMessage, convert_to_messages, get_buffer_string
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.prompts.chat import (
    AIMessagePromptTemplate,
    BaseChatPromptTemplate,
    BaseStringMessagePromptTemplate,
    ChatMessagePromptTemplate,
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    SystemMessagePromptTemplate,
)
from langchain_core.prompts.dict import DictPromptTemplate
from langchain_core.prompts.few_shot import FewShotChatMessagePromptTemplate, FewShotPromptTemplate
from langchain_core.prompts.few_shot_with_templates import FewShotPromptWithTemplates
from langchain_core.prompts.message import BaseMessagePromptTemplate
from langchain_core.prompts.prompt import PromptTemplate
from pydantic import BaseModel

from langchain_promptopt._collections import without
from langchain_promptopt._objects import concrete_type
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


Model = TypeVar("Model", bound=BaseModel)

ROLES: tuple[tuple[type[Any], str], ...] = (
    (SystemMessagePromptTemplate, "system"),
    (HumanMessagePromptTemplate, "human"),
    (AIMessagePromptTemplate, "ai"),
)
_TEXT_MESSAGES = frozenset({"system", "human", "ai", "chat"})


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
    # A prompt's variables are read from its texts, so a frozen part must show its own.
    holes = " ".join(f"{{{name}}}" for name in sorted(set(names)))
    if not holes:
        return Message(role, text, "literal", editable=False)
    shown = text.replace("{", "{{").replace("}", "}}")
    return Message(role, f"{shown}\n{holes}" if shown else holes, "f-string", editable=False)


@singledispatch
def read_leaves(node: Any) -> Iterator[Message]:
    """The leaves of `node` in order. What we do not know is one frozen leaf."""
    yield _opaque("other", getattr(node, "input_variables", ()))


def is_readable(kind: type[Any]) -> bool:
    """Whether the texts of a class of templates are known here."""
    return read_leaves.dispatch(kind) is not read_leaves.dispatch(object)


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
    editable = node.type in _TEXT_MESSAGES and not getattr(node, "tool_calls", None)
    for part in _parts_of(node.content):
        text = _block_text(part)
        shown = json.dumps(part, ensure_ascii=False, default=str) if text is None else text
        yield Message(role, shown, "literal", editable=editable and text is not None)


def _parts_of(content: Any) -> list[Any]:
    """The blocks of a message's content; a text is one, and a message keeps a leaf where it has none."""
    return content if isinstance(content, list) and content else [content]


def _block_text(block: Any) -> str | None:
    """The text of a text block, whatever else it carries, such as cache_control; None for other blocks."""
    if isinstance(block, str):
        return block
    known = isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str)
    return str(block["text"]) if known else None


def _with_block_text(block: Any, text: str) -> Any:
    if _block_text(block) is None:
        return block
    return text if isinstance(block, str) else block | {"text": text}


@write_leaves.register
def _(node: BaseMessage, texts: Iterator[str]) -> BaseMessage:
    parts = []
    for part in _parts_of(node.content):
        parts.append(_with_block_text(part, next(texts)))
    return node.model_copy(update={"content": parts if isinstance(node.content, list) and node.content else parts[0]})


def _message_role(node: Any) -> str:
    if isinstance(node, ChatMessagePromptTemplate):
        return node.role
    return next((role for kind, role in ROLES if isinstance(node, kind)), "other")


def _read_message(node: Any) -> Iterator[Message]:
    role = _message_role(node)
    if isinstance(node.prompt, list):
        for part in node.prompt:
            yield _read_part(role, part)
        return
    for message in read_leaves(node.prompt):
        yield replace(message, role=role) if message.role == "human" else message


def _write_message(node: Any, texts: Iterator[str]) -> Any:
    if isinstance(node.prompt, list):
        return rebuilt(node, prompt=[_write_part(part, next(texts)) for part in node.prompt])
    return rebuilt(node, prompt=write_leaves(node.prompt, texts))


def _register(kind: type[Any]) -> None:
    read_leaves.register(kind, _read_message)
    write_leaves.register(kind, _write_message)


for _kind in (SystemMessagePromptTemplate, HumanMessagePromptTemplate, AIMessagePromptTemplate):
    _register(_kind)
_register(BaseStringMessagePromptTemplate)


def _read_part(role: str, part: Any) -> Message:
    """One block of a message: its text, or a frozen leaf for images and the like."""
    if isinstance(part, PromptTemplate):
        return Message(role, part.template, part.template_format)
    if isinstance(part, DictPromptTemplate) and (text := _block_text(part.template)) is not None:
        return Message(role, text, part.template_format)
    return _opaque(role, getattr(part, "input_variables", ()))


def _write_part(part: Any, text: str) -> Any:
    if isinstance(part, PromptTemplate):
        return rebuilt(part, template=text)
    if isinstance(part, DictPromptTemplate):
        return rebuilt(part, template=_with_block_text(part.template, text))
    return part


@read_leaves.register
def _(node: FewShotChatMessagePromptTemplate) -> Iterator[Message]:
    def shown(examples: list[dict[str, Any]]) -> str:
        inner, messages = node.example_prompt, list[BaseMessage]()
        for example in examples:
            values = {name: example[name] for name in inner.input_variables}
            messages += inner.format_messages(**values)
        return get_buffer_string(messages)

    yield _examples(node, shown, node.input_variables)


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
    found: list[str] = []
    for row in rows:
        found.append(template.format(**{k: row[k] for k in template.input_variables}))
    return found


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


HUB_COMMIT = "lc_hub_commit_hash"
"""Metadata of prompts pulled from the hub; it is dropped once the text differs from the commit."""


def to_prompt(template: BasePromptTemplate[Any], *, name: str, source: str = "") -> Prompt:
    """A live template as our `Prompt`. The template is not changed.

    Args:
        template: Any LangChain prompt template.
        name: The prompt's name in events, in files and for the user.
        source: Where it was found.

    Returns:
        Its messages in order, each marked editable or frozen, and the names of its partial variables.
    """
    return Prompt(
        name=name,
        messages=tuple(read_leaves(template)),
        source=source,
        partials=tuple(sorted(partial_names(template) - set(template.input_variables))),
        kind="chat" if isinstance(template, BaseChatPromptTemplate) else "string",
    )


def from_prompt(prompt: Prompt, *, like: BasePromptTemplate[Any]) -> BasePromptTemplate[Any]:
    """A freshly validated template of the type of `like` with the texts of `prompt`.

    Everything else is kept (metadata, tags, partials, output parser, schema, names), except the hub commit
    where the text is new. `like` is not changed.

    Raises:
        PromptError: The prompt has other messages than `like`, changes a frozen one, does not
            parse, or has other variables.
    """
    now = to_prompt(like, name=prompt.name)
    _check_same_shape(prompt, now)
    if prompt.variables != now.variables:
        lost = sorted(set(now.variables) - set(prompt.variables))
        new = sorted(set(prompt.variables) - set(now.variables))
        msg = f"the variables differ from the live template: lost {lost}, new {new}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}", lost=lost, new=new)
    try:
        built = cast("BasePromptTemplate[Any]", write_leaves(like, iter(prompt.texts)))
    except template_errors() as error:
        msg = f"LangChain refuses the template: {error}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}") from error
    # The hub's commit hash is kept only with the text of that commit: traces would link to the wrong prompt.
    changed = prompt.texts != now.texts
    if changed and built.metadata and HUB_COMMIT in built.metadata:
        built.metadata = without(built.metadata, {HUB_COMMIT})
    return built


def build_template(prompt: Prompt) -> BasePromptTemplate[Any]:
    """A new template for a prompt that has no live one yet, such as one read from a file.

    Raises:
        PromptError: The prompt has partial variables, whose values no file holds.
    """
    placeholders = set()
    for m in prompt.messages:
        if m.role == "placeholder":
            placeholders.add(m.parsed.variables[0])
    unknown = sorted(set(prompt.partials) - placeholders)
    if unknown:
        msg = f"the values of the partial variables {unknown} are not part of the prompt"
        raise PromptError(
            msg, where=f"prompt {prompt.name!r}", mend="Load it into the chain that has them: load_prompts(chain, ...)."
        )
    try:
        if prompt.kind == "string":
            (message,) = prompt.messages
            return PromptTemplate.from_template(message.template, template_format=message.template_format)  # type: ignore[arg-type]  # "literal" never has kind "string"
        return ChatPromptTemplate([_new_message(m, optional=set(prompt.partials)) for m in prompt.messages])
    except template_errors() as error:
        msg = f"LangChain refuses the template: {error}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}") from error


def template_errors() -> tuple[type[Exception], ...]:
    """The errors that LangChain's three template engines raise for a bad template or value."""
    from jinja2 import TemplateError

    return (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError, TemplateError)


def _check_same_shape(prompt: Prompt, now: Prompt) -> None:
    if prompt.roles != now.roles:
        msg = f"the messages are {prompt.roles}, the live template has {now.roles}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}")
    for i, (message, live) in enumerate(zip(prompt.messages, now.messages, strict=True)):
        where = f"prompt {prompt.name!r}, message {i}"
        if message.template_format != live.template_format:
            msg = f"the template format is {message.template_format!r}, the live template has {live.template_format!r}"
            raise PromptError(msg, where=where)
        if not live.editable and message.template != live.template:
            msg = f"a {live.role} block cannot be changed"
            raise PromptError(msg, where=where, mend="Placeholders, few-shot, image and tool blocks are frozen.")


def _new_message(message: Message, *, optional: set[str]) -> Any:
    role, text = message.role, message.template
    if role == "placeholder":
        name = message.parsed.variables[0]
        return MessagesPlaceholder(name, optional=name in optional)
    if message.template_format == "literal":
        plain = role in {known for _, known in ROLES}
        return convert_to_messages([(role, text)])[0] if plain else ChatMessage(role=role, content=text)
    for kind, known in ROLES:
        if role == known:
            return kind.from_template(text, template_format=message.template_format)
    return ChatMessagePromptTemplate.from_template(text, template_format=message.template_format, role=role)


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
    state = {}
    for name, value in src.__dict__.items():
        if name in concrete_type(src).model_fields:
            state[name] = value
    object.__setattr__(dst, "__pydantic_fields_set__", set(src.model_fields_set))
    object.__setattr__(dst, "__dict__", state)


class Snapshot:
    """All state of some objects, nested message templates and containers included.

    Objects keep their identity: restoring puts the very same values back into them, so sharing
    is as it was, and so are caches.
    """

    def __init__(self, *roots: Any) -> None:
        self._states: list[tuple[Any, Any, set[str] | None]] = []
        self._undo: list[Callable[[], None]] = []
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

    def also(self, undo: Callable[[], None]) -> None:
        """Call this too when everything is put back."""
        self._undo.append(undo)

    def restore(self) -> None:
        """Put everything back. May be called again."""
        for undo in reversed(self._undo):
            undo()
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
    with _WRITING:  # another thread that restores a snapshot must not mix with this
        try:
            for dst, src in pairs:
                write_back(dst, src)
        except PromptError:
            before.restore()
            raise
    return before
