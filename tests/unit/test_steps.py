"""The four steps alone, composed with `|`, and against everything a model may send back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from langchain_promptopt import GlobalProposal, IdentifyTokens, LocalProposal, TextualGradient
from langchain_promptopt.bench import planted_optimizer
from langchain_promptopt.errors import PromptError
from langchain_promptopt.offline import offline_model
from langchain_promptopt.offline.conversation import understand
from langchain_promptopt.steps.line_protocol import is_example
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Rejection, Workpiece

PROMPT = "Sort the ticket. Be very terse. Answer with one label.\nTicket: {ticket}"
ERRORS = [{"id": "r7", "inputs": {"ticket": "I return the lamp"}, "expected": {"label": "refund"}, "answer": "bill"}]
PIECE = {"prompt": PROMPT, "errors": ERRORS}
MARKED = PROMPT.replace("very terse", "<edit>very terse</edit>")
WRECKS = {
    "empty": "",
    "blank": " \n\t ",
    "talk": "I am sorry, but I cannot help with that request.",
    "cut off": '{"1": {"new": "exa',
    "cut list": '[{"message": 0, "quote": "very ter',
    "wrong numbers": '{"7": {"new": "exact", "reason": "x"}, "zero": "y"}',
    "wrong kinds": '{"1": {"new": 5}}',
    "list of junk": '[1, null, "very terse", {"quote": 3}, {"first": "x"}]',
    "foreign quote": '[{"message": 9, "quote": "words that stand nowhere", "occurrence": -2}]',
    "deep": "[" * 5000,
    "deep object": '{"a":' * 5000,
    "control": "\x00\x1b[31m\ud83d",
    "thinking": "<think>very terse is bad",
    "one marker": "<START> Sort the ticket exactly.",
    "markers reversed": "<END>x<START>",
    "no variable": "<START>Sort the ticket exactly.<END>",
    "another variable": "<START>Sort the ticket {label}.\nTicket: {ticket}<END>",
    "unclosed tag": PROMPT.replace("very terse", "<edit>very terse"),
    "whole prompt": PROMPT,
}
"""Replies that no protocol takes as they are; none may raise, none may become a prompt."""


def model(*replies) -> ScriptedModel:
    """Says these one after the other, then the last again."""
    said = iter(replies)
    last = [replies[-1]]

    def answer(_):
        last[0] = next(said, last[0])
        return last[0]

    return ScriptedModel(fn=answer)


def texts(piece: Workpiece) -> list[str]:
    return [piece.prompts.text_at(s) for s in piece.spans or ()]


def children(piece: Workpiece) -> list[str]:
    return [draft.prompts["main"].messages[0].template for draft in piece.drafts]


def slots(new: str) -> str:
    return json.dumps({"1": {"new": new, "reason": "the rows want it"}})


def marked(protocol="slots", **more) -> Workpiece:
    quote = json.dumps([{"message": 0, "quote": "very terse", "occurrence": 1, "reason": "too short"}])
    return IdentifyTokens(model=model(quote), **more).invoke(PIECE)


# ------------------------------------------------------------------ alone


@pytest.mark.parametrize("variant", ["apo", "pe2"])
def test_a_gradient_says_why(variant):
    script = model("- the rule is too terse\n- no label is named")
    step = TextualGradient(model=script, variant=variant)
    out = step.invoke(PIECE)
    assert out.feedback.text.startswith("- the rule is too terse")
    assert out.feedback.example_ids == ("r7",)
    request = "\n".join(str(m.text) for m in script.calls[0])
    assert "I return the lamp" in request
    assert PROMPT in request


QUOTE = '[{"message": 0, "quote": "very terse", "occurrence": 1, "reason": "too short"}]'
INDEX = '[{"first": 5, "last": 6, "reason": "too short"}]'


@pytest.mark.parametrize(("protocol", "reply"), [("quote", QUOTE), ("echo", MARKED), ("index", INDEX)])
def test_tokens_are_marked_in_the_original_text(protocol, reply):
    out = IdentifyTokens(model=model(reply), protocol=protocol).invoke(PIECE)
    assert texts(out) == ["very terse"]
    assert out.tagged == MARKED
    assert out.prompts["main"].messages[0].template == PROMPT
    assert out.rejections == ()


@pytest.mark.parametrize("protocol", ["quote", "echo", "index"])
def test_variables_and_too_much_are_never_marked(protocol):
    everything = {
        "quote": json.dumps([{"message": 0, "quote": PROMPT}]),
        "echo": f"<edit>{PROMPT}</edit>",
        "index": '[{"first": 1, "last": 12}]',
    }[protocol]
    variable = {
        "quote": json.dumps([{"message": 0, "quote": "{ticket}"}]),
        "echo": PROMPT.replace("{ticket}", "<edit>{ticket}</edit>"),
        "index": '[{"first": 99, "last": 99}]',
    }[protocol]
    for reply in (everything, variable):
        out = IdentifyTokens(model=model(reply), protocol=protocol).invoke(PIECE)
        assert "{ticket}" not in "".join(texts(out))
        assert sum(len(t.split()) for t in texts(out)) <= 5
        assert out.spans or out.rejections


def test_a_fault_is_named_once_more_before_it_counts():
    script = model("no list here", QUOTE)
    out = IdentifyTokens(model=script).invoke(PIECE)
    assert texts(out) == ["very terse"]
    assert [r.rule for r in out.rejections] == ["no_json"]
    assert "holds no JSON object" in str(script.calls[1][-1].text)


@pytest.mark.parametrize(("protocol", "reply"), [("slots", slots("exact")), ("reply", MARKED.replace("very t", "t"))])
@pytest.mark.parametrize("enforce", ["strict", "audit", "off"])
def test_a_local_proposal_changes_the_marked_words(protocol, reply, enforce):
    step = LocalProposal(model=model(reply), protocol=protocol, enforce=enforce)
    out = step.invoke(marked())
    new = "exact" if protocol == "slots" else "terse"
    assert children(out) == [PROMPT.replace("very terse", new)]
    assert out.rejections == ()


def test_strict_keeps_the_rest_whatever_comes_back_and_audit_says_how_much_was_lost():
    astray = MARKED.replace("very terse", "exact").replace("one label", "a single word")
    strict = LocalProposal(model=model(astray), protocol="reply").invoke(marked())
    assert children(strict) == [PROMPT.replace("very terse", "exact")]
    audit = LocalProposal(model=model(astray), protocol="reply", enforce="audit").invoke(marked())
    assert children(audit) == [PROMPT.replace("very terse", "exact").replace("one label", "a single word")]
    assert 0 < audit.drafts[0].leak < 1


@pytest.mark.parametrize("enforce", ["strict", "audit", "off"])
def test_no_enforcement_lets_a_variable_go(enforce):
    lost = MARKED.replace("{ticket}", "the ticket")
    out = LocalProposal(model=model(lost, slots("{label}")), protocol="reply", enforce=enforce).invoke(marked())
    assert all("{ticket}" in child and "{label}" not in child for child in children(out))
    assert out.rejections or children(out) == []


def test_a_local_proposal_without_marks_is_a_rejection():
    script = model(slots("exact"))
    out = LocalProposal(model=script).invoke(PIECE)
    assert [r.rule for r in out.rejections] == ["no_spans"]
    assert script.calls == []


@pytest.mark.parametrize("goal", ["edit", "generate", "paraphrase"])
def test_a_global_proposal_is_the_difference_of_words(goal):
    whole = f"<START>{PROMPT.replace('very terse', 'exact')}<END>"
    out = GlobalProposal(model=model(whole), goal=goal).invoke(PIECE)
    assert children(out) == [PROMPT.replace("very terse", "exact")]
    assert [(e.old, e.new) for e in out.drafts[0].edits] == [("very terse", "exact")]
    assert out.drafts[0].edits[0].example_ids == ("r7",)


def test_several_children_are_asked_for_one_by_one():
    from dataclasses import replace

    script = model(slots("exact"), slots("kind"), slots("calm"))
    out = LocalProposal(model=script).invoke(replace(marked(), children=3))
    assert [e.new for d in out.drafts for e in d.edits] == ["exact", "kind", "calm"]
    assert len(script.calls) == 3


# ------------------------------------------------------------------ as Runnables


def test_steps_compose_and_keep_one_conversation():
    script = model("- too terse", QUOTE, slots("exact"))
    steps = TextualGradient(model=script) | IdentifyTokens(model=script) | LocalProposal(model=script)
    assert isinstance(steps, Runnable)
    out = steps.invoke(PIECE)
    assert children(out) == [PROMPT.replace("very terse", "exact")]
    assert [len(call) for call in script.calls] == [2, 6, 8]  # the second shows a worked example before it asks
    assert [role for role, _ in out.turns] == ["system", *["human", "ai"] * 4]
    edit = out.drafts[0].edits[0]
    assert (edit.reason, edit.example_ids) == ("the rows want it", ("r7",))


async def _awaited(step):
    return await step.ainvoke(PIECE)


def test_steps_run_inside_an_event_loop():
    import asyncio

    assert texts(asyncio.run(_awaited(IdentifyTokens(model=model(QUOTE))))) == ["very terse"]


def test_the_steps_learn_with_the_offline_model():
    brain = offline_model("optimizer")
    prompt = "Sort the ticket.\n\nLabels:\n- refund: money back\n- bill: invoice, return\n\nTicket: {ticket}"
    steps = TextualGradient(model=brain) | IdentifyTokens(model=brain) | LocalProposal(model=brain)
    out = steps.invoke({"prompt": prompt, "errors": ERRORS})
    assert len(out.drafts) == 1
    assert children(out)[0] != prompt
    assert "{ticket}" in children(out)[0]


class TakesSchemas(Runnable):
    """An OpenAI-compatible model as the engine addresses it; records what it was asked."""

    takes_schema = True

    def __init__(self, *replies):
        from langchain_openai import ChatOpenAI

        self.inner, self.replies, self.asked = ChatOpenAI(model="m", api_key="none"), list(replies), []

    def invoke(self, input, config=None, **kwargs):  # noqa: A002
        self.asked.append((input, kwargs))
        return AIMessage(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])

    async def ainvoke(self, input, config=None, **kwargs):  # noqa: A002
        return self.invoke(input, config, **kwargs)


BETTER = PROMPT.replace("very terse", "exact")
RULES = "Sort the ticket.\nLamps and chairs: bill.\nInvoices: bill.\nTicket: {ticket}"


class TestReasons:
    def test_one_reason_is_asked_for_after_a_worked_example_and_beside_the_likely_lines(self):
        asked = TakesSchemas("The line misled it.")
        out = TextualGradient(model=asked).invoke({**PIECE, "prompt": RULES})
        turns = [text for _, text in asked.asked[0][0]]
        assert is_example(turns[1])
        assert "Bats and mice" in turns[2]
        assert "Lamps and chairs: bill." in turns[3][turns[3].index("<likely>") :]
        assert "Bats" not in turns[3]
        assert out.feedback.text == "The line misled it."

    @pytest.mark.parametrize("more", [{"reasons": 3}, {"variant": "pe2"}])
    def test_other_forms_of_reasons_have_no_example(self, more):
        asked = TakesSchemas("x")
        TextualGradient(model=asked, **more).invoke(PIECE)
        assert [role for role, _ in asked.asked[0][0]] == ["system", "human"]

    @pytest.mark.parametrize("read", [understand, planted_optimizer.asked])
    def test_the_models_of_this_package_read_past_the_example(self, read):
        found = TextualGradient(model=TakesSchemas("The line misled it.")).invoke(PIECE)
        assert any(is_example(text) for _, text in found.turns)
        asked = read(list(found.turns))
        assert (asked.prompt, asked.kind) == (PROMPT, "reasons")
        assert len(asked.errors) == 1
        if read is understand:
            assert asked.feedback == ""  # what the example was answered is no reason


class TestWholePrompts:
    @pytest.mark.parametrize(
        "reply",
        [
            json.dumps({"why": "It is too terse.", "prompt": BETTER}),
            "```json\n" + json.dumps({"prompt": BETTER}) + "\n```",
            f"<START>\n{BETTER}\n<END>",
            json.dumps({"prompt": f"<prompt>\n{BETTER}\n</prompt>"}),
            f"<START>\n<prompt>\n{BETTER}\n</prompt>\n\nRows the prompt got wrong:\n<errors>\n{{}}\n</errors>\n<END>",
        ],
    )
    def test_a_model_that_takes_a_schema_may_reply_in_either_form(self, reply):
        asked = TakesSchemas(reply)
        out = GlobalProposal(model=asked).invoke(PIECE)
        assert [d.prompts.document.text for d in out.drafts] == [BETTER]
        assert "response_format" in asked.asked[0][1]["extra_body"]

    def test_it_is_shown_a_worked_example_first_and_the_users_prompt_last(self):
        asked = TakesSchemas(json.dumps({"prompt": BETTER}))
        GlobalProposal(model=asked).invoke(PIECE)
        turns = asked.asked[0][0]
        assert [role for role, _ in turns] == ["system", "human", "ai", "human"]
        assert is_example(turns[1][1])
        assert PROMPT in turns[3][1]
        assert PROMPT not in turns[1][1]
        assert "<START>" not in turns[3][1]

    @pytest.mark.parametrize("goal", ["generate", "paraphrase", "shorten"])
    def test_another_goal_than_mending_is_not_told_to_copy(self, goal):
        asked = TakesSchemas(json.dumps({"prompt": BETTER}))
        assert len(GlobalProposal(model=asked, goal=goal).invoke(PIECE).drafts) == 1
        (_, human), kwargs = asked.asked[0][0], asked.asked[0][1]
        assert "copy each line" not in human[1]
        assert '"prompt" (the whole new prompt)' in human[1]
        assert "response_format" in kwargs["extra_body"]

    def test_the_second_try_asks_for_the_schema_too(self):
        asked = TakesSchemas("I would rather not.", json.dumps({"prompt": BETTER}))
        assert len(GlobalProposal(model=asked).invoke(PIECE).drafts) == 1
        assert ["response_format" in kwargs["extra_body"] for _, kwargs in asked.asked] == [True, True]

    @pytest.mark.parametrize("reply", ['{"why": "x"}', '{"prompt": ""}', '{"prompt": 3}', '{"prompt": "' + BETTER[:30]])
    def test_a_reply_without_a_whole_prompt_is_no_prompt(self, reply):
        out = GlobalProposal(model=TakesSchemas(reply)).invoke(PIECE)
        assert out.drafts == ()
        assert out.rejections[0].rule == "markers"

    def test_a_prompt_with_a_sentence_of_the_worked_example_is_refused(self):
        copied = BETTER.replace("Answer with one label.", "Name the class alone.")
        out = GlobalProposal(model=TakesSchemas(json.dumps({"prompt": copied}))).invoke(PIECE)
        assert [r.rule for r in out.rejections] == ["copied"]
        own = PROMPT.replace("Answer with one label.", "Name the class alone.")
        new = own.replace("very terse", "exact")
        out = GlobalProposal(model=TakesSchemas(json.dumps({"prompt": new}))).invoke({**PIECE, "prompt": own})
        assert len(out.drafts) == 1

    def test_without_the_example_no_sentence_is_copied_from_it(self):
        new = BETTER.replace("Answer with one label.", "Name the class alone.")
        assert len(GlobalProposal(model=model(f"<START>{new}<END>")).invoke(PIECE).drafts) == 1

    def test_a_prompt_with_a_section_of_its_own_keeps_it(self):
        own = "<prompt>\nBe very terse.\n</prompt>\nTicket: {ticket}"
        new = own.replace("very terse", "exact")
        out = GlobalProposal(model=TakesSchemas(json.dumps({"prompt": new}))).invoke({**PIECE, "prompt": own})
        assert [d.prompts.document.text for d in out.drafts] == [new]

    @pytest.mark.parametrize("read", [understand, planted_optimizer.asked])
    def test_the_models_of_this_package_read_past_the_example(self, read):
        model = TakesSchemas("x")
        GlobalProposal(model=model).invoke(PIECE)
        found = read(model.asked[0][0])
        assert (found.prompt, found.kind) == (PROMPT, "global")
        assert len(found.errors) == 1


@pytest.mark.parametrize("step", [TextualGradient, IdentifyTokens, LocalProposal, GlobalProposal])
def test_steps_are_one_traced_span_each(step):
    from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

    collector = RunCollectorCallbackHandler()
    replies = {TextualGradient: "- why", IdentifyTokens: QUOTE, LocalProposal: slots("exact"), GlobalProposal: "x"}
    given = marked() if step is LocalProposal else PIECE
    step(model=model(replies[step])).invoke(given, config={"callbacks": [collector]})
    (root,) = collector.traced_runs
    assert root.name == step.run_name
    assert [c.run_type for c in root.child_runs][:1] == ["chat_model"] or root.child_runs[0].name == "ScriptedModel"


@pytest.mark.parametrize("bad", [None, 5, {"errors": []}, {"prompt": 7}])
def test_what_is_no_prompt_is_refused_with_an_example(bad):
    with pytest.raises(PromptError) as caught:
        TextualGradient(model=model("x")).invoke(bad)
    assert caught.value.mend


# ------------------------------------------------------------------ replies that are no use


def _all_steps(reply):
    given = marked()
    yield TextualGradient(model=model(reply)).invoke(PIECE)
    for protocol in ("quote", "echo", "index"):
        yield IdentifyTokens(model=model(reply), protocol=protocol).invoke(PIECE)
    for enforce in ("strict", "audit", "off"):
        for protocol in ("slots", "reply"):
            yield LocalProposal(model=model(reply), protocol=protocol, enforce=enforce).invoke(given)
    yield GlobalProposal(model=model(reply)).invoke(PIECE)


def _harmless(reply, out):
    for draft in out.drafts:
        source = draft.prompts["main"].messages[0].template
        assert source != reply or reply.count("{ticket}") == 1  # audit takes a lawful prompt as it is
        assert source.count("{ticket}") == 1
        assert draft.prompts["main"].variables == ("ticket",)
    assert all(isinstance(r, Rejection) and r.rule for r in out.rejections)
    if out.spans:
        assert all(out.prompts.text_at(s) in PROMPT for s in out.spans)


@pytest.mark.parametrize("name", WRECKS)
def test_no_reply_raises_and_none_becomes_a_prompt(name):
    for out in _all_steps(WRECKS[name]):
        _harmless(WRECKS[name], out)


@pytest.mark.parametrize("name", [n for n in WRECKS if n != "whole prompt"])
def test_a_useless_reply_is_counted(name):
    reply = WRECKS[name]
    for protocol in ("slots", "reply"):
        out = LocalProposal(model=model(reply), protocol=protocol).invoke(marked())
        assert out.drafts == ()
        assert out.rejections
    out = GlobalProposal(model=model(reply)).invoke(PIECE)
    assert out.drafts == ()
    assert out.rejections
    out = IdentifyTokens(model=model(reply)).invoke(PIECE)
    assert not out.spans
    assert len(out.rejections) == 2, "the first try and the second are two refusals"


def test_a_reply_cut_off_at_the_limit_is_counted_too():
    cut = AIMessage('{"1": {"new": "ex', response_metadata={"finish_reason": "length"})
    out = LocalProposal(model=model(cut)).invoke(marked())
    assert (out.drafts, [r.rule for r in out.rejections]) == ((), ["no_json", "no_json"])


def test_a_reply_in_content_blocks_is_read():
    blocks = AIMessage([{"type": "text", "text": slots("exact")}])
    assert children(LocalProposal(model=model(blocks)).invoke(marked())) == [PROMPT.replace("very terse", "exact")]


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["1", "2", "new", "quote", "first", "last", "message"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        ).map(json.dumps),
        st.lists(
            st.sampled_from(["<START>", "<END>", "<edit>", "</edit>", PROMPT, "{x}", "{{", "very terse", "\n"])
        ).map("".join),
    )
)
def test_generated_replies_are_harmless(reply):
    for out in _all_steps(reply):
        _harmless(reply, out)
