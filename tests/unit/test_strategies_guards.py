"""The Standard guards: each rule refuses what it is for, with its id, and lets ordinary edits pass."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.errors import RecipeError
from langchain_promptopt.protocols import GuardContext
from langchain_promptopt.steps import GlobalProposal, LocalProposal
from langchain_promptopt.steps.propose import edits_from_texts, format_of
from langchain_promptopt.strategies.guards import Standard
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import (
    Allowance,
    Batch,
    Draft,
    Edit,
    Example,
    Message,
    Prompt,
    PromptSet,
    Shown,
    Span,
    Workpiece,
)

TEXT = "Read the ticket and name its kind. Say BILLING when money is mentioned. Ticket: {ticket}"
ROW = Example(
    "r1", {"ticket": "my card was charged twice for the same order last week"}, {"reply": "We have refunded it."}
)


def prompts(text=TEXT, template_format="f-string"):
    return PromptSet((Prompt("main", (Message("human", text, template_format),)),))


def child(parent, old, new):
    text = parent["main"].messages[0].template
    at = text.index(old)
    edit = Edit(Span("main", 0, at, at + len(old)), old, new)
    return Draft(parent.apply([edit]), (edit,))


def rule(parent, draft, guards=None, *, allowance=None, known=(), examples=()):
    batch = Batch(errors=tuple(Shown(e.id, e.inputs, e.outputs, "x", 0.0) for e in examples))
    piece = Workpiece(parent, batch=batch, allowance=allowance or Allowance())
    found = (guards or Standard()).check(parent, draft, GuardContext(piece, "spans", frozenset(known), examples))
    return found.rule if found else None


def test_an_ordinary_edit_passes():
    assert rule(prompts(), child(prompts(), "is mentioned", "was taken or is missing"), examples=[ROW]) is None


@pytest.mark.parametrize("damage", ["before", "after", "frozen", "role"])
def test_a_child_with_one_blank_less_is_refused(damage):
    """The guard reads the two texts; it does not make the child again by the same way."""
    parent = prompts("Name its  kind. Say BILLING.  Ticket: {ticket}")
    good = child(parent, "BILLING", "PAYMENT")
    text, role = good.prompts["main"].messages[0].template, "human"
    if damage == "before":
        text = text.replace("its  kind", "its kind")
    elif damage == "after":
        text = text.replace(".  Ticket", ". Ticket")
    elif damage == "frozen":
        text = text.replace("{ticket}", "{ticket} ")
    else:
        role = "system"
    damaged = PromptSet((Prompt("main", (Message(role, text),)),))
    assert rule(parent, good) is None
    assert rule(parent, Draft(damaged, good.edits)) == "local"


@pytest.mark.parametrize(
    ("new", "refused"),
    [
        ("is mentioned {other}", "vars"),
        ("is mentioned {ticket}", "vars"),
        ("is }broken", "vars"),
        ("as in the improved prompt", "meta_talk"),
        ("<START>is mentioned", "leaked_marker"),
        ("is mentioned. ```", "leaked_marker"),
        ("is mentioned, as <Prompt> says", "leaked_marker"),
        ("is mentioned by <Entity>", "placeholder"),
        ("is mentioned by [insert name here]", "placeholder"),
        ("is mentioned by <<customer>>", "placeholder"),
        ("is mentioned, which yields higher scores", "meta_talk"),
        ("is mentioned, as in my card was charged twice for the same order", "example_copied"),
        ("is mentioned; then say: We have refunded it.", "gold_answer"),
        ("упомянуты в самом обращении клиента", "language"),
    ],
)
def test_each_rule_has_its_id(new, refused):
    assert rule(prompts(), child(prompts(), "is mentioned", new), examples=[ROW]) == refused


@pytest.mark.parametrize(
    "new", ["name its kind as <kind>: <reason>", "<Kind>name it</Kind>", "name [one] of (A) to (C)"]
)
def test_the_form_of_a_reply_is_no_placeholder(new):
    assert rule(prompts(), child(prompts(), "name its kind", new)) is None


def test_a_placeholder_of_the_parent_may_stay():
    parent = prompts(TEXT.replace("its kind", "its kind for <Customer>"))
    assert rule(parent, child(parent, "Say BILLING", "For <Customer> say BILLING")) is None


@pytest.mark.parametrize(
    ("template_format", "text"),
    [
        ("mustache", "Sort {{#items}}{{name}} {{/items}} by size please."),
        ("jinja2", "{% if vip %}Greet them by name.{% endif %} Answer {{ question }} please."),
    ],
)
@given(new=st.text(alphabet="{}%#/ axy", max_size=8))
@settings(max_examples=60)
def test_a_child_that_does_not_parse_is_refused_and_never_raises(template_format, text, new):
    parent = prompts(text, template_format)
    draft = child(parent, "please", new)
    refused = rule(parent, draft)
    atoms = parent["main"].messages[0].parsed.signature
    if "{" in new or "}" in new:
        assert refused is None or isinstance(refused, str)
    if refused is None:
        assert draft.prompts["main"].messages[0].parsed.signature == atoms


def test_a_label_that_the_prompt_names_already_is_no_leak():
    row = Example("r2", {"ticket": "t"}, {"label": "BILLING when money is mentioned"})
    assert rule(prompts(), child(prompts(), "name its kind", "name the kind"), examples=[row]) is None


def test_answers_are_found_anywhere_in_the_outputs():
    nested = Example("r3", {"ticket": "t"}, {"turns": [{"text": "Please restart the router first."}]})
    draft = child(prompts(), "is mentioned", "is mentioned. Please restart the router first.")
    assert rule(prompts(), draft, examples=[nested]) == "gold_answer"


def test_a_stretch_of_any_row_is_a_copy_and_single_words_are_one_only_of_rows_that_were_shown():
    """An optimizer model may know a public data set by heart, so rows it was not shown count too."""
    unseen = Example("r9", {"ticket": "the parcel went to the wrong house on monday morning"}, {"reply": "-"})
    stretch = child(prompts(), "is mentioned", "is mentioned, or the parcel went to the wrong house on monday")
    words = child(prompts(), "is mentioned", "is mentioned; parcel, wrong, house, monday, morning: SHIPPING")
    piece = Workpiece(prompts(), batch=Batch(errors=(Shown(ROW.id, ROW.inputs, ROW.outputs, "x", 0.0),)))
    context = GuardContext(piece, "spans", frozenset(), (ROW, unseen))
    assert Standard().check(prompts(), stretch, context).rule == "example_copied"
    assert Standard().check(prompts(), words, context) is None
    assert rule(prompts(), words, examples=[unseen]) == "example_copied"


def test_the_budget_is_an_echo_only_when_it_was_told():
    draft = child(prompts(), "name its kind", "name its kind within 40 words")
    assert rule(prompts(), draft, allowance=Allowance(40, stated=True)) == "budget_echo"
    assert rule(prompts(), draft, allowance=Allowance(40)) is None
    assert rule(prompts(), draft, allowance=Allowance(30, stated=True)) is None


def test_enforced_allowances_count_words_changed():
    draft = child(prompts(), "is mentioned", "was taken")
    assert rule(prompts(), draft, allowance=Allowance(1, enforced=True)) == "over_allowance"
    assert rule(prompts(), draft, allowance=Allowance(2, enforced=True)) is None


def test_cap_and_bounds():
    longer = child(prompts(), "is mentioned", " ".join(f"word{i}" for i in range(40)))
    assert rule(prompts(), longer, Standard(cap=50)) == "too_long"
    assert rule(prompts(), longer, Standard(cap=80)) is None
    with pytest.raises(RecipeError, match=r"guards\.cap"):
        Standard(cap=0)


# ------------------------------------------------------------------ what feeds the guards


def test_a_global_reply_that_cannot_be_read_whole_is_refused():
    policy = "## Policy\nRefunds take five days and need a receipt from the shop where it was bought."
    text = f"Read the ticket slowly.\n{policy}\nName its kind. ALPHA Think about it. BETA Answer with one word."
    frozen = tuple((text.index(x), text.index(x) + len(x)) for x in (policy, "ALPHA", "BETA"))
    parent = PromptSet((Prompt("main", (Message("human", text, frozen=frozen),)),))
    reply = f"<START>Look at it.\n{policy}\nSay the kind. Reflect. BETA Then answer in one word.<END>"
    out = GlobalProposal(model=ScriptedModel(fn=lambda _: reply)).invoke(Workpiece(parent))
    assert out.drafts == ()
    assert [r.rule for r in out.rejections] == ["unreadable"]
    whole = reply.replace("Reflect.", "ALPHA Reflect.")
    assert len(GlobalProposal(model=ScriptedModel(fn=lambda _: whole)).invoke(Workpiece(parent)).drafts) == 1


def test_insertions_bring_their_own_blank():
    parent = prompts()
    at = TEXT.index(" Say")
    edits, refused = edits_from_texts(parent, (Span("main", 0, at, at),), {0: ("Be brief.", "")}, (), bounded=True)
    assert not refused
    made = parent.apply(edits)["main"].messages[0].template
    assert made.startswith("Read the ticket and name its kind. Be brief. Say")


def test_insertions_in_scripts_without_blanks_bring_none():
    parent = prompts("请回答问题。{q}")
    edits, _ = edits_from_texts(parent, (Span("main", 0, 1, 1),), {0: ("简短", "")}, (), bounded=True)
    assert parent.apply(edits)["main"].messages[0].template == "请简短回答问题。{q}"


def test_formats_of_prompts():
    mixed = PromptSet((Prompt("a", (Message("human", "x {q}"), Message("human", "{{q}}", "mustache"))),))
    assert format_of(prompts()) == "f-string"
    assert format_of(mixed) is None
    assert format_of(prompts("plain", "literal")) == "literal"


def test_a_mustache_name_in_a_reply_is_a_new_variable():
    parent = prompts("Sort {{text}} quickly now.", "mustache")
    at = parent["main"].messages[0].template.index("quickly")
    piece = Workpiece(parent, spans=(Span("main", 0, at, at + 7),), span_reasons=("",), tagged="x")
    reply = "Sort {{text}} by {{secret}} now."
    out = LocalProposal(model=ScriptedModel(fn=lambda _: reply), protocol="reply").invoke(piece)
    assert "new_variable" in {r.rule for r in out.rejections}
    assert out.drafts == ()
