"""Live LangChain templates to our `Prompt` and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import ChatMessage, convert_to_messages
from langchain_core.prompts.chat import (
    BaseChatPromptTemplate,
    ChatMessagePromptTemplate,
    ChatPromptTemplate,
    MessagesPlaceholder,
)
from langchain_core.prompts.prompt import PromptTemplate

from langchain_promptopt._langchain.leaves import ROLES, partial_names, read_leaves, write_leaves
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, Prompt

if TYPE_CHECKING:
    from langchain_core.prompts.base import BasePromptTemplate

HUB_COMMIT = "lc_hub_commit_hash"
"""Metadata of hub-pulled prompts that is untrue once the text differs from the commit."""


def to_prompt(template: BasePromptTemplate[Any], *, name: str, source: str = "") -> Prompt:
    """What a search sees of a live template. The template is not touched.

    Args:
        template: Any LangChain prompt template.
        name: How events, files and the user call it.
        source: Where it was found.
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

    Everything but the texts is kept (metadata, tags, partials, output parser, schema, names);
    hub commit metadata that the new text makes untrue is dropped. `like` is not touched.

    Raises:
        PromptError: The prompt has other messages than `like`, changes a frozen one, does not
            parse, or asks for other variables.
    """
    now = to_prompt(like, name=prompt.name)
    _check_same_shape(prompt, now)
    if prompt.variables != now.variables:
        lost = sorted(set(now.variables) - set(prompt.variables))
        new = sorted(set(prompt.variables) - set(now.variables))
        msg = f"the variables differ from the live template: lost {lost}, new {new}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}", lost=lost, new=new)
    texts = iter([m.template for m in prompt.messages])
    try:
        built = cast("BasePromptTemplate[Any]", write_leaves(like, texts))
    except template_errors() as error:
        msg = f"LangChain refuses the template: {error}"
        raise PromptError(msg, where=f"prompt {prompt.name!r}") from error
    changed = [m.template for m in prompt.messages] != [m.template for m in now.messages]
    if changed and built.metadata and HUB_COMMIT in built.metadata:
        built.metadata = {k: v for k, v in built.metadata.items() if k != HUB_COMMIT}
    return built


def build_template(prompt: Prompt) -> BasePromptTemplate[Any]:
    """A new template for a prompt that has no live one yet, such as one read from a file.

    Raises:
        PromptError: The prompt has partial variables, whose values no file holds.
    """
    placeholders = {m.parsed.variables[0] for m in prompt.messages if m.role == "placeholder"}
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
    """What LangChain's three template engines raise for a bad template or value."""
    from jinja2 import TemplateError

    return (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError, TemplateError)


def _check_same_shape(prompt: Prompt, now: Prompt) -> None:
    if [m.role for m in prompt.messages] != [m.role for m in now.messages]:
        have, want = [m.role for m in prompt.messages], [m.role for m in now.messages]
        msg = f"the messages are {have}, the live template has {want}"
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
