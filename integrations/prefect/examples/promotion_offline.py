"""Three nights of `promotion.py` on this machine: with a gain, without one, with the models down. Prints its log.

The repository's LangSmith-compatible test server holds prompt and rows, an OpenAI-compatible one
serves the offline programs. No account, no key, no network. Their scores say nothing about real models.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[3]), str(Path(__file__).resolve().parent)]

from langchain_core.prompts import ChatPromptTemplate
from langsmith import Client

from langchain_promptopt.offline import offline_model
from langchain_promptopt.pipeline import rollback_run
from tests.support.langsmith_server import LangSmithServer
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import PROMPT, rows


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
    """The label that the prompt in production gives for a refund."""
    text = client.pull_prompt("triage:production", skip_cache=True).messages[0].prompt.template
    return text.split('mentions "refund", answer ')[1].split(".")[0]


def main() -> None:
    """Play the three nights, and a rollback in the morning."""
    from promotion import promotion

    folder = tempfile.mkdtemp()
    os.environ["PROMPTOPT_RUNS_DIR"] = str(Path(folder) / "runs")
    models = OpenAIServer({"task": brain_of(offline_model("task"))})
    with LangSmithServer() as platform, models:
        os.environ.update(LANGSMITH_ENDPOINT=platform.url, LANGSMITH_API_KEY="k", LANGSMITH_TRACING="false")
        client = Client()
        client.push_prompt("triage", object=ChatPromptTemplate.from_template(PROMPT), commit_tags=["production"])
        add_rows(client, "triage-smoke", rows(train=0, dev=0, test=24, start=500))
        config = {
            "task": {"model": "openai:task", "base_url": models.base_url},
            "evaluate": {"evaluators": ["exact_match"]},
            "optimize": {"model": "offline"},
        }

        def night(number: int, title: str, data: list[dict[str, Any]], retries: int = 1) -> Any:
            print(f"night {number}: {title}")
            name = f"triage-night-{number}"
            add_rows(client, name, data)
            state = promotion(
                {**config, "data": {"source": name}},
                "-/triage",
                "triage-smoke",
                folder,
                retries=retries,
                return_state=True,
            )
            print(f"  flow run: {state.name} ({state.type.value}); refunds go to {standing(client)!r}")
            return state

        first = night(1, "a wrong rule in production", rows(start=40))
        night(2, "errors that no edit mends", muddled(rows(start=80)))
        models.stop()
        down = night(3, "models down", muddled(rows(start=120)), retries=0)
        error = down.result(raise_on_failure=False)
        print(f"  {type(error).__name__}: exit code {error.answer['exit_code']}, {error.answer['error']['kind']}")
        print("morning: somebody wants the old prompt back")
        run = Path(os.environ["PROMPTOPT_RUNS_DIR"]) / first.result()["run_id"]
        print(f"  rolled back to {rollback_run(run)[:8]}; refunds go to {standing(client)!r}")


if __name__ == "__main__":
    main()
