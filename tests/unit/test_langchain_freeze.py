"""`freeze=` rules."""

from __future__ import annotations

import pytest

from langchain_promptopt._langchain.freeze import editable_text, headings, resolve_freeze
from langchain_promptopt.errors import ConfigError, PromptError
from langchain_promptopt.types import Edit, Message, Prompt, PromptSet, Span

TEXT = (
    "Intro.\n# Rules\nBe kind.\n## Refund policy\nNo <legal>a\nb</legal> {q}.\n"
    "### Detail\nx\n## Tone\nWarm.\n# End\nBye."
)


def prompts(*templates):
    messages = tuple(Message(role, text) for role, text in templates or (("system", TEXT), ("human", "Q: {q}")))
    return PromptSet((Prompt("main", messages),))


def frozen(rules, *templates):
    (prompt,) = resolve_freeze(prompts(*templates), rules)
    return [[m.template[a:b] for a, b in m.frozen] if m.editable else "all" for m in prompt.messages]


def test_a_heading_freezes_up_to_the_next_of_its_level():
    assert frozen(["## Refund policy"]) == [
        ["## Refund policy\nNo <legal>a\nb</legal> {q}.\n### Detail\nx\n"],
        [],
    ]
    assert frozen(["# end "]) == [["# End\nBye."], []]
    assert frozen(["# Rules"])[0][0].endswith("Warm.\n")


def test_headings_in_code_fences_are_code():
    text = "# A\n```\n# not\n```\n~~~\n# nor\n```\n~~~\n## B ##\n#no\n"
    assert [h.text for h in headings(text)] == ["# A", "## B"]


def test_patterns_span_lines_and_anchor_at_lines():
    assert frozen([r"re:<legal>.*?</legal>"]) == [["<legal>a\nb</legal>"], []]
    assert frozen([r"re:^Warm\.$"]) == [["Warm."], []]


def test_roles_messages_and_prompts():
    assert frozen(["role:user"]) == [[], "all"]
    assert frozen(["message:0"]) == ["all", []]
    both = PromptSet((Prompt("a", (Message("human", "A"),)), Prompt("b", (Message("human", "B"),))))
    assert [[m.editable for m in p.messages] for p in resolve_freeze(both, ["prompt:a"])] == [[False], [True]]


def test_rules_add_up():
    assert frozen(["## Tone", "re:Warm", "role:human"]) == [["## Tone\nWarm.\n"], "all"]


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("## Refund polici", "nearest heading is '## Refund policy'"),
        ("re:nowhere", "matches nothing"),
        ("re:z*", "matches nothing"),
        ("re:(", "no regular expression"),
        ("role:critic", "There is: human, system"),
        ("message:7", "There is: 0, 1"),
        ("prompt:other", "There is: main"),
        ("Refund policy", "re:pattern"),
        ("#Refund", "no Markdown heading"),
    ],
)
def test_a_rule_that_matches_nothing_is_refused(rule, hint):
    with pytest.raises(ConfigError, match="freeze") as raised:
        resolve_freeze(prompts(), [rule])
    assert hint in str(raised.value)


def test_nothing_left_to_edit_is_an_error():
    with pytest.raises(PromptError, match="nothing is left to edit"):
        resolve_freeze(prompts(), ["role:system", "role:human"])
    with pytest.raises(PromptError, match="nothing is left to edit"):
        resolve_freeze(prompts(("human", " {q}\n")), [])
    with pytest.raises(PromptError, match="nothing is left to edit"):
        resolve_freeze(prompts(("system", "All."), ("human", "{q}")), ["re:.*"])


def test_editable_text_is_what_is_neither_atom_nor_frozen():
    assert (
        editable_text(
            resolve_freeze(
                prompts(
                    ("system", "Keep this. Not {q} that"),
                ),
                ["re:Keep this."],
            )
        )
        == "Notthat"
    )


def test_frozen_ranges_follow_edits():
    done = resolve_freeze(prompts(), ["## Refund policy"]).apply(
        [Edit(Span("main", 0, 0, 6), "Intro.", "A longer intro.")]
    )
    (a, b) = done["main"].messages[0].frozen[0]
    assert done["main"].messages[0].template[a:b].startswith("## Refund policy\nNo")
