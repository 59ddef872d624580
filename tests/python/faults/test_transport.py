"""Transport rows of the fault matrix: each ends in one exact way, in time, and nothing is left."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import stat
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from promptlathe import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    RequestTooLargeError,
    Timeout,
)

from faults.conftest import Child
from faults.outcome import TASK, Outcome, client_for, failure, seen, success
from faults.raw_server import (
    ANSWER,
    BODY,
    Connection,
    FullListener,
    Handler,
    RawServer,
    answer,
    close_at_once,
    close_unanswered,
    each,
    hold,
    last,
    refused_port,
    reset_unanswered,
    serve,
)

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
GZIPPED = gzip.compress(BODY)


def gzip_answer(body: bytes) -> bytes:
    return answer(body=body, headers=["content-encoding: gzip"])


def short_body(connection: Connection) -> None:
    connection.request()
    connection.send(answer()[:-5])


def drip(response: bytes) -> Handler:
    """The first line at once, so that the answer has surely begun within its time."""
    first, end, rest = response.partition(b"\r\n")

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(first + end)
        connection.drip(rest)

    return handle


def endless_chunks(connection: Connection) -> None:
    connection.request()
    connection.send(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        connection.send(b"8000\r\n" + b" " * 0x8000 + b"\r\n")


def endless_headers(connection: Connection) -> None:
    connection.request()
    connection.send(OK_HEAD)
    while True:
        connection.send(b"x-more: and more\r\n" * 100)


def reset_within_body(connection: Connection) -> None:
    connection.request()
    connection.send(answer()[:-5])
    connection.reset()


@dataclass(frozen=True)
class Row:
    """What every connection does, and how a call with one retry must end."""

    handler: Handler
    error: type[APIConnectionError] | type[APIResponseValidationError]
    phase: str = ""
    words: str = ""  # a part of the message
    attempts: int = 1
    timeout: float = 5.0

    @staticmethod
    def broken(handler: Handler, phase: str, words: str = "") -> Row:
        """A transport fault: tried again."""
        return Row(handler, APIConnectionError, phase, words, attempts=2)

    @staticmethod
    def capped(handler: Handler, words: str) -> Row:
        """An answer over a cap: not tried again."""
        return Row(handler, APIResponseValidationError, words=words)

    @staticmethod
    def late(handler: Handler, phase: str) -> Row:
        """The time runs out."""
        return Row(handler, APITimeoutError, phase, "timeout of 0.3 s", timeout=0.3)


ROWS = {
    "closed at once": Row.broken(close_at_once, "wait"),
    "closed before the response": Row.broken(close_unanswered, "wait"),
    "reset before the response": Row.broken(reset_unanswered, "wait"),
    "closed within the status line": Row.broken(last(b"HTTP/1.1 20"), "wait"),
    "closed within the headers": Row.broken(last(OK_HEAD + b"content-le"), "read"),
    "closed after an interim response": Row.broken(last(b"HTTP/1.1 100 Continue\r\n\r\n"), "wait"),
    "reset within the body": Row.broken(reset_within_body, "read"),
    "short body": Row.broken(short_body, "read"),
    "no body at all": Row.broken(last(OK_HEAD + b"content-length: 9\r\n\r\n"), "read"),
    "bad chunk size": Row.broken(
        hold(OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}"), "read"
    ),
    "chunk of a size beyond numbers": Row.broken(
        hold(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}"), "read"
    ),
    "chunk without its end": Row.broken(
        hold(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}garbage"), "read"
    ),
    "chunks without the last one": Row.broken(
        last(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"), "read"
    ),
    "body ended by close": Row.broken(last(OK_HEAD + b"\r\n" + BODY), "read", "close"),
    "body ended by close, HTTP/1.0": Row.broken(
        last(b"HTTP/1.0 200 OK\r\n\r\n" + BODY), "read", "close"
    ),
    "gzip cut in half": Row.broken(last(gzip_answer(GZIPPED[:40])), "read", "cut off"),
    "gzip cut in its trailer": Row.broken(last(gzip_answer(GZIPPED[:-1])), "read", "cut off"),
    "gzip without its trailer": Row.broken(last(gzip_answer(GZIPPED[:-8])), "read", "cut off"),
    "gzip with a wrong checksum": Row.broken(
        last(gzip_answer(GZIPPED[:-8] + b"\0\0\0\0" + GZIPPED[-4:])), "read", "gzip"
    ),
    "gzip that is none": Row.broken(last(gzip_answer(BODY)), "read", "gzip"),
    "gzip of nothing at all": Row.broken(last(gzip_answer(b"")), "read", "cut off"),
    "two Content-Lengths": Row.broken(
        hold(OK_HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{    }"),
        "read",
        "Content-Length",
    ),
    "two equal Content-Lengths": Row.broken(
        hold(OK_HEAD + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}"), "read", "two"
    ),
    "a blank before Content-Length's colon": Row.broken(
        hold(OK_HEAD + b"content-length : 5\r\ncontent-length: 2\r\n\r\n{}"), "read", "blank"
    ),
    "a list of Content-Lengths": Row.broken(
        hold(OK_HEAD + b"content-length: 2, 2\r\n\r\n{}"), "read"
    ),
    "a negative Content-Length": Row.broken(
        hold(OK_HEAD + b"content-length: -2\r\n\r\n{}"), "read"
    ),
    "a Content-Length beyond numbers": Row.broken(
        hold(OK_HEAD + b"content-length: 99999999999999999999999\r\n\r\n{}"), "read"
    ),
    "Content-Length with chunked": Row.broken(
        hold(
            OK_HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        ),
        "read",
        "both",
    ),
    "chunked with Content-Length": Row.broken(
        hold(
            OK_HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        ),
        "read",
        "both",
    ),
    "an unknown transfer-encoding": Row.broken(
        hold(OK_HEAD + b"transfer-encoding: secret\r\n\r\n{}"), "read"
    ),
    "a transfer-encoding that tells no end": Row.broken(
        last(OK_HEAD + b"transfer-encoding: identity\r\n\r\n" + BODY), "read", "chunked"
    ),
    "a transfer-encoding of gzip alone": Row.broken(
        last(OK_HEAD + b"transfer-encoding: gzip\r\n\r\n" + GZIPPED[:40]), "read", "Encoding"
    ),
    "body ended by close, said to be HTTP/2": Row.broken(
        last(b"HTTP/2 200 OK\r\n\r\n" + BODY), "read"
    ),
    "HTTP/0.9": Row.broken(last(BODY), "read"),
    "garbage": Row.broken(last(bytes(range(256)) * 20), "read"),
    "an HTTP of the future": Row.broken(
        last(b"HTTP/7.3 200 OK\r\ncontent-length: 2\r\n\r\n{}"), "read"
    ),
    "a status line without a number": Row.broken(
        last(b"HTTP/1.1 fine\r\ncontent-length: 2\r\n\r\n{}"), "read"
    ),
    "NUL in a header": Row.broken(
        last(OK_HEAD + b"x-odd: a\0b\r\ncontent-length: 2\r\n\r\n{}"), "read"
    ),
    "an encoding that was not asked for": Row.capped(
        each(answer(headers=["content-encoding: br"])), "content-encoding"
    ),
    "gzip twice": Row.capped(
        each(answer(body=GZIPPED, headers=["content-encoding: gzip"] * 2)), "content-encoding"
    ),
    "gzip bomb": Row.capped(
        each(gzip_answer(gzip.compress(bytes(8 << 20)))), "larger than 1048576 bytes"
    ),
    "endless chunked body": Row.capped(endless_chunks, "larger than 1048576 bytes"),
    "body over the cap by one byte": Row.capped(
        each(answer(body=b" " * (1 << 20) + b"1")), "larger than 1048576 bytes"
    ),
    "endless headers": Row.capped(endless_headers, "headers"),
    "300 KB of headers in many lines": Row.capped(
        hold(OK_HEAD + b"x-filler: 0123456789abcdef\r\n" * 11_000), "headers"
    ),
    "300 KB of headers in few lines": Row.capped(
        # Newer versions of libcurl pass a line on when the next one has begun.
        hold(OK_HEAD + (b"x-filler: " + b"0" * 38_000 + b"\r\n") * 8),
        "headers",
    ),
    "300 KB of headers in one line": Row.capped(
        hold(OK_HEAD + b"x-filler: " + b"0" * 300_000 + b"\r\n\r\n"), "headers"
    ),
    "300 KB of status line": Row.capped(hold(b"HTTP/1.1 200 " + b"x" * 300_000), "headers"),
    "300 KB of header behind an interim response": Row.capped(
        hold(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 " + b"x" * 300_000), "headers"
    ),
    "300 KB of trailers": Row.capped(
        hold(
            OK_HEAD
            + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            + b"x-filler: 0123456789abcdef\r\n" * 11_000
        ),
        "headers",
    ),
    "300 KB of trailer in one line": Row.broken(
        hold(
            OK_HEAD
            + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-filler: "
            + b"0" * 300_000
            + b"\r\n\r\n"
        ),
        "read",
    ),
    "6,000 headers": Row.capped(
        hold(OK_HEAD + b"".join(b"x-%d: 1\r\n" % n for n in range(6000)) + b"\r\n"), "headers"
    ),
    "2,000 interim responses": Row.capped(
        hold(b"HTTP/1.1 102 Processing\r\n\r\n" * 2000), "interim"
    ),
    "dripping headers": Row.late(drip(answer(headers=["x-filler: " + "x" * 2000])), "read"),
    "dripping body": Row.late(drip(answer(body=b" " * 2000)), "read"),
    "dripping interim responses": Row.late(drip(b"HTTP/1.1 102 Processing\r\n\r\n" * 40), "read"),
    "silence after the request": Row.late(hold(), "wait"),
    "silence within the headers": Row.late(hold(OK_HEAD), "read"),
    "silence after the headers": Row.late(hold(OK_HEAD + b"content-length: 9\r\n\r\n"), "read"),
    "silence within the body": Row.late(hold(answer()[:-5]), "read"),
}


@pytest.mark.fault("HTTP/1.1", "{name}")
@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, way: Any) -> None:
    row = ROWS[name]
    options = {"timeout": row.timeout, "max_response_bytes": 1 << 20}
    handlers = [row.handler] * row.attempts
    with RawServer(*handlers, serve) as server, way(server.url, **options) as client:
        error = failure(client, row.error, within=row.timeout + 1)
        assert (error.attempts, len(server.connections)) == (row.attempts, row.attempts)
        assert row.words in str(error)
        if isinstance(error, APIConnectionError):
            assert error.phase == row.phase, str(error)
            assert (error.host, error.address) == ("127.0.0.1", "127.0.0.1")
            assert error.curl_code and error.curl_message
            assert error.times["total"] <= row.timeout + 1
        assert client.generate(TASK, timeout=5) == ANSWER
        bad = [request.attempt for request in server.requests[:-1]]
        assert bad == ([] if row.handler is close_at_once else [*range(1, row.attempts + 1)])


# ---- Before there is a connection ---------------------------------------------------------------


@pytest.mark.fault("Connecting", "refused")
def test_refused(way: Any) -> None:
    port = refused_port()
    with way(f"http://127.0.0.1:{port}") as client:
        error = failure(client, APIConnectionError, within=2)
    assert (error.phase, error.attempts) == ("connect", 2)
    assert error.host == "127.0.0.1"


def test_usable_after_refusals() -> None:
    port = refused_port()
    with client_for(f"http://127.0.0.1:{port}", max_retries=0) as client:
        failure(client, APIConnectionError, within=1)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            error = failure(client, APIConnectionError, within=1)  # bound, and nobody listens
            assert error.phase == "connect"


@pytest.mark.fault("Connecting", "name not found")
def test_name_not_found(way: Any) -> None:
    # A label of 64 letters is refused by the resolver itself: no server is asked.
    host = "a" * 64 + ".invalid"
    with way(f"http://{host}", allow_http=True) as client:
        error = failure(client, APIConnectionError, within=2)
    assert (error.phase, error.attempts, error.host) == ("resolve", 2, host)
    assert error.address is None
    assert error.times["connect"] is None


@pytest.mark.fault("Connecting", "name look-up that hangs")
def test_lookup_that_hangs_ends_in_time_and_holds_nobody_up(
    child: Child, libcurl: tuple[int, ...]
) -> None:
    hangs = 2 if libcurl >= (8, 20) else 1  # a look-up for each family of addresses
    with RawServer(serve) as server:
        ended = child("lookup_that_hangs", server.port, hangs=hangs)
        assert ended.returncode == 0, ended.stderr
        phase, attempts, took, text, next_took = ended.stdout.split()
        late = float(took) - 0.4
        limit = "connect timeout of 0.4 s"
        seen.append(Outcome("APITimeoutError", phase, int(attempts), float(took), limit, late))
        assert (phase, attempts, text) == ("resolve", "1", "fine")
        assert 0.4 <= float(took) < 1.4 and float(next_took) < 1, ended.stdout


def test_others_go_on_while_a_lookup_hangs(child: Child) -> None:
    with RawServer(serve) as server:
        ended = child("others_go_on", server.port, hangs=1)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.split() == ["fine", "fine"]


def test_process_ends_while_a_lookup_hangs(child: Child) -> None:
    ended = child("exit_during_lookup", hangs=1)
    assert (ended.returncode, ended.stderr) == (7, "")


@pytest.mark.fault("Connecting", "SYN unanswered")
def test_unanswered_syn(way: Any) -> None:
    with FullListener() as listener:
        url = f"http://127.0.0.1:{listener.port}"
        with way(url, timeout=Timeout(total=5, connect=0.3), max_retries=0) as client:
            error = failure(client, APITimeoutError, within=1.3, after=0.3)
    assert (error.phase, error.attempts) == ("connect", 1)
    assert "connect timeout of 0.3 s" in str(error)


@pytest.mark.fault("Connecting", "SYN unanswered, both times")
def test_unanswered_syn_is_tried_again(way: Any) -> None:
    with FullListener() as listener:
        url = f"http://127.0.0.1:{listener.port}"
        with way(url, timeout=Timeout(total=5, connect=0.2)) as client:
            error = failure(client, APITimeoutError, within=2, after=0.4)
    assert (error.phase, error.attempts) == ("connect", 2)


# ---- While the request goes out -----------------------------------------------------------------


LARGE = "x" * (32 << 20)


def takes_only_the_head(connection: Connection) -> None:
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    connection.head()
    connection.wait(connection.server.stopping)


@pytest.mark.fault("HTTP/1.1", "request that is not taken")
def test_request_that_is_not_taken(way: Any) -> None:
    with RawServer(takes_only_the_head) as server, way(server.url) as client:
        # More than fits between the two, and not so much that writing it takes its time too.
        error = failure(client, APITimeoutError, task=LARGE[: 8 << 20], timeout=0.5)
        assert (error.phase, error.attempts) == ("send", 1)


def head_and_reset(connection: Connection) -> None:
    connection.head()
    connection.reset()


@pytest.mark.fault("HTTP/1.1", "reset while the request goes out")
def test_reset_while_the_request_goes_out(way: Any) -> None:
    with RawServer(head_and_reset, head_and_reset, serve) as server, way(server.url) as client:
        error = failure(client, APIConnectionError, task=LARGE)
        assert (error.phase, error.attempts) == ("send", 2)
        assert client.generate(TASK) == ANSWER


def refuse_early(connection: Connection) -> None:
    connection.head()
    connection.send(answer(413, b'{"type":"error","error":{"type":"request_too_large"}}'))
    connection.until_closed()


@pytest.mark.fault("HTTP/1.1", "413 before the request is sent whole")
def test_answer_before_the_request_is_sent_whole(way: Any) -> None:
    with RawServer(refuse_early, serve) as server, way(server.url) as client:
        error = failure(client, RequestTooLargeError, task=LARGE)
        assert (error.status_code, error.attempts) == (413, 1)
        assert client.generate(TASK) == ANSWER


# ---- Connections that are used again ------------------------------------------------------------


def once_then(end: Callable[[Connection], None]) -> Handler:
    """Answer one request well, read a second one and end."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(answer())
        end(connection)

    return handle


REUSED = {"closed": close_unanswered, "reset": reset_unanswered}


@pytest.mark.fault("HTTP/1.1", "{how} before the response on a reused connection, once")
@pytest.mark.parametrize("how", REUSED)
def test_reused_connection_that_is_dead_is_tried_again_and_counted(how: str, way: Any) -> None:
    with RawServer(once_then(REUSED[how]), serve) as server, way(server.url) as client:
        client.generate(TASK)
        assert success(client, attempts=2) == ANSWER
        assert server.attempts == [1, 1, 2]


@pytest.mark.fault("HTTP/1.1", "{how} before the response on a reused connection, no retries")
@pytest.mark.parametrize("how", REUSED)
def test_reused_connection_that_is_dead_without_retries(how: str, way: Any) -> None:
    with (
        RawServer(once_then(REUSED[how]), serve) as server,
        way(server.url, max_retries=0) as client,
    ):
        client.generate(TASK)
        error = failure(client, APIConnectionError, within=1)
        assert (error.phase, error.attempts) == ("wait", 1)
        assert server.attempts == [1, 1]
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("HTTP/1.1", "closed while idle")
def test_connection_closed_while_idle_costs_no_attempt(way: Any) -> None:
    def once(connection: Connection) -> None:
        connection.request()
        connection.send(answer())
        connection.close()
        closed.set()

    closed = threading.Event()
    with RawServer(once, serve) as server, way(server.url, max_retries=0) as client:
        client.generate(TASK)
        assert closed.wait(5)
        assert success(client) == ANSWER
        assert server.attempts == [1, 1]


def connections_to(port: int) -> list[socket.socket]:
    """Copies of this process's connections to a port; the caller closes them."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the directory's own descriptor; what is not connected
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                    found.append(sock.dup())
    return found


KEPT_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be listed")
def test_idle_connections_are_kept_alive() -> None:
    with RawServer(serve) as server, client_for(server.url) as client:
        client.generate(TASK)
        (sock,) = connections_to(server.port)
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for name, value in KEPT_ALIVE.items():
                assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value, name


def test_connections_are_used_again() -> None:
    with RawServer(serve) as server, client_for(server.url) as client:
        for _ in range(5):
            assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequestError), (500, InternalServerError)])
def test_connections_are_used_again_after_errors(status: int, kind: type[APIStatusError]) -> None:
    with RawServer(each(answer(status))) as server, client_for(server.url, max_retries=0) as client:
        failure(client, kind)
        assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


def test_bytes_behind_an_answer_are_not_the_next_answer() -> None:
    smuggled = answer() + answer(body=b'{"messages":[],"system":"stolen","usage":{}}')
    with RawServer(each(smuggled), serve) as server, client_for(server.url) as client:
        assert client.generate(TASK) == ANSWER
        assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 2


# ---- What is unusual, and passes ----------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    """Gzip in two members, the second empty."""
    return gzip.compress(data) + gzip.compress(b"")


FINE = {
    "interim responses": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3 + answer(),
    "100 interim responses": b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + answer(),
    "chunks": OK_HEAD
    + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY)
    + BODY
    + b"\r\n0\r\n\r\n",
    "chunks with extensions and trailers": OK_HEAD
    + b"transfer-encoding: chunked\r\n\r\n%x;a=b\r\n" % len(BODY)
    + BODY
    + b"\r\n0\r\nx-trailer: yes\r\n\r\n",
    "gzip": gzip_answer(GZIPPED),
    "gzip in several members": gzip_answer(deflated(BODY)),
    "gzip in chunks": OK_HEAD
    + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"1\r\n%c\r\n" % byte for byte in GZIPPED)
    + b"0\r\n\r\n",
    "HTTP/1.0 with a length": answer().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: %d\n\n" % len(BODY) + BODY,
    "900 headers": answer(headers=[f"x-{n}: 1" for n in range(900)]),
    "a line of 90,000 bytes": answer(headers=["x-long: " + "x" * 90_000]),
    "a folded header": answer(headers=["x-folded: one\r\n two"]),
    "no reason": answer().replace(b" Scripted", b""),
    "encoding identity": answer(headers=["content-encoding: identity"]),
}


@pytest.mark.fault("HTTP/1.1", "{name}")
@pytest.mark.parametrize("name", FINE)
def test_unusual_answers_pass(name: str, way: Any) -> None:
    with RawServer(each(FINE[name])) as server, way(server.url) as client:
        assert success(client) == ANSWER
        assert server.attempts == [1]


def test_body_of_exactly_the_cap_passes() -> None:
    with (
        RawServer(each(gzip_answer(GZIPPED), answer())) as server,
        client_for(server.url, max_response_bytes=len(BODY)) as client,
    ):
        assert client.generate(TASK) == ANSWER
        assert client.generate(TASK) == ANSWER


def test_body_over_the_cap_when_decoded() -> None:
    with (
        RawServer(each(gzip_answer(GZIPPED))) as server,
        client_for(server.url, max_response_bytes=len(BODY) - 1) as client,
    ):
        error = failure(client, APIResponseValidationError)
        assert f"{len(BODY) - 1} bytes (max_response_bytes)" in str(error)


@pytest.mark.timing
def test_gzip_bomb_is_stopped_within_its_memory(child: Child) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    million = bytes(1 << 20)
    bomb = b"".join(packer.compress(million) for _ in range(160)) + packer.flush()
    with RawServer(each(gzip_answer(bomb)), serve) as server:
        ended = child("gzip_bomb", server.url)
        assert ended.returncode == 0, ended.stderr
        kind, attempts, grown = ended.stdout.split()
        assert (kind, attempts) == ("APIResponseValidationError", "1")
        # 64 MiB are allowed, and a buffer of half of it may be alive while that grows.
        assert int(grown) < 110 << 10, f"{grown} KiB more than before, for {len(bomb)} bytes"


# ---- Errors whose body is odd ------------------------------------------------------------------

ODD = {
    "ended by close": (last(b"HTTP/1.1 500 No\r\n\r\nplain words"), "plain words"),
    "of an encoding not asked for": (
        each(answer(500, b"??", ["content-encoding: br"])),
        "",
    ),
    "packed": (each(answer(500, gzip.compress(b"words"), ["content-encoding: gzip"])), "words"),
}


@pytest.mark.fault("HTTP/1.1", "500 with a body {name}, no retries")
@pytest.mark.parametrize("name", ODD)
def test_error_with_an_odd_body_is_that_error(name: str, way: Any) -> None:
    handler, body = ODD[name]
    with RawServer(handler, serve) as server, way(server.url, max_retries=0) as client:
        error = failure(client, InternalServerError)
        assert (error.status_code, error.body or "") == (500, body)
        assert client.generate(TASK) == ANSWER


CUT = {
    "short": answer(500, b"plain words")[:-5],
    "a chunk missing": b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "gzip cut off": answer(500, gzip.compress(b"words")[:-3], ["content-encoding: gzip"]),
}


@pytest.mark.fault("HTTP/1.1", "500 with a body cut off ({name}), no retries")
@pytest.mark.parametrize("name", CUT)
def test_error_whose_body_is_cut_off_is_a_transport_fault(name: str, way: Any) -> None:
    with RawServer(last(CUT[name]), serve) as server, way(server.url) as client:
        assert failure(client, APIConnectionError, max_retries=0).phase == "read"
        assert client.generate(TASK) == ANSWER


# ---- Redirects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(status: int) -> None:
    with RawServer(serve) as target:
        location = f"{target.url}/v1/elsewhere"
        moved = answer(status, b"", [f"location: {location}"])
        with RawServer(each(moved)) as server, client_for(server.url) as client:
            error = failure(client, APIStatusError)
            assert (error.status_code, error.location, error.attempts) == (status, location, 1)
            assert location in str(error) and "redirect" in str(error)
            assert len(server.requests) == 1 and target.connections == []
            assert client.generate(TASK) == ANSWER
