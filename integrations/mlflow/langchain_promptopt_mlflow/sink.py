"""Prompts as versions in MLflow's prompt registry: a `PromptSink`, and the way back into LangChain.

MLflow writes variables as `{{name}}` and their values as they are. F-strings and mustache's `{{{name}}}` and
`{{&name}}` are turned into that and back; what it cannot hold is refused before anything is written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from mlflow import MlflowClient
from mlflow.prompt.constants import PROMPT_TEMPLATE_VARIABLE_PATTERN as VARIABLE

from langchain_promptopt.errors import ConflictError, PromptError
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.prompts import BasePromptTemplate
    from mlflow.entities.model_registry import PromptVersion

    from langchain_promptopt.types import Message, Prompt, PromptSet

_ROLES = {"system": "system", "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}
_IDENTITY = "promptopt.prompt_id"
_NAME = re.compile(r"[A-Za-z_]\w*")
_CODE = re.compile(r"\{%|\{#")
_HELD = "Save it as a file (`result.save`) or push to LangSmith."


class MlflowPrompts:
    """A `PromptSink` on MLflow's prompt registry.

    One prompt is a registered prompt with the given name. Several are one each, named `name.prompt`. A commit is a
    version ("4"), or for several prompts a version of each ("choose=4,summarise=2").

    Args:
        name: The name in the registry.
        client: The client to use; without one, MLflow's own settings (`MLFLOW_TRACKING_URI`) decide where prompts are.
    """

    def __init__(self, name: str, *, client: MlflowClient | None = None) -> None:
        self.name = name
        self.client = client if client is not None else MlflowClient()

    def push(self, prompts: PromptSet, *, message: str, parent: str | None, tag: str | None) -> str:
        """Register the prompts as new versions; versions that hold them already are left as they are.

        Args:
            prompts: The prompts, as `result.best`.
            message: The commit message.
            parent: The commit that must be the newest, as `head` gives it; None where the prompt is new.
            tag: The alias that is moved to the new versions, as "staging"; None moves none.

        Returns:
            The commit.

        Raises:
            PromptError: A prompt has a form that MLflow does not hold; nothing was written.
            ConflictError: `parent` is not the newest version. Where another version came in between, yours is
                registered, too, but has no alias.
        """
        entries = {}
        for prompt in prompts.awake:
            entries[prompt.name] = _template_of(prompt)
        places = self._places(list(entries))
        newest = {name: self._newest(place) for name, place in places.items()}
        marks = {name: content_hash(template) for name, template in entries.items()}
        if all(v is not None and v.tags.get(_IDENTITY) == marks[name] for name, v in newest.items()):
            made = {name: v.version for name, v in newest.items() if v is not None}
        else:
            self._check(_commit(newest), parent)
            made = {}
            for name, template in entries.items():
                made[name] = self._register(places[name], template, message, newest[name], marks[name])
        for name, version in made.items() if tag else ():
            self.client.set_prompt_alias(places[name], alias=tag, version=version)
        return _named(made)

    def head(self, prompts: PromptSet | None = None) -> str | None:
        """The newest commit, which a push names as its parent; None where there is none.

        Args:
            prompts: The prompts, where the sink holds several.
        """
        names = [""] if prompts is None else [prompt.name for prompt in prompts.awake]
        places = self._places(names)
        return _commit({name: self._newest(place) for name, place in places.items()})

    def pull(self, reference: str = "@latest", *, prompt: str = "") -> BasePromptTemplate[Any]:
        """A version as a LangChain template.

        Args:
            reference: "@staging" for an alias, "4" for a version.
            prompt: The prompt's own name where the sink holds several.
        """
        place = self._place(prompt) if prompt else self.name
        uri = f"prompts:/{place}{reference}" if reference.startswith("@") else f"prompts:/{place}/{reference}"
        found = self.client.load_prompt(uri, cache_ttl_seconds=0)
        if isinstance(found.template, str):
            return PromptTemplate.from_template(_as_fstring(found.template))
        messages = [(m["role"], _as_fstring(m["content"])) for m in found.template]
        return ChatPromptTemplate(messages)

    def _places(self, names: list[str]) -> dict[str, str]:
        """The name in the registry for each prompt."""
        if len(names) == 1:
            return {names[0]: self.name}
        return {name: self._place(name) for name in names}

    def _place(self, prompt: str) -> str:
        return f"{self.name}.{re.sub(r'[^A-Za-z0-9_.-]', '-', prompt)}"

    def _newest(self, place: str) -> PromptVersion | None:
        if self.client.get_prompt(place) is None:
            return None
        return self.client.load_prompt(f"prompts:/{place}@latest", allow_missing=True, cache_ttl_seconds=0)

    def _check(self, head: str | None, parent: str | None) -> None:
        if head != parent:
            msg = f"the newest version of {self.name!r} in MLflow is {head}, not {parent}"
            raise ConflictError(msg, mend="Look at what changed there, then push with `parent=sink.head(prompts)`.")

    def _register(self, place: str, template: Any, message: str, before: PromptVersion | None, mark: str) -> int:
        made = self.client.register_prompt(place, template, commit_message=message, tags={_IDENTITY: mark})
        expected = 1 if before is None else before.version + 1
        if made.version != expected:
            msg = f"somebody registered {place!r} at the same time: yours is version {made.version}, not {expected}"
            raise ConflictError(msg, mend="No alias was moved. Compare the versions in MLflow, then push again.")
        return int(made.version)


def _commit(versions: Mapping[str, PromptVersion | None]) -> str | None:
    found = {name: v.version for name, v in versions.items() if v is not None}
    return _named(found) if found else None


def _named(versions: Mapping[str, int]) -> str:
    if len(versions) == 1:
        return str(next(iter(versions.values())))
    return ",".join(f"{name}={version}" for name, version in sorted(versions.items()))


def _template_of(prompt: Prompt) -> str | list[dict[str, str]]:
    """A prompt as MLflow holds it. Raises PromptError where it cannot."""
    if prompt.kind == "string":
        return _text_of(prompt.messages[0], prompt)
    made = []
    for message in prompt.messages:
        if message.role not in _ROLES:
            raise _refused(prompt, f"a {message.role!r} message")
        made.append({"role": _ROLES[message.role], "content": _text_of(message, prompt)})
    return made


def _text_of(message: Message, prompt: Prompt) -> str:
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
                    mend = "LangChain writes its values as HTML and MLflow does not: write three braces, {{{name}}}."
                raise _refused(prompt, written, mend)
            names.append(name)
            parts.append("{{" + name + "}}")
        at = atom.end
    text = "".join([*parts, source[at:]])
    if VARIABLE.findall(text) != names or _CODE.search(text):
        raise _refused(prompt, "text in braces that MLflow would read as a variable or as code")
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
    return PromptError(f"MLflow's registry cannot hold {what}", where=f"prompt {prompt.name!r}", mend=mend)


def _as_fstring(text: str) -> str:
    """A template of MLflow as LangChain's usual form."""
    parts, at = [], 0
    for found in VARIABLE.finditer(text):
        parts += [_doubled(text[at : found.start()]), "{" + found[1] + "}"]
        at = found.end()
    return "".join([*parts, _doubled(text[at:])])


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
