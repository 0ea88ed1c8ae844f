"""`compare`: each model within its own limits, both sides at once and by turns, what each took, a stable run id."""

from __future__ import annotations

import asyncio
import io
from collections import Counter

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda
from rich.console import Console

from langchain_promptopt import compare
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import render
from langchain_promptopt.report.terminal import sides_view
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support import online
from tests.support.openai_server import serve
from tests.support.tasks import PROMPT, answer
from tests.support.tasks import rows as words

OLD, NEW = "Sort {word}.", "Sort this: {word}."


class Watched:
    """Brains that note how many calls each model has in flight. They answer once `wanted` were seen, or late."""

    def __init__(self):
        self.now, self.peak, self.order, self.wanted = Counter(), Counter(), [], {}

    async def _seen(self):
        for _ in range(50):
            await asyncio.sleep(0.02)
            if all(self.peak[name] >= count for name, count in self.wanted.items()):
                return

    def brain(self, name):
        async def answer(messages):
            self.order.append(name)
            self.now[name] += 1
            self.peak[name] = max(self.peak[name], self.now[name])
            self.peak["both"] = max(self.peak["both"], sum(self.now.values()))
            await self._seen()
            self.now[name] -= 1
            return name

        return answer


def rows(n=24):
    return [
        {"inputs": {"word": f"w{i}"}, "outputs": {"answer": "b"}, "metadata": {"id": f"t{i}", "split": "test"}}
        for i in range(n)
    ]


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
def up(watched):
    with serve({name: watched.brain(name) for name in ("a", "b")}) as server:
        yield server


def compared(up, tmp_path, old=OLD, new=NEW, models=("a", "b"), **more):
    given = {"max_concurrency": 6, "openings": tmp_path / "openings.jsonl", "policy": online.QUICK} | more
    task_model, new_model = (online.model(up.base_url, name) for name in models)
    return compare(
        old, new, data=rows(), evaluators=["exact_match"], task_model=task_model, new_model=new_model, **given
    )


# ------------------------------------------------------------ limits


@pytest.mark.parametrize(("narrow", "wide"), [("a", "b"), ("b", "a")])
def test_each_model_has_its_own_limit(narrow, wide, watched, up, tmp_path):
    watched.wanted = {wide: 2}
    compared(up, tmp_path, limits={narrow: {"concurrency": 1}})
    assert watched.peak[narrow] == 1
    assert watched.peak[wide] > 1


def test_one_model_on_both_sides_has_one_limit(watched, up, tmp_path):
    watched.wanted = {"both": 2}
    compared(up, tmp_path, models=("a", "a"), limits={"a": {"concurrency": 2}})
    assert watched.peak["both"] == 2


def test_a_chain_of_two_models_passes_the_limits_of_both(watched, up, tmp_path):
    def chain(name, words):
        again = ChatPromptTemplate.from_template("Again: {said}") | online.model(up.base_url, name)
        first = ChatPromptTemplate.from_template(words) | online.model(up.base_url, "a") | StrOutputParser()
        return first | (lambda said: {"said": said}) | again | StrOutputParser()

    compare(
        chain("a", OLD), chain("b", NEW), data=rows(), evaluators=["exact_match"], limits={"a": {"concurrency": 1}},
        openings=tmp_path / "openings.jsonl", policy=online.QUICK,
    )  # fmt: skip
    assert watched.peak["a"] == 1


def test_both_sides_share_the_concurrency_and_take_turns(watched, up, tmp_path):
    watched.wanted = {"both": 4}
    compared(up, tmp_path, max_concurrency=4)
    assert watched.peak["both"] == 4
    lead = [abs(watched.order[:n].count("a") - watched.order[:n].count("b")) for n in range(len(watched.order))]
    assert max(lead) <= 4


def test_another_executor_is_refused(up, tmp_path):
    with pytest.raises(ConfigError, match="there is no argument 'executor'"):
        compared(up, tmp_path, executor=object())
    assert up.count == 0


# ------------------------------------------------------------ what it took


def test_what_each_side_took_is_told_and_adds_up(up, tmp_path):
    price = {"a": Price(input=1.0, output=2.0), "b": Price(input=3.0, output=4.0)}
    given = {"prices": price, "runs_dir": tmp_path / "runs"}
    result = compared(up, tmp_path, **given)
    old, new = (result.usage["by_side"][side] for side in ("old", "new"))
    assert old["calls"] == new["calls"] == 24
    assert 0 < old["usd"] < new["usd"]
    for name in ("calls", "input_tokens", "output_tokens", "tokens", "usd"):
        assert old[name] + new[name] == pytest.approx(result.usage[name])
    again = compared(up, tmp_path, **given)
    assert again.replayed
    assert up.count == 48
    assert again.as_json()["usage"]["by_side"] == result.as_json()["usage"]["by_side"]


def test_the_terminal_tells_the_cost_of_each_side():
    used = {"calls": 24, "input_tokens": 1200, "output_tokens": 48, "usd": 12.5}
    console = Console(width=100, file=io.StringIO())
    console.print(sides_view({"old": used, "new": used | {"usd": None}}))
    *_, old, new = console.file.getvalue().splitlines()
    assert old.split() == ["old", "24", "1,200", "48", "$12.50"]
    assert new.split() == ["new", "24", "1,200", "48", "unknown"]


def test_a_comparison_says_nothing_about_a_search(up, tmp_path):
    searched = "the best candidate is chosen on dev"
    result = compared(up, tmp_path)
    assert not [note for note in result.warnings if searched in note]


# ------------------------------------------------------------ which two


def lower(message):
    return message.text.lower()


def test_the_same_two_sides_are_refused_however_they_were_made(up, tmp_path):
    with pytest.raises(DataError, match="same prompts on the same model"):
        compared(up, tmp_path, old=OLD, new=OLD, models=("a", "a"))
    assert up.count == 0


def test_two_runs_of_one_comparison_are_one_run(up, tmp_path):
    """A chain of code beside a prompt: the run is found again, though every object of it is new."""

    def chain():
        model = online.model(up.base_url, "b")
        return ChatPromptTemplate.from_template(OLD) | model | RunnableLambda(lower)

    given = {
        "data": rows(), "evaluators": ["exact_match"], "runs_dir": tmp_path / "runs", "policy": online.QUICK,
        "openings": tmp_path / "openings.jsonl", "task_model": online.model(up.base_url, "a"),
    }  # fmt: skip
    first, second = (compare(OLD, chain(), **given) for _ in range(2))
    assert (first.run_id, second.replayed, up.count) == (second.run_id, True, 48)


def branched(text, spare="Spare. Word: {word}"):
    """A chain of two prompts, the second of which no example needs."""
    model = ScriptedModel(fn=answer, model_name="task") | StrOutputParser()
    other = PromptTemplate.from_template(spare) | model
    return RunnableBranch((lambda row: row["word"] == "never", other), PromptTemplate.from_template(text) | model)


def test_sides_that_differ_only_in_what_is_never_sent_get_no_verdict(tmp_path):
    old, new = (branched(PROMPT, spare=f"{text}. Word: {{word}}") for text in ("Spare", "Other words"))
    given = {"data": words(), "evaluators": ["exact_match"], "runs_dir": tmp_path, "openings": None}
    result = compare(old, new, **given)
    assert (result.outcome, result.exit_code, result.reason.kind) == ("inconclusive", 3, "not_rendered")
    assert (result.test[0]["verdict"], result.gate_passed) == ("inconclusive", False)
    again = compare(old, new, **given)
    assert (again.replayed, again.outcome, again.reason, again.warnings) == (
        True,
        "inconclusive",
        result.reason,
        result.warnings,
    )
    shown = RunRecord.from_events(list(again.events()))
    for text in (str(result.as_json()["reason"]), render(shown, "markdown"), render(shown, "html")):
        assert "the sides differ in nothing that was sent" in text.replace("The sides", "the sides")


def test_a_prompt_that_no_test_example_renders_is_named(tmp_path):
    better = PROMPT.replace("a PLANT", "an animal")
    result = compare(
        branched(PROMPT),
        branched(better),
        data=words(),
        evaluators=["exact_match"],
        runs_dir=tmp_path,
        openings=None,
    )
    assert result.outcome == "improved"
    assert any("no test example renders prompt" in w for w in result.warnings)


def test_of_two_changed_prompts_the_one_that_was_never_sent_is_named_in_the_record(tmp_path):
    new = branched(PROMPT.replace("a PLANT", "an animal"), spare="Other words. Word: {word}")
    result = compare(branched(PROMPT), new, data=words(), evaluators=["exact_match"], runs_dir=tmp_path, openings=None)
    assert result.outcome == "improved"
    (tested,) = [e for e in result.events() if e["type"] == "tested"]
    (told,) = [w for w in result.warnings if "renders prompt" in w]
    assert told in tested["data"]["detail"]["warnings"]
