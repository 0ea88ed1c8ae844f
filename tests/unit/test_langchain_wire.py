"""Texts that no template holds: found in what is sent, replaced there, written back, never mixed."""

from __future__ import annotations

import asyncio
import re
import sys
from argparse import Namespace
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property, lru_cache
from pathlib import Path
from string import Template
from textwrap import dedent
from typing import NamedTuple

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate, FewShotPromptTemplate, PromptTemplate, StringPromptTemplate
from pydantic import BaseModel

from langchain_promptopt import prompts, tunable
from langchain_promptopt._langchain.freeze import resolve_freeze
from langchain_promptopt._langchain.held import held_texts
from langchain_promptopt._langchain.overlay import Overlay, install, overlaid
from langchain_promptopt._langchain.wire import fronted, tapped
from langchain_promptopt._objects import walk
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Message, Prompt, PromptSet
from tests.support.runs import run
from tests.support.tasks import PROMPT, answer

TRIAGE = "Sort the ticket. Answer with one label."
PATTERN = "Sort this ticket for {team}, please:\n{ticket}"
BRACES = 'Answer as {"label": "..."} for the ticket {ticket} now.'
CONFIG = {"prompts": {"triage": "Name the queue of this ticket."}}
SYSTEM = SystemMessage("You are the shop's first reader.")


class Echo(BaseChatModel):
    """Answers with what it was sent."""

    @property
    def _llm_type(self):
        return "echo"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        said = "\n".join(str(m.text) for m in messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])


model = Echo()


class Settings:
    prompt = "Class attribute: sort the ticket."


@dataclass
class Configuration:
    prompt: str = "Dataclass default: sort the ticket."


class Context(BaseModel):
    prompt: str = "Pydantic default: sort the ticket."


class Named(NamedTuple):
    system: str = "Named tuple: sort the ticket."


@dataclass(frozen=True, slots=True)
class Slots:
    prompt: str = "Slots of a frozen dataclass: sort the ticket."


NAMED = Named()
SLOTS = Slots()
PAIRS = (("system", "Pair of a constant: sort the ticket."),)


class Holder:
    def __init__(self, parts):
        self.parts = parts


def by_constant(ticket):
    return model.invoke([SystemMessage(TRIAGE), HumanMessage(ticket)]).text


def by_format(ticket):
    return model.invoke(PATTERN.format(team="desk", ticket=ticket)).text


def by_replace(ticket):
    return model.invoke(BRACES.replace("{ticket}", ticket)).text


def by_fstring(ticket):
    return model.invoke(f"Literal of an f-string, sort: {ticket}").text


def by_config(ticket):
    return (
        (ChatPromptTemplate.from_messages([("system", CONFIG["prompts"]["triage"]), ("human", "{t}")]) | model)
        .invoke({"t": ticket})
        .text
    )


def by_message(ticket):
    return model.invoke([SYSTEM, HumanMessage(ticket)]).text


def by_class(ticket):
    return model.invoke([SystemMessage(Settings.prompt), HumanMessage(ticket)]).text


def by_dataclass(ticket):
    return model.invoke([SystemMessage(Configuration().prompt), HumanMessage(ticket)]).text


def by_pydantic(ticket):
    return model.invoke([SystemMessage(Context().prompt), HumanMessage(ticket)]).text


def by_default(ticket, prompt="Argument default: sort the ticket."):
    return model.invoke([SystemMessage(prompt), HumanMessage(ticket)]).text


def made(prompt="Closure: sort the ticket."):
    held = str(prompt)

    def by_closure(ticket):
        return model.invoke([SystemMessage(held), HumanMessage(ticket)]).text

    return by_closure


def by_pair(ticket):
    return model.invoke([("system", "Pair in the code: sort the ticket."), ("human", ticket)]).text


def by_constant_pairs(ticket):
    return model.invoke([*PAIRS, ("human", ticket)]).text


def by_named_tuple(ticket):
    return model.invoke([SystemMessage(NAMED.system), HumanMessage(ticket)]).text


def by_slots(ticket):
    return model.invoke([SystemMessage(SLOTS.prompt), HumanMessage(ticket)]).text


class Computed:
    def __init__(self, text):
        self.text = text

    @cached_property
    def message(self):
        return SystemMessage(self.text)


COMPUTED = Computed("Cached property: sort the ticket.")


def by_cached_property(ticket):
    return model.invoke([COMPUTED.message, HumanMessage(ticket)]).text


SHAPES = [
    by_constant, by_format, by_replace, by_fstring, by_config, by_message, by_class, by_dataclass, by_pydantic,
    by_default, made(), by_pair, by_constant_pairs, by_named_tuple, by_slots,
    by_cached_property,
]  # fmt: skip


class Wrapping:
    """Keeps an object of a library that wrote down what it was sent, as clients with a history do."""

    def __init__(self, text):
        self.template = PromptTemplate.from_template(text)

    @cached_property
    def client(self):
        return Namespace(history=[{"content": self.template.format()}])


WRAPPING = Wrapping("Library: sort the ticket.")


def by_wrapping(ticket):
    return model.invoke([SystemMessage(WRAPPING.client.history[0]["content"]), HumanMessage(ticket)]).text


def test_what_a_library_keeps_is_not_a_prompt_of_the_program():
    assert not [held.where for held in seen(by_wrapping, "t 1", "t 2") if "history" in held.where]


def seen(function, *tickets):
    """The held texts of a function, found in what it sends."""
    sent = []
    with tapped(lambda text: sent.append(text) or text):
        for ticket in tickets:
            function(ticket)
    return [held for held in held_texts(walk(function), sent) if held.proven]


@contextmanager
def instead(held, text):
    """One context in which `text` is sent in place of a held text; gives the overlay that counts."""
    uninstall = install([(held.where, held)])
    overlay = Overlay({id(held): PromptTemplate.from_template(text)})
    try:
        with tapped(), overlaid(overlay):
            yield overlay
    finally:
        uninstall()


@pytest.mark.parametrize("function", SHAPES, ids=lambda f: f.__name__)
def test_a_text_is_found_replaced_for_one_call_written_and_put_back(function):
    before = function("my parcel")
    (held,) = seen(function, "my parcel", "my bill")
    new = (
        held.template.template.replace("ort", "ORT")
        .replace("queue", "QUEUE")
        .replace("first", "FIRST")
        .replace("now", "NOW")
    )
    assert new != held.template.template
    with instead(held, new) as overlay:
        changed = function("my parcel")
    assert overlay.calls.keys() == {id(held)}
    assert changed != before
    assert changed.lower() == before.lower()
    assert function("my parcel") == before, "other calls are not touched"
    restore = held.write(new)
    assert function("my parcel") == changed
    restore()
    assert function("my parcel") == before


def test_holes_keep_what_stood_in_them():
    (held,) = seen(by_format, "one", "two")
    assert held.holes
    assert held.seen == [{"team": "desk", "ticket": "one"}, {"team": "desk", "ticket": "two"}]
    with instead(held, "For {team}: {ticket}"):
        assert by_format("three {x}") == "For desk: three {x}"


def test_a_text_of_the_row_is_not_taken_for_a_prompt_and_a_text_sent_twice_is_refused():
    assert seen(by_constant, "a ticket")[0].text == TRIAGE
    with pytest.raises(PromptError, match="twice"):
        seen(by_constant, "a ticket", f"{TRIAGE} {TRIAGE}")


def test_candidates_never_mix():
    (held,) = seen(by_constant, "a ticket")

    async def run(i):
        with overlaid(Overlay({id(held): PromptTemplate.from_template(f"Candidate number {i}.")})):
            return await asyncio.to_thread(by_constant, f"ticket {i}")

    async def main():
        return await asyncio.gather(*(run(i) for i in range(64)))

    uninstall = install([("held", held)])
    with tapped():
        answers = asyncio.run(main())
    uninstall()
    assert answers == [f"Candidate number {i}.\nticket {i}" for i in range(64)]


def test_an_insertion_is_made_once_though_calls_lie_inside_calls():
    (held,) = seen(by_constant, "a ticket")
    new = f"{TRIAGE} Be brief."

    class Outer(Echo):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            inner = model.generate([messages])
            return ChatResult(generations=inner.generations[0])

    with instead(held, new):
        assert Outer().invoke([SystemMessage(TRIAGE), HumanMessage("x")]).text == f"{new}\nx"


def test_the_tap_is_off_when_nothing_is_open():
    plain = {name: BaseChatModel.__dict__[name] for name in ("generate", "agenerate", "stream", "astream")}
    with tapped():
        with tapped():
            assert BaseChatModel.__dict__["generate"] is not plain["generate"]
        assert BaseChatModel.__dict__["generate"] is not plain["generate"]
    assert {name: BaseChatModel.__dict__[name] for name in plain} == plain


def test_methods_of_a_module_that_is_imported_in_the_block_are_fronted(tmp_path, monkeypatch):
    (tmp_path / "late_client.py").write_text("class Client:\n    def ask(self, word):\n        return word\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)

    def of(module):
        yield module.Client, "ask", lambda ask, client, word: ask(client, f"instead of {word}")

    with fronted(later=[("late_client", of), ("never_imported", of)]):
        with fronted(later=[("late_client", of)]):
            import late_client

            assert late_client.Client().ask("a") == "instead of instead of a"
        assert late_client.Client().ask("a") == "instead of a"
        with fronted(later=[("late_client", of)]):
            assert late_client.Client().ask("a") == "instead of instead of a"
    assert late_client.Client().ask("a") == "a"
    assert "exec_module" not in vars(late_client.__loader__)
    assert sys.meta_path == finders


def test_streams_and_content_parts_are_seen():
    parts = [
        {"type": "text", "text": TRIAGE, "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": "x"},
    ]
    holder = Holder(parts)
    (held,) = held_texts(walk(holder), [TRIAGE])
    with instead(held, "Other words here."):
        said = "".join(str(c.text) for c in model.stream([SystemMessage(holder.parts), HumanMessage("x")]))
    assert said.startswith("Other words here.")
    restore = held.write("Other words here.")
    assert holder.parts[0] == {"type": "text", "text": "Other words here.", "cache_control": {"type": "ephemeral"}}
    restore()
    assert holder.parts[0]["text"] == TRIAGE


RULES = PROMPT.rpartition("\n")[0]
HELD = SystemMessage(RULES)
FILLED = PROMPT
task_model = ScriptedModel(fn=answer, model_name="task")
UNRELATED = tunable("A prompt of another program: {word}", name="of another program")


def with_message(inputs):
    return task_model.invoke([HELD, HumanMessage(f"Word: {inputs['word']}")]).text


async def with_format(inputs):
    return (await task_model.ainvoke(FILLED.format(word=inputs["word"]))).text


@pytest.mark.parametrize("app", [with_message, with_format], ids=lambda f: f.__name__)
def test_a_program_without_templates_is_optimized_in_place_and_reverted(app, tmp_path):
    before = HELD.content, FILLED
    result = run(target=app, openings=tmp_path / "openings.jsonl")
    assert result.outcome == "improved"
    assert result.applied
    assert [e.new for e in result.edits] == ["animal"]
    assert (HELD.content, FILLED) != before
    result.revert()
    assert (HELD.content, FILLED) == before


class Labels(Enum):
    TRIAGE = "A member of an enumeration: sort the ticket."


@lru_cache(maxsize=1)
def kept_template():
    return ChatPromptTemplate.from_messages([("system", TRIAGE), ("human", "{t}")])


@cache
def kept_text():
    return TRIAGE.strip()


MARGIN = """
    Sort the ticket of {team}.
    Answer with one label.
"""


def by_enum(ticket):
    return model.invoke([SystemMessage(Labels.TRIAGE.value), HumanMessage(ticket)]).text


def by_cached_template(ticket):
    return (kept_template() | model).invoke({"t": ticket}).text


def by_cached_text(ticket):
    return model.invoke([SystemMessage(kept_text()), HumanMessage(ticket)]).text


def by_dedent(ticket):
    return model.invoke([SystemMessage(dedent(MARGIN).strip().format(team="desk")), HumanMessage(ticket)]).text


def by_inner_function(ticket):
    def ask():
        return model.invoke([SystemMessage("Literal of an inner function: sort the ticket."), HumanMessage(ticket)])

    return ask().text


@pytest.mark.parametrize(
    "function", [by_enum, by_cached_template, by_cached_text, by_dedent, by_inner_function], ids=lambda f: f.__name__
)
def test_texts_that_are_kept_or_changed_on_the_way_are_written_where_they_come_from(function):
    before = function("my parcel")
    (held,) = seen(function, "my parcel", "my bill")
    new = held.template.template.replace("ort", "ORT")
    with instead(held, new):
        changed = function("my parcel")
    assert changed == before.replace("ort", "ORT")
    assert function("my parcel") == before, "other calls are not touched"
    restore = held.write(new)
    assert function("my parcel") == changed
    restore()
    assert function("my parcel") == before


def routed(messages):
    return answer(messages) if "Word:" in messages[-1].text else "words"


def made_here():
    return ScriptedModel(fn=routed, model_name="task")


class Where(BaseModel):
    """Where it goes."""

    about: str


FIRST = "Say where the word goes, with care."
ROUTER = ChatPromptTemplate.from_messages([("system", FIRST), ("human", "{word}")])
SHOUT = "This text is only for people who are in a great hurry."


def behind_a_decision(inputs):
    found = made_here().invoke([SystemMessage(FIRST), HumanMessage(inputs["word"])]).text
    if not found:
        return made_here().invoke(SHOUT).text
    return made_here().invoke([HELD, HumanMessage(f"Word: {inputs['word']}")]).text


def beside_a_template(inputs):
    (ROUTER | made_here()).invoke(inputs)
    return task_model.invoke([HELD, HumanMessage(f"Word: {inputs['word']}")]).text


@pytest.mark.parametrize("app", [behind_a_decision, beside_a_template], ids=lambda f: f.__name__)
def test_texts_that_no_dry_run_reaches_are_proven_by_the_baseline(app, tmp_path):
    before = str(HELD.content)
    result = run(target=app, openings=tmp_path / "openings.jsonl")
    assert result.outcome == "improved"
    assert [e.new for e in result.edits] == ["animal"]
    assert HELD.content != before
    assert SHOUT not in str(result.as_json()["prompts"]), "what is never sent is no prompt"
    result.revert()
    assert HELD.content == before


def test_a_program_that_holds_nothing_of_what_it_sends_is_refused_with_what_was_sent():
    def shouted(inputs):
        return task_model.invoke(f"{RULES.upper()}\nWord: {inputs['word']}").text

    with pytest.raises(PromptError, match=r"YOU SORT WORDS|rendered none"):
        run(target=shouted)


EXAMPLES = FewShotPromptTemplate(
    example_prompt=PromptTemplate.from_template("{a}"), examples=[{"a": "b"}], prefix="Look at these:", suffix="{word}"
)


class Team:
    def run(self, inputs):
        (EXAMPLES | made_here()).invoke(inputs)
        (ROUTER | made_here()).invoke(inputs)
        return task_model.invoke([HELD, HumanMessage(f"Word: {inputs['word']}")]).text


def test_prompts_lists_what_is_found_where_it_is_and_what_may_change():
    found = {one.name: one for one in prompts(behind_a_decision, [{"word": "dog-1"}])}
    assert {n: (p.kind, p.sent, p.may_change) for n, p in found.items()} == {
        "FIRST": ("text", True, True),
        "RULES": ("text", False, False),
        "SHOUT": ("text", False, False),
    }
    assert re.fullmatch(r"tests/unit/test_langchain_wire\.py:\d+", found["SHOUT"].where)
    line = int(found["SHOUT"].where.rpartition(":")[2])
    assert Path(__file__).read_text().splitlines()[line - 1].startswith("SHOUT =")
    team = {one.name: one for one in prompts(Team().run, [{"word": "dog-1"}], freeze="ROUTER:role:system")}
    assert (team["EXAMPLES"].kind, team["EXAMPLES"].may_change) == ("template", True)
    assert team["EXAMPLES"].why == "stays as it is: message 1 (few-shot examples)"
    assert team["ROUTER"].why == "stays as it is: message 0 (frozen)"
    named = {one.name: one.why for one in prompts(Team().run, [{"word": "dog-1"}], tune="ROUTER")}
    assert named["EXAMPLES"] == "tune does not name it"
    with pytest.raises(ConfigError, match="Did you mean 'ROUTER'"):
        prompts(Team().run, [{"word": "dog-1"}], tune="ROUTR")


def test_a_freeze_rule_for_one_prompt_leaves_the_others_alone():
    same = Message("system", "## Format\nOne word.\n## Task\nSort.")
    both = PromptSet((Prompt("label", (same,)), Prompt("reply", (same,))))
    frozen = resolve_freeze(both, ["label:## Format"])
    assert [bool(p.messages[0].frozen) for p in frozen] == [True, False]
    assert [m.editable for p in resolve_freeze(both, ["reply:message:0"]) for m in p.messages] == [True, False]
    with pytest.raises(ConfigError, match=r"Did you mean 'label'\?.*There is: label, reply"):
        resolve_freeze(both, ["lable:## Format"])


class Rules(StringPromptTemplate):
    """A template class of the program's own."""

    rules: str = "You sort words. Call every animal a PLANT. Call every stone a stone. Answer with one word."

    def format(self, **kwargs):
        return f"{self.rules}\nWord: {kwargs['word']}"


def test_a_template_class_of_the_programs_own_is_optimized_by_its_texts(tmp_path):
    own = Rules(input_variables=["word"])
    before = own.rules
    result = run(target=own | task_model | StrOutputParser(), openings=tmp_path / "openings.jsonl")
    assert (result.outcome, result.applied) == ("improved", True)
    assert own.rules == before.replace("PLANT", "animal")
    result.revert()
    assert own.rules == before


FRAME = "<word>\n{word}\n</word>"
PERCENT = "You sort the words of team %s into two kinds.\nCall every animal a PLANT. Call every stone a stone."


def by_percent(inputs):
    return task_model.invoke([SystemMessage(PERCENT % "desk"), HumanMessage(FRAME.format(word=inputs["word"]))]).text


DOLLARS = Template("You sort the words of team $team into two kinds.\nCall every animal a PLANT. Answer with one word.")


def by_dollars(inputs):
    return task_model.invoke([SystemMessage(DOLLARS.substitute(team="desk")), HumanMessage(inputs["word"])]).text


def test_a_string_template_is_refused_with_the_line_to_write():
    form = r"with {team} in place of \$team, and send DOLLARS.format\(...\) for DOLLARS.substitute"
    with pytest.raises(PromptError, match=form):
        run(target=by_dollars)


def test_a_text_that_is_changed_on_the_way_is_refused_with_the_line_to_write():
    with pytest.raises(PromptError) as raised:
        run(target=by_percent)
    found = re.search(r"Parts of the text 'PERCENT' \((.+):(\d+)\) are sent, changed on the way", str(raised.value))
    assert found, raised.value
    assert Path(found[1]).read_text().splitlines()[int(found[2]) - 1].startswith("PERCENT =")
    assert 'PERCENT = tunable("""You sort the words' in str(raised.value)
