"""A DSPy program as a LangChain chain: its instructions are prompts, its calls go to a LangChain model."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import run_in_executor

from langchain_promptopt_dspy.lm import langchain_lm

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig


def contents_of(program: dspy.Module) -> dict[str, Any]:
    """What optimizers change in a program: instructions, descriptions of fields and demonstrations, by predictor."""
    found = {}
    for name, predictor in program.named_predictors():
        demos = []
        for demo in predictor.demos:
            demos.append(dict(demo.items()))
        types = {field: str(info.annotation) for field, info in predictor.signature.fields.items()}
        found[name] = {"signature": predictor.signature.dump_state(), "types": types, "demos": demos}
    return found


_BOOKKEEPING = frozenset(
    {
        "callbacks", "candidate_programs", "demos", "detailed_results", "history", "lm", "mb_candidate_programs",
        "prompt_model_total_calls", "results_best", "results_latest", "score", "signature", "stage", "total_calls",
        "traces", "train", "trial_logs", "_compiled",
    }
)  # fmt: skip
"""Attributes of modules that are in `contents_of`, or that optimizers and calls leave there."""


def _settings_of(program: dspy.Module) -> dict[str, Any]:
    """The classes of a program's modules and what else they hold: numbers, tools, retrievers."""
    found = {}
    for path, module in program.named_sub_modules():
        held = {}
        for name, value in vars(module).items():
            if name not in _BOOKKEEPING and not isinstance(value, dspy.Module):
                held[name] = value
        found[path] = (type(module), held)
    return found


class ProgramChain(Runnable[dict[str, Any], dict[str, Any]]):
    """A program of DSPy that takes a dict of its inputs, and returns a dict of its outputs.

    Its instructions are prompts: `optimize`, `compare` and `load_prompts` find them, under the names of the predictors.

    Args:
        program: Any module of DSPy; it is copied.
        model: The LangChain model that every predictor asks.
    """

    def __init__(self, program: dspy.Module, model: BaseChatModel) -> None:
        vars(self)["kept"] = program.deepcopy()
        self.model = model
        self.settings = _settings_of(self.kept)
        self.contents = _without_instructions(contents_of(program))
        self.instructions = {}
        for name, predictor in program.named_predictors():
            text = SystemMessage(predictor.signature.instructions)
            self.instructions[name] = ChatPromptTemplate([text], name=name)

    @cached_property
    def kept(self) -> dspy.Module:
        """The program as it came; the run id is made of `settings` and `contents`, as modules have ids of their own."""
        raise AttributeError("kept")  # noqa: EM101 - it is set at the beginning

    @cached_property
    def lm(self) -> dspy.LM:
        """The model as DSPy calls it."""
        return langchain_lm(self.model)

    @property
    def program(self) -> dspy.Module:
        """A copy of the program with the instructions as they are now."""
        made = self.kept.deepcopy()
        for name, predictor in made.named_predictors():
            text = self.instructions[name].format_messages()[0].text
            predictor.signature = predictor.signature.with_instructions(text)
        return made

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002
        """Run the program on its inputs.

        Args:
            input: The inputs by name.
            config: Callbacks, metadata and run name.

        Raises:
            OutputParserException: The adapter cannot read the model's reply.
        """
        return self._call_with_config(self._run, input, config)

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002
        """As `invoke`; programs without `aforward` run in a thread.

        Args:
            input: The inputs by name.
            config: Callbacks, metadata and run name.

        Raises:
            OutputParserException: The adapter cannot read the model's reply.
        """
        return await self._acall_with_config(self._arun, input, config)

    def _run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        program = self._ready()
        try:
            with dspy.context(lm=self.lm, disable_history=True):
                prediction = program(**inputs)
        except (AdapterParseError, LMError) as error:
            raise _plain(error) from error
        return dict(prediction.toDict())

    async def _arun(self, inputs: dict[str, Any]) -> dict[str, Any]:
        program = self._ready()
        if not hasattr(program, "aforward"):
            return await run_in_executor(None, self._run, inputs)
        try:
            with dspy.context(lm=self.lm, disable_history=True):
                prediction = await program.acall(**inputs)
        except (AdapterParseError, LMError) as error:
            raise _plain(error) from error
        return dict(prediction.toDict())

    def _ready(self) -> dspy.Module:
        program = self.program
        program.set_lm(self.lm)
        return program


def _without_instructions(contents: dict[str, Any]) -> str:
    """A hash of demonstrations and fields, the same in each process."""
    for state in contents.values():
        state["signature"] = {**state["signature"], "instructions": ""}
    text = json.dumps(contents, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(error: Exception) -> BaseException:
    """What the model's client raised, or that the reply cannot be read, in the form that LangChain has for it."""
    if isinstance(error, AdapterParseError):
        return OutputParserException(str(error), llm_output=error.lm_response)
    cause: BaseException | None = error
    while cause is not None and type(cause).__module__.partition(".")[0] == "dspy":
        cause = cause.__cause__
    return cause or error
