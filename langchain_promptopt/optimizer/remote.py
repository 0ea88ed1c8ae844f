"""Evaluations in other processes, tried one by one, while the run keeps limits, retries, budget and journal to itself.

`RemoteExecutor` is the run's side: every try passes the run's own limiter and ledger and goes to a worker as plain
values: the texts of the candidate and the row. `Attempts` is the worker's side: it makes one try at a time and tells
what came out, which models were called, and how it failed. Nothing is retried there.

`Workers` chooses the worker for each try, and starts another one in the place of one that ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from langchain_promptopt._collections import all_as_json, map_values
from langchain_promptopt._engine.executor import LocalExecutor, Scores, Tab
from langchain_promptopt._runtime.failures import CallError, FailedElsewhere, FailureKind, classify
from langchain_promptopt._runtime.redact import message_of
from langchain_promptopt._runtime.usage import Collected, ModelUse, UsageCollector
from langchain_promptopt.errors import BY_NAME, ConfigError, PromptOptError, UnavailableError
from langchain_promptopt.events import ScoredRow
from langchain_promptopt.ports import Job
from langchain_promptopt.store.lines import cell_of, outcome_of
from langchain_promptopt.types import Candidate, Example, PromptSet, StepAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain_core.runnables.config import RunnableConfig

    from langchain_promptopt._engine.executor import Guarded
    from langchain_promptopt.types import Cell, Failure, Outcome

# ---------------------------------------------------------------- cells as plain values


def jobs_json(jobs: Iterable[Job], run_id: str) -> list[dict[str, Any]]:
    """Jobs as plain JSON values: the cell, all prompts of the candidate, and the row.

    Templates travel as text; roles, formats and partials are those of the worker's own task, which
    must be the same (its run id is compared).
    """
    found: list[dict[str, Any]] = []
    for job in jobs:
        found.append(
            {
                "run_id": run_id,
                "cell": {
                    "candidate_id": job.cell.candidate_id,
                    "split": job.cell.split,
                    "example_id": job.cell.example_id,
                    "repeat": job.cell.repeat,
                },
                "prompts": job.candidate.prompts.as_json(),
                "inputs": dict(job.example.inputs),
                "outputs": dict(job.example.outputs),
                "metadata": dict(job.example.metadata),
            }
        )
    return found


def jobs_from_json(data: Iterable[Mapping[str, Any]], baseline: PromptSet) -> list[Job]:
    """The inverse of `jobs_json` beside the worker's own task.

    Raises ConfigError where the prompts do not belong to this task.
    """
    out = []
    for item in data:
        cell = cell_of(item["cell"])
        prompts = _with_texts(baseline, item["prompts"])
        example = Example(cell.example_id, item["inputs"], item["outputs"], item["metadata"])
        out.append(Job(cell, _candidate(prompts, cell), example))
    return out


def _with_texts(baseline: PromptSet, given: Sequence[Mapping[str, Any]]) -> PromptSet:
    texts = {}
    for p in given:
        texts[p["name"]] = [m["template"] for m in p["messages"]]
    sizes = map_values(len, texts)
    if sizes != {p.name: len(p.messages) for p in baseline}:
        msg = "a job's prompts are not those of this task"
        raise ConfigError(msg, where=", ".join(texts), mend="Give the worker the configuration and code of the run.")
    made = []
    for prompt in baseline:
        messages = list(prompt.messages)
        for i, text in enumerate(texts[prompt.name]):
            if messages[i].template != text:
                messages[i] = replace(messages[i], template=text, frozen=())
        made.append(replace(prompt, messages=tuple(messages)))
    return PromptSet(tuple(made))


def _candidate(prompts: PromptSet, cell: Cell) -> Candidate:
    # The id is a hash of the prompts: another id means that the texts did not arrive as they were sent.
    made = Candidate(prompts, origin="elsewhere")
    if made.id != cell.candidate_id:
        msg = f"the prompts of candidate {cell.candidate_id} arrive as candidate {made.id}"
        raise ConfigError(msg, mend="Worker and run must use the same version of this package and of the task.")
    return made


def outcomes_json(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as plain JSON values, shaped like the journal's `scored`."""
    return [ScoredRow.of(outcome).as_json() for outcome in outcomes]


def outcomes_from_json(data: Iterable[Mapping[str, Any]]) -> list[Outcome]:
    """The inverse of `outcomes_json`."""
    return list(map(outcome_of, data))


def failure_told(error: Exception) -> dict[str, Any]:
    """An error as plain values: what it means, and what the run must raise because of it."""
    found = classify(error)
    told: dict[str, Any] = {
        "kind": found.kind,
        "action": found.action,
        "detail": found.detail,
        "retry_after_s": found.retry_after_s,
        "final": isinstance(error, CallError),
        "raised": None,
    }
    if isinstance(error, PromptOptError) and not isinstance(error, CallError):
        names = [c.__name__ for c in type(error).__mro__ if BY_NAME.get(c.__name__) is c]
        told["raised"] = {"type": names[0], "what": error.what, "where": error.where, "mend": error.mend}
        told["raised"] |= {"row_text": error.row_text, "role": error.role, "retry_after_s": error.retry_after_s}
    return told


def failure_heard(told: Mapping[str, Any]) -> Exception:
    """The inverse of `failure_told`: what the run raises in place of the worker's error."""
    if told["raised"] is not None:
        given = dict(told["raised"])
        return BY_NAME[given.pop("type")](**given)
    failure = FailureKind(told["kind"], told["action"], told["detail"], told["retry_after_s"])
    return CallError(failure) if told["final"] else FailedElsewhere(failure)


def _collected(told: Mapping[str, Any]) -> Collected:
    return Collected(**{**told, "by_model": {name: ModelUse(**use) for name, use in told["by_model"].items()}})


# ---------------------------------------------------------------- the worker's side

_HELD = 10_000
"""Answers kept for judges. A run asks for the scores at once, so far fewer wait."""


@dataclass
class Attempts:
    """Makes single tries at cells in this process, for a run in another one.

    Args:
        local: The executor of the worker's own plan; its chain and its evaluators are used, and nothing else.
        run_id: The run that the worker's own configuration makes.
        baseline: The prompts of the task, which the texts of a request are put into.
    """

    local: LocalExecutor
    run_id: str
    baseline: PromptSet
    _held: OrderedDict[str, tuple[Job, Any, Tab]] = field(default_factory=OrderedDict)
    _numbers: int = 0

    async def made(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What came of one try, failures included, and what it used. Raises ConfigError for a request of another run.

        Args:
            request: "do" is "answer" with a job of `jobs_json`, or "judge" with the "key" of an answer given here;
                "seconds" is the time it may take.
        """
        self.require(request["run_id"])
        meter = UsageCollector()
        work = {"answer": self._answer, "judge": self._judge}[request["do"]]
        try:
            async with asyncio.timeout(request["seconds"]):
                said = await work(request, meter)
        except Exception as error:  # noqa: BLE001 - the user's chain or evaluators: the run decides what it means
            said = {"failure": failure_told(error)}
        return {"failure": None, **said, "used": asdict(meter.collected)}

    def require(self, run_id: str) -> None:
        """Raise ConfigError for a request of another run."""
        if run_id not in {"", self.run_id}:
            msg = f"this worker would be on run {self.run_id}, and the cells are of run {run_id}"
            mend = "Give it the run's configuration, data, code and models."
            raise ConfigError(msg, where="a worker", mend=mend)

    async def _answer(self, request: Mapping[str, Any], meter: UsageCollector) -> dict[str, Any]:
        [job] = jobs_from_json([request], self.baseline)
        tab = Tab()
        cell = job.cell
        config: RunnableConfig = {
            "metadata": {
                **self.local.metadata,
                "promptopt_candidate": cell.candidate_id,
                "promptopt_example_id": cell.example_id,
            }
        }
        output = await self.local.ask(job, config, tab, meter)
        said = {"answer": self.local.told(job, output), "rendered": sorted(tab.rendered or ())}
        said["steps"] = all_as_json(tab.answers)
        if self.local.judges:  # these calls have limits of their own, so the run asks for them by themselves
            self._numbers += 1
            key = str(self._numbers)
            self._held[key] = (job, output, tab)
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
            return {**said, "key": key}
        try:
            scores = await self.local.score(job.example, output, tab.steps)
        except Exception as error:  # noqa: BLE001 - the user's evaluator; the answer was paid for and is told
            return {**said, "unscored": failure_told(error)}
        return {**said, "scores": dict(scores.scores), "comments": dict(scores.comments)}

    async def _judge(self, request: Mapping[str, Any], meter: UsageCollector) -> dict[str, Any]:
        if request["key"] not in self._held:
            return {"gone": True}
        job, output, tab = self._held[request["key"]]
        scores = await self.local.weigh(job, output, {}, tab, meter)
        self._held.pop(request["key"], None)
        return {"scores": dict(scores.scores), "comments": dict(scores.comments)}


# ---------------------------------------------------------------- the workers of an engine

_MISSES = 2
"""Beyond one for each worker, starts in a row that may fail before no worker counts as possible."""


class WorkerLost(Exception):  # noqa: N818 - names what happened
    """A worker ended, or cannot be reached any more. What it was asked is asked of another one.

    Args:
        what: What happened.
        sent: Whether the worker may have begun, so that its calls may have been paid for.
    """

    def __init__(self, what: str, *, sent: bool = True) -> None:
        super().__init__(what)
        self.sent = sent


class Worker(Protocol):
    """A process of an engine that holds a `CellWorker`."""

    async def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The `CellWorker`'s answer to a request. Raises WorkerLost where the process ended before."""
        ...

    def stop(self) -> None:
        """End the process, or what it holds for this run."""
        ...


class Workers:
    """Workers of a distributed engine; give it to `run_step(config, shards=...)`.

    Each try goes to the worker with the fewest under way. A worker takes part once it has prepared the run, and in
    the place of one that ended another is started.

    Args:
        start: Starts a worker.
        count: Workers at a time.
        replacements: Workers started in the place of others, at most.
        patience: Seconds that a worker may take to start and to prepare the run.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Worker]],
        count: int,
        *,
        replacements: int = 100,
        patience: float = 300.0,
    ) -> None:
        self._start = start
        self.count = count
        self._patience = patience
        self._left = count + replacements
        self._misses = 0
        self._names = 0
        self._ready: dict[str, Worker] = {}
        self._busy: Counter[str] = Counter()
        self._starting: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed: Exception | None = None

    async def ask(self, request: Mapping[str, Any], worker: str | None = None) -> dict[str, Any]:
        """A worker's answer, with its name as "worker".

        Args:
            request: What is asked; see `Attempts.made`.
            worker: The name of the worker that must answer; None is any.

        Raises:
            WorkerLost: The worker ended before it answered.
            UnavailableError: No worker can be started.
            ConfigError: A worker cannot take part in this run; other errors that its configuration has.
        """
        name = await self._chosen(request["run_id"], worker)
        self._busy[name] += 1
        try:
            return {**await self._ready[name].call(request), "worker": name}
        except WorkerLost:
            self._ready.pop(name, None)
            raise
        finally:
            self._busy[name] -= 1

    async def hello(self, run_id: str = "") -> list[dict[str, Any]]:
        """Wait until all workers have prepared the run; gives process id, host and CPU seconds so far of each."""
        self._fill(run_id)
        while self._starting:
            await asyncio.wait(set(self._starting))
        if self._failed is not None:
            raise self._failed
        return [await self.ask({"do": "hello", "run_id": run_id}, name) for name in list(self._ready)]

    def close(self) -> None:
        """Stop all workers. The run must be over."""
        while self._ready:
            self._ready.popitem()[1].stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _chosen(self, run_id: str, wanted: str | None) -> str:
        if wanted is not None:
            if wanted not in self._ready:
                msg = f"{wanted} has ended"
                raise WorkerLost(msg, sent=False)
            return wanted
        self._fill(run_id)
        while not self._ready and self._failed is None:
            await asyncio.wait(set(self._starting), return_when=asyncio.FIRST_COMPLETED)
            self._fill(run_id)
        if self._failed is not None:
            raise self._failed
        return min(self._ready, key=lambda name: self._busy[name])

    def _fill(self, run_id: str) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # tasks of a loop that has ended are gone with it
            self._loop, self._starting = loop, set()
        while len(self._ready) + len(self._starting) < self.count and self._left > 0 and self._failed is None:
            self._left -= 1
            task = loop.create_task(self._begin(run_id))
            self._starting.add(task)
            task.add_done_callback(self._begun)
        if not self._ready and not self._starting:
            self._give_up("all workers and their replacements have ended")

    async def _begin(self, run_id: str) -> None:
        async with asyncio.timeout(self._patience):
            worker = await self._start()
            try:
                hello = await worker.call({"do": "hello", "run_id": run_id})
                if hello["failure"] is not None:
                    raise failure_heard(hello["failure"])
            except BaseException:
                worker.stop()
                raise
        self._names += 1
        self._ready[f"worker-{self._names}"] = worker

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        error = None if task.cancelled() else task.exception()
        self._misses = 0 if error is None else self._misses + 1
        if isinstance(error, PromptOptError):
            self._failed = error
        elif error is not None and not self._ready and self._misses > self.count + _MISSES:
            slow = f"a worker was not ready within {self._patience:g} s"
            self._give_up(slow if isinstance(error, TimeoutError) else str(error))

    def _give_up(self, why: str) -> None:
        mend = "Look at the cluster's free resources and at the logs of its workers, then resume."
        self._failed = self._failed or UnavailableError(f"no worker can be started: {why}", mend=mend)


# ---------------------------------------------------------------- the run's side

_GRACE = 15.0
"""Seconds beyond a try's own time after which its worker counts as out of reach."""
_GONE = "answer_lost"
_AGAIN = 3
"""Times that a row is answered again, where workers end between the answer and its scores."""


@dataclass(frozen=True)
class _Held:
    """An answer that a worker holds, in plain values."""

    answer: Any
    reply: Mapping[str, Any]


def _scored(reply: Mapping[str, Any]) -> Scores:
    return Scores(reply["scores"], reply["comments"])


async def _as_told(_: Example, output: Any, __: Sequence[Any]) -> Scores:
    """The scores that came with an answer. Raises what the evaluators raised."""
    told = output.reply.get("unscored")
    if told is None:
        return _scored(output.reply)
    error = failure_heard(told)
    raise CallError(error.failure) if isinstance(error, FailedElsewhere) else error


@dataclass
class RemoteExecutor(LocalExecutor):
    """Runs cells on workers. Limits, retries, ledger, cache and redaction are those of the run in this process."""

    workers: Workers = field(kw_only=True)
    run_id: str = field(kw_only=True)
    seconds: float | None = None
    _usual: dict[str, Collected] = field(default_factory=dict)

    @classmethod
    def of(cls, local: LocalExecutor, guarded: Guarded, workers: Workers, run_id: str) -> Self:
        """The executor that does on workers what `local` does here.

        Args:
            local: The run's own executor.
            guarded: The run's own guard.
            workers: Where the tries are made.
            run_id: The run.
        """
        given = {f.name: getattr(local, f.name) for f in fields(LocalExecutor)}
        seconds = guarded.policy.timeout
        if seconds is not None:  # the worker's own clock comes first: it can tell what was used by then
            guarded = replace(guarded, policy=replace(guarded.policy, timeout=seconds + _GRACE))
        given |= {"score": _as_told, "guard": guarded}
        return cls(**given, workers=workers, run_id=run_id, seconds=seconds)

    async def ask(self, job: Job, config: RunnableConfig, tab: Tab, meter: UsageCollector) -> Any:  # noqa: ARG002
        """One try on a worker."""
        [told] = jobs_json([job], self.run_id)
        reply = await self._replied({**told, "do": "answer", "seconds": self.seconds}, "task", meter)
        tab.rendered = set(reply["rendered"])
        tab.answers = list(map(StepAnswer.from_json, reply.get("steps", ())))
        return _Held(reply["answer"], reply)

    async def weigh(
        self,
        job: Job,  # noqa: ARG002
        output: Any,
        config: RunnableConfig,  # noqa: ARG002
        tab: Tab,  # noqa: ARG002
        meter: UsageCollector,
    ) -> Scores:
        """The judges' scores, from the worker that holds the answer."""
        meter.admit()
        request = {"do": "judge", "run_id": self.run_id, "key": output.reply["key"], "seconds": self.seconds}
        try:
            reply = await self._replied(request, "judge", meter, output.reply["worker"])
        except FailedElsewhere as failed:
            if failed.failure.kind != "worker_lost":
                raise
            reply = {"gone": True}
        if reply.get("gone"):
            raise CallError(FailureKind(_GONE, "drop", "the worker ended before its answer was scored"))
        return _scored(reply)

    async def _replied(
        self, request: Mapping[str, Any], role: str, meter: UsageCollector, worker: str | None = None
    ) -> dict[str, Any]:
        try:
            reply = await self.workers.ask(request, worker)
        except WorkerLost as lost:
            if lost.sent:  # it may have been paid for: it counts as much as the last one that came back
                meter.collected = self._usual.get(role) or Collected(started=1)
            raise FailedElsewhere(FailureKind.of("worker_lost", str(lost))) from lost
        except Exception as error:
            if isinstance(error, PromptOptError):
                raise
            # The engine's own errors say nothing about the prompt: without this, the row would score 0.
            raise FailedElsewhere(FailureKind.of("worker_lost", message_of(error))) from error
        used = reply.get("used")
        if used is not None:
            meter.collected = _collected(used)
        if reply["failure"] is not None:
            raise failure_heard(reply["failure"])
        self._usual[role] = meter.collected
        return reply

    async def _one(self, job: Job, *, heard: bool) -> Outcome:
        """The cell's outcome; where a worker took the answer with it before it was scored, the row is asked again."""
        outcome = await super()._one(job, heard=heard)
        for _ in range(_AGAIN):
            if outcome.failure is None or outcome.failure.kind != _GONE:
                break
            lost, outcome = outcome, await super()._one(job, heard=heard)
            outcome = replace(
                outcome,
                tries=lost.tries + outcome.tries,
                usage=lost.usage + outcome.usage,
                judge=lost.judge + outcome.judge,
            )
        return outcome

    def _outcome(self, job: Job, output: Any, found: Scores | Failure, tab: Tab) -> Outcome:
        return super()._outcome(job, output.answer if isinstance(output, _Held) else output, found, tab)
