"""What a run reads from and writes to LangSmith. Everything that writes is off unless asked for.

The LangSmith API behind our own retries and our own errors.

The SDK repeats POSTs blindly and tells a masked key in its error texts. Here a request is repeated
only where that is safe: it reads, its ids are ours, or what became of it is read back first.

Whether LangSmith takes our key, asked where a run would need it.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import requests
from langsmith import Client
from langsmith.utils import (
    LangSmithConflictError,
    LangSmithError,
    LangSmithNotFoundError,
    LangSmithUserError,
    tracing_is_enabled,
)
from urllib3.util.retry import Retry

from langchain_promptopt._langsmith.otel import tracing_mode
from langchain_promptopt._runtime.failures import Probe, State
from langchain_promptopt.errors import ConfigError, CredentialsError, PromptOptError, UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, kw_only=True)
class LangSmithOptions:
    """The `langsmith=` argument of `optimize`, and `[langsmith]` of a config file.

    Attributes:
        as_of: Version of the dataset: a tag, or a time in ISO form; None fixes the latest.
        metadata: Only examples whose metadata holds all of this.
        queues: Annotation queues whose reviewed runs give notes to their examples.
        write_splits: Write the splits made here back, when the dataset has none.
        experiments: Publish baseline, step winners and final as experiments of the dataset.
        judge_model: Model of judges named "langsmith:..."; None is the one stored with them.
        project: Project of the traces, where tracing is on; None is LANGSMITH_PROJECT.
    """

    as_of: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
    write_splits: bool = False
    experiments: bool = False
    judge_model: Any = None
    project: str | None = None

    @classmethod
    def of(cls, given: LangSmithOptions | Mapping[str, Any] | None) -> LangSmithOptions:
        """Options from a mapping. Raises ConfigError for unknown names."""
        if isinstance(given, LangSmithOptions):
            return given
        values = dict(given or {})
        known = {f.name for f in fields(cls)}
        if unknown := sorted(values.keys() - known):
            msg = f"langsmith has no option {unknown[0]!r}"
            raise ConfigError(msg, mend=f"It has: {', '.join(sorted(known))}.")
        if "queues" in values:
            queues = values["queues"]
            values["queues"] = (queues,) if isinstance(queues, str) else tuple(queues)
        return cls(**values)


# ------------------------------------------------------------ The LangSmith API behind our own retries and our own

T = TypeVar("T")

HOSTED = "smith.langchain.com"
_TRIES = 7
_FIRST_PAUSE = 0.25  # seconds; doubled each time, so an endpoint that is down is given up after about 16
_LONGEST_PAUSE = 10.0
_LONGEST_ASKED = 60.0  # a rate limit of LangSmith lasts a minute; nobody waits longer
_AGAIN = frozenset({408, 425, 429})
_REFUSED = {401: "refused the key", 403: "refused permission", 404: "knows nothing of it"}
_SPOILT = (requests.RequestException, ValueError, KeyError, TypeError)
"""What the SDK raises for an answer that is cut off, empty, or a page of HTML."""


class Service:
    """A client, and how its calls are tried.

    Args:
        client: The SDK's client; None makes one from the LANGSMITH_* settings.
        sleep: Waits between tries.
        tries: How often a call is made at most.
    """

    def __init__(
        self, client: Client | None = None, *, sleep: Callable[[float], None] = time.sleep, tries: int = _TRIES
    ) -> None:
        self.client = client if client is not None else make_client()
        self._sleep = sleep
        self._tries = tries

    def call(self, what: str, act: Callable[[], T], *, settled: Callable[[], T | None] | None = None) -> T:
        """The value of `act`, tried again after passing failures.

        Args:
            what: The call in words, for errors: "reading dataset 'x'".
            act: Makes the call. It must be repeatable, or `settled` must be given.
            settled: Asked before every repetition: what the lost call has brought about, or None.

        Raises:
            LangSmithConflictError: 409, for the caller to read.
            CredentialsError: 401, 403, 404.
            UsageError: Another refusal of the request.
            UnavailableError: LangSmith stayed out of reach.
        """
        for number in range(1, self._tries + 1):
            try:
                if number > 1 and settled is not None and (known := settled()) is not None:
                    return known
                return act()
            except PromptOptError:
                raise
            except LangSmithConflictError:
                raise
            except (LangSmithError, *_SPOILT) as error:
                self._wait(what, error, number)
        msg = f"{what}: no try was made"
        raise UnavailableError(msg, role="langsmith")

    def _wait(self, what: str, error: Exception, number: int) -> None:
        """Pause before the next try, or raise what a user should read."""
        status, pause = status_of(error), _FIRST_PAUSE * 2 ** (number - 1)
        if isinstance(error, LangSmithUserError) and status is None:
            msg = f"{what}: {str(error)[:300]}"
            raise CredentialsError(msg, role="langsmith") from None
        if status is not None and 400 <= status < 500 and status not in _AGAIN:
            raise self._refusal(what, error, status) from None
        if number >= self._tries:
            said = f"answered {status}" if status is not None else f"gave no usable answer ({type(error).__name__})"
            msg = f"{what}: LangSmith {said} {number} times"
            mend = "Check LANGSMITH_ENDPOINT and the network, then try again."
            raise UnavailableError(
                msg, where=self.client.api_url, mend=mend, role="langsmith", retry_after_s=asked_pause(error)
            ) from None
        self._sleep(max(min(pause, _LONGEST_PAUSE), min(asked_pause(error) or 0.0, _LONGEST_ASKED)))

    def _refusal(self, what: str, error: Exception, status: int) -> PromptOptError:
        where = self.client.api_url
        if status in _REFUSED:
            mend = {
                401: "Set LANGSMITH_API_KEY to a key of this endpoint.",
                403: "Use a key that may do this; one for a whole organization needs LANGSMITH_WORKSPACE_ID.",
                404: "Check the name, and that the key belongs to its workspace.",
            }[status]
            msg = f"{what}: LangSmith {_REFUSED[status]} ({status})"
            return CredentialsError(msg, where=where, mend=mend, role="langsmith", status=status)
        msg = f"{what}: LangSmith refused the request ({status}): {_body(error)}"
        return UsageError(msg, where=where, role="langsmith", status=status)

    # ------------------------------------------------------------ plain requests

    def ask(self, what: str, method: Any, path: str, **kwargs: Any) -> Any:
        """The JSON answer of a request that may be repeated."""
        return self.call(what, lambda: self.once(method, path, **kwargs))

    def once(self, method: Any, path: str, **kwargs: Any) -> Any:
        """The JSON answer of one request; {} for an empty one with status 204."""
        response = self.client.request_with_retries(method, path, **kwargs)
        return response.json() if response.status_code != 204 else {}  # no content

    def find(self, what: str, path: str, **kwargs: Any) -> Any | None:
        """The JSON answer, or None where there is no such thing (404)."""

        def act() -> Any | None:
            try:
                return self.once("GET", path, **kwargs)
            except LangSmithNotFoundError:
                return None

        return self.call(what, act)

    @cached_property
    def workspace(self) -> Mapping[str, Any]:
        """Id, name and handle of the workspace the key belongs to."""
        found: Mapping[str, Any] = self.ask("reading the workspace", "GET", "/settings")
        return found


class _Once(Client):
    """The SDK's client, where the SDK's own calls do not sleep either: some would, half a minute at each 429."""

    def request_with_retries(self, method: Any, pathname: str, **kwargs: Any) -> requests.Response:
        handle = kwargs.get("handle_response")
        if handle is None:
            kwargs["stop_after_attempt"] = 1
        else:  # the SDK asks its handler only while a try is left, and sleeps before that try
            kwargs["handle_response"] = _or_raise(handle)
        return super().request_with_retries(method, pathname, **kwargs)


def _or_raise(handle: Callable[[requests.Response, int], Any]) -> Callable[[requests.Response, int], bool]:
    def answered(response: requests.Response, number: int) -> bool:
        if not handle(response, number):
            raise requests.HTTPError(response.reason, response=response)
        return True

    return answered


def make_client() -> Client:
    """A client of the LANGSMITH_* settings that never repeats a request by itself.

    Raises CredentialsError, without opening a connection, where the hosted service has no key.
    """
    return require_key("Set LANGSMITH_API_KEY (and LANGSMITH_ENDPOINT for an endpoint of your own).")


def require_key(mend: str) -> Client:
    """A client of the settings, before which no connection was opened. Raises CredentialsError, ending with `mend`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a missing key is our error below, said once
        client = _Once(
            retry_config=Retry(0),
            auto_batch_tracing=False,
            disable_prompt_cache=True,
            tracing_mode="langsmith",  # in the others it would make a global tracer provider that sends the key along
        )
    if not client.api_key and HOSTED in client.api_url:
        msg = "no LangSmith key is set"
        raise CredentialsError(msg, where=client.api_url, mend=mend, role="langsmith")
    return client


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _response(error: Exception) -> requests.Response | None:
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, requests.Response):
            return response
    return None


def status_of(error: Exception) -> int | None:
    """The status LangSmith answered with, where that was the failure."""
    response = _response(error)
    return response.status_code if response is not None and response.status_code >= 400 else None


def asked_pause(error: Exception) -> float | None:
    """Seconds LangSmith asked to wait."""
    response = _response(error)
    try:
        return float(response.headers["Retry-After"]) if response is not None else None
    except (KeyError, ValueError):
        return None


def _body(error: Exception) -> str:
    response = _response(error)
    return response.text[:200] if response is not None else type(error).__name__


# ------------------------------------------------------------ Whether LangSmith takes our key, asked where a run w

_TRIES_probing = 2


def probe_langsmith(*, wanted: bool) -> tuple[Probe, ...]:
    """The workspace our key belongs to; nothing is asked unless it is `wanted` or traces would go there."""
    if not wanted and not (tracing_is_enabled() is True and tracing_mode() != "otel"):
        return ()
    where = ""
    try:
        service = Service(tries=_TRIES_probing)
        where = service.client.api_url
        name = str(service.workspace.get("display_name") or "")
    except PromptOptError as error:
        state: State = "refused" if isinstance(error, CredentialsError) else "unreachable"
        return (Probe("langsmith", "", state, str(error), where),)
    return (Probe("langsmith", name, "answers", where=where),)
