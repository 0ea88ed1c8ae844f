"""From a plan to a result: replay a finished run, or run it to its end, under its tracers.

After the decision the winner is applied, summary evaluators are asked, and experiments are published, as
the settings say. None of this changes the verdict.

`result.select([1, 3])` judges some of a run's edits. The run goes on for this: its budget and ledger, its
journal, and the rows it has evaluated already. Its test rows are never opened for a part of the edits.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import merge_configs
from langchain_core.tracers.base import BaseTracer

from langchain_promptopt._collections import ids_of
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt._langsmith.experiments import publish, winners
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt._langsmith.traces import TraceFile, tracing
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.ledger import Spending
from langchain_promptopt._runtime.stopping import Cancel, cancel_on_signals, grace
from langchain_promptopt.errors import BudgetSpent, ConfigError, ConflictError, Interrupted, PromptOptError, ResumeError
from langchain_promptopt.evaluators import Call, EvaluatorFailed
from langchain_promptopt.events import Applied, EventTable, Proposed, RunFinished, RunStarted, ScoredRow, shown_events
from langchain_promptopt.optimizer.answer import error_json
from langchain_promptopt.optimizer.costs import estimate_of, levels_of, probes_of, refuse_unknown_models
from langchain_promptopt.optimizer.plan import DECIDES, Plan, is_uuid, make_plan, reopened, warn_of_earlier_looks
from langchain_promptopt.optimizer.progress import progress_shown, progress_streamed
from langchain_promptopt.optimizer.result import Result, table_of
from langchain_promptopt.optimizer.wiring import Assembled, assemble
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.rows import latest_cells
from langchain_promptopt.report.wording import void_sentence
from langchain_promptopt.store import RunFolder, read_events, visible_events
from langchain_promptopt.types import Candidate, broken, candidates_by_id
from langchain_promptopt.types.edits import final_edits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.engine import Ended
    from langchain_promptopt._runtime.stopping import GracefulStop
    from langchain_promptopt.evaluators import SummaryEvaluator
    from langchain_promptopt.gate import Decision
    from langchain_promptopt.optimizer.answer import Metric
    from langchain_promptopt.optimizer.arguments import Settings
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.wiring import Assembled
    from langchain_promptopt.types import Example
    from langchain_promptopt.types.edits import FinalEdit


async def summarise(plan: Plan, result: Result) -> None:
    """Put on the result what the summary evaluators say of baseline and winner, for each split both were run on.

    One that fails is a warning: it decides nothing.
    """
    if not plan.summaries:
        return
    try:
        told = await summaries_of(
            plan.summaries, list(result.events()), rows_by_id(plan), (result.baseline.id, result.best.id)
        )
    except EvaluatorFailed as error:
        result.warnings += (str(error),)
        return
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for candidate, entries in told.items():
        for e in entries:
            entry = found.setdefault((e["metric"], e["split"]), {"metric": e["metric"], "split": e["split"]})
            for side, which in (("baseline", result.baseline.id), ("best", result.best.id)):
                if candidate == which:
                    entry |= {side: e["value"], "n": e["n"]}
    result.summary = [entry for entry in found.values() if entry.keys() >= {"baseline", "best"}]


async def summaries_of(
    evaluators: Iterable[SummaryEvaluator],
    events: Sequence[Mapping[str, Any]],
    examples: Mapping[str, Example],
    candidates: Iterable[str],
) -> dict[str, list[dict[str, Any]]]:
    """What the summary evaluators say; test rows only where the test came to a verdict.

    Args:
        evaluators: The summary evaluators.
        events: The journal of the run.
        examples: Rows by example id; rows of other ids are left out.
        candidates: Ids of the candidates to be judged.

    Returns:
        By candidate id, one entry for each metric and split: metric, split, value, comment, n.

    Raises:
        EvaluatorFailed: A summary evaluator raised.
    """
    wanted = set(candidates)
    rows: dict[tuple[str, str], list[Call]] = {}
    for row in latest_cells(EventTable(shown_events(events)).all(ScoredRow)):
        if row.candidate_id in wanted and row.example_id in examples:
            rows.setdefault((row.candidate_id, row.split), []).append(_call(row, examples))
    told: dict[str, list[dict[str, Any]]] = {}
    for (candidate, split), calls in sorted(rows.items()):
        for evaluator in evaluators:
            for found in await evaluator.score(calls):
                value = found.score if found.score is not None else found.value
                entry = {"metric": found.key, "split": split, "value": value, "comment": found.comment, "n": len(calls)}
                told.setdefault(candidate, []).append(entry)
    return told


def rows_by_id(plan: Plan) -> dict[str, Example]:
    """All rows of a plan by id, as they may be kept: answers beside them come from the journal."""
    found: dict[str, Example] = {}
    for rows in plan.shown_data.splits.values():
        for e in rows:
            found[e.id] = e
    return found


def _call(row: ScoredRow, examples: Mapping[str, Example]) -> Call:
    call = Call.of(examples[row.example_id], row.output)
    if row.failure is not None:
        call.run.error = f"{row.failure.kind}: {row.failure.message}"
    return call


async def publish_experiments(plan: Plan, result: Result) -> None:
    """Publish what `langsmith.experiments` asks for and put the link on the result.

    A failure is a warning: the verdict is not changed, and the same call again publishes without paying.
    """
    if not plan.settings.langsmith.experiments:
        return
    if not is_remote(plan.data.as_of):
        result.warnings += ("experiments need a LangSmith dataset; these examples come from elsewhere",)
        return
    remote = plan.settings.remote
    service = (remote.service if isinstance(remote, LangSmithRows) else None) or Service()
    events = list(result.events())
    record = RunRecord.from_events(events)
    examples = {i: e for i, e in rows_by_id(plan).items() if is_uuid(i)}
    try:
        told = await summaries_of(plan.summaries, events, examples, ids_of(winners(record, events).values()))
        done = await asyncio.to_thread(publish, service, plan.data.source, record, events, examples, told)
    except PromptOptError as error:
        result.warnings += (f"experiments were not published: {error} Run the same again to publish them.",)
        return
    result.links = {**result.links, "experiments": done.url}


def is_remote(as_of: str | None) -> bool:
    """Whether a data version is one of a LangSmith dataset: a time alone, where ours hold hashes."""
    return as_of is not None and "sha256:" not in as_of


T = TypeVar("T")
SPOOL = "traces"
"""Folder beside the journal for traces that could not be sent."""


async def traced(
    plan: Plan,
    ready: Assembled,
    config: RunnableConfig,
    work: Callable[[RunnableConfig], Awaitable[T]],
) -> T:
    """Do a run's work under its tracers: LangSmith or OpenTelemetry where that is on, the trace file, the caller's.

    Args:
        plan: Its settings say which traces are written.
        ready: The run; its tracers get the evaluations.
        config: The caller's config.
        work: What is done, given the config with the tracers in it.

    Returns:
        What `work` returned.
    """
    settings = plan.settings
    spool = None if settings.runs_dir is None else RunFolder(settings.runs_dir, plan.run_id).path / SPOOL
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(tracing(settings.langsmith.project, spool, plan.redaction))
        if settings.trace_file is not None:
            written = TraceFile(settings.trace_file, plan.redaction)
            config = merge_configs(config, {"callbacks": [stack.enter_context(written)]})
        stack.enter_context(ready.run.tracers.watching(made.isolate, tracers_of(config)))
        return await work(config)


def tracers_of(config: RunnableConfig) -> list[BaseTracer]:
    """The tracers among a caller's callbacks: each sees evaluations too, as traces of their own.

    Other handlers stay with the run itself: a web page that streams its events has no use for rows.
    """
    given = config.get("callbacks")
    handlers = given.inheritable_handlers if isinstance(given, BaseCallbackManager) else given or []
    return [h for h in handlers if isinstance(h, BaseTracer)]


_log = logging.getLogger("langchain_promptopt")
_LONGEST = 160


async def run_task(task: Any, settings: Settings, config: RunnableConfig | None = None) -> Result:
    """Plan, run, decide, and apply as asked.

    Args:
        task: The chain, prompt template or function.
        settings: All that was set.
        config: The config of the call: callbacks get the decision trace; tags, metadata, `configurable` and
            `recursion_limit` reach the chain too.

    Raises:
        UsageError: Bad input; nothing was paid for.
        UnavailableError: Models stayed out of reach; resume when they are back.
        BudgetSpent: The budget ended before a verdict.
        Interrupted: A signal ended the run; it can be resumed.
    """
    with progress_shown(settings.progress) as observers:
        watched = replace(settings, observers=(*settings.observers, *observers))
        plan = await make_plan(task, with_config(watched, config))
        try:
            return await run_plan(plan, config or {})
        finally:
            await plan.aclose()


_REACH_THE_CHAIN = ("configurable", "tags", "metadata", "recursion_limit")
"""Keys of the call's config that go on to the chain. Callbacks do not: tracers get evaluations, other handlers not."""


def with_config(settings: Settings, config: RunnableConfig | None) -> Settings:
    """The settings, with what a caller's config says for the chain; where both set a key, the settings win."""
    theirs: Any = {}
    for k, v in (config or {}).items():
        if k in _REACH_THE_CHAIN and v:
            theirs[k] = v
    if not theirs:
        return settings
    own: Any = settings.config
    if callable(own):
        return replace(settings, config=lambda inputs: merge_configs(theirs, own(inputs)))
    return replace(settings, config=merge_configs(theirs, own))


_ASK_FIRST_SECONDS = 3.0
"""How long the free question may hold up a run; without an answer the run begins, and its calls tell."""


async def run_plan(plan: Plan, config: RunnableConfig) -> Result:
    """Run a plan to its end and apply the winner where the settings and the gate say so."""
    wanted = plan.settings.expected_run
    if wanted is not None and wanted != plan.run_id:
        raise _changed(plan, wanted)
    ready = assemble(plan)
    try:
        # A finished run is replayed from its record, so no endpoint is asked.
        if plan.settings.ask_first and not ready.journal.finished:
            probes = probes_of(plan, _ASK_FIRST_SECONDS)
            refuse_unknown_models(await _asked_first(until_signal(probes, plan, ready.guarded.stopping), ready))
        return await concluded(
            plan, ready, until_signal(engine_work(plan, ready, config), plan, ready.guarded.stopping)
        )
    finally:
        ready.close()


async def _asked_first(probes: Coroutine[Any, Any, T], ready: Assembled) -> T:
    """The answers to the free question; a run that is stopped before it began has nothing to go on with."""
    try:
        return await probes
    except Interrupted as stopped:
        if ready.journal.version:
            raise
        msg = "stopped before the run began"
        raise Interrupted(msg, signal=stopped.signal, mend="Nothing was paid for; run it again.") from None


def engine_work(plan: Plan, ready: Assembled, config: RunnableConfig) -> Coroutine[Any, Any, Ended]:
    """The engine's run under its tracers.

    Args:
        plan: The plan.
        ready: The plan, assembled.
        config: The config of the call; its callbacks get the decision trace.
    """
    if config.get("callbacks") and not ready.journal.finished:
        ready.engine.streamed = lambda inner: progress_streamed(ready.run.emitter, inner)
    return traced(plan, ready, config, lambda inner: ready.engine.finish(plan.started, inner))


async def concluded(plan: Plan, ready: Assembled, work: Coroutine[Any, Any, Ended]) -> Result:
    """The result of the engine's work, applied and published as asked.

    It is the same wherever the cells were evaluated.

    Args:
        plan: The plan.
        ready: The plan, assembled.
        work: The engine's work, not yet awaited.

    Raises:
        PromptOptError: What ended the run; its facts name the run and what it has cost.
    """
    replayed = ready.journal.finished
    warn_of_earlier_looks(plan, replayed=replayed)
    try:
        with failure_recorded(plan, ready):
            ended = await work
        result = result_of(plan, ready, ended, replayed=replayed)
        _apply(plan, ready, result)
        if replayed:
            ready.journal.touch()
        await summarise(plan, result)
        await publish_experiments(plan, result)
    except PromptOptError as error:  # machine output of a failure names the run and its cost
        error.facts.setdefault("run_id", plan.run_id)
        error.facts.setdefault("usage", ready.run.ledger.as_json())
        raise
    return result


@contextmanager
def failure_recorded(plan: Plan, ready: Assembled) -> Iterator[None]:
    """Write an error that ends the run into its record, so that `runs` and `show` do not say "not finished".

    A run that was stopped, or whose budget ended, stays unfinished: it can be resumed. One that has its verdict keeps
    it: the error is of what was to be done with it.
    """
    try:
        yield
    except (Interrupted, BudgetSpent):
        raise
    except PromptOptError as error:
        if ready.journal.finished:
            raise
        if plan.redaction is not None:
            plan.redaction.error(error)
        event = RunFinished(
            outcome="failed",
            exit_code=error.exit_code,
            best_candidate_id=plan.baseline.id,
            usage=ready.run.ledger.as_json(),
            error=error_json(error),
        )
        with suppress(PromptOptError):  # where the record cannot be written, that is the error already
            ready.run.emit(event)
        raise


async def until_signal(work: Coroutine[Any, Any, T], plan: Plan, stopping: GracefulStop) -> T:
    """The end of the run; the first SIGINT or SIGTERM ends it in order.

    What is in flight then gets a short time to come in. Where only that was missing, the run ends
    as if it had not been asked to stop.

    Args:
        work: The run.
        plan: Names the run in the message; its policy's timeout sets how long is waited.
        stopping: Knows what is in flight, and keeps new calls from starting.

    Raises:
        Interrupted: The run was stopped before its end.
    """
    lost = 0  # calls in flight that were given up
    async with cancel_on_signals() as cancel:
        task, signalled = asyncio.ensure_future(work), asyncio.ensure_future(_settled(cancel, plan, stopping))
        try:
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            lost = signalled.result()
        finally:
            signalled.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    raise _interrupted(plan, cancel.number or 2, lost)


async def _settled(cancel: Cancel, plan: Plan, stopping: GracefulStop) -> int:
    """Once a signal came and calls in flight had their time: how many of them were given up."""
    await cancel.wait()
    patience = grace(plan.settings.policy.timeout)
    if stopping.in_flight:
        calls = "1 call" if stopping.in_flight == 1 else f"{stopping.in_flight} calls"
        _log.warning("stopping: waiting up to %g s for %s in flight; again to quit now", patience, calls)
    return await stopping.settle(patience)


def _interrupted(plan: Plan, number: int, lost: int) -> Interrupted:
    again = "the same comparison" if plan.started.method == "compare" else f"promptopt resume {plan.run_id}"
    mend = f"The journal is whole; go on with: {again}"
    if plan.settings.runs_dir is None:
        mend = "Set runs_dir to be able to resume a run."
    then = "whose batches go on" if plan.settings.executor == "batch" else "did not come in and will be asked again"
    given_up = f"; {lost} in flight {then}" if lost else ""
    return Interrupted(f"run {plan.run_id} was interrupted{given_up}", signal=number, mend=mend, run_id=plan.run_id)


def _changed(plan: Plan, wanted: str) -> ResumeError:
    """What decides a result and is not as the run to go on with has recorded it."""
    folder = plan.settings.runs_dir
    first = None if folder is None else next(iter(read_events(RunFolder(folder, wanted).journal)), None)
    known = {} if first is None or first["type"] != RunStarted.type else first["data"]
    msg = f"what decides the result has changed, so this is run {plan.run_id}, not {wanted}"
    if known and not known.get("decides"):
        msg = "the run was recorded by an earlier version, whose run ids did not contain the code of the chain"
    elif found := _differences(known, json.loads(json.dumps(plan.started.as_json(), default=str))):
        msg += f": {'; '.join(found)}"
    mend = "Set it back to resume this run, or start a new one with `promptopt optimize`."
    return ResumeError(msg, where=f"run {wanted}", mend=mend)


def _differences(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = known.get("decides", {}), now["decides"]
    names = []
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            names.append(name)
    keys = tuple(chain.from_iterable(DECIDES[name][1] for name in names))
    told = [change for change in _settings_changed(known["config"], now["config"]) if change.startswith(keys)]
    unexplained = []
    for name in names:
        if not any(change.startswith(DECIDES[name][1]) for change in told):
            unexplained.append(name)
    return told + [_difference(name, known, now) for name in unexplained]


def _settings_changed(known: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The keys of promptopt.toml that are not as they were recorded."""
    for section, values in known.items():
        for key, value in values.items() if isinstance(values, Mapping) else ():
            present = now.get(section, {}).get(key)
            if present != value:
                yield f"{section}.{key}: {value!r} became {present!r}"


def _difference(name: str, known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if name in known and known[name] != now.get(name):
        return f"{name} was {_short(known[name])} and is {_short(now.get(name))}"
    return f"{DECIDES[name][0]} changed"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def result_of(plan: Plan, ready: Assembled, ended: Ended, *, replayed: bool) -> Result:
    """The result of an ended run.

    Args:
        plan: The plan.
        ready: The run as it ended: ledger, journal and remarks.
        ended: What the engine found and decided.
        replayed: Whether it was read from a finished record.
    """
    best = ended.found.best.candidate
    verdict = ended.verdict
    warnings = (
        *map(str, plan.notes),
        *ready.run.state.remarks,
        *unjudged_notes(ready),
        *void_notes(verdict, plan.run_id),
        *(verdict.warnings if verdict else ()),
        *(() if plan.shows.possible else (plan.shows.reason,)),
    )
    edits = final_edits(plan.baseline, best, candidates_by_id(ended.found.trajectory))
    return Result(
        run_id=plan.run_id,
        outcome=ended.outcome,
        exit_code=ended.exit_code,
        test=table_of(verdict),
        edits=edits,
        best=best.prompts,
        baseline=plan.baseline.prompts,
        usage=ready.run.ledger.as_json() | {"estimate": levels_of(estimate_of(plan))},
        folder=ready.folder,
        replayed=replayed,
        warnings=warnings,
        gate_passed=verdict is not None and verdict.may_apply,
        reason=verdict.reason if verdict is not None else None,
        stopped=ended.found.stopped,
        events=_reader(ready),
        data=plan.shown_data,
        judged=lambda keep: judge_part(plan, ready, chosen(edits, keep)),
    )


def unjudged_notes(ready: Assembled) -> tuple[str, ...]:
    """What to know about evaluations on which an evaluator raised: they have no score, and count for neither side."""
    found = ready.run.state.unjudged
    if not found:
        return ()
    commonest = found.most_common(1)[0][0]
    return (f"an evaluator raised on {found.total()} evaluations, which have no score ({commonest})",)


def void_notes(verdict: Decision | None, run_id: str) -> tuple[str, ...]:
    """What to say of a test that allows no verdict."""
    return () if verdict is None or verdict.verdict != "void" else (void_sentence(verdict.reason, run_id),)


def _reader(ready: Assembled) -> Any:
    if ready.folder is None:
        return lambda: shown_events(ready.journal.events())
    path = Path(ready.folder) / "journal.jsonl"
    return lambda: visible_events(path)


def _apply(plan: Plan, ready: Assembled, result: Result) -> None:
    how = plan.settings.apply
    changed = result.best.id != result.baseline.id
    if not changed or how == "never" or (how == "if_improved" and not result.gate_passed):
        return
    proven = result.gate_passed
    try:
        result.write(plan.task)
    except ConflictError as error:  # the user changed the live prompt meanwhile: that text is not overwritten
        result.warnings += (f"nothing was applied: {error}",)
        return
    if not proven:
        result.warnings += ("the applied edits are unproven: the gate did not pass",)
    ready.run.emit(Applied(actor="optimize", target="chain", commit=None, candidate_id=result.best.id))


# ---------------------------------------------------------------- some of a run's edits

UNTESTED = "untested: the budget does not reach for the search examples of this selection"
JUDGED = "judged on search examples; a selection of edits has not passed the gate"
_CLAIM = "select"
"""Under this name calls for a selection are set aside on the ledger."""


def chosen(edits: Sequence[FinalEdit], keep: Iterable[object]) -> tuple[FinalEdit, ...]:
    """The edits with these numbers, counted from 1 as every report counts. Raises ConfigError for others."""
    numbers: set[int] = set()
    for number in keep:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(edits):
            known = f"edits are numbered from 1 to {len(edits)}" if edits else "this result has no edits"
            msg = f"there is no edit {number!r}: {known}"
            raise ConfigError(msg, where="select()", mend="The first edit is 1: result.select([1]).")
        numbers.add(number)
    return tuple(edits[number - 1] for number in sorted(numbers))


def judge_part(plan: Plan, ended: Assembled, edits: Sequence[FinalEdit]) -> Result:
    """These edits alone, beside the baseline on the dev rows.

    Args:
        plan: The plan of the run.
        ended: The run as it ended: its account pays, its journal keeps what is found.
        edits: Some of its final edits.

    Returns:
        A result that has not passed the gate; without a table where the budget does not reach (`UNTESTED`).
    """
    return run_sync(lambda: _judged(plan, ended, tuple(edits)))


async def _judged(plan: Plan, ended: Assembled, edits: tuple[FinalEdit, ...]) -> Result:
    made = tuple(e.as_edit() for e in edits)
    prompts = plan.baseline.prompts.apply(made)
    part = Candidate(prompts, origin="select", scope="spans", parents=(plan.baseline.id,), edits=made)
    again = await reopened(plan)
    try:
        again.target.render_check(prompts, plan.data.examples)
        ready = assemble(again, ended=ended)
        try:
            evaluations = Evaluations(ready.run, known=ended.engine.evaluations)
            scores = await _scores(ready.run, evaluations, part)
        finally:
            ready.close()
    finally:
        await again.aclose()
    table = [] if scores is None else [_entry(plan.objective.name, *scores)]
    wanted = () if plan.must_pass is None else plan.must_pass.of("dev")
    lost = broken(wanted, *scores) if scores is not None else ()
    breaks = (f"this selection gets {', '.join(lost)} wrong, which must pass",) if lost else ()
    return Result(
        run_id=plan.run_id,
        outcome="inconclusive",
        exit_code=3,
        test=table,
        edits=edits,
        best=prompts,
        baseline=plan.baseline.prompts,
        usage=ready.run.ledger.as_json(),
        folder=ended.folder,
        warnings=(JUDGED if table else UNTESTED, *breaks),
        data=plan.shown_data,
        judged=lambda keep: judge_part(plan, ended, chosen(edits, keep)),
    )


async def _scores(
    run: Run, evaluations: Evaluations, part: Candidate
) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
    """Primary scores of baseline and part on the dev rows; None where the budget does not reach that far."""
    # Rows that the run has evaluated are not asked again: only the missing ones need budget.
    ids = list(run.examples("dev"))
    sides = (run.baseline, part)
    spending, missing = Spending(run.ledger), 0
    for side in sides:
        known = []
        for outcomes in evaluations.known(side, "dev").values():
            known.extend(outcomes)
        spending.learn_cost(known)
        missing += len(ids) - len(evaluations.ids(side, "dev"))
    if missing and not spending.claim(_CLAIM, cells=missing):
        return None
    try:
        if part.id != run.baseline.id and not any(evaluations.ids(part, split) for split in ("train", "dev")):
            run.emit(_proposed(part))
        for side in sides:
            await evaluations.ensure(side, "dev", ids)
    except BudgetSpent:
        return None
    finally:
        spending.release(_CLAIM)
    before, after = (evaluations.scores(side, "dev") for side in sides)
    return before, after


def _proposed(part: Candidate) -> Proposed:
    """The selection as the record shows it: a child of the baseline that the user chose."""
    return Proposed(
        parent_id=part.parents[0],
        candidate_id=part.id,
        step=0,
        scope="spans",
        edits=part.edits,
        prompts=part.prompts,
    )


def _entry(metric: str, before: Mapping[str, float], after: Mapping[str, float]) -> Metric:
    """What the search rows say, in the shape of an entry of the gate's table."""
    shared = [i for i in before if i in after]
    wins = sum(after[i] > before[i] for i in shared)
    losses = sum(after[i] < before[i] for i in shared)
    means = []
    for side in (before, after):
        means.append(sum(side[i] for i in shared) / max(1, len(shared)))
    return {
        "metric": metric,
        "role": "search rows",
        "baseline": means[0],
        "best": means[1],
        "difference": means[1] - means[0],
        "n": len(shared),
        "wins": wins,
        "losses": losses,
        "verdict": "not tested",
    }
