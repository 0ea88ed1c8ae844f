"""After a run: its candidates as LangSmith experiments, where the settings ask for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt._langsmith.experiments import publish, winners
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt.errors import PromptOptError
from langchain_promptopt.optimizer.loading import is_uuid
from langchain_promptopt.optimizer.summing import examples_of, summaries_of
from langchain_promptopt.report.record import RunRecord

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.result import Result


async def publish_experiments(plan: Plan, result: Result) -> None:
    """Publish what `langsmith.experiments` asks for and put the link on the result.

    A failure is a warning: the verdict stands, and the same call again publishes without paying.
    """
    if not plan.settings.langsmith.experiments:
        return
    if not is_remote(plan.data.as_of):
        result.warnings += ("experiments need a LangSmith dataset; these rows come from elsewhere",)
        return
    remote = plan.settings.remote
    service = (remote.service if isinstance(remote, LangSmithRows) else None) or Service()
    events = list(result.events())
    record = RunRecord.from_events(events)
    examples = {i: e for i, e in examples_of(plan).items() if is_uuid(i)}
    try:
        told = await summaries_of(plan.summaries, events, examples, [t.id for t in winners(record, events).values()])
        done = await asyncio.to_thread(publish, service, plan.data.source, record, events, examples, told)
    except PromptOptError as error:
        result.warnings += (f"experiments were not published: {error} Run the same again to publish them.",)
        return
    result.links = {**result.links, "experiments": done.url}


def is_remote(as_of: str | None) -> bool:
    """Whether a data version is one of LangSmith's: a time, where ours are hashes."""
    return as_of is not None and not as_of.startswith("sha256:")
