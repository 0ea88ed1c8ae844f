"""Live templates to `Prompt` and back: nothing but texts changes, and nothing is shared."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import (
    ChatMessagePromptTemplate,
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    FewShotPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
    SystemMessagePromptTemplate,
)
from langchain_core.prompts.few_shot_with_templates import FewShotPromptWithTemplates

from langchain_promptopt._langchain.conversion import (
    Snapshot,
    build_template,
    from_prompt,
    to_prompt,
    write_all,
    write_back,
)
from langchain_promptopt.errors import PromptError

EXAMPLE = ChatPromptTemplate([("human", "{i}"), ("ai", "{o}")])


def few_shot_chat():
    return FewShotChatMessagePromptTemplate(examples=[{"i": "1+1", "o": "2"}], example_prompt=EXAMPLE)


def few_shot(**kwargs):
    return FewShotPromptTemplate(
        examples=[{"i": "a", "o": "b"}],
        example_prompt=PromptTemplate.from_template("{i}->{o}"),
        prefix="Follow {style}.",
        suffix="Now {q}",
        **kwargs,
    )


def structured():
    from langchain_core.prompts.structured import StructuredPrompt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain calls the class beta, once in a process
        return StructuredPrompt([("system", "Give {what}."), ("human", "{q}")], {"title": "T", "type": "object"})


ZOO = {
    "string": lambda: PromptTemplate.from_template('Say {x}: {{"a": 1}}'),
    "string with parser": lambda: PromptTemplate(template="Say {x}", output_parser=StrOutputParser(), tags=["t"]),
    "mustache": lambda: PromptTemplate.from_template('{"a": 1} {{{x}}} {{#l}}{{n}}{{/l}}', template_format="mustache"),
    "jinja2": lambda: PromptTemplate.from_template("{% for a in b %}{{ a }}{% endfor %} é", template_format="jinja2"),
    "partial": lambda: PromptTemplate.from_template("{a} {b}", partial_variables={"a": "A"}),
    "chat": lambda: ChatPromptTemplate(
        [("system", "You are {role}. {{}}"), MessagesPlaceholder("h"), ("ai", "ok"), ("human", "{q}")],
        metadata={"k": 1},
    ),
    "chat optional placeholder": lambda: ChatPromptTemplate([("placeholder", "{h}"), ("human", "{q}")]),
    "chat partial": lambda: ChatPromptTemplate([("system", "{a} {b}"), ("human", "{q}")]).partial(a="A", b=str),
    "chat mixed formats": lambda: ChatPromptTemplate(
        [
            SystemMessagePromptTemplate.from_template("{{s}} {x}", template_format="mustache"),
            HumanMessagePromptTemplate.from_template("{q}"),
            ChatMessagePromptTemplate.from_template("{{ j }}", template_format="jinja2", role="critic"),
        ]
    ),
    "messages": lambda: ChatPromptTemplate([SystemMessage("literal {x}", id="7"), AIMessage("sure"), ("human", "{q}")]),
    "tool": lambda: ChatPromptTemplate(
        [
            AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
            ToolMessage("out", tool_call_id="1"),
            HumanMessage([{"type": "text", "text": "t"}]),
            ("human", "{q}"),
        ]
    ),
    "image": lambda: ChatPromptTemplate(
        [("system", "Look."), ("human", [{"type": "text", "text": "{q}?"}, {"type": "image_url", "image_url": "{u}"}])]
    ),
    "nested": lambda: ChatPromptTemplate(
        [ChatPromptTemplate([("system", "In {a}")]).partial(a="x"), few_shot_chat(), ("human", "{q}")]
    ),
    "few shot": few_shot,
    "few shot in a message": lambda: ChatPromptTemplate([SystemMessagePromptTemplate(prompt=few_shot())]),
    "few shot with templates": lambda: FewShotPromptWithTemplates(
        examples=[{"i": "a", "o": "b"}],
        example_prompt=PromptTemplate.from_template("{i}->{o}"),
        prefix=PromptTemplate.from_template("P {p}"),
        suffix=PromptTemplate.from_template("S {s}"),
        input_variables=["p", "s"],
    ),
    "structured": structured,
}


@pytest.fixture(params=sorted(ZOO))
def template(request):
    return ZOO[request.param]()


def test_unedited_prompts_come_back_equal_and_with_the_same_state(template):
    again = from_prompt(to_prompt(template, name="p"), like=template)
    assert type(again) is type(template)
    assert again is not template
    assert again == template
    assert again.model_fields_set == template.model_fields_set
    assert again._serialized == template._serialized


def test_variables_are_those_langchain_asks_for(template):
    prompt = to_prompt(template, name="p")
    fields_of_sections = {"n"}  # names inside a mustache section count as variables of ours
    assert set(prompt.variables) - fields_of_sections == set(template.input_variables)


def test_reading_and_building_touch_nothing(template):
    before = copy.deepcopy(template.model_dump(mode="python", warnings=False))
    prompt = to_prompt(template, name="p")
    edited = replace(prompt, messages=tuple(_longer(m) for m in prompt.messages))
    from_prompt(edited, like=template)
    assert template.model_dump(mode="python", warnings=False) == before


def _longer(message):
    return replace(message, template=f"New. {message.template}") if message.editable else message


def test_only_texts_change(template):
    prompt = to_prompt(template, name="p")
    edited = replace(prompt, messages=tuple(_longer(m) for m in prompt.messages))
    built = from_prompt(edited, like=template)
    assert to_prompt(built, name="p") == edited
    texts = {"messages", "template", "prefix", "suffix"}
    assert {n: getattr(built, n) for n in type(built).model_fields if n not in texts} == {
        n: getattr(template, n) for n in type(template).model_fields if n not in texts
    }


def test_what_is_frozen():
    def editable(name):
        return [(m.role, m.editable) for m in to_prompt(ZOO[name](), name="p").messages]

    assert editable("tool") == [("ai", False), ("tool", False), ("human", True), ("human", True)]
    assert editable("image") == [("system", True), ("human", True), ("human", False)]
    assert editable("few shot") == [("human", True), ("examples", False), ("human", True)]
    assert editable("chat") == [("system", True), ("placeholder", False), ("ai", True), ("human", True)]
    assert editable("nested") == [("system", True), ("examples", False), ("human", True)]


def test_few_shot_examples_are_shown_as_rendered():
    messages = to_prompt(few_shot(), name="p").messages
    assert messages[1].template == "a->b"
    assert to_prompt(ChatPromptTemplate([few_shot_chat()]), name="p").messages[0].template == "Human: 1+1\nAI: 2"


def test_literal_messages_keep_their_braces_and_have_no_variables():
    prompt = to_prompt(ZOO["messages"](), name="p")
    assert [m.template_format for m in prompt.messages] == ["literal", "literal", "f-string"]
    edited = replace(prompt, messages=(replace(prompt.messages[0], template="other {y}"), *prompt.messages[1:]))
    built = from_prompt(edited, like=ZOO["messages"]())
    assert built.format_messages(q="1")[0] == SystemMessage("other {y}", id="7")


def test_partials_are_names_and_not_variables():
    prompt = to_prompt(ZOO["chat partial"](), name="p")
    assert prompt.partials == ("a", "b")
    assert prompt.variables == ("q",)
    assert to_prompt(ZOO["nested"](), name="p").partials == ("a",)


@pytest.mark.parametrize(
    ("change", "expect"),
    [
        (lambda m: replace(m, template="no variable"), "lost"),
        (lambda m: replace(m, template="{role} {label}"), "label"),
        (lambda m: replace(m, role="human"), "messages"),
        (lambda m: replace(m, template_format="mustache"), "format"),
        (lambda m: replace(m, template="{role} {"), "p"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(change, expect):
    template = ChatPromptTemplate([("system", "You are {role}."), ("human", "{q}")])
    prompt = to_prompt(template, name="p")
    with pytest.raises(PromptError, match=expect):
        from_prompt(replace(prompt, messages=(change(prompt.messages[0]), prompt.messages[1])), like=template)


def test_a_frozen_block_cannot_be_changed():
    template = ZOO["few shot"]()
    prompt = to_prompt(template, name="p")
    changed = replace(prompt.messages[1], template="c->d")
    with pytest.raises(PromptError, match="examples block"):
        from_prompt(replace(prompt, messages=(prompt.messages[0], changed, prompt.messages[2])), like=template)


def test_stale_hub_metadata_goes_when_the_text_does():
    meta = {"lc_hub_owner": "o", "lc_hub_repo": "r", "lc_hub_commit_hash": "abc"}
    template = ChatPromptTemplate([("system", "Old"), ("human", "{q}")], metadata=dict(meta))
    prompt = to_prompt(template, name="p")
    assert from_prompt(prompt, like=template).metadata == meta
    edited = replace(prompt, messages=tuple(_longer(m) for m in prompt.messages))
    assert from_prompt(edited, like=template).metadata == {"lc_hub_owner": "o", "lc_hub_repo": "r"}
    assert template.metadata == meta


text = st.text(st.characters(codec="utf-8"), max_size=40)


@given(parts=st.lists(text, min_size=3, max_size=3), fmt=st.sampled_from(["f-string", "mustache", "jinja2"]))
def test_any_text_renders_the_same_after_a_round_trip(parts, fmt):
    hole = {"f-string": "{q}", "mustache": "{{{q}}}", "jinja2": "{{ q }}"}[fmt]
    plain = [p.replace("{", "").replace("}", "").replace("#", "") for p in parts]
    source = hole.join(plain)
    template = ChatPromptTemplate([("system", source), ("human", source)], template_format=fmt)
    built = from_prompt(to_prompt(template, name="p"), like=template)
    assert built.format_messages(q="<&>") == template.format_messages(q="<&>")
    assert [m.prompt.template for m in built.messages] == [source, source]


def test_siblings_made_by_partial_are_not_touched():
    base = ChatPromptTemplate([("system", "Old {a}"), ("human", "{q}")])
    sibling = base.partial(a="x")
    prompt = to_prompt(base, name="p")
    new = from_prompt(replace(prompt, messages=tuple(_longer(m) for m in prompt.messages)), like=base)
    write_back(base, new)
    assert base.format_messages(a="1", q="2")[0].content == "New. Old 1"
    assert sibling.format_messages(q="2")[0].content == "Old x"


def test_write_back_refuses_another_type():
    with pytest.raises(PromptError, match="cannot be written"):
        write_back(PromptTemplate.from_template("{x}"), ChatPromptTemplate([("human", "{x}")]))


def test_write_all_writes_nothing_when_one_fails():
    first, second = PromptTemplate.from_template("a {x}"), PromptTemplate.from_template("b {x}")
    state = dict(first.__dict__)
    with pytest.raises(PromptError):
        write_all([(first, PromptTemplate.from_template("new {x}")), (second, ChatPromptTemplate([("human", "{x}")]))])
    assert first.__dict__ == state


def test_snapshot_restores_everything_byte_for_byte(template):
    _ = template._serialized
    fields_set, state = set(template.model_fields_set), dict(template.__dict__)
    dumped = copy.deepcopy(template.model_dump(mode="python", warnings=False))
    snapshot = Snapshot(template)
    prompt = to_prompt(template, name="p")
    edited = from_prompt(replace(prompt, messages=tuple(_longer(m) for m in prompt.messages)), like=template)
    write_back(template, edited)
    assert template._serialized != state["_serialized"] or not any(m.editable for m in prompt.messages)
    if isinstance(template, ChatPromptTemplate):
        template.messages.append(HumanMessage("hand edit"))
    snapshot.restore()
    assert template.model_fields_set == fields_set
    assert all(template.__dict__[name] is value for name, value in state.items())
    assert list(template.__dict__) == list(state)
    assert template.model_dump(mode="python", warnings=False) == dumped


def test_snapshot_undoes_edits_inside_shared_messages():
    template = ChatPromptTemplate([("system", "Old"), ("human", "{q}")])
    snapshot = Snapshot(template)
    template.messages[0].prompt.template = "hand edit"
    template.messages.pop()
    snapshot.restore()
    assert [m.prompt.template for m in template.messages] == ["Old", "{q}"]


@pytest.mark.parametrize("name", ["string", "mustache", "jinja2", "chat", "chat optional placeholder", "messages"])
def test_build_template_makes_what_the_prompt_says(name):
    template = ZOO[name]()
    prompt = to_prompt(template, name="p")
    built = build_template(prompt)
    assert to_prompt(built, name="p") == prompt


def test_build_template_needs_the_values_of_partials():
    with pytest.raises(PromptError, match="partial variables"):
        build_template(to_prompt(ZOO["chat partial"](), name="p"))
