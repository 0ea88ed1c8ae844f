"""Prompts in LangSmith: pulled, committed once on a known parent, tagged, rolled back; never overwritten."""

from __future__ import annotations

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.structured import StructuredPrompt

from langchain_promptopt._langsmith.hub import Address, PromptHub, manifest_of, pull_template
from langchain_promptopt._langsmith.publish import push, push_once, push_recorded, rollback_recorded
from langchain_promptopt._langsmith.service import Service, make_client
from langchain_promptopt.errors import ConflictError, CredentialsError, PromptError, UnavailableError, UsageError
from langchain_promptopt.optimizer import Result
from langchain_promptopt.store import read_events
from langchain_promptopt.types import Edit, Message, Prompt, PromptSet, Span
from tests.support.faults import AFTER, PLATFORM, FaultPlan, Rule
from tests.support.langsmith_env import KEY, client, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.recorded import recorded_run

BETA = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
"""StructuredPrompt is beta, says LangChain to callers outside its own packages."""
PLACE = Address("-", "triage")


@pytest.fixture
def hub(server):
    return PromptHub(quick(server))


def quick(server):
    return Service(make_client(), sleep=lambda _: None)


def chat(text):
    return ChatPromptTemplate([("system", text), ("human", "{ticket}")])


def manifest(text):
    return manifest_of(chat(text))


def prompts(text):
    return PromptSet((Prompt("main", (Message("system", text), Message("human", "{ticket}"))),))


def result(old="Be kind.", new="Be brief.", **more):
    edit = Edit(Span("main", 0, 0, len(old)), old, new, "rows ask for short answers", ("e1",))
    given = {"gate_passed": True, **more}
    return Result("abcdef0123456789", "improved", 0, [], (edit,), prompts(new), prompts(old), {}, **given)


def texts(server, name="triage"):
    return [
        c["manifest"]["kwargs"]["messages"][0]["kwargs"]["prompt"]["kwargs"]["template"]
        for c in server.prompts.all[name].commits
    ]


# ---------------------------------------------------------------- pulling


@pytest.mark.parametrize("name", ["triage", "acme/triage", "acme/triage:staging", "-/triage"])
def test_a_prompt_of_the_own_workspace_is_pulled_by_any_of_its_names(server, name):
    client(server.url).push_prompt("triage", object=chat("Be kind."), commit_tags="staging")
    assert pull_template(name).messages[0].prompt.template == "Be kind."


@BETA
def test_a_structured_prompt_keeps_its_schema(server):
    schema = {"title": "Answer", "type": "object", "properties": {"label": {"type": "string"}}, "description": "d"}
    client(server.url).push_prompt("typed", object=StructuredPrompt([("human", "{ticket}")], schema_=schema))
    pulled = pull_template("acme/typed")
    assert isinstance(pulled, StructuredPrompt)
    assert pulled.schema_ == schema


def test_somebody_elses_prompt_is_not_pulled(server):
    with pytest.raises(CredentialsError, match="belongs to 'other'"):
        pull_template("other/triage")


def test_a_missing_prompt_and_a_missing_tag_are_wrong_usage(server):
    with pytest.raises(CredentialsError) as raised:
        pull_template("acme/nothing")
    assert raised.value.exit_code == 2
    client(server.url).push_prompt("triage", object=chat("Be kind."))
    with pytest.raises(CredentialsError):
        pull_template("acme/triage:production")


def test_what_is_no_prompt_is_said(server):
    from langchain_core.runnables import RunnablePassthrough

    client(server.url).push_prompt("other", object=RunnablePassthrough())
    with pytest.raises(PromptError, match="RunnablePassthrough"):
        pull_template("acme/other")


@pytest.mark.parametrize("name", ["", "a/b/c", "/x"])
def test_what_is_no_name_is_said(server, name):
    with pytest.raises(UsageError, match="not the name of a LangSmith prompt"):
        pull_template(name)


# ---------------------------------------------------------------- committing


def test_the_first_push_makes_a_private_prompt_and_the_second_a_child(server, hub):
    first = hub.commit(PLACE, manifest("one"), parent=None, message="m1")
    second = hub.commit(PLACE, manifest("two"), parent=first.commit, message="m2")
    assert (first.fresh, second.fresh) == (True, True)
    assert not server.prompts.all["triage"].info["is_public"]
    assert [c["description"] for c in server.prompts.all["triage"].commits] == ["m1", "m2"]
    assert second.commit.parent == first.commit.hash


def test_pushing_the_same_again_changes_nothing(server, hub):
    first = hub.commit(PLACE, manifest("one"), parent=None, message="m")
    again = hub.commit(PLACE, manifest("one"), parent=first.commit, message="m")
    assert (again.fresh, again.commit.hash) == (False, first.commit.hash)
    assert len(texts(server)) == 1


def test_somebody_elses_commit_is_not_overwritten(server, hub):
    ours = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
    client(server.url).push_prompt("triage", object=chat("theirs"))
    with pytest.raises(ConflictError, match="changed by somebody else") as raised:
        hub.commit(PLACE, manifest("two"), parent=ours, message="m")
    assert raised.value.exit_code == 2
    assert "another name" in str(raised.value)
    assert texts(server) == ["one", "theirs"]


def test_a_commit_that_slips_in_after_the_check_is_a_refusal_too(server, hub):
    ours = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
    real, done = hub.service.once, []

    def once(method, path, **kwargs):
        if method == "POST" and path.startswith("/commits") and not done:
            done.append(True)
            client(server.url).push_prompt("triage", object=chat("theirs"))
        return real(method, path, **kwargs)

    hub.service.once = once
    with pytest.raises(ConflictError):
        hub.commit(PLACE, manifest("two"), parent=ours, message="m")
    assert texts(server) == ["one", "theirs"]


@pytest.mark.parametrize("kind", ["lost", "truncated", "malformed", "empty", "html", "reset", "503", "429"])
def test_a_commit_whose_answer_is_lost_is_found_again_and_not_made_twice(server, hub, kind):
    first = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
    server.faults = FaultPlan(Rule(kind, "/commits/-/triage", "POST", times=1))
    made = hub.commit(PLACE, manifest("two"), parent=first, message="m")
    assert len(server.faults.fired) == 1
    assert texts(server) == ["one", "two"]
    assert len(server.asked("POST", "/commits/-/triage")) == (2 if kind in AFTER else 3)  # read back before a repeat
    assert made.commit.hash == server.prompts.all["triage"].commits[-1]["commit_hash"]
    assert made.commit.parent == first.hash


@pytest.mark.parametrize("seed", range(6))
def test_a_third_of_all_requests_failing_loses_and_doubles_no_commit(server, hub, seed):
    server.faults = FaultPlan(Rule("503", times=1), rate=0.3, kinds=PLATFORM, seed=seed, retry_after="0")
    parent = None
    for text in ("one", "two", "three", "one"):
        parent = hub.commit(PLACE, manifest(text), parent=parent, message=text).commit
        hub.move_tag(PLACE, "staging", parent)
    fired = server.faults.fired
    server.faults = None
    assert fired
    assert texts(server) == ["one", "two", "three", "one"]
    assert hub.tags(PLACE) == {"staging": parent.hash}


@pytest.mark.parametrize("strict", [True, False])
def test_a_tag_moves_and_its_old_place_is_told(monkeypatch, strict):
    with LangSmithServer(strict_tags=strict) as server:
        point_at(monkeypatch, server.url)
        hub = PromptHub(quick(server))
        one = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
        two = hub.commit(PLACE, manifest("two"), parent=one, message="m").commit
        assert hub.move_tag(PLACE, "staging", one) is None
        assert hub.move_tag(PLACE, "staging", two) == one.hash
        assert hub.move_tag(PLACE, "staging", two) == two.hash
        hub.drop_tag(PLACE, "staging")
        hub.drop_tag(PLACE, "staging")
        assert hub.tags(PLACE) == {}


def test_a_tag_somebody_makes_at_the_same_time_is_left_alone(monkeypatch):
    with LangSmithServer(strict_tags=True) as server:
        point_at(monkeypatch, server.url)
        hub = PromptHub(quick(server))
        one = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
        two = hub.commit(PLACE, manifest("two"), parent=one, message="m").commit
        real = hub.service.once

        def once(method, path, **kwargs):
            if method == "POST" and path.endswith("/tags"):
                real(method, path, json={"tag_name": "staging", "commit_id": one.id})
            return real(method, path, **kwargs)

        hub.service.once = once
        with pytest.raises(ConflictError, match="made by somebody else"):
            hub.move_tag(PLACE, "staging", two)
        assert hub.tags(PLACE) == {"staging": one.hash}


def test_a_lost_answer_to_a_new_tag_is_no_conflict(monkeypatch):
    with LangSmithServer(strict_tags=True) as server:
        point_at(monkeypatch, server.url)
        hub = PromptHub(quick(server))
        one = hub.commit(PLACE, manifest("one"), parent=None, message="m").commit
        server.faults = FaultPlan(Rule("lost", "*/tags", "POST", times=1))
        assert hub.move_tag(PLACE, "staging", one) is None
        assert hub.tags(PLACE) == {"staging": one.hash}


# ---------------------------------------------------------------- a result


def test_a_push_says_which_edits_it_holds_and_moves_the_tag(server, hub):
    commit = push(result().winner(), "acme/triage", tag="staging", hub=hub)
    (made,) = server.prompts.all["triage"].commits
    assert made["commit_hash"] == commit
    assert "'Be kind.' -> 'Be brief.': rows ask for short answers" in made["description"]
    assert pull_template("acme/triage:staging").messages[0].prompt.template == "Be brief."


@BETA
def test_a_push_keeps_the_kind_and_schema_of_what_stands_there(server, hub):
    schema = {"title": "Answer", "type": "object", "properties": {"label": {"type": "string"}}, "description": "d"}
    typed = StructuredPrompt([("system", "Be kind."), ("human", "{ticket}")], schema_=schema)
    client(server.url).push_prompt("triage", object=typed)
    push(result().winner(), "acme/triage", hub=hub)
    pulled = pull_template("acme/triage")
    assert isinstance(pulled, StructuredPrompt)
    assert pulled.schema_ == schema
    assert pulled.messages[0].prompt.template == "Be brief."


def test_a_prompt_the_run_did_not_begin_with_is_refused(server, hub):
    client(server.url).push_prompt("triage", object=chat("Something else."))
    with pytest.raises(ConflictError):
        push(result().winner(), "acme/triage", hub=hub)
    assert texts(server) == ["Something else."]


def test_without_a_passed_gate_nothing_is_pushed(server):
    unproven = result(gate_passed=False)
    with pytest.raises(UsageError, match="gate did not pass"):
        unproven.push("acme/triage")
    assert server.prompts.all == {}
    assert unproven.push("acme/triage", force=True)


def test_the_same_prompt_is_not_pushed(server, hub):
    with pytest.raises(UsageError, match="nothing to push"):
        push(result(new="Be kind.").winner(), "acme/triage", hub=hub)


# ---------------------------------------------------------------- a recorded run: push, rollback, push again


@pytest.fixture
def folder(tmp_path):
    return recorded_run(tmp_path / "abcdef0123456789", prompts("Be kind."), ("Be kind.", "Be brief."))


def moves(folder):
    return [
        (e["type"], e["data"]["target"], e["data"]["commit"])
        for e in read_events(folder / "journal.jsonl")
        if e["type"] in {"pushed", "tagged", "rolled_back"}
    ]


def test_push_rollback_push_with_a_tag(server, hub, folder):
    base = client(server.url)
    base.push_prompt("triage", object=chat("Be kind."), commit_tags="staging")
    before = hub.commit_at(PLACE).hash
    commit = push_recorded(folder, "acme/triage", tag="staging", hub=hub)
    assert hub.tags(PLACE) == {"staging": commit}
    assert rollback_recorded(folder, hub=hub) == before
    assert hub.tags(PLACE) == {"staging": before}
    with pytest.raises(UsageError, match="no push to take back"):
        rollback_recorded(folder, hub=hub)
    assert push_recorded(folder, "acme/triage", tag="staging", hub=hub) == commit
    assert hub.tags(PLACE) == {"staging": commit}
    assert texts(server) == ["Be kind.", "Be brief."]
    assert moves(folder) == [
        ("pushed", "acme/triage", commit),
        ("tagged", "acme/triage:staging", commit),
        ("rolled_back", "acme/triage:staging", before),
        ("pushed", "acme/triage", commit),
        ("tagged", "acme/triage:staging", commit),
    ]
    assert rollback_recorded(folder, hub=hub) == before


def test_push_rollback_push_without_a_tag(server, hub, folder):
    client(server.url).push_prompt("triage", object=chat("Be kind."))
    push_recorded(folder, "acme/triage", hub=hub)
    rollback_recorded(folder, hub=hub)
    assert texts(server) == ["Be kind.", "Be brief.", "Be kind."]
    push_recorded(folder, "acme/triage", hub=hub)
    assert texts(server)[-1] == "Be brief."


def test_a_tag_that_was_not_there_is_taken_away_again(server, hub, folder):
    client(server.url).push_prompt("triage", object=chat("Be kind."))
    push_recorded(folder, "acme/triage:fresh", hub=hub)
    assert "fresh" in hub.tags(PLACE)
    rollback_recorded(folder, hub=hub)
    assert hub.tags(PLACE) == {}


def test_a_tag_somebody_moved_meanwhile_is_left_alone(server, hub, folder):
    client(server.url).push_prompt("triage", object=chat("Be kind."), commit_tags="staging")
    push_recorded(folder, "acme/triage", tag="staging", hub=hub)
    client(server.url).push_prompt("triage", object=chat("theirs"), commit_tags="staging")
    standing = hub.tags(PLACE)
    with pytest.raises(ConflictError, match="moved by somebody else"):
        rollback_recorded(folder, hub=hub)
    assert hub.tags(PLACE) == standing


def test_a_head_somebody_moved_meanwhile_is_left_alone(server, hub, folder):
    client(server.url).push_prompt("triage", object=chat("Be kind."))
    push_recorded(folder, "acme/triage", hub=hub)
    client(server.url).push_prompt("triage", object=chat("theirs"))
    with pytest.raises(ConflictError):
        rollback_recorded(folder, hub=hub)
    assert texts(server)[-1] == "theirs"


def test_a_first_commit_has_nothing_before_it(server, hub, folder):
    push_recorded(folder, "acme/triage", hub=hub)
    with pytest.raises(UsageError, match="nothing to go back to"):
        rollback_recorded(folder, hub=hub)


def test_an_unproven_recorded_run_needs_force(server, hub, tmp_path):
    folder = recorded_run(tmp_path / "r1", prompts("Be kind."), ("Be kind.", "Be brief."), outcome="no_gain")
    with pytest.raises(UsageError, match="gate did not pass"):
        push_recorded(folder, "acme/triage", hub=hub)
    assert push_recorded(folder, "acme/triage", force=True, hub=hub)


def test_a_run_that_is_replayed_pushes_once_and_not_after_a_rollback(server, hub, folder):
    client(server.url).push_prompt("triage", object=chat("Be kind."))
    given = result(folder=folder, events=lambda: read_events(folder / "journal.jsonl"))
    commit = push_once(given.winner(), given.events(), "acme/triage", hub=hub)
    asked = len(server.requests)
    assert push_once(given.winner(), given.events(), "acme/triage", hub=hub) == commit
    assert len(server.requests) == asked
    stands = rollback_recorded(folder, hub=hub)
    assert push_once(given.winner(), given.events(), "acme/triage", hub=hub) == stands
    assert texts(server)[-1] == "Be kind."


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(("kind", "error"), [("401", CredentialsError), ("403", CredentialsError), ("400", UsageError)])
def test_refusals_are_wrong_usage_and_never_show_the_key(server, hub, kind, error):
    server.faults = FaultPlan(Rule(kind))
    with pytest.raises(error) as raised:
        hub.commit_at(PLACE)
    assert raised.value.exit_code == 2
    assert KEY[:8] not in str(raised.value)
    assert len(server.faults.fired) == 1


def test_a_service_out_of_reach_is_code_5_and_never_shows_the_key(server, hub):
    server.stop()
    with pytest.raises(UnavailableError) as raised:
        hub.commit_at(PLACE)
    assert raised.value.exit_code == 5
    assert KEY[:5] not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_key_for_the_hosted_service_is_told_without_a_connection(monkeypatch):
    from tests.support.guard import SocketGuard
    from tests.support.langsmith_env import forget

    forget(monkeypatch)
    with SocketGuard() as seen, pytest.raises(CredentialsError, match="LANGSMITH_API_KEY"):
        pull_template("acme/triage")
    assert seen.attempts == []
