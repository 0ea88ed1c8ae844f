"""How near to the ideal each way of running 64 calls at once comes, on one loopback server in a process of its own.

    python benchmarks/throughput.py                       # ours, hand-written loops, LangChain, the SDK
    python benchmarks/throughput.py --peers /tmp/peers    # and the peers installed in that environment
    python benchmarks/throughput.py --delay 0 --in-flight 1   # processor time a call

The server answers each call after `--delay` seconds. Efficiency is the ideal wall time (calls / in
flight * delay) over the wall time, the median of `--repeats` rounds in which every runner takes its
turn, so that a slow minute of the machine meets all alike. Peers run in processes of their own
environment; what cannot be imported there is named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGSMITH_ENDPOINT"] = "http://127.0.0.1:9"  # promptim's own client sends traces all the same
os.environ["LANGSMITH_TRACING_SAMPLING_RATE"] = "0"

SYSTEM, HUMAN = "You sort words. Answer with one word.", "Word: {word}"
Runner = Callable[["Case"], Awaitable[float]]


class Lap:
    """Wall seconds since it was made; processor seconds of the last lap are kept beside."""

    spent = 0.0

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """End the lap."""
        Lap.spent = time.process_time() - self._cpu
        return time.perf_counter() - self._wall


class Case:
    """One measurement: how many calls, how many at once, against which server."""

    def __init__(self, url: str, calls: int, in_flight: int) -> None:
        self.url, self.calls, self.in_flight = url, calls, in_flight
        self.base_url = f"{url}/v1"

    def words(self) -> list[str]:
        """What is asked."""
        return [f"word-{i}" for i in range(self.calls)]


async def spread(case: Case, one: Callable[[str], Awaitable[Any]]) -> float:
    """A warm-up of one call a worker, then all calls by `in_flight` workers; seconds of the second part."""

    async def run(words: list[str]) -> None:
        todo = iter(words)

        async def worker() -> None:
            for word in todo:
                await one(word)

        await asyncio.gather(*(worker() for _ in range(case.in_flight)))

    await run([f"warm-{i}" for i in range(case.in_flight)])
    lap = Lap()
    await run(case.words())
    return lap.seconds()


def chain(case: Case) -> Any:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    prompt = ChatPromptTemplate.from_messages([("system", SYSTEM), ("human", HUMAN)])
    model = ChatOpenAI(model="any", base_url=case.base_url, api_key="unused", max_retries=0, temperature=0)
    return prompt | model | StrOutputParser()


async def raw_aiohttp(case: Case) -> float:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=case.in_flight)) as session:

        async def one(word: str) -> str:
            async with session.post(f"{case.base_url}/chat/completions", json=request(word)) as reply:
                answer: str = (await reply.json())["choices"][0]["message"]["content"]
                return answer

        return await spread(case, one)


def request(word: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": HUMAN.format(word=word)}]
    return {"model": "any", "messages": messages, "temperature": 0}


async def openai_sdk(case: Case) -> float:
    import openai

    async with openai.AsyncOpenAI(base_url=case.base_url, api_key="unused", max_retries=0) as client:
        return await spread(case, lambda word: client.chat.completions.create(**request(word)))


async def hand_written(case: Case) -> float:
    """A semaphore and `ainvoke`, as people write it."""
    made, gate = chain(case), asyncio.Semaphore(case.in_flight)

    async def one(word: str) -> Any:
        async with gate:
            return await made.ainvoke({"word": word})

    await asyncio.gather(*(one(f"warm-{i}") for i in range(case.in_flight)))
    lap = Lap()
    await asyncio.gather(*map(one, case.words()))
    return lap.seconds()


async def abatch(case: Case) -> float:
    made = chain(case)
    config = {"max_concurrency": case.in_flight}
    await made.abatch([{"word": f"warm-{i}"} for i in range(case.in_flight)], config)
    lap = Lap()
    await made.abatch([{"word": w} for w in case.words()], config)
    return lap.seconds()


async def ours(case: Case) -> float:
    """The engine's own evaluation of one candidate: limits, budget, metering, evaluator and journal included."""
    import tempfile

    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt.optimizer.arguments import settings_of
    from langchain_promptopt.optimizer.plan import make_plan
    from langchain_promptopt.optimizer.wiring import assemble

    def row(split: str, word: str) -> dict[str, Any]:
        return {
            "inputs": {"word": word},
            "outputs": {"answer": "x"},
            "metadata": {"id": f"{split}-{word}", "split": split},
        }

    rows = [row("dev", w) for w in case.words()] + [row("train", f"warm-{i}") for i in range(case.in_flight)]
    rows += [row(split, f"{split}-{i}") for split in ("val", "test") for i in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        given = {"data": rows, "evaluators": ["exact_match"], "runs_dir": folder, "max_concurrency": case.in_flight}
        plan = await make_plan(chain(case), settings_of(given), searches=False)
        ready = assemble(plan)
        try:
            evaluations = Evaluations(ready.run)
            await evaluations.ensure(plan.baseline, "train", [e.id for e in plan.data["train"]])
            lap = Lap()
            await evaluations.ensure(plan.baseline, "dev", [e.id for e in plan.data["dev"]])
            return lap.seconds()
        finally:
            ready.close()
            await plan.aclose()


async def dspy_runner(case: Case) -> float:
    import dspy

    model = dspy.LM("openai/any", api_base=case.base_url, api_key="unused", cache=False, num_retries=0, temperature=0)

    async def one(word: str) -> Any:
        return await model.acall(messages=request(word)["messages"])

    return await spread(case, one)


async def gepa_runner(case: Case) -> float:
    """The default adapter of gepa: one batch through litellm, as its engine evaluates a candidate."""
    from gepa.adapters.default_adapter.default_adapter import DefaultAdapter

    os.environ["OPENAI_API_KEY"], os.environ["OPENAI_API_BASE"] = "unused", case.base_url
    adapter = DefaultAdapter(model="openai/any", max_litellm_workers=case.in_flight)

    def run(words: list[str]) -> None:
        batch = [{"input": HUMAN.format(word=w), "additional_context": {}, "answer": "x"} for w in words]
        adapter.evaluate(batch, {"system_prompt": SYSTEM})

    await asyncio.to_thread(run, [f"warm-{i}" for i in range(case.in_flight)])
    lap = Lap()
    await asyncio.to_thread(run, case.words())
    return lap.seconds()


def right(outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> bool:
    return bool(outputs["answer"] == reference_outputs["answer"])


def examples(words: list[str]) -> list[Any]:
    from uuid import uuid4

    from langsmith.schemas import Example

    return [Example(id=uuid4(), inputs={"word": w}, outputs={"answer": "x"}, dataset_id=uuid4()) for w in words]


def silent_client() -> Any:
    """A LangSmith client that sends nothing: `upload_results=False` alone would post the chain's runs."""
    from langsmith import Client

    nowhere = "http://127.0.0.1:9"
    return Client(api_url=nowhere, api_key="unused", info={}, tracing_sampling_rate=0.0, auto_batch_tracing=False)


async def warmed(case: Case, run: Callable[[list[str]], Awaitable[None]]) -> float:
    """Seconds of all calls, after a warm-up of one a place."""
    await run([f"warm-{i}" for i in range(case.in_flight)])
    lap = Lap()
    await run(case.words())
    return lap.seconds()


async def aevaluate(case: Case) -> float:
    """LangSmith's `aevaluate` without upload."""
    from langsmith import aevaluate as evaluate

    made, local = chain(case), silent_client()

    async def target(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"answer": await made.ainvoke(inputs)}

    async def run(words: list[str]) -> None:
        await evaluate(
            target,
            data=examples(words),
            evaluators=[right],
            max_concurrency=case.in_flight,
            upload_results=False,
            client=local,
        )

    return await warmed(case, run)


async def promptim_runner(case: Case) -> float:
    """The trainer of promptim evaluating a prompt; it sets no limit of its own, so the target does."""
    import httpx2
    from langchain_openai import ChatOpenAI
    from promptim import types as kinds
    from promptim.trainer import PromptTrainer

    http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=case.in_flight), timeout=None)
    model = ChatOpenAI(
        model="any", base_url=case.base_url, api_key="unused", max_retries=0, temperature=0, http_async_client=http
    )
    gate = asyncio.Semaphore(case.in_flight)

    async def system(prompt: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        async with gate:
            return {"answer": (await model.ainvoke(prompt.invoke(inputs))).content}

    trainer = PromptTrainer(optimizer=None, client=silent_client())  # type: ignore[arg-type]  # evaluation asks no optimizer
    prompt = kinds.PromptWrapper(prompt_str=f"{SYSTEM} {HUMAN}")
    task = kinds.Task(name="t", dataset="d", initial_prompt=prompt, evaluators=[right], system=system)

    async def run(words: list[str]) -> None:
        await trainer._evaluate_prompt(prompt, task, examples(words), upload_results=False)

    return await warmed(case, run)


RUNNERS: dict[str, Runner] = {
    "raw aiohttp": raw_aiohttp,
    "openai SDK": openai_sdk,
    "hand-written loop": hand_written,
    "LangChain abatch": abatch,
    "langchain-promptopt": ours,
    "DSPy": dspy_runner,
    "gepa": gepa_runner,
    "LangSmith aevaluate": aevaluate,
    "promptim": promptim_runner,
}
_PATIENCE = 120
PEERS = ("raw aiohttp", "DSPy", "gepa", "LangSmith aevaluate", "promptim")
"""What is not among our own dependencies."""


def measure(name: str, case: Case) -> dict[str, float]:
    """Wall and processor seconds of one round, in this process."""
    wall = asyncio.run(RUNNERS[name](case))
    return {"wall": wall, "cpu": Lap.spent / case.calls}


def measured(name: str, python: str, case: Case) -> dict[str, Any]:
    """The same in a fresh process of the environment that has the runner; `error` where it cannot run."""
    command = [python, __file__, "--one", name, case.url, str(case.calls), str(case.in_flight)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no end after {_PATIENCE} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:100]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="an environment with aiohttp, dspy, gepa, promptim, langsmith")
    parser.add_argument("--only", nargs="*", help="names of runners")
    parser.add_argument("--one", nargs=4, metavar=("NAME", "URL", "CALLS", "IN_FLIGHT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, url, calls, in_flight = given.one
        print(json.dumps(measure(name, Case(url, int(calls), int(in_flight)))))
        return 0
    peers = str(given.peers / "bin" / "python") if given.peers else sys.executable
    names = given.only or [n for n in RUNNERS if given.peers or n not in PEERS]
    rounds = play(names, peers, given)
    show(rounds, given)
    return 0


def play(names: list[str], peers: str, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    from tests.support.http_process import spawned

    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with spawned("tests.support.openai_server", "--delay", str(given.delay)) as url:
        for _ in range(given.repeats):
            for name in names:
                python = peers if name in PEERS else sys.executable
                rounds[name].append(measured(name, python, Case(url, given.calls, given.in_flight)))
    return rounds


def show(rounds: dict[str, list[dict[str, Any]]], given: argparse.Namespace) -> None:
    ideal = given.calls / given.in_flight * given.delay
    print(f"\n{given.calls} calls, {given.in_flight} in flight, answers after {given.delay:g} s; "
          f"median of {given.repeats}; Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    print("| runner | efficiency | wall s | CPU ms a call |")
    print("|---|---|---|---|")
    for name, found in rounds.items():
        if errors := [f["error"] for f in found if "error" in f]:
            print(f"| {name} | not run | | {errors[0]} |")
            continue
        wall, cpu = (statistics.median(f[key] for f in found) for key in ("wall", "cpu"))
        shown = f"{ideal / wall:.2f}" if ideal else "-"
        print(f"| {name} | {shown} | {wall:.2f} | {cpu * 1000:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
