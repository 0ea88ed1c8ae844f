"""Named live prompts: reading them as a `PromptSet`, building candidates, writing a winner.

A model's answer as text.

Rendering templates on rows, without a model, to find what would fail before it is paid for.

What is optimized: a chain, a bare prompt with a model, or a plain function.

A target finds the prompts, runs the chain under a candidate, checks that candidates render,
and writes a winner into the live objects. It holds slots on them from `open` to `close`.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_promptopt._files.saved import read_prompts
from langchain_promptopt._langchain import target as live
from langchain_promptopt._langchain.discover import Found, find_models, find_prompts, name_places
from langchain_promptopt._langchain.dryrun import Proof, dry_run, sends_rows
from langchain_promptopt._langchain.fast import quick
from langchain_promptopt._langchain.overlay import Overlay, Tunable, install, overlaid, registered, rendered_outside
from langchain_promptopt._langchain.templates import (
    Snapshot,
    chooses_examples,
    from_prompt,
    template_errors,
    to_prompt,
    write_all,
)
from langchain_promptopt.errors import ConfigError, PromptError, did_you_mean
from langchain_promptopt.types import Prompt, PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from langchain_core.language_models.base import BaseLanguageModel
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._langchain.templates import Snapshot
    from langchain_promptopt.types import Example


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
            raise PromptError(
                msg, mend=f"{did_you_mean(prompt.name, places)}It has: {', '.join(sorted(places)) or 'none'}."
            )
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


def load_prompts(chain: Any, folder: str | Path) -> Snapshot:
    """Put saved prompts into a live chain: what a service does at start.

    Prompts are matched by name; variables, roles and frozen blocks must be those of the chain,
    or nothing is written.

    Args:
        chain: The chain, prompt or function.
        folder: Where `save_prompts` (or `result.save`) wrote them.

    Returns:
        What was there before; its `restore()` takes the change back.

    Raises:
        PromptError: A prompt is missing in the chain, or does not fit.
    """
    return write_into(chain, read_prompts(folder))


def write_into(chain: Any, prompts: PromptSet) -> Snapshot:
    """Write prompts into any chain that has the places they name; the result takes it back.

    Raises:
        PromptError: The chain lacks a prompt, or its variables, roles or frozen blocks differ.
    """
    places = name_places(find_prompts(chain))
    now = {prompt.name: prompt for prompt in read_set(places)}
    return write(places, PromptSet(tuple(_with_examples_of(now.get(p.name), p) for p in prompts)))


def differing(chain: Any, prompts: PromptSet) -> tuple[str, ...]:
    """Names of the prompts whose text in the chain is not the text in `prompts`; few-shot blocks are left out."""
    now = {prompt.name: prompt for prompt in read_set(name_places(find_prompts(chain)))}
    pairs = [(p, now[p.name]) for p in prompts if p.name in now]
    return tuple(p.name for p, live in pairs if _texts(_with_examples_of(live, p)) != _texts(live))


def choose(places: Mapping[str, Found], only: Sequence[str] | None) -> dict[str, Found]:
    """The places whose name or path is in `only`; all without it. Raises ConfigError for an unknown one."""
    if only is None:
        return dict(places)
    for wanted in only:
        if wanted not in places and wanted not in {f.path for f in places.values()}:
            msg = f"the chain has no prompt named {wanted!r}"
            raise ConfigError(msg, mend=f"{did_you_mean(wanted, places)}It has: {', '.join(places) or 'none'}.")
    return {name: f for name, f in places.items() if name in only or f.path in only}


def _with_examples_of(live: Prompt | None, prompt: Prompt) -> Prompt:
    """Few-shot blocks are the chain's own; what a saved prompt shows of them may be older."""
    if live is None or len(live.messages) != len(prompt.messages):
        return prompt
    pairs = zip(live.messages, prompt.messages, strict=True)
    return replace(prompt, messages=tuple(a if a.role == b.role == "examples" else b for a, b in pairs))


def _texts(prompt: Prompt) -> list[str]:
    return [m.template for m in prompt.messages]


# ------------------------------------------------------------ A model's answer as text


class TextOf(Runnable[Any, Any]):
    """The text of a message; anything else as it is.

    As `StrOutputParser`, without its span and its thread hop a call.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002, ARG002  # LangChain's signature
        """The text of `input`."""
        return str(input.text) if isinstance(input, BaseMessage) else input

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002  # LangChain's signature
        """The text of `input`."""
        return self.invoke(input, config)


# ------------------------------------------------------------ Rendering templates on rows, without a model, to fin


def render_all(name: str, template: BasePromptTemplate[Any], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Render one prompt on labelled rows.

    A template that lets a selector choose its few-shot examples is only checked for missing
    values: choosing may call a paid embedding model.

    Raises:
        PromptError: Naming prompt, row and variable.
    """
    refusals = template_errors()
    alone = template.input_variables[0] if len(template.input_variables) == 1 else None
    dry = chooses_examples(template)
    for label, row in rows:
        missing = sorted(set(template.input_variables) - row.keys())
        if missing:
            msg = f"{label} has no value for the variable {missing[0]!r}"
            mend = f'Map a column to it: inputs = {{ {missing[0]} = "column" }}; the row has {", ".join(sorted(row))}.'
            mend += " Double its braces if it is plain text." if not missing[0].isidentifier() else ""
            raise PromptError(msg, where=f"prompt {name!r}", mend=mend, variable=missing[0])
        if dry:
            continue
        try:
            template.format_prompt(**row)
        except refusals as error:
            named = f" with the variable {alone!r}" if alone else ""
            msg = f"the prompt does not render on {label}{named}: {type(error).__name__}: {error}"
            raise PromptError(msg, where=f"prompt {name!r}") from error


# ------------------------------------------------------------ What is optimized: a chain, a bare prompt with a mod

Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]]

KEPT = 512
"""Candidates whose built templates are kept; a search rarely looks back further."""


class ChainTarget:
    """A chain whose prompts can be replaced for one evaluation, or for good.

    Use `open`; then `with target:` or `close()` takes the slots off the live objects.
    """

    def __init__(self, chain: Runnable[Any, Any], places: Mapping[str, Found]) -> None:
        self.chain = chain
        self.places: dict[str, Found] = dict(places)
        self.notes: tuple[str, ...] = ()
        """Things the user should know: prompts that were left out, and why."""
        self.rendered: Counter[str] = Counter()
        """How many evaluations rendered each prompt so far."""
        self._proof = Proof()
        self._built: OrderedDict[str, dict[int, BasePromptTemplate[Any]]] = OrderedDict()
        self._building = threading.Lock()
        self._before: list[Snapshot] = []
        if not places:
            msg = "no prompt template was found in the chain"
            mend = "Prompts must be LangChain templates reachable from it, or registered with tunable(...)."
            raise PromptError(msg, mend=mend)
        self._uninstall: Callable[[], None] = install([(f.path, f.template) for f in places.values()])
        self._quick = quick(chain)

    # ------------------------------------------------------------ life

    @classmethod
    async def open(
        cls,
        chain: Runnable[Any, Any],
        *,
        dry_inputs: Rows,
        only: Sequence[str] | None = None,
        config: RunnableConfig | None = None,
    ) -> Self:
        """Find the chain's prompts and keep those that a dry run renders.

        Args:
            chain: Any Runnable.
            dry_inputs: One row of inputs, or several: branches chosen by the input need several.
            only: Names (or paths) of the prompts to edit. A prompt named here that the dry run
                does not reach (it stands behind a model's real answer) is kept, with a note;
                `never_rendered` tells after the baseline.
            config: Passed to the dry run.

        Raises:
            PromptError: There is no prompt, or the dry run renders none of them.
            ConfigError: `only` names an unknown prompt.
            ConflictError: Another run holds one of the prompts.
        """
        target = cls(chain, live.choose(name_places(find_prompts(chain)), only))
        try:
            things = [f.template for f in target.places.values()]
            target._proof = await dry_run(chain, _rows(dry_inputs), things, find_models(chain), config=config)
            target._keep_proven(trusted=only is not None)
        except BaseException:
            target.close()
            raise
        return target

    def close(self) -> None:
        """Take the slots off; the live objects have their own classes again. May be called again."""
        self._uninstall()

    async def aclose(self) -> None:
        """`close`, and end the connections that were opened for evaluations."""
        self.close()
        await self._quick.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_proven(self, *, trusted: bool) -> None:
        seen = {name for name, f in self.places.items() if id(f.template) in self._proof.calls}
        unseen = [name for name in self.places if name not in seen]
        why = f" (it ended early: {self._proof.error})" if self._proof.error else ""
        if not seen and not trusted:
            msg = f"a dry run renders none of the chain's prompts{why}"
            where = "; ".join(f"{name}: {f.path}" for name, f in self.places.items())
            raise PromptError(msg, where=where, mend=self._advice())
        if unseen and trusted:
            self.notes += tuple(f"prompt {name!r} was not reached by the dry run{why}" for name in unseen)
        elif unseen:
            self.notes += tuple(
                f"prompt {name!r} ({self.places[name].path}) is left as it is: a dry run does not render it{why}"
                for name in unseen
            )
            self._uninstall()
            self.places = {name: f for name, f in self.places.items() if name in seen}
            self._uninstall = install([(f.path, f.template) for f in self.places.values()])

    def _advice(self) -> str:
        if any(rendered_outside(f.template) for f in self.places.values()):
            return (
                "They were rendered in a thread that does not inherit the context: use LangChain's batch, or "
                "contextvars.copy_context().run in your own executor."
            )
        if "missing variables" in self._proof.error:
            return "Map the data's columns to the prompt's variables: inputs = { variable = \"column\" }."
        if self._proof.error:
            return (
                "The chain must run on a row as it will be evaluated: try `await chain.ainvoke(row)`. What it needs in "
                "its config is bound with chain.with_config(configurable={...})."
            )
        return "A copy made at run time (copy, model_copy, an f-string of the template) cannot be followed."

    # ------------------------------------------------------------ use

    @property
    def prompts(self) -> PromptSet:
        """The prompts as they stand in the live objects now."""
        return live.read_set(self.places)

    @property
    def models(self) -> tuple[BaseLanguageModel[Any], ...]:
        """The models that can be reached from the chain; what is behind plain code is not seen."""
        return find_models(self.chain)

    @property
    def never_rendered(self) -> tuple[str, ...]:
        """Prompts no evaluation has rendered so far; after a baseline that is an error of set-up."""
        return tuple(name for name in self.places if not self.rendered[name])

    async def invoke(self, prompts: PromptSet, inputs: Mapping[str, Any], config: RunnableConfig | None = None) -> Any:
        """Run the chain once with these prompts in place of its own. Any number may run at a time.

        Raises:
            PromptError: The run rendered none of the prompts, so it says nothing about them.
        """
        overlay = Overlay(self._templates(prompts))
        with overlaid(overlay):
            output = await self._quick.chain.ainvoke(dict(inputs), config)
        hits = [name for name, f in self.places.items() if id(f.template) in overlay.calls]
        if not hits:
            copies = f"; it rendered copies made at run time: {', '.join(overlay.copies)}" if overlay.copies else ""
            msg = f"the chain rendered none of the prompts that are being optimized{copies}"
            where = "; ".join(f"{name}: {f.path}" for name, f in self.places.items())
            raise PromptError(msg, where=where, mend=self._advice())
        self.rendered.update(hits)
        return output

    def steps_of(self, runs: Sequence[Any]) -> list[Any]:
        """The runs that LangSmith would show as the children of this call's own run."""
        return list(runs)

    def render_check(self, prompts: PromptSet, rows: Sequence[Example]) -> None:
        """Render every prompt on every row, without a model.

        A prompt that gets the row's inputs as they are is rendered on each row; one behind other
        steps on the variables that the dry run saw there.

        Raises:
            PromptError: Naming the prompt, the row and the variable.
        """
        built = self._templates(prompts)
        for prompt in prompts:
            key = id(self.places[prompt.name].template)
            if key in self._proof.direct:
                render_all(prompt.name, built[key], [(f"row {row.id!r}", row.inputs) for row in rows])
            else:
                seen = [("a dry run", variables) for variables in self._proof.calls.get(key, ()) if variables]
                render_all(prompt.name, built[key], seen)

    async def sends_rows(self, rows: Sequence[Mapping[str, Any]]) -> bool | None:
        """Whether what reaches the models differs between these rows; None where that cannot be seen."""
        return await sends_rows(self.chain, rows, find_models(self.chain))

    def write(self, prompts: PromptSet) -> None:
        """Put the prompts into the live objects for good: all or none.

        Raises:
            PromptError: A prompt does not fit its place; nothing was written.
        """
        self._before.append(live.write(self.places, prompts))

    def revert(self) -> None:
        """Put the live objects back to what they were before the first `write`, byte for byte."""
        while self._before:
            self._before.pop().restore()

    def _templates(self, prompts: PromptSet) -> dict[int, BasePromptTemplate[Any]]:
        with self._building:
            found = self._built.get(prompts.id)
            if found is None:
                built = live.build(self.places, prompts)
                found = {id(self.places[name].template): template for name, template in built.items()}
                self._built[prompts.id] = found
                if len(self._built) > KEPT:
                    self._built.popitem(last=False)
            else:
                self._built.move_to_end(prompts.id)
            return found


class PromptTarget(ChainTarget):
    """A bare prompt template and the model that answers it. Nothing needs to be proven."""

    @classmethod
    def of(cls, template: BasePromptTemplate[Any], model: Runnable[Any, Any], *, name: str | None = None) -> Self:
        """The target; outputs are the model's text, or the parsed object of a prompt with a schema."""
        place = Found("$", template)
        names = {name: place} if name else name_places([place])
        target = cls(template | model | TextOf(), names)
        target._proof.direct.add(id(template))
        return target


class FunctionTarget(ChainTarget):
    """A plain function, sync or async, that takes a row's inputs and renders `tunable` prompts."""

    @classmethod
    async def of(
        cls,
        function: Callable[[Any], Any],
        *,
        dry_inputs: Rows,
        only: Sequence[str] | None = None,
        config: RunnableConfig | None = None,
    ) -> Self:
        """The target. Its tunables are those the function names, else all that are registered.

        A function's model calls cannot be answered for it, so the dry run stops at the first
        prompt it renders, and the others are taken at the user's word; `never_rendered` tells
        after the baseline. A function without tunables is taken as a chain.
        """
        chain: Runnable[Any, Any] = RunnableLambda(function)
        found = [f for f in find_prompts(function) if isinstance(f.template, Tunable)]
        if not found:
            if any(True for _ in find_prompts(function)) or not registered():
                return await cls.open(chain, dry_inputs=dry_inputs, only=only, config=config)
            found = [Found(f"tunable {t.name!r}", t) for t in registered()]
        target = cls(chain, live.choose({f.template.name or "main": f for f in found}, only))
        try:
            things = [f.template for f in target.places.values()]
            models = find_models(function)
            target._proof = await dry_run(chain, _rows(dry_inputs)[:1], things, models, config=config, first_only=True)
            if not target._proof.calls:
                target._keep_proven(trusted=False)
        except BaseException:
            target.close()
            raise
        return target


async def open_target(
    task: Any,
    *,
    dry_inputs: Rows,
    model: Runnable[Any, Any] | None = None,
    only: Sequence[str] | None = None,
    config: RunnableConfig | None = None,
) -> ChainTarget:
    """The target for whatever a user hands over: chain, prompt template with a model, or callable.

    Raises:
        ConfigError: It is none of these, or a bare prompt came without a model.
    """
    if isinstance(task, BasePromptTemplate):
        if model is None:
            msg = "a bare prompt template needs a model to answer it"
            raise ConfigError(msg, mend='Give task_model="provider:name" (flag: --task-model; config: [task] model).')
        return PromptTarget.of(task, model)
    if isinstance(task, Runnable):
        return await ChainTarget.open(task, dry_inputs=dry_inputs, only=only, config=config)
    if callable(task):
        return await FunctionTarget.of(task, dry_inputs=dry_inputs, only=only, config=config)
    msg = f"a {type(task).__name__} cannot be optimized"
    raise ConfigError(msg, mend="Give a Runnable, a prompt template, or a function whose prompts are tunable(...).")


def _rows(inputs: Rows) -> Sequence[Mapping[str, Any]]:
    return [inputs] if isinstance(inputs, Mapping) else inputs
