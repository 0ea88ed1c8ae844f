"""Prompts and models inside anything callable: found, named, read as a `PromptSet`, and written with a winner.

`Runnable.get_prompts` misses fallbacks, branches, routers, closures and graphs, so this uses the walk
of `_objects`. It may find prompts that never run: what is edited is decided by a dry run.
"""

from __future__ import annotations

import dis
import re
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.prompts.chat import MessagesPlaceholder
from langchain_core.prompts.dict import DictPromptTemplate
from langchain_core.prompts.image import ImagePromptTemplate
from langchain_core.runnables import Runnable

from langchain_promptopt._files.layouts import read_prompts
from langchain_promptopt._imports import package_of
from langchain_promptopt._langchain.conversion import from_prompt, is_readable, to_prompt, write_all
from langchain_promptopt._langchain.descriptions import Description, find_descriptions
from langchain_promptopt._langchain.held import HeldText, held_texts
from langchain_promptopt._langchain.models import model_name
from langchain_promptopt._langchain.overlay import Tunable, registered
from langchain_promptopt._objects import SEEDED, concrete_type, fingerprint, walk
from langchain_promptopt._values import type_name
from langchain_promptopt.errors import ConfigError, PromptError, did_you_mean, require
from langchain_promptopt.types import Note, Prompt, PromptSet
from langchain_promptopt.types.prompts import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from langchain_promptopt._langchain.conversion import Snapshot

Live: TypeAlias = "BasePromptTemplate[Any] | Tunable | HeldText | Description"
"""What holds the text of a prompt in a running program."""


@dataclass(frozen=True)
class Found:
    """A prompt in a chain: its path for people, and the live object."""

    path: str
    template: Live


def find_prompts(root: Any) -> tuple[Found, ...]:
    """Every prompt template and `tunable` reachable from `root`, breadth first, each object once."""
    reached = walk(root, stop=is_prompt_or_model)
    found: list[Found] = []
    for path, thing in reached:
        if isinstance(thing, Tunable) or is_template(thing):
            found.append(Found(path, thing))
    return tuple(found)


def find_models(root: Any) -> tuple[BaseLanguageModel[Any], ...]:
    """Every chat model and LLM reachable from `root`."""
    reached = walk(root, stop=is_prompt_or_model)
    found: list[BaseLanguageModel[Any]] = []
    for _, thing in reached:
        if isinstance(thing, BaseLanguageModel):
            found.append(thing)
    return tuple(found)


def is_prompt_or_model(thing: Any) -> bool:
    """Where the search for prompts, models and clients ends: what is inside these is their own affair."""
    return isinstance(thing, BaseLanguageModel | Tunable) or is_template(thing)


def is_template(thing: Any) -> bool:
    """Whether a thing is a template whose texts are known; one of a class of the user's own is a program with texts."""
    if not isinstance(thing, BasePromptTemplate):
        return False
    kind = concrete_type(thing)
    return package_of(kind.__module__) is not None or is_readable(kind)


# ---------------------------------------------------------------- prompts that are elsewhere

_REMOTE = frozenset({"langserve.client.RemoteRunnable", "langgraph.pregel.remote.RemoteGraph"})
"""Clients of programs that run elsewhere, by name, so that their packages are not imported."""


_REMOTE_HOMES = ("langgraph_sdk", "langserve", "langgraph.pregel.remote")
"""Modules of these clients; what they are made of is in modules below them."""


def find_remotes(root: Any) -> tuple[tuple[str, Any], ...]:
    """What a task asks programs elsewhere with: its clients, or their class where it makes one for each call."""
    reached = walk(root, stop=lambda thing: is_prompt_or_model(thing) or bool(_remote_kind(thing)))
    return tuple((path, thing) for path, thing in reached if _remote_kind(thing))


def _remote_kind(thing: Any) -> str:
    """The name of the remote client that a thing is; "" for anything else."""
    kinds = thing.__mro__ if isinstance(thing, type) else type(thing).__mro__
    return next((kind.__name__ for kind in kinds if type_name(kind) in _REMOTE or _is_sdk_client(kind)), "")


def _is_sdk_client(kind: type) -> bool:
    """Whether a class is a client of LangGraph's SDK, or one of the parts that a client has."""
    return kind.__module__.partition(".")[0] == "langgraph_sdk" and kind.__name__.endswith("Client")


def is_remote_home(module: Any) -> bool:
    """Whether a module, by its name, is one of those that ask programs elsewhere."""
    return any(f"{module}.".startswith(f"{home}.") for home in _REMOTE_HOMES)


def may_ask_elsewhere(task: Any) -> bool:
    """Whether a task names something that makes such clients: a function, a module, an import in its code."""
    for _, thing in walk(task, stop=is_prompt_or_model):
        home = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "")
        if is_remote_home(home):
            return True
        if isinstance(thing, FunctionType) and package_of(home) is None and any(_imports_remote(thing.__code__)):
            return True
    return False


def _imports_remote(code: CodeType) -> Iterator[bool]:
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            yield is_remote_home(step.argval)
        elif isinstance(step.argval, CodeType):
            yield from _imports_remote(step.argval)


def asked_elsewhere(task: Any) -> str:
    """How to optimize a program that asks another one for its answers; "" for one that does not."""
    remotes = find_remotes(task)
    return elsewhere_by(_remote_kind(remotes[0][1]), remotes[0][0]) if remotes else ""


def elsewhere_by(kind: str, place: str) -> str:
    """How to optimize a program that asks another one by a client, which is at a place."""
    return (
        f"It asks another program for its answers, by {kind} ({place}). Optimize that program where it "
        "runs: give optimize its chain or graph. A text that this program sends to it can be optimized here where it "
        'is held: RULES = tunable("...", name="rules").'
    )


def pulled_at(task: Any) -> tuple[str, ...]:
    """Where the user's functions pull prompts from LangSmith while they run: file and line of each `pull_prompt`."""
    found = []
    for _, thing in walk(task, stop=is_prompt_or_model):
        if isinstance(thing, FunctionType) and package_of(thing.__module__) is None:
            found += [f"{Path(thing.__code__.co_filename).name}:{n}" for n in _pulls(thing.__code__)]
    return tuple(dict.fromkeys(found))


def _pulls(code: CodeType) -> Iterator[int]:
    """Lines of a function that name `pull_prompt`, functions inside it included."""
    for step in dis.get_instructions(code):
        if step.argval == "pull_prompt" and step.positions is not None:
            yield step.positions.lineno or code.co_firstlineno
        elif isinstance(step.argval, CodeType):
            yield from _pulls(step.argval)


PULL_ONCE = (
    "Pull it once, where the program starts, and use that template: PROMPT = Client().pull_prompt(NAME). "
    "`promptopt push` puts a better one back into LangSmith."
)


def task_notes(task: Any, met: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """What to tell about prompts that a task uses and that are no part of it, and about calls that nothing counts.

    Args:
        task: What the user gave.
        met: Clients of programs elsewhere that a dry run came to, with their places.
    """
    notes = []
    for kind, path in [(_remote_kind(thing), path) for path, thing in find_remotes(task)] or met:
        notes.append(f"prompts of the program that {kind} ({path}) asks stay as they are")
    for place in pulled_at(task):
        notes.append(f"a prompt that {place} pulls for each call stays as it is. {PULL_ONCE}")
    return (*notes, *_embedding_notes(task))


_FAKES = frozenset({"FakeEmbeddings", "DeterministicFakeEmbedding"})
"""Embeddings of langchain-core that make numbers up; no call is made for them."""


def _embedding_notes(root: Any) -> tuple[str, ...]:
    """What a user should know of embedding models that a chain calls, as retrievers do: LangChain reports no usage."""
    names: dict[str, None] = {}
    for _, thing in walk(root, stop=is_prompt_or_model):
        if isinstance(thing, Embeddings) and type(thing).__name__ not in _FAKES:
            kind, name = type(thing).__name__, model_name(thing)
            names[kind if name == kind else f"{kind} ({name})"] = None
    if not names:
        return ()
    return (
        f"the chain embeds texts with {', '.join(names)}: these calls are neither estimated nor counted, and no budget"
        " limits them",
    )


# ---------------------------------------------------------------- names


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


def unseen_state(*roots: Any) -> Iterator[Note]:
    """What the run's id does not cover of the user's objects, because nothing can read it."""
    unread: dict[str, str] = {}
    fingerprint(roots, instead=_without_texts, unread=unread)
    if much := unread.pop("", ""):
        yield Note("unused", f"the chain holds {much}; a change beyond them gives no new run")
    places: tuple[list[str], list[str]] = ([], [])
    for path, kind in unread.items():
        places[kind in SEEDED].append(f"{_ROOTS.sub('$', path)} ({kind})")
    hidden, random = places
    if hidden:
        text = f"no part of the run's id, because it cannot be read: what is in {_some(hidden)}."
        yield Note("unused", f"{text} Where that has changed, give the run another seed to have it made anew")
    if random:
        text = f"part of the run's id is the state of {_some(random)}."
        yield Note("unused", f"{text} Give it a seed in your code, else no other process can take up this run")


_ROOTS = re.compile(r"^\$(\[\d+\])")
_MOST_NAMED = 4


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def prompts_beside(chain: Any, candidates: Sequence[Found]) -> str:
    """A fingerprint of the chain's prompts that are no part of a candidate: they stay as they are. "" without any."""
    known = {id(one.template) for one in candidates}
    others = []
    for found in find_prompts(chain):
        if id(found.template) not in known:
            others.append(found.template)
    return fingerprint(others) if others else ""


def _without_texts(thing: Any) -> Any:
    """What stands for a prompt: values it binds, examples it chooses, parts that are no text, code of the user's."""
    if not isinstance(thing, BasePromptTemplate | Tunable):
        return None
    beside: list[Any] = []
    for _, inner in walk(thing):
        beside.extend(filter(None, _beside_text(inner)))
    return {"prompt": beside}


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
    if isinstance(template, Tunable | HeldText | Description):
        return template.name
    repo = (template.metadata or {}).get("lc_hub_repo")
    return template.name or (repo if isinstance(repo, str) else "")


def _readable(path: str) -> str:
    """`$.steps__['a'].first` is `a.first`; where a variable of the program holds the prompt, its name is enough.

    >>> _readable("$.steps__['a'].first"), _readable("$.nodes['a'].func<TEXTS>['triage']")
    ('a.first', 'TEXTS.triage')
    """
    path = path[path.rfind("<") + 1 :] if "<" in path else path
    text = path.removeprefix("$").replace(".steps__", "").replace("<", ".").replace(">", "")
    return text.replace("['", ".").replace("']", "").lstrip(".") or "main"


# ---------------------------------------------------------------- named live prompts

_HELD: dict[tuple[int, ...], tuple[Any, tuple[HeldText, ...]]] = {}
"""Texts found in what a task sends, by the task's id; the task itself is kept, so that the id stays its own."""


def remember_held(task: Any, found: Sequence[HeldText]) -> None:
    """Keep the held texts of a task, so that `places_of` knows them from now on; without any, forget the task."""
    if found:
        _HELD[_key(task)] = (task, tuple(found))
    else:
        _HELD.pop(_key(task), None)


_DESCRIBED: dict[tuple[int, ...], tuple[Any, tuple[Description, ...]]] = {}
"""Descriptions of a task's tools and schemas that a run may change, as `_HELD`."""


def remember_descriptions(task: Any, found: Sequence[Description]) -> None:
    """Keep the descriptions of a task that a run may change, so that `places_of` knows them; without any, forget."""
    if found:
        _DESCRIBED[_key(task)] = (task, tuple(found))
    else:
        _DESCRIBED.pop(_key(task), None)


def descriptions_of(task: Any, sent: Sequence[Mapping[str, Any]] = ()) -> dict[str, Found]:
    """The descriptions of the tools and schemas that a task gives to its models, by name.

    Args:
        task: What the user gave.
        sent: The arguments of model calls that a dry run would have made.
    """
    reached = ((path, thing) for path, thing in walk(task, stop=_ends_program) if not _ends_program(thing))
    return {one.name: Found(one.where, one) for one in find_descriptions(reached, sent)}


def _key(task: Any) -> tuple[int, ...]:
    """What a task is known by: Python makes a bound method anew each time that it is named."""
    return (id(task.__self__), id(task.__func__)) if isinstance(task, MethodType) else (id(task),)


def held_of(
    task: Any, templates: Mapping[str, Found], sent: Sequence[str] = (), values: Sequence[str] = ()
) -> list[HeldText]:
    """The texts that a task holds beside its templates and models, the proven ones first.

    Args:
        task: What the user gave.
        templates: Its templates and tunables by name: their texts and names are taken.
        sent: Texts that it sent to models.
        values: Texts of rows, which are no prompts.
    """
    reached = ((path, thing) for path, thing in walk(task, stop=_ends_program) if not _ends_program(thing))
    known = [m.template for m in read_set(templates).messages if m.template.strip()]
    return held_texts(reached, sent, [*known, *values], templates)


def _ends_program(thing: Any) -> bool:
    """Whether a thing is a template or a model, or a class of models: what these hold is no text of the program."""
    return is_prompt_or_model(thing) or (isinstance(thing, type) and issubclass(thing, BaseLanguageModel))


def template_of(thing: Live) -> BasePromptTemplate[Any]:
    """The LangChain template that holds the text."""
    return thing.template if isinstance(thing, Tunable | HeldText | Description) else thing


def read_set(places: Mapping[str, Found]) -> PromptSet:
    """The prompts as they are now."""
    return PromptSet(tuple(starmap(_read, places.items())))


def _read(name: str, place: Found) -> Prompt:
    thing = place.template
    prompt = to_prompt(template_of(thing), name=name, source=place.path)
    return replace(prompt, idle=isinstance(thing, HeldText | Description) and not thing.proven)


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
    found: dict[str, BasePromptTemplate[Any]] = {}
    for p in prompts:
        found[p.name] = from_prompt(p, like=template_of(places[p.name].template))
    return found


def write(places: Mapping[str, Found], prompts: PromptSet) -> Snapshot:
    """Put the texts into the live objects, all or none; objects whose text is the same are left alone.

    Raises:
        PromptError: As `build`; then nothing was written.
    """
    now = read_set(places)
    changed = PromptSet(tuple(p for p in prompts if p.name not in places or p.texts != now[p.name].texts))
    built = build(places, changed)
    live = {name: places[name].template for name in built}
    pairs = []
    for name, thing in live.items():
        if not isinstance(thing, HeldText | Description):
            pairs.append((template_of(thing), built[name]))
    before = write_all(pairs)
    for name, thing in live.items():
        new: Any = built[name]
        if isinstance(thing, HeldText):
            before.also(thing.write(new.template))
        elif isinstance(thing, Description):
            before.also(thing.write(new))
    return before


def load_prompts(chain: Any, folder: str | Path, *, force: bool = False) -> Snapshot:
    """Put saved prompts into a live chain: what a service does at start.

    A prompt is written over the text that it was saved to replace, wherever that text is now, and over no other.
    Variables, roles and frozen blocks must be those of the chain, or nothing is written.

    Args:
        chain: The chain, prompt or function.
        folder: Where `save_prompts` (or `result.save`) wrote them.
        force: Write by name alone, also over a text that was changed since.

    Returns:
        What was there before; its `restore()` takes the change back.

    Raises:
        PromptError: A prompt is missing in the chain, was changed there, or does not fit.
    """
    require("folder", folder, (str, Path), 'load_prompts(chain, "prompts/")')
    require("force", force, bool, "force=True, or leave it out")
    saved = read_prompts(folder)
    places = all_places_of(chain)
    if not force:
        saved = PromptSet(tuple(_addressed(p, places, str(folder)) for p in saved))
    return _write_at(places, saved)


def all_places_of(task: Any) -> dict[str, Found]:
    """As `places_of`, with every text that may be sent where no run has looked at the task."""
    known = descriptions_of(task) | places_of(task)
    if _key(task) in _HELD:
        return known
    found = known if find_prompts(task) else {}
    return known | {held.name: Found(held.where, held) for held in held_of(task, found)}


def _addressed(saved: Prompt, places: Mapping[str, Found], folder: str) -> Prompt:
    """The saved prompt under the name that the text it replaces has in this chain. Raises PromptError."""
    if not saved.replaces:
        return saved
    wanted = {saved.replaces, saved.digest}
    fitting = [name for name, place in places.items() if _reads_as(place, wanted)]
    if saved.name in fitting:
        return saved
    if len(fitting) == 1:
        return replace(saved, name=fitting[0])
    if fitting:
        msg = f"several prompts of the chain have the text of {saved.name!r}: {', '.join(fitting)}"
        raise PromptError(msg, where=folder, mend="Give them names, as with tunable(..., name=...).")
    if saved.name not in places:
        return saved  # `build` says what there is
    msg = f"prompt {saved.name!r} of the chain is not the text that the saved one was made from"
    mend = "Run again from the text of now, or write over it: load_prompts(chain, folder, force=True)."
    raise PromptError(msg, where=folder, mend=mend)


def _reads_as(place: Found, digests: Collection[str]) -> bool:
    """Whether the prompt there is one of these; of a held text not yet seen, whether braces are filled is open."""
    thing = place.template
    if _read("", place).digest in digests:
        return True
    if isinstance(thing, HeldText) and not thing.proven:
        thing.holes = not thing.holes
        if _read("", place).digest in digests:
            return True
        thing.holes = not thing.holes
    return False


def write_into(chain: Any, prompts: PromptSet) -> Snapshot:
    """Write prompts into any chain that has the places they name; the result takes it back.

    Raises:
        PromptError: The chain lacks a prompt, or its variables, roles or frozen blocks differ.
    """
    places = places_of(chain)
    missing = any(prompt.name not in places for prompt in prompts)
    return _write_at(all_places_of(chain) if missing else places, prompts)


def _write_at(places: Mapping[str, Found], prompts: PromptSet) -> Snapshot:
    now = {prompt.name: prompt for prompt in read_set(places)}
    return write(places, PromptSet(tuple(_with_examples_of(now.get(p.name), p) for p in prompts)))


def differing(chain: Any, prompts: PromptSet) -> tuple[str, ...]:
    """Names of the prompts whose text in the chain is not the text in `prompts`; few-shot blocks are left out."""
    now = {prompt.name: prompt for prompt in read_set(places_of(chain))}
    pairs = [(p, now[p.name]) for p in prompts if p.name in now]
    found: list[str] = []
    for p, live in pairs:
        if _with_examples_of(live, p).texts != live.texts:
            found.append(p.name)
    return tuple(found)


def places_of(task: Any) -> dict[str, Found]:
    """The live prompts of whatever a user hands over, by name: the same names for a run, for apply and for load.

    The prompts of a plain function are the `tunable`s it names; without any, the templates it reaches; without
    these, all that are registered.
    """
    held = _HELD.get(_key(task), (task, ()))[1]
    # where held texts alone are remembered, tunables of other programs were left for them
    found = {} if held and not find_prompts(task) else templates_of(task)
    described = _DESCRIBED.get(_key(task), (task, ()))[1]
    found = found | {one.name: Found(one.where, one) for one in held}
    return found | {one.name: Found(one.where, one) for one in described}


def templates_of(task: Any) -> dict[str, Found]:
    """The templates and tunables of a task, by name."""
    found = find_prompts(task)
    if isinstance(task, Runnable | BasePromptTemplate):
        return name_places(found)
    tunables = [f for f in found if isinstance(f.template, Tunable)]
    if not tunables and not found:
        tunables = [Found(f"tunable {t.name!r}", t) for t in registered()]
    return {f.template.name: f for f in tunables if isinstance(f.template, Tunable)} or name_places(found)


def choose(places: Mapping[str, Found], only: Sequence[str] | None) -> dict[str, Found]:
    """The places whose name or path is in `only`, where `*` stands for any text; without it the prompts of messages.

    Descriptions of tools and schemas are chosen by a name that begins with `tool:` or `schema:` alone. Raises
    ConfigError for a name that nothing has.
    """
    found: dict[str, Found] = {}
    for wanted in ("*",) if only is None else only:
        fitting = {name: place for name, place in places.items() if _is_meant(wanted, name, place)}
        if not fitting and only is not None:
            msg = f"the chain has no prompt named {wanted!r}"
            raise ConfigError(msg, mend=f"{did_you_mean(wanted, places)}It has: {', '.join(places) or 'none'}.")
        found |= fitting
    return {name: place for name, place in places.items() if name in found}


def _is_meant(wanted: str, name: str, place: Found) -> bool:
    if wanted in {name, place.path}:
        return True
    if "*" not in wanted or (isinstance(place.template, Description) and not wanted.startswith(DESCRIPTIONS)):
        return False
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), name, re.DOTALL) is not None


def _with_examples_of(live: Prompt | None, prompt: Prompt) -> Prompt:
    """Few-shot blocks are the chain's own; what a saved prompt shows of them may be older."""
    if live is None or len(live.messages) != len(prompt.messages):
        return prompt
    messages = []
    for own, saved in zip(live.messages, prompt.messages, strict=True):
        messages.append(own if own.role == saved.role == "examples" else saved)
    return replace(prompt, messages=tuple(messages))
