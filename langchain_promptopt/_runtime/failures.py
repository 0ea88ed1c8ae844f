"""How kinds of failure look from outside, over all providers, without importing any of them.

The one table of what is retried, scored 0, or ends the run (product 8, 10.18).

| action | meaning |
|---|---|
| retry | infrastructure: try again; when tries are used up the row is dropped, never scored 0 |
| zero | the prompt (or the user's own code under it) is to blame: score 0, counted |
| stop | nobody's row can succeed: end the run, resumable |

An exception out of the user's own functions scores 0 as `target_error`: a candidate that makes the
chain crash must not win by having its rows dropped. A chain that crashes by itself gives a
baseline of all 0, and that stops the run and shows the row (product 7.7).

What an endpoint said to a question that costs nothing.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._runtime.redact import message_of, redact
from langchain_promptopt.errors import (
    ConfigError,
    CredentialsError,
    EvaluatorError,
    PromptError,
    PromptOptError,
    UnavailableError,
)
from langchain_promptopt.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

# Codes and types in a JSON body; OpenAI, Azure, Anthropic, Groq, Together and OpenRouter spell them so.
_CODES = {
    "insufficient_quota": "insufficient_quota",
    "billing_hard_limit_reached": "insufficient_quota",
    "billing_not_active": "insufficient_quota",
    "billing_error": "insufficient_quota",
    "context_length_exceeded": "context_overflow",
    "string_above_max_length": "context_overflow",
    "request_too_large": "context_overflow",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "invalid_prompt": "content_filter",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "server_error",
}
_OVERFLOW = re.compile(
    r"(?i)maximum context length|context (?:length|window|size)|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|exceeds the (?:maximum|available) (?:number of )?(?:input )?(?:tokens|context)"
)
_OTHER_LOOP = re.compile(r"Event loop is closed|attached to a different loop|bound to a different event loop")
_NO_CREDIT = re.compile(r"(?i)insufficient_quota|credit balance is too low|insufficient (?:credits|balance|funds)")

# Class names, looked up along the inheritance of an error.
_NAMES = {
    "ContextOverflowError": "context_overflow",
    "OutputParserException": "unparsable",
    "LengthFinishReasonError": "truncated",
    "ContentFilterFinishReasonError": "content_filter",
    "OpenAIRefusalError": "refusal",
    "ModelRateLimitError": "rate_limited",
    "ModelTimeoutError": "timeout",
    "ModelConnectionError": "connection",
    "ModelAPIError": "server_error",
    "ModelAuthenticationError": "unauthorized",
    "ModelPermissionDeniedError": "forbidden",
    "ModelNotFoundError": "not_found",
    "ModelInvalidRequestError": "bad_request",
    "APITimeoutError": "timeout",
    "APIConnectionError": "connection",
    "ResourceExhausted": "rate_limited",
    "ServiceUnavailable": "server_error",
    "DeadlineExceeded": "timeout",
    "TimeoutException": "timeout",  # httpx
    "Timeout": "timeout",  # requests
    "ConnectionError": "connection",  # requests, whose class is no builtin one
    "TransportError": "connection",  # httpx: connect, read, write, protocol
    "ClientConnectionError": "connection",  # aiohttp
    "ClientPayloadError": "connection",
    "ChunkedEncodingError": "connection",
    "IncompleteRead": "connection",
    "RemoteDisconnected": "connection",
    "LangSmithRateLimitError": "rate_limited",
    "LangSmithConnectionError": "connection",
    "LangSmithAPIError": "server_error",
}
_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_quota",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "context_overflow",
    422: "bad_request",
    425: "conflict",
    429: "rate_limited",
}
_SERVER_ERRORS = range(500, 600)
_MODEL_ONLY = {"bad_request", "unauthorized", "forbidden", "not_found", "insufficient_quota", "context_overflow"}
_CLIENTS = (
    "openai",
    "langchain_openai",
    "anthropic",
    "langchain_anthropic",
    "google",
    "langchain_google_genai",
    "langchain_google_vertexai",
    "mistralai",
    "langchain_mistralai",
    "groq",
    "langchain_groq",
    "cohere",
    "langchain_cohere",
    "botocore",
    "langchain_aws",
    "ollama",
    "langchain_ollama",
    "langsmith",
)
_MODEL_CALL = "langchain_core.language_models"
_PLUMBING = ("json", "asyncio", "concurrent", "contextlib", "threading", "httpx", "httpx2", "httpcore", "pydantic")
_BUSY = {errno.EMFILE, errno.ENFILE, errno.EAGAIN}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ETIMEDOUT}


def body_kind(error: BaseException) -> str | None:
    """The kind a JSON error body names by code or type, or, in a refused request, by its text."""
    body = _body(error)
    for name in ("code", "type"):
        if (kind := _CODES.get(str(body.get(name)).lower())) is not None:
            return kind
    status = _status(error)
    text = f"{body.get('message', '')} {error}"
    if status in {400, 402, 403, 429} and _NO_CREDIT.search(text):
        return "insufficient_quota"
    return "context_overflow" if status == 400 and _OVERFLOW.search(text) else None


def _body(error: BaseException) -> Mapping[str, Any]:
    """The error object of the reply. Some gateways send it with status 200: the client raises it in a ValueError."""
    body = getattr(error, "body", None)
    if body is None and isinstance(error, ValueError) and error.args and _within(_origin(error), _CLIENTS):
        body = error.args[0]
    if isinstance(body, Mapping):
        body = body.get("error", body)
    return body if isinstance(body, Mapping) else {}


def named_kind(error: BaseException) -> str | None:
    """The kind by class name, the most derived class first."""
    names = (_NAMES.get(cls.__name__) for cls in type(error).__mro__)
    kind = next((k for k in names if k is not None), None)
    if kind == "timeout" and any(_was_cut(inner) for inner in inner_errors(error)):
        return "connection"  # the openai SDK's client on aiohttp tells a connection that was cut as a time-out
    refused = kind == "bad_request" and _status(error) not in {None, 400, 422}
    return None if refused else kind


def _was_cut(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return "ClientConnectionError" in names and "TimeoutError" not in names


def status_kind(error: BaseException) -> str | None:
    """The kind by HTTP status. That a page is missing for a tool of the chain says nothing about our key."""
    status = _status(error)
    if status is None:
        return None
    kind = "server_error" if status in _SERVER_ERRORS else _STATUS.get(status)
    about_model = _within(type(error).__module__, _CLIENTS) or _inside_model_call(error)
    return kind if about_model or kind not in _MODEL_ONLY else None


def builtin_kind(error: BaseException) -> str | None:
    """The kind of Python's own connection, time-out and operating system errors."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, RuntimeError) and _OTHER_LOOP.search(str(error)):
        return "connection"  # a client kept a connection of an event loop that has ended; a new one is made next time
    if isinstance(error, ConnectionError):
        return "connection"
    if not isinstance(error, OSError):
        return None
    if error.errno in _FULL:
        return "disk_full"
    if error.errno in _BUSY:
        return "busy"
    # gaierror and ssl errors carry numbers of their own
    network = type(error).__module__ in {"socket", "ssl"} or error.errno in _UNREACHABLE
    return "connection" if network else None


def malformed_kind(error: BaseException) -> str | None:
    """`malformed_reply` when a plain Python error came out of a model client's own code.

    Broken JSON, an empty body, HTML and a reply without choices surface as such errors; the same
    errors out of the user's functions are theirs.
    """
    if not isinstance(error, ValueError | LookupError | TypeError | AttributeError):
        return None
    origin = _origin(error)
    if origin.startswith(_MODEL_CALL):
        # elsewhere in there a ValueError means that the chain fed the model something impossible
        return "malformed_reply" if isinstance(error, IndexError) else None
    return "malformed_reply" if _within(origin, _CLIENTS) else None


def inner_errors(error: BaseException) -> Iterator[BaseException]:
    """What is behind `error`: its causes, and what was being handled, nearest first."""
    seen, queue = {id(error)}, [error]
    while queue:
        current = queue.pop(0)
        context = None if current.__suppress_context__ else current.__context__
        for found in (current.__cause__, context):
            if found is not None and id(found) not in seen:
                seen.add(id(found))
                queue.append(found)
                yield found


def retry_after(error: BaseException) -> float | None:
    """Seconds the service asks to wait, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    headers = _headers(error)
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    return seconds if seconds is not None else _until(value, headers.get("date"))


def _headers(error: BaseException) -> Mapping[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        headers = getattr(error, "headers", None)
    return {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None


def _until(when: str | None, now: str | None) -> float | None:
    """Seconds between two HTTP dates; the server's own `Date` spares us a wrong clock."""
    try:
        end = parsedate_to_datetime(when) if when else None
        start = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return None if end is None else max(0.0, (end - start).total_seconds())
    except (TypeError, ValueError):
        return None


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for holder, name in ((error, "status_code"), (response, "status_code"), (error, "status"), (error, "code")):
        value: Any = getattr(holder, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return int(value)
    in_body = _body(error).get("code")
    if isinstance(in_body, int) and 400 <= in_body < 600:
        return in_body
    if isinstance(response, Mapping):  # botocore
        value = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return value if isinstance(value, int) else None
    return None


def _modules(error: BaseException) -> list[str]:
    """Module names of the traceback's frames, the outermost first."""
    names, tb = [], error.__traceback__
    while tb is not None:
        names.append(str(tb.tb_frame.f_globals.get("__name__", "")))
        tb = tb.tb_next
    return names


def _origin(error: BaseException) -> str:
    """The innermost module that is not plumbing both sides use."""
    for name in reversed(_modules(error)):
        if not _within(name, _PLUMBING):
            return name
    return ""


def _within(module: str, packages: tuple[str, ...]) -> bool:
    """Whether `module` is one of `packages` or inside one; a common prefix is not enough."""
    return any(module == name or module.startswith(name + ".") for name in packages)


def _inside_model_call(error: BaseException) -> bool:
    return any(name.startswith(_MODEL_CALL) for name in _modules(error))


# ------------------------------------------------------------ The one table of what is retried, scored 0, or ends

Action: TypeAlias = Literal["retry", "zero", "stop", "drop"]


class QuotaError(UnavailableError):
    """No credit is left; waiting alone does not help, paying and resuming does."""

    kind = "insufficient_quota"
    retryable = False


# kind -> (action, the error that ends a run with it, what to do about it)
_Row: TypeAlias = tuple[Action, type[PromptOptError], str]
TABLE: dict[str, _Row] = {
    "rate_limited": ("retry", UnavailableError, "Lower max_concurrency, or wait and resume."),
    "timeout": ("retry", UnavailableError, "Resume when the service answers again."),
    "connection": ("retry", UnavailableError, "Check the network and the base URL, then resume."),
    "server_error": ("retry", UnavailableError, "Resume when the service is back."),
    "conflict": ("retry", UnavailableError, "Resume when the service is back."),
    "malformed_reply": ("retry", UnavailableError, "Check that the base URL is a model endpoint, then resume."),
    "busy": ("retry", UnavailableError, "Raise the limit of open files, or lower max_concurrency, then resume."),
    "insufficient_quota": ("stop", QuotaError, "Add credit to the account, then resume."),
    "disk_full": ("stop", UnavailableError, "Free some space, then resume."),
    "unauthorized": ("stop", CredentialsError, "Check the API key."),
    "forbidden": ("stop", CredentialsError, "Check what the API key may use."),
    "not_found": ("stop", CredentialsError, "Check the model name and the base URL."),
    "context_overflow": ("zero", PromptError, "Shorten the prompt or the rows, or use a model with a larger window."),
    "content_filter": ("zero", PromptError, "The provider's filter refuses this text."),
    "refusal": ("zero", PromptError, "The model refuses to answer this text."),
    "truncated": ("zero", PromptError, "Raise the model's output limit."),
    "unparsable": ("zero", PromptError, "The chain's parser cannot read the reply."),
    "bad_request": ("zero", ConfigError, "Check the parameters sent to the model."),
    "target_error": ("zero", ConfigError, "Call the chain once on that row by hand."),
    "evaluator_error": ("zero", EvaluatorError, "Call the evaluator once on that row by hand."),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error or reply means for the row, the run and the user. `detail` is redacted."""

    kind: str
    action: Action
    detail: str = ""
    retry_after_s: float | None = None
    raised: PromptOptError | None = None
    """The error itself where it is already one of ours."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.action in {"retry", "drop"}

    def exhausted(self) -> Verdict:
        """This verdict once no try is left: an infrastructure failure drops the row."""
        action: Action = "drop" if self.action == "retry" else self.action
        return Verdict(self.kind, action, self.detail, self.retry_after_s, self.raised)

    def as_failure(self) -> Failure:
        """The mark on the row's outcome."""
        return Failure(self.kind, self.detail, scored_zero=self.action == "zero")

    def as_error(self, role: str) -> PromptOptError:
        """The exception that ends the run over this, with the exit code of product section 4."""
        if self.raised is not None:
            return self.raised
        _, error, mend = TABLE[self.kind]
        what = f"{role} failed with {self.kind}: {self.detail}"
        return error(what, mend=mend, role=role, retry_after_s=self.retry_after_s, failure=self.kind)


class CallError(PromptOptError):
    """A call that gave no usable reply, after all tries. Callers turn it into an outcome or `as_error`."""

    kind = "call_failed"

    def __init__(self, verdict: Verdict, *, tries: int = 1) -> None:
        times = "1 try" if tries == 1 else f"{tries} tries"
        super().__init__(f"{verdict.kind} after {times}: {verdict.detail}", retry_after_s=verdict.retry_after_s)
        self.verdict = verdict
        self.tries = tries


_DETECTORS: tuple[Callable[[BaseException], str | None], ...] = (
    body_kind,  # what the service says about itself wins over its status: 429 may be a lack of credit
    named_kind,
    status_kind,
    builtin_kind,
    malformed_kind,
)
_GRAVEST: tuple[Action, ...] = ("stop", "drop", "retry", "zero")


def classify(error: BaseException, role: str = "task") -> Verdict:
    """The verdict on `error` raised by a call made in `role` ("task", "optimizer", "judge").

    An error of unknown type is judged by what caused it, so an outage wrapped in the user's own
    exception is still an outage.

    >>> classify(ConnectionResetError("peer")).action
    'retry'
    >>> classify(KeyError("label")).kind
    'target_error'
    """
    for source in (error, *inner_errors(error)):
        if (verdict := _known(source, role)) is not None:
            return verdict
    kind = "evaluator_error" if role == "judge" else "target_error"
    return Verdict(kind, TABLE[kind][0], message_of(error))


def _known(error: BaseException, role: str) -> Verdict | None:
    """The verdict on this error alone, without what is behind it."""
    if isinstance(error, CallError):
        return error.verdict
    if isinstance(error, PromptOptError):
        return Verdict(error.kind, "stop", redact(str(error)), error.retry_after_s, error)
    if isinstance(error, BaseExceptionGroup):
        return min((classify(e, role) for e in error.exceptions), key=lambda v: _GRAVEST.index(v.action))
    kind = next((kind for detect in _DETECTORS if (kind := detect(error)) is not None), None)
    return None if kind is None else Verdict(kind, TABLE[kind][0], message_of(error), retry_after(error))


def classify_reply(message: Any) -> Verdict | None:
    """The verdict on a reply that came without an error; None when nothing is wrong with it.

    `truncated` is only a verdict on replies that then cannot be parsed; a caller that can read
    the text keeps it. Takes an AIMessage, or anything with its `response_metadata`.
    """
    meta = getattr(message, "response_metadata", None) or {}
    extra = getattr(message, "additional_kwargs", None) or {}
    return verdict_of_finish(str(meta.get("finish_reason") or meta.get("stop_reason") or ""), extra.get("refusal"))


def verdict_of_finish(finish_reason: str, refusal: Any = None) -> Verdict | None:
    """The verdict on a finish reason, whatever the provider calls it.

    >>> verdict_of_finish("SAFETY").kind
    'content_filter'
    >>> verdict_of_finish("stop") is None
    True
    """
    if refusal:
        return Verdict("refusal", "zero", redact(str(refusal))[:500])
    kind = _FINISH.get(finish_reason.lower())
    return None if kind is None else Verdict(kind, "zero", f"finish_reason is {finish_reason}")


_FINISH = {
    "length": "truncated",
    "max_tokens": "truncated",
    "model_length": "truncated",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "refusal": "refusal",
}


# ------------------------------------------------------------ What an endpoint said to a question that costs nothi

State = Literal["answers", "unlisted", "refused", "unreachable", "not asked", "no key"]


@dataclass(frozen=True)
class Probe:
    """What an endpoint said, for one role. A refusal or silence would end the run at its first call."""

    role: str
    name: str
    state: State
    detail: str = ""
    where: str = ""

    @property
    def exit_code(self) -> int:
        """The code that a run would end with (product section 4); 0 where nothing speaks against it."""
        return {"refused": 2, "no key": 2, "unreachable": 5}.get(self.state, 0)

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)
