"""The Python blocks of a README, run as they stand but for what only a reader has: models with a key, and data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_promptopt.offline import demo_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHAIN = """from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt.offline import demo_prompt, offline_model

chain = ChatPromptTemplate.from_template(demo_prompt()) | offline_model("task") | StrOutputParser()
"""
BUILT_IN = {
    '"support-triage"': "rows",
    'task_model="openai:gpt-4o-mini"': 'task_model="offline"',
    'optimizer_model="openai:gpt-4o"': 'optimizer_model="offline", method="lpo-pe2"',
}
"""The examples of the namespace, and the models of this package, for those that a README names."""


def app(folder: Path) -> dict[str, str]:
    """Write what the configuration of a README names, a package with a chain and examples.

    Args:
        folder: Where `my_app` and the examples go; the block finds it under the name ROOT.

    Returns:
        What stands for texts of the block.
    """
    (folder / "my_app").mkdir()
    (folder / "my_app" / "__init__.py").touch()
    (folder / "my_app" / "chain.py").write_text(CHAIN, encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in demo_rows()[::4])
    (folder / "tickets.jsonl").write_text(lines, encoding="utf-8")
    return {
        'root="/srv/my_app"': "root=ROOT",
        '{"model": "openai:gpt-4o"}': '{"model": "offline", "method": "lpo-pe2"}',
    }


def run_readme(page: Path, given: Mapping[str, Any], instead: Mapping[str, str]) -> dict[str, Any]:
    """Run all Python blocks of a page, one after the other, in one namespace.

    Args:
        page: The README.
        given: Names that the blocks use and a reader has, as `trainset`.
        instead: Text of a block and what stands for it; a text that no block has is an error.

    Returns:
        The namespace afterwards.
    """
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
    for said, meant in instead.items():
        assert said in code, f"{page} no longer says {said}"
        code = code.replace(said, meant)
    names = dict(given)
    exec(compile(code, str(page), "exec"), names)
    return names
