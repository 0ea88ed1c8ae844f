"""The first settings for a chain and its data: columns guessed and told, models and a budget that can be used.

`first_settings` tries what it proposes: what `promptopt init` writes is accepted by `promptopt check`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_promptopt._data import (
    LEAKS,
    SUFFIXES,
    inspect_rows,
    is_split_name,
    read_file,
    references_needed,
    usual_names,
)
from langchain_promptopt._imports import importing_from
from langchain_promptopt._langchain.discover import find_prompts
from langchain_promptopt._langchain.models import endpoint_of, model_name, runs_here, without_keys
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.prices import PriceTable
from langchain_promptopt.config import with_values
from langchain_promptopt.errors import DataError, UsageError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.optimizer.facade import prompts
from langchain_promptopt.optimizer.plan import check_dev, make_plan, use_of
from langchain_promptopt.pipeline.prepare import code_folder, data_of, load_task, settings_from
from langchain_promptopt.pipeline.recorded import columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt._langchain.target import Listed
    from langchain_promptopt.config import Config
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.types import PromptSet

_Seen: TypeAlias = "tuple[list[str], PromptSet, tuple[str, ...], DataSet, Sequence[Any]]"
_SAMPLE = 500
"""Rows looked at for a guess of columns; a column of splits is often sorted, and all of it is read."""
_ANSWERS: tuple[str, ...] = (
    "label", "labels", "answer", "output", "expected", "expected_output", "reference", "target", "gold", "ideal",
    "class", "category", "intent", "team", "topic", "queue", "completion", "response", "summary", "solution",
)  # fmt: skip
_IDS = ("id", "uuid", "key", "number", "nr", "no")
_GROUPS = ("thread", "conversation", "session", "group", "customer", "account", "user", "author", "document", "patient")
_SPLITS = ("split", "dataset_split")
"""Columns that are read as the split without being named."""
_KINDS = 30
"""A column with more different values than this is no label."""


@dataclass(frozen=True)
class Guess:
    """Settings guessed from the columns; `why` gives the reason for each, `unused` the other columns."""

    values: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstSettings:
    """What `init` shows: the prompts a chain renders, the rows there are, and the settings to write."""

    prompts: PromptSet
    data: DataSet
    values: Mapping[str, Mapping[str, Any]]
    """Section -> key -> value."""
    remarks: Mapping[str, str]
    """Dotted key -> what the file says about its value."""
    notes: tuple[str, ...]
    off: tuple[str, ...] = ()
    """Names of the descriptions of tools and schemas, which change only where `tune` names them."""


def first_settings(config: Config, given: Mapping[str, Any]) -> FirstSettings:
    """Settings for the task and data that `config` names.

    Args:
        config: With a task and `data.source`.
        given: Dotted keys that were set by flags, as they were typed; they stay as they are.

    Raises:
        UsageError: The rows or prompts cannot be used, whatever the settings.
    """
    with without_keys(), importing_from(code_folder(config)):
        task = load_task(config).task
        guess = _with_splits(_guessed(config, _variables(task), given), config)
        guess, crossing, seen = _tried(guess, config, task)
    metrics, prompts, off, data, models = seen
    filled = with_values(config, guess.values)
    values, notes = _proposal(filled, given, metrics, models)
    unused = (f"columns that nothing reads: {', '.join(guess.unused)}",) if guess.unused else ()
    read = [note.text for note in data.notes if note.kind == "columns"]
    return FirstSettings(prompts, data, values, guess.why, (*read, *_told(guess), *crossing, *unused, *notes), off)


def list_prompts(config: Config) -> tuple[Listed, ...]:
    """The prompts of the task that the configuration names, with its rows.

    Raises:
        UsageError: The task or the rows cannot be used, or there is no prompt.
    """
    with without_keys(), importing_from(code_folder(config)):
        task, settings = load_task(config).task, settings_from(config)
        rows = [e.inputs for e in data_of(settings, use_of((task,), ())).examples]
        return prompts(
            task,
            rows[:_LISTED_ROWS],
            tune=settings.tune,
            freeze=settings.freeze,
            task_model=settings.task_model or next(iter(settings.task_models.values()), None),
            config=settings.config,
        )


_LISTED_ROWS = 8
"""Rows that a dry run is given, to see which prompts are sent."""


def _tried(guess: Guess, config: Config, task: Any) -> tuple[Guess, tuple[str, ...], _Seen]:
    """The guess that can be used, what to say where it was changed, and what a run would see with it."""
    try:
        return guess, (), run_sync(lambda: _look(with_values(config, guess.values), task))
    except DataError as error:
        if error.facts.get("reason") != LEAKS or "data.group" not in guess.values:
            raise
    # Splits that a person made stand above a group that was guessed.
    said = f"{guess.values['data.group']} is no group: its values are in several splits of the data"
    guess = _without_group(guess)
    return guess, (said,), run_sync(lambda: _look(with_values(config, guess.values), task))


async def _look(config: Config, task: Any) -> _Seen:
    """Metrics, prompts, descriptions that stay, rows and models, as a run would resolve them."""
    plan = await make_plan(task, settings_from(config), searches=False)
    try:
        check_dev(plan.data)
        prompts, off = plan.baseline.prompts.awake, tuple(plan.target.beside)
        return [e.key for e in plan.evaluators], prompts, off, plan.data, plan.target.models
    finally:
        await plan.aclose()


def _told(guess: Guess) -> list[str]:
    """Each guess with what it is, in words."""
    said = []
    for key, why in guess.why.items():
        value = guess.values[key]
        pairs = [f"{name} = {column}" for name, column in value.items()] if isinstance(value, dict) else value
        said.append(f"{key}: {pairs if isinstance(pairs, str) else ', '.join(pairs)} ({why})")
    return said


def _variables(task: Any) -> list[str]:
    names: list[str] = []
    for found in find_prompts(task):
        names.extend(getattr(found.template, "input_variables", ()))
    return list(dict.fromkeys(names))


def _guessed(config: Config, variables: Sequence[str], given: Mapping[str, Any]) -> Guess:
    """A guess where the rows are not in a form that is read as it is; nothing where they are, or cannot be seen."""
    rows = _rows(config)
    if not rows or isinstance(rows[0].get("inputs"), dict) or isinstance(rows[0].get("messages"), list):
        return Guess()
    guess = guess_columns([_flat(row) for row in rows], variables)
    if _readable(rows[:_SAMPLE], config, variables):
        return _beside(guess, given)
    values = {}
    for key, value in guess.values.items():
        if key not in given:
            values[key] = value
    missing = []
    for v in variables:
        if v not in {**config.data.inputs, **values.get("data.inputs", {})}:
            missing.append(v)
    if missing and "data.inputs" not in given:
        msg = f"no column could be found for the prompt's {', '.join(f'{{{name}}}' for name in missing)}"
        mend = f"Name it: --input {missing[0]}=COLUMN. Columns: {', '.join(_flat(rows[0]))}."
        raise DataError(msg, where=str(config.data.source), mend=mend)
    if "data.outputs" not in {**given, **values} and not config.data.outputs and _needs_reference(config):
        msg = "no column could be found for the reference answer"
        mend = f"Name it: --output COLUMN. Columns: {', '.join(_flat(rows[0]))}. An evaluator of yours that asks for"
        mend += " no reference_outputs needs none: --evaluator module:function."
        raise DataError(msg, where=str(config.data.source), mend=mend)
    return Guess(values, {key: why for key, why in guess.why.items() if key in values}, guess.unused)


def _beside(guess: Guess, given: Mapping[str, Any]) -> Guess:
    """Of rows that are read by the names of their columns, group and split are all that is left to guess."""
    values = {}
    for key in ("data.group", "data.split"):
        if key in guess.values and key not in given:
            values[key] = guess.values[key]
    return Guess(values, {key: guess.why[key] for key in values})


def _without_group(guess: Guess) -> Guess:
    """The guess without the group, whose values are in several of the data's own splits."""
    values, why = dict(guess.values), dict(guess.why)
    del values["data.group"], why["data.group"]
    return Guess(values, why, guess.unused)


def _needs_reference(config: Config) -> bool:
    """Whether an evaluator asks for reference outputs; those that cannot be made now are taken to ask."""
    settings = settings_from(config)
    try:
        return references_needed(resolve_evaluators(settings.evaluators, import_from=settings.import_from))
    except UsageError:
        return True


def _readable(rows: Sequence[Mapping[str, Any]], config: Config, variables: Sequence[str]) -> bool:
    """Whether the rows can be read with the columns that the settings name."""
    try:
        return not inspect_rows(rows, columns=columns_of(config.data), variables=variables or None).problems
    except DataError:
        return False


def _with_splits(guess: Guess, config: Config) -> Guess:
    """The guess with `data.splits` where the data calls its splits otherwise than we do."""
    if config.data.splits:
        return guess
    column = guess.values.get("data.split", config.data.split)
    usual = usual_names(list(dict.fromkeys(_split_names(config, column))))
    if all(theirs == ours for theirs, ours in usual.items()):
        return guess
    splits = {ours: theirs for theirs, ours in usual.items()}
    why = "guessed: what these names usually mean"
    return Guess({**guess.values, "data.splits": splits}, {**guess.why, "data.splits": why}, guess.unused)


def _split_names(config: Config, column: str | None) -> list[str]:
    """What the splits of the data are called: files of a folder, keys of a JSON object, or what the rows say."""
    path = config.path(config.data.source or "")
    if path.is_dir():
        return [p.stem for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES]
    if path.is_file() and (splits := read_file(path, skip_bad_lines=True).splits):
        return list(splits)
    names: list[str] = []
    for row in _rows(config):
        metadata = row.get("metadata")
        places = (row, metadata) if isinstance(metadata, dict) else (row,)
        for place, key in product(places, _SPLITS if column is None else (column,)):
            if isinstance(place.get(key), str):
                names.append(place[key].strip())
    return names


def _rows(config: Config) -> list[dict[str, Any]]:
    """Rows as they lie in the file, of a folder in its first file; [] for sources that are not files here."""
    path = config.path(config.data.source or "")
    if path.is_dir():
        path = next((p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES), path)
    if not path.is_file():
        return []
    found = read_file(path, skip_bad_lines=True)
    values = [raw.value for raw in found.rows]
    if not values and found.splits:
        values = list(chain.from_iterable(found.splits.values()))
    out: list[dict[str, Any]] = []
    for value in values:
        if isinstance(value, dict):
            out.append(dict(value))
    return out


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose nested fields stand beside the others, by the dotted names that settings use."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and name != "metadata":
            out |= {f"{name}.{inner}": held for inner, held in value.items()}
        else:
            out[name] = value
    return out


def guess_columns(rows: Sequence[Mapping[str, Any]], variables: Sequence[str]) -> Guess:
    """Which columns are the prompt's variables, the reference answer, id and group.

    >>> rows = [{"Mail ID": f"m{i}", "Body": f"A long text about case {i}", "Team": "ab"[i % 2]} for i in range(9)]
    >>> dict(guess_columns(rows, ["email"]).values)
    {'data.inputs': {'email': 'Body'}, 'data.outputs': ['Team'], 'data.id': 'Mail ID'}
    """
    columns = list(dict.fromkeys(chain.from_iterable(rows)))
    split = _split(rows, columns)
    rows = rows[:_SAMPLE]
    left = _without(columns, split, *_SPLITS, "")  # a table with numbered rows has a column without a name
    values: dict[str, Any] = {}
    why: dict[str, str] = {}
    inputs = _inputs(rows, left, variables)
    if inputs:
        values["data.inputs"] = inputs
        why["data.inputs"] = "guessed by name or as the longest text"
        left = _without(left, *inputs.values())
    row_id = _row_id(rows, left)
    answer = _answer(rows, _without(left, row_id))
    if answer is not None:
        values["data.outputs"] = [answer]
        few = "guessed: it has few different values"
        why["data.outputs"] = "guessed by name" if answer in _named_answers([answer]) else few
    if row_id is not None:
        values["data.id"] = row_id
        why["data.id"] = "guessed: every example has another value"
    if split is not None:
        values["data.split"] = split
        why["data.split"] = "guessed: its values are names of splits"
    rest = _without(left, answer, row_id)
    group = _group(rows, rest)
    if group is not None:
        values["data.group"] = group
        why["data.group"] = "guessed by name: examples that share it stay in one split and count once"
    return Guess(values, why, tuple(_without(rest, group)))


def _without(names: Sequence[str], *taken: str | None) -> list[str]:
    return [name for name in names if name not in taken]


def _row_id(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    """The column that tells the rows apart: one named so, else the first of short texts."""
    short = None
    for name in columns:
        texts = _texts(rows, name)
        if len(texts) < len(rows) or len(set(texts)) < len(rows) or _plain(name) in _ANSWERS:
            continue
        if _words(name) & {*_IDS}:
            return name
        if short is None and _is_short(rows, name):
            short = name
    return short


def _split(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    """The column whose values are names of splits; None where there is one that is read without being named."""
    if set(columns) & {*_SPLITS}:
        return None
    for name in columns:
        kinds = set(_texts(rows, name))
        if len(kinds) > 1 and all(map(is_split_name, kinds)):
            return name
    return None


def _is_id(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Whether a column is named as an id and tells the rows apart by short texts."""
    texts = _texts(rows, column)
    return bool(_words(column) & {*_IDS}) and len(set(texts)) == len(texts) and _is_short(rows, column)


def _group(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    """The first column that is named as one of groups and has a value on several rows; None where some have none."""
    for name in columns:
        texts = _texts(rows, name)
        if _words(name) & {*_GROUPS} and len(set(texts)) < len(rows):
            return name if len(texts) == len(rows) else None
    return None


def _inputs(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], variables: Sequence[str]) -> dict[str, str]:
    """Variable -> column, by name; the longest text for the one variable that is left.

    An id is an input only where the variable has its whole name: {ticket} is not "Ticket ID".
    """
    by_name = {_plain(name): name for name in columns}
    found: dict[str, str] = {}
    for variable in variables:
        if _plain(variable) in by_name:
            found[variable] = by_name[_plain(variable)]
    ids = [name for name in columns if _is_id(rows, name)]
    for variable in variables:
        free = _without(columns, *found.values(), *ids)
        offered = [plain for plain, name in by_name.items() if name in free]
        close = get_close_matches(_plain(variable), offered, 1, 0.75)
        if variable not in found and close:
            found[variable] = by_name[close[0]]
    for variable in _without(variables, *found):
        named = [name for name in _without(columns, *found.values(), *ids) if _words(variable) < _words(name)]
        if len(named) == 1:
            found[variable] = named[0]
    left = _without(variables, *found)
    free = _without(columns, *found.values(), *ids)
    free = _without(free, *_named_answers(free)[:1])
    if len(left) == 1 and free:
        found[left[0]] = max(free, key=lambda name: sum(map(len, _texts(rows, name))))
    return found


def _named_answers(columns: Sequence[str]) -> list[str]:
    """Columns that are named as the answer, the likeliest first; then those with such a word in their names."""
    named = []
    for wanted in _ANSWERS:
        for name in columns:
            if _plain(name) == wanted:
                named.append(name)
    for name in columns:
        if name not in named and _words(name) & {*_ANSWERS} and not _words(name) & {*_IDS}:
            named.append(name)
    return named


def _answer(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    named = _named_answers(columns)
    few = []
    for name in columns:
        kinds = len(set(_texts(rows, name)))
        if 1 < kinds <= min(_KINDS, len(rows) // 2) and _is_short(rows, name) and not _words(name) & {*_GROUPS}:
            few.append(name)
    return next(iter([*named, *few]), None)


def _texts(rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    found: list[str] = []
    for row in rows:
        if row.get(column) not in (None, ""):
            found.append(str(row[column]))
    return found


def _is_short(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    texts = _texts(rows, column)
    return bool(texts) and sum(map(len, texts)) / len(texts) <= 40


def _plain(name: str) -> str:
    return "_".join(sorted_words) if (sorted_words := _split_words(name)) else name


def _words(name: str) -> set[str]:
    return set(_split_words(name))


def _split_words(name: str) -> list[str]:
    letters = []
    before = ""
    for c in name:
        if c.isupper() and before.islower():
            letters.append(" ")
        letters.append(c if c.isalnum() else " ")
        before = c
    return "".join(letters).casefold().split()


def _proposal(
    config: Config, given: Mapping[str, Any], metrics: Sequence[str], models: Sequence[Any]
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Sections with what was given, what was guessed, and a usable start for the rest; and what to say about it."""
    out: dict[str, dict[str, Any]] = {
        "task": {"freeze": []},
        "data": {},
        "evaluate": {"evaluators": list(config.evaluate.evaluators) or ["exact_match"]},
        "gate": _gate(config, metrics),
        "optimize": {"method": config.optimize.method, **_optimizer(config, models), "seed": config.optimize.seed},
        "budget": {},
        "output": {"prompts": "prompts/", "apply": config.output.apply},
    }
    if isinstance(config.evaluate.evaluators, dict):
        out["evaluate"]["evaluators"] = dict(config.evaluate.evaluators)
    if config.task.prompt is not None:
        out["task"]["model"] = config.task.model
    for key in ("inputs", "outputs", "id", "group", "split", "splits"):
        if value := getattr(config.data, key):
            out["data"][key] = list(value) if isinstance(value, tuple) else value
    for dotted in given:
        section, _, key = dotted.partition(".")
        value = getattr(getattr(config, section), key)
        is_path = isinstance(value, str) and Path(value).is_absolute()
        out.setdefault(section, {})[key] = given[dotted] if is_path else value
    notes: tuple[str, ...] = ()
    used = [
        *models,
        _Named(out["optimize"]["model"], out["optimize"].get("base_url") or _usual(out["optimize"]["model"])),
    ]
    out["prices"] = {model_name(model): {"input": 0.0, "output": 0.0} for model in used if runs_here(model)}
    if "budget.usd" not in given and not config.budget.model_fields_set:
        unpriced = _unpriced(used)
        if unpriced:
            notes = (f"no limit in money: the price of {', '.join(unpriced)} is unknown; see [prices] and [budget]",)
        elif not all(map(_is_free, used)):
            out["budget"]["usd"] = 5.0
    return {section: keys for section, keys in out.items() if keys}, notes


def _gate(config: Config, metrics: Sequence[str]) -> dict[str, Any]:
    """The deciding metric where there are several: with one, `--evaluator` may name another for a run."""
    primary = {"primary": metrics[0]} if len(metrics) > 1 else {}
    return {**primary, "alpha": config.gate.alpha}


def _usual(name: str) -> str | None:
    """The address at which the client of OpenAI looks for a model of this name, where the environment says one."""
    said = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    return said if name.startswith("openai:") else None


@dataclass(frozen=True)
class _Named:
    """A model by its name and address, where none was made."""

    model: str
    base_url: str | None = None


def _optimizer(config: Config, models: Sequence[Any]) -> dict[str, Any]:
    """The optimizer model: as given, the built-in one beside built-in ones, else on the endpoint of the task model."""
    if config.optimize.model is not None:
        address = {} if config.optimize.base_url is None else {"base_url": config.optimize.base_url}
        return {"model": config.optimize.model, **address}
    if models and all(model_name(model).startswith("offline") for model in models):
        return {"model": "offline"}
    own = next(filter(endpoint_of, models), None)
    if own is not None and type(own).__name__ == "ChatOllama":
        return {"model": f"ollama:{model_name(own)}", "base_url": endpoint_of(own)}
    if own is not None:
        return {"model": f"openai:{model_name(own)}", "base_url": endpoint_of(own)}
    return {"model": "openai:gpt-4o"}


def _unpriced(models: Sequence[Any]) -> list[str]:
    """Models whose price is not known: those on an endpoint of one's own, and unknown names."""
    table = PriceTable({})
    elsewhere = bool(os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE"))
    found = set()
    for model in models:
        name, endpoint = model_name(model), endpoint_of(model)
        if _is_free(model):
            continue
        if endpoint or (elsewhere and name.startswith("openai:")) or table.price(name) is None:
            found.add(name)
    return sorted(found)


def _is_free(model: Any) -> bool:
    """Whether a model costs nothing: a built-in one, or one that this machine serves."""
    return model_name(model).startswith("offline") or runs_here(model)


def relative_to(value: str, folder: Path) -> str:
    """A path that was typed in the working folder, as the file in `folder` has to name it; other values unchanged.

    >>> relative_to("openai:gpt-4o", Path("sub"))
    'openai:gpt-4o'
    """
    file, sign, part = value.partition("#")
    return f"{os.path.relpath(file, folder)}{sign}{part}" if Path(file).exists() else value
