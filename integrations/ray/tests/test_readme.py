"""The README's program on the Ray of the tests, with the built-in optimizer model in place of a hosted one."""

from __future__ import annotations

from pathlib import Path

from tests.support.readme import app, run_readme


def test_the_program_of_the_readme_runs(tmp_path):
    # The Ray of the tests runs already, in this process, and has two processors.
    instead = app(tmp_path) | {'ray.init(address="auto")': "assert ray.is_initialized()", "count=8": "count=2"}
    names = run_readme(Path(__file__).parents[1] / "README.md", {"ROOT": tmp_path}, instead)
    assert names["answer"]["outcome"] in {"improved", "no_gain", "inconclusive"}
    assert (tmp_path / ".promptopt" / "runs" / names["answer"]["run_id"]).is_dir()
