"""How well a model obeys the protocols of the steps: `python -m benchmarks.real_models URL MODEL`.

Any OpenAI-compatible endpoint serves as the optimizer model. Each request shows one prompt of `prompts.py` and the
examples of one planted fault; the steps of the package mark and rewrite. One JSON line a request goes to the file
that `--out` names, with the whole conversation; requests that stand there already are not made again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

from benchmarks.real_models.held_out import HELD_OUT
from benchmarks.real_models.prompts import TUNING, Fault, Planted, elsewhere, repaired
from benchmarks.real_models.second_held_out import SECOND_HELD_OUT
from langchain_promptopt._text.words import count_words
from langchain_promptopt.steps.base import flat_range
from langchain_promptopt.steps.diagnosis import IdentifyTokens
from langchain_promptopt.steps.propose import GlobalProposal, LocalProposal
from langchain_promptopt.strategies.scope import Spans
from langchain_promptopt.types import Batch, Message, Prompt, PromptSet, Shown, Workpiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage

CELLS = ("line+schema", "line", "quote", "index", "echo", "global+schema", "global")
"""Protocols, in the order in which they are measured. Replies to the others than these two fit no schema."""


SETS = {"held-out": HELD_OUT, "second-held-out": SECOND_HELD_OUT, "tuning": TUNING}
"""The prompts by the name of their set."""


class Asked(Runnable[Any, Any]):
    """The model as the engine would address it, counting calls, tokens and seconds."""

    def __init__(self, inner: Any, *, schema: bool, most: int) -> None:
        self.inner, self.takes_schema, self.most = inner, schema, most
        self.calls = self.read = self.written = 0
        self.seconds = 0.0

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> AIMessage:  # noqa: A002 - the Runnable's name
        """Synchronous form of `ainvoke`."""
        return asyncio.run(self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """One call."""
        started = time.monotonic()
        reply = await self.inner.ainvoke(input, config, **{**kwargs, "max_tokens": self.most})
        self.seconds += time.monotonic() - started
        used = reply.usage_metadata or {}
        self.calls += 1
        self.read += used.get("input_tokens", 0)
        self.written += used.get("output_tokens", 0)
        return reply


@dataclass(frozen=True)
class Cell:
    """One protocol, with or without a JSON schema."""

    name: str

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.name.partition("+")[0]

    @property
    def schema(self) -> bool:
        """Whether the reply is constrained by a JSON schema."""
        return self.name.endswith("+schema")


def piece_of(planted: Planted, fault: Fault) -> Workpiece:
    """What the optimizer is shown: the prompt, the wrong examples of one fault, the right ones."""
    variable = planted.text[planted.text.rindex("{") + 1 : planted.text.rindex("}")]
    wrong = tuple(
        Shown(f"r{n + 203}", {variable: given}, {"answer": expected}, answer, 0.0)
        for n, (given, expected, answer) in enumerate(fault.cases, 1)
    )
    kept = tuple(
        Shown(f"r{n + 203}", {variable: given}, {"answer": answer}, answer, 1.0)
        for n, (given, answer) in enumerate(planted.kept, 1 + len(wrong))
    )
    prompts = PromptSet((Prompt("main", (Message("human", planted.text, "f-string"),)),))
    return Workpiece(prompts=prompts, batch=Batch(errors=wrong, correct=kept))


async def measure(model: Any, cell: Cell, planted: Planted, number: int, most: int) -> dict[str, Any]:
    """One request: what was marked, what became of it, and what it took."""
    fault = planted.faults[number]
    asked, piece = Asked(model, schema=cell.schema, most=most), piece_of(planted, fault)
    if cell.protocol == "global":
        out = await GlobalProposal(model=asked, temperature=0.0).ainvoke(piece)
        marks: list[tuple[int, int]] = []
    else:
        step = IdentifyTokens(model=asked, protocol=cell.protocol, limits=Spans().limits())
        out = await step.ainvoke(piece)
        marks = [flat_range(piece.prompts, s) for s in out.spans or ()]
        if marks:
            out = await LocalProposal(model=asked, temperature=0.0).ainvoke(out)
    edits = [(e.span.start, e.span.end, e.new) for d in out.drafts for e in d.edits]
    marks = marks or [(a, b) for a, b, _ in edits]
    return {
        "prompt": planted.name,
        "fault": number,
        "cell": cell.name,
        "kind": planted.kind,
        "language": planted.language,
        "words": planted.words,
        "parsed": not any(r.rule in {"no_json", "markers"} for r in out.rejections[:1]),
        "legal": bool(marks),
        "hit": any(a < fault.end and b > fault.start for a, b in marks),
        "marked": len(marks),
        "good": sum(a < f.end and b > f.start for a, b in marks for f in planted.faults),
        "edited": bool(edits),
        "changed_words": sum(max(count_words(planted.text[a:b]), count_words(new)) for a, b, new in edits),
        "repaired": repaired(planted, fault, edits),
        "elsewhere": elsewhere(planted, fault, edits),
        "rejections": [[r.rule, r.detail] for r in out.rejections],
        "edits": edits,
        "turns": out.turns,
        "calls": asked.calls,
        "read": asked.read,
        "written": asked.written,
        "seconds": round(asked.seconds, 2),
    }


def known(path: Path) -> set[tuple[str, str, str, int]]:
    """What the file holds already: model, cell, prompt and fault of each line."""
    if not path.exists():
        return set()
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return {(x["model"], x["cell"], x["prompt"], x["fault"]) for x in lines}


async def run(url: str, name: str, cells: Sequence[Cell], prompts: Sequence[Planted], out: Path, most: int) -> None:
    """All requests of the cells that `out` does not hold yet, one after the other."""
    from langchain_openai import ChatOpenAI

    key = os.environ.get("REAL_MODELS_KEY", "none")
    model = ChatOpenAI(model=name, base_url=url, api_key=key, max_retries=2, timeout=600, stream_usage=False)
    done = known(out)
    with out.open("a", encoding="utf-8") as file:
        for cell in cells:
            for planted in prompts:
                for number in range(len(planted.faults)):
                    if (name, cell.name, planted.name, number) in done:
                        continue
                    found = {"model": name} | await measure(model, cell, planted, number, most)
                    file.write(json.dumps(found, ensure_ascii=False) + "\n")
                    file.flush()
                    mark = "repaired" if found["repaired"] else "marked" if found["hit"] else "-"
                    print(
                        f"{name} {cell.name:12} {planted.name:16} {number} {mark:9} {found['seconds']:6.1f} s",
                        flush=True,
                    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the endpoint, such as http://127.0.0.1:8081/v1")
    parser.add_argument("model", help="the model's name")
    parser.add_argument("--cells", nargs="+", default=["line+schema"], choices=CELLS)
    parser.add_argument("--set", default="held-out", choices=SETS)
    parser.add_argument("--most", type=int, default=600, help="longest reply, in tokens")
    out = Path(__file__).parents[1] / "results" / "real_models.jsonl"
    parser.add_argument("--out", type=Path, default=out, help="JSON lines; finished requests are not made again")
    parser.add_argument("--prompts", type=int, help="so many prompts of the set only, the first ones")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    prompts, cells = SETS[asked.set][: asked.prompts], [Cell(c) for c in asked.cells]
    asyncio.run(run(asked.url, asked.model, cells, prompts, asked.out, asked.most))


if __name__ == "__main__":
    main()
