"""What a configuration names as its task: a chain in Python code, a prompt file, a LangSmith prompt."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_promptopt.config import Config
    from langchain_promptopt.types import Prompt


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Imports look into `folder` first: chains and evaluators come only from where the user's config is."""
    path = str(folder)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        if path in sys.path:
            sys.path.remove(path)


def import_object(name: str, folder: Path, key: str = "task.chain") -> Any:
    """The object `module:attribute` (dots allowed) that the setting `key` names. Raises ConfigError."""
    module_name, _, attribute = name.partition(":")
    with importing_from(folder):
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            msg = f"cannot import {module_name!r}: {error}"
            raise ConfigError(msg, where=f"{key} = {name!r}", mend=f"Imports start in {folder}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            msg = f"{module_name!r} has no {attribute!r}"
            known = ", ".join(n for n in dir(found) if not n.startswith("_"))
            raise ConfigError(msg, where=f"{key} = {name!r}", mend=f"It has: {known[:300]}.")
        found = getattr(found, part)
    return found


def file_prompt(config: Config, name: str) -> Prompt | None:
    """The prompt in a file named by the config, or None where there is no such file."""
    from langchain_promptopt._langchain.files import read_prompt_file

    path = config.path(name)
    return read_prompt_file(path, config.task.template_format) if path.is_file() else None


def is_code(name: str) -> bool:
    """Whether `name` looks like "module:attribute" rather than a file or "owner/prompt:tag".

    >>> is_code("my_app.chain:chain"), is_code("me/triage:staging"), is_code("prompt.txt")
    (True, False, False)
    """
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(p.isidentifier() for p in (*module.split("."), *attribute.split(".")))


def is_own_code(name: str, folder: Path) -> bool:
    """Whether `name` means code and not "provider:model": its module is dotted, or lies in `folder`.

    >>> is_own_code("openai:o3", Path()), is_own_code("my_app.models:editor", Path())
    (False, True)
    """
    module = name.partition(":")[0]
    return is_code(name) and ("." in module or (folder / f"{module}.py").is_file() or (folder / module).is_dir())


def load_task(config: Config, name: str | None = None) -> Any:
    """The chain or prompt template of a config, or of another `name` in its terms.

    Raises ConfigError where nothing is named or found, PromptError where a prompt is unusable.
    """
    wanted = name or config.task.chain or config.task.prompt
    if wanted is None:
        msg = "no task is named"
        raise ConfigError(msg, where=config.where, mend="Set task.chain or task.prompt.")
    if (prompt := file_prompt(config, wanted)) is not None:
        return template_of(prompt)
    if is_code(wanted):
        return import_object(wanted, config.root)
    if "/" in wanted and Path(wanted).suffix.lower() not in {".txt", ".yaml", ".yml", ".json", ".md"}:
        from langchain_promptopt._langsmith.hub import pull_template

        return pull_template(wanted)
    msg = f"there is no file {wanted!r}"
    raise ConfigError(msg, where=str(config.path(wanted)), mend="Name a prompt file, module:chain, or owner/name:tag.")


def template_of(prompt: Prompt) -> Any:
    """A live template of a prompt read from a file. Raises PromptError for marks that cannot be meant."""
    from langchain_promptopt._langchain.templates import build_template

    return build_template(prompt)
