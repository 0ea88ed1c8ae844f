"""Prompts as files: saving, loading, writing a winner into a file, patches that git takes."""

from __future__ import annotations

import ast
import asyncio
import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langchain_core.prompts import ChatPromptTemplate, FewShotPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableSequence
from ruamel.yaml import YAML

from langchain_promptopt._files.layouts import read_prompt_file, read_prompts, save_prompts
from langchain_promptopt._files.python import rewrite_python
from langchain_promptopt._files.rewrite import patch_for_file, rewrite_json, write_to_file
from langchain_promptopt._files.yaml import changes, respell, rewrite_yaml
from langchain_promptopt._langchain.discover import find_prompts, load_prompts, places_of, read_set, remember_held
from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import Message, Prompt, PromptSet
from tests.support.chat import EchoChat

text = st.text(st.characters(codec="utf-8"), max_size=60)
lines = st.text("ab \"'\\{}#:-|>é\u2028\t\n", max_size=40)


def prompt(*templates, fmt="literal"):
    return Prompt("p", tuple(Message("human", t, fmt) for t in templates))


# ---------------------------------------------------------------- spelling


@given(old=lines, new=lines)
def test_changes_turn_old_into_new(old, new):
    out, at = "", 0
    for start, end, added in changes(old, new):
        assert start >= at
        out += old[at:start] + added
        at = end
    assert out + old[at:] == new


@given(old=lines.filter(bool), new=lines)
def test_respelling_keeps_the_spellings_of_what_stays(old, new):
    spelled = respell([f"<{c}>" for c in old], old, new, lambda added, _: "".join(f"[{c}]" for c in added))
    assert len(spelled) == len(old)
    assert "".join(spelled).replace("[", "<").replace("]", ">") == "".join(f"<{c}>" for c in new)


def test_a_long_prompt_is_compared_quickly():
    old = "the rule is that a cat sat on the mat and so on. " * 400
    new = old.replace("cat", "dog", 7)
    assert sum(1 for _ in changes(old, new)) == 7


# ---------------------------------------------------------------- saved folders


@given(templates=st.lists(text, min_size=1, max_size=3), name=st.text(min_size=1, max_size=10))
@settings(max_examples=60)
def test_saved_prompts_are_read_back_as_they_were(tmp_path_factory, templates, name):
    folder = tmp_path_factory.mktemp("p")
    prompts = PromptSet((replace(prompt(*templates), name=name), replace(prompt("x"), name=f"{name}!")))
    paths = save_prompts(prompts, folder)
    assert len(set(paths)) == 2
    assert {p.name: p for p in read_prompts(folder)} == {p.name: p for p in prompts}


def test_saved_files_are_readable(tmp_path):
    (path,) = save_prompts(PromptSet((prompt("Be brief.\nUse {q}. ÄÖ", fmt="f-string"),)), tmp_path)
    data = json.loads(path.read_text("utf-8"))
    assert data["messages"][0]["template"] == ["Be brief.\n", "Use {q}. ÄÖ"]
    assert "ÄÖ" in path.read_text("utf-8")


def _chain():
    few = FewShotPromptTemplate(
        examples=[{"i": "1"}], example_prompt=PromptTemplate.from_template("{i}"), prefix="Do.", suffix="{q}"
    )
    return {"a": ChatPromptTemplate([("system", "Old {q}")]) | EchoChat(), "b": few | EchoChat()} | PromptTemplate(
        template="{a} {b}"
    )


def test_saved_prompts_load_into_a_new_chain(tmp_path):
    from langchain_promptopt._langchain.discover import find_prompts, name_places, read_set

    prompts = read_set(name_places(find_prompts(_chain())))
    changed = PromptSet(
        tuple(
            replace(p, messages=tuple(replace(m, template=m.template.replace("Old", "New")) for m in p.messages))
            for p in prompts
        )
    )
    save_prompts(changed, tmp_path)
    chain = _chain()
    before = load_prompts(chain, tmp_path)
    assert "New x" in chain.invoke({"q": "x"}).text
    before.restore()
    assert "Old x" in chain.invoke({"q": "x"}).text
    # Few-shot examples belong to the code: what a file shows of them may be older.
    grown = _chain()
    next(f.template for f in find_prompts(grown) if hasattr(f.template, "examples")).examples.append({"i": "2"})
    load_prompts(grown, tmp_path)
    assert "New x" in grown.invoke({"q": "x"}).text


def test_loading_writes_all_or_nothing(tmp_path):
    one, two = ChatPromptTemplate([("system", "A {q}")]), ChatPromptTemplate([("system", "B {q}")])
    chain = {"a": one | EchoChat(), "b": two | EchoChat()} | PromptTemplate.from_template("{a}{b}")
    good = Prompt("first.a.first", (Message("system", "New {q}"),))
    bad = Prompt("first.b.first", (Message("system", "New {other}"),))
    save_prompts(PromptSet((good, bad)), tmp_path)
    with pytest.raises(PromptError, match=r"lost \['q'\], new \['other'\]"):
        load_prompts(chain, tmp_path)
    assert one.messages[0].prompt.template == "A {q}"


def _now(chain):
    return [f.template.template for f in find_prompts(chain)]


def test_saved_prompts_are_written_over_the_text_they_replace_and_over_no_other(tmp_path):
    def chain(*texts):
        steps = [PromptTemplate.from_template(text) | EchoChat() | (lambda m: {"q": m.text}) for text in texts]
        return RunnableSequence(*steps) if len(steps) > 1 else steps[0]

    before = read_set(places_of(chain("Rewrite A {q}", "Rewrite B {q}")))
    after = PromptSet(
        tuple(replace(p, messages=(replace(m, template=f"{m.template} well"),)) for p in before for m in p.messages)
    )
    save_prompts(after, tmp_path, before)
    same = chain("Rewrite A {q}", "Rewrite B {q}")
    load_prompts(same, tmp_path)
    load_prompts(same, tmp_path)  # what is there already stays
    assert _now(same) == ["Rewrite A {q} well", "Rewrite B {q} well"]
    grown = chain("A new first step {q}", "Rewrite A {q}", "Rewrite B {q}")
    load_prompts(grown, tmp_path)
    assert _now(grown) == ["A new first step {q}", "Rewrite A {q} well", "Rewrite B {q} well"]
    edited = chain("Rewrite A {q}", "Rewrite B by hand {q}")
    with pytest.raises(PromptError, match="is not the text that the saved one was made from"):
        load_prompts(edited, tmp_path)
    assert _now(edited) == ["Rewrite A {q}", "Rewrite B by hand {q}"]
    load_prompts(edited, tmp_path, force=True)
    assert _now(edited) == ["Rewrite A {q} well", "Rewrite B {q} well"]
    twins = chain("Another {q}", "Rewrite A {q}", "Rewrite A {q}", "Rewrite B {q}")
    with pytest.raises(PromptError, match="several prompts"):
        load_prompts(twins, tmp_path)


GREETING = 'Greet {name} as {{"text": "..."}}, please.'
VERBATIM = "Never fill {this} in, and answer with one word."


class Greeter:
    rules = VERBATIM

    def run(self, row):
        return EchoChat().invoke([("system", self.rules), ("human", GREETING.format(name=row["name"]))]).text


def test_held_texts_are_loaded_in_a_process_that_has_not_looked_at_the_program(tmp_path):
    greeter, rows = Greeter(), [{"name": "Ann"}, {"name": "Bo"}]
    said = greeter.run(rows[0])

    def shorter(prompt):
        (message,) = prompt.messages
        text = message.template.replace("please", "now").replace("one", "a")
        return replace(prompt, messages=(replace(message, template=text),))

    async def saved():
        with await open_target(greeter.run, dry_inputs=rows) as target:
            save_prompts(PromptSet(tuple(map(shorter, target.prompts))), tmp_path, target.prompts)

    asyncio.run(saved())
    remember_held(greeter.run, ())  # as in a new process
    snapshot = load_prompts(greeter.run, tmp_path)
    assert greeter.run(rows[0]) == said.replace("please", "now").replace("one", "a")
    snapshot.restore()
    assert greeter.run(rows[0]) == said


def test_folders_that_hold_nothing_usable_are_refused(tmp_path):
    with pytest.raises(PromptError, match="no saved prompts"):
        read_prompts(tmp_path)
    (tmp_path / "a.json").write_text('{"promptopt": 99}')
    with pytest.raises(PromptError, match="version 99"):
        read_prompts(tmp_path)
    (tmp_path / "a.json").write_text('{"promptopt": 1, "name": "x"}')
    with pytest.raises(PromptError, match="damaged"):
        read_prompts(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PromptError, match="cannot be read"):
        read_prompts(tmp_path)


# ---------------------------------------------------------------- reading users' files


@pytest.mark.parametrize(
    ("name", "content", "roles"),
    [
        ("a.txt", "Be {x}\r\n", ["human"]),
        ("a.md", "\ufeff# T\n{x}", ["human"]),
        ("a.json", '"Be {x}"', ["human"]),
        ("a.json", '{"_type": "prompt", "template": "Be {x}", "input_variables": ["x"]}', ["human"]),
        ("a.json", '[{"role": "system", "content": "A"}, ["user", "{x}"], "{x}"]', ["system", "human", "human"]),
        ("a.yaml", "messages:\n  - role: assistant\n    template: |\n      Hi {x}\n", ["ai"]),
        ("a.yml", "system: Be brief\nuser: '{x}'\n", ["system", "human"]),
        ("a.yaml", "- [placeholder, history]\n- [critic, '{x}']\n", ["placeholder", "critic"]),
        ("a.json", '{"template": ["Be\\n", "{x}"]}', ["human"]),
    ],
)
def test_prompt_files_of_many_shapes(tmp_path, name, content, roles):
    path = tmp_path / name
    path.write_bytes(content.encode())
    read = read_prompt_file(path).prompt
    assert [m.role for m in read.messages] == roles
    assert "x" in read.variables
    assert read.source == str(path)
    assert (read.kind == "string") == (roles == ["human"])


def test_text_files_are_taken_byte_for_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Be {x}\r\nä\n".encode())
    assert read_prompt_file(path).prompt.messages[0].template == "Be {x}\r\nä\n"


def test_formats_of_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("{{ x }} {y}")
    assert read_prompt_file(path, "jinja2").prompt.variables == ("x",)
    other = tmp_path / "a.yaml"
    other.write_text("template_format: mustache\nprompt: '{{x}} {y}'\n")
    assert read_prompt_file(other).prompt.variables == ("x",)


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.json", "[]", "no prompt"),
        ("a.json", '{"x": 1}', "no prompt"),
        ("a.json", "[3]", "no message"),
        ("a.json", '[{"role": "system"}]', "no message"),
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "a: [", "cannot be read"),
        ("a.json", '{"template": "x", "template_format": "erb"}', "no template format"),
        ("a.txt", "broken {x", "a.txt"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_prompt(tmp_path, name, content, hint):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PromptError, match=hint):
        read_prompt_file(path)
    with pytest.raises(PromptError, match="cannot be read"):
        read_prompt_file(tmp_path / "absent.txt")


# ---------------------------------------------------------------- layouts of other tools

DUMPED = json.dumps(
    {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"],
        "kwargs": {
            "input_variables": ["x"],
            "partial_variables": {"tone": "calm"},
            "messages": [
                {
                    "lc": 1,
                    "type": "constructor",
                    "id": ["langchain", "prompts", "chat", "SystemMessagePromptTemplate"],
                    "kwargs": {
                        "prompt": {
                            "lc": 1,
                            "type": "constructor",
                            "id": ["langchain", "prompts", "prompt", "PromptTemplate"],
                            "kwargs": {"template": "A {tone} {x}", "template_format": "f-string"},
                        }
                    },
                },
                {
                    "lc": 1,
                    "type": "constructor",
                    "id": ["langchain", "prompts", "chat", "MessagesPlaceholder"],
                    "kwargs": {"variable_name": "history"},
                },
            ],
        },
    }
)


SYSTEM_FIRST = ["system", "human"]


@pytest.mark.parametrize(
    ("name", "content", "roles"),
    [
        ("a.yaml", "prompt: '{x}'\nsystem: Sort.\n", ["system", "human"]),
        ("a.yaml", "system_prompt: Sort.\nuser_prompt_template: '{x}'\nname: t\nversion: 1\n", ["system", "human"]),
        ("a.json", '{"systemPrompt": "Sort.", "userPrompt": "{x}", "temperature": 0}', ["system", "human"]),
        ("a.json", '{"model": "m", "system": "Sort.", "messages": [["user", "{x}"]]}', ["system", "human"]),
        ("a.json", '{"system": [{"type": "text", "text": "Sort."}], "user": "{x}"}', ["system", "human"]),
        ("a.json", '{"name": "t", "type": "chat", "prompt": [{"role": "user", "content": "{x}"}]}', ["human"]),
        ("a.json", '{"role": "user", "content": "{x}"}', ["human"]),
        ("a.yaml", "only:\n  system: Sort.\n  user: '{x}'\n", ["system", "human"]),
        ("a.json", DUMPED, ["system", "placeholder"]),
        ("a.j2", "{% if x %}Sort {{ x }}{% endif %}", ["human"]),
        ("a.mustache", 'Sort {"a": 1} {{x}}', ["human"]),
        ("a.json", '[{"type": "placeholder", "name": "history"}, ["user", "{x}"]]', ["placeholder", "human"]),
        ("a.yaml", "templateFormat: mustache\nsystem: Sort.\nuser: '{{x}}'\n", ["system", "human"]),
        (
            "a.json",
            '{"system": [{"text": "A"}], "messages": [{"role": "user", "content": [{"text": "{x}"}]}]}',
            SYSTEM_FIRST,
        ),
        ("a.yaml", "user: '{x}'\nsystem: Sort.\n", SYSTEM_FIRST),
    ],
)
def test_layouts_that_people_use(tmp_path, name, content, roles):
    path = tmp_path / name
    path.write_text(content)
    read = read_prompt_file(path)
    assert [m.role for m in read.prompt.messages] == roles
    assert "x" in read.prompt.variables


def test_what_of_a_file_is_bound_and_what_is_not_used_is_told(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("_type: prompt\npartial_variables: {tone: calm}\ntemplate: 'Be {tone}: {x}'\nowner: me\n")
    read = read_prompt_file(path)
    assert read.values == {"tone": "calm"}
    assert read.notes == ("a.yaml: not used: owner",)
    path.write_text("messages:\n- {role: system, content: Sort, id: 3}\n- {role: user, content: '{x}', weight: 1}\n")
    assert read_prompt_file(path).notes == ("a.yaml: not used of its messages: id, weight",)
    path.write_text("prompts:\n- 'Sort {x}'\nproviders: [m]\ntests:\n- vars: {x: the lamp is late}\n")
    assert read_prompt_file(path).notes == ("a.yaml: not used: providers, tests",)
    path.write_text("partial_variables: {tone: calm}\ntemplate: 'Be {x}'\n")
    with pytest.raises(PromptError, match="binds tone"):
        read_prompt_file(path)


SEVERAL = "triage:\n  system: Sort it.\n  user: '{x}'\nreply:\n  system: Be kind.\n  user: '{x}'\n"


def test_one_of_several_prompts_is_named_and_written(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text(SEVERAL)
    with pytest.raises(PromptError, match=r'2 prompts: triage, reply.*Name one: "prompts.yaml#triage"'):
        read_prompt_file(path)
    with pytest.raises(PromptError, match=r"no prompt 'tria'.*triage, reply"):
        read_prompt_file(path, part="tria")
    old = read_prompt_file(path, part="reply").prompt
    assert [m.template for m in old.messages] == ["Be kind.", "{x}"]
    new = replace(old, messages=(old.messages[0], replace(old.messages[1], template="Mail: {x}")))
    with pytest.raises(PromptError, match="2 values"):
        write_to_file(path, old, new)
    write_to_file(path, old, new, "reply")
    before, _, after = SEVERAL.rpartition("{x}")
    assert path.read_text() == f"{before}Mail: {{x}}{after}"


@pytest.mark.parametrize(
    ("content", "part", "said"),
    [
        ('["Sort {x} now", "Put {x} there"]', "2", "Put {x} there"),
        ('[{"name": "a", "prompt": "Sort {x}"}, {"name": "b", "prompt": "Put {x}"}]', "b", "Put {x}"),
        ('{"providers": ["p"], "prompts": ["Sort {x}", "Put {x}"]}', "1", "Sort {x}"),
        ('{"prompts": {"a": {"prompt": "Sort {x}"}, "b": "Put {x}"}, "v": 1}', "b", "Put {x}"),
        ('{"support": {"a": "Sort {x}", "b": "Put {x}"}, "sales": {"c": "Ask {x}"}}', "support.b", "Put {x}"),
    ],
)
def test_lists_and_wrappers_of_prompts(tmp_path, content, part, said):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(PromptError, match="holds 2 prompts"):
        read_prompt_file(path)
    old = read_prompt_file(path, part=part).prompt
    assert [m.template for m in old.messages] == [said]
    write_to_file(path, old, replace(old, messages=(replace(old.messages[0], template="New {x}"),)), part)
    assert path.read_text() == content.replace(said, "New {x}")


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("p.py", "import os\nRULES = 'Sort {x}'\n", "p:RULES"),
        ("p.prompty", "---\nname: x\n---\nsystem:\nSort {{x}}\n", "prompty.*module:object"),
        ("p.ipynb", "{}", "notebook"),
        ("p.toml", "system = 'x'\n", "settings"),
        ("p.csv", "a,b\n", "examples"),
        ("p.ts", "export const p = ''", "source code"),
        ("p.md", "---\ntitle: x\nmodel: y\n---\nSort {x}\n", r"front matter \(title, model\)"),
        ("p.yaml", "system: Sort.\nrules: Never say no.\nuser: '{x}'\n", "text under rules"),
        ("p.yaml", "_type: few_shot\nprefix: Sort it\n", "few_shot"),
        ("p.yaml", "prompt: file://other.txt\n", "other.txt"),
        ("p.json", '{"system": [{"type": "text", "text": "A", "cache_control": {}}], "user": "{x}"}', "Content blocks"),
        ("p.json", '{"lc": 1, "type": "constructor", "id": ["a", "Few"], "kwargs": {}}', "serialized form"),
        ("p.txt", 'Say {"a": 1} of {{x}}', 'template_format = "mustache"'),
        ("p.json", '{"system": "A", "system": "B", "user": "{x}"}', "'system' stands there twice"),
        ("p.yaml", "system: Sort.\ncontext: '{docs}'\nuser: '{x}'\n", "text under context"),
        ("p.yaml", "system: Sort.\nexamples:\n- {q: a, a: b}\nuser: '{x}'\n", "text under examples"),
        ("p.json", '{"system": "A", "few_shot": [{"q": "1"}], "user": "{x}"}', "text under few_shot"),
        ("p.json", '[{"role": "system", "name": "bob", "content": "A"}, ["user", "{x}"]]', "message 0 has name"),
        ("p.json", '[{"role": "user", "content": "{x}", "cache_control": {"type": "ephemeral"}}]', "has cache_control"),
        ("p.json", '[{"role": "tool", "content": "{x}", "tool_call_id": "1"}]', "has tool_call_id"),
        ("p.yaml", "system:\n- Sort it.\n- Answer {x}.\n", "lines or parts of lines"),
        ("p.yaml", "system: 42\nuser: '{x}'\n", "system is 42, which is no text"),
        ("p.env", "SYSTEM_PROMPT='Sort {x}'\n", "settings"),
        ("p.ini", "[p]\nsystem=A {x}\n", "settings"),
        ("p.liquid", "Sort {{ x | upcase }}", "Liquid"),
        ("p.baml", "function F(x: string) -> string {}", "BAML"),
        ("p.txt", "{% for a in b %}{{a}}{% endfor %}", 'template_format = "jinja2"'),
        ("p.txt", "{# a note #} {{ ticket }}", 'template_format = "jinja2"'),
        ("p.txt", " \n", "the file is empty"),
        ("p.txt", "Sort\0 {x}", "NUL"),
        ("p.yaml", "instruction: Sort the mail.\ninput: '{x}'\n", "text under input, which is not read"),
        ("p.json", '{"instructions": "Sort the mail.", "input": "{x}", "model": "m"}', "text under input"),
    ],
)
def test_other_files_are_refused_with_the_form_that_works(tmp_path, name, content, hint):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PromptError, match=hint):
        read_prompt_file(path)


def test_yaml_blank_lines_keep_their_blanks():
    source = "p: |\n    one word\n    \n  \n    two\nq: 1\n"
    assert rewrite_yaml(source, "one word\n\n\ntwo\n", "one sign\n\n\ntwo\n", "f") == source.replace("word", "sign")


# ---------------------------------------------------------------- writing: text


def test_text_is_replaced_where_it_stands(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf# head\r\nBe\r\nbrief.\r\n# tail")
    path.chmod(0o640)
    write_to_file(path, prompt("Be\nbrief."), prompt("Be\nvery\nbrief."))
    assert path.read_bytes() == b"\xef\xbb\xbf# head\r\nBe\r\nvery\r\nbrief.\r\n# tail"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("content", ["none", "twice twice", "aaa"])
def test_text_must_stand_there_once(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(PromptError, match="exactly once"):
        write_to_file(path, prompt({"aaa": "aa"}.get(content, "twice")), prompt("x"))
    assert path.read_text() == content


def test_writing_several_messages_and_following_links(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("A one B two")
    link.symlink_to(real)
    write_to_file(link, prompt("one", "two"), prompt("1", "2"))
    assert link.is_symlink()
    assert real.read_text() == "A 1 B 2"


# ---------------------------------------------------------------- writing: JSON


JSON = '{\n\t"b": [1,2],  "prompt":  "Say \\u00e9 \\/ \\"hi\\"",\n "a": {"prompt": "x"}}\n'


def test_json_keeps_everything_but_the_changed_words():
    old = json.loads(JSON)["prompt"]
    made = rewrite_json(JSON, old, old.replace("hi", "ho é"), "f")
    assert made == JSON.replace("hi", "ho \\u00e9")


def test_json_keys_do_not_count_and_doubles_do():
    assert rewrite_json('{"x": "x"}', "x", "y", "f") == '{"x": "y"}'
    for source in ('["x", "x"]', '{"x": 1}', "[]"):
        with pytest.raises(PromptError, match="exactly once"):
            rewrite_json(source, "x", "y", "f")
    with pytest.raises(PromptError, match="no JSON"):
        rewrite_json("{", "x", "y", "f")


def test_json_lists_of_lines():
    source = '{\n  "t": [\n    "a\\n",\n    "b"\n  ],\n  "u": ["z"]\n}'
    made = rewrite_json(source, "a\nb", "a\nbb\nc", "f")
    assert made == '{\n  "t": [\n    "a\\n",\n    "bb\\n",\n    "c"\n  ],\n  "u": ["z"]\n}'
    assert rewrite_json(source, "z", "y", "f") == source.replace('"z"', '"y"')


@given(old=text, new=text, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_json_any_text(old, new, ascii_only, indent):
    data = {"k": [1, {"p": f"#{old}"}], "other": "~"}
    assume("~" not in f"#{old}")
    source = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
    made = rewrite_json(source, f"#{old}", new, "f")
    assert json.loads(made) == {"k": [1, {"p": new}], "other": "~"}


# ---------------------------------------------------------------- writing: YAML


YAML_FILE = """\
# the prompt of the desk
name: desk   # stays

messages:
    -   role: system
        template: |   # long
            Be brief.

              Indented: "yes".
            Use {q}.

    -   {role: human, template: 'It''s {q}'}
folded: >-
    some words
    on two lines
quoted: "tab\\t \\u00e9"
plain: just words
"""


@pytest.mark.parametrize(
    ("old", "new", "was", "now"),
    [
        ('Be brief.\n\n  Indented: "yes".\nUse {q}.\n', 'Be kind.\n\n  Indented: "no".\n\nUse {q}.\n', None, None),
        ("It's {q}", "It's not {q}", "'It''s {q}'", "'It''s not {q}'"),
        ("some words on two lines", "some more words on two lines", "    some words\n", "    some more words\n"),
        ("tab\t é", "tab\t è", None, None),
        ("just words", "just other words", "plain: just words", "plain: just other words"),
        ("just words", "key: # no", "plain: just words", 'plain: "key: # no"'),
    ],
)
def test_yaml_changes_the_scalar_alone(old, new, was, now):
    made = rewrite_yaml(YAML_FILE, old, new, "f")
    before, after = YAML(typ="safe").load(YAML_FILE), YAML(typ="safe").load(made)
    assert json.loads(json.dumps(before).replace(json.dumps(old), json.dumps(new))) == after
    changed = [(a, b) for a, b in zip(YAML_FILE.splitlines(), made.splitlines(), strict=False) if a != b]
    assert changed
    assert "# the prompt of the desk\nname: desk   # stays\n\nmessages:\n    -   role: system" in made
    assert "|   # long\n            Be" in made
    if was:
        assert made == YAML_FILE.replace(was, now)


@pytest.mark.parametrize(("before", "told"), [("", ""), ("\u2028\n", "\\U00002028\\n")])
def test_yaml_a_block_never_begins_with_a_tab(before, told):
    """Parsers built on libyaml refuse it, whatever ours says."""
    made = rewrite_yaml("p: |\n  some words\nq: 1\n", "some words\n", f"{before}\tsome more\n", "f")
    assert made == f'p: "{told}\\tsome more\\n"\nq: 1\n'


@given(old=lines, new=lines, style=st.sampled_from(["|", "|-", "|+", '"', "'", "plain"]), crlf=st.booleans())
def test_yaml_any_text(old, new, style, crlf):
    old = f"a{old}"
    if style.startswith("|"):
        old = f"a{old}".replace("\t", " ").replace("\u2028", " ").rstrip("\n ") + ("" if style == "|-" else "\n")
        body = "".join(f"    {line}\n" if line else "\n" for line in old.rstrip("\n").split("\n"))
        scalar = f"{style}\n{body}"
    elif style == '"':
        scalar = json.dumps(old) + "\n"
    elif style == "'":
        old = old.replace("\n", " ").replace("\u2028", " ").replace("\t", " ")
        scalar = "'" + old.replace("'", "''") + "'\n"
    else:
        old, scalar = "plain words", "plain words\n"
    source = f"# head\nb: 1\np: {scalar}# tail\nc: [x, y]  # end\n"
    if crlf:
        source = source.replace("\n", "\r\n")
    assume(YAML(typ="safe").load(source)["p"] == old)
    made = rewrite_yaml(source, old, new, "f")
    assert YAML(typ="safe").load(made) == {"b": 1, "p": new, "c": ["x", "y"]}
    end = "\r\n" if crlf else "\n"
    assert made.startswith(f"# head{end}b: 1{end}p: ")
    assert made.endswith(f"# tail{end}c: [x, y]  # end{end}")


def test_yaml_refuses_doubles_and_damage():
    with pytest.raises(PromptError, match="exactly once"):
        rewrite_yaml("a: x\nb: x\n", "x", "y", "f")
    with pytest.raises(PromptError, match="no YAML"):
        rewrite_yaml("a: [", "x", "y", "f")
    assert rewrite_yaml("a: &p old words\nb: *p\n", "old words", "new words", "f") == "a: &p new words\nb: *p\n"


# ---------------------------------------------------------------- writing: Python


PY = {
    "double": 'P = "Be {x}."\n',
    "single": "P = 'Be {x}.'  # note\n",
    "triple": 'P = """\\\nBe {x}.\n  "So".\n"""\n',
    "joined": 'P = (\n    "Be "  # why\n    \'{x}.\'\n    """ So."""\n)\n',
    "raw": 'P = r"Be \\d {x}"\n',
    "escapes": 'P = "Be \\u00e9\\t\\N{BULLET}\\x41\\q{x}"\n',
    "stripped": 'P = """\n  Be {x}.\n""".strip()\n',
    "crlf": 'X = 1\r\nP = """Be\r\n{x}"""\r\n',
    "after umlauts": 'Ä = "ü"; P = "Be {x} ß"; Z = "ö"\n',
}
INDENTED = {
    "dedent": 'import textwrap\nP = textwrap.dedent("""\\\n    Be {x}.\n\n      - So.\n    """)\n',
    "dedent, stripped": "import textwrap as t\nP = t.dedent('''\n        Be {x}.\n        So.''').strip()\n",
    "cleandoc": 'import inspect\nP = inspect.cleandoc("""Be {x}.\n\n    So.\n    """)\n',
    "cleandoc, below": 'from inspect import cleandoc\nP = cleandoc("""\n    Be {x}.\n    So.""")\n',
}


def _live(source):
    scope = {}
    exec(compile(source.replace("\r\n", "\n"), "f", "exec"), scope)
    return scope["P"]


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(PY))
@given(new=st.one_of(lines, text))
@settings(max_examples=60, deadline=None)
def test_python_literals_mean_the_new_text(name, new):
    source = PY[name]
    old = _live(source)
    assume(name != "stripped" or new == new.strip())
    assume("\r" not in new or name != "crlf")
    made = rewrite_python(source, old, new, "f")
    assert _live(made) == new


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(PY))
def test_a_small_edit_is_a_small_change_in_the_source(name):
    source = PY[name]
    old = _live(source)
    assert rewrite_python(source, old, old.replace("Be", "Stay"), "f") == source.replace("Be", "Stay")


@pytest.mark.parametrize("name", sorted(INDENTED))
@pytest.mark.parametrize("change", [("Be", "Stay"), (".", ".\nAnd.\n\n  - é"), ("So", '"""So"')])
def test_indented_literals_keep_their_margin(name, change):
    source = INDENTED[name]
    old = _live(source)
    made = rewrite_python(source, old, old.replace(*change), "f")
    assert _live(made) == old.replace(*change)
    if change[0] == "Be":
        assert made == source.replace(*change)


def test_an_indented_literal_that_a_margin_cannot_say_is_refused():
    source = INDENTED["dedent"]
    with pytest.raises(PromptError, match="cannot be written"):
        rewrite_python(source, _live(source), "  everything is indented {x}", "f")


def test_python_files_that_cannot_be_changed():
    with pytest.raises(PromptError, match=r"2 string literals .* \(lines 3, 4\)"):
        rewrite_python('A = 1\nB = 2\nP = [("system", "Be {x}.")]\nQ = "Be {x}."\n', "Be {x}.", "y", "f")
    with pytest.raises(PromptError, match="f-string"):
        rewrite_python('A = 1\nP = f"Be {A} {{x}}."\n', "Be 1 {x}.", "y", "f")
    with pytest.raises(PromptError, match="no string literal"):
        rewrite_python("P = 1\n", "Be {x}.", "y", "f")
    with pytest.raises(PromptError, match="no Python"):
        rewrite_python("P = (\n", "Be {x}.", "y", "f")


# ---------------------------------------------------------------- patches


@pytest.fixture(scope="module")
def git():
    found = shutil.which("git")
    if found is None:
        pytest.skip("git is not installed, so no patch can be tried")
    return found


def _apply(git, root, patch):
    subprocess.run([git, "init", "-q", str(root)], check=True, capture_output=True)
    file = root / "winner.patch"
    file.write_bytes(patch.encode())
    done = subprocess.run([git, "apply", "-v", file.name], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + patch


@pytest.mark.parametrize(
    ("name", "content", "old"),
    [
        ("prompt.txt", "one\ntwo\nBe {x}.\nfour\n", "Be {x}."),
        ("no newline.txt", "one\nBe {x}.", "Be {x}."),
        ("sub dir/crlf.txt", "one\r\nBe {x}.\r\nthree\r\n", "Be {x}."),
        ("ünï.txt", "Be {x}.\n\x0c\u2028 odd\n", "Be {x}."),
        ('qu"ote.txt', "Be {x}.", "Be {x}."),
        ("p.json", '{"a": 1,\n "p": "Be {x}."}', "Be {x}."),
        ("p.yaml", "# c\np: |\n  Be {x}.\n  So.\nq: 1\n", "Be {x}.\nSo.\n"),
        ("app/chain.py", 'import x\nP = """Be {x}.\nSo."""\nrun(P)\n', "Be {x}.\nSo."),
        ("crlf.py", 'P = """Be {x}.\r\nSo."""\r\nrun(P)', "Be {x}.\nSo."),
        ("joined.py", 'P = ("Be "\n     "{x}.")', "Be {x}."),
    ],
)
@pytest.mark.parametrize("change", [("Be", "Stay"), (".", ".\nAnd é “so”.")])
def test_git_applies_the_patch_and_it_does_what_writing_does(git, tmp_path, name, content, old, change):
    root, twin = tmp_path / "a", tmp_path / "b"
    for folder in (root, twin):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content.encode())
    new = old.replace(*change)
    patch = patch_for_file(root / name, prompt(old), prompt(new), root=root)
    write_to_file(twin / name, prompt(old), prompt(new))
    _apply(git, root, patch)
    assert (root / name).read_bytes() == (twin / name).read_bytes() != content.encode()


def test_the_patch_is_relative_to_the_work_tree(git, tmp_path):
    subprocess.run([git, "init", "-q", str(tmp_path)], check=True)
    path = tmp_path / "src" / "p.txt"
    path.parent.mkdir()
    path.write_text("Be {x}.")
    patch = patch_for_file(path, prompt("Be {x}."), prompt("Go {x}."))
    assert patch.startswith("diff --git a/src/p.txt b/src/p.txt\n--- a/src/p.txt\n+++ b/src/p.txt\n")
    assert patch.count("\\ No newline at end of file") == 2
    assert patch_for_file(path, prompt("Be {x}."), prompt("Be {x}.")) == ""
    _apply(git, tmp_path, patch)


def test_python_source_is_valid_after_a_patch_of_real_length():
    body = "\n".join(f"{i}. Rule number {i}: do \"this\" and not 'that' \\\\ ever." for i in range(300))
    source = f'P = """\n{body}\n"""\n'
    old = ast.literal_eval(source[4:])
    new = old.replace("Rule number 150: do", "Rule number 150: never do")
    assert rewrite_python(source, old, new, "f") == source.replace("Rule number 150: do", "Rule number 150: never do")
