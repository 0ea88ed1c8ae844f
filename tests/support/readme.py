"""The Python blocks of a README, run as they stand but for what only a reader has: models with a key, and data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
