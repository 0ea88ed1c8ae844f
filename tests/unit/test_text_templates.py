"""Template parsing agrees with LangChain, positions are exact, model text never becomes code."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.prompts.string import get_template_variables

from langchain_promptopt._text import Rejection
from langchain_promptopt._text.templates import (
    FORMATS,
    check_new_text,
    escape,
    find_edit_marks,
    parse_template,
    same_code,
)
from langchain_promptopt.errors import PromptError

FSTRING_BITS = st.lists(
    st.sampled_from(["{", "}", "{{", "}}", "{x}", "{y!r}", "{z:>4}", "a", " ", "\n", ":", "!", ".", "[0]", "é", "請"]),
    max_size=12,
).map("".join)
MUSTACHE_CODE = ("{{x}}", "{{{y}}}", "{{& z }}", "{{#s}}", "{{/s}}", "{{^s}}", "{{!c}}", "{{a.b}}", "{{.}}", "{{>p}}")
MUSTACHE_BITS = st.lists(st.sampled_from([*MUSTACHE_CODE, "{{=<%}}", "{", "}", "t", "\n"]), max_size=10).map("".join)
JINJA_CODE = ("{{ x }}", "{% if z %}", "{% endif %}", "{# c #}", "{%- for i in r -%}", "{% endfor %}", "{{ '}}' }}")
JINJA_MORE = ("{% raw %}{{ n }}{% endraw %}", "{% set k = 1 %}", " ", "\r\n", "\r", "\n", "text", "{", "}")
JINJA_BITS = st.lists(st.sampled_from([*JINJA_CODE, *JINJA_MORE]), max_size=10).map("".join)


def parsed(source, template_format):
    try:
        return parse_template(source, template_format)
    except PromptError as e:
        error = e
    assert 0 <= error.facts["position"] <= len(source)
    assert error.mend
    return None


def langchain_variables(source, template_format):
    try:
        return get_template_variables(source, template_format)
    except Exception:  # noqa: BLE001 - three parsers, each with errors of its own
        return None


class Anything:
    """Takes every format specification."""

    def __format__(self, spec):
        return f"<{spec}>"


@given(FSTRING_BITS)
@settings(max_examples=600)
@example("{a:a}")
@example("{{{x}}}")
def test_fstring_agrees_with_langchain(source):
    mine, theirs = parsed(source, "f-string"), langchain_variables(source, "f-string")
    if mine is not None:
        assert theirs == list(mine.variables)
        values = dict.fromkeys(mine.variables, Anything())
        rest = "".join(gap + code.format(**values) for gap, code in interleaved(mine))
        assert rest == source.format(**values)


def interleaved(template):
    """Pairs of text and the atom behind it; the last atom is empty."""
    cuts = [0, *(at for r in template.atom_ranges for at in r), len(template.source), len(template.source)]
    parts = [template.source[a:b] for a, b in pairwise(cuts)]
    return list(zip(parts[::2], parts[1::2], strict=True))


@given(FSTRING_BITS)
def test_fstring_refuses_whatever_langchain_refuses(source):
    if langchain_variables(source, "f-string") is None:
        assert parsed(source, "f-string") is None


@given(MUSTACHE_BITS)
@settings(max_examples=400)
def test_mustache_agrees_with_langchain(source):
    mine, theirs = parsed(source, "mustache"), langchain_variables(source, "mustache")
    if mine is not None:
        assert theirs == list(mine.required)
        assert set(mine.required) <= set(mine.variables)
    if theirs is None:
        assert mine is None


@given(JINJA_BITS)
@settings(max_examples=400)
@example("{%- for i in r -%} \r\n x{% endfor %}")
def test_jinja_agrees_with_langchain_and_positions_are_exact(source):
    mine, theirs = parsed(source, "jinja2"), langchain_variables(source, "jinja2")
    assert (mine is None) == (theirs is None)
    if mine is not None:
        assert list(mine.variables) == theirs
        for atom in mine.atoms:
            assert source[atom.start : atom.end].startswith(("{{", "{%", "{#"))
            assert source[atom.start : atom.end].endswith(("}}", "%}", "#}"))


@given(st.text(), st.sampled_from(FORMATS))
def test_any_text_parses_or_says_where_it_does_not(source, template_format):
    template = parsed(source, template_format)
    if template is not None:
        ranges = template.atom_ranges
        assert all(0 <= a < b <= len(source) for a, b in ranges)
        assert all(a[1] <= b[0] for a, b in pairwise(ranges))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{}", "empty braces at character 0"),
        ("ab {0}", "'{0}' is a position, not a name, at character 3"),
        ("{a.b}", "'{a.b}' reaches into a value at character 0"),
        ("{x[0]}", "'{x[0]}' reaches into a value at character 0"),
        ('{"answer": 1}', "'{\"answer\": 1}' would become a variable at character 0"),
        ("{ q }", "'{ q }' would become a variable at character 0"),
        ("a } b", "single '}' at character 2"),
        ("a {b", "'{' is not closed at character 2"),
        ("{x:{w}}", "a brace inside braces at character 3"),
        ("{q!z}", "'{q!z}' has an unknown conversion at character 0"),
        ("{stop}", "a variable called 'stop' at character 0"),
    ],
)
def test_fstring_errors_name_the_character(source, what):
    with pytest.raises(PromptError) as caught:
        parse_template(source, "f-string")
    assert caught.value.what == what
    assert caught.value.exit_code == 2


def test_error_names_the_line():
    with pytest.raises(PromptError, match=r"character 9 \(line 3\)"):
        parse_template("one\ntwo\n {", "f-string")
    with pytest.raises(PromptError, match="line 2"):
        parse_template("one\n{% if %}", "jinja2")


def test_unknown_format_is_named():
    with pytest.raises(PromptError, match="unknown template format 'fstring'"):
        parse_template("x", "fstring")


def test_deeply_nested_jinja_is_an_error_not_a_crash():
    with pytest.raises(PromptError, match=r"deeply nested|cannot read"):
        parse_template("{{" + "(" * 5000 + ")" * 5000 + "}}", "jinja2")


def test_jinja_stop_and_mustache_stop_are_refused_too():
    for source, template_format in (("{{ stop }}", "jinja2"), ("{{stop}}", "mustache")):
        with pytest.raises(PromptError, match="'stop'"):
            parse_template(source, template_format)


# ------------------------------------------------------------------ text of a model


@given(st.text(alphabet=st.sampled_from("{}%#ab \n\"'é:")))
@settings(max_examples=400)
def test_escaped_text_renders_as_itself(text):
    assert escape(text, "f-string").format() == text
    for template_format in ("mustache", "jinja2", "literal"):
        source = escape(text, template_format)
        if isinstance(source, str):
            assert source == text
            if template_format != "literal":
                assert parse_template(source, template_format).atoms == ()
        else:
            assert source.rule == "template_code"


@given(st.text(alphabet=st.sampled_from("{}%#xq \n\"':!.")), st.sampled_from(FORMATS))
@settings(max_examples=600)
def test_accepted_text_keeps_the_signature_anywhere(new, template_format):
    code = {"f-string": "{q}", "literal": "{q}"}.get(template_format, "{{q}}")
    template = parse_template(f"Ask {code} now {code}", template_format)
    source = check_new_text(new, template)
    if isinstance(source, str):
        for at in (0, 4, 4 + len(code), len(template.source)):
            child = template.source[:at] + source + template.source[at:]
            if template_format == "f-string":
                assert same_code(template, child) is None
            elif same_code(template, child) is None:
                assert parse_template(child, template_format).variables == template.variables


@pytest.mark.parametrize(
    "new",
    [
        "{q}",
        "{other}",
        "{ other }",
        "{other!r}",
        "{other:>3}",
        "{a.b}",
        "{a[0]}",
        "x {q: y} z",
        "{{q}}",
        r"\frac{a}{b}",
    ],
)
def test_what_looks_like_a_variable_is_refused(new):
    found = check_new_text(new, parse_template("Ask {q}", "f-string"))
    assert isinstance(found, Rejection)
    assert found.rule == "new_variable"


@pytest.mark.parametrize(
    ("new", "source"),
    [
        ('{"a": 1}', '{{"a": 1}}'),
        ('{{"a": 1}}', '{{"a": 1}}'),
        ('{"a": {"b": []}}', '{{"a": {{"b": []}}}}'),
        ("{a: 1}", "{{a: 1}}"),
        ("{}", "{{}}"),
        ("{{label}}", "{{label}}"),
        ("a } b {", "a }} b {{"),
        ("plain", "plain"),
    ],
)
def test_literal_braces_are_escaped_once(new, source):
    assert check_new_text(new, parse_template("Ask {q}", "f-string")) == source


def test_a_doubled_name_the_parent_has_may_be_copied():
    template = parse_template("Write {{q}} literally, then {q}", "f-string")
    assert check_new_text("Print {{q}} literally", template) == "Print {{q}} literally"


@pytest.mark.parametrize("new", ["{{x}}", "a {{{x}}} b", "{% if x %}", "{# hi #}"])
def test_template_code_is_refused_in_other_formats(new):
    for template_format in ("mustache", "jinja2"):
        found = check_new_text(new, parse_template("Ask {{q}}", template_format))
        assert isinstance(found, Rejection)
    assert check_new_text(new, parse_template("Ask", "literal")) == new


def test_two_harmless_texts_that_spell_a_tag_are_caught():
    template = parse_template("Set { } for {{q}}", "mustache")
    assert isinstance(check_new_text("open {", template), Rejection)
    assert same_code(template, "Set { { } for {{q}}") is None
    assert same_code(template, "Set {{ } for {{q}}").rule == "new_variable"
    assert same_code(template, "Set { } for").rule == "lost_variable"
    assert same_code(parse_template("{a} {b}", "f-string"), "{b} {a}").rule == "order"
    assert same_code(parse_template("{a}", "f-string"), "{a} {").rule == "template_syntax"


# ------------------------------------------------------------------ marks of users


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("plain", None),
        ("<edit>a</edit> <EDIT>b</ edit>", None),
        ("a <edit>b", "tag opened at character 2 is not closed"),
        ("a</edit>", "closing tag without opening tag at character 1"),
        ("<edit>a<edit>b</edit></edit>", "nested tag at character 7"),
        ("<editor>", None),
    ],
)
def test_user_marks(text, what):
    found = find_edit_marks(text)
    assert (found.what if found else None) == what
    if found:
        assert 'freeze = ["re:</?edit>"]' in found.mend


def test_frozen_marks_are_not_looked_at():
    text = "Write <edit> first, then {q}"
    assert find_edit_marks(text) is not None
    assert find_edit_marks(text, ((6, 12),)) is None
    assert find_edit_marks(text, ((7, 12),)) is not None, "half frozen is not frozen"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Sort this: {{ticket}}", ["no variable as f-string; as mustache this would have the variable 'ticket'"]),
        (
            "Sort this: {{ ticket | upper }}",
            ["no variable as f-string; as jinja2 this would have the variable 'ticket'"],
        ),
        ("{{#ticket}}{{.}}{{/ticket}}", ["no variable as f-string; as mustache this would have the variable 'ticket'"]),
        ("{ticket} and {{ticket}}", ["'{{ticket}}' is sent as the text '{ticket}', beside the variable of that name"]),
        ('Answer as {{"label": 1}}.', []),
        ("{ticket}, as {{label}}", []),
    ],
)
def test_doubled_braces_that_may_be_another_formats_are_noted(source, said):
    notes = parse_template(source, "f-string").notes
    assert [note.split("; check")[0] for note in notes] == said
