"""Where in a project a prompt was written: found by its text, never guessed."""

from __future__ import annotations

import pytest

from langchain_promptopt._files.rewrite import find_source, module_file
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, Prompt

OLD = "Sort the ticket into one of the labels.\n{ticket}"
LITERAL = 'PROMPT = """Sort the ticket into one of the labels.\n{ticket}"""\n'


def prompt(text: str, system: str = "Be kind.") -> Prompt:
    return Prompt("main", (Message("system", system, "f-string"), Message("human", text, "f-string")))


def home(root, module=""):
    found = find_source(prompt(OLD), prompt(OLD.replace("Sort", "Put")), root, module)
    return None if found is None else found.relative_to(root).as_posix()


@pytest.fixture
def project(tmp_path):
    for name, text in {
        "my_app/__init__.py": "",
        "my_app/chain.py": "from my_app.prompts import PROMPT\n",
        "my_app/prompts/__init__.py": LITERAL,
        "README.md": "Sort the tickets.",
        "data.jsonl": OLD,
        ".promptopt/old.txt": OLD,
        "env/pyvenv.cfg": "",
        "env/lib/copy.py": LITERAL,
        "node_modules/x.txt": OLD,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_one_file_that_holds_the_text_is_found_in_code_and_in_prompt_files(project):
    assert home(project) == "my_app/prompts/__init__.py"
    (project / "my_app/prompts/__init__.py").write_text("")
    assert home(project) is None
    (project / "my_app/triage.yaml").write_text("prompt: |-\n  Sort the ticket into one of the labels.\n  {ticket}\n")
    assert home(project) == "my_app/triage.yaml"


def test_the_module_of_the_chain_wins_over_copies(project):
    (project / "copy.txt").write_text(OLD)
    with pytest.raises(PromptError, match=r"2 files hold .* copy.txt, my_app/prompts/__init__.py .*--file FILE"):
        home(project)
    assert home(project, "my_app.prompts") == "my_app/prompts/__init__.py"


def test_a_module_that_builds_the_prompt_is_told_instead_of_a_copy(project):
    (project / "my_app/chain.py").write_text('N = "one"\nP = f"Sort the ticket into {N} of the labels.\\n{{ticket}}"\n')
    with pytest.raises(PromptError, match=r"f-string.*chain.py, line 2"):
        home(project, "my_app.chain")
    (project / "my_app/chain.py").write_text(LITERAL * 2)
    with pytest.raises(PromptError, match=r"lines 1, 3"):
        home(project, "my_app.chain")


def test_only_changed_messages_are_looked_for(project):
    """The system message is nowhere in the project, and nobody wants to change it."""
    assert find_source(prompt(OLD, "Only live."), prompt(OLD + " Now.", "Only live."), project) is not None
    assert find_source(prompt(OLD, "Only live."), prompt(OLD, "Other."), project) is None


def test_modules_are_files_and_packages(project):
    assert module_file(project, "my_app.chain") == project / "my_app/chain.py"
    assert module_file(project, "my_app.prompts") == project / "my_app/prompts/__init__.py"
    assert module_file(project, "my_app.nope") is None
    assert module_file(project, "") is None
