"""Whether LangSmith takes our key, asked where a run would need it."""

from __future__ import annotations

from langsmith.utils import tracing_is_enabled

from langchain_promptopt._langsmith.otel import tracing_mode
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt._runtime.probe import Probe, State
from langchain_promptopt.errors import CredentialsError, PromptOptError

_TRIES = 2


def probe_langsmith(*, wanted: bool) -> tuple[Probe, ...]:
    """The workspace our key belongs to; nothing is asked unless it is `wanted` or traces would go there."""
    if not wanted and not (tracing_is_enabled() is True and tracing_mode() != "otel"):
        return ()
    where = ""
    try:
        service = Service(tries=_TRIES)
        where = service.client.api_url
        name = str(service.workspace.get("display_name") or "")
    except PromptOptError as error:
        state: State = "refused" if isinstance(error, CredentialsError) else "unreachable"
        return (Probe("langsmith", "", state, str(error), where),)
    return (Probe("langsmith", name, "answers", where=where),)
