"""Prompts and models inside anything callable, and what a chain is beside the texts of its prompts.

`Runnable.get_prompts` misses fallbacks, branches, routers, closures and graphs, so this uses the walk
of `_objects`. It may find prompts that never run: what is edited is decided by a dry run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.prompts.chat import MessagesPlaceholder
from langchain_core.prompts.dict import DictPromptTemplate
from langchain_core.prompts.image import ImagePromptTemplate

from langchain_promptopt._langchain.held import HeldText
from langchain_promptopt._langchain.overlay import Tunable
from langchain_promptopt._objects import concrete_type, fingerprint, package_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Live: TypeAlias = "BasePromptTemplate[Any] | Tunable | HeldText"
"""What holds the text of a prompt in a running program."""


@dataclass(frozen=True)
class Found:
    """A prompt in a chain: its path for people, and the live object."""

    path: str
    template: Live


def find_prompts(root: Any) -> tuple[Found, ...]:
    """Every prompt template and `tunable` reachable from `root`, breadth first, each object once."""
    reached = walk(root, stop=is_prompt_or_model)
    return tuple(Found(path, thing) for path, thing in reached if isinstance(thing, BasePromptTemplate | Tunable))


def find_models(root: Any) -> tuple[BaseLanguageModel[Any], ...]:
    """Every chat model and LLM reachable from `root`."""
    reached = walk(root, stop=is_prompt_or_model)
    return tuple(thing for _, thing in reached if isinstance(thing, BaseLanguageModel))


def is_prompt_or_model(thing: Any) -> bool:
    """Where the search for prompts, models and clients ends: what is inside these is their own affair."""
    return isinstance(thing, BasePromptTemplate | BaseLanguageModel | Tunable)


def name_places(found: Sequence[Found]) -> dict[str, Found]:
    """Readable, unique names: the prompt's own name where it has one, else its path; one alone is `main`."""
    names: dict[str, Found] = {}
    for one in found:
        wanted = _own_name(one.template) or ("main" if len(found) == 1 else _readable(one.path))
        name, n = wanted, 1
        while name in names:
            n += 1
            name = f"{wanted}-{n}"
        names[name] = one
    return names


def code_of(chain: Any) -> str:
    """A fingerprint of a chain without the texts of its prompts, which are the candidate's.

    It is the same before, during and after a search: what a search puts over the live prompts does not count.
    """
    return fingerprint(chain, instead=_without_texts)


def prompts_beside(chain: Any, candidates: Sequence[Found]) -> str:
    """A fingerprint of the chain's prompts that are no part of a candidate: they stay as they are. "" without any."""
    known = {id(one.template) for one in candidates}
    others = [found.template for found in find_prompts(chain) if id(found.template) not in known]
    return fingerprint(others) if others else ""


def _without_texts(thing: Any) -> Any:
    """What stands for a prompt: values it binds, examples it chooses, parts that are no text, code of the user's."""
    if not isinstance(thing, BasePromptTemplate | Tunable):
        return None
    beside = (part for _, inner in walk(thing) for part in _beside_text(inner))
    return {"prompt": [part for part in beside if part]}


def _beside_text(inner: Any) -> Iterator[Any]:
    if isinstance(inner, ImagePromptTemplate | DictPromptTemplate):
        yield inner.template
    elif isinstance(inner, MessagesPlaceholder):
        yield inner.n_messages
    elif isinstance(inner, BaseMessage):
        yield from (inner.additional_kwargs, getattr(inner, "tool_calls", None))
    if isinstance(inner, BasePromptTemplate):
        kind = concrete_type(inner)
        yield from (inner.partial_variables, getattr(inner, "example_selector", None))
        yield kind if package_of(kind.__module__) is None else None


def _own_name(template: Live) -> str:
    if isinstance(template, Tunable | HeldText):
        return template.name
    repo = (template.metadata or {}).get("lc_hub_repo")
    return template.name or (repo if isinstance(repo, str) else "")


def _readable(path: str) -> str:
    """`$.steps__['a'].first` is `a.first`.

    >>> _readable("$.steps__['a'].first"), _readable("$.func<triage>")
    ('a.first', 'func.triage')
    """
    text = path.removeprefix("$").replace(".steps__", "").replace("<", ".").replace(">", "")
    return text.replace("['", ".").replace("']", "").lstrip(".") or "main"
