"""The README's definitions load, and its asset materializes, with the built-in models of the settings file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from langchain_promptopt.config import toml_text
from tests.support.pipeline_task import write_task
from tests.support.readme import run_readme


def test_the_definitions_of_the_readme_load_and_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "promptopt.toml").write_text(toml_text(write_task(tmp_path / "triage")), encoding="utf-8")
    names = run_readme(Path(__file__).parents[1] / "README.md", {}, {})
    dg.Definitions.validate_loadable(names["defs"])
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([names["triage_prompt"]], instance=instance).success
