"""Models of a configuration: by name, with the endpoint and sampling that it sets.

What a configuration names as its task: a chain in Python code, a prompt file, a LangSmith prompt.

`optimize.from_run`: the edits of an earlier run, read from its journal.

The rows of a recorded run, read again for showing: the journal holds their ids and scores only.

Going on with a run: its own configuration, and a refusal when something that decides it has changed.

The demo as a prepared task: built-in tickets, a long prompt with some wrong rules, offline models.

`prepare(config)`: everything resolved that can be for free, ready to check, optimize or compare.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._data import Columns, examples_of, load_data
from langchain_promptopt._langchain.models import resolve_model
from langchain_promptopt._langsmith.service import LangSmithOptions
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt._runtime.redact import public_url
from langchain_promptopt.config import config_from_dict, with_values
from langchain_promptopt.errors import ConfigError, PromptOptError, ResumeError, UsageError
from langchain_promptopt.evaluators import declare
from langchain_promptopt.gate.openings import FILE_NAME
from langchain_promptopt.offline import factories
from langchain_promptopt.optimizer import Settings
from langchain_promptopt.optimizer.earlier import PastEdit
from langchain_promptopt.optimizer.plan import load_rows
from langchain_promptopt.optimizer.run import run_task
from langchain_promptopt.optimizer.settings import JudgeCost
from langchain_promptopt.recipe import Budget, Gate
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.steps.base import takes_temperature
from langchain_promptopt.store import read_events, visible_events
from langchain_promptopt.store.runs import JOURNAL, find_run, run_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_promptopt.config import Config, OptimizeConfig, TaskConfig
    from langchain_promptopt.config.models import DataConfig
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.pipeline.check import CheckReport
    from langchain_promptopt.pipeline.shards import Shards
    from langchain_promptopt.ports import DataSet, Observer
    from langchain_promptopt.types import Prompt, PromptSet


def optimizer_of(config: Config) -> Any:
    """The optimizer model: as `configured_model`, or a chat model of the user's own code, "module:object".

    Raises ConfigError where the object is no model, or an endpoint is set beside it.
    """
    section = config.optimize
    if section.model is None or not is_own_code(section.model, config.root):
        return configured_model(section, "optimizer")
    where = f"optimize.model = {section.model!r}"
    if section.base_url is not None:
        msg = f"a model made in code has its own endpoint, and base_url is {section.base_url!r}"
        raise ConfigError(msg, where=where, mend="Give the model its base_url where it is made.")
    found = import_object(section.model, config.root, "optimize.model")
    try:
        return _sampled(resolve_model(found, "optimizer"), section)
    except ConfigError as error:
        raise ConfigError(
            error.what, where=where, mend="Name a chat model, or a tuple of openai client and name."
        ) from error


def configured_model(section: TaskConfig | OptimizeConfig, role: str) -> Any:
    """The section's model: its plain name where nothing else is set, else a model with those settings.

    Sampling is sent only where the model takes it; what is sent is part of the model's identity in
    the run's record. Raises ConfigError for an endpoint of a built-in model.
    """
    name = section.model
    if name is None or (section.base_url is None and section.temperature is None and section.max_tokens is None):
        return name
    if name in factories():
        if section.base_url is not None:
            msg = f"the built-in model {name!r} has no endpoint, and base_url is {section.base_url!r}"
            raise ConfigError(msg, where=f"{role} model", mend='Name the model served there, as "openai:name".')
        return name  # a program takes no sampling
    return _sampled(resolve_model(name, role, base_url=section.base_url), section)


def _sampled(model: Any, section: TaskConfig | OptimizeConfig) -> Any:
    """The model with the sampling that the section sets and that it takes."""
    wanted: dict[str, Any] = {}
    if section.temperature is not None and takes_temperature(model):
        wanted["temperature"] = section.temperature
    if section.max_tokens is not None and "max_tokens" in type(model).model_fields:
        wanted["max_tokens"] = section.max_tokens
    return model.model_copy(update=wanted) if wanted else model


def forced_sampling(section: OptimizeConfig, model: Any) -> dict[str, Any]:
    """What goes out with every optimizer call whatever the method says: a temperature that the user has set."""
    if section.temperature is None or isinstance(model, str | None) or not takes_temperature(model):
        return {}
    return {"temperature": section.temperature}


# ------------------------------------------------------------ What a configuration names as its task: a chain in P


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Imports look into `folder` first: chains and evaluators come only from where the user's config is."""
    path = str(folder)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        if path in sys.path:
            sys.path.remove(path)


def import_object(name: str, folder: Path, key: str = "task.chain") -> Any:
    """The object `module:attribute` (dots allowed) that the setting `key` names. Raises ConfigError."""
    module_name, _, attribute = name.partition(":")
    with importing_from(folder):
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            msg = f"cannot import {module_name!r}: {error}"
            raise ConfigError(msg, where=f"{key} = {name!r}", mend=f"Imports start in {folder}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            msg = f"{module_name!r} has no {attribute!r}"
            known = ", ".join(n for n in dir(found) if not n.startswith("_"))
            raise ConfigError(msg, where=f"{key} = {name!r}", mend=f"It has: {known[:300]}.")
        found = getattr(found, part)
    return found


def file_prompt(config: Config, name: str) -> Prompt | None:
    """The prompt in a file named by the config, or None where there is no such file."""
    from langchain_promptopt._files.saved import read_prompt_file

    path = config.path(name)
    return read_prompt_file(path, config.task.template_format) if path.is_file() else None


def is_code(name: str) -> bool:
    """Whether `name` looks like "module:attribute" rather than a file or "owner/prompt:tag".

    >>> is_code("my_app.chain:chain"), is_code("me/triage:staging"), is_code("prompt.txt")
    (True, False, False)
    """
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(p.isidentifier() for p in (*module.split("."), *attribute.split(".")))


def is_own_code(name: str, folder: Path) -> bool:
    """Whether `name` means code and not "provider:model": its module is dotted, or lies in `folder`.

    >>> is_own_code("openai:o3", Path()), is_own_code("my_app.models:editor", Path())
    (False, True)
    """
    module = name.partition(":")[0]
    return is_code(name) and ("." in module or (folder / f"{module}.py").is_file() or (folder / module).is_dir())


def load_task(config: Config, name: str | None = None) -> Any:
    """The chain or prompt template of a config, or of another `name` in its terms.

    Raises ConfigError where nothing is named or found, PromptError where a prompt is unusable.
    """
    wanted = name or config.task.chain or config.task.prompt
    if wanted is None:
        msg = "no task is named"
        raise ConfigError(msg, where=config.where, mend="Set task.chain or task.prompt.")
    if (prompt := file_prompt(config, wanted)) is not None:
        return template_of(prompt)
    if is_code(wanted):
        return import_object(wanted, config.root)
    if "/" in wanted and Path(wanted).suffix.lower() not in {".txt", ".yaml", ".yml", ".json", ".md"}:
        from langchain_promptopt._langsmith.hub import pull_template

        return pull_template(wanted)
    msg = f"there is no file {wanted!r}"
    raise ConfigError(msg, where=str(config.path(wanted)), mend="Name a prompt file, module:chain, or owner/name:tag.")


def template_of(prompt: Prompt) -> Any:
    """A live template of a prompt read from a file. Raises PromptError for marks that cannot be meant."""
    from langchain_promptopt._langchain.templates import build_template

    return build_template(prompt)


# ------------------------------------------------------------ `optimize.from_run`: the edits of an earlier run, re


def past_edits(config: Config) -> tuple[PastEdit, ...]:
    """The edits of the run that `optimize.from_run` names; () where none is named.

    "latest" is the latest run that came to an end: a run that was killed and is started again must
    find the same edits as before. Raises UsageError where there is no such run.
    """
    name = config.optimize.from_run
    if name is None:
        return ()
    record = _record(_latest_ended(config.runs_dir) if name == "latest" else find_run(config.runs_dir, name))
    texts = {(p["name"], i): m["template"] for p in record.started["prompts"] for i, m in enumerate(p["messages"])}
    return tuple(PastEdit(e.as_edit(), texts[e.prompt, e.message]) for e in record.edits)


def _latest_ended(base: Path) -> Path:
    for folder in run_folders(base):
        if _record(folder).finished is not None:
            return folder
    msg = "no run has come to an end yet"
    raise UsageError(msg, where=str(base), mend="Leave optimize.from_run out for the first run.")


def _record(folder: Path) -> RunRecord:
    return RunRecord.from_events(list(visible_events(folder / JOURNAL)))


# ------------------------------------------------------------ The rows of a recorded run, read again for showing:

_ASK = "Name them with --data to see their texts."


def recalled(config: Config, started: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """The rows of a run by example id, or None and why there are none.

    Only what lies here is read, never a service, and only rows that are exactly those of the run are shown.

    Args:
        config: Says where relative paths start.
        started: The run's `run.started`.
    """
    wanted = started["data"].get("as_of")
    recorded = started.get("config", {}).get("data") or {}
    try:
        if recorded.get("source"):
            found = _local(config_from_dict({"data": recorded}, root=config.root))
        else:
            found = _demo() if started["data"].get("source") == "rows in memory" else None
    except PromptOptError as error:
        return None, f"the rows cannot be read again: {error} {_ASK}"
    if found is None:
        return None, f"the record holds no row texts ({started['data'].get('source', 'unknown source')}). {_ASK}"
    if found.as_of != wanted:
        where = recorded.get("source") or "in memory"
        return None, f"the rows ({where}) are not those of the run any more, so their texts are left out. {_ASK}"
    return examples_of(found), ""


def _local(config: Config) -> DataSet | None:
    data = config.data
    source = config.path(data.source or "")
    if not source.exists():
        return None

    return load_data(
        str(source),
        columns=columns_of(data),
        splits={ours: theirs for ours, theirs in data.splits.items()} or None,
        drop_leaks=data.drop_leaks,
        skip_bad_lines=data.skip_bad_lines,
    )


def _demo() -> DataSet:
    from langchain_promptopt.offline import demo_rows

    return load_data(demo_rows())


# ------------------------------------------------------------ Going on with a run: its own configuration, and a re

_FREE = {"budget", "output", "langsmith", "prices", "limits"}
"""Sections that decide nothing about the result."""
_FREE_KEYS = {("optimize", "max_concurrency"), ("optimize", "requests_per_second"), ("optimize", "max_failure_rate")}
_FREE_KEYS |= {("optimize", "cache"), ("evaluate", "judge_cost")}
_FLAGS = "flags"
"""Stands beside the sections of a recorded configuration: what flags had set, by dotted key."""


def recorded(config: Config) -> dict[str, Any]:
    """A configuration as the journal keeps it: no password in an address, and what came by flags told apart."""
    sections: dict[str, Any] = _public(config.model_dump(mode="json"))
    values = {key: sections[section][name] for key in config.flags for section, _, name in [key.partition(".")]}
    return sections | ({_FLAGS: values} if values else {})


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    return public_url(value) if isinstance(value, str) else value


def started(folder: Path) -> Mapping[str, Any]:
    """Data of the run's `run.started`. Raises ResumeError where the journal does not begin with it."""
    first = next(islice(read_events(folder / "journal.jsonl"), 1), None)
    if first is None or first["type"] != "run.started":
        msg = "the journal does not begin with run.started"
        raise ResumeError(msg, where=str(folder), mend="Nothing was paid for; start the run again.")
    data: Mapping[str, Any] = first["data"]
    return data


def recorded_config(config: Config, folder: Path) -> Config:
    """The present configuration with the flags the run was started with, where they are not given anew.

    Where that names no task the run was started from a configuration without a file: then it is the
    recorded one, under the budget and output of the present one.
    """
    known = dict(started(folder).get("config") or {})
    flags = {key: value for key, value in known.pop(_FLAGS, {}).items() if key not in config.flags}
    flags.pop("output.runs_dir", None)
    config = with_values(config, flags) if flags else config
    if config.task.chain is not None or config.task.prompt is not None:
        return config
    present = config.model_dump(mode="json")
    merged = known | {name: present[name] for name in ("budget", "output")}
    return config_from_dict(merged, root=config.root)


def recorded_version(config: Config, folder: Path) -> str | None:
    """The dataset version a run is bound to: its own, where LangSmith gave one, else what the configuration says."""
    version = str((started(folder).get("data") or {}).get("as_of") or "")
    return config.data.as_of if version.startswith("sha256:") or not version else version


def refuse_changes(config: Config, folder: Path) -> None:
    """Raise ResumeError with the difference when a setting that decides the result has changed."""
    known = started(folder).get("config") or {}
    present = recorded(config)
    changed = [
        f"{section}.{key}: {value!r} became {present.get(section, {}).get(key)!r}"
        for section, values in known.items()
        if section not in {*_FREE, _FLAGS} and isinstance(values, Mapping)
        for key, value in values.items()
        if (section, key) not in _FREE_KEYS and present.get(section, {}).get(key) != value
    ]
    if changed:
        msg = f"the configuration has changed: {'; '.join(changed)}"
        mend = "Set it back to resume this run, or start a new one with `promptopt optimize`."
        raise ResumeError(msg, where=f"run {folder.name}", mend=mend)


# ------------------------------------------------------------ The demo as a prepared task: built-in tickets, a lon

FROZEN = ("## Refund policy",)
METHOD = "lpo-pe2"
"""Used unless another is asked for: few and small edits, which is what a newcomer should see first."""


def demo_task(config: Config) -> Prepared:
    """The main job on built-in data; `config` gives seed, method and where records go."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

    prompt = ChatPromptTemplate.from_template(demo_prompt())
    settings = replace(
        settings_from(config),
        data=demo_rows(),
        evaluators=["exact_match"],
        optimizer_model="offline",
        task_model=None,
        freeze=FROZEN,
        method=config.optimize.method if "method" in config.optimize.model_fields_set else METHOD,
        apply="if_improved",
    )
    return Prepared(config, prompt | offline_model("task") | StrOutputParser(), settings)


# ------------------------------------------------------------ `prepare(config)`: everything resolved that can be f


@dataclass(frozen=True)
class Survey:
    """What `init` shows: the prompts a chain renders and the rows there are."""

    prompts: PromptSet
    data: DataSet


@dataclass
class Prepared:
    """A configuration with its task loaded. `resume` is the folder of the run to go on with."""

    config: Config
    task: Any
    settings: Settings
    resume: Path | None = None
    record: RunRecord | None = None
    """What was reported, once something ran."""

    def check(self, pilot: int = 0) -> CheckReport:
        """All that is free, and with `pilot` a little that is not."""
        from langchain_promptopt.pipeline.check import check

        return run_sync(lambda: check(self, pilot))

    def optimize(self, observers: Sequence[Observer] = (), *, shards: Shards | None = None) -> Result:
        """Run (or replay, or resume) and write what was proven where the config says."""
        from langchain_promptopt.pipeline.step import deliver_result

        watching = (*observers, shards) if shards is not None else tuple(observers)
        settings = replace(self.settings, observers=watching, executor=shards or self.settings.executor)
        with importing_from(self.config.root):
            result = run_sync(lambda: run_task(self.task, settings))
        self.record = deliver_result(self.config, result, self.examples())
        return result

    def compare(self, old: str, new: str, *, observers: Sequence[Observer] = ()) -> Result:
        """The gate on two tasks named in the config's terms, and its report where the config says."""
        from langchain_promptopt.optimizer.comparison import acompare
        from langchain_promptopt.pipeline.step import deliver_report

        settings = replace(self.settings, observers=tuple(observers), apply="never")
        with importing_from(self.config.root):
            result = run_sync(lambda: acompare(load_task(self.config, old), load_task(self.config, new), settings))
        self.record = deliver_report(self.config, result, self.examples())
        return result

    def examples(self) -> dict[str, dict[str, Any]]:
        """Inputs and expected outputs by example id, for showing rows beside verdicts."""
        return examples_of(data_of(self.settings))


def prepare(config: Config, *, resume: Path | None = None) -> Prepared:
    """The configuration as a task and settings; nothing is paid for.

    With `resume`, settings that were not given again are those the run was started with; changed
    ones are refused with the difference (ResumeError).
    """
    if resume is not None:
        config = recorded_config(config, resume)
        refuse_changes(config, resume)
    settings = settings_from(config)
    if resume is not None:
        settings = replace(settings, expected_run=resume.name, runs_dir=resume.parent)
        settings = replace(settings, langsmith=replace(settings.langsmith, as_of=recorded_version(config, resume)))
    return Prepared(config, load_task(config), settings, resume)


def survey(config: Config) -> Survey:
    """The prompts that the chain renders on the first rows, and the rows."""
    from langchain_promptopt.optimizer.plan import make_plan

    async def look() -> Survey:
        plan = await make_plan(load_task(config), settings_from(config), searches=False)
        try:
            return Survey(plan.baseline.prompts, plan.data)
        finally:
            plan.close()

    with importing_from(config.root):
        return run_sync(look)


def data_of(settings: Settings) -> DataSet:
    """The rows of settings, loaded again."""
    return load_rows(settings, write=False)


def columns_of(data: DataConfig) -> Columns:
    """What `[data]` says about columns."""
    return Columns(
        inputs=dict(data.inputs) or None,
        outputs=list(data.outputs) or None,
        id=data.id,
        group=data.group,
        note=data.note,
    )


def settings_from(config: Config) -> Settings:
    """A configuration as the optimizer's own settings."""
    data, opt, out = config.data, config.optimize, config.output
    optimizer = optimizer_of(config)
    return Settings(
        data=None if data.source is None else config.located(data.source),
        columns=columns_of(data),
        splits={ours: theirs for ours, theirs in data.splits.items()} or None,
        drop_leaks=data.drop_leaks,
        skip_bad_lines=data.skip_bad_lines,
        evaluators=_evaluators(config),
        summary_evaluators=config.evaluate.summary,
        import_from=config.root,
        optimizer_model=optimizer,
        optimizer_kwargs=forced_sampling(opt, optimizer),
        requests_per_second=opt.requests_per_second,
        judges={name: JudgeCost(**cost.model_dump()) for name, cost in config.evaluate.judge_cost.items()},
        cache=None if opt.cache is None else config.path(opt.cache),
        start_edits=past_edits(config),
        task_model=configured_model(config.task, "task"),
        method=opt.method,
        freeze=config.task.freeze,
        gate=_gate(config),
        budget=Budget(**config.budget.model_dump()),
        apply="never" if config.task.chain is None else out.apply,
        seed=opt.seed,
        max_concurrency=opt.max_concurrency,
        max_failure_rate=opt.max_failure_rate,
        langsmith=LangSmithOptions(
            as_of=data.as_of,
            metadata=dict(config.langsmith.metadata),
            queues=config.langsmith.queues,
            write_splits=config.langsmith.write_splits,
            experiments=config.langsmith.experiments,
            project=config.langsmith.project,
        ),
        trace_file=None if out.trace is None else config.path(out.trace),
        runs_dir=config.runs_dir,
        openings=config.root / FILE_NAME,
        prices={name: Price(p.input, p.output, p.cache_read, p.cache_write) for name, p in config.prices.items()},
        limits={name: RateLimit(**limit.model_dump()) for name, limit in config.limits.items()},
        config_json=recorded(config),
    )


def _gate(config: Config) -> Gate:
    gate = config.gate
    return Gate(
        primary=gate.primary,
        weights=dict(config.evaluate.weights) if gate.primary is None else {},
        guards=dict(gate.guards),
        alpha=gate.alpha,
        min_improvement=gate.min_improvement,
        repeats=gate.repeats,
        worth=gate.worth,
    )


def _evaluators(config: Config) -> Any:
    found = config.evaluate.evaluators or ("exact_match",)
    if isinstance(found, dict):
        return {name: _declared(config, name, spec) for name, spec in found.items()}
    return [_declared(config, spec.rpartition(":")[2], spec) for spec in found]


def _declared(config: Config, key: str | None, spec: Any) -> Any:
    """An evaluator with the range and direction the config gives it."""
    settings = config.evaluate
    low_is_good = key in settings.lower_is_better
    worth = settings.values.get(key or "")
    if key not in settings.ranges and not low_is_good and not worth:
        return spec
    scale = settings.ranges.get(key or "")
    return declare(spec, range=scale, direction="min" if low_is_good else "max", values=worth)
