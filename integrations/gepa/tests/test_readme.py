"""The README's program, with the built-in models in place of hosted ones."""

from __future__ import annotations

from pathlib import Path

import triage

from langchain_promptopt.offline import offline_model
from tests.support.readme import run_readme


def test_the_program_of_the_readme_runs():
    given = {
        "offline_model": offline_model,
        "SEED": triage.SEED,
        "trainset": triage.instances(100, 8),
        "valset": triage.instances(200, 8),
        "held_out": [
            {"inputs": {"input": row["input"]}, "outputs": {"answer": row["answer"]}}
            for row in triage.instances(300, 24)
        ],
    }
    instead = {
        'ChatOpenAI(model="gpt-4o-mini")': 'offline_model("task")',
        'ChatOpenAI(model="gpt-4o")': 'offline_model("optimizer")',
        '{"triage": "Choose the label of the message. ..."}': "SEED",
        "max_metric_calls=200": "max_metric_calls=40, reflection_minibatch_size=4, display_progress_bar=False",
    }
    names = run_readme(Path(__file__).parents[1] / "README.md", given, instead)
    assert names["result"].outcome == "improved"
