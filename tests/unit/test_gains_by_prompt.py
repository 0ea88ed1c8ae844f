"""What each edit and the edits of each prompt add, as reports and results show it."""

from __future__ import annotations

import json

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_promptopt.events import ScoredRow
from langchain_promptopt.optimizer.answer import of_record
from langchain_promptopt.report.candidates import Tried, by_prompt, left_out
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.rows import Scorer
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Edit, Message, Prompt, PromptSet, Span, Usage
from langchain_promptopt.types.edits import compose
from tests.support.runs import run
from tests.support.tasks import PROMPT, answer, chain, improve

POLISH = "Write it, jewels TWICE in a row.\nStone: {word}\nKind: {kind}"


def program(messages):
    """Both steps; the second writes as its prompt says."""
    text = str(messages[-1].text)
    if not text.startswith("Write"):
        return answer(messages)
    kind = text.rpartition("Kind: ")[2]
    doubled = "TWICE" in text and ("opal" in text or "jade" in text)
    return f"{kind} {kind}" if doubled else kind


def two_prompts():
    model = ScriptedModel(fn=program, model_name="task")

    def step(name, text):
        prompt = ChatPromptTemplate.from_template(text)
        prompt.name = name
        return prompt | model | StrOutputParser()

    return RunnablePassthrough.assign(kind=step("sort", PROMPT)) | step("polish", POLISH)


def quiet():
    """The second prompt has no fault."""
    model = ScriptedModel(fn=program, model_name="task")
    first, last = ChatPromptTemplate.from_template(PROMPT), ChatPromptTemplate.from_template("Write it.\nKind: {kind}")
    first.name, last.name = "sort", "echo"
    return RunnablePassthrough.assign(kind=first | model | StrOutputParser()) | last | model | StrOutputParser()


def mend(messages):
    """The second prompt first, the wrong name when it is gone."""
    request = str(messages[-1].text)
    if "TWICE" not in "\n".join(str(m.text) for m in messages):
        return improve(messages)
    if "JSON list" in request:
        places = [
            {"prompt": "polish", "message": 0, "quote": "TWICE", "occurrence": 1, "reason": "one word is expected"}
        ]
        return json.dumps(places)
    if "JSON object" in request:
        return json.dumps({"1": {"new": "once", "reason": "the expected answers are one word"}})
    return "- the word stands twice"


@pytest.fixture(scope="module")
def result():
    return run("lpo-pe2", ScriptedModel(fn=mend), target=two_prompts())


def test_gains_of_two_prompts_are_measured_by_leaving_out(result):
    assert {(e.prompt, e.old, e.new) for e in result.edits} == {
        ("sort", "PLANT", "animal"),
        ("polish", "TWICE", "once"),
    }
    polish, sort = result.by_prompt
    assert sort == {
        "prompt": "sort",
        "edits": 1,
        "difference": 0.5,
        "n": 16,
        "better": 8,
        "worse": 0,
        "measured": "left_out",
    }
    assert polish == {
        "prompt": "polish",
        "edits": 1,
        "difference": 0.25,
        "n": 16,
        "better": 4,
        "worse": 0,
        "measured": "left_out",
    }


def test_the_winner_of_one_edited_prompt_is_told_without_a_second_measurement():
    result = run("lpo-pe2", target=quiet())
    by_name = {p["prompt"]: p for p in result.by_prompt}
    assert (by_name["sort"]["measured"], by_name["sort"]["difference"], by_name["sort"]["n"]) == ("all", 0.5, 16)
    assert by_name["echo"] == {
        "prompt": "echo",
        "edits": 0,
        "difference": None,
        "n": 0,
        "better": 0,
        "worse": 0,
        "measured": "",
    }


def test_an_app_with_one_prompt_has_no_gains_by_prompt(tmp_path):
    result = run("lpo-pe2", target=chain())
    assert (result.outcome, result.by_prompt) == ("improved", ())
    assert "Gains by prompt" not in result.report(tmp_path / "r.md").read_text()


def test_every_output_shows_the_gains(result, tmp_path):
    told = json.loads(json.dumps(result.as_json()["by_prompt"]))
    assert told == list(result.by_prompt)
    assert of_record(RunRecord.from_events(result.events())).as_json()["by_prompt"] == told
    markdown = result.report(tmp_path / "r.md").read_text()
    assert "| sort | 1 | +50.0 | 16 | 8 / 0 | new prompts with and without them |" in markdown
    page = result.report(tmp_path / "r.html").read_text()
    assert "Gains by prompt" in page
    assert "Measured with and without this edit, with 1 other edit in place, on 16 search examples: it won 8" in page


def test_an_edit_is_measured_by_leaving_it_out(result):
    record = RunRecord.from_events(result.events())
    measured = {record.edits[number - 1].prompt: out for number, out in record.left_out.items()}
    assert {name: (len(out.rows.better), out.others) for name, out in measured.items()} == {
        "polish": (4, 1),
        "sort": (8, 1),
    }


class Tries:
    """Candidates made by hand from two prompts of three words each, and their scores on four rows."""

    def __init__(self):
        texts = {"a": "one two three", "b": "four five six"}
        self.prompts = PromptSet(tuple(Prompt(n, (Message("human", text),)) for n, text in texts.items()))
        self.seed = self.prompts.id
        self.candidates = {self.seed: Tried(self.seed, None, 0, "seed", (), self.prompts)}
        self.cells = []

    def child(self, parent, prompt, old, part_of=""):
        """A child with one more word in capitals."""
        before = self.candidates[parent].prompts
        start = before[prompt].messages[0].template.index(old)
        edit = Edit(Span(prompt, 0, start, start + len(old)), old, old.upper())
        made = before.apply([edit])
        self.candidates[made.id] = Tried(made.id, parent, 1, "spans", (edit,), made, part_of=part_of)
        return made.id

    def score(self, candidate, *scores):
        """Its scores on the first rows."""
        for i, score in enumerate(scores):
            self.cells.append(
                ScoredRow(
                    candidate_id=candidate,
                    split="dev",
                    example_id=f"dev-{i}",
                    repeat=0,
                    scores={"m": score},
                    comments={},
                    failure=None,
                    cached=False,
                    usage=Usage(),
                    model_served=None,
                )
            )

    def told(self, function, best, *names):
        """What a function of the module says of a winner."""
        chain, at = [], self.candidates[best]
        while at.parent_id:
            chain.append((at.id, at.edits))
            at = self.candidates[at.parent_id]
        edits = compose(self.prompts, chain[::-1])
        names = (["a", "b"],) if function is by_prompt else ()
        return function(*names, edits, self.candidates, (self.seed, best), self.cells, Scorer("m"))


def test_steps_that_changed_nothing_else_are_added_where_no_prompt_was_scored_without_the_edits():
    tries = Tries()
    first = tries.child(tries.seed, "a", "one")
    second = tries.child(first, "b", "six")
    best = tries.child(second, "a", "three")
    for candidate, scores in {
        tries.seed: (0, 0, 0, 0), first: (1, 0, 0, 0), second: (0, 1, 1, 0), best: (1, 1, 1, 0)
    }.items():  # fmt: skip
        tries.score(candidate, *scores)
    a, b = tries.told(by_prompt, best)
    assert a == {"prompt": "a", "edits": 2, "difference": 0.5, "n": 4, "better": 2, "worse": 0, "measured": "steps"}
    assert b == {"prompt": "b", "edits": 1, "difference": 0.25, "n": 4, "better": 2, "worse": 1, "measured": "steps"}
    assert list(tries.told(left_out, best)) == [2]  # the last step is the winner's last edit


def test_old_prompts_with_the_edits_of_one_tell_before_steps_do():
    tries = Tries()
    first = tries.child(tries.seed, "a", "one")
    best = tries.child(first, "b", "six")
    for candidate, scores in {tries.seed: (0, 0), first: (1, 0), best: (0, 1)}.items():
        tries.score(candidate, *scores)
    a, b = tries.told(by_prompt, best)
    assert (a["measured"], a["difference"], a["better"], a["worse"]) == ("alone", 0.5, 1, 0)
    assert (b["measured"], b["difference"], b["better"], b["worse"]) == ("left_out", 0.0, 1, 1)


def test_a_step_that_changed_both_prompts_says_nothing_about_one():
    tries = Tries()
    tries.score(tries.seed, 0, 0)
    made = tries.prompts
    edits = (Edit(Span("a", 0, 0, 3), "one", "ONE"), Edit(Span("b", 0, 0, 4), "four", "FOUR"))
    both = made.apply(edits)
    tries.candidates[both.id] = Tried(both.id, tries.seed, 1, "spans", edits, both)
    tries.score(both.id, 1, 1)
    for told in tries.told(by_prompt, both.id):
        assert (told["edits"], told["difference"], told["measured"]) == (1, None, "")


def test_an_edit_of_a_pruned_winner_is_measured_in_what_it_was_pruned_from():
    tries = Tries()
    a = tries.child(tries.seed, "a", "one")
    whole = tries.child(tries.child(a, "b", "six"), "b", "four")
    without_four = tries.child(a, "b", "six", part_of=whole)
    without_a = tries.child(tries.child(tries.seed, "b", "six"), "b", "four")
    tries.score(whole, 1, 1)
    tries.score(without_four, 1, 1)
    tries.score(without_a, 0, 1)
    best = without_four
    (number, out), *more = tries.told(left_out, best).items()
    assert (number, out.others, [row.example_id for row in out.rows.better], more) == (1, 2, ["dev-0"], [])


def test_nothing_is_said_of_an_edit_that_the_whole_does_not_have_as_such():
    tries = Tries()
    whole = tries.child(tries.seed, "b", "six")
    best = tries.child(tries.seed, "a", "one", part_of=whole)
    tries.score(whole, 1, 0)
    tries.score(best, 1, 1)
    assert tries.told(left_out, best) == {}
