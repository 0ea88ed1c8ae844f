"""LangSmith's options, its API with our own retries and errors, and a check of its key.

The SDK repeats every POST and shows parts of the key in error messages. Here a request is repeated only where that
is safe: it only reads, its ids are ours, or its result is looked up first. Writing is off unless it is asked for.
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
        queues: Annotation queues whose reviewed runs give notes to their examples; of a project, only runs in one of
            these queues are read.
        write_splits: Write the splits made here back, when the dataset has none.
        experiments: Publish baseline, step winners and final as experiments of the dataset.
        judge_model: Model of judges named "langsmith:..."; None is the one stored with them.
        project: Project of the traces, where tracing is on; None is LANGSMITH_PROJECT.
        window: Of `data="langsmith-project:NAME"`: when runs began, as "24h", "7d" or "START/END". A window without
            an end ends at the last full hour or day; `as_of` is another end.
        filter: The runs' condition in LangSmith's filter language.
        sample: Share of the runs that is taken, 0 to 1; the same seed takes the same runs.
        limit: How many runs become examples at most.
        reference: Where references come from: "correction", "feedback:KEY", "feedback:KEY>=4", "evaluator:KEY" or
            "preference:KEY".
        issues: Whether the project's issues become notes of the runs they name.
        insights: Id of an insights report whose clusters become notes of their runs.
    """

    as_of: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
    write_splits: bool = False
    experiments: bool = False
    judge_model: Any = None
    project: str | None = None
    window: str | None = None
    filter: str | None = None
    sample: float | None = None
    limit: int | None = None
    reference: str | None = None
    issues: bool = False
    insights: str | None = None

    @property
    def of_projects(self) -> tuple[str, ...]:
        """The options given that only a project's runs can follow."""
        names = ("window", "filter", "sample", "limit", "reference", "issues", "insights")
        return tuple(name for name in names if getattr(self, name) not in (None, False))

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


T = TypeVar("T")

HOSTED = "smith.langchain.com"
_TRIES = 7
_PROBE_TRIES = 2
_FIRST_PAUSE = 0.25  # seconds; doubled each time, so the tries end after about 16 seconds
_LONGEST_PAUSE = 10.0
_LONGEST_ASKED = 60.0  # a rate limit of LangSmith lasts a minute; a longer pause is not waited for
_AGAIN = frozenset({408, 425, 429})
_REFUSED = {401: "refused the key", 403: "refused permission", 404: "did not find it"}
_SPOILT = (requests.RequestException, ValueError, KeyError, TypeError)
"""The SDK's errors for an answer that is cut off, empty, or a page of HTML."""


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
        """The value of `act`, tried again after temporary failures.

        Args:
            what: The call in words, for errors: "reading dataset 'x'".
            act: Makes the call. It must be repeatable, or `settled` must be given.
            settled: Called before every repetition; returns the result of the lost call if it was carried out,
                else None.

        Raises:
            LangSmithConflictError: Status 409; the caller decides what it means.
            CredentialsError: Status 401, 403 or 404.
            UsageError: LangSmith refused the request for another reason.
            UnavailableError: LangSmith could not be reached, or failed each time.
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
        """Pause before the next try, or raise the error for the user."""
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

    def ask(self, what: str, method: Any, path: str, **kwargs: Any) -> Any:
        """The JSON answer of a request that may be repeated.

        Args:
            what: The request in words, for errors: "reading feedback".
            method: "GET", "POST", "PATCH" or "DELETE".
            path: The path below the API's address.
            **kwargs: As for `requests`: `params`, `json`.

        Raises:
            LangSmithConflictError: Status 409; the caller decides what it means.
            CredentialsError: Status 401, 403 or 404.
            UsageError: LangSmith refused the request for another reason.
            UnavailableError: LangSmith could not be reached, or failed each time.
        """
        return self.call(what, lambda: self.once(method, path, **kwargs))

    def once(self, method: Any, path: str, **kwargs: Any) -> Any:
        """The JSON answer of one request, which is not repeated; the SDK's errors are raised as they are.

        Args:
            method: "GET", "POST", "PATCH" or "DELETE".
            path: The path below the API's address.
            **kwargs: As for `requests`: `params`, `json`.

        Returns:
            The answer; {} for status 204.
        """
        response = self.client.request_with_retries(method, path, **kwargs)
        return response.json() if response.status_code != 204 else {}  # no content

    def find(self, what: str, path: str, **kwargs: Any) -> Any | None:
        """The JSON answer of a GET, or None for status 404.

        Args:
            what: The request in words, for errors: "reading tags of 'x'".
            path: The path below the API's address.
            **kwargs: As for `requests`: `params`.

        Raises:
            CredentialsError: Status 401 or 403.
            UsageError: LangSmith refused the request for another reason.
            UnavailableError: LangSmith could not be reached, or failed each time.
        """

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
    """The SDK's client without its own retries, some of which sleep for half a minute at each 429."""

    def request_with_retries(self, method: Any, pathname: str, **kwargs: Any) -> requests.Response:
        """One request.

        Args:
            method: The HTTP method.
            pathname: The path below the API's address.
            **kwargs: The SDK's own.
        """
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
    """A client of the LANGSMITH_* settings. Raises CredentialsError, ending with `mend`, where the key is missing."""
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
    """The HTTP status of the answer that is behind this error; None where there was no answer."""
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


def probe_langsmith(*, wanted: bool) -> tuple[Probe, ...]:
    """The workspace of the key; () where neither the run (`wanted`) nor its traces use LangSmith."""
    if not wanted and not (tracing_is_enabled() is True and tracing_mode() != "otel"):
        return ()
    where = ""
    try:
        service = Service(tries=_PROBE_TRIES)
        where = service.client.api_url
        name = str(service.workspace.get("display_name") or "")
    except PromptOptError as error:
        state: State = "refused" if isinstance(error, CredentialsError) else "unreachable"
        return (Probe("langsmith", "", state, str(error), where),)
    return (Probe("langsmith", name, "answers", where=where),)
