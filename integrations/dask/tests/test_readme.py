"""The README's program on the cluster of the tests, with the built-in optimizer model in place of a hosted one."""

from __future__ import annotations

from pathlib import Path

from tests.support.readme import app, run_readme


def test_the_program_of_the_readme_runs(cluster, tmp_path):
    instead = app(tmp_path) | {'"tcp://scheduler:8786"': "ADDRESS"}
    given = {"ROOT": tmp_path, "ADDRESS": cluster.scheduler.address}
    names = run_readme(Path(__file__).parents[1] / "README.md", given, instead)
    assert names["answer"]["outcome"] in {"improved", "no_gain", "inconclusive"}
    assert (tmp_path / ".promptopt" / "runs" / names["answer"]["run_id"]).is_dir()
