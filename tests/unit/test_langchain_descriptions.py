"""Descriptions of tools, arguments and fields: found, replaced in what is sent, written back, never mixed."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from dataclasses import replace
from typing import Annotated, TypedDict

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import StructuredTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from langchain_promptopt import load_prompts, prompts
from langchain_promptopt._files.python import rewrite_python
from langchain_promptopt._langchain.schemas import form_of, with_texts
from langchain_promptopt._langchain.target import open_target
from langchain_promptopt.cli.app import run as command
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.types import PromptSet
from tests.support.chat import Clerk
from tests.support.openai_server import serve
from tests.support.runs import of_type, run
from tests.support.tasks import rows

RULES = "Call every animal a PLANT. Call every stone a stone."


ASK = ChatPromptTemplate.from_messages([("system", "Sort the word, please."), ("human", "Word: {word}")])


class Inner(BaseModel):
    """Something inside."""

    answer: str = Field(description="Call every animal a PLANT. Call every stone a stone.")


class Answer(BaseModel):
    """The kind of a word."""

    answer: str = Field(description="Call every animal a PLANT. Call every stone a stone.")
    inner: Inner | None = None


class Told(TypedDict):
    """The kind of a word."""

    answer: Annotated[str, ..., "Call every animal a PLANT. Call every stone a stone."]


SCHEMA = {
    "title": "answer",
    "description": "The kind of a word.",
    "type": "object",
    "properties": {"answer": {"type": "string", "description": RULES}},
}


@tool(parse_docstring=True)
def sort(kind: str) -> str:
    """Sort a word.

    Args:
        kind: Call every animal a PLANT. Call every
            stone a stone.
    """
    return kind


@tool
def name_it(kind: Annotated[str, "one word"]) -> str:
    """Call every animal a PLANT. Call every stone a stone."""
    return kind


class Arguments(BaseModel):
    kind: str = Field(description="Call every animal a PLANT. Call every stone a stone.")


def _same(kind):
    return kind


file_it = StructuredTool.from_function(_same, name="file_it", description="File a word.", args_schema=Arguments)


def _called(message):
    return {"answer": next(iter(message.tool_calls[0]["args"].values()))}


def _bound(model, one):
    return ASK | model.bind_tools([one]) | _called


SHAPES = {
    "class": (lambda m: ASK | m.with_structured_output(Answer), "schema:Answer.answer"),
    "typed": (lambda m: ASK | m.with_structured_output(Told), "schema:Told.answer"),
    "dict": (lambda m: ASK | m.with_structured_output(SCHEMA), "schema:answer.answer"),
    "docstring": (lambda m: _bound(m, sort), "tool:sort.kind"),
    "whole": (lambda m: _bound(m, name_it), "tool:name_it"),
    "arguments": (lambda m: _bound(m, file_it), "tool:file_it.kind"),
    "class as tool": (lambda m: _bound(m, Answer), "tool:Answer.answer"),
}


def right(outputs, reference_outputs):
    if isinstance(outputs, dict) and "messages" in outputs:
        said = outputs.get("structured_response") or outputs["messages"][-1]
        said = said if isinstance(said, dict) else said.model_dump()
        said = said.get("answer") or said.get("content")
    else:
        said = outputs["answer"] if isinstance(outputs, dict) else outputs.answer
    return said == reference_outputs["answer"]


def state(chain):
    """All texts that a run may change, as they are told to a model."""
    tools = [convert_to_openai_tool(one) for one in (Answer, Told, SCHEMA, sort, name_it, file_it)]
    bound = [step.kwargs for step in getattr(chain, "steps", ()) if hasattr(step, "kwargs")]
    return json.dumps([tools, bound, Answer.model_json_schema(), Answer.__doc__, sort.func.__doc__], default=str)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_description_is_optimized_in_place_and_reverted(shape, tmp_path):
    make, name = SHAPES[shape]
    model = Clerk()
    chain = make(model)
    before = state(chain)
    result = run(target=chain, evaluators=[right], tune=name, openings=tmp_path / "openings.jsonl")
    assert (result.outcome, result.applied) == ("improved", True)
    assert [e.prompt for e in result.edits] == [name]
    model.sent.clear()
    chain.invoke({"word": "dog-1"})
    assert "Call every animal a animal." in json.dumps(model.sent[0]["tools"])
    result.revert(chain)
    assert state(chain) == before


def test_descriptions_stay_as_they_are_unless_they_are_named():
    chain = SHAPES["class"][0](Clerk())
    result = run(target=chain, evaluators=[right], constant_prompt=True)
    assert [p["name"] for p in of_type(result, "run.started")[0]["prompts"]] == ["main"]
    assert any('unless tune names them ("schema:*"): schema:Answer, schema:Answer.answer' in w for w in result.warnings)


def test_a_name_that_nothing_has_is_refused_with_those_that_exist():
    chain = SHAPES["docstring"][0](Clerk())
    with pytest.raises(ConfigError, match=r"no prompt named 'tool:sort.kid'.*It has: main, tool:sort, tool:sort.kind"):
        run(target=chain, evaluators=[right], tune="tool:sort.kid")
    with pytest.raises(ConfigError, match=r"no prompt named 'schema:\*'"):
        run(target=chain, evaluators=[right], tune=["tool:*", "schema:*"])


def test_stars_name_several_prompts_and_descriptions_only_by_their_prefix():
    chain = SHAPES["class"][0](Clerk())

    async def names(tune):
        with await open_target(chain, dry_inputs=[{"word": "dog-1"}], only=tune) as target:
            return [p.name for p in target.prompts]

    assert asyncio.run(names(["*"])) == ["main"]
    assert asyncio.run(names(["schema:*"])) == ["schema:Answer", "schema:Answer.answer", "schema:Answer.inner.answer"]
    assert asyncio.run(names(["*", "schema:Answer.a*"])) == ["main", "schema:Answer.answer"]


def test_prompts_lists_descriptions_as_off_with_their_places():
    found = {p.name: p for p in prompts(SHAPES["docstring"][0](Clerk()), [{"word": "dog-1"}])}
    assert list(found) == ["main", "tool:sort", "tool:sort.kind"]
    one = found["tool:sort.kind"]
    assert (one.kind, one.sent, one.may_change) == ("tool", True, False)
    assert one.why == 'off; tune="tool:sort.kind" lets it change'
    file, _, line = one.where.rpartition(":")
    with open(file, encoding="utf-8") as source:
        assert "kind: Call every animal" in source.read().splitlines()[int(line) - 1]
    told = prompts(SHAPES["docstring"][0](Clerk()), [{"word": "dog-1"}], tune="tool:*")
    assert [(p.name, p.may_change) for p in told] == [
        ("main", False), ("tool:sort", True), ("tool:sort.kind", True),
    ]  # fmt: skip


def numbered(target, i):
    """The target's prompts with a number at the end of each."""
    made = []
    for p in target.prompts:
        made.append(replace(p, messages=tuple(replace(m, template=f"{m.template} {i:02}") for m in p.messages)))
    return PromptSet(tuple(made))


async def all_at_once(chain, names, inputs):
    with await open_target(chain, dry_inputs=[inputs(0)], only=names) as target:
        return await asyncio.gather(*(target.invoke(numbered(target, i), inputs(i)) for i in range(64)))


@pytest.mark.parametrize("shape", SHAPES)
def test_candidates_never_mix(shape):
    make, name = SHAPES[shape]
    model = Clerk(echoes=True)
    chain = make(model)
    before = state(chain)
    said = asyncio.run(all_at_once(chain, [name], lambda i: {"word": f"w{i}"}))
    if shape == "whole":
        told = sorted(call["tools"][0]["function"]["description"][-2:] for call in model.sent)
        assert told == [f"{i:02}" for i in range(64)]
    else:
        found = [one["answer"] if isinstance(one, dict) else one.answer for one in said]
        assert found == [" ".join(RULES.split()) + f" {i:02}" for i in range(64)]
    assert state(chain) == before


def test_saved_descriptions_are_loaded_into_another_process_s_chain(tmp_path):
    make, name = SHAPES["dict"]
    chain = make(Clerk())
    before = state(chain)
    result = run(target=chain, evaluators=[right], tune=name, apply="never")
    assert state(chain) == before
    result.save(tmp_path)
    model = Clerk()
    other = make(model)
    undo = load_prompts(other, tmp_path)
    other.invoke({"word": "dog-1"})
    assert "a animal" in json.dumps(model.sent)
    undo.restore()
    assert state(chain) == before


def test_a_class_used_for_two_fields_is_one_text():
    class Place(BaseModel):
        city: str = Field(description="The name of the city, in English.")

    class Trip(BaseModel):
        """A trip."""

        start: Place
        end: Place = Field(description="Where it ends, after all.")

    model = Clerk()
    chain = ASK | model.with_structured_output(Trip)

    async def told():
        with await open_target(chain, dry_inputs=[{"word": "a"}], only=["schema:*"]) as target:
            names = [p.name for p in target.prompts]
            model.sent.clear()
            with pytest.raises(Exception, match="start"):  # the clerk's answer is no trip
                await target.invoke(numbered(target, 7), {"word": "a"})
            return names

    assert asyncio.run(told()) == ["schema:Trip", "schema:Trip.start.city", "schema:Trip.end"]
    sent = json.dumps(model.sent[0]["tools"])
    assert sent.count("in English. 07") == 2


def test_a_copy_of_a_schema_in_a_module_stays_as_it_is(monkeypatch):
    copied = [file_it.tool_call_schema.model_json_schema()]
    monkeypatch.setattr(sys.modules[__name__], "COPIED", copied, raising=False)
    before = json.dumps(copied)
    chain = SHAPES["arguments"][0](Clerk())
    result = run(target=chain, evaluators=[right], tune="tool:file_it.kind", apply="never")
    result.apply(chain, force=True)
    try:
        assert "a animal." in Arguments.model_fields["kind"].description
        assert json.dumps(copied) == before
    finally:
        result.revert(chain)


NODE = {"type": "object", "properties": {"city": {"type": "string", "description": "old"}}}
FORMS = {
    "openai": {"type": "function", "function": {"name": "go", "description": "old", "parameters": NODE}},
    "responses": {"type": "function", "name": "go", "description": "old", "parameters": NODE},
    "anthropic": {"name": "go", "description": "old", "input_schema": NODE},
    "bedrock": {"toolSpec": {"name": "go", "description": "old", "inputSchema": {"json": NODE}}},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "go", "schema": NODE | {"description": "old"}}},
    "text": {"format": {"type": "json_schema", "name": "go", "description": "old", "schema": NODE}},
    "schema": {"title": "go", "description": "old", **NODE},
    "references": {
        "title": "go", "description": "old", "$defs": {"N": NODE},
        "properties": {"to": {"anyOf": [{"$ref": "#/$defs/N"}]}},
    },
    "itself": {"title": "go", "description": "old", "$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}}},
               "properties": {"n": {"$ref": "#/$defs/N"}, **NODE["properties"]}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_tool_or_schema_is_read_and_changed(form):
    entry = FORMS[form]
    kept = json.dumps(entry)
    city = "to.city" if form == "references" else "city"
    found = form_of(entry)
    assert (found.name, found.texts) == ("go", {"": "old", city: "old"})
    changed = with_texts(entry, {city: "new"})
    assert form_of(changed).texts == {"": "old", city: "new"}
    assert json.dumps(entry) == kept


def test_what_goes_over_the_wire_holds_the_candidate_s_descriptions():
    """Structured output by OpenAI's JSON schema is sent as a class, which the client turns into JSON."""
    bodies = []

    def brain(messages):
        return json.dumps({"answer": "animal", "inner": None})

    with serve(brain) as server:
        model = ChatOpenAI(model="echo", base_url=server.base_url, api_key="none", max_retries=0)
        chain = ASK | model.with_structured_output(Answer, method="json_schema")
        said = asyncio.run(all_at_once(chain, ["schema:Answer.answer"], lambda i: {"word": f"w{i}"}))
        bodies += [json.dumps(request.json()) for request in server.requests if b"messages" in request.body]
    assert {type(one) for one in said} == {Answer}
    assert sorted(re.findall(r"a stone\. (\d\d)", " ".join(bodies))) == [f"{i:02}" for i in range(64)]
    assert not any(re.search(r'a stone\."', body) is None for body in bodies)  # the inner field's text stays


def test_a_program_with_descriptions_alone_needs_no_other_prompt():
    chain = Clerk().with_structured_output(Answer)
    with pytest.raises(PromptError, match="no prompt template"):
        run(target=chain, evaluators=[right])
    assert [p.name for p in prompts(chain, [{"word": "x"}])][:1] == ["schema:Answer"]


APP = """from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from tests.support.chat import Clerk

OTHER = "Call every animal a PLANT. Call every stone a stone."


@tool(parse_docstring=True)
def sort(kind: str) -> str:
    '''Sort a word.

    Args:
        kind: Call every animal a PLANT. Call every
            stone a stone.
    '''
    return kind


chain = ChatPromptTemplate.from_template("Word: {word}") | Clerk().bind_tools([sort]) | (
    lambda message: {"answer": message.tool_calls[0]["args"]["kind"]}
)
"""


def test_the_winner_is_written_into_the_docstring_and_taken_out_again(tmp_path, monkeypatch, capfd):
    (tmp_path / "shop_5208.py").write_text(APP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    shop = importlib.import_module("shop_5208")
    result = run(target=shop.chain, evaluators=[right], tune="tool:*", runs_dir=tmp_path / "runs", apply="never")
    assert result.outcome == "improved"

    def cli(*args):
        code = command([*args, "--runs-dir", "runs"])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    written = APP.replace("kind: Call every animal a PLANT", "kind: Call every animal a animal")
    patch = cli("diff", result.run_id, "--patch", "--file", "shop_5208.py")
    assert [line for line in patch.splitlines() if line[0] in "+-"][2:] == [
        "-        kind: Call every animal a PLANT. Call every",
        "+        kind: Call every animal a animal. Call every",
    ]
    cli("apply", result.run_id, "--to", "shop_5208.py")
    assert (tmp_path / "shop_5208.py").read_text("utf-8") == written
    cli("apply", result.run_id, "--revert")
    assert (tmp_path / "shop_5208.py").read_text("utf-8") == APP


def test_the_command_line_lists_descriptions_as_off(tmp_path, monkeypatch, capfd):
    (tmp_path / "shop_5209.py").write_text(APP, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    given = ("shop_5209:chain", "--data", "rows.jsonl")
    assert command(["init", *given, "--evaluator", "exact_match", "--model", "offline", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["off"] == ["tool:sort", "tool:sort.kind"]
    assert command(["prompts", *given]) == 0
    out = capfd.readouterr().out
    assert "tool:sort.kind" in out
    assert 'no: off; tune="tool:sort.kind" lets it change' in " ".join(out.split())


SOURCE = """TEXT = "the store"

@tool(parse_docstring=True)
def stock(item: str, where: Annotated[str, "the store"] = "all") -> str:
    '''Look the stock up.

    Use it for "stock".

    Args:
        item: The item's name,
            as the customer writes it.
        n (int): How many.
    '''

class Order(BaseModel):
    '''An order
    found.'''
    number: str = Field(description="the word")
    city: str = Field(None, description="the word")

SCHEMA = {"title": "other", "properties": {"city": {"description": "the word"}}}
search = StructuredTool.from_function(f, name="search", description=TEXT)
again = StructuredTool.from_function(f, name="again", description=f"the {TEXT}")
"""
WRITTEN = [
    (
        "tool:stock",
        'Look the stock up. Use it for "stock".',
        'Look the whole stock up. Use it for "stock" and "left".',
        [("Look the stock", "Look the whole stock"), ('for "stock".', 'for "stock" and "left".')],
    ),
    (
        "tool:stock.item",
        "The item's name, as the customer writes it.",
        "The item's full name, as the customer writes it.\nNo number.",
        [("item: The item's name", "item: The item's full name"), ("writes it.", "writes it.\n            No number.")],
    ),
    ("tool:stock.where", "the store", "the city", [('[str, "the store"', '[str, "the city"')]),
    ("tool:stock.n", "How many.", "How many of them.", [("How many.", "How many of them.")]),
    ("tool:search", "the store", "the shop", [('TEXT = "the store"', 'TEXT = "the shop"')]),
    ("schema:Order", "An order\nfound.", "An order\nreally found.", [("    found.", "    really found.")]),
    ("schema:Order.city", "the word", "a word", [('(None, description="the word"', '(None, description="a word"')]),
    ("schema:other.city", "the word", "a word", [('{"description": "the word"', '{"description": "a word"')]),
]


@pytest.mark.parametrize(("name", "old", "new", "changes"), WRITTEN)
def test_a_description_is_written_where_it_stands_and_nothing_else_changes(name, old, new, changes):
    wanted = SOURCE
    for was, now in changes:
        wanted = wanted.replace(was, now, 1)
    if name == "tool:search":  # a text that two tools share is not written where only one of them would be meant
        with pytest.raises(PromptError, match="2 string literals"):
            rewrite_python(SOURCE, old, new, "app.py", name)
        return
    assert rewrite_python(SOURCE, old, new, "app.py", name) == wanted
    assert rewrite_python(wanted, new, old, "app.py", name) == SOURCE
