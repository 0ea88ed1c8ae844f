"""The README's program, with the built-in models in place of hosted ones."""

from __future__ import annotations

from pathlib import Path

import triage

from langchain_promptopt.offline import offline_model
from tests.support.readme import run_readme


def test_the_program_of_the_readme_runs():
    given = {
        "TaskModel": triage.TaskModel,
        "offline_model": offline_model,
        "program": triage.student(),
        "metric": triage.right_label,
        "trainset": triage.examples(100, 8),
        "valset": triage.examples(200, 8),
        "held_out": triage.examples(300, 24),
    }
    instead = {
        'ChatOpenAI(model="gpt-4o-mini")': "TaskModel()",
        'ChatOpenAI(model="gpt-4o")': 'offline_model("optimizer")',
        'auto="light"': "max_metric_calls=40, reflection_minibatch_size=4, num_threads=2",
    }
    names = run_readme(Path(__file__).parents[1] / "README.md", given, instead)
    assert names["result"].outcome == "improved"
    assert Path("triage.json").is_file()
