"""Three nights of `promotion.py` on this machine: with a gain, without one, with the models down. Prints its log.

The repository's LangSmith-compatible test server holds prompt and rows, an OpenAI-compatible one
serves the offline programs. No account, no key, no network. Their scores say nothing about real models.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).resolve().parents[3]), str(Path(__file__).resolve().parent)]

from langchain_core.prompts import ChatPromptTemplate
from langsmith import Client

from langchain_promptopt.offline import offline_model
from langchain_promptopt.pipeline import rollback_run
from tests.support.langsmith_server import LangSmithServer
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import PROMPT, rows

if TYPE_CHECKING:
    from collections.abc import Iterator


def add_rows(client: Client, name: str, data: list[dict[str, Any]]) -> None:
    """A data set as a night leaves it."""
    dataset = client.create_dataset(name)
    client.create_examples(
        dataset_id=dataset.id,
        examples=[
            {"inputs": r["inputs"], "outputs": r["outputs"], "metadata": r["metadata"], "split": r["metadata"]["split"]}
            for r in data
        ],
    )


def muddled(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of which every eighth has a label that no rule could give: errors without a lesson in them."""
    for row in data[::8]:
        row["outputs"] = {"label": "account"}
    return data


def standing(client: Client) -> str:
    """Where the prompt in production sends somebody whose parcel is missing and who wants a refund."""
    prompt = client.pull_prompt("triage:production", skip_cache=True)
    answer = prompt | offline_model("task")
    return str(answer.invoke({"ticket": "My parcel is missing, I want a refund"}).text)


@dataclass
class World:
    """The platform with a wrong rule in production, and the models; `night` runs the flow on fresh rows."""

    client: Client
    models: OpenAIServer
    folder: str

    def night(self, number: int, title: str, data: list[dict[str, Any]], retries: int = 1) -> Any:
        """One night's flow run, told."""
        from promotion import promotion

        print(f"night {number}: {title}")
        add_rows(self.client, f"triage-night-{number}", data)
        config = {
            "task": {"model": "openai:task", "base_url": self.models.base_url},
            "data": {"source": f"triage-night-{number}"},
            "evaluate": {"evaluators": ["exact_match"]},
            "optimize": {"model": "offline"},
        }
        state = promotion(config, "-/triage", "triage-smoke", self.folder, retries=retries, return_state=True)
        print(f"  flow run: {state.name} ({state.type.value}); refunds go to {standing(self.client)!r}")
        return state


@contextmanager
def world(smoke: list[dict[str, Any]]) -> Iterator[World]:
    """Servers on 127.0.0.1, gone at the end; `smoke` are the rows of the smoke evaluation."""
    folder = tempfile.mkdtemp()
    os.environ["PROMPTOPT_RUNS_DIR"] = str(Path(folder) / "runs")
    models = OpenAIServer({"task": brain_of(offline_model("task"))})
    with LangSmithServer() as platform, models:
        os.environ.update(LANGSMITH_ENDPOINT=platform.url, LANGSMITH_API_KEY="k", LANGSMITH_TRACING="false")
        client = Client()
        client.push_prompt("triage", object=ChatPromptTemplate.from_template(PROMPT), commit_tags=["production"])
        add_rows(client, "triage-smoke", smoke)
        yield World(client, models, folder)


def smoke_rows() -> list[dict[str, Any]]:
    """Rows that no night has."""
    return rows(train=0, dev=0, test=24, start=500)


def main() -> None:
    """Play the three nights, and a rollback in the morning."""
    with world(smoke_rows()) as here:
        first = here.night(1, "a wrong rule in production", rows(start=40))
        here.night(2, "errors that no edit mends", muddled(rows(start=80)))
        here.models.stop()
        down = here.night(3, "models down", muddled(rows(start=120)), retries=0)
        error = down.result(raise_on_failure=False)
        print(f"  {type(error).__name__}: exit code {error.answer['exit_code']}, {error.answer['error']['kind']}")
        print("morning: somebody wants the old prompt back")
        run = Path(os.environ["PROMPTOPT_RUNS_DIR"]) / first.result()["run_id"]
        print(f"  rolled back to {rollback_run(run)[:8]}; refunds go to {standing(here.client)!r}")


if __name__ == "__main__":
    main()
