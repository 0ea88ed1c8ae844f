"""The main job's promises, end to end: live chains of every shape, long prompts, early refusals, the record."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnableParallel, RunnablePassthrough

from langchain_promptopt import Gate, optimize
from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.openai_server import serve
from tests.support.shared_data import ROOT, shared
from tests.support.tasks import PROMPT, answer, optimizer, rows

if TYPE_CHECKING:
    from pathlib import Path

# ------------------------------------------------------------------ in place


def task() -> ScriptedModel:
    return ScriptedModel(fn=answer, model_name="task")


def parallel(prompt):
    made = {"kind": prompt | task() | StrOutputParser(), "word": lambda v: v["word"]}
    return RunnableParallel(made) | RunnableLambda(lambda found: found["kind"])


def fallback_first(prompt):
    return (prompt | task() | StrOutputParser()).with_fallbacks([RunnableLambda(lambda _: "unreachable")])


def fallback_second(prompt):
    def fail(_):
        raise ValueError

    return RunnableLambda(fail).with_fallbacks([prompt | task() | StrOutputParser()])


def branch(prompt):
    return RunnableBranch(
        (lambda v: v["word"].startswith("~"), RunnableLambda(lambda _: "odd")), prompt | task() | StrOutputParser()
    )


def bound_model(prompt):
    return prompt | task().bind(stop=["###"]) | StrOutputParser()


def bound_chain(prompt):
    return (prompt.with_config(tags=["triage"]) | task()).bind(stop=["###"]).with_retry() | StrOutputParser()


def passthrough(prompt):
    return RunnablePassthrough.assign(kind=prompt | task() | StrOutputParser()) | RunnableLambda(lambda v: v["kind"])


def closure(prompt):
    inner = prompt | task() | StrOutputParser()

    def call(value):
        return inner.invoke(value)

    return RunnableLambda(call)


def async_closure(prompt):
    model = task()

    async def call(value):
        message = await model.ainvoke(await prompt.ainvoke(value))
        return message.text

    return RunnableLambda(call)


SHAPES = [
    parallel, fallback_first, fallback_second, branch, bound_model, bound_chain, passthrough, closure, async_closure,
]  # fmt: skip


class Sent(BaseCallbackHandler):
    """What a tracer sees of the model calls."""

    def __init__(self):
        self.texts = []

    def on_chat_model_start(self, serialized, messages, **_):
        self.texts += [m.text for batch in messages for m in batch]


def say(live, word="dog-new"):
    """The answer, and the prompt that the trace shows."""
    seen = Sent()

    async def call():
        return await live.ainvoke({"word": word}, {"callbacks": [seen]})

    return asyncio.run(call()), seen.texts


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_in_place_whatever_the_chain_looks_like(shape, tmp_path):
    prompt = ChatPromptTemplate.from_template(PROMPT)
    live, before, kind = shape(prompt), dumps(prompt), type(prompt)
    result = optimize(
        live, data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(), method="lpo-pe2", runs_dir=None,
        openings=tmp_path / "openings.jsonl",
    )  # fmt: skip
    assert (result.outcome, result.applied) == ("improved", True)
    assert [(e.old, e.new) for e in result.edits] == [("PLANT", "animal")]
    assert prompt.messages[0].prompt.template == PROMPT.replace("PLANT", "animal")
    said, texts = say(live)
    assert said == "animal"
    assert texts == [PROMPT.replace("PLANT", "animal").replace("{word}", "dog-new")]
    result.revert(live)
    assert dumps(prompt) == before
    assert type(prompt) is kind
    assert "overlay" not in repr(type(prompt.messages[0].prompt)).lower()
    said, texts = say(live)
    assert said == "PLANT"
    assert texts == [PROMPT.replace("{word}", "dog-new")]


def test_a_variable_that_a_step_before_computes_needs_no_column(tmp_path):
    """Retrieval: no row has `context`, and the prompt is rendered all the same."""
    prompt = ChatPromptTemplate.from_template(PROMPT.replace("Word:", "Known: {context}\nWord:"))
    look_up = {"context": lambda v: f"about {v['word']}", "word": lambda v: v["word"]}
    live = look_up | prompt | task() | StrOutputParser()
    result = optimize(
        live, data=rows(), evaluators=["exact_match"], optimizer_model=optimizer(), method="lpo-pe2", runs_dir=None,
        openings=tmp_path / "openings.jsonl",
    )  # fmt: skip
    assert (result.outcome, result.applied) == ("improved", True)
    assert prompt.input_variables == ["context", "word"]
    assert say(live)[0] == "animal"


ALPHA = "First say ALPHA and then wait.\nWord: {word}"
BETA = "Now say BETA about {first}.\nWord: {word}"


class Interleaving(ScriptedModel):
    """Gives way between calls, so that evaluations of many candidates run through each other."""

    async def _agenerate(self, messages, *_, **__):
        for _turn in range(len(messages[-1].text) % 5):
            await asyncio.sleep(0)
        return self._generate(messages)


def test_candidates_never_mix_at_high_concurrency():
    """Two prompts rendered one after the other: each answer tells which templates it was made with."""
    seen = Counter()

    def two_steps(messages):
        text = str(messages[-1].text)
        template, word = text.rsplit("Word: ", 1)
        said = re.search(r"say (\w+)", template).group(1)
        if said.startswith("ALPHA"):
            return f"[{said}]"
        first = re.search(r"\[(\w+)\]", template).group(1)
        seen[first, said, word] += 1
        return "stone" if int(word.rsplit("-", 1)[1]) % 3 else "animal"

    made = []

    def many(messages):
        request = str(messages[-1].text)
        if "JSON list" in request:
            return json.dumps([{"message": 0, "quote": q, "occurrence": 1, "reason": "r"} for q in words_of(messages)])
        if "JSON object" in request:
            made.append(len(made))
            slots = re.findall(r'^(\d) \(message \d\): "([A-Z]+)\d*"$', request, re.M)
            return json.dumps({number: {"new": f"{word}{len(made)}", "reason": "r"} for number, word in slots})
        return "- both words mislead"

    def words_of(messages):
        text = "\n".join(str(m.text) for m in messages)
        return [re.search(rf"say ({w}\w*)", text).group(1) for w in ("ALPHA", "BETA")]

    model = Interleaving(fn=two_steps, model_name="task")
    first = ChatPromptTemplate.from_template(ALPHA) | model | StrOutputParser()
    second = ChatPromptTemplate.from_template(BETA) | model | StrOutputParser()
    result = optimize(
        RunnablePassthrough.assign(first=first) | second, data=rows(), evaluators=["exact_match"],
        optimizer_model=optimizer(many), method="lpo-pe2", runs_dir=None, openings=None, max_concurrency=32,
    )  # fmt: skip
    expected = Counter()
    pairs, words = {}, {r["metadata"]["id"]: r["inputs"]["word"] for r in rows()}
    for event in result.events():
        data = event["data"]
        if event["type"] in {"run.started", "proposed"}:
            text = "\n".join(m["template"] for p in data["prompts"] for m in p["messages"])
            name = data.get("candidate_id") or data["seed_candidate_id"]
            pairs[name] = tuple(re.search(rf"say ({w}\w*)", text).group(1) for w in ("ALPHA", "BETA"))
        elif event["type"] == "scored" and not data["cached"]:
            expected[*pairs[data["candidate_id"]], words[data["example_id"]]] += 1
    assert len(set(pairs.values())) > 10, "too few candidates to say anything"
    assert seen == expected


# ------------------------------------------------------------------ a long prompt, few words changed


def few(**sizes: int) -> list[dict]:
    """The first rows of each split of the demo."""
    out = []
    for split, n in sizes.items():
        out += [row for row in demo_rows() if row["metadata"]["split"] == split][:n]
    return out


def in_mustache(text: str) -> str:
    return text.replace("{ticket}", "{{{ticket}}}").replace("{{{{", "{").replace("}}}}", "}")


def in_jinja(text: str) -> str:
    return text.replace("{ticket}", "{{ ticket }}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("template_format", "spelt"), [("f-string", str), ("mustache", in_mustache), ("jinja2", in_jinja)]
)
def test_a_400_word_prompt_changes_in_fewer_than_40_words(template_format, spelt, tmp_path):
    text = spelt(demo_prompt())
    assert count_words(text) >= 400
    prompt = ChatPromptTemplate.from_messages([("human", text)], template_format=template_format)
    assert prompt.input_variables == ["ticket"]
    live = prompt | offline_model("task") | StrOutputParser()
    result = optimize(
        live, data=few(train=50, dev=50, test=160), evaluators=["exact_match"], optimizer_model="offline",
        method="lpo-pe2",
        runs_dir=None, openings=tmp_path / "openings.jsonl",
    )  # fmt: skip
    assert result.outcome == "improved"
    new = live.first.messages[0].prompt.template
    assert new != text
    assert 0 < words_changed(text, new) < 40
    assert live.first.input_variables == ["ticket"]
    result.revert(live)
    assert live.first.messages[0].prompt.template == text


# ------------------------------------------------------------------ refused before a call

CONFIG = """[task]
prompt = "prompt.txt"
model = "openai:task"
base_url = "{url}"
template_format = "{template_format}"
{more}
[data]
source = "{source}"
outputs = ["answer"]
[evaluate]
evaluators = ["exact_match"]
[optimize]
model = "openai:optimizer"
base_url = "{url}"
"""


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """`promptopt optimize` on a prompt and a data file: its code, message, machine output and number of calls."""
    monkeypatch.chdir(tmp_path)

    def go(prompt, data, *, name="rows.jsonl", template_format="f-string", verb="optimize", more=""):
        with serve(lambda _: "a") as server:
            (tmp_path / "prompt.txt").write_bytes(prompt.encode())
            (tmp_path / name).write_bytes(data)
            (tmp_path / "promptopt.toml").write_text(
                CONFIG.format(url=server.base_url, template_format=template_format, source=name, more=more)
            )
            code = promptopt([verb, "--json"])
            out, err = capfd.readouterr()
            paid = [r for r in server.requests if r.method == "POST"]  # `check` asks the endpoint for free
            return code, err, json.loads(out), len(paid)

    return go


def labelled(*variables: str, n: int = 40) -> bytes:
    """Rows that any prompt with these variables can be rendered on."""
    made = [
        {"inputs": {v: f"word {i}" for v in variables} or {"x": f"{i}"}, "outputs": {"answer": "ab"[i % 2]}}
        for i in range(n)
    ]
    return "".join(json.dumps(row) + "\n" for row in made).encode()


def lines(*items) -> bytes:
    return "".join((i if isinstance(i, str) else json.dumps(i)) + "\n" for i in items).encode()


def good(i: int) -> dict:
    return {"inputs": {"q": f"question {i}"}, "outputs": {"answer": "yes"}}


OWN_PROMPTS = {
    "nested": ("Sort. <edit>a <edit>b</edit> c</edit>\n{q}", "f-string", "character 14", "Close the tag"),
    "never closed": ("Sort. <edit>Be brief.\n{q}", "f-string", "character 6", "</edit>"),
    "closed first": ("Be brief.</edit> {q} <edit>", "f-string", "character 9", "freeze"),
    "never closed, mustache": ("<edit>Be brief.\n{{q}}", "mustache", "character 0", "</edit>"),
    "never closed, jinja2": ("<edit>Be brief.\n{{ q }}", "jinja2", "character 0", "</edit>"),
    "single brace": ("Give JSON like {\n{q}", "f-string", "character 17", "{{"),
    "open section": ("{{#items}}- {{q}}\n", "mustache", "character 0", "items"),
    "open block": ("{% if q %}Be brief. {{ q }}", "jinja2", "", "endif"),
    "unknown variable": ("Answer {question} with {tone}.", "f-string", "'question'", "inputs ="),
    "empty": ("", "f-string", "", ""),
    "variables only": ("{q}", "f-string", "main", "around its variables"),
}
BLANK = {"inputs": {"q": "x"}, "outputs": {"answer": " "}}
OWN_FILES = {
    "cut line": (lines(good(1), good(2), '{"inputs": {"q'), "rows.jsonl", "line 3", "skip_bad_lines"),
    "windows text": ('{"inputs": {"q": "für"}}\n'.encode("cp1252"), "a.jsonl", "byte 19", "iconv"),
    "no rows": (b"", "empty.jsonl", "empty.jsonl", "at least one example"),
    "no rows in a table": (b"q,answer\n", "empty.csv", "empty.csv", "no examples"),
    "blank answers": (lines(*map(good, range(8)), BLANK), "r.jsonl", "example 8", "tenth"),
    "answers missing": (lines(*map(good, range(6)), {"inputs": {"q": "x"}}), "r.jsonl", "example 6", "tenth"),
    "inputs missing": (lines(*map(good, range(6)), {"outputs": {"answer": "x"}}), "r.jsonl", "example 6", "tenth"),
    "another column": (labelled("text"), "r.jsonl", "'q'", "inputs ="),
    "too few rows": (lines(good(1)), "r.jsonl", "dev 0", "splits"),
    "leak": (
        lines({**good(1), "metadata": {"split": "train"}}, {**good(2), "metadata": {"split": "dev"}},
              {**good(1), "metadata": {"split": "test"}}),
        "r.jsonl", "train example 0", "--drop-leaks",
    ),
}  # fmt: skip


def check_refusal(found, place, mend):
    code, err, data, calls = found
    assert code == 2, err
    assert calls == 0
    assert data["exit_code"] == 2
    assert data["outcome"] == "failed"
    message = data["error"]["message"]
    assert place in message
    assert mend in message
    assert message in err


@pytest.mark.parametrize("name", OWN_PROMPTS)
def test_a_prompt_that_cannot_be_meant_is_refused_before_a_call(name, refused):
    prompt, template_format, place, mend = OWN_PROMPTS[name]
    check_refusal(refused(prompt, labelled("q"), template_format=template_format), place, mend)


@pytest.mark.parametrize("name", OWN_FILES)
def test_data_that_cannot_be_used_is_refused_before_a_call(name, refused):
    data, file, place, mend = OWN_FILES[name]
    check_refusal(refused("Answer yes or no.\n{q}", data, name=file), place, mend)


def test_the_mend_that_is_named_mends(refused):
    prompt = "Write <edit> where text may change. {q}"
    code, err, *_ = refused(prompt, labelled("q"))
    mend = re.search(r"freeze = \[.*?\]", err).group()
    again, err, data, calls = refused(prompt, labelled("q"), verb="check", more=mend)
    assert (code, again, calls) == (2, 0, 0), err
    assert sum(data["splits"].values()) == 40


def check_constant(prompt, refused, template_format="f-string"):
    """Refused where every row sends the same text, and accepted with a note where that is said to be meant."""
    check_refusal(
        refused(prompt, labelled(), template_format=template_format), "no prompt has a variable", "constant_prompt"
    )
    said = refused(prompt, labelled(), template_format=template_format, verb="check", more="constant_prompt = true")
    code, err, data, calls = said
    assert (code, calls) == (0, 0), err
    assert any("no prompt has a variable" in note for note in data["notes"])


def test_a_prompt_without_a_variable_is_refused_unless_it_is_meant(refused):
    for prompt in ("Translate", "Name the mood.\nText: {{text}}"):
        check_constant(prompt, refused)


def cases(file: str, wanted) -> list:
    path = shared(f"tricky/{file}")
    if path is None:
        skip = pytest.mark.skip(reason="the shared edge cases are not on this machine")
        return [pytest.param(None, id="absent", marks=skip)]
    found = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return [pytest.param(case, id=case["id"]) for case in found if wanted(case)]


@pytest.mark.parametrize("case", cases("prompts.jsonl", lambda c: "expected_error" in c))
def test_tricky_cli_refuses_prompts(case, refused):
    place = re.search(r"character \d+", case["expected_error"]).group()
    found = refused(case["prompt"], labelled(*case["variables"]), template_format=case["template_format"])
    check_refusal(found, place, "freeze")


@pytest.mark.parametrize("case", cases("prompts.jsonl", lambda c: not c["variables"]))
def test_tricky_cli_refuses_where_no_variable_is_left(case, refused):
    check_constant(case["prompt"], refused, case["template_format"])


@pytest.mark.parametrize(
    "case", cases("dataset_files.jsonl", lambda c: "error" in c["expect"] or "error" in str(c["expect"].get("one_of")))
)
def test_tricky_cli_refuses_files(case, refused):
    data = base64.b64decode(case["content_base64"])
    told = case["expect"].get("error") or {}
    place = (
        f"line {told['line']}"
        if "line" in told
        else f"byte {told['first_bad_byte']}"
        if "first_bad_byte" in told
        else ""
    )
    check_refusal(refused("Answer.\n{question}", data, name=case["filename"]), place, "")
    assert case["filename"]


def unusable(case) -> bool:
    expect = case["expect"]
    return bool(expect.get("leaks")) or (
        bool(expect.get("problems")) and len(expect.get("usable", ())) < 0.9 * len(case["rows"])
    )


@pytest.mark.parametrize("case", cases("dataset_rows.jsonl", unusable))
def test_tricky_cli_refuses_rows(case, refused):
    found = refused(case.get("template", "Answer.\n{question}"), lines(*case["rows"]))
    expect = case["expect"]
    for number in (p["row"] for p in expect.get("problems", ())) if not expect.get("leaks") else expect["leaks"][0]:
        if "inputs.question" in str(expect.get("problems")) and number == 2:
            continue  # a row with another input is told by the rendering, once the others are mended
        check_refusal(found, f"example {number}", "")


# ------------------------------------------------------------------ the record


def exported(folder: Path, capfd) -> Path:
    assert promptopt(["export", "latest"]) == 0
    file = folder / "run.jsonl"
    file.write_text(capfd.readouterr().out, "utf-8")
    return file


def judge(file: Path, *more: str) -> subprocess.CompletedProcess:
    """The independent check, which knows nothing of the package."""
    script = ROOT / "benchmarks" / "check_journal.py"
    return subprocess.run([sys.executable, script, file, *more], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("method", ["lpo-pe2", "lpo-apo", "pe2"])
def test_the_exported_journal_rebuilds_every_candidate(method, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    optimize(
        ChatPromptTemplate.from_template(demo_prompt()), task_model="offline", data=few(train=20, dev=20, test=20),
        evaluators=["exact_match"], optimizer_model="offline", method=method, freeze=["## Refund policy"],
        gate=Gate(primary="exact_match"),
    )  # fmt: skip
    file = exported(tmp_path, capfd)
    done = judge(file, "--frozen", r"## Refund policy.*?\n\n")
    assert done.returncode == 0, done.stderr
    assert "     0  violations" in done.stdout
    counts = {what: int(n) for n, what in re.findall(r"(\d+)  (.*)", done.stdout)}
    assert counts["candidates"] >= 3
    assert counts["frozen stretches"] >= 3
    local = counts.get("local candidates", 0) + counts.get("parts of a winner", 0)
    assert local == (counts["candidates"] if method != "pe2" else 0)


def shifted(data):
    data["edits"][0]["start"] += 1


def another_variable(data):
    message = data["prompts"][0]["messages"][0]
    message["template"] = message["template"].replace("{ticket}", "{ticker}")


def no_reason(data):
    data["edits"][0]["reason"] = " "


def foreign_row(data):
    data["edits"][0]["example_ids"] = ["test-001"]


def elsewhere(data):
    data["edits"][0]["end"] += 1


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """The events of one run on the demo."""
    result = optimize(
        ChatPromptTemplate.from_template(demo_prompt()), task_model="offline", data=few(train=20, dev=20, test=20),
        evaluators=["exact_match"], optimizer_model="offline", runs_dir=None,
        openings=tmp_path_factory.mktemp("run") / "openings.jsonl",
    )  # fmt: skip
    return json.dumps(list(result.events()))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shifted, "rebuilt"),
        (another_variable, "variables"),
        (no_reason, "reasons"),
        (foreign_row, "no train rows"),
        (elsewhere, "spans"),
    ],
)
def test_the_check_sees_a_changed_journal(spoil, told, journal, tmp_path):
    events = json.loads(journal)
    file = tmp_path / "run.jsonl"
    file.write_text("".join(json.dumps(e) + "\n" for e in events), "utf-8")
    assert judge(file).returncode == 0
    spoil(next(e["data"] for e in events if e["type"] == "proposed"))
    file.write_text("".join(json.dumps(e) + "\n" for e in events), "utf-8")
    done = judge(file)
    assert done.returncode == 1
    assert told in done.stderr


def sample(folder: Path, name: str, sizes: dict[str, int]) -> str | None:
    """Some rows of a benchmark as a folder of splits, and its labels as a prompt."""
    from langchain_promptopt.offline import label_prompt

    source = shared(name)
    if source is None:
        return None
    (folder / "rows").mkdir()
    labels = set()
    for split, n in sizes.items():
        found = [line for line in (source / f"{split}.jsonl").read_text("utf-8").split("\n") if line]
        labels |= {json.loads(line)["outputs"]["answer"] for line in found}
        (folder / "rows" / f"{split}.jsonl").write_text("\n".join(found[:: len(found) // n][:n]) + "\n", "utf-8")
    return label_prompt(sorted(labels), variable="question")


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("banking77/main", {"train": 160, "dev": 160, "test": 400}),
        ("clinc150/small", {"train": 120, "dev": 90, "test": 300}),
    ],
)
def test_benchmark_runs_keep_local_and_vars(name, sizes, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    prompt = sample(tmp_path, name, sizes)
    if prompt is None:
        pytest.skip("the benchmark rows are not on this machine")
    (tmp_path / "prompt.txt").write_text(prompt, "utf-8")
    (tmp_path / "promptopt.toml").write_text(
        '[task]\nprompt = "prompt.txt"\nmodel = "offline"\nfreeze = ["## Output"]\n'
        '[data]\nsource = "rows"\noutputs = ["answer"]\n'
        '[evaluate]\nevaluators = ["exact_match"]\n[optimize]\nmodel = "offline"\n'
    )
    code = promptopt(["optimize", "--json"])
    data = json.loads(capfd.readouterr().out)
    assert code in {0, 3}, "a verdict, whatever it is"
    assert [m["n"] for m in data["test"]][:1] in ([], [sizes["test"]]), "no rows are opened for the prompt itself"
    done = judge(exported(tmp_path, capfd), "--frozen", r"## Output.*?\n\n")
    assert done.returncode == 0, done.stderr
