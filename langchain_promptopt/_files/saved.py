"""Prompts as files: saving a set, reading a user's own prompt file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_promptopt._files.rewrite import read_text, replace_file
from langchain_promptopt._text.templates import FORMATS, TemplateFormat
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, Prompt, PromptSet

VERSION = 1
"""Of the files `save_prompts` writes, under the key `promptopt`."""

_ROLES = {"user": "human", "assistant": "ai", "developer": "system"}
_KNOWN_ROLES = frozenset({"system", "human", "ai", "user", "assistant", "developer", "placeholder"})
_SHAPES = (
    'Accepted: a text; a list of {"role", "content"} or [role, text]; {"messages": [...]}; {"template": "..."}; '
    "what save_prompts writes."
)


def save_prompts(prompts: PromptSet, folder: str | Path) -> tuple[Path, ...]:
    """Write one readable JSON file a prompt; long templates are lists of lines, so that diffs read well.

    Returns:
        The files, in the order of the prompts.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for prompt in prompts:
        stem = re.sub(r"[^\w.-]+", "-", prompt.name).strip("-.") or "prompt"
        path, n = folder / f"{stem}.json", 1
        while path in paths:
            n += 1
            path = folder / f"{stem}-{n}.json"
        data = {
            "promptopt": VERSION,
            "name": prompt.name,
            "kind": prompt.kind,
            "variables": list(prompt.variables),
            "partials": list(prompt.partials),
            "source": prompt.source,
            "messages": [_saved(m) for m in prompt.messages],
        }
        replace_file(path, _json(data))
        paths.append(path)
    return tuple(paths)


def read_prompts(folder: str | Path) -> PromptSet:
    """The prompts that `save_prompts` wrote to a folder, in order of their names.

    Raises:
        PromptError: There is none, or a file is damaged.
    """
    folder = Path(folder)
    found = [_from_saved(_parse(path), str(path)) for path in sorted(folder.glob("*.json")) if _is_saved(path)]
    if not found:
        msg = "the folder holds no saved prompts"
        raise PromptError(msg, where=str(folder), mend="result.save(folder) writes them.")
    names = [prompt.name for prompt in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two files hold a prompt named {twice[0]!r}"
        raise PromptError(msg, where=str(folder))
    return PromptSet(tuple(sorted(found, key=lambda p: p.name)))


def read_prompt_file(path: str | Path, template_format: TemplateFormat = "f-string") -> Prompt:
    """A prompt from a user's own file: text as it is, or a text or chat messages in JSON or YAML.

    Args:
        path: A `.json`, `.yaml` or `.yml` file, or any text file.
        template_format: Of templates that do not name their own.

    Raises:
        PromptError: The file cannot be read as a prompt.
    """
    path = Path(path)
    if path.suffix.lower() in {".json", ".yaml", ".yml"}:
        return _from_data(_parse(path), path, template_format)
    text = read_text(path).removeprefix("\ufeff")
    return _checked(Prompt(path.stem, (Message("human", text, template_format),), str(path), kind="string"))


def _saved(message: Message) -> dict[str, Any]:
    lines = message.template.splitlines(keepends=True)
    return {
        "role": message.role,
        "template_format": message.template_format,
        **({} if message.editable else {"frozen": True}),
        "template": lines if len(lines) > 1 else message.template,
    }


def _json(data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates exist in JSON escapes only
        return (json.dumps(data, indent=2) + "\n").encode("ascii")


def _is_saved(path: Path) -> bool:
    data = _parse(path)
    return isinstance(data, Mapping) and "promptopt" in data


def _parse(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = read_text(path).removeprefix("\ufeff")
    try:
        return json.loads(text) if path.suffix.lower() == ".json" else YAML(typ="safe").load(text)
    except (ValueError, YAMLError) as error:
        msg = f"the file cannot be read: {error}"
        raise PromptError(msg, where=str(path)) from error


def _from_saved(data: Mapping[str, Any], where: str) -> Prompt:
    if data.get("promptopt") != VERSION:
        msg = f"the file has version {data.get('promptopt')!r}, this program reads {VERSION}"
        raise PromptError(msg, where=where)
    try:
        messages = tuple(
            Message(m["role"], _text(m["template"]), m["template_format"], editable=not m.get("frozen", False))
            for m in data["messages"]
        )
        prompt = Prompt(data["name"], messages, data.get("source", ""), tuple(data["partials"]), data["kind"])
    except (KeyError, TypeError) as error:
        msg = f"the saved prompt is damaged: {error}"
        raise PromptError(msg, where=where) from error
    return _checked(prompt)


def _from_data(data: Any, path: Path, template_format: TemplateFormat) -> Prompt:
    if isinstance(data, Mapping):
        if "promptopt" in data:
            return _from_saved(data, str(path))
        template_format = _format(data.get("template_format", template_format), path)
    name = data["name"] if isinstance(data, Mapping) and isinstance(data.get("name"), str) else path.stem
    body = _body(data)
    if isinstance(body, str):
        return _checked(Prompt(name, (Message("human", body, template_format),), str(path), kind="string"))
    if not isinstance(body, list) or not body:
        msg = "the file holds no prompt"
        raise PromptError(msg, where=str(path), mend=_SHAPES)
    messages = tuple(_message(item, i, path, template_format) for i, item in enumerate(body))
    return _checked(Prompt(name, messages, str(path)))


def _body(data: Any) -> Any:
    """The text or the list of messages inside the shapes we accept."""
    if not isinstance(data, Mapping):
        return data
    for key in ("messages", "template", "prompt"):
        if key in data:
            value = data[key]
            lines = isinstance(value, list) and key != "messages" and all(isinstance(v, str) for v in value)
            return "".join(value) if lines else value
    if data and all(key in _KNOWN_ROLES for key in data):
        return [[role, text] for role, text in data.items()]
    return None


def _message(item: Any, index: int, path: Path, template_format: TemplateFormat) -> Message:
    where = f"{path}, message {index}"
    if isinstance(item, str):
        return Message("human", item, template_format)
    if isinstance(item, list) and len(item) == 2:  # [role, text]
        role, text = item
    elif isinstance(item, Mapping):
        role = item.get("role", item.get("type"))
        text = item.get("template", item.get("content", item.get("text")))
        template_format = _format(item.get("template_format", template_format), path)
    else:
        role = text = None
    text = _text(text)
    if not isinstance(role, str) or not isinstance(text, str):
        msg = f"{item!r} is no message"
        raise PromptError(msg, where=where, mend=_SHAPES)
    role = _ROLES.get(role, role)
    if role == "placeholder":
        return Message(role, "{" + text.strip("{} ") + "}", "f-string", editable=False)
    return Message(role, text, template_format)


def _text(value: Any) -> Any:
    """A template, given as a text or as a list of lines."""
    return "".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _format(name: Any, path: Path) -> TemplateFormat:
    for known in FORMATS:
        if name == known:
            return known
    msg = f"{name!r} is no template format"
    raise PromptError(msg, where=str(path), mend=f"Use one of {', '.join(FORMATS)}.")


def _checked(prompt: Prompt) -> Prompt:
    """The prompt, parsed once, so that a bad template is named with its file."""
    for i, message in enumerate(prompt.messages):
        try:
            _ = message.parsed
        except PromptError as error:
            raise PromptError(error.what, where=f"{prompt.source}, message {i}", mend=error.mend) from error
    return prompt
