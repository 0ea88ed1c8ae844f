"""The plan of a run: everything resolved, checked and addressed before the first paid call.

Rows come from files, memory, or LangSmith at one recorded version; evaluators may be kept in LangSmith too.
The run id is the hash of all that decides the result (`DECIDES`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.prompts.base import BasePromptTemplate

from langchain_promptopt._collections import ids_of, map_values, present
from langchain_promptopt._data import (
    describe_source,
    different_inputs,
    load_data,
    must_pass_of,
    references_needed,
    rows_in_order,
    tag_columns,
    unused_columns,
)
from langchain_promptopt._engine.context import Objective
from langchain_promptopt._engine.demonstrations import check_host
from langchain_promptopt._langchain.batch_api import refuse_unbatchable
from langchain_promptopt._langchain.discover import code_of, prompts_beside, unseen_state
from langchain_promptopt._langchain.freeze import resolve_freeze
from langchain_promptopt._langchain.isolation import replaced_ids, require_no_memory
from langchain_promptopt._langchain.models import model_id, model_name, resolve_model, secrets_of
from langchain_promptopt._langchain.reading import reading_of
from langchain_promptopt._langchain.target import open_target
from langchain_promptopt._langchain.task_models import Panel, panel
from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt._langsmith.hub import PREFIX, PromptHub, stored
from langchain_promptopt._langsmith.production import ProjectRows
from langchain_promptopt._langsmith.traces import untraced
from langchain_promptopt._objects import Watch, fingerprint
from langchain_promptopt._runtime.prices import PriceTable
from langchain_promptopt._runtime.redact import RowRedaction, keep_secret
from langchain_promptopt._text.templates import find_edit_marks, other_mark
from langchain_promptopt._text.words import counts_text
from langchain_promptopt.errors import ConfigError, DataError, EvaluatorError, PromptError
from langchain_promptopt.evaluators import Declared, Metrics, know_labels, resolve_evaluators, resolve_summaries
from langchain_promptopt.evaluators._metrics import learn_models
from langchain_promptopt.events import RunStarted
from langchain_promptopt.gate.openings import Openings, RowMark, recorded_inputs, rows_among
from langchain_promptopt.gate.planning import feasibility
from langchain_promptopt.offline import factories
from langchain_promptopt.optimizer.judges import judge_models, judge_notes, shared_model_note
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.recipe import MARGIN
from langchain_promptopt.store import RunFolder, opening_mark
from langchain_promptopt.strategies.registry import dump, recipe_notes
from langchain_promptopt.strategies.seeding import with_past
from langchain_promptopt.types import Candidate, MustPass, Note, NoteKind, PromptSet, RowUse, content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from langchain_promptopt._langchain.fast import Quick
    from langchain_promptopt._langchain.target import ChainTarget
    from langchain_promptopt._runtime.redact import Redact
    from langchain_promptopt.evaluators import Evaluator, SummaryEvaluator
    from langchain_promptopt.gate.planning import Feasibility
    from langchain_promptopt.optimizer.arguments import Settings
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.recipe import Recipe

_MAY_NAME = (str, Mapping, Declared)
"""Types of an evaluator in which a "langsmith:..." name may be."""


def with_stored(specs: Any, settings: Settings) -> Any:
    """The evaluators as given, those named "langsmith:..." replaced by what LangSmith keeps under the name.

    LangSmith is asked only when there is such a name. Raises EvaluatorError for what cannot be run here.
    """
    if isinstance(specs, str):
        return _judge(specs, settings) if specs.startswith(PREFIX) else specs
    if isinstance(specs, Mapping):
        found = {}
        for k, v in specs.items():
            if isinstance(v, _MAY_NAME):
                found[k] = with_stored(v, settings)
            else:
                found[k] = v
        return found
    if isinstance(specs, Declared):
        return replace(specs, evaluator=with_stored(specs.evaluator, settings))
    if isinstance(specs, Iterable):
        out = []
        for s in specs:
            if isinstance(s, _MAY_NAME):
                out.append(with_stored(s, settings))
            else:
                out.append(s)
        return out
    return specs


def _judge(spec: str, settings: Settings) -> Any:
    name = spec.removeprefix(PREFIX)
    given = settings.langsmith.judge_model

    def model_of(kept: str | None) -> tuple[str, Any]:
        wanted = given if given is not None else kept
        if wanted is None:
            msg = f"the LangSmith evaluator {name!r} has no model beside its prompt"
            raise EvaluatorError(msg, mend='Give one: langsmith={"judge_model": "provider:name"}.', key=name)
        model = resolve_model(wanted, "judge", factories=factories())
        return model_id(model), model

    return stored(name, PromptHub(), model_of)


def load_rows(settings: Settings, use: RowUse = RowUse(), *, write: bool = True) -> DataSet:  # noqa: B008 - frozen
    """All rows, checked. LangSmith is asked only when `settings.data` names nothing here.

    Args:
        settings: Where the rows are, and which column is what.
        use: What the prompts read of them, and whether references are needed.
        write: Whether splits made here go back to a dataset that has none, where the settings ask for it.
    """
    options = settings.langsmith
    remote = settings.remote
    is_project = describe_source(settings.data).kind == "project"
    if options.of_projects and not is_project:
        named = ", ".join(options.of_projects)
        msg = f"{named} is for runs of a LangSmith project, and the data is {describe_source(settings.data).name!r}"
        raise ConfigError(msg, where="[data]", mend='Name a project ("langsmith-project:NAME"), or remove the setting.')
    if remote is None:
        remote = LangSmithRows(options.as_of, options.metadata, options.queues)
        if is_project:
            remote = ProjectRows(options, settings.seed, use.references)
    if isinstance(remote, LangSmithRows):
        remote.attachments = use.attachments
    data = load_data(
        settings.data,
        columns=settings.columns,
        splits=settings.splits,
        drop_leaks=settings.drop_leaks,
        skip_bad_lines=settings.skip_bad_lines,
        remote=remote,
        use=use,
        openings=Openings(settings.openings),
    )
    if isinstance(remote, ProjectRows):
        told = tuple(Note("data", text) for text in remote.notes)
        version = f"{remote.version} {(data.as_of or '')[:_SHORT_VERSION]}"
        return replace(data, as_of=version, notes=(*told, *data.notes))
    if not isinstance(remote, LangSmithRows) or remote.version is None:
        return data
    notes = list(data.notes)
    if write and options.write_splits and any(note.kind == "split_by_hash" for note in notes):
        notes.append(Note("data", _write_splits(remote, data)))
    return replace(data, as_of=remote.version, notes=tuple(notes))


_SHORT_VERSION = len("sha256:") + 16
"""Of a project's rows, the version is the end of the window and as much of their hash."""


def _write_splits(remote: LangSmithRows, data: DataSet) -> str:
    if not all(is_uuid(e.id) for e in data.examples):
        return "the splits were not written back: examples carry ids of their own (data.id)"
    remote.split_back(data)
    return "the splits were written to the LangSmith dataset"


def is_uuid(text: str) -> bool:
    """Whether an id can be one of LangSmith's."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


_log = logging.getLogger("langchain_promptopt")
_DRY_ROWS = 8
"""Rows shown to the dry run: enough to take different branches of a chain."""


@dataclass
class Plan:
    """A run that could start now. `close` gives the chain's prompts their own classes back."""

    task: Any
    settings: Settings
    recipe: Recipe
    data: DataSet
    target: ChainTarget
    baseline: Candidate
    evaluators: tuple[Evaluator, ...]
    metrics: Metrics
    objective: Objective
    optimizer: Any
    models: Mapping[str, str]
    prices: PriceTable
    shows: Feasibility
    started: RunStarted
    code: str
    """Fingerprint of the chain beside the texts of its prompts: code reached, values held, models."""
    watch: Watch
    notes: tuple[Note, ...] = ()
    openings: Openings = field(default_factory=lambda: Openings(None))
    opened: list[Quick] = field(default_factory=list)
    summaries: tuple[SummaryEvaluator, ...] = ()
    redaction: RowRedaction | None = None
    must_pass: MustPass | None = None

    @property
    def shown_data(self) -> DataSet:
        """The rows as reports may show them."""
        return self.data if self.redaction is None else _shown(self.data, self.redaction)

    @property
    def run_id(self) -> str:
        """Hash of what decides the result."""
        return self.started.run_id

    def close(self) -> None:
        """Take the slots off the live prompts, and note what the run itself has changed in the chain."""
        self.target.close()
        self.watch.settle()

    async def aclose(self) -> None:
        """`close`, and end the connections that the run had opened."""
        self.close()
        await self.target.aclose()
        while self.opened:
            await self.opened.pop().aclose()


def redacted(data: DataSet, redact: Redact | None) -> DataSet:
    """The rows as `redact=` lets them be shown."""
    return data if redact is None else _shown(data, RowRedaction(redact))


def _shown(data: DataSet, redaction: RowRedaction) -> DataSet:
    return replace(data, splits={s: tuple(map(redaction.example, rows)) for s, rows in data.splits.items()})


def what_the_split_shows(data: DataSet, settings: Settings, openings: Openings, run_id: str) -> Feasibility:
    """Whether the test examples can reach the level at all (spec 6.2).

    Args:
        data: The rows; only the test split is counted.
        settings: Gate and `runs_dir`; a resumed run's own opening there does not count as a further one.
        openings: The record of earlier openings.
        run_id: The run that would open them now.

    Returns:
        The feasibility, with the number of the opening and the level that holds for it.
    """
    own = None if settings.runs_dir is None else opening_mark(RunFolder(settings.runs_dir, run_id).journal)
    opening = openings.number([RowMark.of(e.inputs, data.use.readings) for e in data["test"]], own=own)
    return feasibility(len({e.cluster for e in data["test"]}), settings.gate, opening)


def warn_of_earlier_looks(plan: Plan, *, replayed: bool) -> None:
    """Log, before a look at the test rows is spent, that it is not the first; a replayed run spends none."""
    if not replayed:
        for note in opening_notes(plan.shows):
            _log.warning("%s", note)


def _margin_notes(settings: Settings, data: DataSet) -> tuple[str, ...]:
    """What the test rows cannot show even where nothing changes, where a fall by a margin is allowed."""
    gate = settings.gate
    return () if gate.margin is None else feasibility(len({e.cluster for e in data["test"]}), gate).warnings


def opening_notes(shows: Feasibility) -> tuple[Note, ...]:
    """Notes for test rows that were opened before; none for rows that were not."""
    if shows.opening == 1:
        return ()
    times = "once" if shows.opening == 2 else f"{shows.opening - 1} times"
    said = f"test examples of this run were looked at {times} before: this is look {shows.opening}, so p must be below"
    return (Note("gate", f"{said} {shows.alpha:.2g}; fresh test examples would start again at the first look"),)


@dataclass(frozen=True)
class _Resolved:
    """What settings name, as objects: all but the chain."""

    data: DataSet
    evaluators: tuple[Evaluator, ...]
    summaries: tuple[SummaryEvaluator, ...]
    metrics: Metrics
    objective: Objective
    optimizer: Any
    model: Any
    notes: tuple[Note, ...]
    must_pass: MustPass | None = None


def use_of(tasks: Iterable[Any], evaluators: Iterable[Evaluator]) -> RowUse:
    """What prompts and evaluators do with the rows."""
    known = tuple(evaluators)
    files = any("attachments" in e.asks for e in known)
    return RowUse(tuple(dict.fromkeys(map(reading_of, tasks))), references_needed(known), files)


def _resolved(tasks: Sequence[Any], settings: Settings, *, searches: bool) -> _Resolved:
    evaluators = resolve_evaluators(with_stored(settings.evaluators, settings), import_from=settings.import_from)
    summaries = resolve_summaries(settings.summary_evaluators, import_from=settings.import_from)
    metrics = Metrics(evaluators)
    learn_models(metrics, evaluators, settings.task_models)
    objective = _objective(metrics, settings)
    optimizer = _optimizer_model(settings) if searches else None
    data = load_rows(settings, use_of(tasks, evaluators))
    _refuse_searched(data, settings)
    evaluators = know_labels(evaluators, data.examples)
    must = None if settings.must_pass is None else must_pass_of(data, settings.must_pass)
    notes = (
        *data.notes,
        *_must_pass_notes(must, searches=searches),
        *_unused(data, evaluators, settings),
        *judge_notes(evaluators, settings),
        *shared_model_note(evaluators, optimizer),
    )
    model = _task_model(settings)
    return _Resolved(data, evaluators, summaries, metrics, objective, optimizer, model, notes, must)


def _searched(data: DataSet) -> list[str]:
    """All examples but those of the test, as records keep them."""
    found: list[Mapping[str, Any]] = []
    for split, rows in data.splits.items():
        if split != "test":
            found.extend(e.inputs for e in rows)
    return recorded_inputs(found, data.use.readings)


def _refuse_searched(data: DataSet, settings: Settings) -> None:
    """Raise where the test holds rows on which the earlier run found the edits that are tried again."""
    found: set[str] = set()
    for past in settings.start_edits:
        found.update(past.searched)
    searched = frozenset(found)
    if not searched:
        return
    n = rows_among((RowMark.of(e.inputs, data.use.readings) for e in data["test"]), searched)
    if n:
        msg = f"{n} of {len(data['test'])} test examples were search examples of the run whose edits are tried again"
        mend = "Edits cannot be proven on examples they were chosen on: take other ones, or leave out the earlier run."
        raise DataError(msg, where=data.source, mend=mend)


def _must_pass_notes(must: MustPass | None, *, searches: bool) -> Iterator[Note]:
    """What a user should know about the examples that must pass: how many, and where none is looked at."""
    if must is None:
        return
    told = counts_text(map_values(len, must.ids))
    yield Note("data", f"examples that must pass ({must.tag}): {told}")
    if not must.of("test"):
        yield Note("data", f"no test example carries the tag {must.tag!r}, so must_pass plays no part in the verdict")
    elif searches and must.ids.keys() == {"test"}:
        text = f"only test examples carry the tag {must.tag!r}, so must_pass plays no part before the verdict"
        yield Note("data", text)


def _unused(data: DataSet, evaluators: Sequence[Evaluator], settings: Settings) -> Iterator[Note]:
    read = () if settings.must_pass is None else tag_columns(settings.must_pass)
    if unused := [name for name in unused_columns(data, evaluators) if name not in read]:
        it = "it" if len(unused) == 1 else "them"
        yield Note("unused", f"not used: {', '.join(unused)} (no prompt, setting or evaluator reads {it})")


async def make_plan(task: Any, settings: Settings, *, searches: bool = True, sides: Sequence[Any] = ()) -> Plan:
    """Resolve and check everything; nothing is paid for.

    Args:
        task: The chain, prompt or function.
        settings: All that was set.
        searches: False for a comparison: no optimizer model is needed and nothing has to be editable.
        sides: Both sides of a comparison, in the same order for each: rows are the same if either reads the same.

    Raises:
        UsageError: With place and mend.
    """
    recipe = recipe_of(settings.method)
    settings = _asked_of(recipe, settings) if searches else settings
    given = _resolved(sides or (task,), settings, searches=searches)
    data, optimizer, evaluators = given.data, given.optimizer, given.evaluators
    # What the run itself changes in the chain (counters, caches) must not change its run id.
    watch = Watch(task, given.model, optimizer, [e.origin for e in evaluators], settings.redact)
    code = code_of((task, given.model))  # before the dry run, which fills counters and caches
    hashes = _hashes(settings, optimizer)
    redaction, kept = _redaction(settings, data)
    target = await _opened(task, given.model, data, settings, searches=searches)
    prompts, prices = _checked(target, given, settings, watch, searches=searches)
    code = content_hash([code, prompts_beside(target.chain, tuple(target.places.values()))])
    recipe, remarks = with_past(recipe, prompts, settings.start_edits)
    decides = _decided(settings, recipe, given, prompts) | {
        "models": _models(target, optimizer),
        "evaluators": [[e.key, e.hash] for e in evaluators],
        "code": code,
        **hashes,
    }
    started, openings = _started(settings, recipe, data, prompts, decides), Openings(settings.openings)
    remarks = (*remarks, *_margin_notes(settings, data), *(_method_notes(recipe, data) if searches else ()))
    told = [*_notes("prompt", (*settings.notes, *target.notes, *_prompt_notes(prompts, data)))]
    told += (*_notes("method", remarks), *_without_effect(task, settings, data, target))
    told += unseen_state(task, given.model, *(e.origin for e in evaluators))
    shows = what_the_split_shows(data, settings, openings, started.run_id)
    return Plan(
        task=task,
        settings=settings,
        recipe=recipe,
        data=data,
        target=target,
        baseline=Candidate(prompts),
        evaluators=evaluators,
        metrics=given.metrics,
        objective=given.objective,
        optimizer=optimizer,
        models=started.models,
        prices=prices,
        shows=shows,
        started=started,
        code=code,
        watch=watch,
        summaries=given.summaries,
        notes=(*given.notes, *kept, *opening_notes(shows), *told),
        openings=openings,
        redaction=redaction,
        must_pass=given.must_pass,
    )


def _hashes(settings: Settings, optimizer: Any) -> dict[str, str]:
    """What code of the user, beside the chain, decides the result; taken before anything runs."""
    found = {"optimizer": fingerprint((optimizer, settings.optimizer_kwargs))}
    return found if settings.redact is None else found | {"redact": fingerprint(settings.redact)}


def _asked_of(recipe: Recipe, settings: Settings) -> Settings:
    """The settings, with what a method that shortens asks of the test. Raises ConfigError where they ask otherwise."""
    if not recipe.shortens:
        return settings
    mend = f"Leave it out, or use another method than {recipe.name!r}."
    if settings.max_edits is not None:
        msg = f"max_edits is {settings.max_edits}, and {recipe.name!r} makes as many edits as shorten the prompt"
        raise ConfigError(msg, mend=mend)
    if settings.demos is not None:
        msg = f"demos makes a prompt longer, and {recipe.name!r} makes it shorter"
        raise ConfigError(msg, mend=mend)
    gate = settings.gate
    if gate.min_improvement:
        msg = (
            f"gate.min_improvement is {gate.min_improvement:g}, and {recipe.name!r} asks for a prompt that is not worse"
        )
        raise ConfigError(msg, mend=f"{mend} gate.margin says how much the score may fall.")
    return settings if gate.margin is not None else replace(settings, gate=replace(gate, margin=MARGIN))


def _checked(
    target: ChainTarget, given: _Resolved, settings: Settings, watch: Watch, *, searches: bool
) -> tuple[PromptSet, PriceTable]:
    """The target's prompts and the models' prices; where one cannot be used, the chain is as it was again."""
    try:
        if settings.executor == "batch":
            refuse_unbatchable(target.models)
        prompts = _checked_prompts(target, given.data, settings, searches=searches)
        return prompts, _prices([*target.models, given.optimizer, *judge_models(given.evaluators)], settings)
    except BaseException:
        target.close()
        watch.settle()
        raise


def _redaction(settings: Settings, data: DataSet) -> tuple[RowRedaction | None, tuple[Note, ...]]:
    """The user's function, tried on every example; a note where it would change ids, which are kept as they are."""
    if settings.redact is None:
        return None, ()
    redaction = RowRedaction(settings.redact)
    changed = redaction.check(rows_in_order(data))
    named = settings.columns.id is not None or settings.columns.group is not None
    if not changed or not named:
        return redaction, ()
    text = f"ids are kept as they are, and redact= would change {changed} of them: name another column as id"
    return redaction, (Note("data", text),)


async def reopened(plan: Plan) -> Plan:
    """A plan whose run has ended, with slots on the live prompts again; everything else is as it was."""
    settings = plan.settings
    target = await _opened(plan.task, _task_model(settings), plan.data, settings, searches=True)
    return replace(plan, target=target, opened=[], watch=plan.watch.again())


async def _opened(
    task: Any, model: Runnable[Any, Any] | None, data: DataSet, settings: Settings, *, searches: bool
) -> ChainTarget:
    """The target, found and proven by a dry run."""
    batched = settings.executor == "batch"
    over = Panel.of(task, _task_models(settings), settings.swap, batched=batched)
    if over is not None and isinstance(task, BasePromptTemplate):
        model = next(iter(over.models.values()))
    splits = ("dev", "train") if searches else ("dev", "train", "test")  # a comparison may have no other rows
    rows = different_inputs(data, splits, _DRY_ROWS)
    with untraced():  # no evaluation: the model is not asked, so there is nothing to look at
        target = await open_target(task, dry_inputs=rows, model=model, only=settings.tune, config=settings.config)
        try:
            if not settings.constant_prompt and not (target.prompts.variables and target.ends_early):
                _require_rows(target.prompts, await target.sends_rows(rows), data)
            if not target.ends_early:
                await require_no_memory(target.chain, rows, target.models, given=target.given)
            if over is not None:
                await target.replace_models(over, rows)
        except BaseException:
            target.close()
            raise
    return target


def _require_rows(prompts: PromptSet, sends_rows: bool | None, data: DataSet) -> None:  # noqa: FBT001 - what was seen
    """Raise PromptError where every row sends the same text; messages that carry the row are as good as a variable."""
    columns, alike = _columns_of(data), len({content_hash(e.inputs) for e in data.examples}) < 2
    if sends_rows is not False or (prompts.variables and (alike or _unfilled(prompts, columns))):  # named elsewhere
        return
    msg = "nothing that is sent to the model depends on the example: "
    meant = "if every example is meant to send the same text, say constant_prompt = true (config: [task])."
    if prompts.variables:
        msg, mend = f"{msg}the program fills the prompts with the same values for each", "Fill them from the example"
    else:
        told = [*_template_notes(prompts), *_unfilled(prompts, columns), *_other_marks(prompts, columns)]
        msg = f"{msg}no prompt has a variable"
        mend = f"{_as_sentences(told)} Write the column where it belongs, as {{{next(iter(columns), 'input')}}}"
    raise PromptError(msg, where=", ".join(prompts.names), mend=f"{mend}; {meant}".strip())


def _other_marks(prompts: PromptSet, columns: Sequence[str]) -> list[str]:
    found = present(other_mark(m.template, columns) for m in prompts.messages)
    return [f"{mark!r} in the text is no variable: write {{{name}}} there" for mark, name in found[:1]]


def _as_sentences(notes: Iterable[str]) -> str:
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)


def _template_notes(prompts: PromptSet) -> list[str]:
    """What was noticed in the templates: braces that are not filled."""
    return list(chain.from_iterable(m.parsed.notes for m in prompts.messages))


def _columns_of(data: DataSet) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(e.inputs for e in rows_in_order(data))))


def _unfilled(prompts: PromptSet, columns: Sequence[str]) -> list[str]:
    """Message objects with a column in braces: LangChain sends those unfilled."""
    found: list[str] = []
    for p in prompts:
        for i, message in enumerate(p.messages):
            if message.template_format != "literal":
                continue
            braced = [name for name in columns if f"{{{name}}}" in message.template]
            for name in braced:
                found.append(
                    f"message {i} of prompt {p.name!r} is a message object, so its {{{name}}} is sent as it is and"
                    f' never filled: write it as ("{message.role}", "{{{name}}}")'
                )
    return found


def _task_model(settings: Settings) -> Runnable[Any, Any] | None:
    """What answers a bare prompt template, where a model or several were given."""
    if settings.task_models:
        return panel(_task_models(settings))
    return None if settings.task_model is None else resolve_model(settings.task_model, "task", factories=factories())


def _task_models(settings: Settings) -> dict[str, BaseChatModel]:
    known = factories()
    return {name: resolve_model(m, "task", factories=known) for name, m in settings.task_models.items()}


def _notes(kind: NoteKind, texts: Iterable[str]) -> Iterator[Note]:
    return (Note(kind, text) for text in texts)


def _without_effect(task: Any, settings: Settings, data: DataSet, target: ChainTarget) -> Iterator[Note]:
    """Settings that change nothing in this run, and what of the chain is not looked at."""
    if settings.task_model is not None and not isinstance(task, BasePromptTemplate):
        yield Note("unused", "task_model is not used: this chain calls models of its own; only a bare prompt needs one")
    if settings.swap is not None and isinstance(task, BasePromptTemplate):
        yield Note("unused", "swap is not used: it names models of a chain, and this is a bare prompt")
    if settings.cache is not None and not target.models:
        why = "no model can be seen in the chain, so nothing would tell two endpoints apart"
        yield Note("unused", f"cache is not used: {why}")
    if settings.executor == "batch":
        text = "the task model is asked through the Batch API, at half the price; a round of examples may take 24 hours"
        yield Note("method", text)
    row = next((dict(e.inputs) for e in rows_in_order(data)), {})
    if ids := replaced_ids(settings.config, row):
        yield Note("unused", f"config: {', '.join(ids)} is not used as given: each evaluation gets one of its own")


def _checked_prompts(target: ChainTarget, data: DataSet, settings: Settings, *, searches: bool) -> PromptSet:
    """The target's prompts with frozen text resolved, rendered on every row. Raises PromptError."""
    prompts = resolve_freeze(target.prompts, settings.freeze)
    for prompt in prompts:
        for i, message in enumerate(prompt.messages):
            if message.editable and (error := find_edit_marks(message.template, message.frozen)) is not None:
                place = f"message {i} of prompt {prompt.name!r}"
                raise PromptError(error.what, where=place, mend=error.mend, **error.facts)
    if searches:
        _check_editable(prompts)
        _check_length(prompts, settings)
        check_host(prompts, settings.demos, len(data["train"]))
        check_dev(data)
    target.render_check(prompts, list(rows_in_order(data)))
    return prompts


def _prompt_notes(prompts: PromptSet, data: DataSet) -> tuple[str, ...]:
    """What a user should know about the prompts: braces that are not filled, and that they have no variable."""
    notes = _template_notes(prompts) + _unfilled(prompts, _columns_of(data))
    if not prompts.variables:
        notes.append("no prompt has a variable: what differs from example to example is in other messages")
    return tuple(notes)


def _method_notes(recipe: Recipe, data: DataSet) -> tuple[str, ...]:
    """What of the method does not apply to data of this size."""
    return recipe_notes(recipe, n_dev=len(data["dev"]), n_val=len(data["val"]))


def _models(target: ChainTarget, optimizer: Any) -> dict[str, str]:
    """What decides the models' answers, by role, for record and run id."""
    found = {"task": ", ".join(sorted(set(map(model_id, target.models)))) or "unknown"}
    return found if optimizer is None else found | {"optimizer": model_id(optimizer)}


def _prices(given: Sequence[Any], settings: Settings) -> PriceTable:
    """The price table; the models' credentials are hidden from now on.

    Raises PriceError under a money budget when a model of any role is not in it.
    """
    models = present(given)
    keep_secret(chain.from_iterable(map(secrets_of, models)))
    prices = PriceTable(settings.prices)
    # Without a price for every model a money budget could not stop the run in time.
    if settings.budget.usd is not None:
        judged = [cost.model for cost in settings.judges.values() if cost.calls]
        prices.require(sorted({*map(model_name, models), *judged}))
    return prices


def _objective(metrics: Metrics, settings: Settings) -> Objective:
    gate = settings.gate
    for name in (gate.primary, *gate.weights, *gate.guards):
        if name is not None and not metrics.may_exist(name):
            msg = f"the gate names the metric {name!r}, and the evaluators give {', '.join(metrics.names)}"
            raise EvaluatorError(msg, mend="Use one of those names, or add the evaluator.")
    return Objective(gate.primary, gate.weights, metrics)


def _optimizer_model(settings: Settings) -> Any:
    if settings.optimizer_model is None:
        msg = "no optimizer model was given"
        raise ConfigError(msg, mend='Give optimizer_model="provider:name", a chat model, or "offline".')
    return resolve_model(settings.optimizer_model, "optimizer", factories=factories())


def check_dev(data: DataSet) -> None:
    """Raise DataError where there are no rows to compare candidates on, which a search needs."""
    if data["dev"]:
        return
    shares = counts_text(map_values(len, data.splits))
    msg = f"at least one dev example is needed to search on, and there is none ({shares})"
    unused = [note.text for note in data.notes if note.kind == "unused"]
    if unused:
        msg += f"; {'; '.join(unused)}"
    mend = 'Give more examples, or say which split is which, e.g. splits = { train = "train", dev = "validation" }.'
    raise DataError(msg, where=data.source, mend=mend)


def _check_length(prompts: PromptSet, settings: Settings) -> None:
    """Raise PromptError where a prompt is longer than `max_tokens` lets it be."""
    if recipe_of(settings.method).shortens:
        return
    for prompt in prompts.longer_than(settings.max_tokens):
        msg = f"prompt {prompt.name!r} has about {prompt.tokens} tokens, and max_tokens is {settings.max_tokens}"
        raise PromptError(
            msg, where=f"prompt {prompt.name!r}", mend='Raise max_tokens, or make it shorter first: method="shorten".'
        )


def _check_editable(prompts: PromptSet) -> None:
    if prompts.document.editable:
        return
    msg = "nothing is left to edit: every word of the prompts is frozen or a variable"
    raise PromptError(msg, where=", ".join(prompts.names), mend="Freeze less.")


DECIDES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "method": ("the method", ("optimize.method",)),
    "recipe": ("the method's settings", ("optimize.method", "optimize.from_run")),
    "metaprompts": ("the meta-prompts", ("optimize.metaprompts",)),
    "seed": ("the seed", ("optimize.seed",)),
    "gate": ("the gate", ("gate.",)),
    "data": ("the examples", ("data.",)),
    "notes": ("people's notes on the examples", ("data.", "langsmith.queues")),
    "splits": ("the splits", ("data.",)),
    "prompts": ("the prompts", ("task.",)),
    "frozen": ("what is frozen", ("task.freeze",)),
    "config": ("the config of the chain", ("optimize.config",)),
    "models": ("the models", ("task.", "optimize.model", "optimize.base_url", "optimize.temperature")),
    "evaluators": ("the evaluators or code that they reach", ("evaluate.evaluators",)),
    "code": ("the chain: its code, a value that it holds, or an installed package", ("task.",)),
    "optimizer": ("the optimizer model", ("optimize.model", "optimize.temperature", "optimize.max_reply_tokens")),
    "redact": ("what redact= hides", ("optimize.redact",)),
    "over": (
        "the task models, or how their scores become one",
        ("optimize.task_models", "optimize.over", "optimize.sw"),
    ),
    "max_tokens": ("the length that a prompt may have", ("optimize.max_tokens",)),
    "demos": ("the demonstrations", ("optimize.demos",)),
    "must_pass": ("the examples that must pass", ("optimize.must_pass", "data.")),
}
"""All that the run id is made of: what it is called, and the keys of promptopt.toml that set it."""


def _decided(settings: Settings, recipe: Recipe, given: _Resolved, prompts: PromptSet) -> dict[str, Any]:
    """The value behind each name of `DECIDES` that comes from settings, rows and prompts."""
    data, must = given.data, given.must_pass
    splits = {}
    for split, rows in data.splits.items():
        splits[split] = ids_of(rows)
    frozen = [[list(m.frozen), m.editable] for m in prompts.messages]
    found: dict[str, Any] = {
        "method": recipe.name,
        "recipe": dump(recipe) if settings.max_edits is None else [dump(recipe), settings.max_edits],
        "metaprompts": settings.metaprompts.versions(),
        "seed": settings.seed,
        "gate": settings.gate.as_json(),
        "data": data.as_of,
        "notes": {e.id: e.note for e in data.examples if e.note},
        "splits": splits,
        "prompts": prompts.id,
        "frozen": frozen,
        "config": None if settings.config is None else fingerprint(settings.config),
    }
    if settings.task_models:
        found["over"] = [settings.over or "mean", sorted(settings.task_models)]
        if settings.swap is not None:
            found["over"].append(sorted(settings.swap))
    if settings.max_tokens is not None:
        found["max_tokens"] = settings.max_tokens
    if settings.demos is not None:
        found["demos"] = settings.demos.as_json()
    if must is not None:
        found["must_pass"] = must.as_json()
    return found


def _started(
    settings: Settings, recipe: Recipe, data: DataSet, prompts: PromptSet, decides: Mapping[str, Any]
) -> RunStarted:
    hashes = {}
    for name in DECIDES:
        if name in decides:
            hashes[name] = content_hash(decides[name])
    sizes = map_values(len, data.splits)
    return RunStarted(
        run_id=content_hash(hashes, 16),
        version=version("langchain-promptopt"),
        method=recipe.name,
        recipe=dump(recipe),
        seed=settings.seed,
        gate=settings.gate.as_json(),
        models=decides["models"],
        evaluators=[{"name": name, "hash": digest} for name, digest in decides["evaluators"]],
        data={
            "source": data.source,
            "as_of": data.as_of,
            "splits": sizes,
            **({"made": dict(data.made)} if data.made else {}),
            **data.use.as_json(),
            "searched": _searched(data),
        },
        seed_candidate_id=prompts.id,
        prompts=prompts,
        config=dict(settings.config_json),
        decides=hashes,
    )
