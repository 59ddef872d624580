"""The simulated service over real sockets, looked at by clients that know nothing of it."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import promptlathe
import pytest
from promptlathe.mock import Request, Server, serve_forever
from promptlathe.server.script import check

GENERATE = "/v1/experimental/generate_prompt"
HEADERS = {
    "x-api-key": "any",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "prompt-tools-2025-04-02",
    "content-type": "application/json",
}
BODY = b'{"task":"a chef"}'
LIMIT = 30.0  # seconds; far beyond what any of this takes


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def dial(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=LIMIT)


def ask(
    server: Server, path: str = GENERATE, body: Any = BODY, headers: dict[str, str] = HEADERS
) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(dial(server)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()


def plug(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT)


def head(*lines: str, path: str = GENERATE, method: str = "POST") -> bytes:
    fields = [f"{name}: {value}" for name, value in HEADERS.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *fields, *lines, "", ""]).encode()


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def talk(server: Server, *pieces: bytes) -> bytes:
    """Send pieces, end our side, return all that comes back."""
    with plug(server) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


# ---- Requests -----------------------------------------------------------------------------------


def test_answers_and_records(server: Server) -> None:
    answer, body = ask(server)
    assert answer.status == 200
    assert answer.getheader("x-promptlathe-simulated") == "true"
    assert answer.getheader("request-id") == "req_simulated_00000001"
    assert json.loads(body)["messages"][0]["role"] == "user"
    (request,) = server.requests
    assert (request.index, request.connection) == (0, 1)
    assert (request.method, request.path, request.http_version) == ("POST", GENERATE, "HTTP/1.1")
    assert (request.body, request.json) == (BODY, {"task": "a chef"})
    assert request.headers["x-api-key"] == "any"
    assert ("anthropic-version", "2023-06-01") in request.raw_headers
    assert "any" not in repr(request)
    assert request.request_id == answer.getheader("request-id")
    assert 0 <= time.monotonic() - request.time < LIMIT


def test_connection_is_kept_alive(server: Server) -> None:
    with closing(dial(server)) as connection:
        for _ in range(3):
            connection.request("POST", GENERATE, BODY, HEADERS)
            assert connection.getresponse().read()
    assert [request.connection for request in server.requests] == [1, 1, 1]
    assert server.connections == 1


def test_errors_keep_the_connection(server: Server) -> None:
    with closing(dial(server)) as connection:
        for path, status in (("/nowhere", 404), (GENERATE, 200)):
            connection.request("POST", path, BODY, HEADERS)
            answer = connection.getresponse()
            assert answer.status == status
            answer.read()
    assert server.connections == 1


@pytest.mark.parametrize(
    ("line", "closes"), [("connection: close", True), ("connection: keep-alive", False)]
)
def test_connection_header_is_heeded(server: Server, line: str, closes: bool) -> None:
    request = head(f"content-length: {len(BODY)}", line) + BODY
    with plug(server) as sock:
        sock.sendall(request + (b"" if closes else request.replace(b"keep-alive", b"close")))
        received = read_all(sock)
    assert received.count(b"HTTP/1.1 200 OK") == (1 if closes else 2)
    assert received.count(b"connection: close") == 1


def test_http_1_0_closes(server: Server) -> None:
    request = (head(f"content-length: {len(BODY)}") + BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with plug(server) as sock:
        sock.sendall(request)
        assert b" 200 OK" in read_all(sock)


def test_requests_may_be_pipelined_and_cut_anywhere(server: Server) -> None:
    request = head(f"content-length: {len(BODY)}") + BODY
    received = talk(server, request + request[:50], request[50:] + b"\r\n" + request)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_chunked_body(server: Server) -> None:
    chunks = b"5;name=value\r\n" + BODY[:5] + b"\r\n" + b"%X\r\n" % (len(BODY) - 5) + BODY[5:]
    request = head("Transfer-Encoding: chunked") + chunks + b"\r\n0\r\ntrailer: x\r\n\r\n"
    received = talk(server, request, request)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert [request.body for request in server.requests] == [BODY, BODY]


def test_chunked_body_of_http_client(server: Server) -> None:
    answer, _ = ask(server, body=iter([BODY[:3], BODY[3:]]))
    assert answer.status == 200
    assert server.requests[0].body == BODY


def test_expectation_is_met(server: Server) -> None:
    with plug(server) as sock:
        sock.sendall(head(f"content-length: {len(BODY)}", "Expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_head_request_gets_no_body(server: Server) -> None:
    received = talk(server, head(method="HEAD"))
    assert received.startswith(b"HTTP/1.1 405 ")
    assert received.endswith(b"\r\n\r\n")
    assert re.search(rb"content-length: [1-9]", received)


def test_beta_header_given_twice(server: Server) -> None:
    request = head(f"content-length: {len(BODY)}", "anthropic-beta: another")
    assert b" 200 OK" in talk(server, request + BODY)
    assert server.requests[0].headers["anthropic-beta"] == "prompt-tools-2025-04-02, another"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\r\n\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (head("no colon"), 400),
        (head(" folded: line"), 400),
        (head("content-length: x"), 400),
        (head("content-length: -1"), 400),
        (head("content-length: 1", "content-length: 1"), 400),
        (head("content-length: 1", "transfer-encoding: chunked"), 400),
        (head("transfer-encoding: gzip"), 501),
        (head("transfer-encoding: chunked") + b"x\r\n", 400),
        (head("transfer-encoding: chunked") + b"1\r\nabc", 400),
        (head("x: " + "y" * 70_000), 431),
        (head(*["x: y"] * 20_000), 431),
    ],
)
def test_malformed_requests_are_told_and_ended(
    server: Server, request_bytes: bytes, status: int
) -> None:
    with plug(server) as sock:
        sock.sendall(request_bytes)
        received = read_all(sock)
    top, _, body = received.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in top
    assert json.loads(body)["type"] == "error"
    assert server.requests == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"POST / HT",
        head("content-length: 5")[:-1],
        head("content-length: 5") + b"abc",
        head("transfer-encoding: chunked"),
        head("transfer-encoding: chunked") + b"5\r\nab",
    ],
)
def test_requests_cut_short_are_forgotten(server: Server, request_bytes: bytes) -> None:
    assert talk(server, request_bytes) == b""
    server.wait_for_disconnects(1)
    assert server.requests == []


def test_body_beyond_the_limit() -> None:
    with Server(max_body_bytes=1000) as server:
        for lines in (["content-length: 1001"], ["transfer-encoding: chunked"]):
            body = b"" if "length" in lines[0] else b"3e9\r\n"
            with plug(server) as sock:
                sock.sendall(head(*lines) + body)
                received = read_all(sock)
            assert received.startswith(b"HTTP/1.1 413 ")
            assert b'"request_too_large"' in received


def test_large_body_that_is_refused_leaves_the_answer_readable() -> None:
    """A client that sends on while it is refused still reads the 413, not a reset."""
    with Server(max_body_bytes=1000) as server:
        answer, body = ask(server, body=b"x" * (4 << 20))
        assert answer.status == 413
        assert json.loads(body)["error"]["type"] == "request_too_large"


def test_large_body_and_answer(server: Server) -> None:
    task = "a" * (1 << 20)
    answer, body = ask(server, body=json.dumps({"task": task}))
    assert answer.status == 200
    assert task in json.loads(body)["messages"][0]["content"][0]["text"]


def test_many_connections_at_once(server: Server) -> None:
    count = 50
    gate = threading.Barrier(count)

    def one(number: int) -> str:
        gate.wait(LIMIT)
        _, body = ask(server, body=json.dumps({"task": f"task {number}"}))
        return str(json.loads(body)["messages"][0]["content"][0]["text"])

    with ThreadPoolExecutor(count) as pool:
        texts = list(pool.map(one, range(count)))
    assert all(text.startswith(f"Your task: task {number}.") for number, text in enumerate(texts))
    assert server.connections == count
    assert sorted(request.index for request in server.requests) == list(range(count))


def test_gzip_is_an_option() -> None:
    accepting = {**HEADERS, "accept-encoding": "br, gzip;q=0.5"}
    with Server(gzip=True) as server:
        answer, body = ask(server, headers=accepting)
        assert answer.getheader("content-encoding") == "gzip"
        assert json.loads(gzip.decompress(body))["system"] == ""
        for refusing in ("gzip;q=0", "identity"):
            answer, body = ask(server, headers={**HEADERS, "accept-encoding": refusing})
            assert answer.getheader("content-encoding") is None
            assert json.loads(body)["system"] == ""
    with Server() as server:
        answer, _ = ask(server, headers=accepting)
        assert answer.getheader("content-encoding") is None


def test_only_this_key_is_accepted() -> None:
    with Server(api_key="right") as server:
        answer, body = ask(server)
        assert answer.status == 401
        assert b'"authentication_error"' in body
        assert ask(server, headers={**HEADERS, "x-api-key": "right"})[0].status == 200
        bearer = {k: v for k, v in HEADERS.items() if k != "x-api-key"}
        bearer["authorization"] = "Bearer right"
        assert ask(server, headers=bearer)[0].status == 200


# ---- Scripts ------------------------------------------------------------------------------------


def test_script_is_used_up_in_order(server: Server) -> None:
    server.script([{"status": 429, "headers": {"retry-after": "7"}}, None, {"status": 529}, {}])
    seen = [ask(server) for _ in range(5)]
    assert [answer.status for answer, _ in seen] == [429, 200, 529, 200, 200]
    assert seen[0][0].getheader("retry-after") == "7"
    error = json.loads(seen[0][1])
    assert error["error"]["type"] == "rate_limit_error"
    assert error["request_id"] == seen[0][0].getheader("request-id")
    assert json.loads(seen[2][1])["error"]["type"] == "overloaded_error"
    assert seen[2][0].reason == "Overloaded"


def test_script_replaces_an_earlier_one(server: Server) -> None:
    server.script([{"status": 500}] * 3)
    server.script([{"status": 503}])
    assert [ask(server)[0].status for _ in range(2)] == [503, 200]


def test_status_with_redirect_and_without_body(server: Server) -> None:
    server.script(
        [{"status": 307, "headers": {"location": "/x"}}, {"status": 204}, {"status": 201}]
    )
    answer, body = ask(server)
    assert (answer.status, answer.getheader("location"), body) == (307, "/x", b"")
    answer, body = ask(server)
    assert (answer.status, answer.getheader("content-length"), body) == (204, None, b"")
    assert ask(server)[0].status == 201


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ({"a": "é"}, '{"a": "é"}'.encode(), "application/json"),
        ([], b"[]", "application/json"),
        ("<html>é", "<html>é".encode(), "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
        (b"\xff\0", b"\xff\0", "application/octet-stream"),
    ],
)
def test_body_of_every_kind(server: Server, body: Any, sent: bytes, kind: str) -> None:
    server.script([{"body": body}])
    answer, received = ask(server)
    assert (answer.status, received, answer.getheader("content-type")) == (200, sent, kind)
    assert answer.getheader("x-promptlathe-simulated") == "true"


def test_headers_are_added_replaced_and_taken_away(server: Server) -> None:
    headers = {"Request-Id": "mine", "x-extra": 3, "anthropic-ratelimit-tokens-limit": None}
    server.script([{"headers": headers}, {"headers": [("x-a", "1"), ("x-a", "2")]}])
    answer, body = ask(server)
    assert answer.status == 200 and json.loads(body)["system"] == ""
    assert answer.headers.get_all("request-id") == ["mine"]
    assert answer.getheader("x-extra") == "3"
    assert answer.getheader("anthropic-ratelimit-tokens-limit") is None
    assert answer.getheader("anthropic-ratelimit-requests-limit") is not None
    assert ask(server)[0].headers.get_all("x-a") == ["1", "2"]


def test_framing_headers_of_a_step_are_left_alone(server: Server) -> None:
    server.script([{"headers": [("content-length", "3"), ("content-length", "4")], "close": True}])
    received = talk(server, head(f"content-length: {len(BODY)}") + BODY)
    assert received.count(b"content-length: ") == 2


def test_delay(server: Server) -> None:
    server.script([{"delay": 0.2}])
    started = time.monotonic()
    assert ask(server)[0].status == 200
    assert 0.2 <= time.monotonic() - started < LIMIT


def test_until_sets_the_order_of_answers(server: Server) -> None:
    event = threading.Event()
    server.script([{"until": event}, None])
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, server)
        server.wait_for_requests(1)
        assert ask(server)[0].status == 200
        assert not held.done()
        event.set()
        assert held.result(LIMIT)[0].status == 200


def test_drip_cuts_the_body(server: Server) -> None:
    server.script([{"body": b"abcdef", "drip": (2, 0.05)}])
    with plug(server) as sock:
        sock.sendall(head(f"content-length: {len(BODY)}", "connection: close") + BODY)
        started = time.monotonic()
        received = b""
        while b"\r\n\r\n" not in received:
            received += sock.recv(65536)
        received += read_all(sock)
    assert received.endswith(b"abcdef")
    assert time.monotonic() - started >= 0.1


def test_drip_of_the_head(server: Server) -> None:
    server.script([{"body": b"", "drip": (64, 0.001), "drip_head": True}])
    with plug(server) as sock:
        sock.sendall(head(f"content-length: {len(BODY)}", "connection: close") + BODY)
        assert len(sock.recv(65536)) <= 64
        assert read_all(sock).endswith(b"\r\n\r\n")


def test_close_before_and_after(server: Server) -> None:
    server.script([{"close": True}, {"close": "after"}, {"status": 500, "close": True}])
    request = head(f"content-length: {len(BODY)}") + BODY
    with plug(server) as sock:
        sock.sendall(request)
        assert read_all(sock) == b""
    for status in (b"200", b"500"):
        with plug(server) as sock:
            sock.sendall(request)
            received = read_all(sock)
            assert received.startswith(b"HTTP/1.1 " + status)
            assert b"connection: close" not in received


@pytest.mark.parametrize(
    ("step", "answered"), [({"reset": True}, False), ({"reset": "after"}, True)]
)
def test_reset_is_a_reset(server: Server, step: dict[str, Any], answered: bool) -> None:
    server.script([step])
    received = b""
    with plug(server) as sock, pytest.raises(ConnectionResetError):
        sock.sendall(head(f"content-length: {len(BODY)}") + BODY)
        while data := sock.recv(65536):
            received += data
    # What was not read when the reset came is lost, so an answer may be seen or not.
    assert answered or received == b""


def test_truncate_keeps_the_length_that_was_promised(server: Server) -> None:
    server.script([{"body": b"0123456789", "truncate": 4}])
    received = talk(server, head(f"content-length: {len(BODY)}") + BODY)
    assert b"content-length: 10\r\n" in received
    assert received.endswith(b"\r\n\r\n0123")


def test_raw_bytes(server: Server) -> None:
    server.script([{"raw": b"HTTP/1.1 100 Continue\r\n\r\nwhatever"}])
    assert talk(server, head(f"content-length: {len(BODY)}") + BODY) == (
        b"HTTP/1.1 100 Continue\r\n\r\nwhatever"
    )
    server.script([{"raw": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "close": False}])
    request = head(f"content-length: {len(BODY)}") + BODY
    assert talk(server, request, request).count(b"HTTP/1.1 200 OK") == 2


def test_callable_step_sees_the_request(server: Server) -> None:
    seen: list[Request] = []

    def step(request: Request) -> dict[str, Any]:
        seen.append(request)
        return {"body": {"echo": request.json}}

    server.script([step, lambda request: None])
    assert json.loads(ask(server)[1]) == {"echo": {"task": "a chef"}}
    assert ask(server)[0].status == 200
    assert seen == server.requests[:1]


@pytest.mark.parametrize(
    ("step", "words"),
    [(lambda request: 1 / 0, "division by zero"), (lambda request: {"stauts": 1}, "'stauts'")],
)
def test_callable_that_fails_is_told(
    server: Server, step: Callable[[Request], Any], words: str
) -> None:
    server.script([step])
    answer, body = ask(server)
    assert answer.status == 500
    assert words in json.loads(body)["error"]["message"]
    assert [words in str(error) for error in server.errors] == [True]


@pytest.mark.parametrize(
    ("steps", "kind", "words"),
    [
        ({"status": 500}, TypeError, "a script is a list of steps, not dict"),
        ("x", TypeError, "a script is a list of steps, not str"),
        (3, TypeError, "a script is a list of steps, not int"),
        ([None, 3], TypeError, "step 1: a step is a dict, None or a callable, not int"),
        ([{"stauts": 500}], ValueError, "step 0: 'stauts' is not a member of a step; use status,"),
        ([{"status": "500"}], TypeError, "step 0: status must be an int, not str"),
        ([{"status": True}], TypeError, "status must be an int"),
        ([{"status": 100}], ValueError, "status must be 200 to 999, not 100; use raw"),
        ([{"headers": "x"}], TypeError, "headers must be a dict or a list of pairs"),
        ([{"headers": {"a": b"b"}}], TypeError, "headers: a must be a str, a number or None"),
        ([{"headers": {"a": "b\r\n"}}], ValueError, "CR, LF or NUL"),
        ([{"headers": {"a": "中"}}], ValueError, "beyond Latin-1"),
        ([{"headers": [("a",)]}], TypeError, "pairs of a name and a value"),
        ([{"body": 3}], TypeError, "body must be a dict, list, str or bytes, not int"),
        ([{"body": {"a": {1, 2}}}], ValueError, "body cannot be sent"),
        ([{"body": "\ud800"}], ValueError, "body cannot be sent"),
        ([{"delay": -1}], ValueError, "delay must be 0 to 86,400 seconds"),
        ([{"delay": float("nan")}], ValueError, "delay must be"),
        ([{"delay": "1"}], TypeError, "delay must be a number of seconds"),
        ([{"until": 3}], TypeError, "until must be a threading.Event"),
        ([{"drip": 0}], ValueError, "drip must be at least one byte"),
        ([{"drip": 1.5}], TypeError, "drip must be a number of bytes, or (bytes, seconds)"),
        ([{"drip": (1, -1)}], ValueError, "drip must be 0 to"),
        ([{"drip_head": 1}], TypeError, "drip_head must be True or False"),
        ([{"close": "soon"}], ValueError, "close must be True, False, 'before' or 'after'"),
        ([{"close": "before", "status": 500}], ValueError, "leaves no room for status"),
        ([{"reset": "before", "body": ""}], ValueError, "leaves no room for body"),
        ([{"raw": "x"}], TypeError, "raw must be bytes, not str"),
        ([{"raw": b"", "status": 200}], ValueError, "raw is the whole answer"),
        ([{"truncate": -1}], ValueError, "truncate must be 0 or more"),
        ([{"truncate": 1.0}], TypeError, "truncate must be a number of bytes"),
    ],
)
def test_wrong_steps_are_refused_at_once(
    server: Server, steps: Any, kind: type[Exception], words: str
) -> None:
    server.script([{"status": 503}])
    with pytest.raises(kind, match=re.escape(words)):
        server.script(steps)
    assert ask(server)[0].status == 503  # the script that was there stays


def test_members_that_are_none_count_as_absent() -> None:
    (step,) = check([{"status": None, "body": None, "close": None, "raw": None}])
    assert step == check([None])[0]


def test_reset_forgets(server: Server) -> None:
    server.script([lambda request: 1 / 0, {"status": 500}])
    ask(server)
    server.reset()
    assert (server.requests, server.errors) == ([], [])
    answer, _ = ask(server)
    assert answer.status == 200
    assert server.requests[0].index == 0
    assert answer.getheader("request-id") == "req_simulated_00000002"


# ---- Waiting ------------------------------------------------------------------------------------


def test_waits_that_are_in_vain_say_so(server: Server) -> None:
    ask(server)
    assert len(server.wait_for_requests(1)) == 1
    with pytest.raises(TimeoutError, match=r"1 of 2 requests received after 0\.01 seconds"):
        server.wait_for_requests(2, timeout=0.01)
    with pytest.raises(TimeoutError, match="1 of 2 connections ended"):
        server.wait_for_disconnects(1)
        server.wait_for_disconnects(2, timeout=0.01)


def test_client_that_hangs_up_is_noted(server: Server) -> None:
    server.script([{"delay": 3600}])
    with plug(server) as sock:
        sock.sendall(head(f"content-length: {len(BODY)}") + BODY)
        (request,) = server.wait_for_requests(1)
        assert not request.disconnected.is_set()
    assert request.disconnected.wait(LIMIT)
    ask(server)
    assert not server.requests[1].disconnected.is_set()


def test_client_that_hangs_up_while_the_body_drips_is_noted(server: Server) -> None:
    server.script([{"body": b"x" * 100_000, "drip": (1, 0.01)}])
    with plug(server) as sock:
        sock.sendall(head(f"content-length: {len(BODY)}") + BODY)
        (request,) = server.wait_for_requests(1)
    assert request.disconnected.wait(LIMIT)


# ---- Life ---------------------------------------------------------------------------------------


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "promptlathe" in thread.name]


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


def busy(server: Server) -> list[socket.socket]:
    """Connections in every state a server waits in: idle, in a body, in a delay, in a send."""
    request = head(f"content-length: {len(BODY)}") + BODY
    server.script([{"delay": 3600}, {"until": threading.Event()}, {"body": b"x" * (64 << 20)}])
    sockets = [plug(server) for _ in range(5)]
    sockets[0].sendall(head("content-length: 5"))
    for number, sock in enumerate(sockets[2:], 1):
        sock.sendall(request)
        server.wait_for_requests(number)
    return sockets


def test_close_is_prompt_and_leaves_nothing() -> None:
    before = descriptors()
    server = Server().start()
    sockets = busy(server)
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 2
    server.close()
    for sock in sockets:
        sock.close()
    gc.collect()
    assert own_threads() == []
    assert descriptors() == before


def test_server_may_be_started_again() -> None:
    server = Server()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with server:
        assert ask(server)[0].status == 200
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with server:
        assert ask(server)[0].status == 200
    assert len(server.requests) == 2


def test_port_that_is_taken_is_an_error_and_leaves_nothing(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    before = descriptors()
    with pytest.raises(OSError):
        Server(port=port).start()
    assert descriptors() == before


def test_listens_on_loopback_alone(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    with Server("::1") as server:
        assert re.fullmatch(r"http://\[::1\]:\d+", server.url)
        assert ask(server)[0].status == 200


def test_fork_leaves_the_parent_alone(server: Server) -> None:
    """A child that ends with a copy of everything neither stops the server nor keeps it alive."""
    with closing(dial(server)) as connection:
        connection.request("POST", GENERATE, BODY, HEADERS)
        connection.getresponse().read()
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:
            os.close(write)
            server.close()
            os.read(read, 1)  # stays until the parent lets it go
            os._exit(0)
        os.close(read)
        connection.request("POST", GENERATE, BODY, HEADERS)
        assert connection.getresponse().read()
        server.close()
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0


# ---- With the client, and as a command ----------------------------------------------------------


def test_client_retries_over_a_script(server: Server) -> None:
    server.script([{"status": 529, "headers": {"retry-after-ms": "1"}}, {"close": True}])
    with promptlathe.Client("any", base_url=server.url) as client:
        values = client.templatize("Translate hello to German")["variable_values"]
    assert values == {"WORD_TO_TRANSLATE": "hello", "TARGET_LANGUAGE": "German"}
    attempts = [request.headers["x-promptlathe-attempt"] for request in server.requests]
    assert attempts == ["1", "2", "3"]


def test_client_and_service_agree_on_faults(server: Server) -> None:
    """What the service refuses is what the client refuses before it sends anything."""
    messages = [{"role": "system", "content": []}]
    with pytest.raises(promptlathe.InvalidRequestError) as refused:
        promptlathe.validate_messages(messages)
    _, body = ask(
        server,
        "/v1/experimental/improve_prompt",
        json.dumps({"messages": messages}),
    )
    told = json.loads(body)["error"]["message"]
    for fault in refused.value.errors:
        assert f"{fault['path']}: {fault['message']}" in told


SERVE = "from promptlathe.mock import serve_forever; serve_forever({host!r}, 0, quiet={quiet})"


def serve(*, host: str = "127.0.0.1", quiet: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE.format(host=host, quiet=quiet)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(running: subprocess.Popen[str], word: str) -> str:
    """What it prints, to the end of the first line that holds the word."""
    assert running.stdout is not None
    text = ""
    while word not in text:
        line = running.stdout.readline()
        assert line, text
        text += line
    return text


def end(running: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    running.send_signal(number)
    try:
        return running.communicate(timeout=LIMIT)
    finally:
        running.kill()  # nothing, to one that has ended


def run_curl(command: str) -> Any:
    """Do what a curl command line of the banner says."""
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:2] == ["curl", "-s"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    (body,) = [value for name, value in options if name == "-d"]
    request = urllib.request.Request(words[2], body.encode(), headers)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.load(answer)


def test_serve_forever_says_that_it_is_simulated_and_logs() -> None:
    with serve() as running:
        banner = read_until(running, "Ctrl-C")
        command = banner[banner.index("  curl") : banner.index("\n\nor point")]
        answer = run_curl(command)
        out, err = end(running, signal.SIGTERM)
    assert "SIMULATED" in banner
    assert answer["variable_values"]["WORD_TO_TRANSLATE"] == "hello"
    line = r"POST /v1/experimental/templatize_prompt \d+ bytes -> 200 [\d.]+ ms req_simulated_0+1\n"
    assert re.search(line, out)
    assert (running.returncode, err) == (0, "")


def test_serve_forever_ends_on_ctrl_c_with_the_interrupt() -> None:
    with serve(quiet=True) as running:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", read_until(running, "http"))
        out, err = end(running, signal.SIGINT)
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_serve_forever_warns_beyond_loopback() -> None:
    with serve(host="0.0.0.0", quiet=True) as running:
        text = read_until(running, "whoever")
        end(running, signal.SIGTERM)
    assert "Listening on 0.0.0.0: whoever reaches this machine can use it." in text
    assert running.returncode == 0


SIGTERMS = """
import os, signal, threading
from promptlathe.server.command import _Termination

begin = threading.Semaphore(0)

def send():
    for moment in range(3000):
        begin.acquire()
        for _ in range(moment % 50):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=send).start()
for _ in range(3000):
    with _Termination() as termination:
        begin.release()
        termination.wait()
"""


def test_sigterm_ends_the_wait_at_any_moment() -> None:
    command = [sys.executable, "-W", "error", "-c", SIGTERMS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")


def test_serve_forever_says_when_the_port_is_taken(server: Server) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError):
        serve_forever(port=int(server.url.rpartition(":")[2]))
    assert signal.getsignal(signal.SIGTERM) is before


def test_package_import_does_not_import_the_service() -> None:
    code = (
        "import sys, promptlathe, promptlathe.pytest_plugin as plugin;"
        "assert plugin.promptlathe_server;"
        "print([name for name in sys.modules if name.startswith('promptlathe.server')"
        " or name in ('promptlathe.mock', 'http.client', 'http.server')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout == "[]\n", done.stderr
