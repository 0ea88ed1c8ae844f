"""Models asked for free before anything is paid: whether the key is taken, and whether the name is known."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import endpoint_of, model_name, probe
from langchain_promptopt._runtime.failures import Probe
from langchain_promptopt.errors import CredentialsError
from langchain_promptopt.optimizer.costs import models_by_role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt.optimizer.plan import Plan


async def probes_of(plan: Plan, seconds: float | None = None) -> tuple[Probe, ...]:
    """What each model's endpoint says of it, asked once for each endpoint and name, and for free.

    Args:
        plan: The plan.
        seconds: How long to wait for an answer, where it is not worth as much as a check by itself.
    """
    asked: dict[tuple[str, str], tuple[str, Any]] = {}
    for role, models in models_by_role(plan).items():
        for model in models:
            asked.setdefault((model_name(model), endpoint_of(model)), (role, model))
    return tuple(await asyncio.gather(*(_within(seconds, role, model) for role, model in asked.values())))


async def _within(seconds: float | None, role: str, model: Any) -> Probe:
    try:
        return await asyncio.wait_for(probe(role, model), seconds)
    except TimeoutError:
        detail = f"no answer within {seconds:g} s"
        return Probe(role, model_name(model), "unreachable", detail, endpoint_of(model), "timeout")


def refuse_unknown_models(probes: Iterable[Probe]) -> None:
    """Raise CredentialsError for a key that is refused, or a name that is not served, before the baseline is paid.

    A name that is only missing from a list may be an alias: it is refused where the endpoint is the provider's
    own, or where a name on the list is nearly the same. Keys that may call models need not be allowed to list
    them (403), and an endpoint that does not answer may do so at the first call: neither ends a run here.
    """
    for found in probes:
        close = get_close_matches(found.name, found.listed, n=1, cutoff=0.8)
        if found.kind == "unauthorized":
            msg = f"the endpoint refuses the {found.role} model {found.name!r}: {found.detail}"
            raise CredentialsError(msg, where=found.where, role=found.role)
        if found.state == "unlisted" and (close or not found.where):
            msg = f"the endpoint does not know the {found.role} model {found.name!r}"
            mend = f"Did you mean {close[0]!r}?" if close else f"{found.detail[:1].upper()}{found.detail[1:]}."
            raise CredentialsError(msg, where=found.where, mend=mend, role=found.role)
