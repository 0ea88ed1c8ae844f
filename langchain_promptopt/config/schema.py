"""The settings of `promptopt.toml` as frozen values; each field's description is its documentation.

Numbers that a run cannot use are refused here, before anything is loaded. Whether enough is
said for a verb to start is a question of its own: `Config.require`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from langchain_promptopt.errors import ConfigError

Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(gt=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names: TypeAlias = tuple[str, ...]

_STRICT = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


def split_part(name: str, root: Path) -> tuple[Path, str] | None:
    """File and part of a prompt's name, as `Config.prompt_file` gives them; relative paths start at `root`."""
    for sign in ("", "#", ":"):
        file, found, part = name.rpartition(sign) if sign else (name, "", "")
        if sign and not (found and part and Path(file).suffix.lower() in {".json", ".yaml", ".yml"}):
            continue
        try:
            path = root / Path(file).expanduser()
            if path.is_file():
                return path, part
        except (OSError, RuntimeError, ValueError):  # too long, or "~nobody": no path at all
            continue
    return None


class TaskConfig(BaseModel):
    """`[task]`: what is optimized."""

    model_config = _STRICT

    chain: str | None = Field(default=None, description='a chain in Python code, as "module:name"')
    prompt: str | None = Field(
        default=None,
        description='a prompt file, "file#name" where it holds several, or a LangSmith prompt "owner/name:tag"',
    )
    model: str | None = Field(
        default=None, description='the model that runs the prompt, as "provider:name"; "offline" is built in'
    )
    template_format: Literal["f-string", "mustache", "jinja2"] | None = Field(
        default=None, description="of a prompt file; default goes by its ending (.j2, .mustache), else f-string"
    )
    freeze: Names = Field(
        default=(),
        description='headings, "re:<pattern>", "role:<role>", "message:<n>" or "NAME:<rule>" that must not change',
    )
    tune: Names = Field(
        default=(),
        description="names of the prompts that may change, * for any text; default is all that are sent, "
        "descriptions of tools (tool:*) and schemas (schema:*) left out",
    )
    constant_prompt: bool = Field(default=False, description="every example is meant to send the same text")
    temperature: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="sent only where the model takes it"
    )
    max_tokens: Count | None = Field(default=None, description="longest reply of the task model")
    base_url: str | None = Field(default=None, description="an OpenAI-compatible endpoint of your own")


class DataConfig(BaseModel):
    """`[data]`: the examples, and which column is what."""

    model_config = _STRICT

    source: str | None = Field(
        default=None, description="a file, a folder, hf:owner/name, a LangSmith dataset, or langsmith-project:NAME"
    )
    splits: dict[Literal["train", "dev", "val", "test"], str] = Field(
        default={}, description="our split = the source's split"
    )
    inputs: dict[str, str] = Field(default={}, description="prompt variable = column")
    outputs: Names = Field(default=(), description="columns that hold the reference answer")
    id: str | None = Field(default=None, description="column with the example's id")
    group: str | None = Field(default=None, description="column whose equal values stay in one split")
    split: str | None = Field(
        default=None, description="column that says which split an example is in; default is `split`"
    )
    note: str | None = Field(default=None, description="column with a human remark for the optimizer")
    as_of: str | None = Field(
        default=None, description="version or tag of a LangSmith dataset; of a project, the end of the window"
    )
    window: str | None = Field(
        default=None, description='runs of a LangSmith project that began then: "24h", "7d" (default) or "START/END"'
    )
    filter: str | None = Field(default=None, description="condition on a project's runs, in LangSmith's language")
    sample: float | None = Field(
        default=None, gt=0, le=1, description="share of a project's runs; optimize.seed says which"
    )
    limit: Count | None = Field(default=None, description="how many of a project's runs become examples at most")
    reference: str | None = Field(
        default=None,
        description="where a run's reference comes from: correction, feedback:KEY, feedback:KEY>=4, evaluator:KEY or"
        " preference:KEY",
    )
    drop_leaks: bool = Field(default=False, description="drop examples of train and dev whose input is in test")
    skip_bad_lines: bool = Field(default=False, description="leave unreadable lines out, counted, instead of stopping")


class JudgeConfig(BaseModel):
    """`[evaluate.judge_cost.NAME]`: what an example costs an evaluator whose model calls cannot be seen."""

    model_config = _STRICT

    calls: Annotated[int, Field(ge=0)] = Field(default=1, description="model calls an example")
    input_tokens: Annotated[int, Field(ge=0)] = Field(default=0, description="input tokens an example")
    output_tokens: Annotated[int, Field(ge=0)] = Field(default=0, description="output tokens an example")
    model: str = Field(default="unknown", description="the judge's model, as prices know it")


class EvaluateConfig(BaseModel):
    """`[evaluate]`: how an answer is scored."""

    model_config = _STRICT

    evaluators: Names | dict[str, str] = Field(
        default=(), description='built-in names or "module:function"; a table renames them'
    )
    weights: dict[str, Positive] = Field(default={}, description="fixed weights; the weighted mean then decides")
    ranges: dict[str, tuple[float, float]] = Field(
        default={}, description="evaluator = [lowest, highest], where not 0 to 1"
    )
    lower_is_better: Names = Field(default=(), description="evaluators whose low values are good")
    judge_cost: dict[str, JudgeConfig] = Field(
        default={}, description="evaluator = what its model calls take, where LangChain does not make them"
    )
    values: dict[str, dict[str, Share]] = Field(
        default={}, description="evaluator = {category = worth}, where it gives words"
    )
    summary: Names = Field(
        default=(),
        description='"module:function" over all examples at once; shown beside the verdict, they decide nothing',
    )


class GateConfig(BaseModel):
    """`[gate]`: what counts as an improvement."""

    model_config = _STRICT

    primary: str | None = Field(default=None, description="the deciding metric; default is the first evaluator")
    guards: dict[str, Share] = Field(default={}, description="metric = how much it may fall")
    alpha: Annotated[float, Field(gt=0, le=0.5)] = Field(
        default=0.05,
        description="how often a change without effect may pass, over all openings; the first has half of it",
    )
    min_improvement: Share = Field(default=0.0, description="gain that must be exceeded, on the 0-1 scale")
    repeats: Count = Field(default=1, description="evaluations per example and side")
    margin: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description='how much the deciding metric may fall: then "not worse" is tested, no gain; 0.05 with shorten',
    )
    worth: Share = Field(default=0.02, description='an upper bound below this is "no gain", above it "inconclusive"')


class DemosConfig(BaseModel):
    """`[optimize.demos]`: demonstrations, in more detail than `demos = "gain"`."""

    model_config = _STRICT

    how: Literal["random", "similar", "gain"] = Field(
        default="random", description='"similar": to train examples that the prompt gets wrong; "gain": on other ones'
    )
    number: Count = Field(default=4, description="how many are shown at most")
    prompt: str | None = Field(default=None, description="the prompt that shows them, where several could")
    place: Literal["auto", "start", "end"] = Field(default="auto", description="in its message")
    tries: Count | None = Field(default=None, description='with "gain": how many are measured alone; 8 if left out')


class OptimizeConfig(BaseModel):
    """`[optimize]`: how the search runs."""

    model_config = _STRICT

    method: str = Field(default="robust", description="a preset; `promptopt methods` lists them")
    model: str | None = Field(
        default=None, description='the model that proposes edits, as "provider:name", or "module:object" of your code'
    )
    seed: int = Field(default=0, description="of all randomness")
    max_concurrency: Count = Field(default=32, description="evaluations in flight")
    max_edits: Count | None = Field(default=None, description="at most this many edits, the most useful first")
    metaprompts: dict[str, str] = Field(
        default={}, description="your text, or a file that ends in .txt, by the name of the meta-prompt it replaces"
    )
    max_tokens: Count | None = Field(
        default=None, description="tokens that a prompt may have, about; no candidate is longer"
    )
    demos: Literal["none", "random", "similar", "gain"] | DemosConfig | None = Field(
        default=None,
        description="train examples that the prompt answers right, shown in it where that raises the dev score",
    )
    task_models: dict[str, str] = Field(
        default={}, description='name = "provider:name": models that each answer with the one prompt'
    )
    over: Literal["mean", "worst"] | None = Field(
        default=None, description="how the scores of task_models become one; default is mean"
    )
    swap: Names = Field(
        default=(),
        description="names of the chain's models that task_models replaces, where it asks several; * is all of them",
    )
    must_pass: str | None = Field(
        default=None, description="tag of the examples that no candidate may get wrong where the old prompt is right"
    )
    max_failure_rate: Share = Field(
        default=0.05, description="share of examples an outage may cost before the run stops"
    )
    temperature: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of the optimizer model; default is the method's"
    )
    max_reply_tokens: Count | None = Field(default=None, description="longest reply of the optimizer model")
    base_url: str | None = Field(default=None, description="an OpenAI-compatible endpoint of your own")
    requests_per_second: Positive | None = Field(default=None, description="ceiling over all roles")
    executor: Literal["batch"] | None = Field(
        default=None,
        description='"batch" asks the task model through OpenAI\'s Batch API: half price, replies within 24 hours',
    )
    from_run: str | None = Field(default=None, description="try the edits of this run first")
    config: dict[str, Any] | None = Field(
        default=None, description="config of the chain: { configurable = {...}, tags = [...], recursion_limit = 50 }"
    )
    redact: str | None = Field(
        default=None,
        description='"module:function" that every text of an example passes before it is kept or sent to the optimizer',
    )
    cache: str | None = Field(default=None, description="file of evaluations that runs share; the test is always fresh")
    progress: bool | None = Field(default=None, description="false: no progress on stderr")

    @field_validator("metaprompts", mode="before")
    @classmethod
    def _dotted(cls, given: Any) -> Any:
        """TOML reads `identify.line = "..."` as a table in a table; the names have dots."""
        if not isinstance(given, dict):
            return given
        flat: dict[str, Any] = {}
        for name, value in given.items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            for rest, text in inner:
                flat[f"{name}.{rest}" if rest else name] = text
        return flat


class BudgetConfig(BaseModel):
    """`[budget]`: hard limits; any mix, none set is no limit."""

    model_config = _STRICT

    usd: Positive | None = Field(default=None, description="money over all roles, the gate included")
    tokens: Count | None = Field(default=None, description="tokens over all roles, the gate included")
    calls: Count | None = Field(default=None, description="model calls over all roles, the gate included")
    search_calls: Count | None = Field(default=None, description="target calls of the search alone")
    seconds: Positive | None = Field(default=None, description="wall time")


class OutputConfig(BaseModel):
    """`[output]`: where results go. Nothing leaves this machine unless `push` is set."""

    model_config = _STRICT

    prompts: str | None = Field(default=None, description="folder where the new prompts are written")
    apply: Literal["if_improved", "never", "always"] = Field(
        default="if_improved", description="when the new prompts are written"
    )
    push: str | None = Field(default=None, description='LangSmith prompt "owner/name", pushed only after the gate')
    tag: str | None = Field(default=None, description="commit tag that is moved to the pushed prompt")
    runs_dir: str | None = Field(default=None, description="folder of run records; default .promptopt/runs")
    summary: str | None = Field(default=None, description="Markdown file for a pull request comment")
    junit: str | None = Field(default=None, description="JUnit XML file")
    trace: str | None = Field(default=None, description="file that gets every traced run as a line of JSON")
    show_rows: bool = Field(default=False, description="put example texts into the Markdown summary")


class LangSmithConfig(BaseModel):
    """`[langsmith]`: what is written to LangSmith; everything is off unless asked."""

    model_config = _STRICT

    experiments: bool = Field(default=False, description="record baseline and best candidate as experiments")
    record_openings: bool = Field(default=False, description="count test openings in the dataset's metadata too")
    project: str | None = Field(default=None, description="project of the traces, where tracing is on")
    write_splits: bool = Field(default=False, description="write splits made here back to a dataset that has none")
    queues: Names = Field(
        default=(),
        description="annotation queues whose reviews become notes on their examples; of a project, only runs in them"
        " are read",
    )
    issues: bool = Field(default=False, description="a project's issues become notes on the runs they name")
    insights: str | None = Field(
        default=None, description="id of a project's insights report; its clusters become notes on their runs"
    )
    metadata: dict[str, str | int | float | bool] = Field(
        default={}, description="only examples whose metadata holds all of this"
    )


class LoopConfig(BaseModel):
    """`[loop]`: from runs of production to a prompt that a person approves; see `promptopt loop`."""

    model_config = _STRICT

    promote: str = Field(default="production", description="commit tag that is moved when a person approves")
    watch: str = Field(default="24h", description="how long a promoted prompt is watched before it is kept")
    people: str | None = Field(
        default=None, description='feedback of people that a judge is measured against, as "correct" or "stars>=4"'
    )
    min_agreement: float = Field(
        default=0.6, ge=-1, le=1, description="kappa that a judge must reach before it may decide"
    )
    retire: bool = Field(default=True, description="test examples that a gate has looked at leave later tests")


class PriceConfig(BaseModel):
    """`[prices."provider:name"]`: US dollars per million tokens."""

    model_config = _STRICT

    input: float = Field(ge=0, allow_inf_nan=False, description="per million input tokens")
    output: float = Field(ge=0, allow_inf_nan=False, description="per million output tokens")
    cache_read: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="per million cached input tokens; default is the input price",
    )
    cache_write: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="per million input tokens written to the cache; default is the input price",
    )


class LimitConfig(BaseModel):
    """`[limits."provider:name"]`: what one model may be asked, by all roles together."""

    model_config = _STRICT

    requests_per_minute: Positive | None = Field(default=None, description="model calls in any 60 seconds")
    tokens_per_minute: Positive | None = Field(default=None, description="input and output tokens in any 60 seconds")
    concurrency: Count | None = Field(default=None, description="calls in flight, where fewer than max_concurrency")


_TASK = "task.chain (or task.prompt)"
_AS_FLAGS = {
    _TASK: "module:chain or a prompt file",
    "task.model": "--task-model",
    "data.source": "--data",
    "evaluate.evaluators": "--evaluator",
    "optimize.model": "--model",
}
"""What says the same on the command line."""


class Config(BaseModel):
    """All settings of a run. Build it with `load_config` or `config_from_dict`."""

    model_config = _STRICT

    task: TaskConfig = TaskConfig()
    data: DataConfig = DataConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    optimize: OptimizeConfig = OptimizeConfig()
    budget: BudgetConfig = BudgetConfig()
    output: OutputConfig = OutputConfig()
    langsmith: LangSmithConfig = LangSmithConfig()
    loop: LoopConfig = LoopConfig()
    prices: dict[str, PriceConfig] = {}
    limits: dict[str, LimitConfig] = {}

    _root: Path = PrivateAttr(default_factory=Path.cwd)
    _file: Path | None = PrivateAttr(default=None)
    _flags: tuple[str, ...] = PrivateAttr(default=())

    @property
    def root(self) -> Path:
        """The folder that relative paths start from: the config file's."""
        return self._root

    @property
    def file(self) -> Path | None:
        """The file these settings came from, if any."""
        return self._file

    @property
    def flags(self) -> tuple[str, ...]:
        """Dotted keys that were set outside file and environment, by flags: a resumed run takes them again."""
        return self._flags

    def path(self, value: str | Path) -> Path:
        """`value` as a path, relative ones taken from `root`."""
        return self._root / Path(value).expanduser()

    def prompt_file(self, name: str) -> tuple[Path, str] | None:
        """File and part that "file", "file#part" or "file:part" names; None where there is no such file."""
        return split_part(name, self._root)

    def located(self, value: str) -> str:
        """`value` as an absolute path where such a file or folder exists, else unchanged (a name or URL)."""
        try:
            found = self.path(value)
            return str(found) if found.exists() else value
        except (OSError, RuntimeError, ValueError):  # too long, or "~nobody": no path at all
            return value

    @property
    def runs_dir(self) -> Path:
        """Where run records live."""
        return self.path(self.output.runs_dir or ".promptopt/runs")

    @property
    def where(self) -> str:
        """How messages name the source of these settings."""
        return str(self._file) if self._file else "no promptopt.toml"

    def require(self, *keys: str) -> None:
        """Refuse a config in which one of the dotted `keys` is not set. `"task"` asks for a chain or a prompt.

        Raises ConfigError that names all missing keys at once.
        """
        missing = list(filter(None, map(self._missing, keys)))
        if missing:
            msg = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
            flags = ", ".join(_AS_FLAGS[name] for name in missing if name in _AS_FLAGS)
            them = "it" if len(missing) == 1 else "them"
            mend = f"Write {them} into promptopt.toml" + (f", or give {flags}" if flags else "")
            mend += "; `promptopt init` writes the file."
            raise ConfigError(msg, where=self.where, mend=mend)

    def _missing(self, key: str) -> str | None:
        if key == "task":
            if self.task.chain is None and self.task.prompt is None:
                return _TASK
            answered = self.task.model is not None or self.optimize.task_models
            python = (self.task.prompt or "").endswith(".py")  # no prompt file, which is said where it is read
            return "task.model" if self.task.prompt is not None and not answered and not python else None
        section, _, name = key.partition(".")
        return None if getattr(getattr(self, section), name) else key
