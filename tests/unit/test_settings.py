"""Every setting is checked when it is given: a wrong one is an error that shows the right form, before any call."""

from __future__ import annotations

import asyncio
import inspect
import re
import typing

import pytest

import langchain_promptopt.settings as face
from langchain_promptopt import (
    Budget,
    Gate,
    PromptOptimizer,
    aoptimize,
    compare,
    load_prompts,
    optimize,
    prompts,
    tunable,
)
from langchain_promptopt._data import Columns
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.errors import ConfigError, UsageError
from langchain_promptopt.optimizer.arguments import Arguments, Settings, settings_of
from tests.support.tasks import PROMPT, chain, optimizer, rows

NAN = float("nan")


class Faces:
    """The four ways to give settings; none may reach a model with a wrong one."""

    @staticmethod
    def optimize(model, **more):
        return optimize(chain(), **{"data": rows(), "evaluators": ["exact_match"], "optimizer_model": model, **more})

    @staticmethod
    def aoptimize(model, **more):
        given = {"data": rows(), "evaluators": ["exact_match"], "optimizer_model": model, **more}
        return asyncio.run(aoptimize(chain(), **given))

    @staticmethod
    def runnable(model, **more):
        given = {"data": rows(), "evaluators": ["exact_match"], "optimizer_model": model, **more}
        return PromptOptimizer(**given).invoke(chain())

    @staticmethod
    def session(model, **more):
        return PromptOptimizer(data=rows(), evaluators=["exact_match"], optimizer_model=model).session(chain(), **more)


WRONG_WAYS = [False, True, None, 0, 1, "Never", "NEVER", "if-improved", "allways", "", "no", ["never"]]
EVERYWHERE = pytest.mark.parametrize("way", [Faces.optimize, Faces.aoptimize, Faces.runnable, Faces.session])


@EVERYWHERE
@pytest.mark.parametrize("wrong", WRONG_WAYS)
def test_apply_takes_its_three_words_only(way, wrong, tmp_path):
    model = optimizer()
    with pytest.raises(UsageError, match="apply must be one of 'if_improved', 'never', 'always'"):
        way(model, apply=wrong, runs_dir=None, openings=tmp_path / "o.jsonl")
    assert model.calls == []


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("Never", "'never'"),
        ("allways", "'always'"),
        ("If Improved", "'if_improved'"),
        (False, "'never'"),
        (None, "'never'"),
    ],
)
def test_a_misspelt_apply_names_the_word_that_was_meant(wrong, meant):
    with pytest.raises(UsageError, match=f"Did you mean {meant}"):
        settings_of({"apply": wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 5}, r"budget must be a Budget, got 5. Write budget=Budget\(usd=5\)"),
        ({"budget": "5 usd"}, r"Write budget=Budget\(usd=5\)"),
        ({"budget": {"euros": 5}}, "a budget has no 'euros'.*Known are usd, tokens, calls"),
        ({"budget": {"search_call": 5}}, "Did you mean 'search_calls'"),
        ({"budget": {"calls": -1}}, "budget.calls must be at least 0"),
        ({"gate": 0.05}, r"gate must be a Gate, got 0.05. Write gate=Gate\(primary="),
        ({"gate": "exact_match"}, r"Write gate=Gate\(primary="),
        ({"gate": []}, "gate must be a Gate"),
        ({"gate": {"primry": "x"}}, "Did you mean 'primary'"),
        ({"freeze": 3}, r"freeze cannot be 3. Write freeze=\["),
        ({"freeze": {"a": "b"}}, "freeze cannot be"),
        ({"freeze": [3]}, "freeze holds 3"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
        ({"max_concurrency": 2.5}, "max_concurrency must be a whole number"),
        ({"max_edits": 0}, "max_edits must be at least 1"),
        ({"max_edits": 2.5}, "max_edits must be a whole number"),
        ({"max_failure_rate": 5}, "max_failure_rate must be between 0 and 1"),
        ({"max_failure_rate": NAN}, "max_failure_rate must be between 0 and 1"),
        ({"drop_leaks": "no"}, "drop_leaks cannot be 'no'. Write True or False"),
        ({"method": 3}, "method cannot be 3"),
        ({"inputs": ["ticket"]}, r"inputs cannot be .* Write inputs=\{"),
        ({"outputs": 3}, "outputs cannot be 3"),
        ({"id": 3}, "id cannot be 3"),
        ({"group": ["a"]}, "group cannot be"),
        ({"splits": ["train"]}, "splits cannot be"),
        ({"runs_dir": 3}, "runs_dir cannot be 3"),
        ({"openings": False}, "openings cannot be False"),
        ({"policy": 3}, r"Write policy=RetryPolicy"),
        ({"prices": {"m": 3.0}}, r"prices\['m'\] cannot be 3.0.*Price"),
        ({"limits": {"m": 60}}, r"limits\['m'\] cannot be 60.*RateLimit"),
        ({"judges": {"m": 1}}, r"judges\['m'\] cannot be 1.*JudgeCost"),
        ({"requests_per_second": "2"}, "requests_per_second must be a number"),
        ({"requests_per_second": 0}, "requests_per_second must be above 0"),
        ({"tune": []}, "tune names no prompt"),
        ({"optimizer_kwargs": "hot"}, "optimizer_kwargs cannot be 'hot'"),
        ({"tune": 3}, "tune cannot be 3"),
        ({"langsmith": 3}, "langsmith cannot be 3"),
        ({"observers": 3}, "observers cannot be 3"),
    ],
)  # fmt: skip
def test_a_wrong_setting_shows_the_right_form(wrong, said):
    model = optimizer()
    with pytest.raises(ConfigError, match=said):
        Faces.optimize(model, **wrong)
    assert model.calls == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"guards": {"m": 5}}, "between 0 and 1, got 5. Scores are 0 to 1: 5 points are 0.05"),
        ({"guards": {"m": -0.1}}, "between 0 and 1"),
        ({"guards": {"m": NAN}}, "between 0 and 1"),
        ({"guards": {"m": "0.05"}}, "must be a number"),
        ({"guards": ["m"]}, r"must map metrics to numbers.*guards=\{"),
        ({"weights": {"a": NAN}}, "at least 0"),
        ({"weights": {"a": -1, "b": 2}}, "at least 0"),
        ({"weights": {"a": float("inf")}}, "at least 0"),
        ({"weights": {"a": 0}}, "all 0"),
        ({"repeats": 1.5}, "a whole number, got 1.5"),
        ({"repeats": True}, "a whole number"),
        ({"repeats": 0}, "at least 1"),
        ({"alpha": NAN}, "between 0 and 0.5"),
        ({"alpha": 0}, "above 0"),
        ({"alpha": 0.95}, "between 0 and 0.5, got 0.95.*for 95% confidence write 0.05"),
        ({"alpha": "0.05"}, "must be a number"),
        ({"worth": 2}, "between 0 and 1"),
        ({"primary": 3}, "key of a metric"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_refused_when_it_is_made(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Gate(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"calls": 1.5}, "a whole number"),
        ({"tokens": "many"}, "a whole number"),
        ({"usd": "5"}, "must be a number"),
        ({"usd": NAN}, "at least 0"),
        ({"usd": float("inf")}, "Leave it out for no limit"),
        ({"usd": 0}, "above 0"),
        ({"seconds": True}, "must be a number"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused_when_it_is_made(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Budget(**wrong)


def test_mappings_and_single_rules_are_taken_for_what_they_say():
    settings = settings_of({"gate": {}, "budget": {"usd": 5}, "freeze": "## Rules", "outputs": "label", "tune": "main"})
    assert settings.gate == Gate()
    assert settings.budget == Budget(usd=5)
    assert settings.freeze == ("## Rules",)
    assert settings.tune == ("main",)
    assert settings.columns.output_columns == {"label": "label"}
    assert settings_of({"gate": {"guards": {"m": 0.1}}}).gate == Gate(guards={"m": 0.1})
    assert settings_of({"gate": None, "budget": None}).budget == Budget()


@EVERYWHERE
@pytest.mark.parametrize(
    ("name", "meant"), [("bugdet", "budget"), ("evaluator", "evaluators"), ("optimiser_kwargs", "optimizer_kwargs")]
)
def test_an_unknown_argument_names_the_nearest(way, name, meant):
    with pytest.raises(ConfigError, match=f"there is no argument '{name}'.*Did you mean '{meant}'"):
        way(optimizer(), **{name: 1})


def test_settings_that_would_do_nothing_are_refused():
    with pytest.raises(ConfigError, match="there is no argument 'fresh'"):
        Faces.optimize(optimizer(), fresh=True)
    for name in ("method", "freeze", "apply", "optimizer_model", "executor"):
        with pytest.raises(ConfigError, match=rf"there is no argument '{name}' \(compare\(\)\)"):
            compare(PROMPT, PROMPT + "!", data=rows(), evaluators=["exact_match"], task_model="offline", **{name: 1})


def test_the_facade_names_every_argument_and_says_its_type():
    parameters = inspect.signature(optimize).parameters
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())
    assert parameters.keys() - {"chain"} == set(Arguments.__annotations__)
    untyped = [n for n, p in parameters.items() if p.annotation in {"Any", "object", inspect.Parameter.empty}]
    assert untyped == []
    assert "fresh" not in Settings.__dataclass_fields__


def test_every_type_of_the_facade_has_a_public_name():
    """What an annotation names is importable from `langchain_promptopt.settings`."""
    plain = {"str", "int", "float", "bool", "None", "Mapping", "Sequence", "Any", "Path", "Unpack", "Settings"}
    for function in (optimize, compare, aoptimize, PromptOptimizer.__init__, PromptOptimizer.session):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.annotation is not inspect.Parameter.empty:
                words = set(re.findall(r"\w+", parameter.annotation)) - plain
                assert all(hasattr(face, word) for word in words), (function, name, words)
    assert typing.get_args(face.Apply) == ("if_improved", "never", "always")


@pytest.mark.parametrize(
    ("call", "form"),
    [
        (lambda: Budget(5), "Budget takes its values by name, got 5. Write Budget\\(usd=...\\)"),
        (lambda: Budget(dollars=5), "Budget has no 'dollars'. Known are usd"),
        (lambda: Gate("exact_match"), "Write Gate\\(primary=...\\)"),
        (lambda: Gate(guard={}), "Did you mean 'guards'"),
        (lambda: prompts(chain(), None), "rows cannot be None. Write prompts\\(chain, \\["),
        (lambda: load_prompts(chain(), None), "folder cannot be None. Write load_prompts\\("),
        (lambda: tunable(1, name="n"), "tunable's text cannot be 1. Write TRIAGE = tunable\\("),
        (lambda: settings_of({"columns": {"ticket": "text"}}), "columns cannot be .* Write inputs="),
        (lambda: settings_of({"columns": Columns(), "id": "nr"}), "columns and id are both set"),
        (lambda: settings_of({"observers": ["x"]}), "which has no on_event"),
        (lambda: settings_of({"clock": 1}), "clock cannot be 1"),
        (lambda: config_from_dict(3), "config cannot be 3. Write run_step\\("),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_with_the_form_that_works(call, form):
    with pytest.raises(ConfigError, match=form):
        call()


def test_methods_of_a_result_answer_a_wrong_type_with_the_form_that_works(tmp_path):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": tmp_path / "o.jsonl"}
    live = chain()
    result = optimize(live, data=rows(), optimizer_model=optimizer(), apply="never", **given)
    calls = {
        "keep": lambda: result.select(1),
        "folder": lambda: result.save(None),
        "path": lambda: result.report(1),
        "force": lambda: result.apply(live, force="no"),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError, match=f"{name} cannot be .* Write "):
            call()


def test_a_config_function_that_fails_is_an_error_with_its_line():
    with pytest.raises(ConfigError, match=r"the function that makes the config of an example fails: KeyError.*test_"):
        Faces.optimize(optimizer(), config=lambda row: {"tags": [row["missing"]]}, runs_dir=None, openings=None)
