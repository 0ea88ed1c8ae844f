"""What a caller may set: `Settings` in one value, `Arguments` as keyword arguments, and the checks on both.

`optimize(...)`, `PromptOptimizer(...)` and `compare(...)` fill it; pipelines too. Every setting is checked
when the value is made, before anything is read or paid for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, cast, get_args

from langchain_promptopt._data import Columns
from langchain_promptopt._langsmith.service import LangSmithOptions
from langchain_promptopt._runtime.limiter import RateLimit
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import ConfigError, UsageError, did_you_mean, require
from langchain_promptopt.evaluators import Declared
from langchain_promptopt.recipe import Budget, Demos, Gate, Recipe, check_number
from langchain_promptopt.steps.metaprompts import DEFAULT, MetaPrompts
from langchain_promptopt.types import Example

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from langchain_promptopt._langchain.isolation import ChainConfig
    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.redact import Redact
    from langchain_promptopt.optimizer.remote import Workers
    from langchain_promptopt.ports import Executor, Observer
    from langchain_promptopt.strategies.seeding import PastEdit

Apply = Literal["if_improved", "never", "always"]
Over = Literal["mean", "worst"]
"""How the scores of several task models become one."""


class RunEvaluatorLike(Protocol):
    """An evaluator object of LangSmith's older form."""

    def evaluate_run(self, run: Any, example: Any = None, /) -> Any:
        """Judge one run."""
        ...


Task: TypeAlias = "Runnable[Any, Any] | Callable[..., Any]"
"""What is optimized: a chain, a graph, a prompt template (these are Runnables), or a function with tunable prompts."""
Rows: TypeAlias = Iterable[Mapping[str, Any] | Example]
"""Rows in memory: a list, a `datasets.Dataset`, anything that yields mappings."""
Data: TypeAlias = str | Path | Rows | Mapping[str, Rows]
"""A path, the name of a LangSmith dataset, rows, or split -> rows."""
Model: TypeAlias = "str | Runnable[Any, Any] | tuple[object, str]"
"""A model: "provider:name", a chat model, or (openai client, "model")."""
EvaluatorLike: TypeAlias = str | Callable[..., Any] | Declared | Mapping[str, Any] | RunEvaluatorLike
"""One evaluator: a built-in's name, a LangSmith evaluator, or one with declared values."""
ExecutorLike: TypeAlias = 'Executor | Literal["batch"]'
"""Where examples are evaluated: an object of yours, or OpenAI's Batch API."""
Evaluators: TypeAlias = EvaluatorLike | Iterable[EvaluatorLike] | Mapping[str, EvaluatorLike]
"""Evaluators as `optimize` takes them: one, several, or name -> evaluator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCost:
    """What one row costs an evaluator whose model calls cannot be seen.

    Args:
        calls: Model calls a row.
        input_tokens: Input tokens a row, over its calls.
        output_tokens: Output tokens a row, over its calls.
        model: The model, as prices know it.
    """

    calls: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = "unknown"

    @property
    def usage_metadata(self) -> dict[str, int]:
        """In langchain-core's shape."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Arguments of `optimize`, with what only pipelines and tests set.

    `optimize` documents those that are not listed here.

    Attributes:
        method: A preset's name or a Recipe.
        tune: Names of the prompts that may change; None is all that the baseline sends.
        config: A config for the chain, or a function of a row's inputs that gives one.
        max_edits: Edits the winner may have; those without which no search row is lost go first.
        max_tokens: About how many tokens a prompt may have; no candidate is longer.
        demos: How demonstrations are looked for after the search; None is not at all.
        max_failure_rate: Share of rows an outage may cost before the run stops.
        skip_bad_lines: Leave broken lines of JSONL files out, and say so.
        prices: Prices of models by name, above the built-in ones.
        clock: The time; tests give one of their own.
        runs_dir: Folder of run records; None keeps the record in memory.
        openings: File that counts openings of test rows; None beside `runs_dir`, else not recorded.
        langsmith: What is read from and written to LangSmith; `optimize` takes a mapping as well.
        trace_file: File to which every traced run is appended as one JSON line.
        executor: Runs cells elsewhere; "batch" asks the task model through OpenAI's Batch API; None is this process.
        policy: How failed calls are tried again.
        start_edits: What an earlier run found; edits that still fit are tried first, each alone and all together.
        optimizer_kwargs: Sent with every optimizer call, in place of what the method would send.
        requests_per_second: Ceiling on calls started, over all roles.
        limits: What one model may be asked, by its name: requests and tokens a minute, calls in flight.
        judges: What evaluators whose model calls cannot be seen take for each row, by key.
        cache: File of evaluations shared between runs; None asks always.
        summary_evaluators: LangSmith's functions over all rows at once; shown beside the verdict, they decide nothing.
        notes: What was noticed while the task was read, for the run's warnings.
        ask_first: Ask the endpoints for their models, which is free, before the first call that is paid.
        constant_prompt: Every row is meant to send the same text; without it that is refused.
        task_models: Models that each answer every example with the one prompt, by name; in place of `task_model`.
        over: Whether an example counts by the mean of their scores or by the worst.
        swap: Names of the chain's models that they replace, "*" for all; None is the one that it has.
        must_pass: The tag of examples that no candidate may get wrong where the baseline gets them right.
        progress: Whether this process shows how far the run is; None is where a person looks.
        redact: What every text of an example passes before it is kept, shown or sent to the optimizer model.
        metaprompts: Texts in place of the package's own meta-prompts, by name.
    """

    data: Data | None
    evaluators: Evaluators | None
    optimizer_model: Model | None = None
    task_model: Model | None = None
    method: str | Recipe = "robust"
    freeze: Sequence[str] = ()
    tune: Sequence[str] | None = None
    config: ChainConfig = None
    gate: Gate = field(default_factory=Gate)
    budget: Budget = field(default_factory=Budget)
    apply: Apply = "if_improved"
    seed: int = 0
    max_concurrency: int = 32
    max_failure_rate: float = 0.05
    max_edits: int | None = None
    max_tokens: int | None = None
    demos: Demos | None = None
    columns: Columns = field(default_factory=Columns)
    splits: Mapping[str, str] | None = None
    drop_leaks: bool = False
    skip_bad_lines: bool = False
    import_from: Path | None = None
    langsmith: LangSmithOptions = field(default_factory=LangSmithOptions)
    trace_file: Path | None = None
    runs_dir: Path | None = None
    openings: Path | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    executor: ExecutorLike | Workers | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Clock | None = None
    config_json: Mapping[str, Any] = field(default_factory=dict)
    remote: Any = None
    expected_run: str | None = None
    start_edits: Sequence[PastEdit] = ()
    optimizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    requests_per_second: float | None = None
    limits: Mapping[str, RateLimit | Mapping[str, Any]] = field(default_factory=dict)
    judges: Mapping[str, JudgeCost] = field(default_factory=dict)
    cache: Path | None = None
    summary_evaluators: Evaluators = ()
    notes: Sequence[str] = ()
    ask_first: bool = False
    constant_prompt: bool = False
    must_pass: str | None = None
    task_models: Mapping[str, Model] = field(default_factory=dict)
    over: Over | None = None
    swap: Sequence[str] | None = None
    progress: bool | None = False
    redact: Redact | None = None
    metaprompts: MetaPrompts = DEFAULT

    def __post_init__(self) -> None:
        check_apply(self.apply)
        given: Any = self.redact
        if given is not None and not callable(given):
            msg = f"redact cannot be {given!r}"
            raise ConfigError(msg, mend="Write redact=hide: a function that takes a text and gives the text to keep.")
        self._check_executor()
        self._check_numbers()
        for name, (kinds, form) in _FORMS.items():
            require(name, getattr(self, name), kinds, form)
        self._check_models()
        self._check_names()
        for name, kind, form in _BY_NAME:
            for key, value in getattr(self, name).items():
                require(f"{name}[{key!r}]", value, kind, form)

    def _check_names(self) -> None:
        for watcher in self.observers:
            if not callable(getattr(watcher, "on_event", None)):
                msg = f"observers holds {watcher!r}, which has no on_event"
                raise ConfigError(msg, mend=f"Write {_FORMS['observers'][1]}.")
        if self.clock is not None and not hasattr(self.clock, "sleep"):
            msg = f"clock cannot be {self.clock!r}"
            raise ConfigError(msg, mend="Leave it out, or give an object with time, sleep and timeout.")
        for name in ("freeze", "tune", "swap"):
            for rule in getattr(self, name) or ():
                if not isinstance(rule, str):
                    msg = f"{name} holds {rule!r}, which is no text"
                    raise ConfigError(msg, mend=f"Write {_FORMS[name][1]}.")
        if self.tune is not None and not self.tune:
            msg = "tune names no prompt"
            raise ConfigError(msg, mend="Leave it out for all that are sent; `promptopt prompts` lists them.")

    def _check_executor(self) -> None:
        given: Any = self.executor
        if given is None or given == "batch" or hasattr(given, "evaluate") or hasattr(given, "ask"):
            return
        msg = f"executor cannot be {given!r}"
        raise ConfigError(msg, mend='Write executor="batch", or give an object with `evaluate`.')

    def _check_models(self) -> None:
        if self.over is not None and self.over not in get_args(Over):
            msg = f"over must be 'mean' or 'worst', got {self.over!r}"
            raise ConfigError(msg, mend=did_you_mean(str(self.over), get_args(Over)).strip())
        if self.over is not None and not self.task_models:
            msg = f"over is {self.over!r}, and there are no task_models"
            raise ConfigError(msg, mend=f"Leave it out, or write {_FORMS['task_models'][1]}.")
        if self.swap is not None and not self.task_models:
            msg = f"swap is {list(self.swap)}, and there are no task_models"
            raise ConfigError(msg, mend=f"Leave it out, or write {_FORMS['task_models'][1]}.")
        if self.task_models and self.task_model is not None:
            msg = "task_model and task_models are both set"
            raise ConfigError(msg, mend="Put the one model into task_models, too, or leave task_models out.")
        for name in self.task_models:
            given: object = name
            if not isinstance(given, str) or not given.strip() or "@" in given:
                msg = f"task_models has the name {given!r}"
                raise ConfigError(msg, mend="A name is a text without @: metrics of a model are called metric@name.")

    def _check_numbers(self) -> None:
        check_number("seed", self.seed, -math.inf, whole=True)
        check_number("max_concurrency", self.max_concurrency, 1, whole=True)
        check_number("max_failure_rate", self.max_failure_rate, 0, 1)
        if self.max_edits is not None:
            check_number("max_edits", self.max_edits, 1, whole=True, mend="Leave it out for no limit.")
        if self.max_tokens is not None:
            check_number("max_tokens", self.max_tokens, 1, whole=True, mend="Leave it out for no limit.")
        if self.requests_per_second is not None:
            check_number("requests_per_second", self.requests_per_second, 0)
            if not self.requests_per_second:
                msg = "requests_per_second must be above 0"
                raise ConfigError(msg, mend="Leave it out for no limit.")


_TRUTH = ((bool,), "True or False")
_LIST = (list, tuple)
_FORMS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "method": ((str, Recipe), 'method="robust", or a Recipe; `promptopt methods` lists the names'),
    "freeze": (_LIST, 'freeze=["## Refund policy"]: "## Heading", "re:pattern", "role:human", "message:0"'),
    "tune": ((*_LIST, type(None)), 'tune=["triage"]: names of prompts, as `promptopt prompts` lists them'),
    "swap": ((*_LIST, type(None)), 'swap=["gpt-4o"]: names of the chain\'s models that task_models replaces'),
    "gate": ((Gate,), 'gate=Gate(primary="exact_match")'),
    "budget": ((Budget,), "budget=Budget(usd=5)"),
    "demos": ((Demos, type(None)), 'demos=Demos(how="gain", number=3)'),
    "must_pass": ((str, type(None)), 'must_pass="critical": the tag of the examples, in their metadata'),
    "drop_leaks": _TRUTH,
    "constant_prompt": _TRUTH,
    "progress": ((bool, type(None)), "True, False, or None for a terminal or a notebook"),
    "skip_bad_lines": _TRUTH,
    "task_models": ((Mapping,), 'task_models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"}'),
    "splits": ((Mapping, type(None)), 'splits={"test": "validation"}: our split -> the source\'s split'),
    "langsmith": ((LangSmithOptions,), 'langsmith={"as_of": "v1"}, or LangSmithOptions(...)'),
    "policy": ((RetryPolicy,), "policy=RetryPolicy(attempts=10)"),
    "observers": (_LIST, "observers=[...]: objects with on_event"),
    "prices": ((Mapping,), 'prices={"my-model": Price(input=1.0, output=4.0)}'),
    "limits": ((Mapping,), 'limits={"my-model": RateLimit(requests_per_minute=60)}'),
    "judges": ((Mapping,), 'judges={"helpful": JudgeCost(calls=1)}'),
    "optimizer_kwargs": ((Mapping,), 'optimizer_kwargs={"temperature": 0.0}'),
}
"""Types each setting may have, and the form to write."""
_BY_NAME: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("prices", (Price,), _FORMS["prices"][1]),
    ("limits", (RateLimit, Mapping), _FORMS["limits"][1]),
    ("judges", (JudgeCost,), _FORMS["judges"][1]),
)
_APPLY: tuple[str, ...] = get_args(Apply)


def check_apply(value: object) -> None:
    """Raise UsageError unless `value` is one of the three ways: a typo must never apply what is not proven."""
    if isinstance(value, str) and value in _APPLY:
        return
    words = ", ".join(map(repr, _APPLY))
    meant = {True: "'always' or 'if_improved'", False: "'never'", None: "'never'"}
    if isinstance(value, bool) or value is None:
        hint = f"Did you mean {meant[value]}? "
    else:
        hint = did_you_mean(str(value).strip().lower().replace("-", "_").replace(" ", "_"), _APPLY)
    msg = f"apply must be one of {words}, got {value!r}"
    raise UsageError(msg, where="apply", mend=hint.strip())


class SharedArguments(TypedDict, total=False):
    """Keyword arguments of `optimize` that `compare` takes as well; see there."""

    data: Data
    evaluators: Evaluators
    task_model: Model | None
    tune: str | Sequence[str] | None
    config: ChainConfig
    constant_prompt: bool
    must_pass: str | None
    task_models: Mapping[str, Model]
    over: Over | None
    swap: str | Sequence[str] | None
    redact: Redact | None
    gate: Gate | Mapping[str, Any] | None
    budget: Budget | Mapping[str, Any] | None
    seed: int
    max_concurrency: int
    max_failure_rate: float
    inputs: Mapping[str, str] | None
    outputs: str | Sequence[str] | Mapping[str, str] | None
    id: str | None
    group: str | None
    columns: Columns
    splits: Mapping[str, str] | None
    drop_leaks: bool
    skip_bad_lines: bool
    langsmith: LangSmithOptions | Mapping[str, Any] | None
    trace_file: str | Path | None
    runs_dir: str | Path | None
    openings: str | Path | None
    prices: Mapping[str, Price]
    observers: Sequence[Observer]
    policy: RetryPolicy
    clock: Clock | None
    requests_per_second: float | None
    limits: Mapping[str, RateLimit | Mapping[str, Any]]
    judges: Mapping[str, JudgeCost]
    cache: str | Path | None
    summary_evaluators: Evaluators
    progress: bool | None


class Arguments(SharedArguments, total=False):
    """Keyword arguments of `optimize`, `aoptimize` and `PromptOptimizer`."""

    optimizer_model: Model
    method: str | Recipe
    freeze: str | Sequence[str]
    apply: Apply
    max_edits: int | None
    max_tokens: int | None
    demos: str | Mapping[str, Any] | Demos | None
    metaprompts: Mapping[str, str | Path] | None
    optimizer_kwargs: Mapping[str, Any]
    executor: ExecutorLike | None


HERE = "here"
"""Default of places: beside the program's working directory."""


def settings_of(arguments: Mapping[str, Any], *, where: str = "optimize()") -> Settings:
    """Arguments of `optimize` as Settings: defaults filled, paths and columns in their own types."""
    from langchain_promptopt.gate.openings import FILE_NAME
    from langchain_promptopt.store import runs_dir as default_runs_dir

    refuse_unknown(arguments, Arguments.__annotations__, where=where)
    given = dict(arguments)
    columns = given.pop("columns", None)
    mapped = {name: given.pop(name, None) for name in ("inputs", "outputs", "id", "group")}
    folder, openings = given.pop("runs_dir", HERE), given.pop("openings", HERE)
    options = given.pop("langsmith", None)
    for name in ("freeze", "tune", "swap"):  # one rule is a list of one
        if isinstance(given.get(name), str):
            given[name] = (given[name],)
    if "observers" in given and isinstance(given["observers"], Iterable):
        given["observers"] = tuple(given["observers"])
    given |= {name: None for name in ("data", "evaluators", "progress") if name not in given}
    return Settings(
        gate=Gate.of(given.pop("gate", None)),
        budget=Budget.of(given.pop("budget", None)),
        demos=Demos.of(given.pop("demos", None)),
        cache=_path("cache", given.pop("cache", None)),
        langsmith=LangSmithOptions.of(options) if options is None or isinstance(options, Mapping) else options,
        trace_file=_path("trace_file", given.pop("trace_file", None)),
        columns=_columns(columns, mapped),
        runs_dir=default_runs_dir(Path.cwd()) if folder == HERE else _path("runs_dir", folder),
        openings=Path.cwd() / FILE_NAME if openings == HERE else _path("openings", openings),
        metaprompts=MetaPrompts.of(given.pop("metaprompts", None)),
        **given,
    )


def refuse_unknown(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Refuse a misspelt argument before anything happens.

    Args:
        given: Names of the arguments that were given.
        known: Names of the arguments there are.
        where: The function, for the message, as "compare()".

    Raises:
        ConfigError: A name is unknown; the message has the nearest one.
    """
    for name in given:
        if name not in known:
            msg = f"there is no argument {name!r}"
            mend = did_you_mean(name, known).strip() or f"Known are {', '.join(sorted(known))}."
            raise ConfigError(msg, where=where, mend=mend)


def _columns(columns: object, mapped: Mapping[str, Any]) -> Columns:
    """`inputs`, `outputs`, `id` and `group` as one value; one reference column may be given as a text."""
    forms = {
        "inputs": ((Mapping,), 'inputs={"ticket": "text"}: prompt variable -> column'),
        "outputs": ((str, list, tuple, Mapping), 'outputs=["label"], or {"answer": "label"}: reference name -> column'),
        "id": ((str,), 'id="nr": the column with an example\'s id'),
        "group": ((str,), 'group="thread": the column that keeps related examples together'),
    }
    for name, (kinds, form) in forms.items():
        if mapped[name] is not None:
            require(name, mapped[name], kinds, form)
    if columns is None:
        return Columns(**mapped)
    require("columns", columns, Columns, 'inputs={"ticket": "text"} and outputs=["label"], or columns=Columns(...)')
    if doubled := [name for name, value in mapped.items() if value is not None]:
        msg = f"columns and {', '.join(doubled)} are both set"
        raise ConfigError(msg, mend="Leave columns out, or put the others into it.")
    return cast("Columns", columns)


def _path(name: str, place: object) -> Path | None:
    if place is None:
        return None
    if not isinstance(place, str | Path):
        msg = f"{name} cannot be {place!r}"
        raise ConfigError(msg, mend=f'Write {name}="a/path", or None.')
    return Path(place)
