"""The built-in demo, its winner published in an MLflow registry: `python offline.py FOLDER`; no key, no network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from langchain_core.prompts import ChatPromptTemplate
from langchain_promptopt_mlflow import MlflowPrompts
from mlflow import MlflowClient

from langchain_promptopt import optimize
from langchain_promptopt.evaluators import exact_match
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model


def optimized(prompt: Any, folder: Path) -> Any:
    """The result of a run on half of the demo's rows."""
    return optimize(
        prompt,
        data=demo_rows()[::2],
        evaluators=[exact_match],
        task_model=offline_model("task"),
        optimizer_model=offline_model("optimizer"),
        method="lpo-pe2",
        freeze=["## Refund policy"],
        runs_dir=folder / "runs",
        budget={"search_calls": 800},
    )


def run(folder: Path) -> tuple[Any, MlflowPrompts, str]:
    """Register the prompt, optimize what is registered, and publish the winner; returns result, registry and commit."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    sink = MlflowPrompts("triage", client=MlflowClient(tracking_uri=uri, registry_uri=uri))
    sink.client.register_prompt("triage", _double(demo_prompt()), commit_message="written by hand")
    head = sink.head()
    result = optimized(sink.pull(), folder)
    if result.outcome == "improved":
        head = sink.push(result.best, message=f"run {result.run_id}", parent=head, tag="staging")
    return result, sink, str(head)


def _double(text: str) -> list[dict[str, str]]:
    """The demo's prompt, an f-string with one variable, as MLflow writes it."""
    variable = ChatPromptTemplate([("human", text)]).input_variables[0]
    return [{"role": "user", "content": text.replace("{" + variable + "}", "{{" + variable + "}}")}]


def main() -> None:
    """Run in a folder and print what is in the registry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    result, sink, head = run(folder)
    print(result.outcome, "version", head)
    print(sink.client.load_prompt("prompts:/triage@staging").commit_message)


if __name__ == "__main__":
    main()
