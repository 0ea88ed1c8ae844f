"""What a program holds and sends beside its templates: its texts, found by looking at what goes out to models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.base import BaseLanguageModel

from langchain_promptopt._langchain.conversion import read_leaves
from langchain_promptopt._langchain.discover import Found, find_models, is_prompt_or_model
from langchain_promptopt._langchain.dryrun import sent_texts
from langchain_promptopt._langchain.held import HeldText, held_texts, shortened
from langchain_promptopt._langchain.wire import texts_of
from langchain_promptopt._objects import holds_client, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from langchain_core.runnables import Runnable

    from langchain_promptopt._langchain.dryrun import Calling

_CLIENTS = frozenset({"openai"})
"""Clients whose requests `wire` sees."""


@dataclass(frozen=True)
class Survey:
    """What was found in a program."""

    held: Sequence[HeldText]
    sent: Sequence[str]
    """Texts that a dry run would have sent to models; none where there was no dry run."""
    why: str = ""
    """Why the first dry run that failed did so."""

    @property
    def proven(self) -> bool:
        """Whether a held text was seen in what is sent."""
        return any(held.proven for held in self.held)

    @property
    def hint(self) -> str:
        """How to make the program's prompts known, after what was seen of them."""
        if changed := self._changed():
            return changed
        mend = "Prompts must be LangChain templates reachable from it, or registered with tunable(...)."
        if self.sent:
            first = shortened(self.sent[0])
            return f"{mend} What it sends to a model begins with {first!r}, and no text of the program is that."
        return f"{mend} A dry run ended early: {self.why}" if self.why else mend

    def _changed(self) -> str:
        """The line to write for a text of which only parts are sent: the program changes it on the way."""
        for held in self.held:
            lines = [line.strip() for line in held.text.splitlines() if len(line.strip()) >= _LINE]
            if held.proven or not any(line in text for line in lines for text in self.sent):
                continue
            name = held.name
            return (
                f"Parts of the text {name!r} ({held.where}) are sent, changed on the way. Hold it as "
                f'{name} = tunable("""{shortened(held.text, 30)}""", name={name!r}) and send {name}.format(...).'
            )
        return ""


_LINE = 20
"""Characters of a line that does not stand in a message by chance."""


async def survey(
    task: Any,
    chain: Runnable[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    given: Calling,
    *,
    templates: Collection[Found] = (),
    names: Collection[str] = (),
) -> Survey:
    """The texts that a task holds beside its templates; without templates a dry run shows which of them are sent.

    Args:
        task: What the user gave.
        chain: What runs.
        rows: Inputs, as an evaluation would give them.
        given: What the chain is called with for a row.
        templates: Prompts that are known; with them there is no dry run, and the baseline shows what is sent.
        names: Names that are used already.
    """
    sent: list[str] = []
    why = ""
    if not templates and reaches_model(task):
        sent, why = await sent_texts(chain, rows, find_models(task), given=given)
    values = [text for row in rows for text in texts_of(list(row.values()))]
    known = [*(text for one in templates for text in _texts(one)), *values]
    return Survey(held_texts(_beside_models(task), sent, known, names), sent, why)


def reaches_model(task: Any) -> bool:
    """Whether a dry run of the task comes to models that can be kept from answering."""
    if find_models(task) or holds_client(task, _CLIENTS, stop=is_prompt_or_model):
        return True
    reached = (thing for _, thing in walk(task, stop=is_prompt_or_model))
    return any(_makes_model(thing) for thing in reached)


def _makes_model(thing: Any) -> bool:
    if isinstance(thing, type):
        return issubclass(thing, BaseLanguageModel)
    return getattr(thing, "__module__", "") == "langchain.chat_models.base"


def _texts(found: Found) -> Iterator[str]:
    template = getattr(found.template, "template", found.template)
    thing = found.template if isinstance(template, str) else template
    yield from (message.template for message in read_leaves(thing) if message.template.strip())


def _beside_models(task: Any) -> Iterator[tuple[str, Any]]:
    """What a task reaches beside its models: what these keep of their calls is no text of the program."""
    for path, thing in walk(task, stop=is_prompt_or_model):
        if not is_prompt_or_model(thing):
            yield path, thing
