"""What is optimized: a chain, a bare prompt with a model, or a plain function.

A target finds the prompts, runs the chain under a candidate, checks that candidates render, and writes a winner into
the live objects. It holds slots on them from `open_target` to `close`. A dry run finds what would fail before
anything is paid for; whether a prompt is rendered at all, the baseline's own evaluations prove.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel

from langchain_promptopt._collections import any_is, without
from langchain_promptopt._langchain.batch_api import route
from langchain_promptopt._langchain.conversion import chooses_examples, template_errors
from langchain_promptopt._langchain.descriptions import Description
from langchain_promptopt._langchain.discover import (
    Found,
    asked_elsewhere,
    build,
    choose,
    descriptions_of,
    find_models,
    find_prompts,
    name_places,
    places_of,
    read_set,
    remember_descriptions,
    remember_held,
    task_notes,
    templates_of,
    write,
)
from langchain_promptopt._langchain.dryrun import (
    Proof,
    Survey,
    dry_run,
    reaches_model,
    run_chain,
    sends_rows,
    sent_calls,
    survey,
)
from langchain_promptopt._langchain.fast import Quick, quick
from langchain_promptopt._langchain.held import HeldText
from langchain_promptopt._langchain.isolation import Isolation, Sessions, isolation_of, refuse_interrupt
from langchain_promptopt._langchain.overlay import Overlay, Tunable, install, overlaid, rendered_outside
from langchain_promptopt._langchain.step_answers import noted
from langchain_promptopt._langchain.task_models import TextOf, whose_turn
from langchain_promptopt._langchain.wire import tapped
from langchain_promptopt.errors import ConfigError, PromptError, did_you_mean
from langchain_promptopt.types import PromptSet, copied
from langchain_promptopt.types.prompts import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.language_models.base import BaseLanguageModel

    from langchain_promptopt._langchain.conversion import Snapshot
    from langchain_promptopt._langchain.isolation import ChainConfig
    from langchain_promptopt._langchain.task_models import Panel
    from langchain_promptopt.types import Example, Message, Prompt, StepAnswer

Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]]

KEPT = 512
"""Candidates whose built templates are kept; a search rarely looks back further."""
_SHOWN = 4
"""Names of descriptions in a note."""
PATIENCE = 8
"""Evaluations that may render no prompt before the run ends, where no evaluation has rendered one."""


async def open_target(
    task: Any,
    *,
    dry_inputs: Rows,
    model: Runnable[Any, Any] | None = None,
    only: Sequence[str] | None = None,
    config: ChainConfig = None,
    lists: bool = False,
) -> ChainTarget:
    """The target for whatever a user hands over: chain, prompt template with a model, or callable.

    Args:
        task: Any Runnable, a prompt template, or a function whose prompts are `tunable`.
        dry_inputs: One row of inputs, or several: branches chosen by the input need several.
        model: What answers a bare prompt template.
        only: Names (or paths) of the prompts to edit; `*` stands for any text.
        config: A config for the chain, or a function of a row's inputs that gives one.
        lists: Whether it is opened to list what there is, and a program that has descriptions alone is none to refuse.

    Raises:
        PromptError: There is no prompt, or a dry run shows that the chain cannot run on these rows.
        ConfigError: The task is none of these, a prompt came without a model, `only` names an unknown prompt, or
            rows would share what the chain remembers.
        ConflictError: Another run holds one of the prompts.
    """
    if isinstance(task, BasePromptTemplate):
        return _prompt_target(task, model, config, only)
    if not isinstance(task, Runnable) and not callable(task):
        msg = f"a {type(task).__name__} cannot be optimized"
        mend = "Give a Runnable, a prompt template, or a function whose prompts are tunable(...)."
        raise ConfigError(msg, mend=asked_elsewhere(task) or mend)
    chain = task if isinstance(task, Runnable) else RunnableLambda(task)
    ask = _Request(task, chain, _rows(dry_inputs), isolation_of(task, config), only)
    remember_held(task, ())  # the program may have changed since it was looked at
    remember_descriptions(task, ())
    found = templates_of(task)
    described = await _described(ask, looks=lists or ask.names_descriptions)
    held = Survey((), ())
    guessed = bool(found) and not find_prompts(task)  # every registered tunable, for want of anything else
    if not guessed:
        held = await _surveyed(ask, found)
    if ask.names_descriptions or (lists and described and not found and not held.usable):
        return await _described_target(ask, held, described)
    target = await _template_target(ask, guessed=guessed) if found else _held_target(ask, held)
    target.leave(described)
    target.notes = (*target.notes, *task_notes(task, target.proof.met or held.met))
    return target


@dataclass(frozen=True)
class _Request:
    """What `open_target` was asked for."""

    task: Any
    chain: Runnable[Any, Any]
    rows: Sequence[Mapping[str, Any]]
    isolation: Isolation
    only: Sequence[str] | None

    @property
    def names_descriptions(self) -> bool:
        """Whether descriptions of tools or schemas are asked for."""
        return any(name.startswith(DESCRIPTIONS) for name in self.only or ())

    @property
    def takes_value(self) -> bool:
        """Whether the chain takes the one input of a row itself, as far as its type tells."""
        return all(len(row) == 1 for row in self.rows) and _takes_text(self.chain)

    def given(self, row: Mapping[str, Any], base: RunnableConfig | None) -> tuple[Any, RunnableConfig | None]:
        """What the chain is called with for a row."""
        own = copied(dict(row))
        return next(iter(own.values())) if self.takes_value else own, self.isolation.config(row, base)

    def target(self, places: Mapping[str, Found], proof: Proof | None = None) -> ChainTarget:
        """The program with these prompts. Each that was named in full must be sent."""
        wanted = set(self.only or ())
        named = [name for name, f in places.items() if name in wanted or f.path in wanted]
        return ChainTarget(
            self.chain, places, task=self.task, isolation=self.isolation, proof=proof, named=frozenset(named)
        )


async def _template_target(ask: _Request, *, guessed: bool) -> ChainTarget:
    """A target with templates, proven by a dry run; `guessed` ones may be those of other programs."""
    target = ask.target(choose(places_of(ask.task), ask.only))
    try:
        await target.prove(ask.rows)
        if ask.only is None and not target.proven and guessed:
            held = await _surveyed(ask, {})
            if held.usable or held.changed or held.elsewhere:
                target.close()
                return _held_target(ask, held)
            remember_held(ask.task, ())
            target.hint = held.hint if held.sent else ""
    except BaseException:
        target.close()
        raise
    return target


async def _surveyed(ask: _Request, templates: Mapping[str, Found]) -> Survey:
    """The held texts of a task, remembered for it, so that a run, `apply` and `revert` name the same ones."""
    seen = await survey(ask.task, ask.chain, ask.rows, ask.given, templates=templates)
    remember_held(ask.task, seen.held)
    return seen


def _held_target(ask: _Request, seen: Survey) -> ChainTarget:
    """A target whose prompts are texts that the program holds: those that it really sends to models.

    Raises PromptError where nothing that is sent is held anywhere, with the beginning of what was sent.
    """
    if not seen.usable:
        remember_held(ask.task, ())
        raise PromptError(_NOTHING_FOUND, mend=seen.hint)
    target = ask.target(choose(places_of(ask.task), ask.only), seen.proof)
    target.takes_value = ask.takes_value
    target.notes = (seen.changed,) if seen.changed else ()
    return target


async def _described(ask: _Request, *, looks: bool) -> dict[str, Found]:
    """The descriptions of a task's tools and schemas; `looks` runs it without a model, to see which are sent."""
    if not looks or not reaches_model(ask.task):
        return descriptions_of(ask.task)
    calls, _ = await sent_calls(ask.chain, ask.rows, find_models(ask.task), given=ask.given)
    return descriptions_of(ask.task, [call.arguments for call in calls])


async def _described_target(ask: _Request, seen: Survey, described: dict[str, Found]) -> ChainTarget:
    """A target with descriptions of tools and schemas, and with other prompts where these are named too."""
    whole = places_of(ask.task)
    places = choose(whole | described, [*described] if ask.only is None else ask.only)
    proof, takes_value = seen.proof, ask.takes_value
    if find_prompts(ask.task):
        with ChainTarget(ask.chain, whole, task=ask.task, isolation=ask.isolation) as other:
            await other.prove(ask.rows)
        proof, takes_value = other.proof, other.takes_value
    chosen = [f.template for f in places.values() if isinstance(f.template, Description)]
    proof.calls |= {id(one): [{}] for one in chosen if one.proven}
    remember_descriptions(ask.task, chosen)
    target = ask.target(places, proof)
    target.takes_value = takes_value
    target.leave(described)
    return target


_NOTHING_FOUND = "no prompt template was found in the chain"


def _prompt_target(
    template: BasePromptTemplate[Any], model: Runnable[Any, Any] | None, config: ChainConfig, only: Sequence[str] | None
) -> ChainTarget:
    """A bare template and the model that answers it; outputs are the model's text, or a schema's parsed object."""
    if model is None:
        msg = "a bare prompt template needs a model to answer it"
        raise ConfigError(msg, mend='Give task_model="provider:name" (flag: --task-model; config: [task] model).')
    chain = template | model  # a template with a schema must meet its model directly
    if not isinstance(model, RunnableParallel):
        chain = chain | TextOf()
    proof = Proof(direct={id(template)})  # nothing needs to be shown
    places = choose(name_places([Found("$", template)]), only)
    return ChainTarget(chain, places, isolation=isolation_of(model, config), proof=proof)


def _rows(inputs: Rows) -> Sequence[Mapping[str, Any]]:
    return [inputs] if isinstance(inputs, Mapping) else inputs


class ChainTarget:
    """A chain whose prompts can be replaced for one evaluation, or for good.

    Made by `open_target`; then `with target:` or `close()` takes the slots off the live objects.

    Args:
        chain: What runs.
        places: Its live prompts by name.
        task: What the user gave, where that is a function and `chain` only wraps it.
        isolation: The config of each evaluation.
        proof: What is known without a dry run.
        named: Prompts that the user named: each of them must be rendered.
    """

    def __init__(
        self,
        chain: Runnable[Any, Any],
        places: Mapping[str, Found],
        *,
        task: Any = None,
        isolation: Isolation | None = None,
        proof: Proof | None = None,
        named: Collection[str] = (),
    ) -> None:
        self.chain = chain
        self.places: dict[str, Found] = dict(places)
        self.notes: tuple[str, ...] = ()
        """Things the user should know."""
        self.hint = ""
        """What to say where none of its prompts is rendered."""
        self.beside: dict[str, Found] = {}
        """Descriptions of tools and schemas that the run leaves as they are."""
        self.rendered: Counter[str] = Counter()
        """How many evaluations rendered each prompt so far."""
        self.takes_value = False
        """Whether the chain takes the one input of a row itself, and no dict of inputs."""
        self._function = task if task is not None and not isinstance(task, Runnable) else None
        self._isolation = isolation or Isolation()
        self._sessions = Sessions(self._isolation.ids, graphs=self._isolation.graphs)
        self._proof = proof or Proof()
        self._named = named
        self._panel: Panel | None = None
        self._missed = 0
        self._built: OrderedDict[str, dict[int, BasePromptTemplate[Any]]] = OrderedDict()
        self._building = threading.Lock()
        self._before: list[Snapshot] = []
        if not places:
            raise PromptError(_NOTHING_FOUND, mend=Survey((), ()).hint)
        self._uninstall: Callable[[], None] = install([(f.path, f.template) for f in places.values()])
        self._texts: dict[int, str] = {}
        for name, f in places.items():
            if not isinstance(f.template, Description):
                self._texts[id(f.template)] = name
        self._open = ExitStack()
        if any_is(self._prompt_holders, HeldText | Description):
            self._open.enter_context(tapped())
            self._quick = Quick(chain)  # as it is: shortcuts would pass by the taps
        else:
            self._quick = quick(chain)

    @property
    def _prompt_holders(self) -> list[Any]:
        """What holds the prompts: templates, tunables, held texts, descriptions."""
        return [found.template for found in self.places.values()]

    def leave(self, described: Mapping[str, Found]) -> None:
        """Note the descriptions of tools and schemas that are there, and are none of these prompts."""
        self.beside = without(described, self.places)
        if self.beside and not any_is(self._prompt_holders, Description):
            named = ", ".join([*self.beside][:_SHOWN]) + (" ..." if len(self.beside) > _SHOWN else "")
            there = []
            for prefix in DESCRIPTIONS:
                if any(name.startswith(prefix) for name in self.beside):
                    there.append(f'"{prefix}*"')
            kinds = ", ".join(there)
            text = f"descriptions of tools and schemas stay as they are unless tune names them ({kinds}): {named}"
            self.notes = (*self.notes, text)

    # life

    def close(self) -> None:
        """Take the slots off; the live objects have their own classes again. May be called again."""
        self._uninstall()
        self._open.close()

    async def replace_models(self, panel: Panel, rows: Sequence[Mapping[str, Any]]) -> None:
        """From now on until `close`, evaluations run once for each task model, which answers in place of the chain's.

        Raises ConfigError where the chain's models cannot be replaced.
        """
        await panel.prepare(self.chain if self._function is None else self._function, self.chain, rows, self.given)
        self._panel = panel
        self._open.enter_context(panel.standing())

    def route(self) -> None:
        """From now on until `close`, requests that a batch is asked for go into batches."""
        clients = self._quick.clients
        self._quick = Quick(self.chain, clients)  # as it is: shortcuts would pass by the batches
        self._open.callback(route(self.models, clients))

    async def aclose(self) -> None:
        """`close`, and end the connections that were opened for evaluations."""
        self.close()
        await self._quick.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # before anything is paid for

    @property
    def proof(self) -> Proof:
        """What the dry run saw."""
        return self._proof

    @property
    def proven(self) -> bool:
        """Whether the dry run rendered a prompt."""
        return bool(self._proof.calls)

    async def prove(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the chain on rows without a model, to see that it runs at all and what it hands to its prompts.

        Prompts that this does not reach may stand behind a model's real answer: they are kept, and the baseline
        shows whether they are rendered.

        Raises:
            PromptError: The chain fails by itself, renders other objects, or prints whole rows.
        """
        alone = all(len(row) == 1 for row in rows)
        self.takes_value = alone and _takes_text(self.chain)
        self._proof = await self._tried(rows)
        fails = not self._proof.calls and bool(self._proof.error) and not self._proof.asked
        if alone and not self.takes_value and (self._proof.printed or (fails and not self._lacks_variables)):
            self.takes_value = True
            again = await self._tried(rows)
            if again.calls and not again.printed:
                self._proof = again
            else:
                self.takes_value = False
        if self._proof.printed:
            raise self._prints_rows(rows[0])
        self._require_renderings()

    async def _tried(self, rows: Sequence[Mapping[str, Any]]) -> Proof:
        things = [one for one in self._prompt_holders if not isinstance(one, HeldText | Description)]
        models = find_models(self.chain if self._function is None else self._function)
        early = self.ends_early
        tried = rows[:1] if early else rows
        return await dry_run(self.chain, tried, things, models, given=self.given, first_only=early)

    @property
    def ends_early(self) -> bool:
        """Whether a dry run ends at its first prompt: a plain function may pay for what comes after it."""
        return self._function is not None and any_is(self._prompt_holders, Tunable)

    def given(self, inputs: Mapping[str, Any], config: RunnableConfig | None) -> tuple[Any, RunnableConfig | None]:
        """What the chain is called with for a row: the dict of its inputs or its one input, and the config.

        Raises PromptError where the chain takes one input and the row has several.
        """
        own = self._isolation.config(inputs, config)
        if self.takes_value and len(inputs) != 1:
            raise self._prints_rows(inputs)
        fresh = copied(dict(inputs))  # a chain may change what it gets
        return next(iter(fresh.values())) if self.takes_value else fresh, own

    @property
    def _lacks_variables(self) -> bool:
        return "missing variables" in self._proof.error

    def _prints_rows(self, row: Mapping[str, Any]) -> PromptError:
        printed = [name for name, found in self.places.items() if id(found.template) in self._proof.printed]
        names = printed or list(self.places)
        shown = ", ".join(repr(str(name)) for name in row)
        msg = f"the chain takes one input, and examples have {len(row)}: {shown}; the model would read a printed dict"
        mend = (
            'Say which input it takes: inputs = { question = "column" }, or let the chain pick it: '
            'RunnableLambda(lambda row: row["question"]) | chain.'
        )
        return PromptError(msg, where=f"prompt {names[0]!r}", mend=mend)

    def _require_renderings(self) -> None:
        """Raise where the dry run shows that no prompt will be rendered; what a model decides stays open."""
        if self._proof.calls:
            return
        outside = any(map(rendered_outside, self._prompt_holders))
        if self._proof.asked and not outside and not self._proof.copies:
            return
        why = f" (it ended early: {self._proof.error})" if self._proof.error else ""
        msg = f"a dry run renders none of the chain's prompts{why}"
        raise PromptError(msg, where=self._where(), mend=self._advice())

    def _where(self) -> str:
        known = {}
        for name, f in self.places.items():
            if not isinstance(f.template, HeldText | Description) or f.template.proven:
                known[name] = f
        return "; ".join(f"{name}: {f.path}" for name, f in (known or self.places).items())

    def _advice(self) -> str:
        if any(map(rendered_outside, self._prompt_holders)):
            return (
                "They were rendered in a thread that does not inherit the context: use LangChain's batch, or "
                "contextvars.copy_context().run in your own executor."
            )
        if self._lacks_variables:
            return "Map the data's columns to the prompt's variables: inputs = { variable = \"column\" }."
        if self._proof.error:
            return (
                "The chain must run on an example as it will be evaluated: try `await chain.ainvoke(row)`. What it "
                'needs in its config is given to the run: config={"configurable": {...}}, or a function of the example.'
                " Thread and session ids are made for each evaluation."
            )
        return (
            self.hint or "A copy made at run time (copy, model_copy, an f-string of the template) cannot be followed."
        )

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
                render_all(prompt.name, built[key], [(f"example {row.id!r}", row.inputs) for row in rows])
            else:
                seen = []
                for variables in self._proof.calls.get(key, ()):
                    if variables:
                        seen.append(("a dry run", variables))
                render_all(prompt.name, built[key], seen)

    async def sends_rows(self, rows: Sequence[Mapping[str, Any]]) -> bool | None:
        """Whether what reaches the models differs between these rows; None where that cannot be seen."""
        whole = bool(self.prompts.variables)
        return await sends_rows(self.chain, rows, find_models(self.chain), given=self.given, whole=whole)

    # use

    @property
    def prompts(self) -> PromptSet:
        """The prompts as they stand in the live objects now."""
        found = read_set(self.places)
        return PromptSet(tuple(replace(p, idle=p.idle and p.name not in self._named) for p in found))

    @property
    def found(self) -> PromptSet:
        """`prompts`, and the descriptions that the run leaves as they are."""
        return PromptSet((*self.prompts, *read_set(self.beside)))

    def has_rendered(self, name: str) -> bool:
        """Whether the dry run came to the prompt of this name."""
        key = id(self.places[name].template)
        return key in self._proof.calls or key in self._proof.direct

    @property
    def models(self) -> tuple[BaseLanguageModel[Any], ...]:
        """The models that can be reached from the chain, or answer for them; what is behind plain code is not seen."""
        return find_models(self.chain) if self._panel is None else (*self._panel.models.values(), *self._panel.left)

    def invoke(
        self,
        prompts: PromptSet,
        inputs: Mapping[str, Any],
        config: RunnableConfig | None = None,
        rendered: set[str] | None = None,
        answers: list[StepAnswer] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run the chain once with these prompts in place of its own. Any number may run at a time.

        Args:
            prompts: The candidate.
            inputs: A row's.
            config: Of the evaluation.
            rendered: Names of the prompts that the run rendered are added to it.
            answers: What each step said is added to it, where there are several prompts or tools are called.

        Raises:
            PromptError: Evaluations render none of the prompts, so they say nothing about them.
            ConfigError: The chain's own code put two evaluations into one conversation, or kept an answer.
            GraphInterruptError: The graph asks a person in place of an answer.
        """
        if self._panel is None:
            return self._once(prompts, inputs, config, rendered, answers)
        return self._panel.answers(partial(self._once, prompts, inputs), config, rendered, answers)

    async def _once(
        self,
        prompts: PromptSet,
        inputs: Mapping[str, Any],
        config: RunnableConfig | None,
        rendered: set[str] | None,
        answers: list[StepAnswer] | None,
    ) -> Any:
        overlay = Overlay(self._templates(prompts))
        value, own = self.given(inputs, config)
        if len(self._texts) == 1 and self._quick.straight:
            answers = None  # its one answer is that of the chain
        try:
            with (
                noted(overlay, self._texts, own, answers) as heard,
                overlaid(overlay),
                self._sessions.evaluation(heard) as (watched, one),
            ):
                output = await run_chain(self._quick.chain, value, watched, in_thread=self._proof.in_thread)
                refuse_interrupt(output)
        finally:  # what a model refuses to answer was rendered too
            hits = self._hit(overlay)
            if rendered is not None:
                rendered.update(hits)
        name, asked = whose_turn()
        self._sessions.require_asked(inputs, prompts.id + name, asked=asked or bool(one.asked or (hits and not name)))
        if hits:
            self.rendered.update(hits)
        else:
            self._miss(overlay)
        return output

    def _hit(self, overlay: Overlay) -> list[str]:
        """Names of the prompts that were rendered with this overlay."""
        hits = []
        for name, f in self.places.items():
            if id(f.template) in overlay.calls:
                hits.append(name)
        return hits

    def _miss(self, overlay: Overlay) -> None:
        """Note an evaluation that rendered no prompt. A row may need none; all of them do not."""
        self._missed += 1
        outside = any(map(rendered_outside, self._prompt_holders))
        hopeless = not self.rendered and (outside or self._missed >= PATIENCE)
        if not hopeless and not overlay.copies:
            return
        copies = f"; it rendered copies made at run time: {', '.join(overlay.copies)}" if overlay.copies else ""
        msg = f"the chain rendered none of the prompts that are being optimized{copies}"
        raise PromptError(msg, where=self._where(), mend=self._advice())

    def settle(self, prompts: PromptSet, rendered: Collection[str]) -> tuple[PromptSet, tuple[str, ...]]:
        """The prompts with those frozen that no row of the baseline rendered, and what to tell about them.

        Args:
            prompts: The baseline's.
            rendered: Names of the prompts that its evaluations rendered.

        Raises:
            PromptError: No prompt was rendered, or not one that the user named.
        """
        unseen = [p.name for p in prompts if p.name not in rendered]
        if not unseen and not any(p.idle for p in prompts):
            return prompts, self._outside_notes()
        missed = unseen if len(unseen) == len(prompts) else [name for name in unseen if name in self._named]
        if missed:
            msg = f"no example of the baseline renders prompt {', '.join(map(repr, missed))}"
            raise PromptError(msg, where=self._where(), mend=self._advice())
        found = []
        for p in prompts:
            if p.name in unseen:
                found.append(self._resting(p))
            else:
                found.append(replace(p, idle=False))
        kept = tuple(found)
        notes = []
        for name in unseen:
            if not isinstance(self.places[name].template, HeldText):
                notes.append(
                    f"prompt {name!r} ({self.places[name].path}) stays as it is: no example of the baseline renders it"
                )
        return PromptSet(kept), (*notes, *self._outside_notes())

    def _resting(self, prompt: Prompt) -> Prompt:
        """A prompt that no row renders: it stays as it is, and a text that was never sent is no prompt at all."""
        messages = tuple(replace(m, editable=False) for m in prompt.messages)
        return replace(prompt, messages=messages, idle=isinstance(self.places[prompt.name].template, HeldText))

    def _outside_notes(self) -> tuple[str, ...]:
        counts = {name: rendered_outside(f.template) for name, f in self.places.items()}
        found = [*self._sessions.notes()]
        for name, count in counts.items():
            if count:
                found.append(
                    f"prompt {name!r} was also rendered {count} times where no candidate reaches it: by other callers, "
                    "or in a thread that does not inherit the context"
                )
        return tuple(found)

    def steps_of(self, runs: Sequence[Any]) -> list[Any]:
        """The runs that LangSmith shows as the children of a call's own run: a function is that run itself."""
        if self._function is None:
            return list(runs)
        children: list[Any] = []
        for run in runs:
            children += run.child_runs
        return children

    def write(self, prompts: PromptSet) -> None:
        """Put the prompts into the live objects for good: all or none.

        Raises:
            PromptError: A prompt does not fit its place; nothing was written.
        """
        self._before.append(write(self.places, prompts))

    def revert(self) -> None:
        """Put the live objects back to what they were before the first `write`, byte for byte."""
        while self._before:
            self._before.pop().restore()

    def _templates(self, prompts: PromptSet) -> dict[int, BasePromptTemplate[Any]]:
        with self._building:
            found = self._built.get(prompts.id)
            if found is None:
                built = build(self.places, prompts)
                found = {}
                for name, template in built.items():
                    found[id(self.places[name].template)] = template
                self._built[prompts.id] = found
                if len(self._built) > KEPT:
                    self._built.popitem(last=False)
            else:
                self._built.move_to_end(prompts.id)
            return found


def _takes_text(chain: Runnable[Any, Any]) -> bool:
    """Whether the chain's own type says that it takes a text."""
    try:
        kind: Any = chain.InputType
    except (TypeError, NameError):  # annotations that cannot be read
        return False
    return kind is str or kind == "str"


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
            has = f"the example has {', '.join(sorted(row)) or 'none'}"
            mend = f'{did_you_mean(missing[0], row)}Map a column to it: inputs = {{ {missing[0]} = "column" }}; {has}.'
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


# What `prompts` shows.


@dataclass(frozen=True)
class Listed:
    """A prompt of a program: where it is, whether it is sent, and whether a run may change it."""

    name: str
    kind: str
    """"template", "tunable", "text" (a text that no template holds), "tool" or "schema" (descriptions of these)."""
    where: str
    sent: bool
    """Whether a dry run came to it. What stands behind a model's answer is seen by the baseline only."""
    may_change: bool
    why: str
    """Why it may not change, or which messages stay as they are; "" where all of it may change."""

    def as_json(self) -> dict[str, Any]:
        """As `promptopt prompts --json` prints it."""
        return asdict(self)


def listed(target: ChainTarget, prompts: PromptSet, tune: Sequence[str] | None) -> tuple[Listed, ...]:
    """What was found in a program, in the order of a run; then the descriptions of its tools and schemas.

    Args:
        target: The program, opened.
        prompts: What was found in it, with frozen text resolved.
        tune: Names of those that may change; None is all prompts of messages.

    Raises:
        ConfigError: Nothing has one of the names.
    """
    everything = target.places | target.beside
    chosen = choose(everything, tune)
    return tuple(_listed(target, prompt, everything[prompt.name], chosen) for prompt in prompts)


def _listed(target: ChainTarget, prompt: Prompt, place: Found, chosen: Collection[str]) -> Listed:
    """One prompt as it is listed.

    Args:
        target: The program, opened.
        prompt: The prompt.
        place: Where it is.
        chosen: Names of the prompts that may change.
    """
    thing = place.template
    held = isinstance(thing, HeldText)
    described = isinstance(thing, Description)
    sent = thing.proven if isinstance(thing, Description) else target.has_rendered(prompt.name)
    stays = [f"message {i} ({_role_of(m)})" for i, m in enumerate(prompt.messages) if not m.editable]
    why = f"stays as it is: {', '.join(stays)}" if stays else ""
    if len(stays) == len(prompt.messages):
        why = "all of it is frozen"
    elif prompt.name not in chosen:
        why = f'off; tune="{prompt.name}" lets it change' if described else "tune does not name it"
    elif not sent and held:
        why = "the baseline shows whether it is sent"
    may = why == "" or why.startswith("stays")
    where = thing.place if isinstance(thing, HeldText | Description) else place.path
    return Listed(prompt.name, _kind_of(thing), where, sent, may, why)


def _kind_of(thing: Any) -> str:
    if isinstance(thing, Description):
        return thing.kind
    return "text" if isinstance(thing, HeldText) else "tunable" if isinstance(thing, Tunable) else "template"


def _role_of(message: Message) -> str:
    return {"examples": "few-shot examples", "placeholder": "messages of the example", "other": "no text"}.get(
        message.role, "frozen"
    )
