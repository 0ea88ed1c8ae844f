"""The README's program, with the built-in models in place of hosted ones and the demo's examples."""

from __future__ import annotations

from pathlib import Path

import offline

from langchain_promptopt.offline import demo_prompt, demo_rows
from tests.support.readme import BUILT_IN, run_readme


def test_the_program_of_the_readme_runs(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    client.register_prompt("triage", offline._double(demo_prompt()), commit_message="written by hand")
    names = run_readme(Path(__file__).parents[1] / "README.md", {"rows": demo_rows()[::2]}, BUILT_IN)
    assert names["result"].outcome == "improved"
    assert client.load_prompt("prompts:/triage@staging").commit_message == f"run {names['result'].run_id}"
