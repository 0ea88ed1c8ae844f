"""The documentation site: the reference is what the code says, and the navigation has every page."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import langchain_promptopt
from langchain_promptopt.config import Config

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ("cli.md", "settings.md", "api.md", "methods.md")


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_what_the_code_says(made, name):
    kept = (DOCS / "reference" / name).read_text("utf-8")
    assert kept == made[name].rstrip() + "\n", "run: python docs/make_reference.py"


def test_what_looks_like_markup_in_a_description_is_shown(made):
    assert '"re:&lt;pattern>"' in made["settings.md"]
    assert r"(tool:\*)" in made["settings.md"]
    assert "<pattern>" not in made["settings.md"]


def test_the_reference_has_every_verb_key_and_public_name(made):
    from langchain_promptopt.cli.app import app

    verbs = {command.name for command in app.registered_commands}
    assert verbs <= set(re.findall(r"^## (\w+)$", made["cli.md"], re.M))
    for section, info in Config.model_fields.items():
        for key in getattr(info.annotation, "model_fields", {}):
            assert f"| `{key}` |" in made["settings.md"], f"{section}.{key}"
    public = set(langchain_promptopt.__all__) - {"evaluators", "presets"}
    assert public <= set(re.findall(r"^### (\w+)$", made["api.md"], re.M))


def test_no_page_points_to_documents_that_are_not_here(made):
    for name, text in made.items():
        assert not re.findall(r"\((?:spec|product)\b[^)]*\)|product contract", text), name


def test_the_navigation_has_every_page_once():
    """Without mkdocs, so that this runs everywhere; `make docs` checks the links."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r": ([\w/.-]+\.md)$", text, re.M)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_the_skill_has_a_name_and_says_when_to_use_it():
    text = (ROOT / "skills" / "langchain-promptopt" / "SKILL.md").read_text("utf-8")
    head = re.match(r"---\nname: ([a-z-]+)\ndescription: (.+)\n---\n", text)
    assert head.group(1) == "langchain-promptopt"
    assert "Use it when" in head.group(2)
    assert len(head.group(2)) <= 1024
