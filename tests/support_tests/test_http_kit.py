"""The loopback kit: what it speaks, what it spoils, what it remembers."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faults import AFTER, STATUSES, TRANSIENT, FaultPlan, Rule
from tests.support.http_kit import LoopbackServer
from tests.support.http_messages import HttpError, Request, Response
from tests.support.http_process import spawned

if TYPE_CHECKING:
    from collections.abc import Callable


def reflect(request: Request) -> Response:
    return Response.of({"path": request.path, "query": request.query, "body": request.body.decode()})


def ask(server: LoopbackServer, path: str = "/", body: bytes | None = b"x", **kw: Any) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request("POST", path, body, **kw)
        answer = connection.getresponse()
        return answer.status, answer.read()


def raw(server: LoopbackServer, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return connection.recv(65536)


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_one_connection_carries_many_requests_in_order() -> None:
    with LoopbackServer(reflect) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for number in range(5):
            connection.request("POST", f"/a%20b?n={number}", b"x" * 100_000 * number)
            answer = json.loads(connection.getresponse().read())
            assert (answer["path"], answer["query"], len(answer["body"])) == (
                "/a b",
                {"n": [str(number)]},
                100_000 * number,
            )
    assert [request.number for request in server.requests] == [0, 1, 2, 3, 4]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 7))
def test_chunked_bodies_are_joined_however_they_arrive(pieces: list[bytes], step: int) -> None:
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    request = b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    with LoopbackServer(lambda asked: Response(asked.body)) as server:
        raw(server, *(request[at : at + step * 10] for at in range(0, len(request), step * 10)))
    assert [asked.body for asked in server.requests] == [b"".join(pieces)]


def test_secrets_are_not_remembered() -> None:
    with LoopbackServer(reflect) as server:
        ask(server, headers={"Authorization": "Bearer hush", "X-API-Key": "hush", "X-Other": "kept"})
    (request,) = server.requests
    assert request.headers["x-other"] == "kept"
    assert "hush" not in str(request.headers)


def test_a_handlers_refusal_and_its_bug_are_answers() -> None:
    def handler(request: Request) -> Response:
        if request.path == "/refuse":
            raise HttpError(403, "not you", code="nope")
        raise ZeroDivisionError

    with LoopbackServer(handler) as server:
        status, body = ask(server, "/refuse")
        assert (status, json.loads(body)["detail"], json.loads(body)["error"]["code"]) == (403, "not you", "nope")
        assert server.errors == []
        assert ask(server, "/bug")[0] == 500
        assert isinstance(server.errors[0], ZeroDivisionError)


def test_every_status_fault_comes_without_the_request_being_acted_on() -> None:
    acted: list[str] = []

    def handler(request: Request) -> Response:
        acted.append(request.path)
        return Response()

    with LoopbackServer(handler) as server:
        for kind, status in STATUSES.items():
            server.faults = FaultPlan(Rule(kind, times=1), retry_after="7")
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
                connection.request("GET", "/x")
                answer = connection.getresponse()
                assert answer.status == status
                assert (answer.headers["Retry-After"] == "7") == (kind == "429-retry-after")
                assert (json.loads(answer.read())["error"]["code"] == "insufficient_quota") == (kind == "quota")
    assert acted == []


@pytest.mark.parametrize("kind", sorted(AFTER | {"reset"}))
def test_a_spoilt_answer_is_spoilt_in_its_own_way(kind: str) -> None:
    acted: list[str] = []

    def handler(request: Request) -> Response:
        acted.append(request.path)
        return Response.of({"whole": "answer " * 50})

    with LoopbackServer(handler, faults=FaultPlan(Rule(kind, times=1), slow=0.05)) as server:
        if kind in ("reset", "lost"):
            with pytest.raises(ConnectionError):
                ask(server)
        elif kind == "truncated":
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                ask(server)
        else:
            status, body = ask(server)
            assert status == 200
            assert {
                "slow": b"whole" in body,
                "malformed": body.startswith(b"{") and not body.endswith(b"}"),
                "empty": body == b"",
                "html": body.startswith(b"<html"),
                "no_choices": b'"choices": []' in body,
            }[kind]
        assert b"whole" in ask(server)[1]
        assert len(acted) == (1 if kind == "reset" else 2)


def test_a_hung_request_ends_when_the_client_leaves_and_when_the_server_stops() -> None:
    with LoopbackServer(reflect, faults=FaultPlan(Rule("hang", times=2))) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        wait_for(lambda: server.inflight == 0)
        left: list[BaseException] = []

        def wait() -> None:
            try:
                ask(server)
            except ConnectionError as error:
                left.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: server.inflight == 1)
    waiting.join(timeout=5)
    assert len(left) == 1


def test_the_same_requests_meet_the_same_faults_in_any_order_and_get_through_in_three_tries() -> None:
    def run(order: list[int], workers: int) -> Counter[tuple[int, str]]:
        met: Counter[tuple[int, str]] = Counter()
        with LoopbackServer(reflect, faults=FaultPlan(rate=0.4, kinds=("429", "500", "503"), seed=3)) as server:

            def one(number: int) -> None:
                statuses = [ask(server, body=b"%d" % number)[0] for _ in range(3)]
                assert statuses[2] == 200
                met.update((number, str(status)) for status in statuses)

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, order))
            assert 0.25 < sum(fired.attempt == 0 for fired in server.faults.fired) / len(order) < 0.55  # type: ignore[union-attr]  # given above
        return met

    assert run(list(range(80)), 8) == run(list(reversed(range(80))), 1)


def test_rules_choose_by_path_method_place_and_repetition() -> None:
    plan = FaultPlan(Rule("500", path="/a*", method="POST", skip=1, times=1), Rule("reset", path="/b", attempts={0}))

    def kinds(*asked: tuple[str, str, bytes]) -> list[str | None]:
        return [plan.decide(Request(0, method, path, {}, body)) for method, path, body in asked]

    assert kinds(("GET", "/a", b""), ("POST", "/a", b""), ("POST", "/ab", b""), ("POST", "/a", b"")) == [
        None,
        None,
        "500",
        None,
    ]
    assert kinds(("GET", "/b", b"1"), ("GET", "/b", b"1"), ("GET", "/b", b"2")) == ["reset", None, "reset"]
    with pytest.raises(ValueError, match="unknown kinds"):
        FaultPlan(rate=0.1, kinds=("gremlin",))
    assert {*TRANSIENT} <= AFTER | STATUSES.keys() | {"reset"}


def test_delays_overlap_and_the_peak_is_counted() -> None:
    together = threading.Barrier(20)

    def one(number: int) -> None:
        together.wait()
        ask(server, body=b"%d" % number)

    with LoopbackServer(reflect, delay=0.3) as server, ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(20)))
    assert server.peak > 10
    assert server.inflight == 0


def test_a_server_in_a_process_of_its_own_prints_its_url_and_ends() -> None:
    with spawned("tests.support.openai_server", "--port", "0", "--fault-rate", "0") as url:
        host, port = url.removeprefix("http://").split(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=5)) as connection:
            connection.request("GET", "/v1/models")
            assert connection.getresponse().status == 200
        with closing(http.client.HTTPConnection(host, int(port), timeout=5)) as connection:
            connection.request("GET", "/_kit")
            assert json.loads(connection.getresponse().read()) == {"requests": 1, "peak": 1}
    with pytest.raises(ConnectionError):
        socket.create_connection((host, int(port)))
