"""The built-in demo, its winner published in Langfuse and rolled back: `python offline.py FOLDER`; no key, no network.

The server is the small one of `server.py`; against a real one, leave it out and set Langfuse's three variables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from langchain_core.prompts import ChatPromptTemplate
from langchain_promptopt_langfuse import LangfusePrompts
from langfuse import Langfuse
from server import PUBLIC, SECRET, LangfuseServer

from langchain_promptopt import optimize
from langchain_promptopt.evaluators import exact_match
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model


def optimized(prompt: Any, folder: Path, every: int = 2, **more: Any) -> Any:
    """The result of a run on a part of the demo's rows."""
    more.setdefault("budget", {"search_calls": 800})
    return optimize(
        prompt,
        data=demo_rows()[::every],
        evaluators=[exact_match],
        task_model=offline_model("task"),
        optimizer_model=offline_model("optimizer"),
        method="lpo-pe2",
        freeze=["## Refund policy"],
        runs_dir=folder / "runs",
        openings=folder / "openings.jsonl",
        **more,
    )


def run(folder: Path, client: Langfuse) -> tuple[Any, LangfusePrompts]:
    """Optimize the prompt that Langfuse serves, and give the winner the label "staging"."""
    variable = ChatPromptTemplate([("human", demo_prompt())]).input_variables[0]
    text = demo_prompt().replace("{" + variable + "}", "{{" + variable + "}}")
    client.create_prompt(name="triage", type="chat", prompt=[{"role": "user", "content": text}], labels=["production"])
    sink = LangfusePrompts("triage", client=client)
    head = sink.head()
    result = optimized(sink.pull("@production"), folder)
    if result.outcome == "improved":
        sink.push(result.best, message=f"run {result.run_id}", parent=head, tag="staging")
    return result, sink


def main() -> None:
    """Run in a folder, promote what is staged, roll back, and print what is served."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with LangfuseServer() as server:
        client = Langfuse(public_key=PUBLIC, secret_key=SECRET, base_url=server.url, tracing_enabled=False)
        result, sink = run(folder, client)
        staged = sink.head(tag="staging")
        print(result.outcome, "staged", staged)
        if staged is None:
            return
        before = sink.promote(staged, tag="production")
        print("production", client.get_prompt("triage", type="chat").version, "was", before)
        if before is not None:
            sink.promote(before, tag="production")
        print("rolled back to", client.get_prompt("triage", type="chat").version)


if __name__ == "__main__":
    main()
