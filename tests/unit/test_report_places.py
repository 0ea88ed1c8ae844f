"""Where an edit stands, as reports show it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt.report.rows import edit_place
from langchain_promptopt.types.edits import FinalEdit

TEMPLATE = """Sort the ticket.

## Labels
- refund: money back, {ticket}

## Rules
- If the ticket mentions "money", "return" or "reimburse", and it was written in the last thirty days, answer billing.
"""


def edit(template: str, start: int, end: int, new: str) -> FinalEdit:
    return FinalEdit("main", 0, start, end, template[start:end], new)


def test_line_heading_and_the_line_before_and_after():
    at = TEMPLATE.index("billing")
    place = edit_place(TEMPLATE, edit(TEMPLATE, at, at + 7, "refund"))
    assert place.title == 'line 7, under "Rules"'
    assert (place.removed, place.added, place.right) == ("billing", "refund", ".")
    assert place.left.startswith("… ")
    assert TEMPLATE.splitlines()[6].startswith("- If the ticket")
    assert place.left.removeprefix("… ") in TEMPLATE


def test_an_edit_without_a_heading_above_names_its_line():
    place = edit_place(TEMPLATE, edit(TEMPLATE, 0, 4, "Put"))
    assert (place.title, place.left, place.right) == ("line 1", "", " the ticket.")


def test_an_edit_over_lines_shows_what_is_kept_on_either_side():
    start, end = TEMPLATE.index("money back"), TEMPLATE.index("## Rules")
    place = edit_place(TEMPLATE, edit(TEMPLATE, start, end, ""))
    assert place.line == 4
    assert place.removed == TEMPLATE[start:end]
    assert place.right == "## Rules"


def test_a_line_that_goes_is_shown_alone():
    start = TEMPLATE.index("- refund")
    end = TEMPLATE.index("\n## Rules")
    place = edit_place(TEMPLATE, edit(TEMPLATE, start, end, ""))
    assert (place.left, place.removed, place.added, place.right) == ("", "- refund: money back, {ticket}", "", "")
    assert place.line == 4
    last = TEMPLATE.rindex("\n- If")
    place = edit_place(TEMPLATE.rstrip(), edit(TEMPLATE.rstrip(), last, len(TEMPLATE.rstrip()), ""))
    assert place.removed.startswith("- If the ticket")
    assert (place.line, place.left, place.right) == (7, "", "")


@given(st.text(alphabet="ab #\n", min_size=1, max_size=200), st.data(), st.text(alphabet="ab #\n", max_size=20))
def test_the_shown_line_is_the_template_around_the_edit(template, data, new):
    start = data.draw(st.integers(0, len(template)))
    end = data.draw(st.integers(start, len(template)))
    made = edit(template, start, end, new)
    place = edit_place(template, made)
    before = place.left.removeprefix("… ") + place.removed + place.right.removesuffix(" …")
    assert before in template
    assert "\n" not in place.left
    assert "\n" not in place.right
    assert template[:start].count("\n") <= place.line - 1 <= template[:end].count("\n")
