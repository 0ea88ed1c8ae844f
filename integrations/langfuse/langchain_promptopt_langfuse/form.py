"""A prompt in Langfuse's form, and back: variables are `{{name}}`, other braces are text.

Both directions are exact. What Langfuse would read differently is refused, never changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate

from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from langchain_core.prompts import BasePromptTemplate
    from langfuse.api import Prompt as Stored

    from langchain_promptopt.types import Message, Prompt

Content = str | list[dict[str, str]]

_TO_LANGFUSE = {"system": "system", "human": "user", "ai": "assistant"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
"""What Langfuse's SDK takes for a variable: from two opening braces to the next two closing ones."""
_REFERENCE = "@@@langfusePrompt:"
_HELD = "Save it as a file (`result.save`) or push to LangSmith."


def content_of(prompt: Prompt) -> Content:
    """A prompt as Langfuse holds it. Raises PromptError where it cannot."""
    if prompt.kind == "string":
        return _text_of(prompt.messages[0], prompt)
    made: list[dict[str, str]] = []
    variables, placeholders = set[str](), set[str]()
    for message in prompt.messages:
        names = message.parsed.variables
        if message.role == "placeholder":
            if names[0] in prompt.partials:
                raise _refused(prompt, f"the optional placeholder {message.template}", "Make it required.")
            placeholders.update(names)
            made.append({"type": "placeholder", "name": names[0]})
        elif message.role in _TO_LANGFUSE:
            variables.update(names)
            made.append({"role": _TO_LANGFUSE[message.role], "content": _text_of(message, prompt)})
        else:
            raise _refused(prompt, f"a {message.role!r} message")
    if both := sorted(variables & placeholders):
        raise _refused(prompt, f"a variable and a placeholder of one name, {both[0]!r}", "Rename one of them.")
    return made


def _text_of(message: Message, prompt: Prompt) -> str:
    if message.template_format == "jinja2":
        raise _refused(prompt, "a jinja2 template")
    source, parts, at, names = message.template, [], 0, []
    for atom in message.parsed.atoms:
        parts.append(source[at : atom.start])
        written = source[atom.start : atom.end]
        if atom.kind == "escape":
            parts.append(source[atom.start])
        else:
            name = _plain_name(written, message.template_format)
            if atom.kind != "variable" or name is None:
                mend = _HELD
                if message.template_format == "mustache" and atom.kind == "variable":
                    mend = "LangChain writes its values as HTML and Langfuse does not: write three braces, {{{name}}}."
                raise _refused(prompt, written, mend)
            names.append(name)
            parts.append("{{" + name + "}}")
        at = atom.end
    text = "".join([*parts, source[at:]])
    if _TAG.findall(text) != names:
        raise _refused(prompt, "text in two braces, which it would read as a variable", "Put a space between braces.")
    for what in (_REFERENCE, "\0"):  # the first names another prompt, the second is refused by its database
        if what in text:
            raise _refused(prompt, f"the text {what!r}")
    return text


def _plain_name(written: str, template_format: str) -> str | None:
    """The variable's name where it is nothing but a name whose value is written as it is."""
    if template_format == "f-string":
        name = written[1:-1]
    elif template_format == "mustache" and written.startswith("{{{"):
        name = written[3:-3].strip()
    elif template_format == "mustache" and written.startswith("{{&"):
        name = written[3:-2].strip()
    else:
        return None
    return name if _NAME.fullmatch(name) else None


def _refused(prompt: Prompt, what: str, mend: str = _HELD) -> PromptError:
    return PromptError(f"Langfuse cannot hold {what}", where=f"prompt {prompt.name!r}", mend=mend)


def template_of(stored: Stored) -> BasePromptTemplate[Any]:
    """A stored prompt as a LangChain template of f-strings. Raises PromptError where that cannot say it."""
    where = f"Langfuse's prompt {stored.name!r}, version {stored.version}"
    if isinstance(stored.prompt, str):
        return PromptTemplate.from_template(_as_fstring(stored.prompt, where))
    messages: list[Any] = []
    for message in stored.prompt:
        if getattr(message, "type", None) == "placeholder":
            messages.append(MessagesPlaceholder(message.name))
            continue
        if message.role not in _TO_LANGFUSE.values():
            msg = f"a message has the role {message.role!r}"
            raise PromptError(msg, where=where, mend="Roles are system, user and assistant.")
        messages.append((message.role, _as_fstring(message.content, where)))
    return ChatPromptTemplate(messages)


def _as_fstring(text: str, where: str) -> str:
    parts, at = [], 0
    for found in _TAG.finditer(text):
        name = found[1].strip()
        if not _NAME.fullmatch(name):
            msg = f"{found[0]} is a variable in Langfuse and none in LangChain"
            raise PromptError(msg, where=where, mend="Name it with letters, digits and '_'.")
        parts += [_doubled(text[at : found.start()]), "{" + name + "}"]
        at = found.end()
    return "".join([*parts, _doubled(text[at:])])


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
