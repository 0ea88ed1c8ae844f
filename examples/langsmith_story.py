"""The whole LangSmith story, offline: dataset, optimization in place, traces, experiments, push, tag, rollback.

Runs against the LangSmith-compatible test server of this repository, started here on 127.0.0.1, with
the built-in offline models; its scores say nothing about real models. From the repository's root:

    python examples/langsmith_story.py

With LANGSMITH_ENDPOINT and LANGSMITH_API_KEY of your own, the calls below are the same; leave out `server`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the test server lives beside the package

from tests.support.langsmith_server import LangSmithServer

ROWS_PER_SPLIT = {"train": 48, "dev": 48, "test": 160}


def create_dataset(client):
    """The demo's tickets as a LangSmith dataset with splits."""
    from langchain_promptopt.offline import demo_rows

    left = Counter(ROWS_PER_SPLIT)
    examples = []
    for row in demo_rows():
        split = row["metadata"]["split"]
        if left[split] > 0:
            left[split] -= 1
            known = uuid5(NAMESPACE_URL, row["inputs"]["ticket"])  # the same ids each time, so the same run each time
            example = {"id": known, "inputs": row["inputs"], "reference_outputs": row["outputs"], "split": split}
            examples.append(example)
    dataset = client.create_dataset("support-triage")
    client.create_examples(dataset_id=dataset.id, examples=examples)
    return dataset


def tell_traces(server):
    """The decision trace as a tree, and one of the evaluation traces beside it."""
    traces = server.traces("support-triage-prompt")
    decision = next(t for t in traces if t.name == "promptopt")
    evaluations = [t for t in traces if t.name == "promptopt.evaluate"]
    step = next(c for c in decision.children if c.name == "step 1")
    print("\nthe decision trace:", decision.outputs["outcome"])
    tell_below(decision)
    keys = sorted(k for k in decision.metadata if all(k in run.metadata for t in traces for run in t.walk()))
    print("on every span of every trace:", ", ".join(k for k in keys if k.startswith("promptopt_")))
    by_name = {c.name: c for c in step.children}
    print("\ntag placement:", [s["text"] for s in by_name["identify_tokens"].outputs["spans"]])
    for edit in by_name["local_proposal"].outputs["edits"][:2]:
        print(f"edit: {edit['old']!r} -> {edit['new']!r}: {edit['reason']}")
    print(f"\n{len(evaluations)} evaluation traces apart from it, linked by promptopt_run_id; one of them:")
    print("\n".join("  " + line for line in evaluations[0].outline()))


def tell_below(run, depth: int = 1):
    """Each name below a run once, with how often it is there and its kind where that is a special one."""
    counts = Counter(child.name for child in run.children)
    for child in run.children:
        if counts[child.name]:
            kind = "" if child.run_type == "chain" else f"  ({child.run_type})"
            times = f"  x {counts[child.name]}" if counts[child.name] > 1 else ""
            print("  " * depth + child.name + kind + times)
            counts[child.name] = 0
            tell_below(child, depth + 1)


def main() -> None:
    with LangSmithServer() as server, tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "LANGSMITH_ENDPOINT": server.url,
            "LANGSMITH_API_KEY": "not-a-real-key",
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_PROJECT": "support-triage-prompt",
        }
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        from langsmith import Client

        from langchain_promptopt import optimize
        from langchain_promptopt.offline import demo_prompt, offline_model
        from langchain_promptopt.pipeline import rollback_run

        client = Client()
        dataset = create_dataset(client)
        print(
            "dataset:", dataset.name, {s: ROWS_PER_SPLIT[s] for s in client.list_dataset_splits(dataset_id=dataset.id)}
        )

        prompt = ChatPromptTemplate.from_template(demo_prompt())
        client.push_prompt("triage", object=prompt, commit_tags="staging", commit_description="as it was")
        chain = prompt | offline_model("task") | StrOutputParser()
        result = optimize(
            chain,
            data="support-triage",
            evaluators=["exact_match"],
            optimizer_model="offline",
            method="lpo-pe2",
            freeze=["## Refund policy"],
            runs_dir=folder,
            langsmith={"experiments": True},
        )
        test = result.test[0]
        print(f"\n{result.outcome}: {test['baseline']:.2f} -> {test['best']:.2f} on {test['n']} test rows")
        print("the chain itself has changed:", prompt.messages[0].prompt.template != demo_prompt())
        version = next(e["data"]["data"]["as_of"] for e in result.events())
        print("dataset version:", version)

        tell_traces(server)

        print("\nexperiments:", result.links["experiments"])
        for experiment in client.list_projects(reference_dataset_id=dataset.id):
            by_split = experiment.session_feedback_stats
            print(f"  {experiment.name}:", ", ".join(f"{k} {by_split[k]['avg']:.2f}" for k in sorted(by_split)))

        commit = result.push("acme/triage", tag="staging")
        print("\npushed", commit[:8], "and moved staging to it; commits, newest first:")
        for each in client.list_prompt_commits("triage"):
            print("  ", each.commit_hash[:8], "<-", (each.parent_commit_hash or "nothing")[:8])
        print("staging holds the new prompt:", staging(client) == prompt.messages[0].prompt.template)
        before = rollback_run(Path(folder) / result.run_id)
        print("rolled back to", before[:8], "- staging holds the old prompt:", staging(client) == demo_prompt())
        assert not server.unserved
        assert not server.doubled


def staging(client) -> str:
    """The text behind the tag `staging` now."""
    return client.pull_prompt("triage:staging", skip_cache=True).messages[0].prompt.template


if __name__ == "__main__":
    main()
