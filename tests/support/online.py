"""The tiny task of `tasks.py` behind a loopback OpenAI server: real client, real HTTP, programs as brains."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import convert_to_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt._runtime.retry import RetryPolicy
from tests.support.openai_server import OpenAIServer, serve
from tests.support.tasks import PROMPT, answer, improve, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_promptopt import Result

KEY = "sk-test-0123456789abcdefSECRET"
QUICK = RetryPolicy(base=0.001, cap=0.002, timeout=60.0)
"""Patient in tries, not in seconds."""


def brain(program: Callable[[Any], str]) -> Callable[[Any], str]:
    """A program of `tasks.py` as a brain of the server."""
    return lambda messages: program(convert_to_messages(messages))


def server(task: Callable[[Any], Any] = answer, optimizer: Callable[[Any], Any] = improve, **more: Any) -> OpenAIServer:
    """A server that answers as task and optimizer, and as `judge` with yes where the answer is right."""
    return serve({"task": brain(task), "optimizer": brain(optimizer), "judge": brain(judge)}, **more)


def judge(messages: Any) -> str:
    """Yes where the two words it is shown are equal."""
    wanted, _, said = str(messages[-1].text).rpartition("\n")[2].partition(" / ")
    return "yes" if wanted == said else "no"


def model(url: str, name: str, **more: Any) -> Any:
    """A ChatOpenAI on the server that does not retry by itself."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(**{"model": name, "base_url": url, "api_key": KEY, "max_retries": 0, "timeout": 60} | more)


def chain(url: str, **more: Any) -> Any:
    """prompt | ChatOpenAI | parser."""
    return ChatPromptTemplate.from_template(PROMPT) | model(url, "task", **more) | StrOutputParser()


def judged_by(url: str, **more: Any) -> Callable[..., Any]:
    """An evaluator that asks a model, as people write them."""
    asked = model(url, "judge", **more)

    async def helpful(inputs: dict[str, Any], outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> bool:
        said = outputs.get("output") or next(iter(outputs.values()))
        reply = await asked.ainvoke(f"Are these equal for {inputs['word']}?\n{reference_outputs['answer']} / {said}")
        return bool(reply.text == "yes")

    return helpful


def run(url: str, **more: Any) -> Result:
    """The tiny task optimized over HTTP, with a record of openings of its own."""
    more.setdefault("runs_dir", None)
    more.setdefault("openings", Path(tempfile.mkdtemp(prefix="promptopt-test-")) / "openings.jsonl")
    target = more.pop("target", None) or chain(url)
    given = {"data": rows(), "evaluators": ["exact_match"], "method": "lpo-pe2", "policy": QUICK} | more
    return optimize(target, optimizer_model=given.pop("optimizer_model", None) or model(url, "optimizer"), **given)
