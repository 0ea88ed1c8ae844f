"""`promptopt init`: look at a chain and its data, and write `promptopt.toml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt.cli.answers import print_json, print_table, print_view
from langchain_promptopt.cli.flags import DATA, Given, with_settings
from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from langchain_promptopt.config import Config


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt init my_app.chain:chain --data tickets.jsonl")(init)


@with_settings(*DATA, "task_model", "template_format", "evaluator", "method", "model", "usd")
def init(
    *,
    given: Given,
    target: Annotated[str, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("promptopt.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> int:
    """List prompts, variables and splits, and write a commented promptopt.toml."""
    from langchain_promptopt.config import toml_text
    from langchain_promptopt.pipeline import survey

    if out.exists() and not force:
        msg = f"{out} exists"
        raise UsageError(msg, mend="Add --force to replace it, or --out FILE for another name.")
    given.target(target)
    config = given.load()
    config.require("task", "data.source")
    found = survey(config)
    out.write_text(toml_text(proposal(config, given.overrides)), encoding="utf-8")
    data: dict[str, Any] = {
        "file": str(out),
        "prompts": found.prompts.as_json(),
        "splits": {name: len(rows) for name, rows in found.data.splits.items()},
    }
    if given.as_json:
        print_json(data)
        return 0
    print_table(("prompt", "messages", "variables"), [_line(p) for p in data["prompts"]])
    print_view("")
    print_table(("split", "rows"), list(data["splits"].items()), numbers=[1])
    print_view(f"\nwrote {out}; next: promptopt check")
    return 0


def _line(prompt: Mapping[str, Any]) -> list[str]:
    roles = ", ".join(m["role"] for m in prompt["messages"])
    return [prompt["name"], roles, ", ".join(prompt["variables"])]


def proposal(config: "Config", overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings to write: what was given on the command line, and a usable start for the rest."""
    evaluators = list(config.evaluate.evaluators) or ["exact_match"]
    offline = config.task.model == config.optimize.model == "offline"
    out: dict[str, dict[str, Any]] = {
        "task": {"freeze": []},
        "data": {},
        "evaluate": {"evaluators": evaluators},
        "gate": {"primary": evaluators[0], "alpha": config.gate.alpha},
        "optimize": {"method": config.optimize.method, "model": "openai:gpt-4o", "seed": config.optimize.seed},
        "budget": {} if offline else {"usd": 5.0},
        "output": {"prompts": "prompts/", "apply": config.output.apply},
    }
    if config.task.prompt is not None:
        out["task"] |= {"model": "openai:gpt-4o-mini", "template_format": config.task.template_format}
    for dotted in overrides:
        section, _, key = dotted.partition(".")
        value = getattr(getattr(config, section), key)
        given = overrides[dotted]  # a path stays as it was typed; the config has made it absolute
        out.setdefault(section, {})[key] = given if isinstance(value, str) else value
    return {section: keys for section, keys in out.items() if keys}
