"""HTTP/2 rows of the fault matrix, against a server that writes its frames by hand.

libcurl 7.88 and newer ones tell some faults apart in another way; where they differ, a row names
both outcomes (`old` is that of 7.88), measured with 7.88.1, 8.14.1 and 8.23.0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from promptlathe import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    AsyncClient,
    InternalServerError,
    Timeout,
)

from faults import http2_server as h2
from faults.http2_server import Peer, Script, Spoiled, Step, block, frame, h2_context, over_h2
from faults.outcome import KEY, TASK, answer_or_failure, client_for, failure, success
from faults.raw_server import (
    ANSWER,
    BODY,
    PATIENCE,
    Connection,
    Gone,
    RawServer,
    Request,
    answer,
    serve,
)
from faults.tls import Authority

LENGTH = ("content-length", str(len(BODY)))
GZIPPED = gzip.compress(BODY)
OLD = (8, 0, 0)  # older ones behave as 7.88 does
FLOOD = 3.0  # seconds
HASTY = (8, 22, 0)  # from here on, one that has just been used is used again without a look at it

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return h2_context(authority)


@pytest.fixture
def client_of(way: Any, authority: Authority) -> Open:
    """A client, in each way of calling, that trusts a server's certificate."""

    def open_client(server: RawServer, **options: Any) -> Any:
        url = f"https://127.0.0.1:{server.port}"
        return way(url, ca_file=authority.file, **options)

    return open_client


# ---- What a server does about a request ---------------------------------------------------------


def reset(code: int, *parts: Step) -> Step:
    def step(peer: Peer, stream: int) -> None:
        for part in parts:
            part(peer, stream)
        peer.reset(stream, code)

    return step


def headers(*fields: tuple[str, str], status: int = 200, end: bool = False) -> Step:
    return lambda peer, stream: peer.head(stream, status, fields, end=end)


def begun(peer: Peer, stream: int) -> None:
    """Headers and a part of the body; nothing tells its length."""
    peer.head(stream)
    peer.data(stream, BODY[:9], end=False)


def with_fields(*fields: tuple[str, str], body: bytes = BODY) -> Step:
    """A whole answer with just these header fields."""

    def step(peer: Peer, stream: int) -> None:
        peer.head(stream, 200, fields)
        peer.data(stream, body)

    return step


def bare_fields(*fields: tuple[str, str]) -> Step:
    """A whole answer whose status is among the fields, or is not."""

    def step(peer: Peer, stream: int) -> None:
        peer.send(h2.HEADERS, h2.END_HEADERS, stream, block(fields))
        peer.data(stream, BODY)

    return step


def frames(kind: int, flags: int, payload: bytes, *parts: Step, of_stream: bool = True) -> Step:
    """These parts, and a frame."""

    def step(peer: Peer, stream: int) -> None:
        for part in parts:
            part(peer, stream)
        peer.send(kind, flags, stream if of_stream else 0, payload)

    return step


def raw(data: bytes, *parts: Step) -> Step:
    def step(peer: Peer, stream: int) -> None:
        for part in parts:
            part(peer, stream)
        peer.connection.send(data)

    return step


def goaway(code: int = h2.NO_ERROR, *, ours: bool, close: bool = False) -> Step:
    """Leave, with our stream among those that are still looked at or not."""

    def step(peer: Peer, stream: int) -> None:
        peer.goaway(stream if ours else stream - 1, code, b"words")
        if close:
            peer.close()

    return step


def closed(*parts: Step) -> Step:
    def step(peer: Peer, stream: int) -> None:
        for part in parts:
            part(peer, stream)
        peer.close()

    return step


def interim(count: int) -> Step:
    def step(peer: Peer, stream: int) -> None:
        for _ in range(count):
            peer.head(stream, 103, [("link", "x")])
        peer.answer(stream)

    return step


def trailers(count: int, *fields: tuple[str, str]) -> Step:
    def step(peer: Peer, stream: int) -> None:
        peer.head(stream, 200, fields)
        peer.data(stream, BODY, end=False)
        peer.trailers(stream, [("x", "1")] * count)

    return step


def endless(part: Callable[[int], bytes], gap: float = 0.0, *before: Step) -> Step:
    """After some parts, the same frames again and again."""

    def step(peer: Peer, stream: int) -> None:
        for each in before:
            each(peer, stream)
        peer.flood(part(stream), gap)

    return step


def ping(stream: int) -> bytes:
    return frame(h2.PING, 0, 0, b"12345678") * 100


def pong(stream: int) -> bytes:
    return frame(h2.PING, h2.ACK, 0, b"12345678") * 100


def change_of_settings(stream: int) -> bytes:
    return h2.settings({h2.MAX_CONCURRENT_STREAMS: 100}) * 100


def small_window(stream: int) -> bytes:
    return frame(h2.WINDOW_UPDATE, 0, stream, b"\0\0\0\1") * 100


def priority(stream: int) -> bytes:
    return frame(h2.PRIORITY, 0, stream + 100, b"\0\0\0\0\1") * 100


def unknown(stream: int) -> bytes:
    return frame(77, 0, 0, b"what is this") * 100


def empty_data(stream: int) -> bytes:
    return frame(h2.DATA, 0, stream) * 100


def one_byte(stream: int) -> bytes:
    return frame(h2.DATA, 0, stream, b" ")


def much_data(stream: int) -> bytes:
    return frame(h2.DATA, 0, stream, b" " * h2.LARGEST_FRAME)


def one_interim(stream: int) -> bytes:
    return frame(h2.HEADERS, h2.END_HEADERS, stream, block([(":status", "103")]))


def continuation(stream: int) -> bytes:
    return frame(h2.CONTINUATION, 0, stream, block([("x-filler", "0" * 100)]))


# ---- The rows -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What is done about every request, and how a call with one retry must end."""

    step: Step
    error: type[APIError]
    phase: str = ""
    attempts: int = 1
    timeout: float = 5.0
    old: tuple[type[APIError], str, int] | None = None  # the outcome with libcurl 7.88
    hasty: str = ""  # another phase with libcurl 8.22, which may try again where all is over

    @staticmethod
    def broken(step: Step, phase: str, old: str = "", hasty: str = "") -> Row:
        """A transport fault: tried again. The phase with other versions may be another."""
        before = (APIConnectionError, old, 2) if old else None
        return Row(step, APIConnectionError, phase, 2, old=before, hasty=hasty)

    @staticmethod
    def unusable(step: Step) -> Row:
        """Over a cap, or no answer in spite of its status: not tried again."""
        return Row(step, APIResponseValidationError)

    @staticmethod
    def late(step: Step, phase: str) -> Row:
        """The time runs out."""
        return Row(step, APITimeoutError, phase, timeout=0.5)


MANY = [("x-filler", "0123456789abcdef")] * 11_000  # 300 KB and more
RESETS = {
    "REFUSED_STREAM": h2.REFUSED_STREAM,
    "CANCEL": h2.CANCEL,
    "INTERNAL_ERROR": h2.INTERNAL_ERROR,
    "ENHANCE_YOUR_CALM": h2.ENHANCE_YOUR_CALM,
    "NO_ERROR": h2.NO_ERROR,
}

ROWS = {
    "GOAWAY without our stream": Row.broken(goaway(ours=False), "wait"),
    "GOAWAY without our stream, then close": Row.broken(goaway(ours=False, close=True), "wait"),
    "GOAWAY with our stream, then close": Row.broken(goaway(ours=True, close=True), "wait"),
    "GOAWAY with our stream within the body, then close": Row.broken(
        closed(begun, goaway(ours=True)), "read"
    ),
    "GOAWAY with our stream, then silence": Row.late(goaway(ours=True), "wait"),
    "GOAWAY for ENHANCE_YOUR_CALM without our stream": Row.broken(
        goaway(h2.ENHANCE_YOUR_CALM, ours=False), "wait"
    ),
    "GOAWAY for ENHANCE_YOUR_CALM, then close": Row.broken(
        goaway(h2.ENHANCE_YOUR_CALM, ours=True, close=True), "wait"
    ),
    **{
        f"RST_STREAM {name} before the headers": Row.broken(reset(code), "wait")
        for name, code in RESETS.items()
    },
    **{
        f"RST_STREAM {name} after the headers": Row.broken(reset(code, headers(LENGTH)), "read")
        for name, code in RESETS.items()
    },
    **{
        f"RST_STREAM {name} within the body": Row.broken(reset(code, begun), "read")
        for name, code in RESETS.items()
    },
    "close after the request": Row.broken(closed(), "wait"),
    "close after the headers": Row.broken(closed(headers()), "read"),
    "close within the body": Row.broken(closed(begun), "read"),
    "body shorter than its Content-Length": Row.broken(with_fields(LENGTH, body=BODY[:9]), "read"),
    "body longer than its Content-Length": Row.broken(with_fields(("content-length", "9")), "read"),
    "trailers before the Content-Length is reached": Row.broken(
        trailers(1, ("content-length", "999")), "read"
    ),
    "no body at all, of some Content-Length": Row.broken(headers(LENGTH, end=True), "read", "wait"),
    "gzip cut off": Row.broken(
        with_fields(("content-encoding", "gzip"), body=GZIPPED[:-8]), "read"
    ),
    "two Content-Lengths": Row.broken(with_fields(LENGTH, LENGTH), "read", "wait"),
    "Content-Length with chunked": Row.broken(
        with_fields(LENGTH, ("transfer-encoding", "chunked")), "read", "wait"
    ),
    "a header of the connection": Row.broken(with_fields(("connection", "close")), "read", "wait"),
    "a header in upper case": Row.broken(with_fields(("X-Big", "1")), "read", "wait"),
    "no status": Row.broken(bare_fields(("x-only", "1")), "read", "wait"),
    "two statuses": Row.broken(bare_fields((":status", "200"), (":status", "500")), "read", "wait"),
    "a status without a number": Row.broken(bare_fields((":status", "fine")), "wait"),
    "a header block that is none": Row.broken(
        frames(h2.HEADERS, h2.END_HEADERS, b"\xff" * 20), "wait"
    ),
    "DATA before the headers": Row.broken(frames(h2.DATA, 0, BODY), "wait"),
    "frame too large before the headers": Row.broken(frames(h2.DATA, 0, b" " * 20_000), "wait"),
    "frame too large within the body": Row.broken(frames(h2.DATA, 0, b" " * 20_000, begun), "read"),
    "frame of 16 MB within the body": Row.broken(
        raw(b"\xff\xff\xff\0\0\0\0\0\1garbage", begun), "read"
    ),
    "PUSH_PROMISE": Row.broken(
        frames(h2.PUSH_PROMISE, h2.END_HEADERS, b"\0\0\0\2" + block([(":method", "GET")])), "wait"
    ),
    "WINDOW_UPDATE of nothing": Row.broken(
        frames(h2.WINDOW_UPDATE, 0, bytes(4), of_stream=False), "wait"
    ),
    "SETTINGS of a wrong size": Row.broken(frames(h2.SETTINGS, 0, b"abc", of_stream=False), "wait"),
    "CONTINUATION of nothing": Row.broken(frames(h2.CONTINUATION, h2.END_HEADERS, b""), "wait"),
    "garbage": Row.broken(raw(bytes(range(256)) * 20), "wait"),
    "HTTP/1.1 after all": Row.broken(raw(answer()), "wait"),
    "END_STREAM with the headers of a 200": Row.unusable(headers(end=True)),
    "an encoding that was not asked for": Row.unusable(with_fields(("content-encoding", "br"))),
    "1,001 headers": Row.unusable(with_fields(*[("x-filler", "1")] * 1001)),
    "6,000 headers": Row.unusable(with_fields(*[("x-filler", "1")] * 6000)),
    # libcurl 7.88 has a limit of its own on all headers together.
    "300 KB of headers in many lines": replace(
        Row.unusable(with_fields(*MANY)), old=(APIConnectionError, "wait", 2)
    ),
    # What is in more than eight frames, or longer than 64 KB, the library below libcurl refuses.
    "300 KB of headers in few lines": Row.broken(
        with_fields(*[("x-filler", "0" * 30_000)] * 10), "read", "wait", "wait"
    ),
    "300 KB of headers in one line": Row.broken(
        with_fields(("x-filler", "0" * 300_000)), "read", "wait", "wait"
    ),
    "endless headers": Row.broken(
        endless(continuation, 0, frames(h2.HEADERS, 0, block([(":status", "200")]))),
        "read",
        "wait",
        "wait",
    ),
    "101 interim responses": Row.unusable(interim(101)),
    "2,000 interim responses": Row.unusable(interim(2000)),
    "2,000 trailers": Row.unusable(trailers(2000)),
    "endless body": Row.unusable(endless(much_data, 0, headers())),
    "silence after the request": Row.late(h2.unanswered, "wait"),
    "silence after the headers": Row.late(headers(), "read"),
    "silence within the body": Row.late(begun, "read"),
    "dripping body": Row.late(endless(one_byte, 0.01, headers()), "read"),
    "dripping interim responses": Row.late(endless(one_interim, 0.01), "read"),
    "PING without end": Row.late(endless(ping, 0.01), "wait"),
    "PING answered without end": Row.late(endless(pong, 0.01), "wait"),
    "SETTINGS without end": Row.late(endless(change_of_settings, 0.01), "wait"),
    "WINDOW_UPDATE without end": Row.late(endless(small_window, 0.01), "wait"),
    "PRIORITY without end": Row.late(endless(priority, 0.01), "wait"),
    "unknown frames without end": Row.late(endless(unknown, 0.01), "wait"),
    "empty DATA without end": Row.late(endless(empty_data, 0.01, headers()), "read"),
}


@pytest.mark.fault("HTTP/2", "{name}")
@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, context: ssl.SSLContext, client_of: Open, libcurl: tuple[int, ...]) -> None:
    row = ROWS[name]
    kind, phase, attempts = row.error, row.phase, row.attempts
    if row.old and libcurl < OLD:
        kind, phase, attempts = row.old
    script = Spoiled(row.step)
    with (
        RawServer(over_h2(context, script)) as server,
        client_of(server, timeout=row.timeout, max_response_bytes=1 << 20) as client,
    ):
        if kind is APITimeoutError:  # its time is not for the handshake
            script.mended.set()
            client.generate(TASK, timeout=5)
            script.mended.clear()
        before = len(server.requests)
        error = failure(client, kind, within=row.timeout + 1)
        assert error.attempts == attempts, str(error)
        if isinstance(error, APIConnectionError):
            hasty = row.hasty if libcurl >= HASTY else phase
            assert error.phase in (phase, hasty), str(error)
            assert (error.host, error.address) == ("127.0.0.1", "127.0.0.1")
            assert error.curl_code and error.curl_message
        assert 1 <= len(server.requests) - before <= attempts
        script.mended.set()
        assert client.generate(TASK, timeout=5) == ANSWER


NO_VALUES = {"NUL in a header": "a\0b", "line break in a header": "a\r\nx: b"}


@pytest.mark.fault("HTTP/2", "{name}")
@pytest.mark.parametrize("name", NO_VALUES)
def test_what_is_no_value_of_a_header(
    name: str, context: ssl.SSLContext, client_of: Open, libcurl: tuple[int, ...]
) -> None:
    """nghttp2 resets the stream; newer versions of it leave the header out."""
    script = Spoiled(with_fields(("x-odd", NO_VALUES[name])))
    with RawServer(over_h2(context, script)) as server, client_of(server) as client:
        if error := answer_or_failure(client, APIConnectionError):
            phase = "wait" if libcurl < OLD else "read"
            assert (error.phase, error.attempts) == (phase, 2), str(error)
        script.mended.set()
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize("value", NO_VALUES.values(), ids=NO_VALUES.keys())
def test_what_is_no_value_is_never_seen(
    value: str, context: ssl.SSLContext, authority: Authority
) -> None:
    script = once(with_fields(("x-odd", value)))
    with RawServer(over_h2(context, script)) as server:
        url = f"https://127.0.0.1:{server.port}"
        with client_for(url, ca_file=authority.file) as client:
            answered = client.with_raw_response.generate(TASK)
            assert not {"x-odd", "x"} & set(answered.headers)


# ---- Before there is HTTP/2 ---------------------------------------------------------------------


def tls_then(context: ssl.SSLContext, then: Callable[[Connection], object]) -> Any:
    def handle(connection: Connection) -> None:
        connection.tls(context)
        then(connection)

    return handle


@pytest.mark.fault("HTTP/2", "silence instead of SETTINGS")
def test_silence_instead_of_settings(context: ssl.SSLContext, client_of: Open) -> None:
    """The handshake is done, so it is not the time to connect that ends this."""
    handler = tls_then(context, Connection.until_closed)
    with RawServer(handler, over_h2(context)) as server, client_of(server) as client:
        timeout = Timeout(total=0.5, connect=0.3)
        error = failure(client, APITimeoutError, timeout=timeout, after=0.5, within=1.5)
        assert (error.phase, error.attempts) == ("wait", 1)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("HTTP/2", "h2 agreed upon, HTTP/1.1 spoken")
def test_http_1_1_where_h2_was_agreed_upon(context: ssl.SSLContext, client_of: Open) -> None:
    """As a server of HTTP/1.1 does that takes the preface for a request."""

    def speak(connection: Connection) -> None:
        taken = b""
        while TASK.encode() not in taken:
            taken += connection.receive()
        connection.send(answer(505, b""))
        connection.close()

    bad = tls_then(context, speak)
    with RawServer(bad, bad, over_h2(context)) as server, client_of(server) as client:
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts) == ("wait", 2), str(error)
        assert len(server.connections) == 2
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize("protocols", [["http/1.1"], []], ids=["http/1.1 alone", "no ALPN"])
@pytest.mark.fault("HTTP/2", "a server without it")
def test_server_without_http_2(protocols: list[str], authority: Authority, client_of: Open) -> None:
    context = authority.issue("127.0.0.1")
    context.set_alpn_protocols(protocols)
    with RawServer(tls_then(context, serve)) as server, client_of(server) as client:
        for _ in range(3):
            assert success(client) == ANSWER
        assert server.attempts == [1, 1, 1] and len(server.connections) == 1
        assert server.requests[0].line.endswith(" HTTP/1.1")


@pytest.mark.fault("HTTP/2", "RST_STREAM HTTP_1_1_REQUIRED")
def test_http_1_1_required(authority: Authority, client_of: Open) -> None:
    """A server that takes the request over HTTP/1.1 alone and yet offers h2 is not reached."""
    context = h2_context(authority, "h2", "http/1.1")
    script = Spoiled(reset(h2.HTTP_1_1_REQUIRED))
    handler = over_h2(context, script, otherwise=serve)
    with RawServer(handler) as server, client_of(server) as client:
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts, len(server.requests)) == ("wait", 2, 2)
        script.mended.set()
        assert client.generate(TASK) == ANSWER


# ---- A window that never opens ------------------------------------------------------------------


@pytest.mark.fault("HTTP/2", "window never opened")
def test_window_that_is_never_opened(context: ssl.SSLContext, client_of: Open) -> None:
    closed_window = over_h2(context, Peer.until_closed, windows=False)
    with RawServer(closed_window, over_h2(context)) as server, client_of(server) as client:
        task = "x" * (1 << 20)
        error = failure(client, APITimeoutError, task=task, timeout=0.5, after=0.5, within=1.5)
        assert (error.phase, error.attempts) == ("send", 1)
        assert server.requests == []


@pytest.mark.fault("HTTP/2", "window of one byte at a time")
def test_window_that_opens_by_little(context: ssl.SSLContext, client_of: Open) -> None:
    """The whole request comes, however often the client has to stop."""
    task = "What is the weather like in Kugluktuk? " * 2000

    def sip(peer: Peer) -> None:
        for _ in range(200):  # far more than the request may be in flight
            for stream in (0, 1):
                peer.send(h2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 1))
        for stream in (0, 1):
            peer.send(h2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 1 << 20))
        peer.answer(peer.request())
        peer.until_closed()

    handler = over_h2(context, sip, {h2.INITIAL_WINDOW_SIZE: 1}, windows=False)
    with RawServer(handler) as server, client_of(server) as client:
        assert success(client, task=task) == ANSWER
        assert task.encode() in server.requests[0].body


# ---- What is answered after all, or all the same ------------------------------------------------


def once(step: Step) -> Script:
    """What is done about the first request of all; later ones are answered."""
    first = threading.Lock()

    def script(peer: Peer) -> None:
        if not first.acquire(blocking=False):
            return peer.serve()
        step(peer, peer.request())
        return peer.serve()

    return script


AGAIN: dict[str, Step] = {
    "GOAWAY without our stream, once": goaway(ours=False),
    "GOAWAY with our stream, then close, once": goaway(ours=True, close=True),
    "RST_STREAM REFUSED_STREAM, once": reset(h2.REFUSED_STREAM),
    "RST_STREAM INTERNAL_ERROR within the body, once": reset(h2.INTERNAL_ERROR, begun),
    "ENHANCE_YOUR_CALM, once": goaway(h2.ENHANCE_YOUR_CALM, ours=False, close=True),
    "close after the request, once": closed(),
    "a header block that is none, once": frames(h2.HEADERS, h2.END_HEADERS, b"\xff" * 20),
}  # fmt: skip


@pytest.mark.fault("HTTP/2", "{name}")
@pytest.mark.parametrize("name", AGAIN)
def test_second_attempt_is_answered(name: str, context: ssl.SSLContext, client_of: Open) -> None:
    """Over whatever connection: the server has the request twice, and the caller one answer."""
    with RawServer(over_h2(context, once(AGAIN[name]))) as server, client_of(server) as client:
        assert success(client, attempts=2) == ANSWER
        assert len(server.requests) == 2
        assert client.generate(TASK) == ANSWER
        assert len(server.requests) == 3


def test_goaway_as_the_first_word(context: ssl.SSLContext, client_of: Open) -> None:
    """It may come before the request is sent or just after: the phase depends on that."""
    script = Spoiled(opening=lambda peer: peer.goaway(0))
    with RawServer(over_h2(context, script)) as server, client_of(server) as client:
        error = failure(client, APIConnectionError)
        assert error.attempts == 2 and error.phase in ("send", "wait"), str(error)
        script.mended.set()
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize("leave", [Peer.until_closed, Peer.close], ids=["open", "closed"])
@pytest.mark.fault("HTTP/2", "GOAWAY on an idle connection")
def test_goaway_on_an_idle_connection_costs_no_attempt(
    leave: Script, context: ssl.SSLContext, client_of: Open, libcurl: tuple[int, ...]
) -> None:
    """It is there before the next request, which goes elsewhere at once."""
    looks = libcurl < HASTY or leave is Peer.close
    said = threading.Event()

    def script(peer: Peer) -> None:
        stream = peer.request()
        peer.answer(stream)
        peer.goaway(stream)
        said.set()
        leave(peer)

    with RawServer(over_h2(context, script), over_h2(context)) as server:
        with client_of(server, max_retries=0 if looks else 1) as client:
            client.generate(TASK)
            assert said.wait(PATIENCE)
            assert success(client) == ANSWER
            assert (len(server.connections), len(server.requests)) == (2, 2)


def padded(peer: Peer, stream: int) -> None:
    """Header block and body each between a length and that many zeros."""
    fields = bytes([9]) + block([(":status", "200")]) + bytes(9)
    peer.send(h2.HEADERS, h2.END_HEADERS | h2.PADDED, stream, fields)
    for byte in BODY:
        peer.send(h2.DATA, h2.PADDED, stream, bytes([200, byte]) + bytes(200))
    peer.data(stream, b"")


def in_scraps(peer: Peer, stream: int) -> None:
    """A header block in eight frames, a body in one for each byte, and others in between."""
    fields = block([(":status", "200"), ("x-long", "x" * 1000), LENGTH])
    parts = [fields[at : at + 150] for at in range(0, len(fields), 150)]
    peer.send(h2.HEADERS, 0, stream, parts[0])
    for part in parts[1:-1]:
        peer.send(h2.CONTINUATION, 0, stream, part)
    peer.send(h2.CONTINUATION, h2.END_HEADERS, stream, parts[-1])
    for byte in BODY:
        peer.data(stream, bytes([byte]), end=False)
        for other in (ping, unknown, small_window):
            peer.connection.send(other(stream)[: len(other(stream)) // 100])
    peer.data(stream, b"")


FINE: dict[str, Step] = {
    "GOAWAY with our stream, then the answer": lambda peer, stream: (
        peer.goaway(stream), peer.answer(stream)
    ),
    "GOAWAY with all streams, then the answer": lambda peer, stream: (
        peer.goaway((1 << 31) - 1), peer.answer(stream)
    ),
    "RST_STREAM NO_ERROR after the answer": reset(h2.NO_ERROR, Peer.answer),
    "no Content-Length": with_fields(),
    "gzip": with_fields(("content-encoding", "gzip"), body=GZIPPED),
    "trailers": trailers(1),
    "100 interim responses": interim(100),
    "900 headers": with_fields(*[("x-filler", "1")] * 900),
    "a header of 60 KB": with_fields(("x-long", "x" * 60_000)),
    "padding": padded,
    "many small frames": in_scraps,
}  # fmt: skip


@pytest.mark.fault("HTTP/2", "{name}")
@pytest.mark.parametrize("name", FINE)
def test_unusual_answers_pass(name: str, context: ssl.SSLContext, client_of: Open) -> None:
    with RawServer(over_h2(context, once(FINE[name]))) as server, client_of(server) as client:
        assert success(client) == ANSWER
        assert len(server.requests) == 1
        assert client.generate(TASK, max_retries=0) == ANSWER


def test_connection_is_used_again(context: ssl.SSLContext, client_of: Open) -> None:
    with RawServer(over_h2(context)) as server, client_of(server) as client:
        for _ in range(5):
            assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


def closing_after(count: int, closed: threading.Event, *, said: bool) -> Script:
    """So many good answers on each connection, and perhaps a word that there will be no more."""

    def script(peer: Peer) -> None:
        for _ in range(count):
            stream = peer.request()
            peer.answer(stream)
        if said:
            peer.goaway(stream)
        peer.close()
        closed.set()

    return script


def call_until_closed(client: Any, count: int, closed: threading.Event) -> None:
    for _ in range(count):
        assert success(client) == ANSWER
    assert closed.wait(PATIENCE)
    closed.clear()


@pytest.mark.parametrize("said", [False, True], ids=["closed", "GOAWAY"])
def test_new_connection_costs_no_attempt(
    said: bool, context: ssl.SSLContext, client_of: Open
) -> None:
    """Whatever served the calls before it."""
    closed = threading.Event()
    handler = over_h2(context, closing_after(3, closed, said=said))
    with RawServer(handler) as server, client_of(server, max_retries=0) as client:
        for _ in range(3):
            call_until_closed(client, 3, closed)
        assert len(server.requests) == 9 and len(server.connections) == 3


@pytest.mark.parametrize("said", [False, True], ids=["closed", "GOAWAY"])
def test_new_connection_that_speaks_http_1_1(
    said: bool,
    context: ssl.SSLContext,
    authority: Authority,
    client_of: Open,
    libcurl: tuple[int, ...],
) -> None:
    """Its answer begins with a folded line, at which libcurl before 8.1.2 would write to memory that
    was freed after the answer before, had it made both transfers with one handle."""
    old = h2_context(authority, "http/1.1")
    closed = threading.Event()

    def folded(connection: Connection) -> None:
        connection.request()
        connection.send(answer().replace(b"\r\n", b"\r\n folded: " + b"x" * 64 + b"\r\n", 1))
        connection.close()

    handlers = (
        over_h2(context, closing_after(3, closed, said=said)),
        tls_then(old, folded),
        tls_then(old, serve),
    )
    with RawServer(*handlers) as server, client_of(server) as client:
        call_until_closed(client, 3, closed)
        for _ in range(3):
            assert success(client) == ANSWER
        assert libcurl >= OLD or len(server.requests) == 3 + 4  # it refuses such a line


def test_calls_after_a_burst(context: ssl.SSLContext, authority: Authority) -> None:
    """It leaves two connections, and the one that libcurl finds first need not have served last."""
    burst, streams = 150, 100  # the most that libcurl puts on one connection
    all_there = threading.Event()

    def script(peer: Peer) -> None:
        server, held = peer.connection.server, []
        if len(server.connections) == 1:
            peer.answer(peer.request())  # the client knows the protocol from here on
        while len(held) < streams and len(server.requests) < 1 + burst:
            held.append(peer.request())
        if len(server.requests) == 1 + burst:
            all_there.set()
        peer.connection.wait(all_there)
        for stream in held:
            peer.answer(stream)
        peer.serve()

    async def calls(url: str) -> list[Any]:
        async with AsyncClient(KEY, base_url=url, ca_file=authority.file, max_retries=0) as client:
            await client.generate(TASK)
            await asyncio.gather(*(client.generate(TASK) for _ in range(burst)))
            return [await client.with_raw_response.generate(TASK) for _ in range(10)]

    with RawServer(over_h2(context, script)) as server:
        assert [raw.attempts for raw in asyncio.run(calls(https(server)))] == [1] * 10
        assert len(server.requests) == 1 + burst + 10 and len(server.connections) == 2


@pytest.mark.parametrize("version", [b"HTTP/2", b"HTTP/2.0"])
def test_http_1_1_that_says_it_is_http_2(
    version: bytes, authority: Authority, client_of: Open, libcurl: tuple[int, ...]
) -> None:
    """libcurl believes the line. Were a handle kept for such a connection, 7.88 would write to freed
    memory at the folded line in place of refusing it."""
    good = answer().replace(b"HTTP/1.1", version, 1)
    folded = good.replace(b"\r\n", b"\r\n folded: " + b"x" * 64 + b"\r\n", 1)

    def lie(connection: Connection) -> None:
        for _ in range(3):
            connection.request()
            connection.send(good)
        connection.request()
        connection.send(folded)
        connection.until_closed()

    handler = tls_then(h2_context(authority, "http/1.1"), lie)
    with RawServer(handler) as server, client_of(server, max_retries=0) as client:
        for number in range(8):
            error = answer_or_failure(client, APIConnectionError)
            # Newer ones refuse a version that changes.
            assert libcurl >= OLD or bool(error) is (number % 4 == 3), str(error)
        assert libcurl >= OLD or len(server.connections) == 2


def reset_connection(peer: Peer, stream: int) -> None:
    peer.connection.reset()


def refuse_stream(peer: Peer, stream: int) -> None:
    peer.reset(stream, h2.REFUSED_STREAM)


@pytest.mark.parametrize("end", [reset_connection, refuse_stream])
def test_nothing_is_sent_again_uncounted(
    end: Step, context: ssl.SSLContext, client_of: Open
) -> None:
    """By libcurl itself, which takes both for a connection that had died before."""

    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.answer(peer.request())
        end(peer, peer.request())
        peer.serve()

    for retries in (0, 1):
        with RawServer(over_h2(context, script), over_h2(context)) as server:
            with client_of(server, max_retries=retries) as client:
                for _ in range(2):
                    client.generate(TASK)
                if retries:
                    assert success(client, attempts=2) == ANSWER
                else:
                    assert failure(client, APIConnectionError).attempts == 1
                assert len(server.requests) == 3 + retries


def test_error_without_a_body(context: ssl.SSLContext, client_of: Open) -> None:
    with (
        RawServer(over_h2(context, once(headers(status=503, end=True)))) as server,
        client_of(server, max_retries=0) as client,
    ):
        error = failure(client, InternalServerError)
        assert (error.status_code, error.body) == (503, "")
        assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


# ---- Frames faster than anybody can take them ---------------------------------------------------


@pytest.mark.parametrize("part", [ping, change_of_settings], ids=["PING", "SETTINGS"])
def test_flood_that_wants_answers_ends_the_connection(
    part: Callable[[int], bytes], context: ssl.SSLContext, client_of: Open
) -> None:
    """nghttp2 gives up when its own answers pile up. In which phase depends on the moment."""
    script = Spoiled(endless(part))
    with RawServer(over_h2(context, script)) as server, client_of(server) as client:
        error = failure(client, APIConnectionError)
        assert error.attempts == 2 and error.phase in ("send", "wait")
        script.mended.set()
        assert client.generate(TASK, max_retries=2) == ANSWER


FLOODS = {"PING": pong, "WINDOW_UPDATE": small_window, "PRIORITY": priority, "unknown": unknown}


@pytest.mark.timing
@pytest.mark.parametrize("part", FLOODS.values(), ids=FLOODS.keys())
def test_deadline_in_a_flood(
    part: Callable[[int], bytes],
    context: ssl.SSLContext,
    client_of: Open,
    libcurl: tuple[int, ...],
) -> None:
    """The call ends in time. With libcurl 7.88, which reads on within one step for as long as
    such frames come without a pause, it ends when the flood does, if that is later."""
    script = Spoiled(endless(part))
    timer = threading.Timer(FLOOD, script.mended.set)
    within = 0.5 + 1 + (FLOOD + 1 if libcurl < OLD else 0)  # what is on its way is read, too
    with RawServer(over_h2(context, script)) as server, client_of(server) as client:
        timer.start()
        try:
            started = time.monotonic()
            with pytest.raises(APIConnectionError) as caught:
                client.generate(TASK, timeout=0.5)
            assert time.monotonic() - started <= within
            error = caught.value
            # Newer versions of nghttp2 end some floods themselves; then it is in back-off.
            ended = "ENHANCE_YOUR_CALM" in str(error) or error.phase == "queue"
            if error.attempts == 1 and not ended:
                assert (type(error), error.phase) == (APITimeoutError, "wait"), repr(error)
        finally:
            timer.cancel()
            script.mended.set()
        assert client.generate(TASK) == ANSWER


# ---- Several calls on one connection: what happens to one is nothing to the others --------------


def together(peer: Peer, count: int) -> list[int]:
    """The streams of so many requests that are all under way at once."""
    return [peer.request() for _ in range(count)]


def outcomes(
    server: RawServer, client: Any, *options: dict[str, Any], ended: threading.Event | None = None
) -> list[Any]:
    """What each of several calls at once ends in; they are sent one after the other. The event
    tells the script that one of them has ended."""

    def call(each: dict[str, Any]) -> Any:
        try:
            return client.generate(TASK, **each)
        except APIError as error:
            return error

    with ThreadPoolExecutor(len(options)) as pool:
        futures = []
        for each in options:
            before = len(server.requests)
            futures.append(pool.submit(call, each))
            if ended:
                futures[-1].add_done_callback(lambda _: ended.set())
            server.wait_for_requests(before + 1)
        return [future.result(PATIENCE) for future in futures]


BAD = {
    "RST_STREAM": (reset(h2.CANCEL), APIConnectionError),
    "RST_STREAM within the body": (reset(h2.INTERNAL_ERROR, begun), APIConnectionError),
    "malformed": (with_fields(("connection", "close")), APIConnectionError),
    "2,000 interim responses": (interim(2000), APIResponseValidationError),
    "1,001 headers": (with_fields(*[("x", "1")] * 1001), APIResponseValidationError),
    "unusable": (headers(end=True), APIResponseValidationError),
}


@pytest.mark.parametrize(("step", "kind"), BAD.values(), ids=BAD.keys())
def test_fault_of_one_stream_is_that_streams_alone(
    step: Step, kind: type[APIError], context: ssl.SSLContext, authority: Authority
) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.request())  # the client knows the protocol from here on
        first, bad, last = together(peer, 3)
        step(peer, bad)
        for stream in (last, first):
            peer.answer(stream)
        peer.serve()

    with (
        RawServer(over_h2(context, script)) as server,
        client_for(https(server), ca_file=authority.file, max_retries=0) as client,
    ):
        client.generate(TASK)
        first, bad, last = outcomes(server, client, {}, {}, {})
        assert (first, last) == (ANSWER, ANSWER) and type(bad) is kind, str(bad)
        assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


def test_deadline_of_one_stream_is_that_streams_alone(
    context: ssl.SSLContext, authority: Authority
) -> None:
    """The others go on; the server hears of it when the client has something else to send."""
    passed = threading.Event()
    resets: dict[int, int] = {}

    def script(peer: Peer) -> None:
        peer.resets = resets
        peer.answer(peer.request())
        first, _, last = together(peer, 3)
        peer.connection.wait(passed)
        for stream in (first, last):
            peer.answer(stream)
        peer.serve()

    with (
        RawServer(over_h2(context, script)) as server,
        client_for(https(server), ca_file=authority.file, max_retries=0) as client,
    ):
        client.generate(TASK)
        first, late, last = outcomes(server, client, {}, {"timeout": 0.5}, {}, ended=passed)
        assert (first, last) == (ANSWER, ANSWER)
        assert type(late) is APITimeoutError and late.phase == "wait"
        assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1 and list(resets) == [5]


def test_connection_that_is_silent_is_not_used_again(
    context: ssl.SSLContext, client_of: Open
) -> None:
    """Else each call would lose its time on it."""

    def script(peer: Peer) -> None:
        peer.answer(peer.request())
        peer.until_closed()

    with RawServer(over_h2(context, script), over_h2(context)) as server:
        with client_of(server) as client:
            client.generate(TASK)
            assert failure(client, APITimeoutError, timeout=0.3).phase == "wait"
            assert client.generate(TASK) == ANSWER
            assert len(server.connections) == 2


def test_goaway_lets_those_it_names_end_and_sends_the_others_elsewhere(
    context: ssl.SSLContext, authority: Authority
) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.request())
        first, _ = together(peer, 2)
        peer.goaway(first)
        peer.answer(first)
        peer.until_closed()

    with (
        RawServer(over_h2(context, script), over_h2(context)) as server,
        client_for(https(server), ca_file=authority.file) as client,
    ):
        client.generate(TASK)
        assert outcomes(server, client, {}, {}) == [ANSWER, ANSWER]
        assert len(server.requests) == 4  # one of them twice


def test_connection_that_breaks_is_made_again_for_all(
    context: ssl.SSLContext, authority: Authority
) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.request())
        together(peer, 3)
        peer.close()

    with (
        RawServer(over_h2(context, script), over_h2(context)) as server,
        client_for(https(server), ca_file=authority.file) as client,
    ):
        client.generate(TASK)
        assert outcomes(server, client, {}, {}, {}) == [ANSWER] * 3
        assert len(server.requests) == 7


def https(server: RawServer) -> str:
    return f"https://127.0.0.1:{server.port}"


@pytest.mark.fault("HTTP/2", "one stream at a time, ten callers")
def test_no_more_streams_than_the_server_wants(
    context: ssl.SSLContext, authority: Authority
) -> None:
    """The others wait, or have connections of their own."""

    def script(peer: Peer) -> None:
        while True:
            stream = peer.request()
            if peer.settled:  # what was sent before the client knew is no fault of its
                assert not peer.headers_wait(0.005), "a second stream"
            peer.answer(stream)

    values = {h2.MAX_CONCURRENT_STREAMS: 1}
    with (
        RawServer(over_h2(context, script, values)) as server,
        client_for(https(server), ca_file=authority.file, max_retries=0) as client,
    ):
        success(client)
        gate = threading.Barrier(10)

        def call(_: int) -> list[Any]:
            gate.wait(PATIENCE)
            return [client.generate(TASK) for _ in range(5)]

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(call, range(10))) == [[ANSWER] * 5] * 10
        assert len(server.requests) == 51 and len(server.connections) <= 10


def text_of(result: Any) -> str:
    text: str = result["messages"][0]["content"][0]["text"]
    return text


def echo(request: Request) -> bytes:
    """A body with the request's own task."""
    text = json.loads(request.body)["task"]
    return BODY.replace(b"fine", text.encode())


@pytest.mark.parametrize("run", range(5))  # it is a matter of which connection libcurl finds first
def test_busy_connection_of_http_1_gives_nobody_the_answer_of_another(
    run: int, context: ssl.SSLContext, authority: Authority
) -> None:
    """A host speaks both versions, and libcurl 7.88 puts a second request on the busy connection."""
    submitted = threading.Event()

    def old(connection: Connection) -> None:
        connection.tls(h2_context(authority, "http/1.1"))
        bodies = [echo(connection.request())]
        connection.wait(submitted)
        connection.sock.settimeout(0.3)  # for a request that may come here, or elsewhere
        with contextlib.suppress(Gone):
            bodies.append(echo(connection.request()))
        connection.send(b"".join(answer(body=each) for each in bodies))
        connection.until_closed()

    def new(peer: Peer) -> None:
        while True:
            stream = peer.request()
            peer.answer(stream, echo(peer.connection.server.requests[-1]))

    with (
        RawServer(old, over_h2(context, new)) as server,
        client_for(https(server), ca_file=authority.file, max_retries=0) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(client.generate, "the first")
        server.wait_for_requests(1)
        assert text_of(client.generate("the second")) == "the second"
        third = pool.submit(client.generate, "the third")
        submitted.set()
        for future, task in ((first, "the first"), (third, "the third")):
            try:
                assert text_of(future.result(PATIENCE)) == task
            except APIConnectionError as error:
                assert error.phase in ("wait", "read"), str(error)
