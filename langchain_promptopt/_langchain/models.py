"""Chat models from a name, an object or an openai client; their ids in a run's record; a check that costs nothing.

Estimates and dry runs may build a model whose key is not set. `probe` asks an endpoint whether it accepts the key
and has the model, without a paid call.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretBytes, SecretStr

from langchain_promptopt._collections import ids_of, map_values
from langchain_promptopt._imports import forget_own_modules, users_errors
from langchain_promptopt._langchain.fast import quick
from langchain_promptopt._runtime.failures import TABLE, Probe, classify
from langchain_promptopt._runtime.pace import is_near
from langchain_promptopt.errors import ConfigError, CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models.chat_models import BaseChatModel

NO_KEY = "promptopt-without-key"
"""Used in place of a missing key; a model that has it must not be called."""
_missing: ContextVar[list[CredentialsError] | None] = ContextVar("promptopt_missing_keys", default=None)


@contextmanager
def without_keys() -> Iterator[list[CredentialsError]]:
    """A block in which a model can be built although its key is not set; yields the list of what is missing.

    Nested blocks share the outermost one's list. Nothing in the block may call a model.
    """
    outer = _missing.get()
    if outer is not None:
        yield outer
        return
    found: list[CredentialsError] = []
    token = _missing.set(found)
    before = set(sys.modules)
    try:
        yield found
    finally:
        _missing.reset(token)
        for name in [n for n, value in os.environ.items() if value == NO_KEY]:
            del os.environ[name]
            forget_own_modules(set(sys.modules) - before)


_KEY_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*(?:KEY|TOKEN|SECRET)\b")


def built_without_key(build: Callable[[], Any]) -> Any:
    """What `build` makes of the user's code; in a block of `without_keys` a key it lacks has a stand-in until the end.

    Raises:
        CredentialsError: It lacks a key, and calls may be made, or the key's name is not told.
    """
    while True:
        try:
            return build()
        except CredentialsError as error:
            name = _KEY_NAME.search(str(error))
            if name is None or name[0] in os.environ or not note_missing(error):
                raise
            os.environ[name[0]] = NO_KEY


def note_missing(error: CredentialsError) -> bool:
    """Keep the error for later; False where it has to be raised now."""
    found = _missing.get()
    if found is None:
        return False
    found.append(error)
    return True


def has_no_key(model: Any) -> bool:
    """Whether this model was made without its key."""
    key = getattr(model, "openai_api_key", None)
    return isinstance(key, SecretStr) and key.get_secret_value() == NO_KEY


_SAMPLING = (
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "seed", "n", "stop", "stop_sequences",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "reasoning", "verbosity", "model_kwargs", "extra_body",
)  # fmt: skip
"""Settings that change what a model answers; keys, headers, timeouts and retries do not."""

_ENDPOINTS = ("openai_api_base", "base_url", "azure_endpoint", "endpoint", "endpoint_url", "api_base")
_SECRET = re.compile(r"(?i)key$|token$|secret|password|authorization|headers?$|credential")


def resolve_model(
    spec: Any,
    role: str,
    *,
    factories: Mapping[str, Callable[[Any], BaseChatModel]] | None = None,
    base_url: str | None = None,
) -> BaseChatModel:
    """The chat model that `spec` means.

    Args:
        spec: "provider:name", a chat model, or `(openai client, "model")`.
        role: What it is for (`optimizer`, `target`), for factories and error messages.
        factories: This package's own models by name ("offline"); called with the role.
        base_url: The endpoint of a model given by name; None is the provider package's default.

    Returns:
        The model; an object that was given is returned as it is.

    Raises:
        ConfigError: The spec is of no known form, or the provider's package is not installed.
        CredentialsError: The provider wants a key that is not set.
    """
    from langchain_core.language_models.chat_models import BaseChatModel

    if isinstance(spec, BaseChatModel):
        return spec
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], str):  # (client, name)
        return _from_client(spec[0], spec[1], role)
    if not isinstance(spec, str):
        msg = f"a {type(spec).__name__} is not a model"
        raise ConfigError(msg, where=f"{role} model", mend=_FORMS)
    if factories and spec in factories:
        return factories[spec](role)
    provider, colon, name = spec.partition(":")
    if not (provider and colon and name):
        known = f" Known by name: {', '.join(factories)}." if factories else ""
        msg = f"{spec!r} names no provider"
        raise ConfigError(msg, where=f"{role} model", mend=_FORMS + known)
    return _openai(name, role, base_url) if provider == "openai" else _other_provider(spec, role, base_url)


_FORMS = 'Write "provider:name" ("openai:gpt-4o-mini"), or pass a chat model or (openai client, "model").'


def _openai(name: str, role: str, given: str | None) -> BaseChatModel:
    import openai
    from langchain_openai import ChatOpenAI

    # The base URL is passed on explicitly: LANGSMITH_GATEWAY would win over the environment otherwise.
    base_url = given or os.environ.get("OPENAI_API_BASE") or os.environ.get("OPENAI_BASE_URL") or None
    key = {} if os.environ.get("OPENAI_API_KEY") or base_url is None else {"api_key": "none"}
    with users_errors(f"the model 'openai:{name}' cannot be made", f"{role} model"):
        try:
            return ChatOpenAI(model=name, base_url=base_url, max_retries=0, stream_usage=True, **key)  # type: ignore[arg-type]  # api_key takes a plain string
        except openai.OpenAIError as error:
            msg = "OPENAI_API_KEY is not set"
            missing = CredentialsError(msg, where=f"{role} model", mend="Export it; a local server takes any text.")
            if not note_missing(missing):
                raise missing from error
            return ChatOpenAI(model=name, max_retries=0, stream_usage=True, api_key=SecretStr(NO_KEY))


def _other_provider(spec: str, role: str, base_url: str | None) -> BaseChatModel:
    provider = spec.partition(":")[0]
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        msg = f"the provider {provider!r} needs the package langchain"
        mend = "pip install 'langchain-promptopt[providers]' and the provider's own package."
        raise ConfigError(msg, where=f"{role} model", mend=mend) from error
    options: dict[str, Any] = {} if base_url is None else {"base_url": base_url}
    try:
        with users_errors(f"the model {spec!r} cannot be made", f"{role} model"):
            model: BaseChatModel = init_chat_model(spec, **options)
    except ConfigError as error:
        if isinstance(error.__cause__, ImportError):
            mend = "" if "pip install" in error.what else "Install the provider's package."
            raise ConfigError(error.what, where=error.where, mend=mend) from error.__cause__
        raise
    return model


def _from_client(client: Any, name: str, role: str) -> BaseChatModel:
    import openai
    from langchain_openai import ChatOpenAI

    # The client's own retries and HTTP settings stay the user's (product contract, ruling 19).
    known: dict[str, Any] = {
        "model": name,
        "base_url": str(getattr(client, "base_url", "")) or None,
        "api_key": getattr(client, "api_key", None) or "none",
        "max_retries": getattr(client, "max_retries", 0),
    }
    if isinstance(client, openai.AsyncOpenAI):
        return ChatOpenAI(**known, async_client=client.chat.completions, root_async_client=client)
    if isinstance(client, openai.OpenAI):
        return _sync_client_model()(**known, client=client.chat.completions, root_client=client)
    msg = f"a {type(client).__name__} is not an openai client"
    raise ConfigError(msg, where=f"{role} model", mend=_FORMS)


def _sync_client_model() -> Callable[..., BaseChatModel]:
    from langchain_core.runnables.config import run_in_executor
    from langchain_openai import ChatOpenAI

    class ChatOpenAISync(ChatOpenAI):
        """ChatOpenAI on a synchronous client alone: asynchronous calls run in a thread."""

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            manager = run_manager.get_sync() if run_manager else None
            return await run_in_executor(None, self._generate, messages, stop, manager, **kwargs)

    return ChatOpenAISync


def endpoint_of(model: Any) -> str:
    """The address a model calls, without credentials or query; "" for a provider's default.

    >>> class M:
    ...     base_url = "https://me:pw@host.example:8/v1?key=x"
    >>> endpoint_of(M())
    'https://host.example:8/v1'
    """
    inner = unbound(model)
    for name in _ENDPOINTS:
        value = getattr(inner, name, None)
        if value and "://" in str(value):
            parts = urlsplit(str(value))
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    return _unsaid_endpoint(inner)


def _unsaid_endpoint(inner: Any) -> str:
    """The address that a client has from the environment (`OPENAI_BASE_URL`, `OLLAMA_HOST`) or from its package."""
    if type(inner).__name__ in {"ChatOllama", "OllamaLLM"}:
        host = os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
        return host.rstrip("/") if "://" in host else f"http://{host}"
    parts = urlsplit(str(getattr(getattr(inner, "root_client", None), "base_url", "")))
    if parts.hostname in {None, _OPENAI}:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


_OPENAI = "api.openai.com"
_HOSTED_ONLY = re.compile(r"(?i)(?:^|[/:.])(?:gpt-(?!oss|j|neo)|o[1-9](?:-|$)|chatgpt|claude|gemini|grok)")
"""Names of models that nobody runs at home: a proxy on this machine passes them on, and they cost what they cost."""


def runs_here(model: Any) -> bool:
    """Whether a model is served by this machine, so that its calls cost nothing; a proxy to a provider is none.

    >>> class M:
    ...     model, base_url = "qwen3:4b", "http://localhost:11434/v1"
    >>> runs_here(M())
    True
    """
    host = urlsplit(endpoint_of(model)).hostname or ""
    if host not in {"localhost", "host.docker.internal"} and not host.endswith(".localhost"):
        try:
            if not (ip_address(host).is_loopback or ip_address(host).is_unspecified):
                return False
        except ValueError:
            return False
    return not _HOSTED_ONLY.search(model_name(model))


def streamed(model: Any) -> tuple[Any, dict[str, Any]]:
    """The model, and settings of a call with which it sends its reply token by token, usage included (product 11.15).

    Such a call is given up when no token comes for a while, not when the reply is long. Asked of OpenAI-compatible
    models on this machine or network, which write slowly, unless their owner has said how they stream. The client's
    own limit between two tokens, which also ran while a call waits in the server's queue, is lifted.

    Args:
        model: The optimizer model.
    """
    inner = unbound(model)
    said: set[str] = getattr(inner, "model_fields_set", set())
    if getattr(inner, "_llm_type", "") != "openai-chat" or {"streaming", "disable_streaming"} & said:
        return model, {}
    if getattr(inner, "use_responses_api", None) or (getattr(inner, "n", None) or 1) > 1:
        return model, {}
    if not is_near(urlsplit(endpoint_of(model)).hostname or ""):
        return model, {}
    if "stream_chunk_timeout" in type(inner).model_fields and "stream_chunk_timeout" not in said:
        untimed = inner.model_copy(update={"stream_chunk_timeout": None})
        model = untimed if model is inner else _rebound(model, untimed)
    return model, {"stream": True, "stream_options": {"include_usage": True}}


def _rebound(model: Any, inner: Any) -> Any:
    """The same bindings around another model; where they cannot be copied, the model as it is."""
    bound = getattr(model, "bound", None)
    if bound is None:
        return inner
    return model.model_copy(update={"bound": _rebound(bound, inner)})


def secrets_of(model: Any) -> set[str]:
    """Keys, header and query values, and the password of the address that a model was made with."""
    inner = unbound(model)
    found: set[str] = set()
    for value in list(getattr(inner, "__dict__", {}).values()):
        if isinstance(value, SecretStr | SecretBytes):
            found.add(str(_plain(value)))
    for name in ("default_headers", "default_query", "headers", "client_kwargs"):
        found |= _texts(getattr(inner, name, None))
    for name in _ENDPOINTS:
        found.add(urlsplit(str(getattr(inner, name, None) or "")).password or "")
    return found - {""}


def _plain(value: SecretStr | SecretBytes) -> str:
    plain = value.get_secret_value()
    return plain if isinstance(plain, str) else plain.decode("utf-8", "replace")


def _texts(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        found: set[str] = set()
        for inner in value.values():
            found.update(_texts(inner))
        return found
    return {value} if isinstance(value, str) else set()


def model_name(model: Any) -> str:
    """The name a model asks its provider for, else its class."""
    inner = unbound(model)
    for name in ("model_name", "model", "model_id", "deployment_name"):
        value = getattr(inner, name, None)
        if isinstance(value, str) and value:
            return value
    return type(inner).__name__


def model_id(model: Any) -> str:
    """What decides a model's answers, for the run id: class, name, endpoint, sampling settings. Never keys."""
    inner = unbound(model)
    found = {name: getattr(inner, name, None) for name in _SAMPLING} | {"bound": getattr(model, "kwargs", None)}
    cleaned = map_values(_without_secrets, found)
    settings = {}
    for name, value in cleaned.items():
        if value not in (None, {}, []):
            settings[name] = value
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=_label)
    return f"{type(inner).__name__}:{model_name(model)}@{endpoint_of(model)}{text if settings else ''}"


def unbound(model: Any) -> Any:
    """The model inside bindings such as `model.bind(stop=...)`."""
    while hasattr(model, "bound"):
        model = model.bound
    return model


def _label(value: Any) -> str:
    """A stable name for a value that is no JSON; `repr` may hold addresses or keys."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {}
        for k, v in value.items():
            if not _SECRET.search(str(k)):
                found[str(k)] = _without_secrets(v)
        return found
    if isinstance(value, list | tuple):
        return list(map(_without_secrets, value))
    return value


_PATIENCE = 10.0
"""Seconds for one request."""
_SHOWN = 5
"""Model names of an endpoint that an error message lists."""


async def probe(role: str, model: Any) -> Probe:
    """Ask an OpenAI-compatible endpoint for its entry on the model; other kinds have no free request."""
    name, where = model_name(model), endpoint_of(model)
    openai = sys.modules.get("openai")
    model = unbound(model)
    if has_no_key(model):
        return Probe(role, name, "no key", "OPENAI_API_KEY is not set", where)
    if type(model).__module__.startswith("langchain_promptopt.offline"):
        return Probe(role, name, "not asked", "built in: it is free and has no endpoint", where)
    client = getattr(model, "root_async_client", None)
    if openai is None or type(client) is not openai.AsyncOpenAI:
        return Probe(role, name, "not asked", "this kind of model has no free check", where)
    made = quick(model)  # connections of its own, so that none is left to another event loop
    try:
        asked: Any = made.chain
        return await _asked(asked.root_async_client.with_options(timeout=_PATIENCE, max_retries=0), role, name, where)
    finally:
        await made.aclose()


async def _asked(client: Any, role: str, name: str, where: str) -> Probe:
    try:
        await client.models.retrieve(name)
    except Exception as error:  # noqa: BLE001 - every error is an answer here
        found = _refusal(error, role, name, where)
        return found if found is not None else await _listed(client, role, name, where)
    return Probe(role, name, "answers", where=where)


async def _listed(client: Any, role: str, name: str, where: str) -> Probe:
    """Look in the endpoint's list: many servers have no entry for each model. An unlisted name may be an alias."""
    try:
        known = ids_of((await client.models.list()).data)
    except Exception as error:  # noqa: BLE001 - as above
        found = _refusal(error, role, name, where)
        return found or Probe(role, name, "not asked", "the endpoint has no list of models", where)
    if name in known:
        return Probe(role, name, "answers", where=where)
    if not known:
        return Probe(role, name, "not asked", "the endpoint lists no models", where)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return Probe(
        role, name, "unlisted", f"the endpoint lists {', '.join(known[:_SHOWN])}{more}", where, listed=tuple(known)
    )


def _refusal(error: Exception, role: str, name: str, where: str) -> Probe | None:
    failure = classify(error, role)
    state = TABLE[failure.kind].probe if failure.kind in TABLE else ""
    if not state:
        return None
    said = {} if "refused:" in failure.detail else {"connection": "no connection"}
    said["timeout"] = f"no answer within {_PATIENCE:.0f} s"
    return Probe(role, name, state, said.get(failure.kind, failure.detail), where, failure.kind)
