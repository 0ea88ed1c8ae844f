"""What programs take from outside of their code as they run is part of what they are: files, settings, docstrings."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_promptopt._langchain.discover import unseen_state
from langchain_promptopt._objects import fingerprint
from tests.unit.test_identity import made, of

HELPER = """
import os
from pathlib import Path

STYLE = Path(__file__).with_name("style.txt")
LOG = Path(__file__).with_name("log.txt")

class Tone:
    def words(self): return "plain"

def setting(name): return os.environ.get(name, "")

def read(): return STYLE.read_text()

def read_in_folder():
    with open(os.path.join(os.path.dirname(__file__), "prompts", "style.txt")) as file:
        return file.read()

def write(text): LOG.write_text(text)

def look(query):
    "Look it up."
    return query

def __getattr__(name):
    if name == "late": return lambda text: text + "!"
    raise AttributeError(name)
"""


def reads(folder: Path, body: str, helper: str = HELPER) -> str:
    """The fingerprint of a program whose helper is a module in `folder`."""
    folder.joinpath("helper.py").write_text(helper)
    module = types.ModuleType("their_helper")
    module.__file__ = str(folder / "helper.py")
    exec(compile(helper, module.__file__, "exec"), vars(module))
    return fingerprint(made(f"import os\n{body}", helper=module)["post"])


@pytest.mark.parametrize(
    ("body", "file"),
    [
        ("def post(x): return helper.read()", "style.txt"),
        ("def post(x): return helper.read_in_folder()", "prompts/style.txt"),
        ("HELD = {'at': helper.STYLE}\ndef post(x): return HELD['at'].read_text()", "style.txt"),
    ],
)
def test_a_file_that_the_program_reads_as_it_runs_counts(tmp_path, body, file):
    (tmp_path / "prompts").mkdir()
    for name in ("style.txt", "prompts/style.txt", "other.txt"):
        (tmp_path / name).write_text("short")
    before = reads(tmp_path, body)
    (tmp_path / "other.txt").write_text("long")
    assert reads(tmp_path, body) == before
    (tmp_path / file).write_text("long words")
    assert reads(tmp_path, body) != before


def test_a_file_that_the_program_writes_does_not_count(tmp_path):
    (tmp_path / "style.txt").write_text("short")
    before = reads(tmp_path, body := "def post(x): return helper.write(x) or helper.read()")
    (tmp_path / "log.txt").write_text("one line")
    assert reads(tmp_path, body) == before


def test_a_file_that_is_read_in_code_that_writes_another_one_counts(tmp_path):
    (tmp_path / "style.txt").write_text("short")
    body = "def post(x):\n    open(helper.LOG, 'a').write(x)\n    return helper.STYLE.read_text()"
    before = reads(tmp_path, body)
    (tmp_path / "log.txt").write_text("one line")
    assert reads(tmp_path, body) == before
    (tmp_path / "style.txt").write_text("long")
    assert reads(tmp_path, body) != before


def test_a_file_that_is_read_under_a_name_made_as_it_runs_is_named():
    post = made("def post(x): return open(x.lower()).read()")["post"]
    (note,) = unseen_state(RunnableLambda(post))
    assert "$.func (the files that it reads)" in note.text


@pytest.mark.parametrize(
    "body",
    [
        "def post(x): return helper.setting('STYLE')",
        "NAME = 'STYLE'\ndef post(x): return os.environ[NAME]",
        "def post(x, name='STYLE'): return os.getenv(name)",
    ],
)
def test_a_variable_of_the_environment_counts_wherever_its_name_stands(tmp_path, body, monkeypatch):
    monkeypatch.setenv("STYLE", "short")
    before = reads(tmp_path, body)
    monkeypatch.setenv("STYLE", "long")
    assert reads(tmp_path, body) != before


def test_settings_that_the_program_reads_as_it_runs_count(monkeypatch):
    source = """
        import os
        from pydantic import BaseModel, Field
        class Settings(BaseModel):
            style: str = Field(default_factory=lambda: os.environ["STYLE"])
            api_key: str = Field(default_factory=lambda: os.environ["THE_API_KEY"])
            @classmethod
            def settings_customise_sources(cls): "As pydantic-settings has it."
        def post(x): return Settings().style
    """
    monkeypatch.setenv("STYLE", "short")
    monkeypatch.setenv("THE_API_KEY", "k1")
    before = of(source)
    monkeypatch.setenv("THE_API_KEY", "k2")
    assert of(source) == before
    monkeypatch.setenv("STYLE", "long")
    assert of(source) != before


@pytest.mark.parametrize(
    ("old", "new", "same"), [("Look it up.", "Search it.", False), ("return query", "return query  # as it is", True)]
)
def test_the_docstring_of_a_function_that_becomes_a_tool_as_the_program_runs_counts(tmp_path, old, new, same):
    body = "TOOLS = [helper.look]\ndef post(model, x): return model.bind_tools(TOOLS).invoke(x)"
    assert (reads(tmp_path, body) == reads(tmp_path, body, HELPER.replace(old, new))) is same
    plain = "TOOLS = [helper.look]\ndef post(model, x): return TOOLS[0](x)"
    assert reads(tmp_path, plain) == reads(tmp_path, plain, HELPER.replace(old, new))


def test_the_types_in_the_signature_of_a_function_that_becomes_a_tool_count(tmp_path):
    typed = HELPER.replace("def look(query):", 'def look(query: Annotated[str, "the words"]):')
    typed = "from typing import Annotated\n" + typed
    body = "TOOLS = [helper.look]\ndef post(model, x): return model.bind_tools(TOOLS).invoke(x)"
    assert reads(tmp_path, body, typed) == reads(tmp_path, body, typed)
    assert reads(tmp_path, body, typed) != reads(tmp_path, body, typed.replace("the words", "the exact words"))
    plain = "TOOLS = [helper.look]\ndef post(model, x): return TOOLS[0](x)"
    assert reads(tmp_path, plain, typed) == reads(tmp_path, plain, typed.replace("the words", "the exact words"))


@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        ("MODULES = [helper]\ndef post(x): return MODULES[0].Tone().words()", '"plain"', '"short"'),
        ("def of(m):\n    return lambda x: m.Tone().words()\npost = of(helper)", '"plain"', '"short"'),
        ("def post(x): return helper.late(x)", '"!"', '"?"'),
    ],
)
def test_what_is_taken_from_a_module_that_is_passed_around_counts(tmp_path, body, old, new):
    assert reads(tmp_path, body) == reads(tmp_path, body)
    assert reads(tmp_path, body) != reads(tmp_path, body, HELPER.replace(old, new))


def test_classes_that_are_found_through_their_base_count():
    source = """
        class Base: pass
        class Plain(Base):
            def words(self): return "plain"
        def post(x): return Base.__subclasses__()[0]().words()
    """
    assert of(source) != of(source.replace('"plain"', '"short"'))


def test_what_an_http_client_sends_with_each_call_counts():
    source = "import httpx\nC = httpx.Client(params={'v': '1'})\ndef post(x): return C.get(x)"
    assert of(source) == of(source)
    assert of(source) != of(source.replace("'1'", "'2'"))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def _f(self): return 'plain'\n    def __call__(self, x): return self._f()\npost = A()",
        "class A:\n    _n = 'plain'\ndef post(x): return A._n",
        "class A:\n    @staticmethod\n    def __f(): return 'plain'\n    go = __f\ndef post(x): return A.go()",
        "from pydantic import BaseModel\nclass A(BaseModel):\n    def _f(self): return 'plain'\npost = A()",
        "from langchain_core.retrievers import BaseRetriever as B\n"
        "class A(B):\n    def _get_relevant_documents(self, q, *, run_manager): return ['plain']\npost = A()",
        "from enum import Enum\nclass A(Enum):\n    X = 1\n    def _f(s): return 'plain'\ndef post(x): return A.X._f()",
        "def post(x): return post._n\npost._n = 'plain'",
    ],
)
def test_private_methods_and_attributes_of_the_users_classes_count(source):
    assert of(source) == of(source)
    assert of(source) != of(source.replace("plain", "short"))


def test_a_private_function_of_a_module_that_is_passed_around_counts(tmp_path):
    helper = "def _f(x): return 'plain'\n"
    body = "MODULES = [helper]\ndef post(x): return MODULES[0]._f(x)"
    assert reads(tmp_path, body, helper) != reads(tmp_path, body, helper.replace("plain", "short"))
