"""The failure signatures of algorithms 1.6: each is detected, answered, and told in the journal."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from langchain_promptopt._engine.archive import PAIRS, marks_astray
from langchain_promptopt.presets import ape_iter, gpo_code, lpo_pe2, pe2, robust
from langchain_promptopt.protocols import Progress
from langchain_promptopt.steps import IdentifyTokens, LocalProposal
from langchain_promptopt.strategies.evidence import ErrorBatches
from langchain_promptopt.strategies.scope import Alternating, Spans
from langchain_promptopt.strategies.selection import Elitist, Epochs, Steps, gap_reason
from langchain_promptopt.strategies.trials import KeepRight, NoTrials
from langchain_promptopt.testing.samples import sample_candidate, sample_piece, sample_trajectory
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Attempt, Batch, Span, Workpiece
from tests.support.runs import of_type, run
from tests.support.tasks import ANIMALS, PROMPT, chain, improve, optimizer, rows


def signs(result):
    return [e for e in of_type(result, "incident") if e["role"] == "method"]


def with_val(**sizes):
    out = rows(**sizes)
    return [*out, *({**r, "metadata": {"id": f"v-{i}", "split": "val"}} for i, r in enumerate(other_words(16)))]


def other_words(n):
    names = ["puma", "quartz", "mole", "gneiss"]
    kinds = ["animal", "stone"]
    return [
        {"inputs": {"word": f"{names[i % 4]}-val-{i}"}, "outputs": {"answer": kinds[i % 2]}} for i in range(n)
    ]  # fmt: skip


# ------------------------------------------------------------------ dev runs away from val


def progress(pairs, dev_size=400):
    best = tuple(Attempt(sample_candidate(i), d, {"d": d}) for i, (d, _) in enumerate([(0.4, 0.4), *pairs]))
    return Progress(len(pairs), best, tuple(pairs), None, dev_size)


@pytest.mark.parametrize("stop", [Steps(limit=9), Epochs(), Epochs(patience=2)])
def test_overfitting_is_a_gap_without_gain_on_val(stop):
    away = [(0.5, 0.5), (0.65, 0.48), (0.8, 0.49)]
    why = stop.reason(progress(away))
    assert why.kind == "overfitting"
    assert why.detail.startswith("dev is at 0.800 and val at 0.490")
    assert gap_reason(progress(away[:2])) is None  # two steps say nothing yet
    assert gap_reason(progress([(0.5, 0.5), (0.65, 0.48), (0.8, 0.6)])) is None  # val still gains
    assert gap_reason(progress([(0.5, 0.5), (0.52, 0.49), (0.54, 0.495)])) is None  # below 5 points
    assert gap_reason(progress(away, dev_size=8)) is None  # within 2 standard errors of so few rows


def overfit(messages):
    """Right on every dev word, wrong on all others as soon as the prompt was changed."""
    text = "\n".join(str(m.text) for m in messages)
    word = text.rsplit("Word: ", 1)[1]
    marks = text.count("(v")
    kind = "animal" if word.split("-")[0] in ANIMALS else "stone"
    if "-dev-" in word:
        return kind if int(word.rsplit("-", 1)[1]) < 4 + 3 * marks else "PLANT"
    return kind if int(word.rsplit("-", 1)[1]) % 2 and not marks else "PLANT"


def mark_more(messages):
    request = str(messages[-1].text)
    if "<START>" not in request:
        return improve(messages)
    prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
    return f"<START>{prompt.replace('You sort words', f'You sort words (v{prompt.count(chr(40))})')}<END>"


def test_a_search_that_overfits_is_stopped_and_val_chooses():
    recipe = replace(pe2(), stop=Steps(limit=9), incumbent=Elitist())
    result = run(recipe, optimizer(mark_more), target=chain(overfit), data=with_val(dev=40, train=12))
    found = [s for s in signs(result) if s["kind"] == "overfitting"]
    assert len(found) == 1
    assert found[0]["action"] == "stop search"
    assert len(of_type(result, "selected")) < 9
    assert result.best.id == result.baseline.id  # chosen by val, where the change hurts
    assert "overfitting" in result.health.signatures


def test_without_val_the_gap_stop_is_off_and_that_is_said():
    assert any("no val split" in w for w in run("lpo-pe2").warnings)
    assert not any("no val split" in w for w in run("lpo-pe2", data=with_val()).warnings)


def test_saturation_ends_the_search_and_is_told():
    result = run(replace(lpo_pe2(), stop=Steps(limit=3)))
    assert [s["kind"] for s in signs(result)] == ["dev_saturated"]
    assert len(of_type(result, "selected")) == 1


# ------------------------------------------------------------------ marks on irrelevant words


def useless(messages):
    request = str(messages[-1].text)
    count = next(NUMBERS)
    if "JSON list" in request:
        return json.dumps([{"message": 0, "quote": "You sort words", "occurrence": 1, "reason": "vague"}])
    if "JSON object" in request:
        return json.dumps({"1": {"new": f"You sort words {count}", "reason": "clearer"}})
    return improve(messages)


NUMBERS = iter(range(10**9))


def test_marks_that_help_no_more_than_chance_are_told_and_widened():
    model = optimizer(useless)
    result = run(lpo_pe2(), model)
    told = [s for s in signs(result) if s["kind"] == "irrelevant_tags"]
    assert len(told) == 1
    assert "20 children by marks gained +0.000" in told[0]["detail"]
    asked = [str(c[-1].text) for c in model.calls if "JSON list" in str(c[-1].text)]
    widths = [int(re.search(r"at most (\d+) words", a).group(1)) for a in asked]
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (5, 10)


def test_marks_that_helped_are_not_astray():
    seed, *children = sample_trajectory()
    gained = [replace(children[0], gain=g, candidate=sample_candidate(i)) for i, g in enumerate([0.1, 0.0] * 10)]
    assert marks_astray((seed, *gained)) is None
    lost = [replace(a, gain=-abs(a.gain)) for a in gained]
    assert marks_astray((seed, *lost)) is not None
    assert marks_astray((seed, *lost[: PAIRS - 1])) is None
    assert Spans(widen=1).limits(astray=True) == Spans().limits()


# ------------------------------------------------------------------ plateau


def test_a_plateau_gets_one_global_step_which_is_told():
    def structural(messages):
        request = str(messages[-1].text)
        return improve(messages) if "<START>" in request else useless(messages)

    recipe = replace(lpo_pe2(), scope=Alternating(Spans(), every=1), stop=Steps(limit=3))
    result = run(recipe, optimizer(structural))
    scopes = {e["step"]: e["scope"] for e in of_type(result, "proposed")}
    assert scopes == {1: "spans", 2: "global"}
    told = [s for s in signs(result) if s["kind"] == "plateau"]
    assert [(s["action"], s["detail"]) for s in told] == [("one global step", "step 2: no gain for 1 step")]
    assert result.outcome == "improved"


def test_patience_ends_a_search_on_a_plateau():
    result = run(replace(lpo_pe2(), stop=Steps(limit=9, patience=2)), optimizer(useless))
    told = [s for s in signs(result) if s["kind"] == "plateau"]
    assert [s["action"] for s in told] == ["stop search"]
    assert len(of_type(result, "selected")) == 2


# ------------------------------------------------------------------ tag leakage


def test_marks_that_leak_into_the_reply_are_stripped_and_told():
    def leaky(messages):
        return improve(messages).replace('"animal"', '"<edit>animal</edit>"')

    result = run(lpo_pe2(), optimizer(leaky))
    texts = [p["prompts"][0]["messages"][0]["template"] for p in of_type(result, "proposed")]
    assert texts
    assert not any("edit>" in t for t in texts)
    assert all(t == PROMPT.replace("PLANT", "animal") for t in texts[:1])
    assert {s["kind"] for s in signs(result)} >= {"tag_leak"}
    assert result.outcome == "improved"


def test_a_stripped_text_is_still_checked():
    piece = replace(sample_piece(children=1), spans=None)
    at = piece.prompts["main"].messages[0].template.index("PLANT")
    piece = replace(piece, spans=(Span("main", 0, at, at + 5),), span_reasons=("",))
    reply = json.dumps({"1": {"new": "<edit>animal</edit> {secret}"}})
    out = LocalProposal(model=ScriptedModel(fn=lambda _: reply)).invoke(piece)
    assert out.drafts == ()
    assert {r.rule for r in out.rejections} == {"new_variable"}
    assert [r.rule for r in out.remarks] == ["tag_leak"]


# ------------------------------------------------------------------ everything marked


def test_a_prompt_marked_all_over_is_trimmed_and_told():
    def everything(messages):
        request = str(messages[-1].text)
        if "JSON list" not in request:
            return improve(messages)
        quotes = ["You sort words", "Call every animal a PLANT", "Call every stone a stone", "Answer with one word"]
        return json.dumps([{"message": 0, "quote": q, "reason": "all of it"} for q in quotes])

    result = run(replace(lpo_pe2(), stop=Steps(limit=1)), optimizer(everything))
    told = [s for s in signs(result) if s["kind"] == "effectively_global"]
    assert told
    assert told[0]["action"] == "marks trimmed"
    words = sum(len(s["text"].split()) for s in of_type(result, "identified")[0]["spans"])
    assert 0 < words <= 9  # half of the 18 editable words


def test_few_marks_are_no_remark():
    piece = Workpiece(sample_piece().prompts, batch=Batch(errors=sample_piece().batch.errors))
    quote = json.dumps([{"message": 0, "quote": "PLANT", "reason": "wrong"}])
    assert IdentifyTokens(model=ScriptedModel(fn=lambda _: quote)).invoke(piece).remarks == ()


# ------------------------------------------------------------------ no-op


class Heated(ScriptedModel):
    """Says the same until it is asked at a higher temperature."""

    heats: list[float | None] = []  # noqa: RUF012 - pydantic copies it

    def _generate(self, messages, *args, **kwargs):
        heat = kwargs.get("temperature")
        request = str(messages[-1].text)
        if "JSON object" in request:
            self.heats.append(heat)
            if heat is not None and heat < 0.9:
                return ScriptedModel(fn=lambda _: '{"1": {"new": "PLANT"}}')._generate(messages)
        return super()._generate(messages, *args, **kwargs)

    async def _agenerate(self, messages, *args, **kwargs):
        return self._generate(messages, *args, **kwargs)


def test_a_no_op_raises_the_temperature_once():
    model = Heated(fn=improve)
    result = run(replace(lpo_pe2(), stop=Steps(limit=1)), model)
    assert sorted(set(model.heats)) == [0.7, 1.0]
    assert "no_op" in {e["rule"] for e in of_type(result, "rejected")}
    assert result.outcome == "improved"
    assert result.health.second_tries == model.heats.count(1.0)


def test_a_second_no_op_is_skipped():
    def same(messages):
        return '{"1": {"new": "PLANT"}}' if "JSON object" in str(messages[-1].text) else improve(messages)

    model = optimizer(same)
    result = run(replace(lpo_pe2(), stop=Steps(limit=1)), model)
    assert len([c for c in model.calls if "JSON object" in str(c[-1].text)]) == 2 * 4
    assert [e["rule"] for e in of_type(result, "rejected")] == ["no_op"] * 8
    assert not of_type(result, "proposed")
    assert result.health.no_ops == 1.0


# ------------------------------------------------------------------ keep what works (6.4)


def breaking(messages):
    """Mends the animals and breaks the stones, unless it is the fourth proposal."""
    if "JSON list" in str(messages[-1].text):
        return json.dumps([{"message": 0, "quote": "PLANT. Call every stone a stone", "reason": "wrong"}])
    if "JSON object" in str(messages[-1].text):
        good = "fox-train" in str(messages[1].text)
        return json.dumps({"1": {"new": "animal. Call every stone a " + ("stone" if good else "rock")}})
    return improve(messages)


def guarded(keep_right):
    return replace(
        lpo_pe2(),
        evidence=ErrorBatches(size=2, correct=2),
        trials=KeepRight() if keep_right else NoTrials(),
        stop=Steps(limit=1),
    )


def test_a_child_that_breaks_what_was_right_is_refused_before_dev():
    result = run(guarded(keep_right=True), optimizer(breaking), data=rows(train=24))
    refused = [e for e in of_type(result, "rejected") if e["rule"] == "regression"]
    assert refused
    assert "2 of 2 examples that were right no longer are" in refused[0]["detail"]
    on_dev = {e["candidate_id"] for e in of_type(result, "scored") if e["split"] == "dev"}
    texts = {e["candidate_id"]: e["prompts"][0]["messages"][0]["template"] for e in of_type(result, "proposed")}
    assert not any("a rock" in texts[i] for i in on_dev if i in texts)
    free = run(guarded(keep_right=False), optimizer(breaking), data=rows(train=24))
    assert "regression" not in {e["rule"] for e in of_type(free, "rejected")}


def test_the_same_rows_are_refused_at_any_concurrency():
    def told(n):
        result = run(guarded(keep_right=True), optimizer(breaking), data=rows(train=24), max_concurrency=n)
        return sorted((e["rule"], e["detail"]) for e in of_type(result, "rejected"))

    assert told(1) == told(16)


# ------------------------------------------------------------------ labels in doubt


def test_rows_no_candidate_gets_right_and_objections_are_listed():
    data = rows()
    wrong = {"dev-1", "train-3"}
    for row in data:
        if row["metadata"]["id"] in wrong:
            row["outputs"]["answer"] = "mineral"

    def objecting(messages):
        if "why this prompt led to the wrong answers" in str(messages[-1].text):
            return "- the word PLANT misleads\n- for row train-3 the expected answer is wrong"
        return improve(messages)

    result = run("lpo-apo", optimizer(objecting), data=data)
    found = {s.example_id: s for s in result.health.suspects}
    assert {"train-3"} <= set(found)
    assert found["train-3"].objections >= 1
    assert result.health.objections >= 1
    assert result.as_json()["health"]["objections"] == result.health.objections


def test_all_signatures_leave_the_presets_deterministic():
    def transcript(n):
        result = run(replace(robust(), stop=Steps(limit=3)), optimizer(useless_fixed), max_concurrency=n)
        return sorted(json.dumps([e["type"], e["data"]["kind"]]) for e in result.events() if e["type"] == "incident")

    assert transcript(1) == transcript(8)


def useless_fixed(messages):
    request = str(messages[-1].text)
    if "JSON object" in request:
        return json.dumps({"1": {"new": "You sort all words", "reason": "clearer"}})
    return useless(messages) if "JSON list" in request else improve(messages)


def test_ape_and_gpo_code_have_no_marks_to_go_astray():
    for recipe in (ape_iter(), replace(gpo_code(), stop=Steps(limit=2))):
        assert not [s for s in signs(run(recipe)) if s["kind"] == "irrelevant_tags"]
