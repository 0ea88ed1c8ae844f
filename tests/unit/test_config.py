"""`promptopt.toml`: what is accepted, who overrides whom, and how a mistake is named."""

from __future__ import annotations

import contextlib
import string
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_promptopt.config import Config, config_from_dict, load_config, toml_text
from langchain_promptopt.config.loading import toml_value
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = """
[task]
chain = "my_app.chain:chain"
template_format = "f-string"
freeze = ["## Refund policy"]
[data]
source = "support-triage"
splits = { train = "train", dev = "dev", test = "test" }
inputs = { ticket = "text" }
outputs = ["label"]
id = "id"
group = "thread_id"
[evaluate]
evaluators = ["exact_match", "my_app.evals:helpful"]
[gate]
primary = "exact_match"
[optimize]
method = "robust"
model = "openai:gpt-4o"
seed = 0
[budget]
usd = 5.0
[output]
prompts = "prompts/"
push = "owner/name"
tag = "staging"
[prices."openai:gpt-4.1"]
input = 2
output = 8.0
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "promptopt.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def refused(file: Path, env=None, overrides=None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file, env, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_example_of_the_contract_is_read_whole(write):
    config = load_config(write(CONTRACT))
    assert config.task.chain == "my_app.chain:chain"
    assert config.task.freeze == ("## Refund policy",)
    assert config.data.inputs == {"ticket": "text"}
    assert config.data.outputs == ("label",)
    assert config.evaluate.evaluators == ("exact_match", "my_app.evals:helpful")
    assert config.budget.usd == 5.0
    assert config.output.tag == "staging"
    assert config.prices["openai:gpt-4.1"].output == 8.0


def test_without_a_file_all_is_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config() == Config()
    assert load_config().optimize.method == "robust"
    assert load_config().root == tmp_path.resolve()


@pytest.mark.parametrize(
    ("text", "key", "meant", "line"),
    [
        ("[optimize]\nsed = 1\n", "optimize.sed", "optimize.seed", 2),
        ("[optimise]\nseed = 1\n", "optimise", "optimize", 1),
        ("[task]\nchian = 'a:b'\n", "task.chian", "task.chain", 2),
        ("[gate]\n\nweights = { a = 1 }\n", "gate.weights", "evaluate.weights", 3),
        ("[output]\nseed = 1\n", "output.seed", "optimize.seed", 2),
        ("[gate]\nPRIMARY = 'a'\n", "gate.PRIMARY", "gate.primary", 2),
        ('[prices."openai:gpt-4.1"]\ninput = 1\noutput = 1\ninptu = 2\n', "prices.openai:gpt-4.1.inptu", "", 4),
    ],
)
def test_an_unknown_key_is_refused_with_place_and_the_nearest_key(write, text, key, meant, line):
    file = write(text)
    message = refused(file)
    assert f"unknown key {key!r}" in message
    assert f"{file}:{line}" in message
    if meant:
        assert f"Did you mean {meant!r}?" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optimize]\nseed = 'x'\n", "optimize.seed is 'x', expected a whole number"),
        ("[optimize]\nseed = '3'\n", "optimize.seed is '3', expected a whole number"),
        ("[optimize]\nseed = 1.5\n", "optimize.seed is 1.5, expected a whole number"),
        ("[optimize]\nmethod = 3\n", "optimize.method is 3, expected a text in quotes"),
        ("[budget]\nusd = -1\n", "budget.usd is -1, expected more than 0"),
        ("[budget]\nusd = nan\n", "budget.usd is nan, expected"),
        ("[budget]\ncalls = 0\n", "budget.calls is 0, expected more than 0"),
        ("[gate]\nalpha = 2\n", "gate.alpha is 2, expected at most 0.5"),
        ("[gate]\nguards = { policy = 'much' }\n", "gate.guards.policy is 'much', expected a number"),
        ("[data]\ndrop_leaks = 1\n", "data.drop_leaks is 1, expected true or false"),
        ("[data]\ninputs = ['a']\n", "data.inputs is ['a'], expected a table"),
        ("[evaluate]\nevaluators = 'x'\n", "evaluate.evaluators is 'x', expected a list"),
        ("[output]\napply = 'maybe'\n", "output.apply is 'maybe', expected 'if_improved', 'never' or 'always'"),
        ("task = 3\n", "task is 3, expected a table"),
        ('[prices."a:b"]\ninput = 1\n', "prices.a:b.output is missing"),
        ("[data]\nsplits = { tran = 'x' }\n", "unknown key 'data.splits.tran'"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_was_expected(write, text, said):
    assert said in refused(write(text))


def test_all_mistakes_are_told_at_once(write):
    message = refused(write("[optimize]\nseed = 'x'\nmethd = 'y'\n[budget]\nusd = 0\n"))
    assert "optimize.seed" in message
    assert "optimize.methd" in message
    assert "budget.usd" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[task]\nchain = 'a:b'\nprompt = 'p.txt'\n", "task.chain and task.prompt are both set"),
        ("[task]\nchain = 'my_app'\n", "expected module:name"),
        ("[output]\ntag = 'staging'\n", "output.tag is set without output.push"),
        ("[gate]\nprimary = 'a'\n[evaluate]\nweights = { a = 1 }\n", "gate.primary and evaluate.weights are both set"),
        ("[task\n", "not valid TOML"),
    ],
)
def test_contradictions_are_refused(write, text, said):
    assert said in refused(write(text))


def test_a_missing_file_is_refused_where_it_was_named(tmp_path):
    assert "cannot be read" in refused(tmp_path / "other.toml")


def test_flags_beat_variables_beat_the_file(write):
    file = write("[optimize]\nseed = 1\nmethod = 'pe2'\n[task]\nmodel = 'a:b'\n")
    env = {"PROMPTOPT_OPTIMIZE__SEED": "2", "PROMPTOPT_OPTIMIZE__METHOD": "lpo-apo"}
    config = load_config(file, env, {"optimize.seed": "3", "optimize.model": None})
    assert (config.optimize.seed, config.optimize.method, config.task.model) == (3, "lpo-apo", "a:b")


KEYS = [
    (section, key)
    for section, field in Config.model_fields.items()
    for key in getattr(field.annotation, "model_fields", [""])
]
CLOSED = {
    "task.template_format": ("f-string", "mustache", "jinja2"),
    "optimize.executor": ("batch", "batch", "batch"),
    "optimize.over": ("mean", "worst", "mean"),
    "output.apply": ("if_improved", "never", "always"),
    "task.chain": ("a:a", "b:b", "c:c"),
    "data.inputs": tuple({"x": name} for name in "abc"),
    "data.splits": tuple({"train": name} for name in "abc"),
    "prices": tuple({"a:b": {"input": n, "output": 1.0}} for n in (1.0, 2.0, 3.0)),
    "limits": tuple({"a:b": {"concurrency": n}} for n in (1, 2, 3)),
    "evaluate.judge_cost": tuple({"x": {"calls": n}} for n in (1, 2, 3)),
    "evaluate.values": tuple({"x": {"good": n}} for n in (0.5, 0.25, 0.125)),
    "evaluate.ranges": tuple({"x": [0, n]} for n in (2, 3, 4)),
    "optimize.demos": ("random", "similar", "gain"),
}
KINDS = [
    (0.5, 0.25, 0.125),
    (3, 4, 5),
    (True, False, True),
    ("a", "b", "c"),
    (["a"], ["b"], ["c"]),
    *(tuple({"x": value} for value in values) for values in ((0.5, 0.25, 0.125), ("a", "b", "c"))),
]
BESIDE = {key: {"model": "a:b"} for key in ("temperature", "max_tokens", "max_reply_tokens", "base_url")}
BESIDE |= {"tag": {"push": "owner/name"}}


def three_values(section, key, rest):
    """Three values of a setting, whatever its kind."""
    for values in [CLOSED[f"{section}.{key}".rstrip(".")]] if f"{section}.{key}".rstrip(".") in CLOSED else KINDS:
        with contextlib.suppress(ConfigError):
            config_from_dict({section: rest | {key: values[0]}} if key else {section: values[0]})
            return values
    raise AssertionError(f"no values are known for {section}.{key}")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_set_by_file_then_variable_then_flag(write, section, key):
    rest = BESIDE.get(key, {})
    values = three_values(section, key, rest)
    held = rest | {key: values[0]} if key else values[0]
    file = write(f"[{section}]\n" + "\n".join(f"{toml_value(k)} = {toml_value(v)}" for k, v in held.items()))
    name = f"PROMPTOPT_{section}__{key}".rstrip("_").upper()
    variable, flag = (v if isinstance(v, str) else toml_value(v) for v in values[1:])

    def found(*outside):
        value = load_config(file, *outside).model_dump(mode="json")[section]
        value = value[key] if key else {m: {k: v for k, v in t.items() if v is not None} for m, t in value.items()}
        if isinstance(value, str) and value.startswith("/"):  # a path, which starts where it was given
            return value.rpartition("/")[2]
        if key == "judge_cost":
            return {m: {"calls": t["calls"]} for m, t in value.items()}
        return value

    assert found() == values[0]
    assert found({name: variable}) == values[1]
    assert found({name: variable}, {f"{section}.{key}".rstrip("."): flag}) == values[2]


def test_variables_are_read_as_what_the_key_wants(write):
    env = {
        "PROMPTOPT_TASK__FREEZE": "## A, ## B",
        "PROMPTOPT_EVALUATE__EVALUATORS": '["exact_match", "a:b"]',
        "PROMPTOPT_GATE__GUARDS": "{ policy = 0.05 }",
        "PROMPTOPT_DATA__DROP_LEAKS": "true",
        "PROMPTOPT_BUDGET__USD": "2.5",
        "PROMPTOPT_BUDGET__CALLS": "",
        "PROMPTOPT_DATA__AS_OF": "2026",
        "PROMPTOPT_SOMETHING_ELSE": "not ours",
    }
    config = load_config(write(""), env)
    assert config.task.freeze == ("## A", "## B")
    assert config.evaluate.evaluators == ("exact_match", "a:b")
    assert config.gate.guards == {"policy": 0.05}
    assert config.data.drop_leaks is True
    assert (config.budget.usd, config.budget.calls) == (2.5, None)
    assert config.data.as_of == "2026"


def test_a_wrong_variable_is_named(write):
    file = write("")
    assert "PROMPTOPT_OPTIMIZE__SEED" in refused(file, {"PROMPTOPT_OPTIMIZE__SEED": "soon"})
    assert "optimize.seed" in refused(file, {"PROMPTOPT_OPTIMIZE__SED": "1"})
    assert "PROMPTOPT_OPTIMIZE__SEED" in refused(file, {"PROMPTOPT_OPTIMIZE_SEED": "1"})
    assert "PROMPTOPT_OPTIMIZE__METHOD" in refused(file, {"PROMPTOPT_METHOD": "robust"})
    assert "the flag for budget.usd" in refused(file, None, {"budget.usd": "much"})
    assert "budget.usd is 0, expected more than 0" in refused(file, None, {"budget.usd": "0"})
    assert "Did you mean 'budget.usd'?" in refused(file, None, {"budget.us": "1"})


def test_the_run_folder_moves_with_its_variable(write, tmp_path):
    file = write("")
    assert load_config(file).runs_dir == tmp_path.resolve() / ".promptopt" / "runs"
    assert load_config(file, {"PROMPTOPT_RUNS_DIR": str(tmp_path / "r")}).runs_dir == tmp_path / "r"


def test_paths_in_the_file_start_at_the_file_and_flags_at_the_working_directory(write, tmp_path, monkeypatch):
    file = write("[data]\nsource = 'rows.jsonl'\n[output]\nsummary = 'out.md'\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "rows.jsonl").touch()
    (elsewhere / "mine.jsonl").touch()
    monkeypatch.chdir(elsewhere)
    config = load_config(file)
    assert config.located(config.data.source) == str(tmp_path.resolve() / "rows.jsonl")
    assert config.path(config.output.summary) == tmp_path.resolve() / "out.md"
    places = {"output.junit": "j.xml", "output.trace": "t.jsonl", "optimize.cache": "c.db"}
    given_ = load_config(file, None, {"data.source": "mine.jsonl", **places})
    assert given_.path(given_.output.trace) == elsewhere / "t.jsonl"
    assert given_.path(given_.optimize.cache) == elsewhere / "c.db"
    assert given_.located(given_.data.source) == str(elsewhere / "mine.jsonl")
    assert given_.path(given_.output.junit) == elsewhere / "j.xml"
    assert config.located("hf:owner/name") == "hf:owner/name"
    assert config.located("x" * 5000) == "x" * 5000


def test_a_target_on_the_command_line_takes_the_place_of_the_files(write):
    file = write("[task]\nchain = 'a:b'\n")
    config = load_config(file, None, {"task.prompt": "owner/name"})
    assert (config.task.chain, config.task.prompt) == (None, "owner/name")


def test_what_a_verb_needs_is_asked_for_in_one_message(write):
    with pytest.raises(ConfigError, match=r"task.chain \(or task.prompt\), data.source are not set"):
        load_config(write("")).require("task", "data.source", "optimize.method")
    with pytest.raises(ConfigError, match=r"task.model is not set"):
        load_config(write("[task]\nprompt = 'p.txt'\n")).require("task")


def test_a_mapping_is_checked_like_the_file(tmp_path):
    config = config_from_dict({"task": {"chain": "a:b"}, "evaluate": {"evaluators": {"ok": "m:f"}}}, root=tmp_path)
    assert config.evaluate.evaluators == {"ok": "m:f"}
    assert config.root == tmp_path.resolve()
    with pytest.raises(ConfigError, match=r"unknown key 'optimize.sed' \(the config given\)"):
        config_from_dict({"optimize": {"sed": 1}})
    assert config_from_dict({"optimize": {"seed": 1}}, env={"PROMPTOPT_OPTIMIZE__SEED": "2"}).optimize.seed == 2


def test_settings_survive_writing_and_reading():
    config = config_from_dict(tomllib.loads(CONTRACT))
    plain = config.model_dump(mode="json", exclude_none=True)
    assert config_from_dict(plain) == config


texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(10**12), 10**12), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(values)
def test_every_value_survives_toml(value):
    assert tomllib.loads(f"v = {toml_value(value)}")["v"] == value


def test_the_written_file_is_commented_and_read_back():
    text = toml_text({"task": {"chain": "a:b", "freeze": []}, "optimize": {"seed": 3}})
    assert "# of all randomness" in text
    assert config_from_dict(tomllib.loads(text)).optimize.seed == 3


@given(st.text(string.printable, max_size=60))
def test_no_text_makes_anything_but_a_config_or_a_config_error(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("c") / "promptopt.toml"
    file.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config(file), Config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optimize.demos]\nnumber = true\n", "optimize.demos.number is True, expected a whole number"),
        (
            "[optimize.demos]\nhow = 'RANDOM'\n",
            "optimize.demos.how is 'RANDOM', expected 'random', 'similar' or 'gain'",
        ),
        ("[optimize.demos]\nnumbr = 1\n", "unknown key 'optimize.demos.numbr'"),
        ("[optimize]\ndemos = 'most'\n", "optimize.demos is 'most', expected 'none', 'random', 'similar' or 'gain'"),
        ("[data]\nid = ''\n", "data.id is '', expected a text with words"),
        ("[evaluate]\nlower_is_better = [' ']\n", "evaluate.lower_is_better is [' ']"),
        ("[task]\ntemperature = inf\n", "task.temperature is inf, expected a finite number"),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_its_key(write, text, said):
    message = refused(file := write(text))
    assert said in message
    assert f"{file}:2" in message
    assert "literal[" not in message
