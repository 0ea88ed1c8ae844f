"""Evaluations through OpenAI's Batch API: half the price, within 24 hours, and paid once however often a run is killed.

A chain runs as ever; only its way out changes. A request of a task model waits in a queue. Once no more come for a
moment, the queue is uploaded as a file, a batch is made of it, and each request gets its own reply from the
result. What is submitted is kept in the run's folder (ids and hashes, no texts) before anything waits, so a run that
goes on takes the replies of batches that were paid for. Other calls of the same models, a judge's for example, are
sent directly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import ids_of
from langchain_promptopt._langchain.fast import own_client
from langchain_promptopt._langchain.models import model_name, unbound
from langchain_promptopt._runtime.failures import CallError, FailureKind, classify
from langchain_promptopt._runtime.retry import RetryPolicy, with_retries
from langchain_promptopt.errors import ConfigError, PromptOptError
from langchain_promptopt.events import Event, Incident
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Cell, content_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    from langchain_promptopt._runtime.clock import Clock

_PATHS = {"/chat/completions": "/v1/chat/completions", "/responses": "/v1/responses"}
"""Ends of the addresses that go into batches, and what the Batch API calls them."""
_QUIET = 2.0
"""Seconds without a further request after which the queue is sent, once all evaluations wait for a reply."""
_LONGEST_QUEUE = 60.0
"""Seconds after which it is sent although some evaluations are still on their way to a request."""
_FIRST_LOOK, _LAST_LOOK, _SLOWER = 5.0, 120.0, 1.5
"""Seconds between two questions whether a batch has ended: at first, at most, and how they grow."""
_REFUSED_PAUSE, _LONGEST_REFUSED_PAUSE = 30.0, 1800.0
"""Seconds before the next batch after one that was refused as a whole; doubled each time."""
_ENDED = {"completed", "expired", "cancelled", "failed"}
_AGAIN = {408, 409, 429}
_NEVER = {
    "model_not_found": "not_found",
    "cannot_find_model": "not_found",
    "invalid_model": "not_found",
    "billing_hard_limit_reached": "insufficient_quota",
    "insufficient_quota": "insufficient_quota",
}
"""Errors of a whole batch that the next one would have too, and what they are called here."""


@dataclass
class _Asking:
    """An evaluation, whose requests wait for a batch."""

    batches: Batches
    cell: Cell
    refused: PromptOptError | None = None


_asking: ContextVar[_Asking | None] = ContextVar("promptopt_batches", default=None)


@dataclass(frozen=True)
class BatchReply:
    """What a batch says about one request."""

    status: int
    body: Any

    @property
    def lost(self) -> bool:
        """Whether another batch may answer the request."""
        return self.status >= 500 or self.status in _AGAIN

    @classmethod
    def of(cls, found: Any) -> BatchReply:
        """A line of an output or error file."""
        response = found.get("response") or {}
        status, body = response.get("status_code"), response.get("body")
        if isinstance(status, int) and isinstance(body, dict):
            return cls(status, {**body, "service_tier": "batch"} if status == 200 else body)
        error = found.get("error") or {}
        return cls.missing(str(error.get("code") or "batch_error"), str(error.get("message") or "no reply"))

    @classmethod
    def missing(cls, code: str, message: str) -> BatchReply:
        """There is no reply, and the request is not to blame."""
        return cls(503, {"error": {"message": message, "code": code, "type": "batch", "param": None}})


@dataclass(eq=False)
class _WaitingRequest:
    """A request that waits for its batch."""

    client: Any
    endpoint: str
    base: str
    body: dict[str, Any]
    future: asyncio.Future[BatchReply]
    id: str = ""

    @property
    def group(self) -> tuple[str, ...]:
        """What all requests of one file must have in common."""
        return str(self.client.base_url), str(self.client.api_key), self.endpoint, str(self.body.get("model"))

    def line(self) -> bytes:
        """The request as a line of the file."""
        whole = {"custom_id": self.id, "method": "POST", "url": self.endpoint, "body": self.body}
        return json.dumps(whole, ensure_ascii=False).encode() + b"\n"


@dataclass(eq=False)
class _Sent:
    """A file that was uploaded, and the batch made of it where that is known."""

    file: str
    batch: str | None = None
    result: asyncio.Task[dict[str, BatchReply]] | None = None


@dataclass
class Batches:
    """The queue of one run.

    Args:
        record: File that keeps what was submitted; None keeps it in memory.
        run_id: Noted on each batch, for whoever looks at them.
        clock: Time.
        policy: How often calls of the Batch API itself are tried.
        emit: Where incidents go.
        most_requests: Requests in a file at most.
        most_bytes: Its size at most.
    """

    record: Path | None
    run_id: str
    clock: Clock
    policy: RetryPolicy
    emit: Callable[[Event], None]
    most_requests: int = 50_000
    most_bytes: int = 190_000_000
    _queue: list[_WaitingRequest] = field(default_factory=list)
    _arrived: int = 0
    _kept: dict[str, list[tuple[str, _Sent]]] = field(default_factory=dict)
    """Requests of earlier processes that nobody has asked for yet."""
    _numbers: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _flushing: bool = False
    _active: int = 0
    """Evaluations under way, those that pause before their next try included."""
    _waiting: int = 0
    """Requests of theirs that wait for a reply."""
    _all_wait: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no evaluation is on its way to a request."""
    _refusals: int = 0

    def __post_init__(self) -> None:
        self.policy = replace(self.policy, timeout=600.0)
        known: dict[str, _Sent] = {}
        for line in _lines_of(self.record):
            sent = known.setdefault(line["file"], _Sent(line["file"]))
            sent.batch = line.get("batch", sent.batch)
            for custom_id in line.get("ids", ()):
                base = custom_id.rpartition("-")[0]
                self._kept.setdefault(base, []).append((custom_id, sent))
                self._numbers[base] += 1

    def close(self) -> None:
        """Wait for nothing any more; what was submitted stays on record."""
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def asked_for(self, cell: Cell) -> Iterator[None]:
        """All tries of this cell: in the block, requests of routed models go into batches.

        Raises what ends the run, in place of what the chain made of it.
        """
        asking = _Asking(self, cell)
        token = _asking.set(asking)
        self._count(active=1)
        try:
            yield
        except Exception as error:
            if asking.refused is not None:
                raise asking.refused from error
            raise
        finally:
            self._count(active=-1)
            _asking.reset(token)
        if asking.refused is not None:
            raise asking.refused

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """An evaluation waits for a reply, so that the queue need not wait for its next request."""
        self._count(waiting=1)
        try:
            yield
        finally:
            self._count(waiting=-1)

    def _count(self, *, active: int = 0, waiting: int = 0) -> None:
        self._active += active
        self._waiting += waiting
        if self._waiting >= self._active:
            self._all_wait.set()
        else:
            self._all_wait.clear()

    async def reply(self, client: Any, endpoint: str, cell: Cell, body: dict[str, Any]) -> BatchReply:
        """The reply to a request of a cell, from a batch of an earlier process or from the next one.

        Args:
            client: Asks the Batch API.
            endpoint: Where the request would have gone, as the Batch API calls it.
            cell: The evaluation that asks.
            body: The request.
        """
        place = (cell.candidate_id, cell.split, cell.example_id, cell.repeat)
        base = content_hash([*place, endpoint, body], 32)
        while kept := self._kept.get(base):
            custom_id, sent = kept.pop(0)
            if sent.result is None:
                sent.result = self._start(self._recalled(client, sent))
            line = (await asyncio.shield(sent.result)).get(custom_id)
            if line is not None and not line.lost:
                return line
        call = _WaitingRequest(client, endpoint, base, body, asyncio.get_running_loop().create_future())
        self._queue.append(call)
        self._arrived += 1
        if not self._flushing:
            self._flushing = True
            self._start(self._flush())
        return await call.future

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that belongs to the run, not to the evaluation that was the first to need it."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _flush(self) -> None:
        """Send the queue once every evaluation waits for a reply and no request has come for a moment."""
        began, seen = self.clock.time(), -1
        while seen != self._arrived or not self._all_wait.is_set():
            left = _LONGEST_QUEUE - (self.clock.time() - began)
            if left <= 0:
                break
            with suppress(TimeoutError):
                async with self.clock.timeout(left):
                    await self._all_wait.wait()
            seen = self._arrived
            await self.clock.sleep(_QUIET)
        calls, self._queue, self._flushing = self._queue, [], False
        groups: dict[tuple[str, ...], list[_WaitingRequest]] = {}
        for call in calls:
            if not call.future.done():  # its evaluation was given up
                call.id = f"{call.base}-{self._numbers[call.base]}"
                self._numbers[call.base] += 1
                groups.setdefault(call.group, []).append(call)
        for group in groups.values():
            for part in self._parts(group):
                self._start(self._answer(part))

    def _parts(self, calls: Sequence[_WaitingRequest]) -> Iterator[list[_WaitingRequest]]:
        """The calls in parts that the Batch API takes."""
        part: list[_WaitingRequest] = []
        size = 0
        for call in calls:
            more = len(call.line())
            if part and (len(part) == self.most_requests or size + more > self.most_bytes):
                yield part
                part, size = [], 0
            part.append(call)
            size += more
        yield part

    async def _answer(self, calls: list[_WaitingRequest]) -> None:
        """Submit calls of one kind, wait, and give each what its line says."""
        try:
            if self._refusals:
                await self.clock.sleep(min(_LONGEST_REFUSED_PAUSE, _REFUSED_PAUSE * 2 ** (self._refusals - 1)))
            client = calls[0].client
            sent = await self._submitted(client, calls)
            lines = await self._collected(client, sent)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the replies are awaited
            ended = _as_error(error, calls[0].client)
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(ended)
            return
        nothing = BatchReply.missing("batch_incomplete", f"batch {sent.batch} ended without a reply to this request")
        for call in calls:
            if not call.future.done():
                call.future.set_result(lines.get(call.id) or lines.get("") or nothing)

    async def _submitted(self, client: Any, calls: Sequence[_WaitingRequest]) -> _Sent:
        """Upload the file, note what is in it, make the batch, note that: in this order, so that none is lost."""
        content = b"".join(call.line() for call in calls)
        upload = ("promptopt.jsonl", content, "application/jsonl")
        made = await self._asked(lambda: client.files.create(file=upload, purpose="batch"))
        sent = _Sent(str(made.id))
        self._note({"file": sent.file, "ids": ids_of(calls)})
        tries = 0

        async def create() -> Any:
            nonlocal tries
            tries += 1
            found = await _batch_of(client, sent.file) if tries > 1 else None  # the reply may have been lost
            return found or await client.batches.create(
                input_file_id=sent.file,
                endpoint=calls[0].endpoint,
                completion_window="24h",
                metadata={"promptopt_run": self.run_id},
            )

        sent.batch = str((await self._asked(create)).id)
        self._note({"file": sent.file, "batch": sent.batch})
        return sent

    async def _recalled(self, client: Any, sent: _Sent) -> dict[str, BatchReply]:
        """What came of a batch of an earlier process; nothing where it was never made, or is gone."""
        try:
            if sent.batch is None:
                found = await self._asked(lambda: _batch_of(client, sent.file))
                if found is None:
                    return {}
                sent.batch = str(found.id)
                self._note({"file": sent.file, "batch": sent.batch})
            return await self._collected(client, sent)
        except CallError as failed:
            if failed.failure.kind == "not_found":
                return {}
            raise _as_error(failed, client) from failed

    async def _collected(self, client: Any, sent: _Sent) -> dict[str, BatchReply]:
        """The lines of a batch by custom id, once it has ended; under "" what holds for all of a refused batch."""
        batch = await self._ended(client, str(sent.batch))
        lines: dict[str, BatchReply] = {}
        for name in ("output_file_id", "error_file_id"):
            if (place := getattr(batch, name, None)) is not None:
                lines |= await self._read(client, place)
        errors = getattr(getattr(batch, "errors", None), "data", None) or []
        code, message = next(((e.code, e.message) for e in errors), (None, None))
        why = f"batch {sent.batch} {batch.status}: {message or code or 'no reason was given'}"
        self._refusals = self._refusals + 1 if batch.status == "failed" else 0
        if batch.status == "failed" and code in _NEVER:
            raise CallError(FailureKind.of(_NEVER[code], why))
        if batch.status != "completed":
            action = "its requests without a reply go into the next batch"
            kind = f"batch_{batch.status}"
            self.emit(Incident(role="task", kind=kind, retryable=True, action=action, detail=why))
            lines[""] = BatchReply.missing(kind, why)
        return lines

    async def _read(self, client: Any, file: str) -> dict[str, BatchReply]:
        """The lines of a result file by custom id."""
        return _lines_by_id((await self._asked(lambda: client.files.content(file))).content)

    async def _ended(self, client: Any, batch_id: str) -> Any:
        """The batch, once it has ended."""
        pause = _FIRST_LOOK
        patient = replace(self.policy, attempts=3 * self.policy.attempts)  # hours of waiting see outages
        while True:
            batch = await self._asked(lambda: client.batches.retrieve(batch_id), patient)
            if batch.status in _ENDED:
                return batch
            await self.clock.sleep(pause)
            pause = min(_LAST_LOOK, pause * _SLOWER)

    async def _asked(self, call: Callable[[], Awaitable[Any]], policy: RetryPolicy | None = None) -> Any:
        """A call of the Batch API itself, tried again where it fails."""
        return await with_retries(call, policy=policy or self.policy, clock=self.clock, rng=lambda: rng_at(0, "batch"))

    def _note(self, line: dict[str, Any]) -> None:
        """Keep what was submitted; on return it survives a power cut."""
        if self.record is None:
            return
        descriptor = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, b"\n" + json.dumps(line).encode() + b"\n")  # a torn line before it stays alone
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lines_of(record: Path | None) -> Iterator[dict[str, Any]]:
    """What was noted; a torn line is left out."""
    if record is None or not record.exists():
        return
    for line in record.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("file"), str):
            yield found


def _lines_by_id(content: bytes) -> dict[str, BatchReply]:
    """The lines of a result file by custom id; the first of an id counts, and what is no such line is left out."""
    lines: dict[str, BatchReply] = {}
    for text in content.splitlines():
        try:
            found = json.loads(text)
            lines.setdefault(str(found["custom_id"]), BatchReply.of(found))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return lines


async def _batch_of(client: Any, file: str) -> Any | None:
    """The batch that was made of a file, if one was."""
    async for batch in client.batches.list(limit=100):
        if batch.input_file_id == file:
            return batch
    return None


def _as_error(error: Exception, client: Any) -> PromptOptError:
    """What a failure of the Batch API means for the run."""
    if not isinstance(error, CallError):
        return error if isinstance(error, PromptOptError) else classify(error).as_error("task")
    if error.failure.kind == "not_found" and error.__cause__ is not None:
        msg = f"the Batch API is not there: {error.failure.detail}"
        mend = 'Leave out executor="batch", or use a model of a provider that has OpenAI\'s Batch API.'
        return ConfigError(msg, where=str(client.base_url), mend=mend)
    return error.failure.as_error("task")


# The way out of the models.


def refuse_unbatchable(models: Sequence[Any]) -> None:
    """Raise ConfigError, naming the reason, unless all these models can be asked through the Batch API."""
    problems = []
    for model in models:
        why = _why_not(unbound(model))
        if why:
            problems.append(f"{model_name(model)}: {why}")
    if not models:
        problems = ["no model can be seen in the chain"]
    if problems:
        msg = f'executor="batch" cannot ask the task model ({"; ".join(problems)})'
        mend = "Use ChatOpenAI with its own or an AsyncOpenAI client, or leave the executor out."
        raise ConfigError(msg, where="executor", mend=mend)


def _why_not(model: Any) -> str:
    base = sys.modules.get("langchain_openai.chat_models.base")
    openai = sys.modules.get("openai")
    if base is None or openai is None or not isinstance(model, base.BaseChatOpenAI):
        return f"a {type(model).__name__} has no OpenAI Batch API"
    if type(model).__name__ == "ChatOpenAISync":
        return "its client is synchronous, and a whole round has to wait at once"
    if type(model.root_async_client) is not openai.AsyncOpenAI:
        return f"a {type(model).__name__} calls another API than OpenAI's"
    return "it streams, and replies of a batch come whole" if model.streaming else ""


def route(models: Iterable[Any], clients: list[Any]) -> Callable[[], None]:
    """Let these models ask through batches wherever an evaluation is asked for; the function that is returned ends it.

    Args:
        models: The live models of a chain.
        clients: HTTP clients that are made here are added, for whoever closes them.
    """
    undo: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for model in {id(m): m for m in map(unbound, models)}.values():
        root, sync, own = model.root_async_client, model.root_client, vars(model)
        made = own_client(root)
        clients.extend([] if made is None else [made])
        direct = root if made is None else root.copy(http_client=made)
        routed = root.copy(http_client=root._client)
        routed._client = _Route(root._client, direct)
        changed = {"root_async_client": routed, "async_client": routed.chat.completions}
        if sync is not None:
            routed = sync.copy(http_client=sync._client)
            routed._client = _SyncRoute(sync._client)
            changed |= {"root_client": routed, "client": routed.chat.completions}
        undo.append((own, {name: own[name] for name in changed}))
        own.update(changed)  # not by setattr, which would note the names as set by the user

    def back() -> None:
        for own, before in undo:
            own.update(before)

    return back


class _Route:
    """An HTTP client through which requests of evaluations go into batches, and others out as ever."""

    def __init__(self, inner: Any, direct: Any) -> None:
        self._inner = inner
        self._direct = direct.with_options(max_retries=0, timeout=600.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, request: Any, **more: Any) -> Any:
        """Answer a request of the SDK."""
        asking, endpoint = _asking.get(), _endpoint(request)
        if asking is None or endpoint is None:
            return await self._inner.send(request, **more)
        body = json.loads(request.content)
        if body.pop("stream", False):
            return _refused(request, asking, "the chain streams replies, and those of a batch come whole")
        try:
            with asking.batches.waiting():
                line = await asking.batches.reply(self._direct, endpoint, asking.cell, body)
        except PromptOptError as error:
            asking.refused = error
            return _response(request, BatchReply(400, {"error": {"message": str(error)}}))
        return _response(request, line)


class _SyncRoute:
    """The same for a synchronous client, which evaluations must not use: each call would hold a thread for hours."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, request: Any, **more: Any) -> Any:
        """Pass a request on, or refuse it where an evaluation makes it."""
        asking = _asking.get()
        if asking is None or _endpoint(request) is None:
            return self._inner.send(request, **more)
        return _refused(request, asking, "the chain calls its model synchronously, and a whole round has to wait")


def _endpoint(request: Any) -> str | None:
    """What the Batch API calls the place of a request; None where it takes none from there."""
    if request.method != "POST":
        return None
    path = str(request.url.path)
    return next((name for end, name in _PATHS.items() if path.endswith(end)), None)


def _refused(request: Any, asking: _Asking, why: str) -> Any:
    mend = "Write that step with `await model.ainvoke(...)`, or leave out the executor."
    asking.refused = ConfigError(f'executor="batch" cannot go on: {why}', where="the chain", mend=mend)
    return _response(request, BatchReply(400, {"error": {"message": why}}))


def _response(request: Any, line: BatchReply) -> Any:
    """The response that the SDK reads; it must not try again by itself, which would take a batch each time."""
    library = sys.modules[type(request).__module__.partition(".")[0]]
    return library.Response(line.status, headers={"x-should-retry": "false"}, json=line.body, request=request)
