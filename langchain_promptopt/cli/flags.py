"""Flags that set config keys, listed once. A verb names the ones it takes; `with_settings` adds them to it.

All values go to the config as text, so that a wrong one is refused there with the same words as
in the file. Nothing here imports the config: `--help` should not wait for it.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from langchain_promptopt.cli.output import Json
from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from langchain_promptopt.config import Config

Verb: TypeAlias = Callable[..., int]


@dataclass(frozen=True)
class Flag:
    """An option and the key it sets; `kind` str, bool, list (may be repeated) or dict (of repeated NAME=VALUE)."""

    option: str
    key: str
    help: str
    metavar: str = "TEXT"
    kind: type = str


_ALL = (
    Flag("--data", "data.source", "Examples: a file or folder, hf:owner/name, or a LangSmith dataset.", "SOURCE"),
    Flag("--window", "data.window", 'Runs that began then: "24h", "7d" or "START/END".', "WINDOW"),
    Flag("--reference", "data.reference", '"correction", "feedback:KEY", "evaluator:KEY" or "preference:KEY".', "FROM"),
    Flag("--filter", "data.filter", "Condition on the runs, in LangSmith's language.", "FILTER"),
    Flag("--sample", "data.sample", "Share of the runs, 0 to 1.", "SHARE"),
    Flag("--limit", "data.limit", "How many runs become examples at most.", "N"),
    Flag("--input", "data.inputs", "Prompt variable and its column, as email=Body; repeatable.", "VAR=COLUMN", dict),
    Flag("--output", "data.outputs", "Column with the reference answer; repeatable.", "COLUMN", list),
    Flag("--id", "data.id", "Column with the example's id.", "COLUMN"),
    Flag("--group", "data.group", "Column whose equal values stay in one split.", "COLUMN"),
    Flag("--split", "data.split", "Column that says which split an example is in.", "COLUMN"),
    Flag("--evaluator", "evaluate.evaluators", "Built-in name or module:function; may be repeated.", "NAME", list),
    Flag("--task-model", "task.model", 'Model that runs the prompt, "provider:name" or "offline".', "MODEL"),
    Flag(
        "--task-models",
        "optimize.task_models",
        "A model that answers with the prompt, beside others; repeatable.",
        "NAME=MODEL",
        dict,
    ),
    Flag("--over", "optimize.over", "How their scores become one: mean or worst.", "HOW"),
    Flag(
        "--swap",
        "optimize.swap",
        "A model of the chain that they replace, * for all; repeatable.",
        "NAME",
        list,
    ),
    Flag("--template-format", "task.template_format", "Of a prompt file: f-string, mustache or jinja2.", "FORMAT"),
    Flag(
        "--freeze",
        "task.freeze",
        'Heading, "re:...", "role:..." or "message:n" that must not change; repeatable.',
        "PLACE",
        list,
    ),
    Flag("--tune", "task.tune", "Name of a prompt that may change, as tool:*; repeatable.", "NAME", list),
    Flag("--method", "optimize.method", "Preset; `promptopt methods` lists them.", "NAME"),
    Flag(
        "--model",
        "optimize.model",
        'Model that proposes edits, "provider:name", "module:object" or "offline".',
        "MODEL",
    ),
    Flag("--seed", "optimize.seed", "Seed of all randomness.", "N"),
    Flag("--max-concurrency", "optimize.max_concurrency", "Evaluations in flight.", "N"),
    Flag("--redact", "optimize.redact", "Function that hides what is private in examples.", "MODULE:FUNCTION"),
    Flag("--max-edits", "optimize.max_edits", "At most this many edits, the most useful first.", "N"),
    Flag("--max-tokens", "optimize.max_tokens", "Tokens that a prompt may have, about.", "N"),
    Flag("--demos", "optimize.demos", "Show train examples in the prompt: random, similar, gain or none.", "HOW"),
    Flag("--cache", "optimize.cache", "File of evaluations that runs share.", "FILE"),
    Flag("--from", "optimize.from_run", "Try the edits of this run first.", "RUN"),
    Flag("--primary", "gate.primary", "Deciding metric.", "METRIC"),
    Flag("--alpha", "gate.alpha", "One-sided error level.", "P"),
    Flag("--min-improvement", "gate.min_improvement", "Gain that must be exceeded, 0 to 1.", "GAIN"),
    Flag("--margin", "gate.margin", "How much the score may fall; then no gain is asked for.", "FALL"),
    Flag("--must-pass", "optimize.must_pass", "Tag of the examples that must not get worse.", "TAG"),
    Flag("--repeats", "gate.repeats", "Evaluations per held-out example and side.", "N"),
    Flag("--usd", "budget.usd", "Money limit in US dollars.", "USD"),
    Flag("--calls", "budget.calls", "Limit of model calls.", "N"),
    Flag("--search-calls", "budget.search_calls", "Limit of target calls of the search.", "N"),
    Flag("--tokens", "budget.tokens", "Limit of tokens.", "N"),
    Flag("--seconds", "budget.seconds", "Limit of wall time.", "S"),
    Flag("--drop-leaks", "data.drop_leaks", "Drop train and dev examples whose input is in test.", kind=bool),
    Flag("--skip-bad-lines", "data.skip_bad_lines", "Leave unreadable lines out, counted.", kind=bool),
    Flag("--apply", "output.apply", "if_improved, never or always.", "WHEN"),
    Flag("--prompts", "output.prompts", "Folder where the new prompts are written.", "FOLDER"),
    Flag("--push", "output.push", "LangSmith prompt that gets the new prompt, after the gate.", "OWNER/NAME"),
    Flag("--tag", "output.tag", "Commit tag that is moved to the pushed prompt.", "TAG"),
    Flag("--summary", "output.summary", "Markdown file for a pull request comment.", "FILE"),
    Flag("--junit", "output.junit", "JUnit XML file.", "FILE"),
    Flag("--show-rows", "output.show_rows", "Put example texts into the summary.", kind=bool),
    Flag("--runs-dir", "output.runs_dir", "Folder of run records.", "FOLDER"),
)
FLAGS = {flag.option.lstrip("-").replace("-", "_"): flag for flag in _ALL}

DATA = ("data", "input", "output", "id", "group", "split", "drop_leaks", "skip_bad_lines", "runs_dir")
PROJECT = ("window", "reference", "filter", "sample", "limit")
TASK = ("evaluator", "task_model", "task_models", "over", "swap", "template_format", "freeze", "tune", *DATA)
GATE = ("primary", "alpha", "min_improvement", "margin", "repeats", "must_pass")
BUDGET = ("usd", "calls", "search_calls", "tokens", "seconds")
SEARCH = ("method", "model", "seed", "max_concurrency", "max_edits", "max_tokens", "demos", "redact", "cache", "from")
OUTPUT = ("apply", "prompts", "push", "tag", "summary", "junit", "show_rows")
OPTIMIZE = (*TASK, *SEARCH, *GATE, *BUDGET, *OUTPUT)


@dataclass
class Given:
    """What the command line says about settings; `load` reads file and environment beneath it."""

    config: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    as_json: bool = False

    def load(self, *, without_file: bool = False) -> Config:
        """The settings; `without_file` leaves a promptopt.toml that lies here unread. Raises ConfigError."""
        from langchain_promptopt.config import load_config

        return load_config(self.config, os.environ, self.overrides, without_file=without_file)

    def load_step(self) -> Config:
        """The same for a verb that runs: settings that cannot be used are reported in summary, JUnit and GitHub too."""
        from langchain_promptopt.pipeline.delivering import unusable_told

        with unusable_told(self.config, overrides=self.overrides):
            return self.load()

    def target(self, value: str | None) -> None:
        """Take the positional argument: settings (.toml), a chain (module:name, file.py:name), or a prompt.

        Raises UsageError where settings are named twice, or the file holds something else.
        """
        if value is None:
            return
        if value.lower().endswith(".toml"):
            self._settings(Path(value))
        else:
            chain = re.fullmatch(r"(?:[^\W\d][\w.]*|.*\.py):[^\W\d][\w.]*", value) and not _is_prompt_file(value)
            self.overrides["task.chain" if chain else "task.prompt"] = value

    def _settings(self, path: Path) -> None:
        if self.config is not None:
            msg = f"settings are named twice: {path} and {self.config}"
            raise UsageError(msg, mend="Give one of them.")
        self.config = path


def _is_prompt_file(value: str) -> bool:
    from langchain_promptopt.config.schema import split_part

    return split_part(value, Path.cwd()) is not None


EXAMPLES: dict[Verb, str] = {}
"""Each verb and the line that its help ends with."""


def verb(example: str) -> Callable[[Verb], Verb]:
    """Make a function a verb of the command line; its name is the verb, `help_of` it the help."""

    def add(function: Verb) -> Verb:
        EXAMPLES[function] = f"Example: {example}"
        return function

    return add


def help_of(verb: Verb) -> str:
    """What `--help` says of a verb: its docstring up to the parameters, which have help of their own."""
    return (inspect.getdoc(verb) or "").partition("\n\nArgs:")[0]


def with_settings(*names: str) -> Callable[[Verb], Verb]:
    """Give a verb the flags `names`, `--config`, `--set` and `--json`; it receives them as `given: Given`."""

    def add(verb: Verb) -> Verb:
        signature = inspect.signature(verb, eval_str=True)
        own = [p for name, p in signature.parameters.items() if name != "given"]
        flags = [_parameter(name, FLAGS[name]) for name in dict.fromkeys(names)]

        @functools.wraps(verb)
        def called(**values: Any) -> int:
            given = Given(config=values.pop("config"), as_json=values.pop("as_json"))
            for text in values.pop("set_"):
                key, _, value = text.partition("=")
                given.overrides[key.strip()] = value.strip()
            for parameter in flags:
                value = values.pop(parameter.name)
                if value:  # "" and [] are flags that were not given, False is the default of a switch
                    flag = FLAGS[parameter.name.rstrip("_")]
                    given.overrides[flag.key] = _pairs(flag, value) if flag.kind is dict else value
            return verb(given=given, **values)

        keyword = []
        for p in (*own, *flags, _CONFIG, _SET, _JSON):
            keyword.append(p.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        called.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined] # functions carry one where set
        called.__annotations__ = {p.name: p.annotation for p in keyword}
        return called

    return add


_PAIRS = {
    "--input": "email=Body: the prompt's variable, then its column",
    "--task-models": "small=openai:gpt-4o-mini: a name, then the model",
}
"""What flags of pairs look like."""


def _pairs(flag: Flag, texts: list[str]) -> dict[str, str]:
    """NAME=VALUE texts as a mapping. Raises UsageError for one without a sign or a side."""
    found = {}
    for text in texts:
        name, sign, value = map(str.strip, text.partition("="))
        if not (name and sign and value):
            msg = f"{flag.option} {text!r} is not {flag.metavar}"
            raise UsageError(msg, mend=f"Write {flag.option} {_PAIRS[flag.option]}.")
        found[name] = value
    return found


def _parameter(name: str, flag: Flag) -> inspect.Parameter:
    safe = f"{name}_" if name in {"from", "input", "id"} else name
    if flag.kind is bool:
        annotation: Any = Annotated[bool, typer.Option(flag.option, help=flag.help)]
        default: Any = False
    elif flag.kind in {list, dict}:
        annotation = Annotated[list[str], typer.Option(flag.option, help=flag.help, metavar=flag.metavar)]
        default = []
    else:
        annotation = Annotated[str, typer.Option(flag.option, help=flag.help, metavar=flag.metavar, show_default=False)]
        default = ""
    return inspect.Parameter(safe, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings; default is ./promptopt.toml.")
    ],
)
_SET = inspect.Parameter(
    "set_",
    inspect.Parameter.KEYWORD_ONLY,
    default=[],
    annotation=Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the file, as optimize.temperature=0.5."),
    ],
)
_JSON = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
