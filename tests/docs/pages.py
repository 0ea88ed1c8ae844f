"""The pages that people read, and the blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md", ROOT / "skills/langchain-promptopt/SKILL.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
GUIDES = sorted((ROOT / "integrations").glob("*/README.md"))
"""Pages of distributions of their own."""


def fenced(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"^```([^\n`]*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def code_of(page: Path, language: str = "python") -> list[str]:
    """The blocks of a page in one language."""
    return [text for name, text in fenced(page) if name == language]
