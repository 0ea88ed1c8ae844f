"""Prompts as this package saves them: a folder with one JSON file a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_promptopt._files.layouts import VERSION, from_saved, parsed
from langchain_promptopt._files.rewrite import replace_file
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, PromptSet


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
    found = [from_saved(parsed(path), str(path)) for path in sorted(folder.glob("*.json")) if _is_saved(path)]
    if not found:
        msg = "the folder holds no saved prompts"
        raise PromptError(msg, where=str(folder), mend="result.save(folder) writes them.")
    names = [prompt.name for prompt in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two files hold a prompt named {twice[0]!r}"
        raise PromptError(msg, where=str(folder))
    return PromptSet(tuple(sorted(found, key=lambda p: p.name)))


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
    data = parsed(path)
    return isinstance(data, Mapping) and "promptopt" in data
