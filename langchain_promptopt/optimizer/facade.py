"""`optimize` and `aoptimize`: one call from a chain to a decided, written-back result; `prompts` lists prompts."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:  # what a call needs is loaded by the call
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Unpack

    from langchain_promptopt._data import Columns
    from langchain_promptopt._langchain.isolation import ChainConfig
    from langchain_promptopt._langchain.target import Listed
    from langchain_promptopt._langsmith.service import LangSmithOptions
    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.limiter import RateLimit
    from langchain_promptopt._runtime.prices import Price
    from langchain_promptopt._runtime.redact import Redact
    from langchain_promptopt._runtime.retry import RetryPolicy
    from langchain_promptopt.optimizer.arguments import (
        Apply,
        Arguments,
        Data,
        Evaluators,
        ExecutorLike,
        JudgeCost,
        Model,
        Over,
        Task,
    )
    from langchain_promptopt.optimizer.result import Result
    from langchain_promptopt.ports import Observer
    from langchain_promptopt.recipe import Budget, Demos, Gate, Recipe

P = ParamSpec("P")
R = TypeVar("R")


def naming_nearest(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which names the nearest argument where a caller misspelt one."""
    known = inspect.signature(function).parameters

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs.keys() <= known.keys():
            from langchain_promptopt.optimizer.arguments import refuse_unknown

            refuse_unknown(kwargs, known, where=f"{function.__name__}()")
        return function(*args, **kwargs)

    return checked


@naming_nearest
def optimize(  # noqa: PLR0913 - the facade: each is a word users type
    chain: Task,
    *,
    data: Data,
    evaluators: Evaluators,
    optimizer_model: Model,
    method: str | Recipe = "robust",
    task_model: Model | None = None,
    freeze: str | Sequence[str] = (),
    gate: Gate | Mapping[str, Any] | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    apply: Apply = "if_improved",
    seed: int = 0,
    max_concurrency: int = 32,
    inputs: Mapping[str, str] | None = None,
    outputs: str | Sequence[str] | Mapping[str, str] | None = None,
    id: str | None = None,  # noqa: A002 - the word of promptopt.toml
    group: str | None = None,
    splits: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    runs_dir: str | Path | None = "here",
    openings: str | Path | None = "here",
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
    tune: str | Sequence[str] | None = None,
    config: ChainConfig = None,
    max_edits: int | None = None,
    max_tokens: int | None = None,
    demos: str | Mapping[str, Any] | Demos | None = None,
    metaprompts: Mapping[str, str | Path] | None = None,
    constant_prompt: bool = False,
    must_pass: str | None = None,
    task_models: Mapping[str, Model] | None = None,
    over: Over | None = None,
    swap: str | Sequence[str] | None = None,
    redact: Redact | None = None,
    max_failure_rate: float = 0.05,
    skip_bad_lines: bool = False,
    langsmith: LangSmithOptions | Mapping[str, Any] | None = None,
    trace_file: str | Path | None = None,
    prices: Mapping[str, Price] | None = None,
    policy: RetryPolicy | None = None,
    requests_per_second: float | None = None,
    limits: Mapping[str, RateLimit | Mapping[str, Any]] | None = None,
    judges: Mapping[str, JudgeCost] | None = None,
    optimizer_kwargs: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    summary_evaluators: Evaluators = (),
    executor: ExecutorLike | None = None,
    clock: Clock | None = None,
    columns: Columns | None = None,
) -> Result:
    """Improve the prompts inside `chain` by small edits, and decide on held-out examples whether they help.

    Args:
        chain: A Runnable, a prompt template (then with `task_model`), or a callable whose prompts are `tunable`.
        data: Examples: a path, `datasets.Dataset`, list, mapping split -> examples, or a LangSmith dataset's name.
        evaluators: LangSmith-shaped evaluators, names of built-in ones, or a mapping name -> evaluator.
        optimizer_model: "provider:name", a chat model, an (openai client, "model") pair, or "offline".
        method: A preset's name or a Recipe.
        task_model: The model of a bare prompt template.
        freeze: Text that must not change: "## Heading", "re:...", "role:human", "message:0"; one rule or several.
            `"NAME:rule"` holds for one prompt only.
        gate: How the winner is decided; None and {} are the default gate.
        budget: Hard limits.
        apply: When the new prompts are written into `chain`: "if_improved", "never" or "always".
        seed: Of all randomness.
        max_concurrency: Model calls in flight.
        inputs: Prompt variable -> column, where examples are flat or name it otherwise; dots reach deeper.
        outputs: Columns that hold the reference, or reference name -> column.
        id: The column with an example's id.
        group: The column that keeps related examples together (a thread, a customer): one split, one test cluster.
        splits: Our split -> the source's split.
        drop_leaks: Remove train and dev examples whose input is also in test.
        runs_dir: Folder of run records; by default `.promptopt/runs` here (or `PROMPTOPT_RUNS_DIR`). A finished run
            with the same inputs is returned from there without a call. None keeps the record in memory.
        openings: File that counts looks at the test examples; by default `promptopt.openings.jsonl` here. Without a
            record (None) nothing is applied by itself.
        observers: Watchers of the run's events.
        progress: Show how far the run is, on stderr or in the notebook's cell: True always, False never, None where
            a person looks.
        tune: Names of the prompts that may change, as `prompts` lists them, `*` standing for any text; None is all that
            the baseline sends. Descriptions of tools and schemas change only where they are named, as in "tool:*".
        config: A config for the chain (configurable, tags, recursion_limit ...), or a function of an example's inputs
            that gives one. Thread and session ids are made for each evaluation.
        constant_prompt: Every example is meant to send the same text; without it that is refused.
        task_models: Models by name, in place of `task_model` or of the chain's own: each answers every example with the
            one prompt. The gate and the guards may name a metric of one of them, as "exact_match@small".
        over: How their scores become one: "mean" (the default) or "worst".
        swap: Names of the chain's models that `task_models` replaces, where it asks several; "*" is all of them.
        must_pass: The tag of examples that must not get worse, as metadata `{"critical": true}`, one of their `tags`,
            or a further split. A candidate that gets one wrong which the old prompt gets right is out: on train and
            dev before it is compared, on val before the test, and in the verdict on the test.
        redact: A function that gives a text as it may be kept: every text and number of an example, its answer and
            comments passes it on the way to the optimizer model, journal, cache, reports and traces. The chain and
            the evaluators get the real example.
        max_tokens: About how many tokens a prompt may have, variables unfilled; a token is taken as four UTF-8 bytes.
            No candidate is longer. A prompt that is longer now is an error, except with `method="shorten"`.
        demos: "random", "similar" or "gain", or `Demos(...)`: after the search, train examples that the prompt answers
            right are shown in it where that raises the dev score. None and "none": not at all.
        max_edits: At most this many edits, the most useful first. With or without it, edits without which no dev
            example is lost are taken out before the test, where the budget can pay for a run without each edit.
        metaprompts: Your text by the name of the meta-prompt that it replaces. `get_prompts()` of a step shows names
            and texts; a text must hold the same `$places`. A Path names a file.
        max_failure_rate: Share of examples an outage may cost before the run stops.
        skip_bad_lines: Leave broken lines of JSONL files out, and say so.
        langsmith: What is read from and written to LangSmith, as a mapping or `LangSmithOptions`.
        trace_file: File to which every traced run is appended as one JSON line.
        prices: Prices of models by name.
        policy: How failed calls are tried again.
        requests_per_second: Ceiling on calls started, over all roles.
        limits: What one model may be asked, by its name: requests and tokens a minute, calls in flight.
        judges: What evaluators whose model calls cannot be seen take for each example, by key.
        optimizer_kwargs: Sent with every optimizer call, in place of what the method would send.
        cache: File of evaluations shared between runs; None asks always. The test is always asked.
        summary_evaluators: LangSmith's functions over all examples at once; they decide nothing.
        executor: Evaluates examples elsewhere; None is this process. "batch" asks the task model through OpenAI's Batch
            API: half the price, replies within 24 hours, and an interrupted run goes on with batches already paid for.
        clock: The time, for tests.
        columns: Which column is what, as one value in place of `inputs`, `outputs`, `id` and `group`.

    Returns:
        The `Result`; `chain` itself holds the better prompts if the gate passed.

    Raises:
        UsageError: Bad input; nothing was paid for.
        UnavailableError: Models stayed out of reach; resume when they are back.
        BudgetSpent: The budget ended before anything could be decided.
    """
    arguments = dict(locals())  # every parameter is an argument of the same name
    del arguments["chain"]
    for name in ("prices", "policy", "limits", "judges", "optimizer_kwargs", "columns", "task_models"):
        if arguments[name] is None:
            del arguments[name]
    from langchain_promptopt._runtime.concurrency import run_sync

    return run_sync(lambda: aoptimize(chain, **arguments))


async def aoptimize(chain: Task, **arguments: Unpack[Arguments]) -> Result:
    """`optimize` for callers that run an event loop; takes the same arguments."""
    from langchain_promptopt.optimizer.arguments import settings_of
    from langchain_promptopt.optimizer.run import run_task

    return await run_task(chain, settings_of(arguments, where="aoptimize()"))


def prompts(
    chain: Task,
    rows: Sequence[Mapping[str, Any]],
    *,
    tune: str | Sequence[str] | None = None,
    freeze: str | Sequence[str] = (),
    task_model: Model | None = None,
    config: ChainConfig = None,
) -> tuple[Listed, ...]:
    """List the prompts inside `chain`: where each is, whether it is sent, and whether a run may change it. Free.

    Args:
        chain: As for `optimize`.
        rows: Inputs, as the program takes them; some are run without a model.
        tune: Names of the prompts that may change, as for `optimize`; None is all that are sent.
        freeze: Text that must not change, as for `optimize`.
        task_model: The model of a bare prompt template.
        config: A config for the chain, as for `optimize`.

    Raises:
        PromptError: There is no prompt; the message says what the program sends.
    """
    from langchain_promptopt._langchain.freeze import resolve_freeze
    from langchain_promptopt._langchain.models import resolve_model
    from langchain_promptopt._langchain.target import listed, open_target
    from langchain_promptopt._runtime.concurrency import run_sync
    from langchain_promptopt.errors import require
    from langchain_promptopt.offline import factories

    require("rows", rows, (list, tuple), 'prompts(chain, [{"ticket": "..."}]): inputs, as the program takes them')
    names = (tune,) if isinstance(tune, str) else tune
    model = None if task_model is None else resolve_model(task_model, "task", factories=factories())

    async def found() -> tuple[Listed, ...]:
        with await open_target(chain, dry_inputs=rows, model=model, config=config, lists=True) as target:
            rules = (freeze,) if isinstance(freeze, str) else freeze
            return listed(target, resolve_freeze(target.found, rules), names)

    return run_sync(found)
