"""The meta-prompts: what is said to the optimizer model, one text file each, and what a user says in their place.

A meta-prompt is versioned by its hash. Its `$name` places are filled with values that are never parsed again, so
rows and replies with braces, dollars or tags arrive as they are.

    >>> MetaPrompts({"allowance": "At most $words words."}).fill("allowance", words=4)
    'At most 4 words.'
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from langchain_core.prompts import PromptTemplate

from langchain_promptopt._collections import map_values
from langchain_promptopt.errors import ConfigError, did_you_mean


@cache
def names() -> tuple[str, ...]:
    """Names of all meta-prompts, sorted."""
    found = []
    for file in (resources.files("langchain_promptopt") / "metaprompts").iterdir():
        if file.name.endswith(".txt"):
            found.append(file.name.removesuffix(".txt"))
    return tuple(sorted(found))


@cache
def metaprompt(name: str) -> str:
    """The text of `metaprompts/<name>.txt`."""
    return (resources.files("langchain_promptopt") / "metaprompts" / f"{name}.txt").read_text("utf-8").strip()


@dataclass(frozen=True)
class MetaPrompts:
    """All meta-prompts, some of them in the user's own words.

    Attributes:
        own: The user's text by the name of the meta-prompt that it replaces.
    """

    own: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> MetaPrompts:
        """What a user gave as `metaprompts=`.

        Args:
            given: None, or a text (or a Path to its file) by the name of a meta-prompt.

        Raises:
            ConfigError: There is no such meta-prompt, a file cannot be read, or a `$place` is missing or unknown.
        """
        if isinstance(given, MetaPrompts):
            return given
        if given is None:
            return DEFAULT
        if not isinstance(given, Mapping):
            msg = f"metaprompts cannot be {given!r}"
            raise ConfigError(msg, mend='Write metaprompts={"identify.line": "..."}: your text by name.')
        return cls({name: _checked(name, text) for name, text in given.items()})

    def text(self, name: str) -> str:
        """The text in force under this name, its places unfilled."""
        return self.own.get(name) or metaprompt(name)

    def fill(self, name: str, **values: object) -> str:
        """The meta-prompt with its `$places` filled once; a missing value is a KeyError."""
        return Template(self.text(name)).substitute(map_values(str, values))

    def versions(self) -> dict[str, str]:
        """Content hash of every meta-prompt, for the run record."""
        return {n: hashlib.sha256(self.text(n).encode()).hexdigest()[:12] for n in names()}

    def template(self, name: str) -> PromptTemplate:
        """The meta-prompt as a LangChain prompt; `$name` places are variables, `metadata["name"]` is its name."""
        text = self.text(name).replace("{", "{{").replace("}", "}}")
        places = {place: f"{{{place}}}" for place in Template(text).get_identifiers()}
        made = PromptTemplate.from_template(Template(text).substitute(places))
        return made.model_copy(update={"metadata": {"name": name, "own": name in self.own}})


DEFAULT = MetaPrompts()
"""The meta-prompts of this package."""


def _checked(name: Any, given: Any) -> str:
    if name not in names():
        mend = did_you_mean(str(name), names()).strip() or f"There are {', '.join(names())}."
        msg = f"there is no meta-prompt {name!r}"
        raise ConfigError(msg, where="metaprompts", mend=mend)
    where = f"metaprompts[{name!r}]"
    if isinstance(given, Path):
        try:
            given = given.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            msg = f"the file {str(given)!r} cannot be read: {error}"
            raise ConfigError(msg, where=where, mend="Name a text file in UTF-8.") from error
    if not isinstance(given, str) or not given.strip():
        msg = f"a meta-prompt is a text, got {given!r}"
        raise ConfigError(msg, where=where, mend="Leave it out for the package's own.")
    own, meant = Template(given.strip()), set(Template(metaprompt(name)).get_identifiers())
    if not own.is_valid():
        msg = "a $ stands before no name"
        raise ConfigError(msg, where=where, mend="Write $$ for a dollar sign.")
    found = set(own.get_identifiers())
    for wrong, what in ((meant - found, "lacks"), (found - meant, "has an unknown")):
        if wrong:
            msg = f"the text {what} {', '.join(f'${place}' for place in sorted(wrong))}"
            mend = f"It must hold {', '.join(f'${p}' for p in sorted(meant)) or 'no place'}; $$ is a dollar sign."
            raise ConfigError(msg, where=where, mend=mend)
    return given.strip()
