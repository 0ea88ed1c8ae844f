"""L1..L10 of the method notes, on the text level: what may change is marked, and nothing else does."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_promptopt._text import Rejection
from langchain_promptopt._text.document import editable_words, gaps, normal_ranges
from langchain_promptopt._text.recover import Recovered, recover
from langchain_promptopt._text.spans import (
    SpanLimits,
    kept_outside,
    legalise,
    legalise_premerge,
    marked,
    merge_spans,
    splice,
)
from langchain_promptopt._text.tags import insert_tags, parse_tags, pick_tag, strip_wrapping
from langchain_promptopt._text.templates import check_new_text, parse_template
from langchain_promptopt._text.words import count_words, word_limit
from langchain_promptopt.errors import PromptError
from tests.spec.span_cases import (
    NEW,
    assert_local_and_vars,
    child_of,
    keeps_fixed_text,
    made,
    make_case,
    make_limits,
    make_ranges,
    make_reply,
    make_text,
)

SEEDS = st.integers(0, 2**40)
FORMATS = ("f-string", "mustache", "jinja2", "literal")


# ------------------------------------------------------------------ L1


@given(SEEDS)
def test_L1_identity(seed):
    case = make_case(seed)
    same = [(a, b, old) for (a, b), old in zip(case.spans, marked(case.spans, case.text), strict=True)]
    assert made(case.text, same) == case.text


@example("a  b  c", [(0, 1, "x")])
@given(
    st.one_of(st.text(), st.text(" ab\n🙂")),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.text(max_size=5)), max_size=5),
)
def test_a_child_keeps_every_character_outside_its_edits(text, raw):
    edits, at = [], 0
    for a, b, new in sorted((min(a, b), max(a, b), new) for a, b, new in raw):
        if a >= at and b <= len(text):
            edits.append((a, b, new))
            at = b
    child, shift = made(text, edits), 0
    assert kept_outside(text, edits, child)
    for a, b, new in edits:
        assert child[a + shift : a + shift + len(new)] == new
        shift += len(new) - (b - a)
    at = shift = 0
    for a, b, new in (*edits, (len(text), len(text), "")):  # stretch by stretch, each where it has moved to
        assert child[at + shift : a + shift] == text[at:a]
        at, shift = b, shift + len(new) - (b - a)
    assert len(child) == len(text) + shift


@given(st.text(" a\n🙂", max_size=20), st.integers(0, 20), st.sampled_from(["", " ", "b"]))
def test_a_child_that_differs_outside_its_edits_is_told(text, at, extra):
    """Two blanks for one, a lost line, a letter more: at any place outside the edit."""
    edits = [(0, min(1, len(text)), "new")]
    child = made(text, edits)
    at = min(3 + at, len(child))
    for other in (child[:at] + extra + child[at:], child[:at] + child[at + 1 :]):
        assert kept_outside(text, edits, other) is (other == child)


def test_L1_overlapping_edits_are_refused():
    with pytest.raises(PromptError, match="overlaps"):
        made("abcdef", [(0, 3, "x"), (2, 4, "y")])
    with pytest.raises(ValueError, match="leaves the text"):
        splice("abc", [(2, 9, "x")])


# ------------------------------------------------------------------ L2


@given(SEEDS, SEEDS)
@settings(max_examples=400)
def test_L2_local_and_vars_on_fuzzed_replies(seed, reply_seed):
    case = make_case(seed)
    child = child_of(case, make_reply(Random(reply_seed), case))
    if isinstance(child, str):
        assert_local_and_vars(case, child)


@given(SEEDS, st.text())
def test_L2_any_text_as_reply(seed, reply):
    case = make_case(seed)
    child = child_of(case, reply)
    if isinstance(child, str):
        assert_local_and_vars(case, child)


@given(SEEDS)
@settings(max_examples=300)
def test_L2_honest_reply_is_read_exactly(seed):
    """A reply that changes only the span, with words found nowhere else, comes back as it was written."""
    case = make_case(seed)
    news = [f"zebra{i} quilt{i}" for i in range(len(case.spans))]
    edits = [(a, b, new) for (a, b), new in zip(case.spans, news, strict=True)]
    touching = any(
        not t or not t.isspace() for a, b in case.spans for t in (case.text[a - 1 : a], case.text[b : b + 1])
    )
    if touching or not case.spans:
        return
    found = recover(made(case.text, edits), case.text, case.spans, case.frozen, case.tag, case.template.format)
    if isinstance(found, Recovered):
        assert all(
            new.strip() == want or new == case.text[a:b]
            for new, want, (a, b) in zip(found.replacements, news, case.spans, strict=True)
        )
    tagged, shift = [], 0
    for a, b, new in edits:
        tagged.append((a + shift, a + shift + len(new)))
        shift += len(new) - (b - a)
    reply = insert_tags(made(case.text, edits), tagged, case.tag)
    found = recover(reply, case.text, case.spans, case.frozen, case.tag, case.template.format)
    assert isinstance(found, Recovered), (case, reply, found)
    assert [new.strip() for new in found.replacements] == news


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_L2_campaign():
    """100,000 generated prompts and damaged replies; LOCAL and VARS hold for every child."""
    children = refused = 0
    for seed in range(100_000):
        case = make_case(seed)
        child = child_of(case, make_reply(Random(f"reply {seed}"), case))
        if isinstance(child, str):
            assert_local_and_vars(case, child)
            children += 1
        else:
            refused += 1
    print(f"{children} children, {refused} refused replies, no violation")
    assert children > 30_000
    assert refused > 10_000


# ------------------------------------------------------------------ L3, L4


@given(SEEDS)
@settings(max_examples=400)
def test_L3_legalise_is_stable_on_its_own_spans(seed):
    rng = Random(seed)
    text = make_text(rng, "f-string")
    frozen, limits = parse_template(text, "f-string").atom_ranges, make_limits(rng)
    spans = legalise_premerge(make_ranges(rng, len(text)), text, frozen, limits)
    assert legalise_premerge(spans, text, frozen, limits) == spans
    assert merge_spans(spans, text, frozen) == legalise(spans, text, frozen, limits)


@given(SEEDS)
@settings(max_examples=400)
def test_L4_every_span_is_within_its_limits(seed):
    rng = Random(seed)
    text = make_text(rng, rng.choice(FORMATS))
    template = parse_template(text, "literal")
    frozen = [(a, min(len(text), a + 4)) for a in range(0, len(text), 23)]
    limits = make_limits(rng)
    spans = legalise_premerge(make_ranges(rng, len(text)), text, frozen, limits)
    words = editable_words(text, normal_ranges(frozen, len(text)))
    assert template.atoms == ()
    assert list(spans) == sorted(spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert len(spans) <= limits.k_max
    for start, end in spans:
        assert 0 <= start <= end <= len(text)
        assert not any(start < b and a < end for a, b in frozen)
        assert limits.insertions or start < end
        if limits.w_max is not None and not limits.allows_lines(text):
            assert count_words(text[start:end]) <= word_limit(text, limits.w_max)
        assert not any(a < start < b or a < end < b for a, b in words), "a span cuts a word"
    if limits.w_max is not None and len(words) > 2 * word_limit(text, limits.w_max):
        assert sum(count_words(text[a:b]) for a, b in spans) <= max(1, limits.f_max * len(words))


def test_L4_no_variable_is_ever_inside():
    text = "Answer {question} in one word, as {{label}}, please."
    spans = legalise([(0, len(text))], text, parse_template(text, "f-string").atom_ranges, SpanLimits(w_max=None))
    assert marked(spans, text) == ("Answer", "in one word, as", "label", ", please.")


def test_L4_long_spans_are_trimmed_then_dropped():
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    limits = SpanLimits(w_max=5, f_max=1.0)
    assert marked(legalise([(0, text.index(" ten"))], text, (), limits), text) == ("one two three four five",)
    assert legalise([(0, text.index(" twelve"))], text, (), limits) == ()


def test_L4_share_of_words_is_limited_unless_the_text_is_short():
    text = "one two three four five six seven eight nine ten eleven twelve"
    at = [(m, m + 3) for m in (0, 8, 24)]
    assert marked(legalise(at, text, (), SpanLimits(w_max=2, f_max=0.2)), text) == ("one", "three")
    short = "one two three four"
    assert marked(legalise([(0, 18)], short, (), SpanLimits(w_max=4, f_max=0.2)), short) == (short,)


def test_L4_whole_lines_are_lawful_on_long_prompts_only():
    rule = "- Always answer every single question with no fewer than seven long sentences, whatever it asks."
    filler = "\n".join(f"Line {i} of the rules says that things are as they are." for i in range(12))
    text = f"{filler}\n{rule}\n{filler}"
    start = text.index(rule)
    assert marked(legalise([(start, start + len(rule))], text, (), SpanLimits()), text) == (rule,)
    inner = legalise([(start + 2, start + len(rule) - 1)], text, (), SpanLimits())
    assert marked(inner, text) == (rule[2:-1],), "without its mark and full stop it is the same line"
    assert legalise([(start, start + len(rule))], text, (), SpanLimits(whole_lines=False)) == ()
    assert legalise([(start, start + 90)], text, (), SpanLimits()) == (), "most of a line is not a line"
    assert legalise([(0, len(rule))], rule, (), SpanLimits()) == (), "the prompt is short"


def test_L4_list_items_may_go_on_over_indented_lines():
    item = (
        "2. Reply in a formal tone unless the customer\n   is angry, in which case you must apologise at once\n"
        "   and twice."
    )
    filler = "\n".join(f"{i}. Line {i} of the rules says that things are as they are." for i in range(12))
    text = f"{filler}\n\n{item}\n3. Stop."
    start = text.index(item)
    assert marked(legalise([(start, start + len(item))], text, (), SpanLimits()), text) == (item,)


def test_L4_insertion_points_never_reach_frozen_messages():
    text = "Answer well.\n{q}"
    frozen = parse_template(text, "f-string").atom_ranges
    assert legalise([(12, 12)], text, frozen, SpanLimits()) == ((12, 12),)
    assert legalise([(len(text), len(text))], text, frozen, SpanLimits()) == ()
    assert legalise([(15, 15)], text, frozen, SpanLimits()) == ()
    assert legalise([(8, 8)], text, [(0, len(text))], SpanLimits()) == ()
    assert legalise([(9, 9)], text, frozen, SpanLimits()) == ((7, 7),), "snapped out of the word"
    assert legalise([(7, 7)], text, frozen, SpanLimits(insertions=False)) == ()


# ------------------------------------------------------------------ L5, L6

MARKS = st.sampled_from(
    [
        "<edit>",
        "</edit>",
        "<EDIT>",
        "</Edit >",
        "< edit >",
        "&lt;edit&gt;",
        "&lt;/edit&gt;",
        "<edit",
        "edit>",
        "</",
        "&#60;edit&#62;",
    ]
)


@given(st.lists(MARKS | st.text(max_size=6), max_size=20).map("".join))
@settings(max_examples=400)
def test_L5_malformed_tags_never_raise(reply):
    tagged = parse_tags(reply)
    assert all(0 <= a <= b <= len(tagged.text) for a, b in tagged.ranges)
    assert all(a[1] <= b[0] for a, b in pairwise(tagged.ranges))
    assert parse_tags(strip_wrapping(reply)).unclosed >= 0


@pytest.mark.parametrize(
    ("reply", "text", "spans"),
    [
        ("a <edit>b</edit> c", "a b c", ["b"]),
        ("a <EDIT>b</Edit > c", "a b c", ["b"]),
        ("a &lt;edit&gt;b&lt;/edit&gt; &amp; c", "a b &amp; c", ["b"]),
        ("a < edit >b</ edit> c", "a b c", ["b"]),
        ("<edit>a <edit>b</edit> c</edit>", "a b c", ["a b c"]),
        ("a</edit> b <edit>c</edit>", "a b c", ["c"]),
        ("a <edit>b <edit>c</edit>", "a b c", ["c"]),
        ("a <edit>b", "a b", []),
        ("<edit></edit><edit></edit>a", "a", ["", ""]),
        ("<edit><edit></edit></edit>a", "a", [""]),
    ],
)
def test_L5_tags_are_read_with_a_stack(reply, text, spans):
    tagged = parse_tags(reply)
    assert tagged.text == text
    assert list(marked(tagged.ranges, tagged.text)) == spans


SURVIVORS = (
    "Write <edit>x</edit> as it stands, {q}.",
    "One.\r\nTwo words here.\r\n{q}\r\n",
    "Trailing blanks here   \n\n{q}  \n",
    "Cafe\u0301 au lait, nai\u0308ve re\u0301sume\u0301 {q}",
    "请先阅读问题，再用一个词回答。{q}",
    "Thumbs 👍🏽 family 👩‍👩‍👧‍👦 flag 🇩🇪 end {q}",
    "أجب بكلمة واحدة فقط: {q}",
    'JSON {{"a": 1}} stays {q}',
)


@pytest.mark.parametrize("text", SURVIVORS)
def test_L6_difficult_text_survives(text):
    frozen = parse_template(text, "f-string").atom_ranges
    tag = pick_tag(text)
    assert f"<{tag}>" not in text
    spans = legalise([(a, b) for a, b in gaps(frozen, len(text))], text, frozen, SpanLimits(w_max=None))
    shown = insert_tags(text, spans, tag)
    tagged = parse_tags(shown, tag)
    assert (tagged.text, tagged.ranges) == (text, spans)
    for reply in (shown, text, shown.replace("\r\n", "\n")):
        found = recover(reply, text, spans, frozen, tag)
        assert isinstance(found, Recovered), found
        assert found.replacements == marked(spans, text)


def test_L6_no_span_or_cut_breaks_a_letter():
    text = "Ein कि और न बनाएँ Ende 👩‍👩‍👧 wort"
    for at in range(len(text) + 1):
        for start, end in legalise([(at, at + 1)], text, (), SpanLimits()):
            assert not text[start : start + 1].startswith(("\u093f", "\u0901")), "a vowel sign lost its letter"
            assert text[end - 1 : end] != "\u200d"


# ------------------------------------------------------------------ L7, L8, L9, L10


def test_L7_a_reply_that_rewrites_everything_is_dropped():
    text = "You sort support mails. Read the mail with care and choose one label. Never guess a label. Mail: {mail}"
    frozen = parse_template(text, "f-string").atom_ranges
    reply = "As an expert clerk it is your duty to classify whatever comes in, thoughtfully: {mail}"
    found = recover(reply, text, [(37, 46)], frozen)
    assert isinstance(found, Rejection)
    assert found.rule == "leak"
    share = int(found.detail.partition("%")[0])
    assert share > 80


def test_L7_leak_is_the_share_of_lost_fixed_tokens():
    text = "one two three four SPAN five six seven eight nine ten"
    found = recover("one two three four new text five six seven eight nine changed", text, [(19, 23)])
    assert isinstance(found, Recovered)
    assert found.replacements == ("new text",)
    assert found.leak == pytest.approx(0.1)


def test_L8_adjacent_spans_are_one_slot():
    text = "Read the text. Then answer {q} now."
    frozen = parse_template(text, "f-string").atom_ranges
    assert legalise([(0, 8), (9, 13)], text, frozen, SpanLimits()) == ((0, 13),)
    assert legalise([(0, 8), (8, 8)], text, frozen, SpanLimits()) == ((0, 8),)
    assert legalise([(0, 8), (15, 19)], text, frozen, SpanLimits()) == ((0, 8), (15, 19))
    assert legalise([(20, 26), (31, 34)], text, frozen, SpanLimits()) == ((20, 26), (31, 34)), "a variable is between"
    assert legalise([(0, 4), (5, 8)], text, [(4, 5)], SpanLimits()) == ((0, 4), (5, 8)), "the blank is frozen"


@given(st.lists(st.sampled_from(["zig", "zag", "brief", "kind,", "now."]), min_size=1, max_size=12).map(" ".join))
def test_L9_one_tag_over_everything_is_global(new):
    text = "Read the text with care.\nThen answer in one word: {q}"
    frozen = parse_template(text, "f-string").atom_ranges
    spans = legalise([(0, len(text))], text, frozen, SpanLimits(w_max=None))
    assert spans == ((0, text.index(" {q}")),)
    raw = f"{new} {{q}}"
    found = recover(raw, text, spans, frozen)
    assert isinstance(found, Recovered)
    assert made(text, [(*spans[0], found.replacements[0])]) == raw


def test_L10_without_enforcement_local_is_violated():
    """The test bites: taking replies as they are breaks LOCAL often, splicing never."""
    off = strict = 0
    for seed in range(600):
        case = make_case(seed)
        reply = make_reply(Random(f"ablation {seed}"), case)
        child = child_of(case, reply)
        if isinstance(child, Rejection):
            continue
        strict += not keeps_fixed_text(case, child)
        off += not keeps_fixed_text(case, parse_tags(strip_wrapping(reply), case.tag).text)
    assert strict == 0
    assert off > 50


@pytest.mark.parametrize("new", NEW)
def test_L10_model_text_renders_as_itself(new):
    """Escaping is exact: what the model wrote is what the rendered prompt says."""
    template = parse_template("Say SPAN to {q}.", "f-string")
    source = check_new_text(new, template)
    assert isinstance(source, str)
    child = made(template.source, [(4, 8, source)])
    doubled = new.replace("{{", "{").replace("}}", "}") if new == "{{doubled}}" else new
    assert child.format(q="{you}") == f"Say {doubled} to {{you}}."


def test_L2_json_reply_never_leaves_quotes_or_escapes():
    text = "Line one.\nBe brief.\nAnswer {q}"
    reply = json.dumps({"prompt": "Line one.\nBe kind.\nAnswer {q}", "why": "tone"})
    found = recover(reply, text, [(13, 18)], parse_template(text, "f-string").atom_ranges)
    assert isinstance(found, Recovered)
    assert found.replacements == ("kind",)
