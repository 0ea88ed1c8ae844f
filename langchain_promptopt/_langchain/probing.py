"""Whether an endpoint takes our key and knows a model, asked without paying for an answer."""

from __future__ import annotations

import sys
from typing import Any

from langchain_promptopt._langchain.models import endpoint_of, has_no_key, model_name, unbound
from langchain_promptopt._langchain.quick import quick
from langchain_promptopt._runtime.failures import classify
from langchain_promptopt._runtime.probe import Probe

_PATIENCE = 10.0
"""Seconds for one request."""
_SHOWN = 5
_REFUSALS = frozenset({"unauthorized", "forbidden", "insufficient_quota"})
_AWAY = frozenset({"connection", "timeout", "server_error"})


async def probe(role: str, model: Any) -> Probe:
    """Ask an OpenAI-compatible endpoint for its entry on the model; others cannot be asked for free."""
    name, where = model_name(model), endpoint_of(model)
    openai = sys.modules.get("openai")
    model = unbound(model)
    if has_no_key(model):
        return Probe(role, name, "no key", "OPENAI_API_KEY is not set", where)
    client = getattr(model, "root_async_client", None)
    if openai is None or type(client) is not openai.AsyncOpenAI:
        return Probe(role, name, "not asked", "this kind of model cannot be asked without paying", where)
    made = quick(model)  # connections of its own, so that none is left to another event loop
    try:
        asked: Any = made.chain
        return await _asked(asked.root_async_client.with_options(timeout=_PATIENCE, max_retries=0), role, name, where)
    finally:
        await made.aclose()


async def _asked(client: Any, role: str, name: str, where: str) -> Probe:
    try:
        await client.models.retrieve(name)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        found = _refusal(error, role, name, where)
        return found if found is not None else await _listed(client, role, name, where)
    return Probe(role, name, "answers", where=where)


async def _listed(client: Any, role: str, name: str, where: str) -> Probe:
    """Many servers have no entry for each model, but a list; what is not on it may be an alias all the same."""
    try:
        known = [m.id for m in (await client.models.list()).data]
    except Exception as error:  # noqa: BLE001 - as above
        found = _refusal(error, role, name, where)
        return found or Probe(role, name, "not asked", "the endpoint has no list of models", where)
    if name in known:
        return Probe(role, name, "answers", where=where)
    if not known:
        return Probe(role, name, "not asked", "the endpoint lists no models", where)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return Probe(role, name, "unlisted", f"the endpoint lists {', '.join(known[:_SHOWN])}{more}", where)


def _refusal(error: Exception, role: str, name: str, where: str) -> Probe | None:
    verdict = classify(error, role)
    if verdict.kind in _REFUSALS:
        return Probe(role, name, "refused", verdict.detail, where)
    if verdict.kind not in _AWAY:
        return None
    said = {"connection": "no connection", "timeout": f"no answer within {_PATIENCE:.0f} s"}
    return Probe(role, name, "unreachable", said.get(verdict.kind, verdict.detail), where)
