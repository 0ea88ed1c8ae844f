"""`promptopt compare`: the gate without a search, for any two prompts."""

from typing import Annotated

import typer

from langchain_promptopt.cli.flags import GATE, TASK, Given, with_settings
from langchain_promptopt.cli.optimize import Ok, tell


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt compare old.txt new.txt --task-model offline --data tickets.jsonl")(compare)


@with_settings(*TASK, *GATE, "max_concurrency", "usd", "calls", "tokens", "summary", "junit", "show_rows")
def compare(
    *,
    given: Given,
    old: Annotated[str, typer.Argument(help="What runs now: a prompt file, owner/prompt:tag, or module:chain.")],
    new: Annotated[str, typer.Argument(help="What might replace it.")],
    ok: Ok = None,
) -> int:
    """Decide on held-out rows whether NEW is better than OLD."""
    from rich.console import Group

    from langchain_promptopt.cli.progress import watching
    from langchain_promptopt.pipeline import prepare
    from langchain_promptopt.pipeline.step import failures_told
    from langchain_promptopt.report.terminal import sides_view, test_view

    given.target(old)
    config = given.load_step()
    with failures_told(config):
        config.require("data.source", "evaluate.evaluators")
        prepared = prepare(config)
        with watching() as observers:
            result = prepared.compare(old, new, observers=observers)
    view = Group(test_view(result.outcome, result.test), sides_view(result.usage["by_side"]))
    return tell(result, view, ok=ok, as_json=given.as_json)
