"""What run id, evaluation cache, `compare` and evaluator hashes are made of: code reached, values, parameters."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import textwrap
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from langchain_promptopt import compare, optimize, tunable
from langchain_promptopt._langchain.discover import code_of, find_models, find_prompts, unseen_state
from langchain_promptopt._langchain.overlay import install
from langchain_promptopt._objects import Watch, fingerprint, holds_client
from langchain_promptopt.errors import DataError, ResumeError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.optimizer.plan import DECIDES
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, chain, optimizer, rows

ROOT = str(Path(__file__).resolve().parents[2])
FAST = {"evaluators": ["exact_match"], "method": "lpo-pe2", "openings": None, "apply": "never"}


def made(source: str, **held: Any) -> dict[str, Any]:
    """The globals of a program of the user's, each time compiled anew."""
    scope: dict[str, Any] = {"__name__": "their_program", **held}
    exec(compile(textwrap.dedent(source), "their_program.py", "exec"), scope)
    return scope


def of(source: str, name: str = "post") -> str:
    return fingerprint(made(source)[name])


PROGRAM = """
LIMIT = 3

class Settings:
    threshold = 0.5

def clean(text, strict=True):
    return text.strip()[:LIMIT] if strict else text

def factory(word):
    return lambda text: clean(text) + word

def post(text):
    def inner(x):
        return [clean(part) for part in x.split()] if Settings.threshold else []
    return inner(text), closing(text)

closing = factory("end")
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("text.strip()[:LIMIT]", "text.lstrip()[:LIMIT]"),  # code of a function that is named two calls away
        ("LIMIT = 3", "LIMIT = 4"),  # a global constant
        ("threshold = 0.5", "threshold = 0.6"),  # a class attribute
        ("strict=True", "strict=False"),  # a default
        ('factory("end")', 'factory("other")'),  # a value in a closure
        ("clean(text) + word", "word + clean(text)"),  # a lambda
        ("part in x.split()", "part in x.split(',')"),  # code inside of code
        ("threshold else []", "threshold else [None]"),
    ],
)
def test_what_changes_the_answer_changes_the_fingerprint(old, new):
    assert old in PROGRAM
    assert of(PROGRAM) != of(PROGRAM.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "# three letters are enough\n\n\nLIMIT = 3"),
        ("    return text.strip()", "    # no blanks\n\n    return text.strip()"),
        ("def clean(text, strict=True):", 'def clean(text, strict=True):\n    """Cut it."""'),
        ("class Settings:", 'class Settings:\n    """Of this app."""\n'),
        ("def inner(x):", 'def inner(x):\n        """All parts."""'),
        ("LIMIT = 3", "LIMIT = 3\nUNUSED = 4"),
    ],
)
def test_comments_blank_lines_and_docstrings_change_nothing(old, new):
    assert old in PROGRAM
    assert of(PROGRAM) == of(PROGRAM.replace(old, new))


def test_a_class_inside_a_function_counts_without_its_docstring_and_lines():
    source = "def post(x):\n    class Held:\n        a = 1\n    return Held.a\n"
    assert of(source) == of(source.replace("        a = 1", '        """Text."""\n\n        a = 1'))
    assert of(source) != of(source.replace("a = 1", "a = 2"))


def test_code_in_a_try_block_is_not_code_after_it():
    start, end = "def post(x):\n    try:\n        a(x)\n", "    return x\n"
    one = start + "    except ValueError:\n        x = 1\n    else:\n        b(x)\n" + end
    two = start + "        b(x)\n    except ValueError:\n        x = 1\n" + end
    assert of(one) != of(two)


# Objects of many shapes: (a program with a mark in it, the mark, what it becomes in the edited program).
SHAPES = [
    ("from enum import Enum\nclass M(Enum):\n    A = 0.5\ndef post(x): return M.A.value", "0.5", "0.7"),
    (
        "from enum import Enum\nclass M(Enum):\n    A = 'refund'\nIT = M.A\ndef post(x): return IT.value",
        "refund",
        "return",
    ),
    (
        "from enum import IntEnum\nclass M(IntEnum):\n    A = 1\n    def label(self): return 'one'\n"
        "IT = M.A\ndef post(x): return IT.label()",
        "'one'",
        "'two'",
    ),
    ("def is_password_reset(x): return 'pin' in x\ndef post(x): return is_password_reset(x)", "pin", "code"),
    ("WORDS = {'password': ['login']}\ndef post(x): return WORDS['password']", "login", "pin"),
    ("LABEL_OF = {'cookie': 'tracking'}\ndef post(x): return LABEL_OF", "tracking", "consent"),
    ("PASSWORD_HELP = 'Open the page.'\ndef post(x): return PASSWORD_HELP", "Open", "Close"),
    ("def post(x): return 'hf_summarize_v2'", "v2", "v3"),
    ("from string import Template\nT = Template('hello $x')\ndef post(x): return T.substitute(x=x)", "hello", "bye"),
    ("from argparse import Namespace\nA = Namespace(limit=3)\ndef post(x): return x[: A.limit]", "3", "4"),
    ("from textwrap import TextWrapper\nW = TextWrapper(width=30)\ndef post(x): return W.fill(x)", "30", "40"),
    ("from array import array\nA = array('d', [1, 2])\ndef post(x): return A", "2]", "3]"),
    ("from contextvars import ContextVar\nV = ContextVar('v', default=3)\ndef post(x): return V.get()", "3", "4"),
    (
        "from datetime import timedelta, timezone\nTZ = timezone(timedelta(hours=1))\ndef post(x): return TZ",
        "hours=1",
        "hours=2",
    ),
    ("import numpy\ndef f(x): return x + 1\nV = numpy.vectorize(f)\ndef post(x): return V(x)", "x + 1", "x + 2"),
    ("import regex\nP = regex.compile('a+')\ndef post(x): return P.match(x)", "a+", "b+"),
    (
        "from pydantic import BaseModel, PrivateAttr\nclass S(BaseModel):\n    _p: int = PrivateAttr(default=7)\n"
        "def post(x): return S()._p",
        "7",
        "8",
    ),
    ("class M(type):\n    limit = 3\nclass C(metaclass=M): pass\ndef post(x): return C.limit", "3", "4"),
    ("def rules():\n    'Sort it.'\ndef post(x): return rules.__doc__", "Sort", "Order"),
    ("def clean(x): return x.strip()\ndef post(x): return eval('clean(x)')", "strip", "upper"),
    (
        "class L(str):\n    def loud(self): return self.upper()\nT = L('hey')\ndef post(x): return T.loud()",
        "upper",
        "lower",
    ),
    ("class L(str): pass\nT = L('hey')\ndef post(x): return T", "hey", "hoy"),
    ("class N(int):\n    def tax(self): return self * 2\nT = N(3)\ndef post(x): return T.tax()", "* 2", "* 3"),
    (
        "from functools import partial\nclass P(partial):\n    more = 5\nT = P(len)\ndef post(x): return T.more",
        "5",
        "6",
    ),
    (
        "import weakref\nclass C:\n    n = 3\nc = C()\nR = weakref.ref(c)\ndef post(x): return R().n",
        "n = 3",
        "n = 4",
    ),
    ("D = dict(b=1, a=2)\ndef post(x): return list(D)", "b=1, a=2", "a=2, b=1"),
    ("BIG = {i: [i] for i in range(60_000)}\nBIG[59_999] = [5]\ndef post(x): return BIG[1]", "[5]", "[6]"),
    ("from collections import defaultdict\nD = defaultdict(lambda: 1)\ndef post(x): return D[x]", ": 1", ": 2"),
    ("import numpy\nAT_LEAST = numpy.maximum\ndef post(x): return AT_LEAST(x, 1)", "maximum", "minimum"),
    (
        "import openai\nC = openai.OpenAI(api_key='k', default_headers={'X-Route': 'small'})\n"
        "def post(x): return C.chat",
        "small",
        "large",
    ),
    (
        "import openai\nC = openai.AzureOpenAI(api_key='k', azure_endpoint='http://a', api_version='2024')\n"
        "def post(x): return C.chat",
        "2024",
        "2025",
    ),
    (
        "from functools import singledispatchmethod\nclass C:\n    @singledispatchmethod\n"
        "    def go(self, x): return x\n"
        "    @go.register\n    def _(self, x: int): return x + 1\n"
        "    @go.register\n    def _(self, x: list): return x\n"
        "c = C()\ndef post(x): return c.go(x)",
        "x + 1",
        "x + 2",
    ),
]

HELD = [
    ("import random", "random.Random(3)", "random.Random(4)"),
    ("import random\nclass R(random.Random): pass", "R(3)", "R(4)"),
    ("import numpy", "numpy.random.default_rng(3)", "numpy.random.default_rng(4)"),
    ("import io", "io.StringIO('few')", "io.StringIO('all')"),
    ("import io", "io.BytesIO(b'few')", "io.BytesIO(b'all')"),
    ("import itertools", "itertools.count(3)", "itertools.count(4)"),
    ("import itertools", "itertools.cycle(['a'])", "itertools.cycle(['b'])"),
    ("", "iter(['a'])", "iter(['b'])"),
    ("", "{'a': 1}.keys()", "{'b': 1}.keys()"),
    ("", "slice(3)", "slice(4)"),
    ("", "compile('x + 1', '', 'eval')", "compile('x + 2', '', 'eval')"),
    ("", "ValueError('few')", "ValueError('all')"),
    ("import decimal", "decimal.Context(prec=3)", "decimal.Context(prec=4)"),
    ("from statistics import NormalDist", "NormalDist(0)", "NormalDist(1)"),
    ("from collections import deque", "deque([1], maxlen=3)", "deque([1], maxlen=4)"),
    ("from xml.etree.ElementTree import fromstring", "fromstring('<a><b/></a>')", "fromstring('<a><c/></a>')"),
    ("import ctypes", "ctypes.c_int(3)", "ctypes.c_int(4)"),
    ("", "10**5000", "10**5001"),
    ("import numpy", "numpy.ma.array([1, 2], mask=[0, 1])", "numpy.ma.array([1, 2], mask=[1, 0])"),
    (
        "import weakref\nclass C:\n    def __init__(self, n): self.n = n",
        "weakref.proxy(KEPT := C(3))",
        "weakref.proxy(KEPT := C(4))",
    ),
    (
        "from queue import Queue\ndef filled(x):\n    queue = Queue()\n    queue.put(x)\n    return queue",
        "filled(['a'])",
        "filled(['b'])",
    ),
    (
        "from threading import local\ndef filled(x):\n    held = local()\n    held.style = x\n    return held",
        "filled('a')",
        "filled('b')",
    ),
]
SHAPES += [(f"{imports}\nHELD = {one}\ndef post(x): return HELD", one, other) for imports, one, other in HELD]


@pytest.mark.parametrize(("source", "old", "new"), SHAPES)
def test_what_decides_counts_in_whatever_object_it_is_held(source, old, new):
    if "import regex" in source:
        pytest.importorskip("regex")
    assert source.count(old) == 1
    assert of(source) == of(source)
    assert of(source) != of(source.replace(old, new))


@pytest.mark.parametrize(
    ("made_by", "kind"),
    [
        ("struct.Struct('i')", "_struct.Struct"),
        ("io.TextIOWrapper(io.BytesIO())", "_io.TextIOWrapper"),
        ("(n for n in [1])", "builtins.generator"),
        ("random.Random()", "random.Random"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(made_by, kind):
    source = f"import io, random, struct\nHELD = {made_by}\ndef post(x): return HELD"
    (note,) = unseen_state(made(source)["post"])
    assert f"$<HELD> ({kind})" in str(note)


def test_locks_loggers_and_clients_are_not_named():
    source = """
    import logging, threading, httpx
    from concurrent.futures import ThreadPoolExecutor
    from random import choice
    HELD = [logging.getLogger("x"), threading.RLock(), ThreadPoolExecutor(1), httpx.Client(), choice, object()]
    def post(x): return HELD
    """
    assert [*unseen_state(made(source)["post"], chain())] == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("DB_PASSWORD", "hunter2!", "hunter3!"),
        ("authorization", "Bearer abc.def123", "Bearer abc.def456"),
        ("cookie", "session=1f2e; theme=dark", "session=9a8b; theme=dark"),
        ("ANY", "hf_AbCdEfGhIjKlMnOpQr12", "hf_ZbCdEfGhIjKlMnOpQr34"),
    ],
)
def test_another_key_is_no_other_program(name, old, new):
    source = f"HELD = {{{name!r}: {old!r}}}\ndef post(x): return HELD"
    assert of(source) == of(source.replace(old, new))


@pytest.mark.parametrize("read", ["os.environ['STYLE']", "os.getenv('STYLE', 'x')", "[os.environ.get('STYLE')][0]"])
def test_a_variable_of_the_environment_that_the_code_reads_counts(read, monkeypatch):
    source = f"import os\ndef post(x):\n    def inner(): return {read}\n    return inner()"
    monkeypatch.setenv("STYLE", "short")
    before = of(source)
    monkeypatch.setenv("OTHER", "1")
    assert of(source) == before
    monkeypatch.setenv("STYLE", "long")
    assert of(source) != before


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "LANGSMITH_PROJECT"])
def test_a_key_or_the_place_of_traces_in_the_environment_does_not_count(name, monkeypatch):
    source = f"import os\ndef post(x): return os.environ[{name!r}]"
    monkeypatch.setenv(name, "one1234")
    before = of(source)
    monkeypatch.setenv(name, "two5678")
    assert of(source) == before


def test_the_key_in_the_headers_of_a_client_does_not_count():
    source = (
        "import openai\nC = openai.OpenAI(api_key='k', default_headers={'api-key': 'one1234'})\ndef post(x): return C"
    )
    assert of(source) == of(source.replace("one1234", "two5678"))


class Scorer:
    weight = 1.0

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, outputs, reference_outputs):
        return self.judged(outputs)

    def judged(self, outputs):
        return len(outputs) > self.threshold


class Heavier(Scorer):
    weight = 2.0


class Answer(BaseModel):
    """The label of a ticket."""

    label: str = Field(description="one word")


class Other(BaseModel):
    """The label of a ticket."""

    label: str = Field(description="one word or two")


def add(a, b):
    return a + b


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Scorer(1), Scorer(1), Scorer(2)),
        (Scorer(1), Scorer(1), Heavier(1)),
        (Scorer(1).judged, Scorer(1).judged, Scorer(2).judged),
        (partial(add, b=1), partial(add, b=1), partial(add, b=2)),
        (itemgetter("a"), itemgetter("a"), itemgetter("b")),
        ({"tags": {"a", "b"}}, {"tags": {"b", "a"}}, {"tags": {"a", "c"}}),
        ("a".join, "a".join, "b".join),
        (Answer, Answer, Other),
        (Scorer({Answer, "x"}), Scorer({"x", Answer}), Scorer({Other, "x"})),
    ],
)
def test_objects_count_by_class_code_and_state(one, same, other):
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def openai(**settings):
    return ChatOpenAI(**{"model": "m", "api_key": "sk-one-key-abcdef", "base_url": "http://localhost:1/v1"} | settings)


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": 0.5},
        {"model": "n"},
        {"base_url": "http://localhost:2/v1"},
        {"logit_bias": {1: 2}},
        {"service_tier": "flex"},
        {"extra_body": {"top_k": 3}},
    ],
)
def test_a_parameter_of_a_model_counts(setting):
    assert code_of(chain() | openai()) != code_of(chain() | openai(**setting))


def test_keys_and_what_decides_no_answer_do_not_count():
    one = fingerprint(openai())
    assert one == fingerprint(openai(api_key="sk-another-key-abcdef"))
    assert one == fingerprint(openai(timeout=3, max_retries=7, tags=["x"], metadata={"a": 1}))
    assert of('KEY = "sk-abcdefghijklmnop"\ndef post(x):\n    return KEY') == of(
        'KEY = "sk-ponmlkjihgfedcba"\ndef post(x):\n    return KEY'
    )


def test_bound_settings_count():
    assert fingerprint(openai().bind(stop=["a"])) != fingerprint(openai().bind(stop=["b"]))


def test_a_cycle_and_the_environment_are_no_trouble(monkeypatch):
    source = """
    from os import environ
    held = {}
    held["self"] = [held, {1, 2}]
    class Node:
        def __init__(self): self.others = {self}
    NODE = Node()
    def post(x):
        return held, environ, NODE, post
    """
    before = of(source)
    monkeypatch.setenv("NEW_VARIABLE", "1")
    assert of(source) == before


# ------------------------------------------------------------ prompts


def sorting(words="Sort {word}", **partials):
    prompt = ChatPromptTemplate.from_messages([("system", words), ("human", "{word}")])
    return prompt.partial(**partials) if partials else prompt


def test_the_text_of_a_prompt_is_the_candidates_and_does_not_enter_the_code():
    def of_chain(prompt):
        return code_of(prompt | ScriptedModel(fn=answer) | StrOutputParser())

    assert of_chain(sorting()) == of_chain(sorting("Other words {word}"))
    assert of_chain(sorting()) == of_chain(ChatPromptTemplate.from_template("one message {word}"))
    assert of_chain(sorting()) != of_chain(sorting("{tone} {word}", tone="calm"))
    calm, rude = (sorting("{tone} {word}", tone=tone) for tone in ("calm", "rude"))
    assert of_chain(calm) != of_chain(rude)


def test_a_search_on_the_live_prompt_changes_no_fingerprint():
    live = chain()
    before = code_of(live)
    found = find_prompts(live)
    uninstall = install([(f.path, f.template) for f in found])
    assert code_of(live) == before
    uninstall()
    assert code_of(live) == before


TRIAGE = tunable("Sort {word}", name="identity-triage")


class App:
    prompt = ChatPromptTemplate.from_template("Sort {word}")
    model = ScriptedModel(fn=answer)

    def __call__(self, row):
        return TRIAGE.format(**row)


def test_prompts_and_models_in_class_attributes_are_found():
    assert {type(f.template).__name__ for f in find_prompts(App())} == {"ChatPromptTemplate", "Tunable"}
    assert find_models(App()) == (App.model,)


# ------------------------------------------------------------ helper modules, processes


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Writes `lpo_helper.py` anew and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text):
        (tmp_path / "lpo_helper.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        sys.modules.pop("lpo_helper", None)
        return importlib.import_module("lpo_helper")

    yield write
    sys.modules.pop("lpo_helper", None)


CLEAN = (
    "WORDS = ['a']\ndef clean(text):\n    return text.strip() if WORDS else text\n\ndef other(text):\n    return 1\n"
)
USES = [
    "import lpo_helper\ndef post(x):\n    return lpo_helper.clean(x)\n",
    "from lpo_helper import clean as tidy\ndef post(x):\n    return tidy(x)\n",
    "def post(x):\n    import lpo_helper\n    return lpo_helper.clean(x)\n",
    "def post(x):\n    from lpo_helper import clean\n    return clean(x)\n",
    "import lpo_helper\ndef post(x):\n    return getattr(lpo_helper, 'clean')(x)\n",
]


@pytest.mark.parametrize("use", USES)
def test_code_reached_through_a_module_counts(helper, use):
    helper(CLEAN)
    before = of(use)
    helper("# a comment\n" + CLEAN.replace("return 1", "return 2"))
    assert of(use) == before
    for old, new in [("text.strip()", "text.upper()"), ("['a']", "['b']")]:
        helper(CLEAN.replace(old, new))
        assert of(use) != before


PROCESS = """
import re, sys
from functools import lru_cache
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_promptopt._langchain.discover import code_of
from langchain_promptopt.testing.scripted import ScriptedModel

class Held:
    __slots__ = ("a", "b")
    def __init__(self): self.a = {"x", "y", frozenset({1, "z"}), len}

held, names, pattern = Held(), {"x", "y", "z", ("a", None)}, re.compile("a+")

@lru_cache
def shout(text, known=frozenset({"a", "b", "c"})):
    return text.upper() if text in {"p", "q", "r"} or held or pattern.match(text) or names else text

chain = (
    RunnablePassthrough.assign(more=lambda row: row["word"] * 2)
    | ChatPromptTemplate.from_template("Sort {word} {more}")
    | ScriptedModel(fn=lambda messages: "a").with_retry(stop_after_attempt=2)
    | StrOutputParser()
    | RunnableLambda(shout)
)
print(code_of(chain))
"""


def test_the_fingerprint_is_the_same_in_every_process(tmp_path):
    found = set()
    for seed, folder in (("1", "a"), ("2", "another")):
        script = tmp_path / folder / "script.py"
        script.parent.mkdir()
        script.write_text(PROCESS)
        env = {**os.environ, "PYTHONPATH": ROOT, "PYTHONHASHSEED": seed, "PAD": "x" * int(seed)}
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=env)
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop()) > 10


# ------------------------------------------------------------ state


def test_what_a_run_itself_changes_is_no_edit_and_what_its_owner_changes_is():
    source = """
    CALLS, seen, SCALE = 0, [], 1
    class Memo:
        def __init__(self): self.known, self.hits = {}, 0
    memo = Memo()
    def post(x):
        global CALLS
        CALLS += SCALE
        memo.hits += 1
        memo.known[x] = [x]
        seen.append((x, [x]))
        return x
    """
    scope = made(source)
    post = scope["post"]
    before = fingerprint(post)
    watch = Watch(post)
    post("a")
    post("b")
    assert fingerprint(post) != before  # as long as it is not known whose doing that was
    watch.settle()
    assert fingerprint(post) == before
    again = Watch(post)
    post("c")
    again.settle()
    assert fingerprint(post) == before
    scope["SCALE"] = 2
    assert fingerprint(post) != before


# ------------------------------------------------------------ run id, cache, compare, evaluators


def run(tmp_path, target, **more):
    return optimize(target, data=rows(), optimizer_model=optimizer(), **FAST, **{"runs_dir": tmp_path / "runs"} | more)


def test_an_edited_chain_is_a_new_run_and_the_same_one_is_replayed(tmp_path):
    def shaped(shape):
        return chain() | RunnableLambda(lambda text: shape(text))

    first = run(tmp_path, shaped(str.strip))
    same, edited = run(tmp_path, shaped(str.strip)), run(tmp_path, shaped(str.lower))
    assert (first.replayed, same.replayed, edited.replayed) == (False, True, False)
    assert first.run_id == same.run_id != edited.run_id


def test_an_edited_evaluator_is_a_new_run(helper):
    source = """
    import lpo_helper
    def right(outputs, reference_outputs):
        return lpo_helper.clean(outputs) == lpo_helper.clean(reference_outputs)
    """

    def hash_now():
        scope = made(source)
        return resolve_evaluators([scope["right"]])[0].hash

    helper(CLEAN)
    before = hash_now()
    helper("# comment\n\n" + CLEAN)
    assert hash_now() == before
    helper(CLEAN.replace("strip", "upper"))
    assert hash_now() != before


def test_the_cache_serves_no_scores_of_old_code(tmp_path):
    def shaped(word):
        return chain() | RunnableLambda(lambda text: text if word else "broken")

    kept = {"cache": tmp_path / "cache.sqlite", "runs_dir": None}
    run(tmp_path, shaped("a"), **kept)
    again = run(tmp_path, shaped("a"), **kept)
    assert any(e["data"]["cached"] for e in again.events() if e["type"] == "scored")
    with pytest.raises(DataError, match="the baseline scores 0"):
        run(tmp_path, shaped(""), **kept)


def test_compare_tells_chains_with_one_prompt_apart_by_their_code(tmp_path):
    def shaped(shape):
        return chain() | RunnableLambda(lambda text: shape(text))

    given = {"data": rows(), "evaluators": ["exact_match"], "runs_dir": None}
    with pytest.raises(DataError, match="same prompts on the same model"):
        compare(shaped(str.strip), shaped(str.strip), **given)
    assert compare(shaped(str.strip), shaped(lambda text: text[:2]), **given).test[0]["losses"] > 0


ONLY_WHERE_GIVEN = {"redact", "over", "max_tokens", "demos", "must_pass"}


def test_a_changed_chain_is_not_resumed_and_the_difference_is_said(tmp_path):
    from langchain_promptopt.optimizer import Settings
    from langchain_promptopt.optimizer.run import run_task

    def settings(**more):
        given = {k: v for k, v in FAST.items() if k != "openings"}
        return Settings(data=rows(), optimizer_model=optimizer(), runs_dir=tmp_path, **given, **more)

    first = asyncio.run(run_task(chain(), settings()))
    assert {*next(iter(first.events()))["data"]["decides"]} == {*DECIDES} - ONLY_WHERE_GIVEN
    with pytest.raises(ResumeError, match="the chain: its code"):
        asyncio.run(run_task(chain() | RunnableLambda(str.upper), settings(expected_run=first.run_id)))
    with pytest.raises(ResumeError, match="seed was 0 and is 1"):
        asyncio.run(run_task(chain(), settings(expected_run=first.run_id, seed=1)))


# ------------------------------------------------------------ judges


def test_clients_are_seen_however_deep_they_are_held():
    source = """
    import openai
    class Wrapper:
        def __init__(self): self.inner = {"client": make()}
    def make():
        return openai.OpenAI(api_key="k")
    def post(x):
        return Wrapper
    def pure(x):
        return x
    """
    scope = made(source)
    assert holds_client(scope["post"], {"openai"})
    assert not holds_client(scope["pure"], {"openai"})


def test_a_module_of_the_users_with_the_name_of_one_of_pythons_is_the_users(tmp_path, monkeypatch):
    (tmp_path / "tabnanny.py").write_text("def clean(text):\n    return text.strip()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    clean = importlib.import_module("tabnanny").clean
    before = fingerprint(clean)
    clean.__code__ = (lambda text: text.upper()).__code__
    assert fingerprint(clean) != before
    sys.modules.pop("tabnanny")


def test_settings_that_change_nothing_are_named(tmp_path):
    unseen = ChatPromptTemplate.from_template(PROMPT) | RunnableLambda(lambda value: answer(value.to_messages()))
    given = {"task_model": ScriptedModel(fn=answer), "cache": tmp_path / "cache.sqlite"}
    warnings = run(tmp_path, unseen, **given).warnings
    assert any("task_model is not used" in text for text in warnings)
    assert any("cache is not used" in text for text in warnings)
    assert not any("is not used" in text for text in run(tmp_path, chain(), cache=tmp_path / "cache.sqlite").warnings)
