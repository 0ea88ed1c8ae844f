"""What stands before the blocks of a page: the chain and the examples that its reader has, the servers that it names.

Each function prepares the folder and the process that the page's blocks run in, and gives the names that the page
takes as known. Hosted models and LangSmith are the loopback servers of tests/support, found by their usual variables.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from langchain_core.prompts import ChatPromptTemplate

from tests.support import tasks
from tests.support.http_messages import Request, Response
from tests.support.langsmith_env import dataset
from tests.support.langsmith_server import LangSmithServer
from tests.support.langsmith_traffic import Traffic
from tests.support.online import brain
from tests.support.openai_server import OpenAIServer, serve
from tests.support.tasks import PROMPT, answer, chain, improve, rows

Names = dict[str, Any]


def hosted() -> str:
    """A server in OpenAI's place; the names of the pages are its models. Its address."""
    url = serve({name: brain(_both) for name in ("gpt-4o", "gpt-4o-mini", "qwen")}).start().base_url
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
    return url


def _both(messages: Any) -> str:
    """The task where its prompt is asked, a judge where one is asked, else the optimizer."""
    text = str(messages[-1].text)
    if "<trajectory>" in text:
        right = "PLANT" not in text.partition("<trajectory>")[2]
        return json.dumps({"reasoning": "it filed that", "score": right})
    return answer(messages) if "\nWord: " in text and len(messages) == 1 else improve(messages)


def langsmith() -> LangSmithServer:
    """A server in LangSmith's place."""
    server = LangSmithServer().start()
    os.environ |= {"LANGSMITH_ENDPOINT": server.url, "LANGSMITH_API_KEY": "none"}
    return server


def agents() -> Names:
    """An agent that files words, and conversations with it in a file."""
    from tests.unit.test_trajectories import agent, conversations

    hosted()
    Path("conversations.jsonl").write_text("\n".join(map(json.dumps, conversations())), "utf-8")
    return {"app": agent()}


def datasets() -> Names:
    hosted()
    dataset(langsmith().url, "support-triage", _by_split())
    return {"chain": chain()}


def _by_split() -> dict[str, list[dict[str, Any]]]:
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in rows():
        splits.setdefault(row["metadata"]["split"], []).append(row)
    return splits


def production() -> Names:
    """Runs of yesterday that people have corrected."""
    hosted()
    live = Traffic(langsmith().url, project="support")
    given = rows(train=40, dev=40, test=40)
    ran = [{"inputs": row["inputs"], "outputs": {"output": "?"}} for row in given]
    for run, row in zip(live.runs(ran, at=datetime.now(UTC) - timedelta(days=1)), given, strict=True):
        live.feedback(run, "correct", correction=row["outputs"])
    return {"chain": chain()}


def several() -> Names:
    hosted()
    prompt = ChatPromptTemplate.from_template(PROMPT)
    return {"prompt": prompt, "app": prompt, "rows": rows()}


def local() -> Names:
    """The address of the page is that of the reader's server; the client is told another where it is made."""
    import langchain_openai

    url, real = hosted(), langchain_openai.ChatOpenAI
    langchain_openai.ChatOpenAI = lambda **given: real(**given | {"base_url": url})
    return several()


class Azure(OpenAIServer):
    """The same behind Azure's paths, which name the deployment."""

    async def route(self, request: Request) -> Response:
        target = re.sub(r"^/openai/deployments/[^/]+/", "/v1/", request.target)
        body = json.dumps({**json.loads(request.body), "model": "gpt-4o-mini"}).encode()
        return await super().route(replace(request, target=target, body=body))


def azure() -> Names:
    server = Azure({"gpt-4o-mini": brain(_both)}).start()
    os.environ |= {"AZURE_OPENAI_ENDPOINT": server.url, "AZURE_OPENAI_API_KEY": "none"}
    return several()


def finished() -> Names:
    from langchain_promptopt import optimize

    done = optimize(chain(), data=rows(), evaluators=["exact_match"], optimizer_model=tasks.optimizer())
    return {"result": done}


def step() -> Names:
    """The files that the settings of the page name."""
    Path("prompt.txt").write_text(PROMPT, "utf-8")
    Path("tickets.jsonl").write_text("\n".join(map(json.dumps, rows())), "utf-8")
    hosted()
    return {}


BEFORE = {
    "docs/howto/agents.md": agents,
    "docs/howto/objectives.md": finished,
    "docs/howto/production.md": production,
    "docs/howto/providers.md": azure,
    "docs/howto/several-models.md": several,
    "docs/langsmith.md": datasets,
    "docs/local-models.md": local,
    "docs/pipeline.md": step,
}
"""By page; a page that is not here needs nothing but an empty folder."""
