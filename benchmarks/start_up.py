"""A run up to its first model call, where the process ends: what starting costs.

    python -m benchmarks.start_up            # a model of this process
    python -m benchmarks.start_up openai     # ChatOpenAI

Processor seconds are printed. Instructions do not depend on how busy the machine is, but they take valgrind; the second
run counts, because the first one writes the byte code:

    valgrind --tool=callgrind --callgrind-out-file=/dev/null python -m benchmarks.start_up
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from asyncio.selector_events import BaseSelectorEventLoop
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_core.language_models import SimpleChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

DEV, OTHERS = 200, 8
os.environ["LANGSMITH_TRACING"] = "false"


def end(*_: Any, **__: Any) -> NoReturn:
    """Say what the process has used, and end it."""
    print(f"{time.process_time():.3f} s of processor, {len(sys.modules)} modules", flush=True)
    os._exit(0)


class Ending(SimpleChatModel):
    """Ends the process where it is called."""

    @property
    def _llm_type(self) -> str:
        return "ending"

    def _call(self, *_: Any, **__: Any) -> str:
        end()

    async def _agenerate(self, *_: Any, **__: Any) -> NoReturn:
        end()


def model(name: str) -> BaseChatModel:
    """The model of the chain; ChatOpenAI ends the process where it connects."""
    if name != "openai":
        return Ending()
    from langchain_openai import ChatOpenAI

    BaseSelectorEventLoop.sock_connect = end  # type: ignore[method-assign, assignment]  # in this process alone
    return ChatOpenAI(model="any", base_url="http://127.0.0.1:9/v1", api_key="unused", max_retries=0)  # type: ignore[arg-type]


def rows() -> list[dict[str, Any]]:
    found = []
    for split, size in {"dev": DEV, "train": OTHERS, "val": OTHERS, "test": OTHERS}.items():
        for i in range(size):
            metadata = {"id": f"{split}-{i}", "split": split}
            found.append({"inputs": {"word": f"{split}-{i}"}, "outputs": {"answer": "x"}, "metadata": metadata})
    return found


async def main() -> None:
    """Plan a run and evaluate its first rows."""
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt.optimizer.arguments import settings_of
    from langchain_promptopt.optimizer.plan import make_plan
    from langchain_promptopt.optimizer.wiring import assemble

    messages = [("system", "You sort words. Answer with one word."), ("human", "Word: {word}")]
    chain = ChatPromptTemplate.from_messages(messages) | model(" ".join(sys.argv[1:])) | StrOutputParser()
    given = {"data": rows(), "evaluators": ["exact_match"], "runs_dir": tempfile.mkdtemp(), "max_concurrency": 1}
    plan = await make_plan(chain, settings_of(given), searches=False)
    ready = assemble(plan)
    await Evaluations(ready.run).ensure(plan.baseline, "train", [e.id for e in plan.data["train"]])


if __name__ == "__main__":
    asyncio.run(main())
