"""Models asked for free before anything is paid: whether the key is taken, and whether the name is known."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import endpoint_of, model_name, probe
from langchain_promptopt.errors import CredentialsError
from langchain_promptopt.optimizer.costs import models_by_role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_promptopt._runtime.failures import Probe
    from langchain_promptopt.optimizer.plan import Plan


async def probes_of(plan: Plan) -> tuple[Probe, ...]:
    """What each model's endpoint says of it, asked once for each endpoint and name, and for free."""
    asked: dict[tuple[str, str], tuple[str, Any]] = {}
    for role, models in models_by_role(plan).items():
        for model in models:
            asked.setdefault((model_name(model), endpoint_of(model)), (role, model))
    return tuple(await asyncio.gather(*(probe(role, model) for role, model in asked.values())))


def refuse_unknown_models(probes: Iterable[Probe]) -> None:
    """Raise CredentialsError for a key that is refused, or a name that is not served, before the baseline is paid.

    A name that is only missing from a list may be an alias: it is refused where the endpoint is the provider's
    own, or where a name on the list is nearly the same.
    """
    for found in probes:
        close = get_close_matches(found.name, found.listed, n=1, cutoff=0.8)
        if found.state == "refused":
            msg = f"the endpoint refuses the {found.role} model {found.name!r}: {found.detail}"
            raise CredentialsError(msg, where=found.where, role=found.role)
        if found.state == "unlisted" and (close or not found.where):
            msg = f"the endpoint does not know the {found.role} model {found.name!r}"
            mend = f"Did you mean {close[0]!r}?" if close else f"{found.detail[:1].upper()}{found.detail[1:]}."
            raise CredentialsError(msg, where=found.where, mend=mend, role=found.role)
