"""What is written into the user's chain, and when not: later changes, other chains, unproven children, copies."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt.errors import ConflictError, UsageError
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, chain, improve, optimizer, rows

FIXED = PROMPT.replace("PLANT", "animal")
HOTFIX = PROMPT.replace("Answer with one word.", "Answer with one word, always.")


def run(target, folder, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "data": rows()}
    model = more.pop("model", None) or optimizer()
    return optimize(target, optimizer_model=model, openings=folder / "o.jsonl", **(given | more))


def text(live) -> str:
    return live.first.messages[0].prompt.template


def set_text(live, new: str) -> None:
    live.first.messages[0].prompt = PromptTemplate.from_template(new)


# ------------------------------------------------------------------ changes by somebody else


@pytest.mark.parametrize("how", ["if_improved", "always"])
def test_a_change_made_during_the_run_is_kept(tmp_path, how):
    live = chain(lambda messages: (set_text(live, HOTFIX), answer(messages))[1])
    result = run(live, tmp_path, apply=how)
    assert result.outcome == "improved"
    assert text(live) == HOTFIX
    assert not result.applied
    assert any("not the text this run started from" in w for w in result.warnings)
    with pytest.raises(ConflictError, match="prompt 'main' is not the text this run started from"):
        result.apply(live)
    assert text(live) == HOTFIX
    result.apply(live, force=True)
    assert text(live) == FIXED


def test_apply_is_for_the_text_the_run_started_from(tmp_path):
    result = run(chain(), tmp_path)
    other = chain()
    set_text(other, HOTFIX)
    with pytest.raises(ConflictError, match="force=True"):
        result.apply(other)
    same = chain()
    result.apply(same)
    result.apply(same)  # what is there already is no conflict
    assert text(same) == FIXED


def test_revert_does_not_overwrite_a_later_change(tmp_path):
    live = chain()
    result = run(live, tmp_path)
    set_text(live, FIXED + " Please.")
    with pytest.raises(ConflictError, match="was changed after this result was applied"):
        result.revert(live)
    assert text(live) == FIXED + " Please."
    assert result.applied
    result.revert(live, force=True)
    assert text(live) == PROMPT
    assert not result.applied


def test_revert_undoes_the_chain_it_is_given_and_no_other(tmp_path):
    result = run(chain(), tmp_path, apply="never")
    result.revert(chain())  # nothing is applied anywhere: nothing to do
    production, staging = chain(), chain()
    result.apply(production)
    result.apply(staging)
    result.revert(staging)
    assert (text(production), text(staging)) == (FIXED, PROMPT)
    assert result.applied
    with pytest.raises(UsageError, match="not applied to this chain"):
        result.revert(staging)
    assert text(production) == FIXED
    result.revert()
    assert text(production) == PROMPT


# ------------------------------------------------------------------ children that were not kept to their places


def test_children_made_under_audit_are_never_applied_by_themselves(tmp_path):
    live = chain()

    def paper(messages):
        """Says what is wrong, marks PLANT, and then changes another sentence as well."""
        asked = sum(m.type == "human" for m in messages)
        if asked == 2:
            return PROMPT.replace("PLANT", "<edit>PLANT</edit>")
        return FIXED.replace("with one word", "with a single word") if asked == 3 else improve(messages)

    result = run(live, tmp_path, method="lpo-pe2:paper", model=optimizer(paper))
    proposed = [e["data"] for e in result.events() if e["type"] == "proposed"]
    assert {p["enforce"] for p in proposed} == {"audit"}
    assert result.outcome == "improved"
    assert not result.gate_passed
    assert not result.applied
    assert text(live) == PROMPT
    assert any("audit" in w for w in result.warnings)
    with pytest.raises(UsageError, match="force=True"):
        result.apply(live)
    (tested,) = [e["data"] for e in result.events() if e["type"] == "tested"]
    assert tested["detail"]["unenforced"] is True


# ------------------------------------------------------------------ copies and pickles during a search


class Service:
    """What a service does with its prompt while somebody optimizes it."""

    def __init__(self):
        self.prompt = ChatPromptTemplate.from_template(PROMPT)
        self.same = ChatPromptTemplate.from_template(PROMPT)
        self.made = {}

    def look(self, messages):
        prompt = self.prompt
        self.made = {
            "copy": copy.copy(prompt),
            "deepcopy": copy.deepcopy({"inside": [prompt]})["inside"][0],
            "model_copy": prompt.model_copy(),
            "deep model_copy": prompt.model_copy(deep=True),
            "pickle": pickle.loads(pickle.dumps(prompt)),  # noqa: S301
            "partial": prompt.partial(),
            "class": type(prompt)(messages=prompt.messages, input_variables=["word"]),
            "from_template": type(prompt).from_template(PROMPT),
            "plus": prompt + HumanMessage("x"),
        }
        self.equal = (prompt == self.same, self.same == prompt, prompt != self.same, prompt == prompt.model_copy())
        return answer(messages)


def test_copies_and_pickles_made_during_a_search_are_ordinary_objects(tmp_path):
    service = Service()
    live = service.prompt | ScriptedModel(fn=service.look, model_name="task") | StrOutputParser()
    result = run(live, tmp_path, apply="never")
    assert result.outcome == "improved"
    assert service.equal == (True, True, False, True)
    for how, made in service.made.items():
        assert type(made) is ChatPromptTemplate, how
        assert pickle.loads(pickle.dumps(made)) == made, how  # noqa: S301
        if how != "plus":
            assert made == service.same, how
            assert made.invoke({"word": "dog-1"}) == service.same.invoke({"word": "dog-1"}), how
    assert type(service.prompt) is ChatPromptTemplate
