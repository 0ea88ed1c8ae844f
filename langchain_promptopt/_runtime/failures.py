"""What a failed call means for the example, the run and the user: the one table of failures (product 7.7).

| action | meaning |
|---|---|
| retry | infrastructure: try again; after the last try the example is dropped, never scored 0 |
| zero | caused by the prompt, or by the user's own code: score 0, counted |
| drop | an evaluator raised: the example has no score, and another try would not help |
| stop | no example can succeed: end the run, which can be resumed |

An error of a model's client is infrastructure unless a prompt can cause it: a refused request (400, 413, 422) whose
reply is a model API's error object, a context overflow, a content filter, a refusal, a reply that is cut or cannot
be parsed. An exception from the user's own functions scores 0 as `target_error`: a candidate that makes the chain
crash must not win because its examples are dropped. A chain that always crashes has a baseline of 0 everywhere,
which stops the run and shows the example.

Errors are recognized by class names, statuses and places in the traceback, so that no provider's package has to be
imported.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from langchain_promptopt._collections import present
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

Action: TypeAlias = Literal["retry", "zero", "stop", "drop"]


class QuotaError(UnavailableError):
    """No credit is left. Waiting does not help: add credit, then resume."""

    kind = "insufficient_quota"
    retryable = False


class KindRow(NamedTuple):
    """One kind of failure: what to do, the error that ends a run over it, and how to mend it."""

    action: Action
    error: type[PromptOptError]
    mend: str
    probe: Literal["", "refused", "unreachable"] = ""
    """The state of an endpoint that answers a check before the run like this; "" where it shows nothing."""


TABLE: dict[str, KindRow] = {
    "rate_limited": KindRow("retry", UnavailableError, "Lower max_concurrency, or wait and resume."),
    "timeout": KindRow("retry", UnavailableError, "Resume when the service answers again.", "unreachable"),
    "connection": KindRow("retry", UnavailableError, "Check the network and the base URL, then resume.", "unreachable"),
    "server_error": KindRow("retry", UnavailableError, "Resume when the service is back.", "unreachable"),
    "conflict": KindRow("retry", UnavailableError, "Resume when the service is back."),
    "http_error": KindRow(
        "retry", UnavailableError, "Check the service, and any proxy or gateway in front of it, then resume."
    ),
    "malformed_reply": KindRow("retry", UnavailableError, "Check that the base URL is a model endpoint, then resume."),
    "model_error": KindRow("retry", UnavailableError, "Call the model once by hand, then resume."),
    "worker_lost": KindRow("retry", UnavailableError, "Look at the logs of the workers, then resume."),
    "busy": KindRow("retry", UnavailableError, "Raise the limit of open files, or lower max_concurrency, then resume."),
    "insufficient_quota": KindRow("stop", QuotaError, "Add credit to the account, then resume.", "refused"),
    "disk_full": KindRow("stop", UnavailableError, "Free some space, then resume."),
    "unauthorized": KindRow("stop", CredentialsError, "Check the API key.", "refused"),
    "forbidden": KindRow("stop", CredentialsError, "Check what the API key may use.", "refused"),
    "not_found": KindRow("stop", CredentialsError, "Check the model name and the base URL."),
    "context_overflow": KindRow(
        "zero", PromptError, "Shorten the prompt or the examples, or use a model with a larger context window."
    ),
    "content_filter": KindRow("zero", PromptError, "The provider's filter refuses this text."),
    "refusal": KindRow("zero", PromptError, "The model refuses to answer this text."),
    "truncated": KindRow("zero", PromptError, "Raise the model's output limit."),
    "unparsable": KindRow("zero", PromptError, "The chain's parser cannot read the reply."),
    "bad_request": KindRow("zero", ConfigError, "Check the parameters sent to the model."),
    "target_error": KindRow("zero", ConfigError, "Call the chain once on that example by hand."),
    "evaluator_error": KindRow("drop", EvaluatorError, "Call the evaluator once on that example by hand."),
}


@dataclass(frozen=True, slots=True)
class FailureKind:
    """What an error or reply means for the row, the run and the user. `detail` is redacted."""

    kind: str
    action: Action
    detail: str = ""
    retry_after_s: float | None = None
    raised: PromptOptError | None = None
    """The error itself where it is already one of ours."""

    @classmethod
    def of(cls, kind: str, detail: str = "", retry_after_s: float | None = None) -> FailureKind:
        """A failure of a kind, with the table's action.

        Args:
            kind: A key of `TABLE`.
            detail: The error in words, redacted.
            retry_after_s: Seconds the service asked to wait, if it did.
        """
        return cls(kind, TABLE[kind].action, detail, retry_after_s)

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.action in {"retry", "drop"}

    def exhausted(self) -> FailureKind:
        """The same failure after the last try: one of the infrastructure drops the example."""
        return replace(self, action="drop") if self.action == "retry" else self

    def as_failure(self) -> Failure:
        """The failure as the example's outcome records it."""
        return Failure(self.kind, self.detail, scored_zero=self.action == "zero")

    def as_error(self, role: str) -> PromptOptError:
        """The exception that ends the run because of this, with the exit code of product section 4."""
        if self.raised is not None:
            return self.raised
        row = TABLE[self.kind]
        what = f"the {role} call failed with {self.kind}: {self.detail}"
        return row.error(what, mend=row.mend, role=role, retry_after_s=self.retry_after_s, failure=self.kind)


class CallError(PromptOptError):
    """A call that gave no usable reply, after all tries. Callers turn it into an outcome or `as_error`."""

    kind = "call_failed"

    def __init__(self, failure: FailureKind, *, tries: int = 1) -> None:
        times = "1 try" if tries == 1 else f"{tries} tries"
        super().__init__(f"{failure.kind} after {times}: {failure.detail}", retry_after_s=failure.retry_after_s)
        self.failure = failure
        self.tries = tries


class FailedElsewhere(Exception):  # noqa: N818 - stands for any error
    """A try that failed and is classified already: in another process, or by what its reply says of itself."""

    def __init__(self, failure: FailureKind) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure


def classify(error: BaseException, role: str = "task") -> FailureKind:
    """What `error`, raised by a call made in `role` ("task", "optimizer", "judge"), means.

    An error of unknown type is judged by what caused it, so an outage wrapped in the user's own
    exception is still an outage.

    >>> classify(ConnectionResetError("peer")).action
    'retry'
    >>> classify(KeyError("label")).kind
    'target_error'
    """
    sources = (error, *inner_errors(error))
    for source in sources:
        if (found := _known(source, role)) is not None:
            return found
    for source in sources:
        if (kind := _unnamed_kind(source)) is not None:
            return FailureKind.of(kind, message_of(source), retry_after(source))
    return FailureKind.of("evaluator_error" if role == "judge" else "target_error", message_of(error))


_GRAVEST: tuple[Action, ...] = ("stop", "drop", "retry", "zero")


def _known(error: BaseException, role: str) -> FailureKind | None:
    """What this error alone means, without what is behind it."""
    if isinstance(error, CallError | FailedElsewhere):
        return error.failure
    if isinstance(error, PromptOptError):
        return FailureKind(error.kind, "stop", redact(str(error)), error.retry_after_s, error)
    if isinstance(error, BaseExceptionGroup):
        return min((classify(e, role) for e in error.exceptions), key=lambda v: _GRAVEST.index(v.action))
    for detect in _DETECTORS:
        kind = detect(error)
        if kind is not None:
            return FailureKind.of(kind, _detail(error, kind), retry_after(error))
    return None


def _detail(error: BaseException, kind: str) -> str:
    """The error in one line. Clients call any trouble with a connection one name, so what is behind it is said."""
    text = message_of(error)
    if kind not in {"connection", "timeout"} or "refused" in text.lower():
        return text
    behind = list(_all_inner(error))
    if any(isinstance(e, ConnectionRefusedError) or "refused" in str(e).lower() for e in behind):
        said = "" if _SAYS_LITTLE.search(text) else f"{text} "
        return f"{said}Connection refused: no server listens at this address."
    if _SAYS_LITTLE.search(text) and str(behind[-1]).strip() and behind[-1] is not error:
        return message_of(behind[-1])
    return text


_SAYS_LITTLE = re.compile(r"(Connection error|Request timed out)\.?$")
"""The OpenAI client's words for a connection that failed in any way."""


def never_sent(error: BaseException) -> bool:
    """Whether the call ended before a server was reached: no host, no route, no listener, no TLS.

    A proxy that cannot reach the next server was itself reached, so the call counts as sent.
    """
    addresses = set(map(_address, _all_inner(error))) - {None}
    if len(addresses) > 1:
        return False
    for source in _all_inner(error):
        names = {cls.__name__ for cls in type(source).__mro__}
        if names & _UNSENT or isinstance(source, ConnectionRefusedError):
            return True
    return False


def _address(error: BaseException) -> str | None:
    """The address of the request behind an error of httpx or an SDK."""
    try:
        request = getattr(error, "request", None)
    except RuntimeError:  # httpx, where it was not set
        return None
    url = getattr(request, "url", None)
    return None if url is None else str(url)


def classify_reply(message: Any) -> FailureKind | None:
    """The failure in a reply that came without an error; None where there is none.

    `truncated` counts only for replies that then cannot be parsed; a caller that can read
    the text keeps it. Takes an AIMessage, or any object with its `response_metadata`.
    """
    meta = getattr(message, "response_metadata", None) or {}
    extra = getattr(message, "additional_kwargs", None) or {}
    return classify_finish(str(meta.get("finish_reason") or meta.get("stop_reason") or ""), extra.get("refusal"))


def classify_finish(finish_reason: str, refusal: object = None) -> FailureKind | None:
    """What a finish reason means, whatever the provider calls it.

    >>> classify_finish("SAFETY").kind
    'content_filter'
    >>> classify_finish("stop") is None
    True
    """
    if refusal:
        return FailureKind.of("refusal", redact(str(refusal))[:500])
    kind = _FINISH.get(finish_reason.lower())
    return None if kind is None else FailureKind.of(kind, f"finish_reason is {finish_reason}")


def by_its_end(value: Any, end: FailureKind | None) -> Any:
    """An answer that the model refused, or a cut one that cannot be read, as the failure by its own name.

    Args:
        value: The answer, or the Failure it ended as.
        end: What the last reply says of its end.
    """
    if end is None:
        return value
    unread = isinstance(value, Failure) and value.kind == "unparsable"
    if end.kind == "truncated":  # a caller that can read the text keeps it
        return replace(value, kind="truncated") if unread else value
    return end.as_failure() if unread or not isinstance(value, Failure) else value


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
    "sensitive": "content_filter",
    "error": "server_error",  # OpenRouter: the provider behind it failed
    "network_error": "server_error",
    "insufficient_system_resource": "server_error",
    "abort": "server_error",  # vLLM gave the request up
    "refusal": "refusal",
}

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
_OWN_TROUBLE = re.compile(
    r"(?i)overloaded|at capacity|temporarily|timed out|internal (?:server )?error|service unavailable|out of memory"
    r"|engine ?dead|connection (?:error|reset|refused)|(?:try again|retry) (?:later|in\b|shortly|soon)"
)
"""What a service says of its own trouble in a reply with a status of refused requests, as gateways and vLLM send it."""
_OWN_KIND = re.compile(
    r"(?i)server_?error|internal_?error|\bapi_?error|overloaded|unavailable|time_?out|engine|connection"
)
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
    "DecodingError": "connection",  # httpx: a body that is not encoded as its header says
    "ContentDecodingError": "connection",  # requests
    "ClientConnectionError": "connection",  # aiohttp
    "ClientPayloadError": "connection",
    "IncompleteReadError": "connection",  # asyncio
    "TimeoutExpired": "timeout",  # subprocess
    "BrokenExecutor": "worker_lost",
    "HttpProcessingError": "connection",  # aiohttp: bytes that are not HTTP
    "HTTPException": "connection",  # http.client
    "ChunkedEncodingError": "connection",
    "LangSmithRateLimitError": "rate_limited",
    "LangSmithConnectionError": "connection",
    "LangSmithAPIError": "server_error",
}

_PROMPT_STATUS = {400: "bad_request", 413: "context_overflow", 422: "bad_request"}
"""Statuses by which a model API refuses what the prompt made of the request."""
_UNSENT = {"ConnectError", "ClientConnectorError", "gaierror", "SSLCertVerificationError"}
"""Errors of clients that could not connect: of httpx, httpcore, aiohttp and the standard library.

ConnectTimeout is not among them: the SDK also uses it for a connection that was cut during a call."""
_STOP_STATUS = {401: "unauthorized", 402: "insufficient_quota", 403: "forbidden", 404: "not_found"}
_RETRY_STATUS = {408: "timeout", 409: "conflict", 425: "conflict", 429: "rate_limited"}
_ERROR_KEYS = ("error", "message", "detail", "errors", "code")
"""Keys under which the JSON of a model API reports an error."""
_TOOL_STATUS = frozenset({400, 401, 402, 403, 404, 405, 406, 410, 411, 412, 413, 414, 415, 416, 417, 422, 451})
"""Statuses by which a tool of the chain refuses the model's request: that is not an outage."""

_CLIENTS = (
    "anthropic",
    "azure",
    "botocore",
    "cerebras",
    "cohere",
    "fireworks",
    "google",
    "groq",
    "huggingface_hub",
    "ibm_watsonx_ai",
    "langchain_anthropic",
    "langchain_aws",
    "langchain_azure_ai",
    "langchain_cerebras",
    "langchain_cohere",
    "langchain_deepseek",
    "langchain_fireworks",
    "langchain_google_genai",
    "langchain_google_vertexai",
    "langchain_groq",
    "langchain_huggingface",
    "langchain_ibm",
    "langchain_litellm",
    "langchain_mistralai",
    "langchain_nvidia_ai_endpoints",
    "langchain_ollama",
    "langchain_openai",
    "langchain_openrouter",
    "langchain_perplexity",
    "langchain_together",
    "langchain_xai",
    "langsmith",
    "litellm",
    "mistralai",
    "ollama",
    "openai",
    "together",
)
_MODEL_CALL = "langchain_core.language_models"
_IMPLEMENTATIONS = frozenset({"_generate", "_agenerate", "_stream", "_astream", "_call", "_acall"})
"""The methods in which a LangChain model does its work."""
_PARSING = "openai.lib._parsing"
_NO_STREAM = "No generation"
"""What langchain-core says of a stream without any part."""
_PLUMBING = ("json", "asyncio", "concurrent", "contextlib", "threading", "httpx", "httpx2", "httpcore", "pydantic")
_BUSY = {
    errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENOLCK, errno.ENOMEM, errno.ENOBUFS,
    errno.ESTALE,
}  # fmt: skip
_NO_THREAD = re.compile(r"can't start new thread|cannot schedule new futures")
_DATABASE_AWAY = re.compile(
    r"(?i)locked|busy|disk I/O|unable to open|timed? ?out|connection|connect to|gone away|shutting down|starting up"
)
"""What an OperationalError says of the database; one about the statement may be the model's fault."""
_GRPC = {
    "UNAVAILABLE": "server_error",
    "INTERNAL": "server_error",
    "ABORTED": "conflict",
    "DEADLINE_EXCEEDED": "timeout",
    "RESOURCE_EXHAUSTED": "rate_limited",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ETIMEDOUT}


def _body_kind(error: BaseException) -> str | None:
    """The kind a JSON error body names by code or type, or, in a refused request, by its text."""
    body = _body(error)
    for name in ("code", "type"):
        if (kind := _CODES.get(str(body.get(name)).lower())) is not None:
            return kind
    status = _status(error)
    text = f"{body.get('message', '')} {error}"
    if status in {400, 402, 403, 429} and _NO_CREDIT.search(text):
        return "insufficient_quota"
    if status not in _PROMPT_STATUS:
        return None
    if _OVERFLOW.search(text):
        return "context_overflow"
    own = _OWN_TROUBLE.search(text) or _OWN_KIND.search(f"{body.get('code')} {body.get('type')}")
    return "server_error" if own else None


def _named_kind(error: BaseException) -> str | None:
    """The kind by class name, the most derived class first."""
    names = (_NAMES.get(cls.__name__) for cls in type(error).__mro__)
    kind = next(iter(present(names)), None)
    if kind == "timeout" and any(map(_was_cut, inner_errors(error))):
        return "connection"  # the openai SDK's client on aiohttp reports a connection that was cut as a time-out
    by_status = kind == "bad_request" and _status(error) is not None
    return None if by_status else kind


def _was_cut(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return "ClientConnectionError" in names and "TimeoutError" not in names


def _protocol_kind(error: BaseException) -> str | None:
    """`connection` where the client made up a status for bytes that are not HTTP, as aiohttp does."""
    names = set()
    for inner in inner_errors(error):
        for cls in type(inner).__mro__:
            names.add(cls.__name__)
    return "connection" if "HttpProcessingError" in names else None


def _status_kind(error: BaseException) -> str | None:
    """The kind by HTTP status. A 401 or 404 from a tool of the chain is not about our key or model."""
    status = _status(error)
    if status is None or 200 <= status < 300:
        return None
    if status >= 500:
        return "server_error"
    if status in _RETRY_STATUS:
        return _RETRY_STATUS[status]
    if not (_within(type(error).__module__, _CLIENTS) or _in_model(error)):
        return None if status in _TOOL_STATUS or status < 400 else "http_error"
    if status in _PROMPT_STATUS:
        return _PROMPT_STATUS[status] if _is_api_answer(error) else "http_error"
    return _STOP_STATUS.get(status, "http_error")


def _builtin_kind(error: BaseException) -> str | None:
    """The kind of Python's own connection, time-out and operating system errors."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, RuntimeError) and _OTHER_LOOP.search(str(error)):
        return "connection"  # a client kept a connection of an event loop that has ended; a new one is made next time
    if isinstance(error, ConnectionError):
        return "connection"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_THREAD.search(str(error))):
        return "busy"
    if not isinstance(error, OSError):
        return None
    if error.errno in _FULL:
        return "disk_full"
    if error.errno in _BUSY:
        return "busy"
    # gaierror and ssl errors carry numbers of their own
    network = type(error).__module__ in {"socket", "ssl"} or error.errno in _UNREACHABLE
    return "connection" if network else None


def _services_kind(error: BaseException) -> str | None:
    """The kind of errors of databases, gRPC, urllib and requests' retries, which share class names with others."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "OperationalError" in names and _DATABASE_AWAY.search(str(error)):
        return "busy"
    if type(error).__name__ == "URLError" or {"RetryError", "RequestException"} <= names:  # without a status
        return "connection"
    code = getattr(error, "code", None)
    if not callable(code) or "RpcError" not in names:
        return None
    with suppress(Exception):
        return _GRPC.get(str(getattr(code(), "name", "")))
    return None


_DETECTORS: tuple[Callable[[BaseException], str | None], ...] = (
    _body_kind,  # what the service says about itself wins over its status: 429 may be a lack of credit
    _protocol_kind,
    _named_kind,
    _status_kind,
    _builtin_kind,
    _services_kind,
)


def _unnamed_kind(error: BaseException) -> str | None:
    """The kind of an error that only its place in the traceback shows.

    Broken JSON, a reply without choices, endless brackets and fields of the wrong type raise plain Python errors in
    the client's code: not the prompt's fault. The same errors from the user's functions are the user's.
    """
    modules = _modules(error)
    origin = _origin(error)
    if any(name.startswith(_PARSING) for name in modules):
        return "unparsable"  # the SDK reads an answer into the user's class
    if _within(origin, _CLIENTS):
        return "malformed_reply"
    if origin.startswith(_MODEL_CALL) and (
        isinstance(error, LookupError | AttributeError) or str(error).startswith(_NO_STREAM)
    ):
        return "malformed_reply"  # no generation in it; a ValueError in there is about what the chain fed the model
    if not _in_implementation(error):
        return None
    return "malformed_reply" if any(_within(name, _CLIENTS) for name in modules) else "model_error"


def inner_errors(error: BaseException) -> Iterator[BaseException]:
    """The errors behind `error`: its causes and contexts, nearest first."""
    seen, queue = {id(error)}, [error]
    while queue:
        current = queue.pop(0)
        context = None if current.__suppress_context__ else current.__context__
        for found in (current.__cause__, context):
            if found is not None and id(found) not in seen:
                seen.add(id(found))
                queue.append(found)
                yield found


def _all_inner(error: BaseException) -> Iterator[BaseException]:
    """`error`, what is behind it, and the members of groups among them."""
    for source in (error, *inner_errors(error)):
        yield source
        if isinstance(source, BaseExceptionGroup):
            yield from source.exceptions


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
    """Seconds between two HTTP dates; `now` is the server's `Date`, because our clock may be wrong."""
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
        if isinstance(value, int) and 100 <= value < 1000:
            return int(value)
    in_body = _body(error).get("code")
    if isinstance(in_body, int) and 400 <= in_body < 600:
        return in_body
    if isinstance(response, Mapping):  # botocore
        value = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return value if isinstance(value, int) else None
    return None


def _body(error: BaseException) -> Mapping[str, Any]:
    """The error object of the reply. Some gateways send it with status 200: the client raises it in a ValueError."""
    body = getattr(error, "body", None)
    if body is None and isinstance(error, ValueError) and error.args and _within(_origin(error), _CLIENTS):
        body = error.args[0]
    if isinstance(body, Mapping):
        body = body.get("error", body)
    return body if isinstance(body, Mapping) else {}


def _is_api_answer(error: BaseException) -> bool:
    """Whether a model API wrote the reply behind this error: JSON with an error in it, not a proxy's page."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        return bool(response.get("Error"))
    text = getattr(response, "text", None)
    if isinstance(text, str):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return False
    else:  # SDKs that keep the object, or a text of it, and not the response
        said = _kept_answer(error)
    if isinstance(said, str):
        return not said.lstrip().startswith("<")
    return isinstance(said, Mapping) and any(map(said.get, _ERROR_KEYS))


def _kept_answer(error: BaseException) -> Any:
    """What an error has of the reply in its fields; None where they are empty."""
    for name in ("body", "details", "error", "message"):
        found = getattr(error, name, None)
        if found:
            return found
    return None


def _modules(error: BaseException) -> list[str]:
    """Module names of the traceback's frames, the outermost first."""
    return [module for module, _ in _frames(error)]


def _frames(error: BaseException) -> list[tuple[str, str]]:
    """Module and function of the traceback's frames, the outermost first."""
    found, tb = [], error.__traceback__
    while tb is not None:
        found.append((str(tb.tb_frame.f_globals.get("__name__", "")), tb.tb_frame.f_code.co_name))
        tb = tb.tb_next
    return found


def _origin(error: BaseException) -> str:
    """The innermost module of the traceback, without libraries that clients and users' code both use."""
    for name in reversed(_modules(error)):
        if not _within(name, _PLUMBING):
            return name
    return ""


def _within(module: str, packages: tuple[str, ...]) -> bool:
    """Whether `module` is one of `packages` or inside one; a common prefix is not enough."""
    return any(module == name or module.startswith(name + ".") for name in packages)


def _in_model(error: BaseException) -> bool:
    """Whether a LangChain model was being called."""
    return any(name.startswith(_MODEL_CALL) for name in _modules(error))


def _in_implementation(error: BaseException) -> bool:
    """Whether a LangChain model was at work on a request, which its base class had accepted."""
    frames = _frames(error)
    for n, (module, _) in enumerate(frames):
        if module.startswith(_MODEL_CALL):
            return any(function in _IMPLEMENTATIONS for _, function in frames[n:])
    return False


State = Literal["answers", "unlisted", "refused", "unreachable", "not asked", "no key"]


@dataclass(frozen=True)
class Probe:
    """An endpoint's answer to a check that costs nothing; after a refusal a run would end at its first call."""

    role: str
    name: str
    state: State
    detail: str = ""
    where: str = ""
    kind: str = ""
    """The kind of failure, where the state is that of one."""
    listed: tuple[str, ...] = ()
    """Names the endpoint lists, where the model's own is not among them."""

    @property
    def exit_code(self) -> int:
        """The exit code that a run would end with (product section 4); 0 where the check found no problem."""
        return {"refused": 2, "no key": 2, "unreachable": 5}.get(self.state, 0)

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        found: dict[str, str] = {}
        for name, value in asdict(self).items():
            if name not in {"kind", "listed"}:
                found[name] = value
        return found
