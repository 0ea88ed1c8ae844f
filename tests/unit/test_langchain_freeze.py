"""`freeze=` rules."""

from __future__ import annotations

import subprocess
import sys

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
        ("re:(", "not a regular expression"),
        ("role:critic", "There is: human, system"),
        ("message:7", "There is: 0, 1"),
        ("prompt:other", "There is: main"),
        ("Refund policy", "re:pattern"),
        ("#Refund", "not a Markdown heading"),
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


# ------------------------------------------------------------------ headings as Markdown sees them


def sections(text: str, heading: str) -> list[str]:
    """The frozen texts of a rule, where there is something else left to edit."""
    frozen = resolve_freeze(PromptSet((Prompt("p", (Message("human", f"Free.\n\n{text}", "literal"),)),)), [heading])
    message = frozen["p"].messages[0]
    return [message.template[a:b] for a, b in message.frozen]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("# A\n````\n# no\n```\n# no\n````\n## B", ["# A", "## B"]),
        ("# A\n~~~\n# no\n```\n~~~\n# B", ["# A", "# B"]),
        ("# A\n```\n# never closed", ["# A"]),
        ("# A\n``` not a fence ```\n# B", ["# A", "# B"]),
        ("# A\n    # indented code\n\n    # more\n# B", ["# A", "# B"]),
        ("# A\n\n\t# indented by a tab\n", ["# A"]),
        ("<!--\n# hidden\n-->\n# A <!-- x -->", ["# A <!-- x -->"]),
        ("<!-- one line --> # no\n# A", ["# A"]),
        ("Title\n=====\ntext\n\nSub title\n---\n", ["# Title", "## Sub title"]),
        ("one\ntwo\n---\n", ["## one two"]),
        ("text\n\n---\n\n# A", ["# A"]),
        ("> # quoted\n- # in a list\n\n# A", ["# A"]),
        ("#no blank\n####### seven\n# A #\n## B ## \n   ### C\t", ["# A", "## B", "### C"]),
        ("\\# escaped\n# A", ["# A"]),
        ("# A\r\n## B\rtext\r## C\n", ["# A", "## B", "## C"]),
        ("# A\u2028# no\x0b# no\n# B", ["# A\u2028# no\x0b# no", "# B"]),
    ],
)
def test_headings_are_what_markdown_sees(text, seen):
    found = headings(text)
    assert [h.text for h in found] == [" ".join(t.split()) if "\u2028" in t else t for t in seen]
    for heading in found:
        assert text[heading.start :].lstrip().startswith(("#", "Title", "Sub", "one"))


def test_a_section_ends_at_the_next_real_heading():
    text = (
        "## Refund policy\nNo.\n````\n## Fake\n```\n````\n<!--\n# Fake\n-->\nStill no.\n### Detail\nx\n\n"
        "Tone\n----\nWarm."
    )
    assert sections(text, "## refund  policy") == [text[: text.index("Tone")]]
    assert sections(text, "## Tone") == ["Tone\n----\nWarm."]


def test_all_sections_of_a_heading_are_frozen():
    text = "## Rules\na\n## Other\nb\n## Rules\nc\n"
    assert sections(text, "## Rules") == ["## Rules\na\n", "## Rules\nc\n"]


def test_a_heading_below_a_tag_can_be_named():
    text = "<rules>\n## Refund policy\nNo.\n## Tone\nWarm.\n</rules>\n\n# End\nBye."
    assert [h.text for h in headings(text)] == ["## Refund policy", "## Tone", "# End"]
    assert sections(text, "## Tone") == ["## Tone\nWarm.\n"]
    assert sections(text, "## Refund policy") == ["## Refund policy\nNo.\n"]


@pytest.mark.parametrize(
    "above",
    [
        "<a>\n<b>\n",
        "<a><b>\n",
        '<a>\n<b id="1">\n\n',
        "<div>\n<section>\n",
        "<a>\nWords.\n<div>\n",
        "<a>\n\n<div>Words.\n",
        "<a>\n<pre>\n# no\n</pre>\n",
        "<a>\n  <b>\n  ",
        "<a>\n    <b>\n    ",
        "</z>\n<br>\n<br/>\n",
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_heading_below_several_tags_can_be_named(above, line_end):
    text = f"{above}# Rules\nBe kind.\n# Tone\nWarm.".replace("\n", line_end)
    assert [s.strip() for s in sections(text, "# Rules")] == [f"# Rules{line_end}Be kind."]
    with pytest.raises(ConfigError, match="matches nothing"):
        sections(text, "# no")


@pytest.mark.parametrize(
    ("text", "frozen"),
    [
        ("# Rules\na\n# B\n<x>\n# Rules\nb\n</x>\n", ["# Rules\na\n", "# Rules\nb\n"]),
        ("<x>\n# Rules\nb\n</x>\n\n# Rules\na\n", ["# Rules\nb\n", "# Rules\na\n"]),
        ("<x>\n# Rules\nb\n</x>\n<y>\n# Rules\nc\n</y>\nFree.", ["# Rules\nb\n", "# Rules\nc\n"]),
    ],
)
def test_a_heading_is_frozen_inside_tags_and_outside(text, frozen):
    assert sections(text, "# Rules") == frozen


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("<r>\n# Rules\nBe kind.\n</r>\nFree.", "# Rules\nBe kind.\n"),
        ("<r>\n\n# Rules\n\nBe kind.\n\n</r>\n\nFree.", "# Rules\n\nBe kind.\n\n"),
        ("<r>\n# Rules\nBe kind.</r>\nFree.", "# Rules\nBe kind."),
        ("<r>\n  <s>\n    # Rules\n    Be kind.\n  </s>\n</r>\nFree.", "    # Rules\n    Be kind.\n"),
        ("<r>\n  <s>\n  # Rules\n  Be kind.\n  </s>\n# Tone\nx\n</r>\nFree.", "  # Rules\n  Be kind.\n"),
        ("<r>\n<r>\n# Rules\nBe kind.\n</r>\nmore\n</r>\nFree.", "# Rules\nBe kind.\n"),
        ("<div>Always:\n\n# Rules\nBe kind.\n</div>\nFree.", "# Rules\nBe kind.\n"),
        ("<r>\n# Rules\nWrite <r> first.\n```\n</r>\n```\n</r>\nFree.", "# Rules\nWrite <r> first.\n```\n</r>\n```\n"),
        ("# Rules\n<e>\n# Tone\nx\n</e>\nmore\n# Tone\nFree.", "# Rules\n<e>\n# Tone\nx\n</e>\nmore\n"),
        ("# Rules\n<e>\n\n# Tone\n\nx\n</e>\nmore", "# Rules\n<e>\n\n# Tone\n\nx\n</e>\nmore"),
        ("Write <r> first.\n# Rules\nEnd with </r>\nalways.", "# Rules\nEnd with </r>\nalways."),
        ("<r> comes first.\n# Rules\nEnd with </r>\nalways.", "# Rules\nEnd with </r>\nalways."),
        ("<r>\n# Rules\nnever closed\n</s>\nx", "# Rules\nnever closed\n</s>\nx"),
    ],
)
def test_a_section_between_tags_ends_at_the_closing_tag(text, section):
    assert sections(text, "# Rules") == [section]


@pytest.mark.parametrize(
    "text", ["<!--\n## Rules\n-->", "<pre>\n## Rules\n</pre>", "```\n## Rules\n```", "    ## Rules"]
)
def test_what_is_no_heading_matches_nothing(text):
    with pytest.raises(ConfigError, match="matches nothing"):
        sections(text, "## Rules")


def test_markdown_is_loaded_where_a_heading_is_named():
    code = (
        "import sys; import langchain_promptopt._langchain.freeze as f; assert 'markdown_it' not in sys.modules;"
        " f.headings('# A'); assert 'markdown_it' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
