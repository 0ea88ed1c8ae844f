"""The one table of what is retried, scored 0, or ends the run (product 8, 10.18).

| action | meaning |
|---|---|
| retry | infrastructure: try again; when tries are used up the row is dropped, never scored 0 |
| zero | the prompt (or the user's own code under it) is to blame: score 0, counted |
| stop | nobody's row can succeed: end the run, resumable |

An exception out of the user's own functions scores 0 as `target_error`: a candidate that makes the
chain crash must not win by having its rows dropped. A chain that crashes by itself gives a
baseline of all 0, and that stops the run and shows the row (product 7.7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._runtime.redact import message_of, redact
from langchain_promptopt._runtime.symptoms import (
    body_kind,
    builtin_kind,
    inner_errors,
    malformed_kind,
    named_kind,
    retry_after,
    status_kind,
)
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
