"""Blocks that are not Python: the real parser reads commands, the real schema settings."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib

import pytest
import typer
import yaml

from langchain_promptopt.cli.app import app
from langchain_promptopt.cli.flags import FLAGS, _pairs
from langchain_promptopt.config import config_from_dict, load_config
from tests.docs.pages import GUIDES, PAGES, ROOT, code_of, fenced

VERBS = typer.main.get_command(app).commands
USAGE = typer.BadParameter.__mro__[1]
"""What the parser raises; Typer carries its own copy of click in newer versions."""
OWN = {"bench", "push"}
"""Verbs with flags that have a setting's name, and are none."""
NOT_RUN = {
    "integrations/airflow/README.md": "needs Airflow, in an environment of its own",
    "integrations/dagster/README.md": "needs Dagster, as above",
    "integrations/dask/README.md": "needs Dask and a cluster",
    "integrations/dspy/README.md": "needs DSPy",
    "integrations/gepa/README.md": "needs gepa",
    "integrations/langfuse/README.md": "needs Langfuse",
    "integrations/mlflow/README.md": "needs MLflow",
    "integrations/prefect/README.md": "needs Prefect",
    "integrations/ray/README.md": "needs Ray",
}
"""Pages whose Python blocks are only parsed here, and why. Tests of the integrations run most of them."""


def lines() -> list[str]:
    """Lines of blocks, without comment and prompt, where a shell reads them."""
    shell = (text for page in (*PAGES, *GUIDES) for name, text in fenced(page) if name in {"", "sh", "text"})
    joined = "\n".join(shell).replace("\\\n", " ")
    return sorted({re.split(r"\s#", line.strip().removeprefix("$ "))[0].strip() for line in joined.splitlines()})


def mentioned() -> list[str]:
    """Commands inside a sentence."""
    found = (re.findall(r"(?<!`)`(promptopt [^`]+)`", page.read_text("utf-8")) for page in (*PAGES, *GUIDES))
    return sorted({" ".join(text.split()) for texts in found for text in texts if " | " not in text})


def words_of(command: str) -> list[str]:
    """A command's words up to a pipe or a redirection."""
    return shlex.split(re.split(r"\s[|>]|\s&&", command)[0])[1:]


def parsed(command: str) -> dict[str, object]:
    """What the real parser reads. Raises its error for an unknown verb or flag, or a word too many."""
    verb, *words = words_of(command)
    if verb in {"--help", "--version"}:
        return {}
    return VERBS[verb].make_context(verb, words).params


COMMANDS = [line for line in lines() if line.startswith("promptopt ")]


def test_an_unknown_flag_on_a_page_is_found():
    assert len(COMMANDS) >= 40
    for wrong in ("promptopt optimize --nope", "promptopt compare a b c", "promptopt compare a", "promptopt tune a"):
        with pytest.raises(Exception, match=r"nope|extra|issing|tune"):
            parsed(wrong)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_the_parser_takes(command):
    overrides = {}
    for name, value in parsed(command).items():
        flag = FLAGS.get(name.rstrip("_"))
        if value and flag is not None and words_of(command)[0] not in OWN:
            overrides[flag.key] = _pairs(flag, value) if flag.kind is dict else value
    load_config(None, {}, overrides, without_file=True)


@pytest.mark.parametrize("command", mentioned())
def test_every_command_in_a_sentence_has_a_verb_and_flags_that_exist(command):
    verb = words_of(command)[0]
    if verb in {"VERB", "--help", "--version"}:
        return
    try:
        parsed(command)
    except USAGE as partial:  # a sentence may leave out what a command needs
        assert re.search("issing|requires an argument", str(partial))


@pytest.mark.parametrize("line", [line for line in lines() if re.match(r"(make|python|\.ci/run)\b", line)])
def test_every_other_program_of_this_repository_is_there(line):
    program, *words = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert words[0] in targets
    elif program == "python":
        name = words[1].replace(".", "/") if words[0] == "-m" else words[0].removesuffix(".py")
        assert (ROOT / f"{name}.py").is_file() or (ROOT / name / "__main__.py").is_file(), f"{name} is not there"
    else:
        assert (ROOT / program).is_file()


def parts(language: str) -> list:
    found = []
    for page in (*PAGES, *GUIDES):
        texts = code_of(page, language)
        found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}") for i, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("block", parts("toml"))
def test_settings_on_a_page_are_settings(block):
    config_from_dict(tomllib.loads(block))


@pytest.mark.parametrize("block", parts("json"))
def test_examples_in_json_are_json(block):
    decoder, text, at = json.JSONDecoder(), block.strip(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        assert value
        at += len(text[at:]) - len(text[at:].lstrip())


@pytest.mark.parametrize("block", parts("yaml"))
def test_yaml_is_yaml(block):
    assert yaml.safe_load(block)


def test_python_that_is_only_parsed_is_of_the_integrations_alone():
    """The pages of this distribution run whole (`test_examples_run.py`)."""
    shown = {page.relative_to(ROOT).as_posix(): code_of(page) for page in GUIDES}
    assert {name for name, blocks in shown.items() if blocks} == set(NOT_RUN)
    for block in (block for blocks in shown.values() for block in blocks):
        ast.parse(block)


@pytest.mark.parametrize("page", [page for page in GUIDES if code_of(page)], ids=lambda page: page.parent.name)
def test_what_an_integration_is_shown_to_offer_is_there(page):
    for module, names in re.findall(
        r"^from (langchain_promptopt_\w+) import ([\w, ]+)$", page.read_text("utf-8"), re.M
    ):
        offered = (page.parent / module / "__init__.py").read_text("utf-8")
        assert all(re.search(rf"\b{name.strip()}\b", offered) for name in names.split(","))
