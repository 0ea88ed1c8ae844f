"""Prompts in Chinese, Japanese, Arabic and Hindi through every preset (algorithms 6.4, product guarantee 10)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt._text.lint import dominant_script
from langchain_promptopt._text.words import count_words, words_changed
from langchain_promptopt.presets import PRESETS, lpo_pe2, pe2, recipe_of
from langchain_promptopt.strategies.scope import Spans
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.runs import of_type


@dataclass(frozen=True)
class Task:
    """A prompt with one wrong rule; the task program follows whatever rule it finds."""

    name: str
    prompt: str
    rule: str  # regular expression: what animals are to be called
    wrong: str
    right: str
    stone: str
    animals: tuple[str, ...]
    stones: tuple[str, ...]
    induced: str
    english: str = "Call every animal an animal and every stone a stone, and answer with only one word."


TASKS = [
    Task(
        "zh",
        "请把词语分类。所有动物都叫做植物。所有石头都叫做石头。只回答一个词，不要解释。\n词语：{word}",
        "所有动物都叫做(.+?)。",
        "植物",
        "动物",
        "石头",
        ("狗", "猫", "牛", "鸡"),
        ("玉", "玛瑙", "花岗岩", "石英"),
        "请判断词语的种类。所有动物都叫做动物。所有石头都叫做石头。只回答一个词。",
    ),
    Task(
        "ja",
        "ことばを分類してください。動物はすべて植物と呼びます。石はすべて石と呼びます。一語だけで答えてください。\nことば：{word}",
        "動物はすべて(.+?)と呼びます",
        "植物",
        "動物",
        "石",
        ("いぬ", "ねこ", "うし", "とり"),
        ("ひすい", "めのう", "みかげ", "すいしょう"),
        "ことばの種類を答えてください。動物はすべて動物と呼びます。石はすべて石と呼びます。一語だけです。",
    ),
    Task(
        "ar",
        "صنّف الكلمات التالية. سمِّ كل حيوان نباتا. سمِّ كل صخرة حجرا. أجب بكلمة واحدة فقط.\nالكلمة: {word}",
        r"سمِّ كل حيوان (\S+?)\.",
        "نباتا",
        "حيوانا",
        "حجرا",
        ("كلب", "قطة", "بقرة", "دجاجة"),
        ("عقيق", "يشم", "مرمر", "صوان"),
        "حدّد نوع الكلمة. سمِّ كل حيوان حيوانا. سمِّ كل صخرة حجرا. أجب بكلمة واحدة فقط.",
    ),
    Task(
        "hi",
        "शब्दों को छाँटिए। हर जानवर को पौधा कहिए। हर चट्टान को पत्थर कहिए। केवल एक शब्द में उत्तर दीजिए।\nशब्द: {word}",
        "हर जानवर को (.+?) कहिए",
        "पौधा",
        "पशु",
        "पत्थर",
        ("कुत्ता", "बिल्ली", "गाय", "मुर्गी"),
        ("संगमरमर", "गोमेद", "स्फटिक", "नीलम"),
        "शब्द का प्रकार बताइए। हर जानवर को पशु कहिए। हर चट्टान को पत्थर कहिए। केवल एक शब्द में उत्तर दीजिए।",
    ),
]
IDS = [t.name for t in TASKS]


def rows_of(task, train=8, dev=10, test=30):
    out = []
    for split, n in (("train", train), ("dev", dev), ("test", test)):
        for i in range(n):
            names, kind = (task.animals, task.right) if i % 2 else (task.stones, task.stone)
            word = f"{names[i // 2 % 4]} {split} {i}"
            out.append(
                {
                    "inputs": {"word": word},
                    "outputs": {"answer": kind},
                    "metadata": {"id": f"{split}-{i}", "split": split},
                }
            )
    return out


def chain_of(task):
    def answer(messages):
        text = str(messages[-1].text)
        word = text.rsplit("\n", 1)[1]
        found = re.search(task.rule, text)
        return found.group(1) if found and any(a in word for a in task.animals) else task.stone

    return ChatPromptTemplate.from_template(task.prompt) | ScriptedModel(fn=answer) | StrOutputParser()


def helper(task, new=None, whole=None):
    """Marks the wrong word and replaces it with `new`; rewrites as `whole` where all of it may change."""
    new = task.right if new is None else new

    def improve(messages):
        request = str(messages[-1].text)
        if "JSON list" in request:
            return json.dumps([{"message": 0, "quote": task.wrong, "occurrence": 1, "reason": "…"}], ensure_ascii=False)
        if "JSON object" in request:
            return json.dumps({"1": {"new": new, "reason": "…"}}, ensure_ascii=False)
        if "What was the instruction?" in request:
            return f"<START>{whole or task.induced}<END>"
        if "<START>" in request:
            prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
            head, tail = prompt.rsplit("\n", 1)
            return f"<START>{whole or head.replace(task.wrong, new)}\n{tail}<END>"
        return "- " + task.wrong

    return ScriptedModel(fn=improve, model_name="optimizer")


def run(task, method, model=None):
    recipe = recipe_of(method)
    if recipe.stop.total(8) > 3:
        recipe = replace(recipe, stop=Steps(limit=2))
    return optimize(
        chain_of(task),
        data=rows_of(task),
        evaluators=["exact_match"],
        optimizer_model=model or helper(task),
        method=recipe,
        runs_dir=None,
        openings=None,
    )


@pytest.mark.parametrize("method", [name for name in PRESETS if name != "shorten"])  # which mends nothing
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_every_preset_keeps_the_language_and_mends_the_rule(task, method):
    result = run(task, method)
    best = result.best["main"].messages[0].template
    assert result.outcome == "improved", [e["rule"] + e["detail"] for e in of_type(result, "rejected")]
    assert dominant_script(best) == dominant_script(task.prompt)
    assert result.best["main"].variables == ("word",)
    assert best.endswith(task.prompt.rsplit("\n", 1)[1])


@pytest.mark.parametrize("method", ["pe2", "gpo", "ape-iter", "opro"])
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_an_english_rewrite_is_refused(task, method):
    result = run(task, method, helper(task, whole=task.english))
    assert not of_type(result, "proposed")
    assert {e["rule"] for e in of_type(result, "rejected")} == {"language"}
    assert result.outcome == "no_gain"


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_an_english_text_in_a_span_is_refused(task):
    result = run(task, "lpo-pe2", helper(task, new="an animal as the rows say"))
    assert not of_type(result, "proposed")
    assert {e["rule"] for e in of_type(result, "rejected")} == {"language"}


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_a_foreign_name_in_a_span_is_fine(task):
    assert of_type(run(task, "lpo-pe2", helper(task, new="JSON")), "proposed")


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_local_edits_leave_every_other_character_alone(task):
    result = run(task, "lpo-pe2")
    (edit,) = result.edits
    assert (edit.old, edit.new) == (task.wrong, task.right)
    assert result.best["main"].messages[0].template == task.prompt.replace(task.wrong, task.right, 1)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_limits_are_told_and_kept_in_the_units_of_the_script(task):
    model = helper(task)
    run(task, replace(lpo_pe2(), scope=Spans(w_max=3), stop=Steps(limit=1)), model)
    asked = next(str(c[-1].text) for c in model.calls if "JSON list" in str(c[-1].text))
    unit = "at most 6 characters" if task.name in {"zh", "ja"} else "at most 3 words"
    assert unit in asked


def test_words_are_counted_by_script():
    counted = {t.name: count_words(t.prompt) for t in TASKS}
    assert counted["ar"] == len(re.findall(r"[^\s.:]+", TASKS[2].prompt.replace("{word}", "word")))
    assert counted["hi"] == len(re.findall(r"[^\s।:]+", TASKS[3].prompt.replace("{word}", "word")))
    assert counted["zh"] == len(re.findall(r"[\u4e00-\u9fff]", TASKS[0].prompt)) + 1  # and the variable
    assert words_changed(TASKS[0].prompt, TASKS[0].prompt.replace("植物", "动物")) == 1


def test_a_word_cap_is_twice_as_long_where_characters_are_counted():
    task = TASKS[0]
    long = "请把词语分类。" + "".join(f"{a}是动物。" for a in "狗猫牛鸡羊马兔鼠猪鹅") + task.prompt
    assert 50 < count_words(long) <= 100
    head = long.rsplit("\n", 1)[0].replace("植物", "动物")
    result = run(task, replace(pe2(), stop=Steps(limit=1)), helper(task, whole=head))
    assert {e["rule"] for e in of_type(result, "rejected")} <= {"known", "no_op", "meta_talk"}
    assert of_type(result, "proposed")


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u202b"])
def test_marks_that_turn_the_direction_of_text_are_refused(mark):
    task = TASKS[2]
    result = run(task, "lpo-pe2", helper(task, new=f"{mark}{task.right}"))
    assert not of_type(result, "proposed")
    assert {e["rule"] for e in of_type(result, "rejected")} == {"control_character"}


def test_joiners_and_marks_inside_words_survive():
    task = replace(TASKS[2], right="حيوان\u200cا", wrong="نباتا")
    result = run(task, "lpo-pe2")
    assert "حيوان\u200cا" in result.best["main"].messages[0].template
