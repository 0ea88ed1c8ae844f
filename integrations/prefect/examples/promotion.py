"""Nightly rows -> optimize -> gate -> staging -> smoke evaluation -> production -> rollback, as one flow.

Every arrow is a task and a line in the log. What stands in production changes only behind two
doors: the gate of the run (held-out examples, one paired test), and the smoke evaluation, in which
`compare` must not find staging worse on rows that the run never saw.

    promotion(config, prompt="owner/triage", smoke="triage-smoke")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt_prefect import checked, step
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from langchain_promptopt.pipeline import compare_step, push_run, rollback_run
from langchain_promptopt.store import runs_dir

if TYPE_CHECKING:
    from pathlib import Path

plain = {"cache_policy": NO_CACHE, "persist_result": False}


@task(**plain)
def smoke_test(config: dict[str, Any], prompt: str, rows: str, root: str, worse_by: float) -> bool:
    """Staging beside production on rows of their own: False when it is worse by more than `worse_by`."""
    fresh = {
        **{name: config[name] for name in ("task", "evaluate", "optimize") if name in config},
        "data": {**config.get("data", {}), "source": rows},
        "gate": {**config.get("gate", {}), "min_improvement": 0.0},
    }
    answer = checked(compare_step(fresh, f"{prompt}:production", f"{prompt}:staging", root=root))
    metric = answer["test"][0]
    print(f"  smoke: {metric['baseline']:.2f} -> {metric['best']:.2f} on {metric['n']} rows, {answer['outcome']}")
    return metric["difference"] >= -worse_by


@task(**plain)
def promote(run: Path, prompt: str) -> str:
    """Move the tag `production` to the commit that `staging` stands on."""
    return push_run(run, prompt, tag="production")


@task(**plain)
def roll_back(run: Path) -> str:
    """Put every tag of the run back to where it stood."""
    return rollback_run(run)


@flow(name="promptopt-promotion", persist_result=False, log_prints=False)
def promotion(
    config: dict[str, Any], prompt: str, smoke: str, root: str = ".", worse_by: float = 0.0, retries: int = 3
) -> Any:
    """One night, from rows to production.

    `config` names data, models and evaluators; `prompt` is a LangSmith
    prompt ("owner/name"; "-" is your own workspace), `smoke` a data set.

    A night without a gain completes; models out of reach are retried by Prefect and fail the flow in
    the end; production is then as it was.
    """
    night = {
        **config,
        "task": {**config["task"], "prompt": f"{prompt}:production"},
        "output": {**config.get("output", {}), "push": prompt, "tag": "staging"},
    }
    answer = step.with_options(retries=retries)(night, root)
    print(f"  run {answer['run_id']}: {answer['outcome']}{' (replayed)' if answer['replayed'] else ''}")
    if answer["outcome"] != "improved":
        return Completed(name="NoGain", message="production stays as it is", data=answer)
    print(f"  gate passed, {prompt}:staging moved; edits: {[(e['old'], e['new']) for e in answer['edits']]}")
    run = runs_dir(_path(root)) / answer["run_id"]
    if not smoke_test(night, prompt, smoke, root, worse_by):
        print(f"  smoke evaluation failed, rolled back to {roll_back(run)[:8]}")
        return Completed(name="Refused", message="the smoke evaluation was worse", data=answer)
    print(f"  {prompt}:production is now {promote(run, prompt)[:8]}")
    return Completed(name="Promoted", message=f"run {answer['run_id']}", data=answer)


def _path(root: str) -> Path:
    from pathlib import Path

    return Path(root)
