"""Words, cuts, scripts and languages."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt._text.lint import dominant_script, guess_language, without_code
from langchain_promptopt._text.words import (
    abbreviated,
    count_words,
    is_unspaced,
    snap_point,
    snap_range,
    solid_tokens,
    token_ranges,
    word_limit,
    word_ranges,
    words_changed,
    words_inside,
)


def words(text):
    return [text[a:b] for a, b in word_ranges(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Be brief.", ["Be", "brief"]),
        ("don't re-read 3.5 kg", ["don't", "re-read", "3.5", "kg"]),
        ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
        ("请 回答 now", ["请", "回", "答", "now"]),
        ("データベース", ["デ", "ー", "タ", "ベ", "ー", "ス"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("प्रश्न पढ़ें", ["प्रश्न", "पढ़ें"]),
        ("👩‍👩‍👧 👍🏽 – …", []),
        ("snake_case x2", ["snake_case", "x2"]),
        ("end.", ["end"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@given(st.text())
def test_tokens_cover_the_text_without_gaps(text):
    at = 0
    for a, b in token_ranges(text):
        assert a == at < b
        at = b
    assert at == len(text)


@given(st.text(), st.integers(0, 30))
def test_shorten_never_breaks_a_letter(text, n):
    cut = abbreviated(text, n)
    assert len(cut) <= n or cut == text
    if cut != text and n > 0:
        kept = cut[:-1]
        assert text.startswith(kept)
        assert cut.endswith("…")
        edges = {0} | {m.end() for m in regex.finditer(r"\X", text)}
        rest = text[len(kept) :]
        assert len(kept) in edges or rest[:1].isspace()


def test_shorten_keeps_what_fits():
    assert abbreviated("abc", 3) == "abc"
    assert abbreviated("abcd", 3) == "ab…"
    assert abbreviated("कि कि", 2) == "…"
    assert abbreviated("abc", 0) == ""


def test_limits_are_doubled_for_characters():
    assert word_limit("Antworte kurz.", 5) == 5
    assert word_limit("短く答えて", 5) == 10
    assert not is_unspaced("Write 日本 and nothing else")
    assert is_unspaced("请把 JSON 输出返回给用户")
    assert not is_unspaced("")


@pytest.mark.parametrize(
    ("old", "new", "n"),
    [
        ("Be brief.", "Be brief.", 0),
        ("Be brief.", "Be  brief.\n", 0),
        ("Be brief.", "Be brief!", 1),
        ("Be brief.", "Be very brief.", 1),
        ("a b c", "x y", 3),
        ("请简短回答", "请详细回答", 2),
        ("", "one two", 2),
    ],
)
def test_words_changed(old, new, n):
    assert words_changed(old, new) == words_changed(new, old) == n


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_words_changed_is_a_distance(a, b, c):
    assert words_changed(a, c) <= words_changed(a, b) + words_changed(b, c)


def test_snapping():
    text = "Be brief कि"
    tokens = solid_tokens(text)
    assert snap_range(4, 5, tokens) == (3, 8)
    assert snap_range(3, 8, tokens) == (3, 8)
    assert [snap_point(at, tokens) for at in (0, 1, 2, 4, 7, 10)] == [0, 0, 2, 3, 8, 9]
    assert words_inside(word_ranges(text), 3, 11) == (1, 3)
    first, last = words_inside(word_ranges(text), 4, 5)
    assert first == last


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Answer {frage} kurz", "Latin"),
        ("質問に短く答えてください {question_with_a_long_name}", "Japanese"),
        ("请简短回答", "Han"),
        ("以下の文章を要約、字数制限は厳守", "Japanese"),
        ("Ответь коротко", "Cyrillic"),
        ("أجب بكلمة", "Arabic"),
        ("한국어로 대답", "Hangul"),
        ("{q} 123 !", ""),
    ],
)
def test_dominant_script(text, script):
    assert dominant_script(text) == script


def test_template_code_is_no_language():
    assert without_code("a {x} {{y}} {% if z %} <b>c</b>").split() == ["a", "c"]
    assert guess_language("{the} {of} {and} {to} {is}") == ""


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Read the question and give only the number that is in the text.", "en"),
        ("Lies die Frage und gib nur die Zahl aus, die im Text steht, ohne den Rest.", "de"),
        ("Lis la question et donne le nombre qui est dans le texte, pas plus.", "fr"),
        ("Lee la pregunta y da el número que está en el texto, no más.", "es"),
        ("Answer.", ""),
        ("la que para por dans pour que avec con", ""),
    ],
)
def test_guess_language(text, language):
    assert guess_language(text) == language
    assert count_words(text) > 0
