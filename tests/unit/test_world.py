"""The planted world and the bench on it: what they promise before anything is measured with them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from benchmarks.planted_world.planted_report import calls_to, steps_to_best
from benchmarks.planted_world.plots import line_chart
from langchain_promptopt.bench import run_bench
from langchain_promptopt.bench.planted import bootstrap, faulty_ranges, ratio, run_in_world
from langchain_promptopt.bench.planted_optimizer import PlantedOptimizer
from langchain_promptopt.bench.running import HUB, as_markdown, dyck_match, rows_of, task_of, word_order_match
from langchain_promptopt.bench.world import (
    LOCAL_LONG,
    LOCAL_MEDIUM,
    REWRITE,
    TOPICS,
    VALUES,
    WORLDS,
    World,
    WorldSettings,
    instructions_of,
    needs,
    prompts_of,
    rules_read,
    sentence,
    topics_in,
    units_of,
)
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.presets import PRESETS, recipe_of

SEEDS = range(5)


@pytest.mark.parametrize(("name", "low", "high"), [("short", 5, 5), ("medium", 40, 60), ("long", 450, 550)])
def test_good_prompts_have_the_stated_length(name, low, high):
    for seed in SEEDS:
        assert low <= len(World(WORLDS[name], seed).good.split()) <= high


@pytest.mark.parametrize("settings", WORLDS.values(), ids=WORLDS)
def test_the_faults_are_the_whole_difference_between_good_and_start(settings):
    for seed in SEEDS:
        world = World(settings, seed)
        good, start = rules_read(world.good)[0], rules_read(world.start)[0]
        assert good == world.truth
        assert {t for t in good if start.get(t) != good[t]} == {p.topic for p in world.planted}
        assert not faulty_ranges(world, world.good)
        expected = len(units_of(world.start)) if settings.rewrite else 0
        assert len(faulty_ranges(world, world.start)) >= max(len(world.planted), expected // 2)


def test_answers_depend_on_the_needed_rules_and_on_nothing_else():
    world = World(LOCAL_LONG, 3)
    fault = world.planted[0].topic
    touched = [r for r in world.rows["dev"] if fault in topics_in(r.inputs["text"])]
    others = [r for r in world.rows["dev"] if r not in touched]
    mended = World(replace(LOCAL_LONG, faults=len(world.planted)), 3).good
    assert touched
    for row in touched:
        assert world.chance(world.start, row) < 0.5
        if dict(needs(row))[fault] == world.truth[fault]:
            assert world.chance(mended, row) > world.chance(world.start, row)
    without = world.start.replace(fault, "nothing")
    assert all(world.chance(without, r) == world.chance(world.start, r) for r in others)


def test_the_task_model_is_a_function_of_seed_prompt_and_row():
    one, again, other = World(LOCAL_LONG, 1), World(LOCAL_LONG, 1), World(LOCAL_LONG, 2)
    row = one.rows["dev"][0]
    assert one.answer("c", one.start, row) == again.answer("c", again.start, row)
    assert one.start != other.start
    answers = [one.answer("c", one.start, r) for r in one.rows["dev"]]
    assert [a.split() == r.outputs["answer"].split() for (a, _), r in zip(answers, one.rows["dev"], strict=True)] == [
        s == 1.0 for _, s in answers
    ]
    assert abs(sum(s for _, s in answers) / 100 - sum(one.chance(one.start, r) for r in one.rows["dev"]) / 100) < 0.15


def test_frames_are_a_valley():
    world = World(REWRITE, 0)
    row = next(r for r in world.rows["dev"] if all(t not in {p.topic for p in world.planted} for t, _ in needs(r)))
    mixed = world.start.replace("ledger", "answer", 2)
    pure = world.start.replace("ledger", "answer")
    assert world.chance(mixed, row) < world.chance(world.start, row) < world.chance(pure, row)


def test_label_noise_and_shuffling_are_as_stated():
    noisy = World(WorldSettings(label_noise=0.3), 0)
    wrong = sum(dict(needs(r)) != {t: noisy.truth[t] for t in dict(needs(r))} for r in noisy.rows["test"])
    assert 0.2 < wrong / 400 < 0.4
    dealt = [World(replace(LOCAL_MEDIUM, shuffled=True), seed) for seed in range(12)]
    texts = [[w.good, w.start, "Answer the case."] for w in dealt]
    means = [
        sum(w.held_out(prompts_of(t[k])) for w, t in zip(dealt, texts, strict=True)) / len(dealt) for k in range(3)
    ]
    assert max(means) - min(means) < 0.02  # no prompt is better than another


def test_splits_share_no_row():
    rows = World(LOCAL_MEDIUM, 0).rows
    texts = [{r.id for r in rows[s]} for s in ("train", "dev", "test")]
    assert not texts[0] & texts[1]
    assert not texts[1] & texts[2]


def test_no_coined_word_hides_in_another():
    said = " ".join(sentence("T", "V", __import__("random").Random(i)) for i in range(20)).lower()
    for word in (*TOPICS, *VALUES):
        assert word not in said
        assert sum(word in other for other in (*TOPICS, *VALUES)) == 1


@pytest.mark.parametrize("method", PRESETS)
def test_every_preset_runs_in_the_world_within_its_budget(method):
    trace = run_in_world(recipe_of(method), LOCAL_MEDIUM, 0, 320)
    assert trace.search_calls <= 320
    assert trace.steps_calls == tuple(sorted(trace.steps_calls))
    assert "hard stop" not in trace.stopped
    assert instructions_of(trace.best)


def test_a_run_repeats_itself():
    one, two = (run_in_world(recipe_of("robust"), LOCAL_LONG, 4, 500) for _ in range(2))
    assert replace(one, seconds=0) == replace(two, seconds=0)


def test_skill_decides_what_is_marked():
    clever, dull = (
        [run_in_world(recipe_of("lpo-apo"), WorldSettings(skill=s), seed, 1000) for seed in range(6)]
        for s in (1.0, 0.1)
    )
    precision = [sum(t.precision or 0.0 for t in runs) for runs in (clever, dull)]
    assert precision[0] > precision[1]
    assert sum(t.test for t in clever) > sum(t.test for t in dull)


def test_rewrites_lose_sentences_at_the_drop_rate():
    prompts = World(LOCAL_LONG, 0).prompts
    lost = []
    for rate in (0.0, 0.3):
        world = World(WorldSettings(drop_rate=rate), 0)
        trace = run_in_world(replace(recipe_of("ape-iter"), name="x"), world.settings, 0, 300)
        model = PlantedOptimizer(world=world)
        request = _rewrite_request(prompts.document.text)
        said = model.answer([("system", ""), ("human", request)], 0.7)
        lost.append(len(units_of(prompts.document.text)) - len(units_of(str(said.text))))
        assert trace.proposed >= 1
    assert lost[0] <= 0
    assert 10 < lost[1] < 35


def _rewrite_request(text):
    from langchain_promptopt.steps.metaprompts import DEFAULT

    fill = DEFAULT.fill
    said = {"goal": fill("global.goal-edit"), "reply": fill("global.reply"), "allowance": "", "cap": "", "keep": ""}
    goal = fill("global.edit", **said)
    return f"The current prompt:\n<prompt>\n{text}\n</prompt>\n\n{goal}"


def test_the_model_is_a_chat_model_too():
    said = PlantedOptimizer(world=World(LOCAL_MEDIUM, 0)).invoke(
        [("human", _rewrite_request("For bamodo say it.\n\n{text}"))]
    )
    assert said.text.startswith("<START>")


def test_intervals_hold_the_mean_and_ratios_are_paired():
    found = bootstrap([0.1, 0.2, 0.3, 0.4])
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(0.25)
    assert ratio([2.0, 4.0], [1.0, 2.0]).as_json() == {"mean": 2.0, "low": 2.0, "high": 2.0, "n": 2}


def test_steps_and_calls_to_a_target():
    trace = run_in_world(recipe_of("robust"), LOCAL_MEDIUM, 1, 600)
    assert calls_to(trace, trace.start) == (0, trace.steps_calls[0])
    assert calls_to(trace, 2.0) is None
    assert 0 <= steps_to_best(trace) <= trace.steps


def test_charts_are_well_formed():
    from xml.etree import ElementTree as ET

    picture = ET.fromstring(line_chart("a < b", "calls", {"one & two": [(0, 0.1), (10, 0.5)], "flat": [(0, 0.2)]}))
    assert sum(e.tag.endswith("polyline") for e in picture.iter()) == 2


def test_dataset_matchers():
    assert dyck_match("( [ so: ] )", {"answer": "] )"})["score"] == 1.0
    assert dyck_match("] ) and then >", {"answer": "] )"})["score"] == 0.0
    assert word_order_match("1. ant\n2. bee", {"answer": "ant bee"})["score"] == 1.0
    assert word_order_match("bee ant", {"answer": "ant bee"})["score"] == 0.0


def test_bench_tables_and_refusals():
    table = run_bench(["planted:short", "gsm8k"], ["lpo-pe2"], seeds=2, search_calls=250)
    assert [r["task"] for r in table["rows"]] == ["planted:short"]
    assert table["notes"] == ["gsm8k: not run, no model was given (--model)"]
    json.dumps(table)
    with pytest.raises(ConfigError, match="planted world"):
        run_bench(["planted:nowhere"], ["pe2"])
    with pytest.raises(ConfigError, match="at least 1 seed"):
        run_bench(["planted"], ["pe2"], seeds=0)


def test_bench_runs_a_folder_with_a_model(tmp_path, monkeypatch):
    for split, n in (("train", 30), ("dev", 30), ("test", 30)):
        folder = tmp_path / "colours" / "main"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"inputs": {"question": f"{split} {i}: the {thing} please"}, "outputs": {"answer": label},
             "metadata": {"answer_type": "label"}}
            for i in range(n) for thing, label in [(("rose", "red_things") if i % 2 else ("sea", "blue_things"))]
        ]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    sums = tmp_path / "sums"
    sums.mkdir()
    for split in ("train", "dev", "test"):
        rows = [
            {"inputs": {"question": f"{split}: what is {i} and {i}?"}, "outputs": {"answer": str(2 * i)},
             "metadata": {"answer_type": "number"}} for i in range(30)
        ]  # fmt: skip
        (sums / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    monkeypatch.chdir(tmp_path)
    assert task_of("colours", tmp_path).labels == ("blue_things", "red_things")
    tasks = ["sums", "colours", "nowhere"]
    table = run_bench(tasks, ["lpo-pe2"], seeds=1, search_calls=200, model="offline", folder=tmp_path)
    assert [n.partition(": not run: ")[0] for n in table["notes"]] == ["sums", "nowhere"]
    assert not (tmp_path / "promptopt.openings.jsonl").exists()
    row = table["rows"][0]
    assert row["search_calls"] <= 200
    assert re.fullmatch(r"improved|inconclusive|no_gain|budget", row["outcomes"][0])
    said = as_markdown(table)
    assert f"1 {row['outcomes'][0]} |" in said
    assert "there is no task 'nowhere'" in said
    with pytest.raises(DataError, match="nowhere"):
        run_bench(["nowhere"], ["lpo-pe2"], seeds=1, model="offline", folder=tmp_path)
    untested = {**row, "start": None, "test": None, "outcomes": ["no_gain"]}
    assert "| - | not tested |" in as_markdown({**table, "rows": [untested]})


def test_hub_records_become_rows(tmp_path, monkeypatch):
    """Files as the hub has them, read from a folder: no network."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names = ClassLabel(names=["pay", "oos"])
    intents = Dataset.from_dict(
        {"text": ["a", "b"], "intent": [1, 0]}, features=Features({"text": Value("string"), "intent": names})
    )
    for split in ("train", "validation", "test"):
        intents.to_parquet(tmp_path / "clinc" / f"{split}.parquet")
    found = rows_of(replace(HUB["clinc150"], path=str(tmp_path / "clinc"), name=None))
    assert [r["outputs"]["answer"] for r in found["dev"]] == ["oos", "pay"]
    tasks = Dataset.from_dict({"input": [f"q{i}" for i in range(6)], "target": ["(A)", "3", "Yes"] * 2})
    tasks.to_parquet(tmp_path / "bbh" / "test.parquet")
    dealt = rows_of(replace(HUB["bbh"], path=str(tmp_path / "bbh")))
    assert {s: [r["inputs"]["question"] for r in rows] for s, rows in dealt.items()} == {
        "train": ["q0", "q3"], "dev": ["q1", "q4"], "test": ["q2", "q5"]
    }  # fmt: skip
    assert [dealt[s][0]["metadata"]["answer_type"] for s in dealt] == ["choice", "number", "words"]
    with pytest.raises(DataError, match="no column 'question'"):
        rows_of(replace(HUB["multiarith"], path=str(tmp_path / "bbh"), splits={"test": "test"}))
