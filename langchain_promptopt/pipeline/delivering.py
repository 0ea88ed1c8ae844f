"""After a run: the winner into the folder the config names, and result and report beside the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.store import RunFolder

if TYPE_CHECKING:
    from langchain_promptopt.config import Config
    from langchain_promptopt.optimizer import Result


def deliver_result(config: Config, result: Result) -> None:
    """Write `result.json`, `report.html`, the prompts and the push, as far as the config and the gate say."""
    if result.folder is not None:
        folder = RunFolder(result.folder.parent, result.run_id)
        folder.write_result(result.as_json())
        result.report(folder.report)
    proven = result.gate_passed or (config.output.apply == "always" and result.best.id != result.baseline.id)
    if config.output.prompts is not None and proven and config.output.apply != "never":
        result.save(config.path(config.output.prompts))
    if config.output.push is not None and result.gate_passed:
        from langchain_promptopt._langsmith.hub import push_once

        push_once(result, config.output.push, tag=config.output.tag)
