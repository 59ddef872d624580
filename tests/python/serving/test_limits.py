"""What a server does not do for its callers: bodies, time, calls at once, and callers that leave."""

from __future__ import annotations

import json
import threading
from contextlib import closing

from promptlathe.mock import Server

from .server import BODY, GENERATE, HEADERS, LIMIT, Running, head, read_reply, running


def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    with running(simulated=True, max_body_bytes=100) as server, server.plug() as sock:
        sock.sendall(head("content-length: 101"))
        reply = read_reply(sock)
        assert reply.status == 413 and reply.error["type"] == "request_too_large"
        assert reply.headers["connection"] == "close"
        sock.sendall(b"x" * 101)  # it is taken, so that no reset overtakes the answer
        assert sock.recv(1) == b""


def test_a_body_in_chunks_is_read_no_further_than_allowed() -> None:
    with running(simulated=True, max_body_bytes=100) as server, server.plug() as sock:
        sock.sendall(head("transfer-encoding: chunked"))
        sock.sendall(b"40\r\n" + b"x" * 64 + b"\r\n")
        sock.sendall(b"40\r\n" + b"x" * 64 + b"\r\n")  # and no end
        assert read_reply(sock).error["type"] == "request_too_large"
        sock.sendall(b"0\r\n\r\n")
        assert sock.recv(1) == b""


def test_a_body_of_just_the_limit_passes() -> None:
    with running(simulated=True, max_body_bytes=len(BODY)) as server:
        assert server.ask().status == 200
        assert server.ask(body=BODY + " ").status == 413


def test_a_large_body_is_read_beside_the_loop(simulated: Running) -> None:
    task = "chef " * 100_000
    reply = simulated.ask(body=json.dumps({"task": task}))
    assert reply.status == 200 and reply.json["usage"]["input_tokens"] == 125_000
    assert simulated.ask(body='{"task": ' + " " * 100_000).status == 400


def test_beyond_the_calls_in_flight_it_is_overloaded(upstream: Server) -> None:
    free = threading.Event()
    upstream.script([{"until": free}])
    with running(model="m", upstream=upstream.url, concurrency=1) as server:
        with closing(server.dial()) as first:
            first.request("POST", GENERATE, BODY, HEADERS)
            upstream.wait_for_requests(1)
            refused = server.ask()
            assert refused.status == 529 and refused.error["type"] == "overloaded_error"
            assert refused.headers["retry-after"] == "1"
            assert server.metrics()["promptlathe_requests_in_flight"] == 1
            assert server.ask("/healthz", None, {}, "GET").status == 200
            free.set()
            assert first.getresponse().status == 200
        assert server.ask().status == 200
        assert server.metrics()["promptlathe_requests_in_flight"] == 0


def test_time_over_cancels_the_upstream(upstream: Server) -> None:
    never = threading.Event()
    upstream.script([{"until": never}])
    with running(model="m", upstream=upstream.url, timeout=1.0) as server:
        reply = server.ask()
        assert reply.status == 504 and reply.error["type"] == "timeout_error"
        assert upstream.wait_for_requests(1)[0].disconnected.wait(LIMIT)
        assert server.ask().status == 200


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with running(simulated=True, timeout=1.0) as server, server.plug() as sock:
        sock.sendall(head("content-length: 10") + b"{")
        reply = read_reply(sock)
        assert reply.status == 408 and reply.error["type"] == "invalid_request_error"
        assert sock.recv(1) == b""


def test_a_caller_that_leaves_cancels_the_upstream(proxy: Running, upstream: Server) -> None:
    never = threading.Event()
    upstream.script([{"until": never}])
    with proxy.plug() as sock:
        sock.sendall(head(f"content-length: {len(BODY)}") + BODY.encode())
        (request,) = upstream.wait_for_requests(1)
        assert not request.disconnected.is_set()
    assert request.disconnected.wait(LIMIT)
    (entry,) = proxy.log.wait()
    assert entry["status"] == 499 and "error" not in entry


def test_a_caller_that_leaves_within_its_body(simulated: Running) -> None:
    with simulated.plug() as sock:
        sock.sendall(head("content-length: 10") + b"{")
    (entry,) = simulated.log.wait()
    assert entry["status"] == 499
