"""Write the reference pages of the documentation from the code: verbs, settings, Python names, methods.

python docs/make_reference.py

A test compares the pages with what this writes, so they are always current.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

import langchain_promptopt
from langchain_promptopt.cli.app import app
from langchain_promptopt.cli.flags import EXAMPLES
from langchain_promptopt.cli.methods import _Method
from langchain_promptopt.config import Config
from langchain_promptopt.evaluators import _resolve as built_in
from langchain_promptopt.presets import DEFAULT, PRESETS
from langchain_promptopt.steps import metaprompts as texts

FOLDER = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Written by docs/make_reference.py; do not edit. -->\n"
API = {
    "Main functions": ("optimize", "aoptimize", "compare", "PromptOptimizer", "Result", "run_step"),
    "Prompts": ("load_prompts", "tunable"),
    "Rules of a run": ("Budget", "Gate", "Recipe"),
    "Steps": ("TextualGradient", "IdentifyTokens", "LocalProposal", "GlobalProposal", "TrajectoryRetriever"),
}
_INTERNAL = re.compile(
    r" ?\((?:product|spec|section|GPO table)[^)]*\)|(?<= output) of product section \d+", re.IGNORECASE
)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "cli.md": cli(),
        "settings.md": settings(),
        "api.md": api(),
        "methods.md": methods(),
        "metaprompts.md": metaprompts(),
    }


def metaprompts() -> str:
    """Every meta-prompt with its text."""
    out = [
        MADE,
        "# Meta-prompts\n",
        "This is what the optimizer model is told, one text for each part of a request. Replace a text by its name:",
        '`optimize(..., metaprompts={"identify.line-ask": "..."})`, or `[optimize.metaprompts]` in `promptopt.toml`.',
        "A replacement must hold the same `$places`; they are filled for each request. The texts belong to the run id,",
        "so a run with other texts is another run.\n",
    ]
    for name in texts.names():
        text = texts.metaprompt(name)
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
        out += [f"## {name}\n", f"{fence}text\n{text}\n{fence}\n"]
    return "\n".join(out)


def cli() -> str:
    """All verbs with their arguments and flags."""
    out = [MADE, "# Command line\n", "`promptopt VERB --help` prints the same in a terminal.\n"]
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        out += [f"## {name}\n", f"{plain(command.help)}\n"]
        example = EXAMPLES.get(_verb_of(command), "").removeprefix("Example: ")
        if example:
            out.append(f"```\n{example}\n```\n")
        rows = [(_shown(p), _metavar(p), plain(p.help or "")) for p in command.params if getattr(p, "help", None)]
        out += [table(("argument or flag", "value", "meaning"), rows), ""]
    return "\n".join(out)


def _verb_of(command: Any) -> Any:
    """The function of a verb, whose name is the command's."""
    return next((verb for verb in EXAMPLES if verb.__name__.rstrip("_") == command.name), None)


def _shown(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).upper().strip('[]')}`"
    return ", ".join(f"`{option}`" for option in parameter.opts)


def _metavar(parameter: Any) -> str:
    kind = getattr(parameter, "metavar", None) if parameter.param_type_name == "option" else ""
    if getattr(parameter, "is_flag", False):
        return "switch"
    return f"`{kind}`" if kind else ""


def settings() -> str:
    """All keys of promptopt.toml."""
    out = [
        MADE,
        "# Settings\n",
        "The keys of `promptopt.toml`. An environment variable `PROMPTOPT_SECTION__KEY` is stronger than the file, and "
        "a flag or `--set section.key=value` is stronger than both. `run_step` takes the same keys as a dict.\n",
    ]
    for info in Config.model_fields.values():
        model: Any = info.annotation
        named = getattr(model, "model_fields", None) is None
        if named:  # a table of tables, as [prices."openai:gpt-4o"]
            model = model.__args__[1]
        out += _keys_of(model)
        for field in model.model_fields.values():  # a table in a table, as [optimize.demos]
            for inner in get_args(field.annotation):
                out += _keys_of(inner) if hasattr(inner, "model_fields") else []
    return "\n".join(out)


def _keys_of(model: Any) -> list[str]:
    """Title and keys of one table of promptopt.toml."""
    title, _, about = (inspect.getdoc(model) or "").splitlines()[0].partition(": ")
    rows = [
        (f"`{key}`", _type(field.annotation), _default(field), plain(field.description or ""))
        for key, field in model.model_fields.items()
    ]
    about = f"{about[:1].upper()}{about[1:]}\n"
    return [f"## {title.strip('`')}\n", about, table(("key", "type", "default", "meaning"), rows), ""]


_WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number", Any: "any"}


def _type(annotation: Any) -> str:
    """A type in the words of TOML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in inner)
    if origin in {Union, UnionType}:
        return " or ".join(dict.fromkeys(_type(kind) for kind in inner if kind is not type(None)))
    if origin in {tuple, list}:
        return "list"
    if origin is dict:
        return "table"
    return "table" if hasattr(annotation, "model_fields") else _WORDS.get(annotation, "text")


def _default(field: Any) -> str:
    value = field.default
    if value is None or repr(value) in {"PydanticUndefined", "()", "{}"}:
        return "" if field.is_required() is False else "required"
    return f"`{value!r}`".replace("'", '"').replace("True", "true").replace("False", "false")


def api() -> str:
    """The public names of the package."""
    out = [MADE, "# Python\n", "Everything below is imported from `langchain_promptopt`.\n"]
    known = {name for names in API.values() for name in names} | {"evaluators", "presets"}
    more = tuple(name for name in langchain_promptopt.__all__ if name not in known)
    for title, names in {**API, **({"More": more} if more else {})}.items():
        out.append(f"## {title}\n")
        for name in names:
            out.append(_entry(name, getattr(langchain_promptopt, name)))
    out.append("## Built-in evaluators\n\nNames for `evaluators=`, or functions of `langchain_promptopt.evaluators`.\n")
    rows = [(f"`{name}`", _first(made)) for name, made in sorted(built_in.BUILT_INS.items())]
    out += [table(("name", "what it compares"), rows), ""]
    return "\n".join(out)


def _entry(name: str, thing: Any) -> str:
    parts = [f"### {name}\n"]
    if inspect.isclass(thing):
        parts.append(docstring(inspect.getdoc(thing) or ""))
        for member, value in vars(thing).items():
            public = not member.startswith(("_", "model_")) and inspect.getdoc(value)
            if public and isinstance(value, property):
                parts.append(f"**`.{member}`**: {docstring(inspect.getdoc(value) or '')}")
            elif public and inspect.isfunction(value):
                parts.append(f"**`.{member}{_signature(value)}`**: {docstring(inspect.getdoc(value) or '')}")
    else:
        parts += [f"`{name}{_signature(thing)}`\n", docstring(inspect.getdoc(thing) or "")]
    return "\n".join(parts)


def _signature(function: Any) -> str:
    names = [p for n, p in inspect.signature(function).parameters.items() if n != "self"]
    shown = []
    for parameter in names:
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        has = parameter.default is not parameter.empty
        shown.append(f"{mark}{parameter.name}{f'={parameter.default!r}' if has else ''}")
    if len(shown) > 8:
        return f"({', '.join(shown[:3])}, ...)"
    return f"({', '.join(shown)})"


def docstring(text: str) -> str:
    """A Google docstring as Markdown: sections become lists."""
    out: list[str] = []
    in_list = False
    for line in plain(text, lines=True).splitlines():
        if heading := re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line):
            words = {"Args": "Arguments", "Attributes": "Fields"}
            out += ["", f"*{words.get(heading.group(1), heading.group(1))}*", ""]
            in_list = True
        elif line.startswith(">>> ") or (in_list and line and not line.startswith(" ")):
            break
        elif in_list and (entry := re.fullmatch(r"    (\*{0,2}\w+): (.*)", line)):
            out.append(f"- `{entry.group(1)}`: {entry.group(2)}")
        elif in_list and line.strip():
            out.append(f"  {line.strip()}" if out and out[-1] else f"- {line.strip()}")
        else:
            out.append(line)
    return "\n".join(out).strip() + "\n"


def methods() -> str:
    """The presets with their sources."""
    found = {name: _Method(name, make(), 50, 100).as_json() for name, make in PRESETS.items()}
    rows = [
        (f"`{name}`{' (default)' if name == DEFAULT else ''}", _first(PRESETS[name]), plain(found[name]["source"]))
        for name in found
    ]
    return "\n".join(
        [
            MADE,
            "# Methods\n",
            "A method is a `Recipe`: one strategy on each of fourteen axes. `promptopt methods NAME` shows every axis "
            "of one, with the calls to expect for your data. Sources are papers by arXiv number, or the code of the "
            "authors.\n",
            table(("name", "what it does", "source"), rows),
            "",
        ]
    )


def _first(thing: Any) -> str:
    """The first sentence about a thing."""
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return plain(paragraph)


def plain(text: str, *, lines: bool = False) -> str:
    """Text without references to documents that are not here, and in one line unless `lines`."""
    kept = _INTERNAL.sub("", text)
    return kept if lines else " ".join(kept.split())


def _cell(text: str) -> str:
    """A cell whose signs stand for themselves: outside of code, `<...>` would be HTML, and stars would be italics."""
    parts = text.replace("|", "\\|").split("`")
    for i in range(0, len(parts), 2):
        parts[i] = parts[i].replace("<", "&lt;").replace("*", "\\*")
    return "`".join(parts)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    if not rows:
        return ""
    body = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body])


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
