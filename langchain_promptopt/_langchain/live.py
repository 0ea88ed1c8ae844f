"""Named live prompts: reading them as a `PromptSet`, building candidates, writing a winner."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.discover import Found, find_prompts, name_places
from langchain_promptopt._langchain.templates import Snapshot, from_prompt, to_prompt, write_all
from langchain_promptopt._langchain.tunable import Tunable
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.types import Prompt, PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.prompts.base import BasePromptTemplate


def template_of(thing: BasePromptTemplate[Any] | Tunable) -> BasePromptTemplate[Any]:
    """The LangChain template that holds the text."""
    return thing.template if isinstance(thing, Tunable) else thing


def read_set(places: Mapping[str, Found]) -> PromptSet:
    """The prompts as they are now."""
    return PromptSet(
        tuple(to_prompt(template_of(one.template), name=name, source=one.path) for name, one in places.items())
    )


def build(places: Mapping[str, Found], prompts: PromptSet) -> dict[str, BasePromptTemplate[Any]]:
    """A checked template for each prompt of the candidate.

    Raises:
        PromptError: A prompt has no live place, or does not fit it.
    """
    for prompt in prompts:
        if prompt.name not in places:
            msg = f"the chain has no prompt named {prompt.name!r}"
            raise PromptError(msg, mend=f"{closest(prompt.name, places)}It has: {', '.join(sorted(places)) or 'none'}.")
    return {p.name: from_prompt(p, like=template_of(places[p.name].template)) for p in prompts}


def write(places: Mapping[str, Found], prompts: PromptSet) -> Snapshot:
    """Put the texts into the live objects, all or none; objects whose text is the same are left alone.

    Raises:
        PromptError: As `build`; then nothing was written.
    """
    now = read_set(places)
    changed = PromptSet(tuple(p for p in prompts if p.name not in places or _texts(p) != _texts(now[p.name])))
    built = build(places, changed)
    return write_all([(template_of(places[name].template), new) for name, new in built.items()])


def write_into(chain: Any, prompts: PromptSet) -> Snapshot:
    """Write prompts into any chain that has the places they name; the result takes it back.

    Raises:
        PromptError: The chain lacks a prompt, or its variables, roles or frozen blocks differ.
    """
    places = name_places(find_prompts(chain))
    now = {prompt.name: prompt for prompt in read_set(places)}
    return write(places, PromptSet(tuple(_with_examples_of(now.get(p.name), p) for p in prompts)))


def choose(places: Mapping[str, Found], only: Sequence[str] | None) -> dict[str, Found]:
    """The places whose name or path is in `only`; all without it. Raises ConfigError for an unknown one."""
    if only is None:
        return dict(places)
    for wanted in only:
        if wanted not in places and wanted not in {f.path for f in places.values()}:
            msg = f"the chain has no prompt named {wanted!r}"
            raise ConfigError(msg, mend=f"{closest(wanted, places)}It has: {', '.join(places) or 'none'}.")
    return {name: f for name, f in places.items() if name in only or f.path in only}


def closest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'? ` or nothing, for error messages.

    >>> closest("trige", ["triage", "other"])
    "Did you mean 'triage'? "
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}? " if near else ""


def _with_examples_of(live: Prompt | None, prompt: Prompt) -> Prompt:
    """Few-shot blocks are the chain's own; what a saved prompt shows of them may be older."""
    if live is None or len(live.messages) != len(prompt.messages):
        return prompt
    pairs = zip(live.messages, prompt.messages, strict=True)
    return replace(prompt, messages=tuple(a if a.role == b.role == "examples" else b for a, b in pairs))


def _texts(prompt: Prompt) -> list[str]:
    return [m.template for m in prompt.messages]
