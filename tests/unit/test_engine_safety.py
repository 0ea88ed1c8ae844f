"""Secrets stay out of everything written; text of models stays text; records are private."""

from __future__ import annotations

import json
import random
import re
import stat

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize
from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import ConfigError, PromptOptError
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.faults import FaultPlan, Rule
from tests.support.online import KEY, QUICK, chain, model, run, server
from tests.support.tasks import PROMPT, answer, improve, rows

SECRETS = (
    KEY,
    "hunter2-userinfo",
    "hdr-4711-very-secret-value",
    "sk-env-99887766554433221100",
    "qk-in-a-query-4711",
    "sid-in-a-cookie-4711",
    "odd-header-value-4711",
)


class Leaky(Exception):
    """What careless clients raise: the whole request in the message."""

    def __init__(self):
        self.headers = {"Authorization": f"Bearer {KEY}"}
        super().__init__(
            f"POST https://me:hunter2-userinfo@host/v1?key={SECRETS[4]}&alt=sse failed, headers"
            f" {{'Authorization': 'Bearer {KEY}', 'Cookie': 'sid={SECRETS[5]}', 'X-Tenant': '{SECRETS[6]}'}}"
        )


def _written(folder):
    return b"\n".join(p.read_bytes() for p in folder.rglob("*") if p.is_file()).decode("utf-8", "replace")


def _clean(text):
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture
def secretive(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS[3])
    monkeypatch.setenv("MY_SERVICE_TOKEN", SECRETS[2])


def test_keys_are_in_nothing_that_a_run_writes(secretive, tmp_path):
    spoken = {"n": 0}

    def talkative(messages):
        spoken["n"] += 1
        if spoken["n"] % 40 == 7:
            raise Leaky
        return answer(messages)

    with server(task=talkative, faults=FaultPlan(rate=0.2, kinds=["500", "429-retry-after"], retry_after="0.01")) as up:
        place = up.base_url.replace("http://", f"http://me:{SECRETS[1]}@")
        headers = {"X-Secret": SECRETS[2], "X-Tenant": SECRETS[6]}
        target = chain(place, default_headers=headers, default_query={"key": SECRETS[4]})
        quick = {"clock": FakeClock(), "policy": RetryPolicy(timeout=None)}
        result = run(
            up.base_url, target=target, runs_dir=tmp_path / "runs", trace_file=tmp_path / "trace.jsonl", **quick
        )
        result.report(tmp_path / "report.html")
        result.report(tmp_path / "report.md")
        result.save(tmp_path / "prompts")
    assert not _clean(_written(tmp_path))
    assert not _clean(repr(result) + json.dumps(result.as_json(), default=str))


def test_keys_are_in_no_error_and_in_no_incident(secretive, tmp_path):
    def leaky(messages):
        raise Leaky

    target = ChatPromptTemplate.from_template(PROMPT) | ScriptedModel(fn=leaky, model_name="task") | StrOutputParser()
    with pytest.raises(PromptOptError) as caught:
        optimize(
            target,
            data=rows(),
            evaluators=["exact_match"],
            optimizer_model=ScriptedModel(fn=improve),
            policy=QUICK,
            runs_dir=tmp_path,
            openings=None,
        )
    assert not _clean(str(caught.value) + repr(caught.value) + json.dumps(caught.value.as_json()))
    assert not _clean(_written(tmp_path))


def test_a_refused_key_is_not_repeated(tmp_path):
    with server(key="another") as up, pytest.raises(PromptOptError) as caught:
        run(up.base_url, runs_dir=tmp_path)
    assert caught.value.exit_code == 2
    assert not _clean(str(caught.value) + _written(tmp_path))
    with server(faults=FaultPlan(Rule("401"))) as up, pytest.raises(PromptOptError):
        run(up.base_url, optimizer_model=model(up.base_url, "optimizer"))


def test_records_are_private_to_the_user(tmp_path):
    with server() as up:
        result = run(up.base_url, runs_dir=tmp_path / "a" / "runs")
    for path in (result.folder, result.folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in result.folder.rglob("*")} == {0}


HOSTILE = [
    "{answer}", "{{ answer }}", "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{word.__class__}",
    "{{{secret}}}", "{{#word}}x{{/word}}", "{{> partial}}", "{word!r:>{width}}", "{0}", "{", "}", "{{", "}}", "{# c #}",
    "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "{%", "%}", "{{word|attr('__class__')}}", "{}",
]  # fmt: skip


@pytest.mark.parametrize("style", ["f-string", "mustache", "jinja2"])
@pytest.mark.parametrize("method", ["lpo-pe2", "pe2"])
def test_what_a_model_writes_adds_no_variable_and_no_code(style, method, tmp_path):
    """Every reply of the optimizer is poisoned; candidates keep exactly the variables, and say the poison literally."""
    template = (
        PROMPT if style == "f-string" else PROMPT.replace("{word}", "{{ word }}" if style == "jinja2" else "{{word}}")
    )
    rng = random.Random(f"{style}-{method}")

    def poisoned(messages):
        reply = improve(messages)
        return re.sub("an animal|animal(?!s)", lambda m: f"{m.group()} {rng.choice(HOSTILE)}".replace('"', "'"), reply)

    def safe(messages):
        reply = poisoned(messages)
        if reply.startswith("{"):
            return json.dumps({"1": {"new": f"animal {rng.choice(HOSTILE)}", "reason": "poison"}})
        return reply

    made = ChatPromptTemplate.from_messages([("human", template)], template_format=style)
    target = made | ScriptedModel(fn=answer, model_name="task") | StrOutputParser()
    result = optimize(
        target,
        data=rows(),
        evaluators=["exact_match"],
        method=method,
        optimizer_model=ScriptedModel(fn=safe, model_name="optimizer"),
        runs_dir=tmp_path,
        openings=None,
    )
    proposed = [e["data"] for e in result.events() if e["type"] == "proposed"]
    refused = [e["data"] for e in result.events() if e["type"] == "rejected"]
    assert proposed or refused
    for event in proposed:
        (prompt,) = event["prompts"]
        assert prompt["variables"] == ["word"]
        text = prompt["messages"][0]["template"]
        child = ChatPromptTemplate.from_messages([("human", text)], template_format=style)
        assert set(child.input_variables) == {"word"}
        said = str(child.format_messages(word="OPAL-XYZ")[0].content)
        assert said.count("OPAL-XYZ") == 1
        assert "<class" not in said


def test_chains_are_imported_from_the_configs_folder_and_the_path_is_put_back(tmp_path, monkeypatch):
    import sys

    from langchain_promptopt._imports import import_object

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "app_of_the_user_4711.py").write_text("chain = 'here'\n")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "app_of_a_stranger_4711.py").write_text("chain = 'there'\n")
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in {"", str(tmp_path / "cwd")}])
    before = list(sys.path)
    assert import_object("app_of_the_user_4711:chain", tmp_path / "mine", "task.chain") == "here"
    assert sys.path == before
    with pytest.raises(ConfigError, match="no module"):
        import_object("app_of_a_stranger_4711:chain", tmp_path / "mine", "task.chain")
