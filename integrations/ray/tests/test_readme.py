"""The README's program on the Ray of the tests, with the built-in optimizer model in place of a hosted one."""

from __future__ import annotations

import json
from pathlib import Path

from langchain_promptopt.offline import demo_rows
from tests.support.readme import run_readme

CHAIN = """from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt.offline import demo_prompt, offline_model

chain = ChatPromptTemplate.from_template(demo_prompt()) | offline_model("task") | StrOutputParser()
"""


def app(folder):
    """What the README's configuration names: a package with a chain, and examples."""
    (folder / "my_app").mkdir()
    (folder / "my_app" / "__init__.py").touch()
    (folder / "my_app" / "chain.py").write_text(CHAIN, encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in demo_rows()[::4])
    (folder / "tickets.jsonl").write_text(lines, encoding="utf-8")
    return {
        'root="/srv/my_app"': "root=ROOT",
        '{"model": "openai:gpt-4o"}': '{"model": "offline", "method": "lpo-pe2"}',
    }


def test_the_program_of_the_readme_runs(tmp_path):
    # The Ray of the tests runs already, in this process, and has two processors.
    instead = app(tmp_path) | {'ray.init(address="auto")': "assert ray.is_initialized()", "count=8": "count=2"}
    names = run_readme(Path(__file__).parents[1] / "README.md", {"ROOT": tmp_path}, instead)
    assert names["answer"]["outcome"] in {"improved", "no_gain", "inconclusive"}
    assert (tmp_path / ".promptopt" / "runs" / names["answer"]["run_id"]).is_dir()
