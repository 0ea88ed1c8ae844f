"""From a configuration to a run that can start: its models, its task, its rows, and what it writes at the end.

Nothing here is paid for. `prepare(config)` gives a `Prepared`, whose `optimize` and `compare` do the work;
`pipeline.check` looks at one without spending.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt._data import examples_of
from langchain_promptopt._imports import import_object, importing_from
from langchain_promptopt._langchain.models import built_without_key, resolve_model
from langchain_promptopt._langsmith.service import LangSmithOptions
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt.config import TaskConfig
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.evaluators import declare, resolve_evaluators
from langchain_promptopt.gate.openings import FILE_NAME
from langchain_promptopt.offline import factories
from langchain_promptopt.optimizer import Settings
from langchain_promptopt.optimizer.arguments import JudgeCost
from langchain_promptopt.optimizer.plan import load_rows, redacted, use_of, with_stored
from langchain_promptopt.optimizer.remote import Workers
from langchain_promptopt.optimizer.run import run_task
from langchain_promptopt.pipeline.delivering import deliver_report, deliver_result
from langchain_promptopt.pipeline.recorded import (
    columns_of,
    journaled_config,
    past_edits,
    recorded_config,
    recorded_version,
    redact_of,
)
from langchain_promptopt.ports import Executor, Observer
from langchain_promptopt.recipe import Budget, Demos, Gate
from langchain_promptopt.steps.base import takes_temperature
from langchain_promptopt.steps.metaprompts import MetaPrompts
from langchain_promptopt.types import RowUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._files.layouts import PromptFile
    from langchain_promptopt.config import Config, OptimizeConfig
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.report.record import RunRecord

NEEDED = ("task", "data.source", "evaluate.evaluators", "optimize.model")
"""Settings without which no optimization can start."""


class Elsewhere(Executor, Observer, Protocol):
    """An executor that sends cells to other processes, and learns from the run's events which run they are of."""


@dataclass
class Prepared:
    """A configuration with its task loaded. `resume` is the folder of the run to go on with."""

    config: Config
    task: Any
    settings: Settings
    resume: Path | None = None
    record: RunRecord | None = None
    """What was reported, once something ran."""

    def optimize(self, observers: Sequence[Observer] = (), *, shards: Elsewhere | Workers | None = None) -> Result:
        """Run (or replay, or resume) and write what was proven where the config says."""
        watching = tuple(observers)
        if shards is not None and not isinstance(shards, Workers):
            watching = (*watching, shards)
        settings = replace(self.settings, observers=watching, executor=shards or self.settings.executor)
        with importing_from(code_folder(self.config)):
            result = run_sync(lambda: run_task(self.task, settings))
        self.record = deliver_result(self.config, result, _rows_of(result))
        return result

    def compare(self, old: str, new: str, *, observers: Sequence[Observer] = ()) -> Result:
        """The gate on two tasks, and its report where the config says.

        Args:
            old: What runs now: a prompt file, "owner/prompt:tag", or "module:chain".
            new: What might replace it, in the same terms.
            observers: Watchers of the events.

        Returns:
            A result whose `test` is the gate's table; nothing is applied.

        Raises:
            UsageError: A task cannot be loaded, or both sides are the same.
        """
        from langchain_promptopt.optimizer.comparison import acompare

        settings = replace(self.settings, observers=tuple(observers), apply="never")
        with importing_from(code_folder(self.config, old, new)):
            before, after = load_task(self.config, old), load_task(self.config, new)
            result = run_sync(lambda: acompare(before.task, after.task, settings))
        self.record = deliver_report(self.config, result, _rows_of(result))
        return result

    def examples(self) -> dict[str, dict[str, Any]]:
        """Inputs and expected outputs by example id, for showing rows beside verdicts."""
        settings = self.settings
        evaluators = resolve_evaluators(with_stored(settings.evaluators, settings), import_from=settings.import_from)
        return examples_of(redacted(data_of(settings, use_of([self.task], evaluators)), settings.redact))


def _rows_of(result: Result) -> dict[str, dict[str, Any]]:
    return {} if result.data is None else examples_of(result.data)


def prepare(config: Config, *, resume: Path | None = None) -> Prepared:
    """The configuration as a task and settings; nothing is paid for.

    With `resume`, settings that were not given again are those the run was started with. The plan
    refuses changed ones where they decide the result.
    """
    if resume is not None:
        config = recorded_config(config, resume)
    settings = settings_from(config)
    if resume is not None:
        settings = replace(settings, expected_run=resume.name, runs_dir=resume.parent)
        settings = replace(settings, langsmith=replace(settings.langsmith, as_of=recorded_version(config, resume)))
    found = load_task(config)
    settings = replace(settings, notes=found.notes, apply=settings.apply if found.live else "never")
    return Prepared(config, found.task, settings, resume)


def start(config: Config, *, resume: Path | None = None) -> Prepared:
    """The run of a configuration, ready to go: what `promptopt optimize` and `run_step` share."""
    if resume is None:
        config.require(*NEEDED)
    return prepare(config, resume=resume)


@dataclass(frozen=True)
class Loaded:
    """A task that a configuration names. `live` objects are the user's own, into which a winner may be written."""

    task: Any
    notes: tuple[str, ...] = ()
    live: bool = True


def load_task(config: Config, name: str | None = None) -> Loaded:
    """The chain or prompt template of a config, or of another `name` in its terms.

    Raises ConfigError where nothing is named or found, PromptError where a prompt is unusable.
    """
    from langchain_core.runnables import Runnable

    from langchain_promptopt._files.layouts import prompt_in_code, read_prompt_file

    wanted = name or config.task.chain or config.task.prompt
    if wanted is None:
        msg = "no task is named"
        raise ConfigError(msg, where=config.where, mend="Set task.chain or task.prompt.")
    if (file := config.prompt_file(wanted)) is not None:
        return _of_file(read_prompt_file(file[0], config.task.template_format, file[1]))
    if os.path.isdir(folder := config.root / wanted):
        held = sorted(path.name for path in folder.iterdir() if path.is_file())
        msg = f"{wanted!r} is a folder"
        raise ConfigError(msg, mend=f"Name one file: {', '.join(held[:5]) or 'it holds none'}.")
    if names_code(wanted):
        found = built_without_key(lambda: import_object(wanted, config.root, "task.chain"))
        if isinstance(found, str | list):
            return _of_file(prompt_in_code(found, wanted))
        if isinstance(found, Runnable) or callable(found):
            return Loaded(found)
        msg = f"{wanted!r} is of type {type(found).__name__}, which is no chain"
        mend = "Name a Runnable, a prompt template, or a function whose prompts are tunable(...)."
        raise ConfigError(msg, where="task.chain", mend=mend)
    if "/" in wanted and not Path(wanted.partition("#")[0]).suffix:
        from langchain_promptopt._langsmith.hub import pull_template

        return Loaded(pull_template(wanted), live=False)
    msg = f"there is no file {wanted!r}"
    raise ConfigError(msg, where=str(config.path(wanted)), mend="Name a prompt file, module:chain, or owner/name:tag.")


def _of_file(file: PromptFile) -> Loaded:
    """A live template of a prompt that was read. Raises PromptError for marks that cannot be meant."""
    from langchain_promptopt._langchain.conversion import build_template

    template = build_template(file.prompt)
    return Loaded(template.partial(**file.values) if file.values else template, file.notes, live=False)


def names_code(name: str) -> bool:
    """Whether `name` looks like "module:attribute" rather than a file or "owner/prompt:tag".

    >>> names_code("my_app.chain:chain"), names_code("./app/flow.py:graph"), names_code("me/triage:staging")
    (True, True, False)
    """
    module, colon, attribute = name.rpartition(":")
    is_module = module.endswith(".py") or _is_dotted_name(module)
    return bool(colon) and is_module and _is_dotted_name(attribute)


def _is_dotted_name(text: str) -> bool:
    return all(map(str.isidentifier, text.split(".")))


def code_folder(config: Config, *tasks: str) -> Path | None:
    """Where imports may look besides what is installed: the config's folder, if a setting names code in it.

    Args:
        config: Its chain, optimizer model and evaluators are looked at.
        tasks: Further tasks by name, as `compare` takes them.
    """
    evaluators = config.evaluate.evaluators
    specs = [*(evaluators.values() if isinstance(evaluators, dict) else evaluators), *config.evaluate.summary]
    named = any(map(names_code, (*specs, *tasks)))
    model = config.optimize.model
    own_model = model is not None and is_own_code(model, config.root)
    own = own_model or config.optimize.redact is not None
    return config.root if config.task.chain is not None or named or own else None


_PROVIDERS = frozenset({"openai", "azure_openai", "anthropic", "google_genai", "google_vertexai", "bedrock", "ollama"})
_PROVIDERS |= {"mistralai", "groq", "cohere", "together", "fireworks", "huggingface", "deepseek", "xai", "perplexity"}


def is_own_code(name: str, folder: Path) -> bool:
    """Whether `name` means code and not "provider:model": its module is dotted, or lies in `folder`.

    >>> is_own_code("openai:o3", Path()), is_own_code("my_app.models:editor", Path())
    (False, True)
    """
    module = name.rpartition(":")[0]
    if not names_code(name) or module in _PROVIDERS:
        return False
    return "." in module or (folder / f"{module}.py").is_file() or (folder / module).is_dir()


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
    if name is None or (section.base_url is None and section.temperature is None and _longest_reply(section) is None):
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
    if _longest_reply(section) is not None and "max_tokens" in type(model).model_fields:
        wanted["max_tokens"] = _longest_reply(section)
    return model.model_copy(update=wanted) if wanted else model


def _longest_reply(section: TaskConfig | OptimizeConfig) -> int | None:
    """Tokens of the longest reply; `[optimize] max_tokens` is of a prompt."""
    return section.max_tokens if isinstance(section, TaskConfig) else section.max_reply_tokens


def forced_sampling(section: OptimizeConfig, model: Any) -> dict[str, Any]:
    """What goes out with every optimizer call whatever the method says: a temperature that the user has set."""
    if section.temperature is None or isinstance(model, str | None) or not takes_temperature(model):
        return {}
    return {"temperature": section.temperature}


def data_of(settings: Settings, use: RowUse = RowUse()) -> DataSet:  # noqa: B008 - frozen
    """The rows of settings, loaded again."""
    return load_rows(settings, use, write=False)


def settings_from(config: Config) -> Settings:
    """A configuration as the optimizer's own settings."""
    data, opt, out, optimizer = config.data, config.optimize, config.output, optimizer_of(config)
    judges = {name: JudgeCost(**cost.model_dump()) for name, cost in config.evaluate.judge_cost.items()}
    prices = {name: Price(p.input, p.output, p.cache_read, p.cache_write) for name, p in config.prices.items()}
    limits = {name: RateLimit(**limit.model_dump()) for name, limit in config.limits.items()}
    return Settings(
        data=None if data.source is None else config.located(data.source),
        columns=columns_of(data),
        splits={ours: theirs for ours, theirs in data.splits.items()} or None,
        drop_leaks=data.drop_leaks,
        skip_bad_lines=data.skip_bad_lines,
        evaluators=_evaluators(config),
        summary_evaluators=config.evaluate.summary,
        import_from=code_folder(config),
        optimizer_model=optimizer,
        optimizer_kwargs=forced_sampling(opt, optimizer),
        requests_per_second=opt.requests_per_second,
        judges=judges,
        cache=None if opt.cache is None else config.path(opt.cache),
        start_edits=past_edits(config),
        task_model=configured_model(config.task, "task"),
        method=opt.method,
        freeze=config.task.freeze,
        tune=config.task.tune or None,
        gate=_gate(config),
        budget=Budget(**config.budget.model_dump()),
        apply="never" if config.task.chain is None else out.apply,
        seed=opt.seed,
        config=opt.config,
        max_concurrency=opt.max_concurrency,
        executor=opt.executor,
        max_failure_rate=opt.max_failure_rate,
        max_edits=opt.max_edits,
        max_tokens=opt.max_tokens,
        demos=Demos.of(opt.demos if opt.demos is None or isinstance(opt.demos, str) else opt.demos.model_dump()),
        must_pass=opt.must_pass,
        **_task_models(opt),
        langsmith=_langsmith(config),
        trace_file=None if out.trace is None else config.path(out.trace),
        runs_dir=config.runs_dir,
        openings=config.root / FILE_NAME,
        prices=prices,
        limits=limits,
        config_json=journaled_config(config),
        ask_first=True,
        constant_prompt=config.task.constant_prompt,
        redact=redact_of(config),
        metaprompts=_metaprompts(config),
    )


def _task_models(opt: OptimizeConfig) -> dict[str, Any]:
    """What is said of task models."""
    return {"task_models": dict(opt.task_models), "over": opt.over, "swap": opt.swap or None}


def _langsmith(config: Config) -> LangSmithOptions:
    data = config.data
    return LangSmithOptions(
        as_of=data.as_of,
        metadata=dict(config.langsmith.metadata),
        queues=config.langsmith.queues,
        write_splits=config.langsmith.write_splits,
        experiments=config.langsmith.experiments,
        project=config.langsmith.project,
        window=data.window,
        filter=data.filter,
        sample=data.sample,
        limit=data.limit,
        reference=data.reference,
        issues=config.langsmith.issues,
        insights=config.langsmith.insights,
    )


def _metaprompts(config: Config) -> MetaPrompts:
    """`[optimize.metaprompts]`; a value that ends in .txt names a file beside the settings."""
    given: dict[str, str | Path] = {}
    for name, text in config.optimize.metaprompts.items():
        is_file = text.endswith(".txt") and "\n" not in text
        given[name] = Path(config.path(text)) if is_file else text
    return MetaPrompts.of(given)


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
        margin=gate.margin,
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
