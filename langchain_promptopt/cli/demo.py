"""`promptopt demo`: the main job on built-in data and offline models, free and without an account."""

import typer

from langchain_promptopt.cli.answers import note
from langchain_promptopt.cli.flags import Given, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt demo")(demo)


@with_settings("runs_dir", "method", "seed")
def demo(*, given: Given) -> int:
    """Optimize a support-ticket prompt offline: what changed, why, rows better and worse, the held-out result."""
    from langchain_promptopt.cli.optimize import run_and_tell
    from langchain_promptopt.pipeline import demo_task

    config = given.load()
    if not given.as_json:
        note(
            "Models: built-in offline programs, free and without a network; their scores say nothing about real models."
        )
    return run_and_tell(demo_task(config), ok=None, as_json=given.as_json)
