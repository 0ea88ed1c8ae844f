"""`prepare(config)`: everything resolved that can be for free, ready to check, optimize or compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._data import Columns, examples_of
from langchain_promptopt._langsmith.options import LangSmithOptions
from langchain_promptopt._runtime.bridge import run_sync
from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt.evaluators import declare
from langchain_promptopt.gate.openings import FILE_NAME
from langchain_promptopt.optimizer import Settings
from langchain_promptopt.optimizer.judging import JudgeCost
from langchain_promptopt.optimizer.plan import load_rows
from langchain_promptopt.optimizer.run import run_task
from langchain_promptopt.pipeline.earlier import past_edits
from langchain_promptopt.pipeline.models import configured_model, forced_sampling, optimizer_of
from langchain_promptopt.pipeline.resuming import recorded, recorded_config, recorded_version, refuse_changes
from langchain_promptopt.pipeline.tasks import importing_from, load_task
from langchain_promptopt.recipe import Budget, Gate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from langchain_promptopt.config import Config
    from langchain_promptopt.config.models import DataConfig
    from langchain_promptopt.optimizer import Result
    from langchain_promptopt.pipeline.check import CheckReport
    from langchain_promptopt.pipeline.shards import Shards
    from langchain_promptopt.ports import DataSet, Observer
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.types import PromptSet


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
        from langchain_promptopt.comparing import acompare
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
